"""The `timeout` of a policy: what has run for so long is cancelled, and fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

import anyio

from supervisor.errors import CallTimeoutError

R = TypeVar("R")


def limited(awaitable: Awaitable[R], seconds: float | None) -> Awaitable[R]:
    """Return `awaitable` with a limit to the time that it may take, if there is one."""
    if seconds is None or not isawaitable(awaitable):  # whoever awaits it will be told
        return awaitable
    return _run_in_time(awaitable, seconds)


async def _run_in_time(awaitable: Awaitable[R], seconds: float) -> R:
    with anyio.move_on_after(seconds):
        return await awaitable
    raise _too_late(seconds)


class TimeLimit:
    """A limit to the time that a block may run."""

    __slots__ = ("_scope", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + seconds)

    @classmethod
    def begin(cls, seconds: float | None) -> TimeLimit | None:
        """Limit what the running task does from now on, if there is a limit."""
        if seconds is None:
            return None
        limit = cls(seconds)
        limit._scope.__enter__()
        return limit

    def end(
        self, settle: Callable[[BaseException | None], None], error: BaseException | None
    ) -> None:
        """Settle the call by how the block has ended: by the error that it has raised, if any.

        Raises:
            CallTimeoutError: it has been cancelled for having run too long.
        """
        kind, traceback = (type(error), error.__traceback__) if error is not None else (None, None)
        try:
            ended = self._scope.__exit__(kind, error, traceback)
        except BaseException as rest:  # a group of errors, without its cancellations
            settle(rest)
            raise
        if ended and error is not None:  # trio's scopes say so of every block without an error
            late = _too_late(self._seconds)
            settle(late)
            raise late from None
        settle(error)


def _too_late(seconds: float) -> CallTimeoutError:
    return CallTimeoutError(f"the call was cancelled after its timeout of {seconds:g} s")
