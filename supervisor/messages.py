"""What goes into a circuit's machine and what comes out of it: frozen records, all of them.

Commands are imperative, what has happened is in the past tense.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

NO_PROBE: Final = 0
"""The `probe` of a grant that needs no permit of its own, since the circuit is closed."""


class CircuitState(str, Enum):  # noqa: UP042  (StrEnum's str() differs; callers log it)
    """Whether a circuit lets calls through; equal to the string of its value."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(Enum):
    """How an admitted call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IGNORED = "ignored"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Acquire:
    """Ask to be admitted; `permit` is the asker's number, unique in its circuit."""

    permit: int
    at: float


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The asker of `permit` was cancelled, and will not use it."""

    permit: int
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Settle:
    """Report the outcome of an admitted call, or the same outcome of several in a row.

    `at` may be left out where the outcome cannot move the circuit to another state, since
    reading the clock costs more than all the rest of such a report, and where no event loop
    runs.
    """

    period: int
    probe: int
    outcome: Outcome
    at: float | None = None
    failure: str | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Reset:
    """Close the circuit and forget its failures, whatever its state."""

    at: float | None = None


Message = Acquire | Withdraw | Settle | Reset


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for one probe, or for any number of calls while a CLOSED period lasts."""

    period: int
    probe: int = NO_PROBE


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that must not run, and the seconds after which it may be worth another try."""

    state: CircuitState
    retry_after: float
    last_failure: str | None


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, as it happened."""

    from_state: CircuitState
    to_state: CircuitState
    at: float
    period: int
    failure_count: int
    retry_after: float
    last_failure: str | None


@dataclass(frozen=True, slots=True)
class Lease:
    """What the machine answers in advance, until something adverse is reported.

    Attributes:
        grant: permission for every call, void when `slack` is 0.
        slack: adverse outcomes, in whatever order, after which the circuit could be open.
        refuse_until: the time up to which every call is refused.
    """

    state: CircuitState
    period: int
    grant: Grant
    slack: int
    refuse_until: float
    last_failure: str | None
