"""A guarded function that calls itself without end: where no more calls can be made, none can be
reported as usual, and nobody can be woken as usual.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, Supervisor
from tests.support.worlds import is_refused, succeed

pytestmark = pytest.mark.anyio


def no_time(_: BaseException) -> None:
    """Have nothing to say."""


POLICIES: list[dict[str, Any]] = [
    {},
    {"failure_threshold": 10_000},
    {"window_calls": 100, "failure_threshold": 100},
    {"window_seconds": 60.0, "failure_rate": 0.5},
    {"slow_call_duration": 5.0},
    {"throttle": 2.0},
    {"recovery_from": no_time},
]


async def by_decorator(breaker: CircuitBreaker) -> None:
    @breaker
    async def fetch() -> None:
        await fetch()

    await fetch()


async def by_call(breaker: CircuitBreaker) -> None:
    async def fetch() -> None:
        await breaker.call(fetch)

    await breaker.call(fetch)


async def by_block(breaker: CircuitBreaker) -> None:
    async with breaker:
        await by_block(breaker)


@pytest.mark.parametrize("recurse", [by_decorator, by_call, by_block])
@pytest.mark.parametrize("policy", POLICIES, ids=" ".join)
async def test_one_request_that_recurses_without_end_makes_no_circuit_deaf(
    policy: dict[str, Any], recurse: Any
) -> None:
    """Later calls are answered, none stays in flight, and all that have ended are counted."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", recovery_timeout=1.0, **policy)
        await breaker.call(succeed)
        with pytest.raises(RecursionError):
            await recurse(breaker)
        with anyio.fail_after(100):
            await anyio.sleep(0.1)
            now = breaker.statistics()
            assert now.in_flight == 0
            assert now.started == (
                now.succeeded + now.failed + now.ignored + now.cancelled + now.rejected
            )
            if await is_refused(breaker):
                await anyio.sleep(1)
            for _ in range(5):
                await breaker.call(succeed)
            await anyio.sleep(0.1)
            assert breaker.state == "closed"
            assert breaker.statistics().in_flight == 0
