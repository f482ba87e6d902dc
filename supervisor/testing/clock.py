"""What the event loops of asyncio and uvloop share: a time that jumps from timer to timer."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable, Iterator
from contextvars import copy_context
from itertools import count
from typing import Any, Final

import anyio.to_thread
import sniffio

PATIENCE: Final = 1.0
"""Real seconds for which time stands still while a worker thread works."""


class Timer(asyncio.TimerHandle):
    """A timer that asyncio's and uvloop's own timers know nothing of."""

    __slots__ = ()

    def fire(self) -> None:
        """Run the callback, unless it has been cancelled; what it raises goes to the loop."""
        if not self.cancelled():
            self._run()


class Clock:
    """Virtual time, and the timers that wait for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, Timer]] = []  # a heap
        self._numbers = count()  # so that timers of one instant fire in the order of their making
        self._cancelled = 0

    def add(self, timer: Timer) -> None:
        """Let `timer` wait for its time, unless that never comes."""
        if timer.when() < math.inf:
            heapq.heappush(self._timers, (timer.when(), next(self._numbers), timer))

    def count_cancelled(self) -> None:
        """Forget cancelled timers once they are the most; a timeout that was not needed is one."""
        self._cancelled += 1
        if self._cancelled > 100 and 2 * self._cancelled > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def clear(self) -> None:
        """Forget all timers."""
        self._timers.clear()

    def due(self) -> Iterator[Timer]:
        """Take out, and return, the timers whose time has come."""
        while self._next() <= self.now:
            yield heapq.heappop(self._timers)[2]

    def has_timers(self) -> bool:
        """Whether anybody waits for a time that comes."""
        return self._next() < math.inf

    def jump_to_next(self) -> None:
        """Let time pass until the next timer is due."""
        self.now = max(self.now, self._next())

    def jump(self, seconds: float) -> None:
        """Let that much time pass.

        Raises:
            ValueError: `seconds` is negative, infinite or not a number.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds must be 0 or more, and finite, got {seconds!r}")
        self.now += seconds

    def _next(self) -> float:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
            self._cancelled -= 1
        return self._timers[0][0] if self._timers else math.inf


class Outside:
    """What time waits for before it jumps: worker threads, or whatever `patience` is for.

    Args:
        patience: real seconds, 0 or more, to wait before each jump. None: `PATIENCE` while a
            worker thread works, once for the same threads, else 0.

    Raises:
        ValueError: `patience` is negative, infinite or not a number.
    """

    def __init__(self, patience: float | None) -> None:
        self._patience = check_patience(patience)
        self._in_executors = 0
        self._executed = 0
        self._anyio_threads: Callable[[], int] | None = None
        self._given_up: tuple[int, int] | None = None  # the threads that it waited for in vain

    def watch(self, future: asyncio.Future[Any]) -> None:
        """Count what an executor does until `future` is done."""
        self._in_executors += 1
        self._executed += 1
        future.add_done_callback(self._executor_is_done)

    def look(self) -> None:
        """Notice that other threads work than those that were waited for in vain."""
        if self._given_up is not None and self._given_up != self._at_work():
            self._given_up = None

    def patience(self) -> float:
        """Return for how many real seconds to wait before a jump."""
        if self._patience is not None:
            return self._patience
        at_work = self._at_work()
        return PATIENCE if at_work is not None and at_work != self._given_up else 0.0

    def give_up(self) -> None:
        """Wait no longer for those threads that work now."""
        self._given_up = self._at_work()

    def _at_work(self) -> tuple[int, int] | None:
        """Return which worker threads are at work, so that two answers differ if those do."""
        if self._anyio_threads is None:
            self._anyio_threads = _anyio_threads()
        count = self._anyio_threads()
        return (count, self._executed) if count or self._in_executors else None

    def _executor_is_done(self, _: asyncio.Future[Any]) -> None:
        self._in_executors -= 1


def check_patience(patience: float | None) -> float | None:
    """Return `patience`.

    Raises:
        ValueError: it is negative, infinite or not a number.
    """
    if patience is not None and not 0 <= patience < math.inf:
        raise ValueError(f"patience must be 0 or more, and finite, or None, got {patience!r}")
    return patience


def _anyio_threads() -> Callable[[], int]:
    """Return what tells how many of the running loop's threads work, of those anyio started."""
    context = copy_context()
    context.run(sniffio.current_async_library_cvar.set, "asyncio")  # no task tells it here
    limiter = context.run(anyio.to_thread.current_default_thread_limiter)
    return lambda: limiter.borrowed_tokens
