"""What one task sleeps on until somebody wakes it: an event for a single sleeper, used once.

An event of anyio's serves any number of tasks, any number of times. For that it takes 1 kB and
two coroutines while somebody waits, which is more than all the rest of an idle circuit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import trio


class Bell(Protocol):
    """Wakes the one task that sleeps, or will sleep, on it."""

    def ring(self) -> None:
        """Wake the sleeper, or spare it its sleep; at most once."""
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
        if not (self._rung.done() or self._rung.get_loop().is_closed()):
            self._rung.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        """Sleep until it rings."""
        return self._rung


class TrioBell:
    """A bell for a task of trio's."""

    __slots__ = ("_sleeper",)

    def __init__(self) -> None:
        self._sleeper: trio.lowlevel.Task | Literal["spared"] | None = None

    def ring(self) -> None:
        """Wake the sleeper, unless it has been cancelled."""
        import trio  # noqa: PLC0415  (asyncio's users need not wait for its import)

        sleeper, self._sleeper = self._sleeper, "spared"
        if sleeper is not None and sleeper != "spared":
            trio.lowlevel.reschedule(sleeper)

    def wait(self) -> Awaitable[None]:
        """Sleep until it rings."""
        import trio  # noqa: PLC0415

        # Handed to the caller to be awaited: a coroutine of its own would sleep as well.
        if self._sleeper == "spared":
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105
        self._sleeper = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        import trio  # noqa: PLC0415

        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED
