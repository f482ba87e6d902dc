"""The retry budget: retries are at most a share of the calls, and a few more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitStoppedError,
    Supervisor,
    app_settings,
    execute_with_retry,
    get_circuit_breaker,
)
from supervisor.settings import CircuitBreakerSettings
from tests.support.retries import Dependency, counted, down, in_mode, storage
from tests.support.worlds import Down, crash, fail, succeed

pytestmark = pytest.mark.anyio

EACH_GUARD = pytest.mark.parametrize("guard", ["loop", "attempt"])


def budget(share: float, minimum: int, **policy: Any) -> None:
    """Give all circuits this budget, and enable them."""
    app_settings.circuit_breaker = CircuitBreakerSettings(
        enabled=True,
        retry_budget=share,
        retry_budget_minimum=minimum,
        **{"failure_threshold": 1000, **policy},
    )


@EACH_GUARD
async def test_a_loop_ends_when_the_budget_is_spent(guard: str) -> None:
    """It ends with the error of the last attempt, and a note that says why there is no other."""
    budget(0.1, minimum=2)
    dependency = Dependency(*down(9))
    retried = storage(5, guard=guard)(dependency.fetch)
    with pytest.raises(ConnectionError, match="attempt 2") as caught:
        await retried()
    assert dependency.attempts == 3
    [note] = caught.value.__notes__
    assert note.startswith("not tried again, since circuit 'storage:fetch' has seen too many")


@EACH_GUARD
async def test_calls_fill_the_budget(guard: str) -> None:
    """One retry for every ten calls, with a share of a tenth and no minimum."""
    budget(0.1, minimum=0)
    dependency = Dependency("fine")
    retried = storage(5, guard=guard)(dependency.fetch)
    for _ in range(20):
        await retried()
    dependency.outcomes = down(1)
    with pytest.raises(ConnectionError):
        await retried()
    assert dependency.attempts == 20 + 1 + 2


@EACH_GUARD
async def test_what_was_spent_comes_back(guard: str) -> None:
    """Calls and retries are forgotten after `retry_budget_seconds`."""
    budget(0.1, minimum=1, retry_budget_seconds=10)
    dependency = Dependency(*down(1))
    retried = storage(5, guard=guard)(dependency.fetch)
    for attempts in (2, 3, 4):  # one retry, and then none
        with pytest.raises(ConnectionError):
            await retried()
        assert dependency.attempts == attempts
    await anyio.sleep(11)
    with pytest.raises(ConnectionError):
        await retried()
    assert dependency.attempts == 6


async def test_a_refused_retry_is_not_a_success() -> None:
    """A loop that is guarded as a whole counts by the error that it ends with."""
    budget(0.1, minimum=0, failure_on=ConnectionError)
    retried = storage(5)(Dependency(*down(1)).fetch)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await retried()
    assert counted("storage:fetch") == {"started": 3, "failed": 3}


async def test_an_attempt_is_admitted_and_taken_from_the_budget_in_one_step() -> None:
    """A retry that the budget refuses takes no probe's place, and is counted as refused."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit(
            "x",
            failure_threshold=1,
            recovery_timeout=5,
            retry_budget=0.1,
            retry_budget_minimum=1,
            retry_budget_seconds=100,
        )
        with pytest.raises(Down):
            await breaker.retry(fail)
        await anyio.sleep(6)
        with pytest.raises(CircuitBreakerOpenError) as refused:
            await breaker.retry(succeed)
        assert (refused.value.reason, refused.value.retry_after) == ("retry_budget", 0.0)
        assert refused.value.state == "half_open"
        assert breaker.statistics().rejected == 1
        assert await breaker.call(succeed) == "fine"  # the place of the probe is free
        assert breaker.state == "closed"


