"""The last failures of a circuit, kept for whoever reads it, if its policy asks for that."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, RecentFailure, Supervisor
from supervisor.policy.outcomes import Failure
from tests.support.worlds import (
    Down,
    Guarded,
    every_way_and_thread,
    fail,
    fail_times,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio


def texts(breaker: CircuitBreaker) -> list[str | None]:
    return [each.failure for each in breaker.statistics().recent_failures]


async def test_nothing_is_kept_by_default() -> None:
    """A plain circuit makes no text of an error that opens nothing."""
    breaker = CircuitBreaker("x", 3)
    await fail_times(breaker, 2)
    assert breaker.statistics().recent_failures == ()


@every_way_and_thread
async def test_the_last_ones_are_kept(guarded: Guarded) -> None:
    """As many as the policy says, with their times; also those that open nothing, and of probes."""
    breaker = CircuitBreaker("x", 3, recovery_timeout=5, keep_failures=3)
    for number in range(5):

        async def down(number: int = number) -> str:
            raise Down(str(number))

        assert await guarded(breaker, succeed) == "fine" if number < 3 else True
        with pytest.raises(Down):
            await guarded(breaker, down if guarded.__name__ != "by_thread" else raising(number))
        breaker.reset()
        await anyio.sleep(1)
    kept = breaker.statistics().recent_failures
    assert [each.failure for each in kept] == ["Down: 2", "Down: 3", "Down: 4"]
    assert [round(each.at or 0.0, 6) for each in kept] == [2.0, 3.0, 4.0]


def raising(number: int) -> Any:
    def down() -> str:
        raise Down(str(number))

    return down


async def test_what_is_no_failure_is_not_kept() -> None:
    """What is ignored, or cancelled, or a result; but a result that is a failure is."""
    breaker = CircuitBreaker(
        "x", 9, ignore=KeyError, failure_on_result=lambda got: got == "fine", keep_failures=9
    )
    with pytest.raises(KeyError):
        await breaker.call(raise_key_error)
    with anyio.move_on_after(1):
        await breaker.call(anyio.sleep_forever)
    await breaker.call(anyio.sleep, 0)
    assert texts(breaker) == []
    await breaker.call(succeed)
    (await breaker.acquire()).fail()
    assert texts(breaker) == ["returned 'fine'", None]


async def raise_key_error() -> None:
    raise KeyError


async def test_slow_calls_and_kinds_of_failure() -> None:
    """A slow call says how long it took; kinds are failures like any."""
    breaker = CircuitBreaker(
        "x", 9, slow_call_duration=2, classify=lambda _: Failure("busy"), keep_failures=9
    )
    with pytest.raises(Down):
        await breaker.call(fail)
    plain = CircuitBreaker("y", 9, slow_call_duration=2, keep_failures=9)
    permit = await plain.acquire()
    await anyio.sleep(3)
    permit.succeed()
    assert (texts(breaker), texts(plain)) == (["Down: down"], ["took 3 s"])


async def test_another_policy() -> None:
    """Keeps as many as it says of those that there are, or none any more."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=9)
        await fail_times(breaker, 2)
        breaker.reconfigure(keep_failures=2)
        await settle_down()
        assert texts(breaker) == []
        await fail_times(breaker, 3)
        assert texts(breaker) == ["Down: down"] * 2
        breaker.reconfigure(keep_failures=1)
        assert texts(breaker) == ["Down: down"]  # before the actor's turn, and after it
        await settle_down()
        assert texts(breaker) == ["Down: down"]
        breaker.reconfigure(keep_failures=None)
        assert texts(breaker) == []
        await settle_down()
        assert texts(breaker) == []


async def test_they_are_read_from_another_thread() -> None:
    """As the other figures are."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=9, keep_failures=2)
        await anyio.sleep(1)
        await fail_times(breaker, 1)
        figures = await anyio.to_thread.run_sync(supervisor.figures)
        assert figures.circuits["x"].recent_failures == (RecentFailure(1.0, "Down: down"),)
