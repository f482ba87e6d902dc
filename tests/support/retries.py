"""What the tests of retries share: a dependency that fails as told, and ways to retry it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitState,
    Statistics,
    app_settings,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
)

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

DECORATORS: dict[str, Callable[..., Any]] = {
    "worker": retry_worker_operation,
    "storage": retry_storage_operation,
    "scheduler": retry_scheduler_operation,
    "api": retry_api_call,
}
EACH_TYPE = pytest.mark.parametrize("operation_type", DECORATORS)
EACH_MODE = pytest.mark.parametrize("mode", ["disabled", "loop", "attempt", "patient"])


class Dependency:
    """Raises or returns what it was given, one by one, the last for ever; notes the times."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []

    async def fetch(self) -> object:
        """Return the next outcome, or raise it."""
        self.times.append(anyio.current_time())
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def attempts(self) -> int:
        """How often it was called."""
        return len(self.times)

    @property
    def waits(self) -> list[float]:
        """The seconds between one attempt and the next."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def down(attempts: int) -> list[ConnectionError]:
    return [ConnectionError(f"attempt {number}") for number in range(attempts)]


def statistics(circuit: str) -> Statistics:
    breaker = get_circuit_breaker_sync(circuit)
    assert breaker is not None
    return breaker.statistics()


def counted(circuit: str) -> dict[str, int]:
    """The figures of a circuit that are not 0."""
    figures = statistics(circuit)
    names = ("started", "succeeded", "failed", "ignored", "cancelled", "rejected", "in_flight")
    return {name: getattr(figures, name) for name in names if getattr(figures, name)}


def in_mode(mode: str, operation_type: str = "storage", **options: Any) -> Callable[..., Any]:
    """A retry decorator with circuits disabled, or with one of the ways to guard."""
    app_settings.circuit_breaker.enabled = mode != "disabled"
    if mode == "patient":
        options = {"guard": "attempt", "wait_for_recovery": True, **options}
    elif mode == "attempt":
        options["guard"] = mode
    return DECORATORS[operation_type](**options)


def storage(max_attempts: int | None = None, **options: Any) -> Callable[..., Any]:
    """A retry decorator that waits 1, 2, 4 and 8 seconds."""
    return retry_storage_operation(max_attempts, 1, 8, **options)


def patient(max_attempts: int | None = None) -> Callable[..., Any]:
    """The same, and it waits for a recovery."""
    return storage(max_attempts, guard="attempt", wait_for_recovery=True)


async def open_circuit(name: str) -> CircuitBreaker:
    """Open the circuit of that name by failures, as another task may do."""
    breaker = await get_circuit_breaker(name)
    for _ in range(breaker.failure_threshold - breaker.failure_count):
        with pytest.raises(ConnectionError):
            await breaker.call(Dependency(ConnectionError()).fetch)
    assert breaker.state is OPEN
    return breaker


async def forever() -> None:
    await anyio.sleep_forever()
