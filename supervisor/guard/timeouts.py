"""The `timeout` of a policy: what has run for so long is cancelled, and fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

from supervisor.circuit import Circuit, Ticket
from supervisor.errors import CallTimeoutError
from supervisor.loop import TimeLimit, run_limited, time_limit
from supervisor.policy import Policy

R = TypeVar("R")


class CallLimit:
    """A limit to the time that an admitted call, or a block, may take."""

    __slots__ = ("_limit", "_seconds")

    def __init__(self, limit: TimeLimit, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds

    @classmethod
    def of(cls, circuit: Circuit, ticket: Ticket) -> CallLimit | None:
        """Return the limit of a call that is about to begin, if there is one.

        Raises:
            RuntimeError: no task is running that could be cancelled.
        """
        return cls.by(circuit.grant_of(ticket).policy)

    @classmethod
    def by(cls, policy: Policy) -> CallLimit | None:
        """Return the limit that a policy sets to what is about to begin; see `of`."""
        seconds = policy.timeout
        return None if seconds is None else cls(time_limit(seconds), seconds)

    @classmethod
    async def begin(cls, circuit: Circuit, ticket: Ticket) -> CallLimit | None:
        """Limit the block that begins now, if there is a limit; see `of`."""
        limit = cls.of(circuit, ticket)
        if limit is not None:
            await limit._limit.begin()
        return limit

    async def end(
        self, settle_by: Callable[[BaseException | None], None], error: BaseException | None
    ) -> None:
        """Settle the call by how the block has ended: by the error that it has raised, if any.

        Raises:
            CallTimeoutError: it has been cancelled for having run too long.
        """
        try:
            ended = await self._limit.end(error)
        except BaseException as rest:  # a group of errors, without its cancellations
            settle_by(rest)
            raise
        if ended:
            late = self._error()
            settle_by(late)
            try:
                raise late from None
            finally:
                del late, error  # they would be kept by the frame that they keep
        settle_by(error)

    async def run(self, awaitable: Awaitable[R]) -> R:
        """Await it with that limit.

        Raises:
            CallTimeoutError: it has been cancelled for having run too long.
        """
        return await run_limited(awaitable, self._limit, self._error)

    def _error(self) -> CallTimeoutError:
        return CallTimeoutError(f"the call was cancelled after its timeout of {self._seconds:g} s")


def limited(awaitable: Awaitable[R], limit: CallLimit | None) -> Awaitable[R]:
    """Return `awaitable` with a limit to the time that it may take, if there is one."""
    if limit is None or not isawaitable(awaitable):  # whoever awaits it will be told
        return awaitable
    return limit.run(awaitable)
