"""The nine groups of behaviour that every circuit breaker here must show, each by its name."""

from __future__ import annotations

from unittest.mock import patch

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    app_settings,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_worker_operation,
    with_circuit_breaker,
)
from tests.support.worlds import Dependency, Down, fail, fail_times, is_refused, succeed

pytestmark = pytest.mark.anyio


class TestClosedToOpen:
    """1. closed -> open."""

    async def test_opens_at_the_threshold(self) -> None:
        """The threshold's failure opens the circuit, and is visible on the next line."""
        breaker = CircuitBreaker("x", failure_threshold=3)
        await fail_times(breaker, 2)
        assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 2)
        await fail_times(breaker, 1)
        assert (breaker.state, breaker.failure_count) == (CircuitState.OPEN, 3)

    async def test_a_success_resets_the_count(self) -> None:
        """Failures have to be consecutive."""
        breaker = CircuitBreaker("x", failure_threshold=3)
        for _ in range(5):
            await fail_times(breaker, 2)
            assert await breaker.call(succeed) == "fine"
            assert breaker.failure_count == 0
        assert breaker.state is CircuitState.CLOSED


class TestOpenBlocks:
    """2. open blocks."""

    async def test_refuses_without_running(self) -> None:
        """An open circuit raises at once, and the function is not called."""
        breaker = CircuitBreaker("payments", failure_threshold=1, recovery_timeout=600)
        await fail_times(breaker, 1)
        await anyio.sleep(100)
        dependency = Dependency()
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            await breaker.call(dependency.call)
        assert dependency.calls == 0
        assert refusal.value.operation_name == "payments"
        assert refusal.value.retry_after == pytest.approx(500)
        assert refusal.value.state is CircuitState.OPEN
        assert refusal.value.last_failure == "Down"

    async def test_every_way_in_is_blocked(self) -> None:
        """`call`, block, decorator and permit refuse alike."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        with pytest.raises(CircuitBreakerOpenError):
            await breaker(succeed)()
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.acquire()
        with pytest.raises(CircuitBreakerOpenError):
            async with breaker:
                pytest.fail("the block ran")
        assert breaker.statistics().rejected == 3


class TestOpenToHalfOpen:
    """3. open -> half-open."""

    async def test_after_the_recovery_timeout(self) -> None:
        """The state is half-open from the very moment, without any call."""
        breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=86_400)
        await fail_times(breaker, 1)
        await anyio.sleep(86_399)
        assert breaker.state is CircuitState.OPEN
        assert breaker.retry_after == pytest.approx(1)
        await anyio.sleep(1)
        assert breaker.state is CircuitState.HALF_OPEN
        assert breaker.retry_after == 0.0

    async def test_the_timeout_runs_from_the_opening(self) -> None:
        """Refused calls do not make it longer."""
        breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=10)
        await fail_times(breaker, 1)
        for _ in range(9):
            await anyio.sleep(1)
            assert await is_refused(breaker)
        await anyio.sleep(1)
        assert not await is_refused(breaker)


class TestHalfOpenToClosed:
    """4. half-open -> closed."""

    async def test_after_the_success_threshold(self) -> None:
        """So many successful probes close the circuit, and its count is zero again."""
        breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=1, success_threshold=2)
        await fail_times(breaker, 1)
        await anyio.sleep(1)
        await breaker.call(succeed)
        assert breaker.state is CircuitState.HALF_OPEN
        await breaker.call(succeed)
        assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 0)


class TestHalfOpenToOpen:
    """5. half-open -> open."""

    async def test_on_any_failure(self) -> None:
        """One failed probe opens it again, for a full timeout."""
        breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=5, success_threshold=3)
        await fail_times(breaker, 1)
        await anyio.sleep(7)
        await breaker.call(succeed)
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN
        assert breaker.retry_after == pytest.approx(5)


class TestConcurrentSafety:
    """6. concurrent safety."""

    async def test_failures_at_the_same_time_are_all_counted(self) -> None:
        """Ten calls that fail at once count as ten, and the circuit opens once."""
        breaker = CircuitBreaker("x", failure_threshold=5, recovery_timeout=600)
        dependency = Dependency()

        async def caller() -> None:
            with pytest.raises(Down):
                await breaker.call(dependency.call)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(caller)
            await anyio.sleep(1)
            assert dependency.running == 10
            dependency.let_go(Down())
        statistics = breaker.statistics()
        assert (statistics.state, statistics.times_opened) == (CircuitState.OPEN, 1)
        assert (statistics.failed, statistics.stale, statistics.in_flight) == (10, 5, 0)

    async def test_a_herd_at_half_open_sends_only_the_permitted_probes(self) -> None:
        """Of 1,000 callers at once, exactly `success_threshold` reach the dependency."""
        breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=1, success_threshold=3)
        await fail_times(breaker, 1)
        await anyio.sleep(1)
        dependency = Dependency()
        refused = 0

        async def caller() -> None:
            nonlocal refused
            try:
                await breaker.call(dependency.call)
            except CircuitBreakerOpenError as refusal:
                assert refusal.state is CircuitState.HALF_OPEN
                refused += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(caller)
            await anyio.sleep(1)
            assert (dependency.calls, refused) == (3, 997)
            dependency.let_go()
        assert breaker.state is CircuitState.CLOSED


class TestConfigurationLoading:
    """7. configuration loading."""

    async def test_circuits_are_created_from_the_settings(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`BINDU_CB_*` variables set what an argument does not."""
        monkeypatch.setenv("BINDU_CB_FAILURE_THRESHOLD", "7")
        monkeypatch.setenv("BINDU_CB_RECOVERY_TIMEOUT", "45")
        vars(app_settings).clear()  # they have been read before
        breaker = await get_circuit_breaker("x", success_threshold=2)
        assert (breaker.failure_threshold, breaker.recovery_timeout) == (7, 45.0)
        assert breaker.success_threshold == 2
        assert await get_circuit_breaker("x") is breaker


