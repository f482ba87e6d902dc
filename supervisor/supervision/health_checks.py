"""Health checks: functions of the application that probe a half-open circuit, for its callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import anyio

from supervisor.errors import CircuitBreakerOpenError, CircuitStoppedError
from supervisor.events import StateChanged
from supervisor.guard import CircuitBreaker
from supervisor.machine import CircuitState

Check = Callable[[], Awaitable[object]]


class HealthCheck:
    """Is told when a circuit becomes half-open, and probes it until there is a verdict.

    Args:
        breakers: those of the supervisor, by name, at any time.
        check: raises an error unless the dependency works.
    """

    def __init__(self, breakers: Mapping[str, CircuitBreaker], check: Check) -> None:
        self._breakers = breakers
        self._check = check

    async def __call__(self, change: StateChanged) -> None:
        """Probe the circuit, if it is half-open."""
        breaker = self._breakers.get(change.circuit)
        while breaker is not None and breaker.state is CircuitState.HALF_OPEN:
            try:
                await self._probe(breaker, breaker.probe_timeout)
            except CircuitStoppedError:
                return
            except CircuitBreakerOpenError:
                continue  # callers' probes have taken all places, and may have come to a verdict

    async def _probe(self, breaker: CircuitBreaker, seconds: float) -> None:
        """Make one check. Whatever it raises is a failure: what counts as nothing would be asked
        again at once.
        """
        with await breaker.acquire(wait=seconds, wait_for="verdict") as permit:
            try:
                with anyio.move_on_after(seconds) as limit:
                    await self._check()
            except Exception as error:
                permit.fail(error)
            else:
                if limit.cancelled_caught:
                    permit.fail(TimeoutError(f"health check still running after {seconds:g} s"))
