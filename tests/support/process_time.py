"""A clock of the process that goes as the event loops in virtual time do, and as tests say."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from unittest import mock

from supervisor import forget_kept_circuits
from supervisor.loop import EventLoop
from supervisor.testing import Backend, run_in_virtual_time

T = TypeVar("T")


class Process:
    """A process with one event loop after the other, and time between them.

    Attributes:
        now: seconds since the process began, while no loop of its own runs.
    """

    def __init__(self) -> None:
        self.now = 4096.0
        self._loop_time = no_time

    def run(self, main: Callable[[], Awaitable[T]], backend: Backend = "asyncio") -> T:
        """Run `main` on an event loop of its own, whose time is that of the process, too."""

        async def timed() -> T:
            self._loop_time = EventLoop.here().clock.time
            self.now -= self._loop_time()
            try:
                return await main()
            finally:
                self.now += self._loop_time()
                self._loop_time = no_time

        return run_in_virtual_time(timed, backend=backend)

    def read(self, _clock: object) -> float:
        """Return the time, as the system's clocks do."""
        return self.now + self._loop_time()


def no_time() -> float:
    return 0.0


@contextmanager
def process() -> Iterator[Process]:
    """Begin a process in which nothing is kept, and leave none of it behind."""
    forget_kept_circuits()
    process = Process()
    with mock.patch.object(time, "clock_gettime", process.read):
        yield process
    forget_kept_circuits()