class TestDisabledMode:
    """8. disabled mode."""

    async def test_decorators_pass_through(self) -> None:
        """By default nothing is guarded, and no circuit comes into being."""

        @with_circuit_breaker("x")
        async def guarded() -> str:
            return await fail()

        @retry_worker_operation(max_attempts=1)
        async def retried() -> str:
            return await fail()

        for _ in range(10):
            for function in (guarded, retried):
                with pytest.raises(Down):
                    await function()
        assert get_circuit_breaker_sync("x") is None
        assert get_circuit_breaker_sync("worker:retried") is None


class TestRetryIntegration:
    """9. integration with the retry decorators."""

    async def test_an_open_circuit_stops_the_retrying(self) -> None:
        """Each exhausted loop is one failure; then nothing is attempted any more."""
        attempts = 0

        @retry_worker_operation(max_attempts=3, min_wait=1, max_wait=2)
        async def always_fails() -> None:
            nonlocal attempts
            attempts += 1
            raise Down

        with (
            patch.object(app_settings.circuit_breaker, "enabled", True),
            patch.object(app_settings.circuit_breaker, "failure_threshold", 2),
            patch.object(app_settings.circuit_breaker, "recovery_timeout", 600),
        ):
            for _ in range(2):
                with pytest.raises(Down):
                    await always_fails()
            assert attempts == 6
            with pytest.raises(CircuitBreakerOpenError, match="worker:always_fails"):
                await always_fails()
            assert attempts == 6

    async def test_it_recovers(self) -> None:
        """After the recovery timeout a whole retry loop is the probe."""
        attempts = 0

        @retry_worker_operation(max_attempts=3, min_wait=1, max_wait=2)
        async def recovers_late() -> str:
            nonlocal attempts
            attempts += 1
            if attempts <= 5:
                raise Down
            return "recovered"

        app_settings.circuit_breaker.enabled = True
        app_settings.circuit_breaker.failure_threshold = 1
        app_settings.circuit_breaker.recovery_timeout = 60
        with pytest.raises(Down):
            await recovers_late()
        await anyio.sleep(60)
        assert await recovers_late() == "recovered"
        breaker = get_circuit_breaker_sync("worker:recovers_late")
        assert breaker is not None
        assert breaker.state is CircuitState.CLOSED
