"""Health checks: functions of the application that probe a half-open circuit, for its callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import anyio

from supervisor.errors import CircuitBreakerOpenError, CircuitStoppedError
from supervisor.events import StateChanged
from supervisor.guard import CircuitBreaker
from supervisor.loop import is_cancellation, is_cancelled_itself
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
        while breaker is not None and _is_to_be_probed(breaker):
            try:
                await self._probe(breaker, breaker.probe_timeout)
            except CircuitStoppedError:
                return
            except CircuitBreakerOpenError as refusal:
                # Callers' probes have taken all places, and may have come to a verdict. Only a
                # pause of its actor refuses at once.
                if refusal.reason == "restarting":
                    await anyio.sleep(refusal.retry_after)

    async def _probe(self, breaker: CircuitBreaker, seconds: float) -> None:
        """Make one check. Whatever it raises is a failure: what counts as nothing would be asked
        again at once.
        """
        with await breaker.acquire(wait=seconds, wait_for="verdict") as permit:
            if breaker.state is not CircuitState.HALF_OPEN:
                permit.ignore()  # a caller's probe has closed it, and by that let this one go
                return
            try:
                with anyio.move_on_after(seconds) as limit:
                    await self._check()
            except BaseException as error:
                if not _is_its_own(error):
                    raise
                permit.fail(error)
            else:
                if limit.cancelled_caught:
                    permit.fail(TimeoutError(f"health check still running after {seconds:g} s"))


def _is_to_be_probed(breaker: CircuitBreaker) -> bool:
    """Whether there will be a verdict: one that has been given up stays as it was."""
    figures = breaker.statistics()
    return figures.running and figures.state is CircuitState.HALF_OPEN


def _is_its_own(error: BaseException) -> bool:
    """Whether an error is the check's, and does not end the task that makes it."""
    if isinstance(error, Exception):
        return True
    return is_cancellation(error) and not is_cancelled_itself()
