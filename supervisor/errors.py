"""What callers may have to catch; each message says what happened and what to do."""

from __future__ import annotations

import math
from typing import Final

from supervisor.messages import CircuitState

LONGEST_FAILURE: Final = 200
"""Characters that are kept of a failure's text."""


class CircuitBreakerOpenError(Exception):
    """The circuit refused the call without running it.

    Attributes:
        operation_name: the circuit's name.
        retry_after: seconds until a call may be admitted; 0.0 when that cannot be known
            since a probe is running, infinite when the circuit has given up for good.
        state: the state that refused: OPEN or HALF_OPEN.
        last_failure: the failure that opened the circuit, as text, or None.
    """

    # A refusal is to cost little. Slots spare it a dictionary, and positional arguments are
    # half the price of keywords; `args` has been set by `BaseException.__new__`.
    __slots__ = ("last_failure", "operation_name", "retry_after", "state")

    def __init__(
        self,
        operation_name: str,
        retry_after: float = 0.0,
        state: CircuitState = CircuitState.OPEN,
        last_failure: str | None = None,
    ) -> None:
        self.operation_name = operation_name
        self.retry_after = retry_after + 0.0  # a float, also if it was given as an int
        self.state = state
        self.last_failure = last_failure

    def __str__(self) -> str:
        because = f" (last failure: {self.last_failure})" if self.last_failure else ""
        if self.retry_after == math.inf:
            verdict = "has been given up and refuses every call"
        elif self.state is CircuitState.HALF_OPEN:
            verdict = "is half-open and its probe is still running; retry soon"
        else:
            verdict = f"is open; retry after {self.retry_after:.1f} s"
        return f"circuit {self.operation_name!r} {verdict}{because}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between worker processes, with the notes that were added to them.
        attributes = (self.operation_name, self.retry_after, self.state, self.last_failure)
        return type(self), attributes, self.__dict__.copy()


class CircuitStoppedError(RuntimeError):
    """The circuit takes no more calls: it was stopped, its supervisor's block was left, or it
    belongs to another event loop.
    """


class CircuitCrashedError(RuntimeError):
    """The circuit's actor crashed on this very request, or too often to be restarted again."""


class PermitSettledError(RuntimeError):
    """The permit has been settled before: its outcome is already counted."""


class PolicyConflictError(ValueError):
    """The name belongs to a circuit with a different policy."""


def describe(error: BaseException) -> str:
    """Return the error as text; its own `__str__` is user code and may raise."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    return text[:LONGEST_FAILURE]
