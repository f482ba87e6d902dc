"""Cancellation at every await: it counts as nothing, loses nothing, and leaves no permit behind."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, CircuitState, Supervisor
from tests.support.worlds import (
    Dependency,
    Down,
    Guarded,
    every_way,
    fail_times,
    half_open,
    is_refused,
    succeed,
)

pytestmark = pytest.mark.anyio


@every_way
async def test_a_call_is_cancelled_by_its_scope(guarded: Guarded) -> None:
    """A cancelled call is counted as cancelled, at once and without waiting."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        with anyio.move_on_after(1) as scope:
            await guarded(breaker, anyio.sleep_forever)
        assert scope.cancelled_caught
        now = breaker.statistics()
        assert (now.state, now.cancelled, now.in_flight) == ("closed", 1, 0)


@every_way
async def test_a_call_is_cancelled_by_a_failing_task_group(guarded: Guarded) -> None:
    """The group's own error comes out, and the circuit stays closed."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(guarded, breaker, anyio.sleep_forever)
                await anyio.sleep(1)
                raise ValueError("mine")
        assert caught.group_contains(ValueError, match="mine")
        now = breaker.statistics()
        assert (now.state, now.cancelled, now.in_flight) == ("closed", 10, 0)


@every_way
async def test_a_timeout_inside_the_call_is_a_failure(guarded: Guarded) -> None:
    """`anyio.fail_after` in the guarded function raises TimeoutError, which counts."""

    async def slow() -> str:
        with anyio.fail_after(1):
            await anyio.sleep_forever()

    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        with pytest.raises(TimeoutError):
            await guarded(breaker, slow)
        assert breaker.state is CircuitState.OPEN


@every_way
async def test_a_failure_in_a_cancelled_scope_is_not_lost(guarded: Guarded) -> None:
    """A call that fails while it is being cancelled is a failure: reporting never waits."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        await breaker.call(succeed)

        async def fails_when_cancelled() -> str:
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                raise Down

        with anyio.CancelScope() as scope, pytest.raises(Down):
            await guarded(breaker, fails_when_cancelled)
        assert breaker.state is CircuitState.OPEN


@every_way
async def test_a_cancelled_probe_hands_its_permit_on(guarded: Guarded) -> None:
    """The circuit stays half-open, and the next caller may probe at once."""
    async with half_open() as breaker:
        with anyio.move_on_after(1):
            await guarded(breaker, anyio.sleep_forever)
        assert breaker.state is CircuitState.HALF_OPEN
        assert not await is_refused(breaker)
        assert breaker.state is CircuitState.CLOSED


@every_way
@pytest.mark.parametrize("ticks", range(8))
async def test_an_asker_is_cancelled_at_every_tick(guarded: Guarded, ticks: int) -> None:
    """Before, while and after it is granted its probe: the permit is never lost."""
    async with half_open() as breaker:
        dependency = Dependency()

        async def caller() -> None:
            with scope:
                await guarded(breaker, dependency.call)

        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(caller)
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
        now = breaker.statistics()
        assert (now.state, now.in_flight, now.rejected) == ("half_open", 0, 0)
        assert now.cancelled == now.started - now.failed
        assert not await is_refused(breaker)


async def test_an_asker_in_a_scope_that_is_cancelled_already() -> None:
    """It is cancelled where it first waits, and hands back what it was granted meanwhile."""
    async with half_open() as breaker:
        dependency = Dependency()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await breaker.call(dependency.call)
        assert scope.cancelled_caught
        assert dependency.running == 0
        assert not await is_refused(breaker)


async def test_a_herd_of_probes_and_cancels() -> None:
    """However many askers are cancelled, never more probes run than are permitted, and in the
    end the circuit recovers.
    """
    async with half_open(success_threshold=2) as breaker:
        dependency = Dependency()

        async def caller(number: int) -> None:
            with anyio.move_on_after((number % 10) * 0.1):
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                    if not await _refused(breaker, dependency):
                        return

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(caller, number)
        assert 0 < dependency.most_running <= 2
        assert breaker.statistics().in_flight == 0
        assert not await is_refused(breaker)
        assert not await is_refused(breaker)
        assert breaker.state is CircuitState.CLOSED


async def _refused(breaker: CircuitBreaker, dependency: Dependency) -> bool:
    try:
        await breaker.call(dependency.call)
    except CircuitBreakerOpenError:
        return True
    return False


async def test_a_stale_probe_after_a_cancelled_one() -> None:
    """A probe of an earlier half-open period settles late, and disturbs the next one not."""
    async with half_open(recovery_timeout=5, probe_timeout=10) as breaker:
        hung = await breaker.acquire()
        await anyio.sleep(10)
        assert breaker.state is CircuitState.OPEN
        await anyio.sleep(5)
        probe = await breaker.acquire()
        hung.fail()
        assert breaker.state is CircuitState.HALF_OPEN
        assert await is_refused(breaker)
        probe.succeed()
        assert breaker.state is CircuitState.CLOSED
        await fail_times(breaker, 1)
        assert breaker.statistics().stale == 1
