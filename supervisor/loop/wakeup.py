"""What one task sleeps on until somebody wakes it: an event for a single sleeper, used once.

An event of anyio's serves any number of tasks, any number of times. For that it takes 1 kB and
two coroutines while somebody waits, which is more than all the rest of an idle circuit.

A ring may be cut short by whatever is raised on its way, at the recursion limit above all. Then it
raises that, and has either woken the sleeper or can be repeated.

It may also come outside every task: from a signal handler or the garbage collector, while the
event loop is about to sleep, or between two of its own steps. What is done then as in a task is
seen late, or lost, so it is done as for another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from itertools import filterfalse
from operator import methodcaller
from typing import TYPE_CHECKING, Final, Protocol

from supervisor.loop.limits import is_closed

if TYPE_CHECKING:
    import trio

_is_done: Final = methodcaller("done")
_finish: Final = methodcaller("set_result", None)
_do_nothing: Final = bool


class Bell(Protocol):
    """Wakes the one task that sleeps, or will sleep, on it."""

    def ring(self) -> None:
        """Wake the sleeper, or spare it its sleep; it may be rung again, to no effect."""
        ...

    def wait(self) -> Awaitable[None]:
        """Sleep until it rings; at most once."""
        ...


class AsyncioBell:
    """A bell for a task of asyncio's."""

    __slots__ = ("_rung",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rung: asyncio.Future[None] = loop.create_future()

    def ring(self) -> None:
        """Wake the sleeper, unless it has been cancelled, or its event loop has been closed."""
        rung = self._rung
        loop = rung.get_loop()
        if not (rung.done() or is_closed(loop)):
            # Not at once: where no more calls can be made, a future would be marked as done and
            # then fail to wake its task. What is called later is made of C functions alone, which
            # no interrupt stops half-way; whatever has become of the future by then, it is right.
            loop.call_soon(next, map(_finish, filterfalse(_is_done, (rung,))), None)
            if asyncio.current_task(loop) is None:
                _rouse(loop)

    def wait(self) -> asyncio.Future[None]:
        """Sleep until it rings."""
        return self._rung


class AsyncioAlarm:
    """Ends a timer with its block."""

    __slots__ = ("_timer",)

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self._timer = timer

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


class TrioBell:
    """A bell for a task of trio's.

    Whoever takes the sleeper away wakes it: two rings, one in the midst of the other, wake it once.
    """

    __slots__ = ("_rung", "_sleeper")

    def __init__(self) -> None:
        self._rung = False
        self._sleeper: trio.lowlevel.Task  # while it is there

    def ring(self) -> None:
        """Wake the sleeper, unless it has been cancelled."""
        import trio  # noqa: PLC0415  (asyncio's users need not wait for its import)

        self._rung = True  # before the look: who is about to sleep looks after it has said so
        try:
            sleeper = self._sleeper
        except AttributeError:
            return
        if not trio.lowlevel.in_trio_task() or trio.lowlevel.current_task() is sleeper:
            # Between two steps of trio's, or before it sleeps: again, in a task of another's.
            trio.lowlevel.current_trio_token().run_sync_soon(self.ring)
            return
        try:
            del self._sleeper
        except AttributeError:
            return
        try:
            trio.lowlevel.reschedule(sleeper)
        except BaseException:
            self._sleeper = sleeper
            raise

    def wait(self) -> Awaitable[None]:
        """Sleep until it rings."""
        import trio  # noqa: PLC0415

        # Handed to the caller to be awaited: a coroutine of its own would sleep as well.
        self._sleeper = trio.lowlevel.current_task()
        if self._rung:
            del self._sleeper
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105
        return trio.lowlevel.wait_task_rescheduled(self)  # noqa: ASYNC105

    def __call__(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        """Let the sleeper be cancelled. A method would be one more object for each that sleeps."""
        import trio  # noqa: PLC0415

        del self._sleeper
        return trio.lowlevel.Abort.SUCCEEDED


def _rouse(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop look for what there is to be done, although it may be about to sleep."""
    with suppress(AttributeError, NotImplementedError):  # that of a Temporal workflow never sleeps
        loop.call_soon_threadsafe(_do_nothing)
