"""What callers may have to catch; each message says what happened and what to do."""

from __future__ import annotations

import math
from typing import Final

from supervisor.arguments import shown
from supervisor.machine import CircuitState, Reason

LONGEST_FAILURE: Final = 200
"""Characters that are kept of a failure's text."""


class CircuitBreakerOpenError(Exception):
    """The circuit refused the call without running it.

    Attributes:
        operation_name: the circuit's name.
        retry_after: seconds until a call may be admitted; 0.0 when that cannot be known
            since a probe is running or only a share of calls is admitted, infinite when the
            circuit has given up for good, or is isolated until it is released.
        state: the state that refused.
        last_failure: the failure that opened the circuit, as text, or None.
        reason: "open", "half_open" or "forced_open", as the state; or, of a closed circuit,
            "ramp" or "throttled"; or "retry_budget" in whatever state.
    """

    # A refusal is to cost little. Slots spare it a dictionary, and positional arguments are
    # half the price of keywords; `args` has been set by `BaseException.__new__`.
    __slots__ = ("_reason", "last_failure", "operation_name", "retry_after", "state")

    def __init__(
        self,
        operation_name: str,
        retry_after: float = 0.0,
        state: CircuitState = CircuitState.OPEN,
        last_failure: str | None = None,
        reason: Reason | None = None,
    ) -> None:
        self.operation_name = operation_name
        self.retry_after = retry_after + 0.0  # a float, also if it was given as an int
        self.state = state
        self.last_failure = last_failure
        self._reason = reason

    @property
    def reason(self) -> str:
        """Why the call was refused."""
        return self._reason or self.state.value

    def __str__(self) -> str:
        because = f" (last failure: {self.last_failure})" if self.last_failure else ""
        if self.reason in _TEXTS:
            what = _TEXTS[self.reason]
        elif self.retry_after == math.inf:
            what = "has been given up and refuses every call"
        elif self.state is CircuitState.HALF_OPEN:
            what = "is half-open and its probe is still running; retry soon"
        else:
            what = f"is open; retry after {self.retry_after:.1f} s"
        return f"circuit {self.operation_name!r} {what}{because}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between worker processes, with the notes that were added to them.
        attributes = (
            self.operation_name,
            self.retry_after,
            self.state,
            self.last_failure,
            self._reason,
        )
        return type(self), attributes, self.__dict__.copy()


_TEXTS: Final = {
    "forced_open": "was opened by hand and refuses every call until it is released",
    "ramp": "has closed a short while ago and admits only a growing share of its calls; retry soon",
    "throttled": "admits only a share of its calls, since many have failed of late; retry later",
    "retry_budget": "has seen too many retries of late; give up, or retry much later",
}


class CircuitStoppedError(RuntimeError):
    """The circuit takes no more calls: it was stopped, its supervisor's block was left, or it
    belongs to another event loop.
    """


class CircuitCrashedError(RuntimeError):
    """The circuit's actor crashed on this very request, or too often to be restarted again."""


class PermitSettledError(RuntimeError):
    """The permit has been settled before: its outcome is already counted."""


class TooManyCircuitsError(RuntimeError):
    """The supervisor has as many circuits as it may have, and did not start another one."""


class PolicyConflictError(ValueError):
    """The name belongs to a circuit with a different policy."""


class CallTimeoutError(TimeoutError):
    """The call has run for the `timeout` of its circuit's policy, and was cancelled."""


class FailedResultError(Exception):
    """What a fallback is told of a result that was returned and counts as a failure.

    Attributes:
        operation_name: the circuit's name.
        result: what was returned.
    """

    def __init__(self, operation_name: str, result: object) -> None:
        super().__init__(operation_name, result)
        self.operation_name = operation_name
        self.result = result

    def __str__(self) -> str:
        return f"a call by circuit {self.operation_name!r} returned {shown(self.result)}"


def describe(error: BaseException) -> str:
    """Return the error as text; its own `__str__` is user code and may raise."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    return text[:LONGEST_FAILURE]
