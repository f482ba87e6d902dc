"""How an admitted call can end, and what kinds of failure there can be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from supervisor.arguments import check_count, check_name, check_seconds


class Outcome(Enum):
    """How an admitted call ended.

    IGNORED and CANCELLED say nothing of the dependency: the policy or the caller says so of the
    former, and the latter was cut short.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IGNORED = "ignored"
    CANCELLED = "cancelled"

    @property
    def counts(self) -> bool:
        """Whether it says anything about the dependency."""
        return self is _SUCCEEDED or self is _FAILED


# Python 3.11 takes 50 ns to look up a member in its class.
_SUCCEEDED: Final = Outcome.SUCCEEDED
_FAILED: Final = Outcome.FAILED


def hinted(value: object) -> float | None:
    """Return the seconds that a server asks for; None if it is no finite number above 0.

    A server's nonsense must not take the place of the error that it has come with.
    """
    if value is None:  # as in most failures
        return None
    try:
        return check_seconds("a hint", value)
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure that a classifier tells apart from others; see `Policy.classify`.

    Args:
        kind: what it is, such as "rate limit", 1 to 255 printable characters.
        weight: for how many failures it counts while the circuit is closed, 0 or more.
        threshold: failures of this kind that open the circuit even if those of all kinds do
            not, 1 or more; counted like those, in a row or in the window, by their number.
        recovery_timeout: seconds that the circuit stays open if it is this failure
            that opens it, in the place of the policy's.
        retry_after: seconds for which the circuit opens at once, since the dependency has asked
            for that; a longer time by the policy is not shortened. Whatever is no finite number
            above 0 is no hint: it is None then, as is `recovery_timeout`.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    kind: str | None = None
    weight: int = 1
    threshold: int | None = None
    recovery_timeout: float | None = None
    retry_after: float | None = None

    @property
    def has_own_limits(self) -> bool:
        """Whether it may open the circuit by itself, whatever others count."""
        return self.threshold is not None or self.retry_after is not None

    def __post_init__(self) -> None:
        if self.kind is not None:
            object.__setattr__(self, "kind", check_name(self.kind, "a failure's kind"))
        check_count("weight", self.weight, at_least=0)
        if self.threshold is not None:
            check_count("threshold", self.threshold)
            if self.kind is None:
                raise ValueError("threshold needs a kind, of which failures are counted")
        for field in ("recovery_timeout", "retry_after"):
            object.__setattr__(self, field, hinted(getattr(self, field)))


PLAIN_FAILURE = Failure()
"""One that no classifier has told apart."""

Judgement = Failure | Outcome
"""What a call counts as: a failure of some kind, or SUCCEEDED, IGNORED or CANCELLED."""
