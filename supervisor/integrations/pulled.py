"""Guarded streams of what a reader asks for: clients have many ways to read, and streams one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from supervisor import Permit

T = TypeVar("T")


def matters_when(permit: Permit) -> bool:
    """Whether it matters when the parts of an answer come, so that they are guarded as a stream:
    for a probe, which must not be silent for too long, and where the policy limits the time.
    """
    policy = permit.policy
    timed = policy.timeout is not None or policy.slow_call_duration is not None
    return timed or permit.is_probe


class Pulled:
    """What a guarded stream reads: the results of operations, each of which is set beforehand. It
    has come to its end if none is.
    """

    operation: Callable[[], Awaitable[Any]] | None = None

    def __aiter__(self) -> Pulled:
        return self

    async def __anext__(self) -> Any:
        operation, self.operation = self.operation, None
        if operation is None:
            raise StopAsyncIteration
        return await operation()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what has nothing to wait for, where nothing can be awaited.

    Raises:
        RuntimeError: it does wait; it has been closed.
        BaseException: whatever it raises.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("what should be over at once has to wait")
