"""A warm-up: whichever way calls are guarded, it ends at its time, whatever was reported in it."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, Failure, Supervisor
from tests.support.worlds import (
    Down,
    Guarded,
    crash,
    every_way,
    fail,
    fail_times,
    is_refused,
    settle_down,
    succeed,
    take,
)

pytestmark = pytest.mark.anyio

RATE: dict[str, Any] = {"window_calls": 1000, "failure_rate": 0.5, "minimum_calls": 4}
IN_TIME: dict[str, Any] = {**RATE, "window_calls": None, "window_seconds": 600.0}
SLOW: dict[str, Any] = {**RATE, "slow_call_duration": 3.0}


async def fail_in(guarded: Guarded, breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Down):
            await guarded(breaker, fail)


@every_way
@pytest.mark.parametrize("policy", [{}, RATE, IN_TIME, SLOW, {**RATE, "failures_in_a_row": 2}])
async def test_it_begins_with_the_circuit(guarded: Guarded, policy: dict[str, Any]) -> None:
    """Not with the event loop; no failures open the circuit before it ends, and one does then."""
    await anyio.sleep(100)
    breaker = CircuitBreaker("x", warm_up=10.0, **policy)
    await fail_in(guarded, breaker, 300)
    await anyio.sleep(9.75)
    await fail_in(guarded, breaker, 3)
    assert breaker.state == "closed"
    await anyio.sleep(0.25)
    assert breaker.state == "closed"
    await fail_in(guarded, breaker, 1)
    assert breaker.state == "open"
    assert breaker.statistics().failure_count == 304


@every_way
@pytest.mark.parametrize("policy", [RATE, IN_TIME, SLOW])
@pytest.mark.parametrize("between", [0, 1, 7])
async def test_a_success_after_it_opens_the_circuit(
    guarded: Guarded, policy: dict[str, Any], between: int
) -> None:
    """If the rate has been reached in it, by calls that were reported with no turn between."""
    breaker = CircuitBreaker("x", warm_up=10.0, **policy)
    await fail_in(guarded, breaker, 20)
    for _ in range(between):
        await guarded(breaker, succeed)
    await anyio.sleep(9.75)
    await guarded(breaker, succeed)
    assert breaker.state == "closed"
    await anyio.sleep(0.25)
    await guarded(breaker, succeed)
    assert breaker.state == "open"
    assert await is_refused(breaker)


@every_way
async def test_a_call_that_ends_after_it(guarded: Guarded) -> None:
    """It is the end that counts; and a call is slow when it has run so long."""
    breaker = CircuitBreaker("x", 1, warm_up=10.0, slow_call_duration=8.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(guarded, breaker, partial(take, 9.0)))
        await anyio.sleep(9)
        assert (breaker.state, breaker.statistics().failure_count) == ("closed", 1)
        tasks.start_soon(partial(guarded, breaker, partial(take, 9.0)))
        await anyio.sleep(7.9)
        assert breaker.state == "closed"
        await anyio.sleep(0.2)
        assert breaker.state == "open"


async def test_a_server_that_asks_to_wait_is_obeyed() -> None:
    breaker = CircuitBreaker("x", warm_up=10.0, classify=lambda _: Failure(retry_after=60.0))
    await fail_times(breaker, 1)
    assert await is_refused(breaker)
    assert breaker.retry_after == 60.0


async def test_a_reset_begins_it_anew_and_a_restart_does_not() -> None:
    """What is left of it stays as it is when the circuit's task has crashed."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", warm_up=10.0)
        await fail_times(breaker, 5)
        await anyio.sleep(6)
        breaker.reset()
        await fail_times(breaker, 5)
        await anyio.sleep(6)
        crash(supervisor, "x")
        await settle_down()
        assert breaker.statistics().restarts == 1
        await fail_times(breaker, 5)
        await anyio.sleep(3.75)
        await fail_times(breaker, 5)
        assert breaker.state == "closed"
        await anyio.sleep(0.25)
        await fail_times(breaker, 1)
        assert breaker.state == "open"


async def test_it_is_over_while_nobody_looks() -> None:
    """Neither a task nor a timer of its own ends it."""
    breaker = CircuitBreaker("x", warm_up=10.0)
    await fail_times(breaker, 2)
    await anyio.sleep(80_000)
    assert not await is_refused(breaker)
    await fail_times(breaker, 3)
    assert await is_refused(breaker)


async def test_another_policy_may_make_it_shorter() -> None:
    """From when its circuit began."""
    breaker = CircuitBreaker("x", warm_up=10.0)
    await fail_times(breaker, 5)
    await anyio.sleep(6)
    breaker.reconfigure(warm_up=5.0)
    await fail_times(breaker, 1)
    assert breaker.state == "open"
