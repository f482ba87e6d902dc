"""The `timeout` of a policy: what has run for so long is cancelled, and fails."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import anyio

from supervisor.errors import CallTimeoutError

P = ParamSpec("P")
R = TypeVar("R")


def limited(func: Callable[P, Awaitable[R]], seconds: float | None) -> Callable[P, Awaitable[R]]:
    """Return `func` with a limit to the time that it may run, if there is one."""
    if seconds is None:
        return func

    @functools.wraps(func)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with anyio.move_on_after(seconds):
            return await func(*args, **kwargs)
        raise _too_late(seconds)

    return run


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
        self, report: Callable[[BaseException | None], None], error: BaseException | None
    ) -> None:
        """Report how the block has ended, by the error that it has raised, if any.

        Raises:
            CallTimeoutError: it has been cancelled for having run too long.
        """
        kind, traceback = (type(error), error.__traceback__) if error else (None, None)
        if self._scope.__exit__(kind, error, traceback):
            late = _too_late(self._seconds)
            report(late)
            raise late from None
        report(error)


def _too_late(seconds: float) -> CallTimeoutError:
    return CallTimeoutError(f"the call was cancelled after its timeout of {seconds:g} s")
