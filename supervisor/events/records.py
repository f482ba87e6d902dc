"""What has happened to circuits, and to their calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from supervisor.circuit import GivenUp
from supervisor.machine import CircuitState, Origin
from supervisor.policy import Failure, Outcome, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that has happened.

    Attributes:
        sequence: its number in its supervisor, counted from 1 without a gap.
        at: the event loop's time in seconds.
        circuit: the circuit's name; empty for what is no single circuit's.
    """

    sequence: int
    at: float
    circuit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitStarted(Event):
    """A circuit was created, and its actor started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged(Event):
    """A circuit went from one state to another.

    Attributes:
        from_state, to_state: the two states.
        period: the number of the period that began, per circuit.
        failure_count: consecutive failures, or those in the window.
        retry_after: seconds until it will be HALF_OPEN, if it is OPEN or FORCED_OPEN now, infinite
            if the latter has no end; else 0.0.
        last_failure: what has opened it, as text; None once it is closed, or let through by hand.
        metrics_only: whether it only would have done so, since its state was set by hand.
        origin: who has brought that about: "here", the circuit's own calls and time; "fleet", those
            that it is shared with; "by hand", somebody by hand.
    """

    from_state: CircuitState
    to_state: CircuitState
    period: int
    failure_count: int
    retry_after: float
    last_failure: str | None
    metrics_only: bool = False
    origin: Origin = "here"

    @property
    def manual(self) -> bool:
        """Whether somebody has brought that about by hand, here: by a reset, or by a state set."""
        return self.origin == "by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsRefused(Event):
    """A circuit has refused calls: told of one once a minute at most, and when the supervisor ends.

    Attributes:
        count: how many since this was told last.
        seconds: for how long calls have been counted for that.
    """

    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitReconfigured(Event):
    """A circuit goes by another policy from now on.

    Attributes:
        policy: that policy.
    """

    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRestarted(Event):
    """The actor crashed and was started again, with its state kept.

    Attributes:
        error: the crash, as text.
        pause: seconds after which it starts; see `Supervisor`.
    """

    error: str
    pause: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitGivenUp(Event):
    """The actor crashed too often and will not be started again.

    Attributes:
        verdict: what becomes of the circuit's calls.
        error: the last crash, as text.
    """

    verdict: GivenUp | Literal["escalate"]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerGaveUp(Event):
    """A supervisor that was entered inside this one's block has given up a circuit of its own;
    `circuit` is empty.

    Attributes:
        inner_circuit: that circuit's name.
        verdict, error: as in `CircuitGivenUp`.
    """

    inner_circuit: str
    verdict: GivenUp | Literal["escalate"]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitStopped(Event):
    """A circuit was stopped; one of the same name that starts later is another circuit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRetired(CircuitStopped):
    """An idle circuit was stopped by its supervisor; whoever calls it starts a successor.

    Attributes:
        reason: "idle" if it was so for long enough, "full" if it made room for another one.
    """

    reason: Literal["idle", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetJoined(Event):
    """The supervisor has reached the store that its circuits are shared through, perhaps again.

    Attributes:
        members: how many supervisors there are in the fleet, this one included.
    """

    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLost(Event):
    """That store cannot be reached: every circuit decides alone, until `FleetJoined`.

    Attributes:
        error: why, as text.
    """

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(Event):
    """A call that was admitted has ended; told by `Supervisor.calls` alone, which numbers it.

    Attributes:
        outcome: what it counts as.
        kind: what kind of failure it is; None if it is none.
        duration: seconds for which it ran.
        waited: seconds for which it waited to be admitted before.
        probe: whether a half-open circuit has let it through.
        retry: whether it was another attempt of a call that had failed.
    """

    outcome: Outcome
    kind: Failure | None
    duration: float
    waited: float
    probe: bool
    retry: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRefused(Event):
    """A call was not admitted; told like `CallEnded`.

    Attributes:
        reason: why, as in `Statistics.refusals`.
        retry: whether it was another attempt of a call that had failed.
    """

    reason: str
    retry: bool


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """The stream's buffer was full; these many events could not be delivered here.

    Attributes:
        count: how many.
        sequence: the number of the last of them.
    """

    count: int
    sequence: int
