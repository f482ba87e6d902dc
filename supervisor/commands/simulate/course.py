"""What one policy would have done on a trace, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.machine import CircuitState
from supervisor.policy import Outcome, Policy

Times = tuple[float, ...]


class SimulationError(ValueError):
    """What was asked for does not go together, or cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Period:
    """A time that the circuit has spent in one state."""

    state: CircuitState
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Course:
    """What one policy would have done until the end of the trace.

    Attributes:
        name: what the policy is called.
        policy: what was played.
        plain: whether callers told no kinds of failures, and did not wait.
        periods: without a gap.
        admitted: when calls were admitted.
        refused: when calls were refused.
        ended: when those calls were admitted that have ended so for their callers.
        unknown: when those calls were admitted of which the trace does not tell how they end.
        running: when those calls were admitted that have not ended.
        slow: when those calls were admitted that were slow.
        waiting: how many were still waiting to be admitted.
    """

    name: str
    policy: Policy
    plain: bool
    periods: tuple[Period, ...]
    admitted: Times
    refused: Times
    ended: Mapping[Outcome, Times]
    unknown: Times
    running: Times
    slow: Times
    waiting: int

    @property
    def failed(self) -> Times:
        """When those calls were admitted that have failed."""
        return self.ended[Outcome.FAILED]

    @property
    def times_opened(self) -> int:
        """How often the circuit was opened."""
        return sum(period.state is CircuitState.OPEN for period in self.periods)

    def seconds(self, state: CircuitState) -> float:
        """Return how long the circuit was in that state."""
        return sum(period.end - period.begin for period in self.periods if period.state is state)
