"""A caller who makes another call after each refusal leaves others their turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Supervisor
from tests.support.worlds import (
    by_block,
    by_call,
    by_decorator,
    by_permit,
    fail_times,
    succeed,
)

pytestmark = pytest.mark.anyio

MANY = 10_000


async def by_retry(breaker: CircuitBreaker, func: Callable[[], Awaitable[str]]) -> str:
    return await breaker.retry(func)


async def by_fallback(breaker: CircuitBreaker, func: Callable[[], Awaitable[str]]) -> str:
    refused = object()
    if await breaker.call(func, fallback=refused) is refused:
        raise CircuitBreakerOpenError(breaker.name)
    return "fine"


@pytest.mark.parametrize(
    "guarded", [by_call, by_block, by_decorator, by_permit, by_retry, by_fallback]
)
@pytest.mark.parametrize("forced", [False, True])
async def test_other_tasks_have_their_turns_while_calls_are_refused(
    guarded: Callable[..., Awaitable[str]], forced: bool
) -> None:
    """Neither a timer nor a cancellation may have to wait for a caller to give up."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency", failure_threshold=1)
        await fail_times(breaker, 1)
        if forced:
            breaker.force_open()
        turns = refusals = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            while refusals < MANY:
                with pytest.raises(CircuitBreakerOpenError):
                    await guarded(breaker, succeed)
                refusals += 1
            tasks.cancel_scope.cancel()
        assert turns >= MANY // 512
        assert breaker.statistics().rejected == MANY
