"""A limit to the time that a block may take: that of the event loop's own kind.

What waits in the block when its time is over is cancelled, as by `asyncio.timeout` or
`trio.move_on_after`. asyncio's cancels once, and a clean-up may wait for as long as it needs.
trio's cancels every wait from then on that is not shielded. A scope of anyio's would bring trio's
way to asyncio, where neither libraries nor users expect it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio

from supervisor.loop.event_loop import is_trios, running_loop
from supervisor.loop.limits import LONGEST_TIMER

R = TypeVar("R")


class TimeLimit(Protocol):
    """Limits what one task does from `begin` to `end`."""

    async def begin(self) -> None:
        """Let the time begin."""
        ...

    async def end(self, error: BaseException | None) -> bool:
        """Lift the limit, and return whether it has ended the block, which has raised `error`.

        Raises:
            BaseException: what is left of a group of errors without its cancellations.
        """
        ...


def time_limit(seconds: float) -> TimeLimit:
    """Return a limit for the running task.

    Raises:
        RuntimeError: no task is running that could be cancelled.
    """
    loop = running_loop()
    if loop is not None and is_trios(loop):
        return _TrioLimit(seconds)
    task = None if loop is None else asyncio.current_task()
    if task is None:
        raise RuntimeError("a limit to the time of a call needs a task that can be cancelled")
    return _AsyncioLimit(seconds, task)


async def run_limited(
    awaitable: Awaitable[R], limit: TimeLimit, late: Callable[[], Exception]
) -> R:
    """Await it with that limit, and raise what `late` returns if that has ended it."""
    await limit.begin()
    try:
        result = await awaitable
    except BaseException as error:
        if not await limit.end(error):
            raise
    else:
        await limit.end(None)
        return result
    raise late()


class _AsyncioLimit:
    """The same as `asyncio.timeout`, but that it lets a cancellation in the same turn go first.

    asyncio makes one error of both, and the later one takes the message away from which a scope of
    anyio's knows its own: it would let it out.
    """

    __slots__ = ("_before", "_ended", "_loop", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float, task: asyncio.Task[object]) -> None:
        self._seconds = min(seconds, LONGEST_TIMER)
        self._task = task
        self._loop = task.get_loop()
        self._ended = False

    async def begin(self) -> None:
        self._before = self._task.cancelling()
        self._timer: asyncio.Handle = self._loop.call_later(self._seconds, self._time_is_over)

    def _time_is_over(self) -> None:
        if self._task.cancelling() > self._before:
            self._timer = self._loop.call_soon(self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        self._ended = True
        self._task.cancel()

    async def end(self, error: BaseException | None) -> bool:
        self._timer.cancel()
        if not self._ended:
            return False
        is_alone = self._task.uncancel() <= self._before
        return is_alone and isinstance(error, asyncio.CancelledError)


class _TrioLimit:
    __slots__ = ("_scope",)

    def __init__(self, seconds: float) -> None:
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + seconds)

    async def begin(self) -> None:
        self._scope.__enter__()

    async def end(self, error: BaseException | None) -> bool:
        kind, traceback = (type(error), error.__traceback__) if error is not None else (None, None)
        ended = self._scope.__exit__(kind, error, traceback)
        return bool(ended and error is not None)  # it says so of every block without an error