async def test_a_first_attempt_that_was_refused_is_no_retry() -> None:
    """Waiting for a recovery takes nothing from the budget before an attempt has been made."""
    budget(0.1, minimum=1, failure_threshold=1, recovery_timeout=5)
    dependency = Dependency(ConnectionError("down"), "fine")
    breaker = await get_circuit_breaker("storage:fetch")
    with pytest.raises(Down):
        await breaker.call(fail)
    decorator = in_mode("patient", max_attempts=4, min_wait=1, max_wait=1)
    dependency.outcomes = ["fine"]
    assert await decorator(dependency.fetch)() == "fine"
    await breaker.spend_retry()  # the one that there is
    with pytest.raises(CircuitBreakerOpenError):
        await breaker.spend_retry()


async def test_a_patient_loop_does_not_wait_for_the_budget() -> None:
    """That a budget is spent ends also a loop that would wait for a recovery."""
    budget(0.1, minimum=0)
    dependency = Dependency(*down(3))
    decorator = in_mode("patient", max_attempts=4, min_wait=1, max_wait=1)
    with pytest.raises(ConnectionError, match="attempt 0"):
        await decorator(dependency.fetch)()
    assert dependency.attempts == 1


async def test_retries_without_a_decorator() -> None:
    """`execute_with_retry` keeps to the budget of its circuit, too."""
    budget(0.1, minimum=1)
    dependency = Dependency(*down(5))
    with pytest.raises(ConnectionError, match="attempt 1"):
        await execute_with_retry(
            dependency.fetch, max_attempts=5, min_wait=1, max_wait=1, operation_name="disk"
        )
    assert dependency.attempts == 2


@pytest.mark.parametrize("spend", [lambda b: b.spend_retry(), lambda b: b.retry(succeed)])
async def test_without_a_budget_every_retry_is_allowed(
    spend: Callable[[CircuitBreaker], Any],
) -> None:
    """A circuit whose policy has none asks nobody."""
    breaker = CircuitBreaker("x")
    for _ in range(100):
        await spend(breaker)
    assert breaker.statistics().rejected == 0


async def test_a_refusal_of_another_circuit_is_an_error_like_any() -> None:
    """Only the own budget ends a loop; what another circuit refuses is the function's error."""
    budget(0.1, minimum=5)
    other = CircuitBreaker("other", retry_budget=0.1, retry_budget_minimum=0)

    async def nested() -> None:
        await other.spend_retry()

    with pytest.raises(CircuitBreakerOpenError) as refused:
        await storage(3)(nested)()
    assert refused.value.operation_name == "other"


async def test_whatever_happens_to_the_circuit_nobody_waits_for_ever() -> None:
    """Who asks for a retry is answered, also by a circuit that crashes, ends or has ended."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", retry_budget=0.1)
        await breaker.spend_retry()
        crash(supervisor, "x")
        await breaker.spend_retry()

        async def ask() -> None:
            with suppress(CircuitStoppedError):  # if its turn comes after the circuit's end
                await breaker.spend_retry()

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            supervisor.stop("x")
        with pytest.raises(CircuitStoppedError):
            await breaker.spend_retry()


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    """Asking for a retry may be cancelled at any moment."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", retry_budget=0.1, retry_budget_minimum=2)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await breaker.spend_retry()
        await breaker.spend_retry()
        assert breaker.statistics().in_flight == 0


@pytest.mark.parametrize("percent", [1, 7, 14, 28, 29, 55, 56, 57, 58, 100])
async def test_a_budget_is_counted_exactly(percent: int) -> None:
    """So many of a hundred calls are so many retries, whatever floats make of it."""
    breaker = CircuitBreaker(
        "x", retry_budget=percent / 100, retry_budget_minimum=0, retry_budget_seconds=100
    )
    for _ in range(100):
        await breaker.call(succeed)
    for _ in range(percent):
        await breaker.retry(succeed)
    with pytest.raises(CircuitBreakerOpenError) as caught:
        await breaker.retry(succeed)
    assert caught.value.reason == "retry_budget"
