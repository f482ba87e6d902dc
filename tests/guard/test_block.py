"""`async with` blocks, and threads that inherit the context of a task which is in one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context

import pytest
import trio
from anyio import to_thread

from supervisor import CircuitBreaker
from tests.support.worlds import Down

pytestmark = pytest.mark.anyio


async def leave(breaker: CircuitBreaker) -> None:
    with pytest.raises(RuntimeError, match="belongs to the event loop of another thread"):
        await breaker.__aexit__(None, None, None)


async def leave_by_an_error(breaker: CircuitBreaker) -> None:
    with pytest.raises(RuntimeError, match="belongs to the event loop of another thread"):
        await breaker.__aexit__(Down, Down(), None)


async def enter_and_leave(breaker: CircuitBreaker) -> None:
    async with breaker:
        pass
    with pytest.raises(Down):
        async with breaker:
            raise Down
    assert (breaker.statistics().succeeded, breaker.statistics().failed) == (1, 1)


@pytest.mark.parametrize("limit", [None, 100.0])
@pytest.mark.parametrize("use", [leave, leave_by_an_error, enter_and_leave])
@pytest.mark.parametrize("kind", ["asyncio", "trio"])
async def test_a_thread_is_in_no_block_that_it_has_inherited(
    use: Callable[[CircuitBreaker], Coroutine[None, None, None]], limit: float | None, kind: str
) -> None:
    """On free-threaded builds every thread inherits the context of the one that starts it."""
    breaker = CircuitBreaker("x", timeout=limit)

    def run() -> None:
        asyncio.run(use(breaker)) if kind == "asyncio" else trio.run(use, breaker)

    async with breaker:
        await to_thread.run_sync(copy_context().run, run)
        figures = breaker.statistics()
        assert (figures.in_flight, figures.succeeded, figures.failed) == (1, 0, 0)
    assert (breaker.statistics().in_flight, breaker.statistics().succeeded) == (0, 1)
