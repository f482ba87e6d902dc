"""How many calls circuits refuse: one line and one event for each of them, once a minute at most.

A circuit tells of the first refusal only; it counts the others anyway. A task then waits for a
minute, logs what has come together, and ends: so nothing runs, and no timer, where nobody is
refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from supervisor.circuit import Circuit
from supervisor.events import CallsRefused
from supervisor.instrumentation import log_refusals
from supervisor.loop import Bell, EventLoop, Tasks, is_cancellation, is_cancelled_here
from supervisor.supervision.publishing import Publisher

TOGETHER: Final = 60.0
"""Seconds whose refusals are told by one line."""


class Refusals:
    """The refusals of one supervisor's circuits that have not been told yet.

    Args:
        publisher: tells listeners of them.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._loop: EventLoop | None = None
        self._tasks: Tasks[Callable[[], None]] | None = None
        self._rejected: dict[Circuit, int] = {}  # before the first one that has not been logged
        self._over: Bell | None = None  # of the task that waits
        self._began = 0.0  # when it began to
        self._noted = self._note  # bound once, not once per circuit

    def open(self, loop: EventLoop, tasks: Tasks[Callable[[], None]]) -> None:
        """Log refusals from now on, in a task of those."""
        self._loop, self._tasks = loop, tasks

    def close(self) -> None:
        """Let the task log what there is, and end."""
        self._tasks = None
        if self._over is not None:
            self._over.ring()

    def tell_rest(self) -> None:
        """Tell now what there is, as long as listeners hear of it."""
        if self._over is not None and self._loop is not None:
            self._log(self._loop, self._began)

    def watch(self, circuit: Circuit) -> None:
        """Be told of the circuit's next refusal."""
        circuit.on_refusal = self._noted

    def forget(self, circuit: Circuit) -> None:
        """Watch a circuit no more, which has been stopped."""
        circuit.on_refusal = None

    def _note(self, circuit: Circuit) -> None:
        """Take note of a refusal, which is raised whatever comes of this.

        That of a caller who has been cancelled brings no task: the event loop may be ending, and
        would seem to go on.
        """
        if self._tasks is None or self._loop is None:
            return
        if self._over is None and self._loop.asyncio_loop is not None and is_cancelled_here():
            return
        with suppress(Exception):
            self._rejected.setdefault(circuit, circuit.rejected - 1)
            if self._over is None:
                over = self._loop.new_bell()
                began = self._loop.clock.time()
                work = self._log_later(self._loop, over, began)
                self._tasks.start("supervisor refusals", self._ended, work)
                self._over, self._began = over, began
            circuit.on_refusal = None

    async def _log_later(self, loop: EventLoop, over: Bell, began: float) -> None:
        try:
            with loop.alarm(began + TOGETHER, over):
                await over.wait()
        except Exception:  # the event loop is out of order: another task may have more luck
            self._watch_again()
            return
        except BaseException as end:
            if is_cancellation(end):  # the event loop may be ending
                self._log(loop, began)
            raise
        self._log(loop, began)

    def _log(self, loop: EventLoop, began: float) -> None:
        self._watch_again()
        refused: Counter[str] = Counter()  # one of the same name may have followed
        for circuit, before in self._rejected.items():
            refused[circuit.name] += circuit.rejected - before
        self._rejected = {}
        now = loop.time_here()
        seconds = TOGETHER if now is None else now - began
        for name, count in refused.items():
            log_refusals(name, count, seconds)
            if now is not None:
                self._publisher.publish_of(name, CallsRefused, now, count=count, seconds=seconds)

    def _watch_again(self) -> None:
        for circuit in self._rejected:
            if not circuit.stopped:
                circuit.on_refusal = self._noted

    def _ended(self) -> None:
        """Let the next refusal bring another task; somebody may have cancelled this one."""
        self._over = None
