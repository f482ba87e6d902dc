"""What callers may have to catch."""

from __future__ import annotations

import copy
import pickle

import pytest

from supervisor import CircuitBreakerOpenError, CircuitState


def test_its_attributes() -> None:
    """The name and the seconds, as existing code reads them; an open circuit by default."""
    error = CircuitBreakerOpenError("payments", 5)
    assert (error.operation_name, error.retry_after) == ("payments", 5.0)
    assert isinstance(error.retry_after, float)
    assert CircuitBreakerOpenError("payments").retry_after == 0.0
    assert (error.state, error.last_failure) == (CircuitState.OPEN, None)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            CircuitBreakerOpenError("payments", 5),
            "circuit 'payments' is open; retry after 5.0 s",
        ),
        (
            CircuitBreakerOpenError("payments", 12.34, last_failure="OSError: no route"),
            "circuit 'payments' is open; retry after 12.3 s (last failure: OSError: no route)",
        ),
        (
            CircuitBreakerOpenError("payments", state=CircuitState.HALF_OPEN),
            "circuit 'payments' is half-open and its probe is still running; retry soon",
        ),
        (
            CircuitBreakerOpenError("payments", float("inf")),
            "circuit 'payments' has been given up and refuses every call",
        ),
    ],
)
def test_its_text(error: CircuitBreakerOpenError, text: str) -> None:
    """The text names the circuit and the wait, and says what to do."""
    assert str(error) == text


@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_it_travels_between_processes(duplicate: object) -> None:
    """A pickled or copied error has all of its attributes."""
    assert callable(duplicate)
    error = CircuitBreakerOpenError(
        "payments", 5, state=CircuitState.HALF_OPEN, last_failure="OSError"
    )
    twin = duplicate(error)
    assert type(twin) is CircuitBreakerOpenError
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)
