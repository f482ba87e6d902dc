"""What a fleet has in common: records of circuits, the steps by which they change, and news of it.

A *fleet* is all supervisors, in whatever processes and machines, that share a space of one store.
Its terms: an *epoch* is the place of a change in the news of the space, and there is one order of
all of them; a *record* is what the fleet says of one circuit; a *token* is the right to run one
probe, and has an owner and an end.

The store alone decides what becomes of a record, in one step at a time; a member asks, and may be
told something else. Each step may be taken twice with the same arguments, as after a lost answer:
`rules` says what it does then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from supervisor.machine import CircuitState


class Epoch(NamedTuple):
    """The place of a change among all changes of the space; later ones are greater."""

    milliseconds: int
    number: int


NEVER: Final = Epoch(0, 0)
"""Before every change."""

Verdict = Literal["succeeded", "failed", "given back"]
"""How a probe has ended, as far as the fleet is concerned."""

Outcome = Literal["told", "leased", "busy", "alone", "fenced"]
"""What becomes of a step; see `Answer`."""

LONGEST_NAME: Final = 1020
"""Bytes of a circuit's name, in UTF-8: no name that a circuit may have is longer."""

LONGEST_FAILURE: Final = 500
"""Characters that are kept of what has opened a circuit."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the fleet says of one circuit.

    Attributes:
        epoch: of its last change.
        until: when it may be probed, by the store's clock, in seconds.
        seconds: how long it is open from the change on; 0 if it is not open.
        failed_recoveries: in a row.
        failure: what has opened it, as text, if that is shared; else None.
        owner: the member that has made the change.
    """

    state: CircuitState
    epoch: Epoch
    until: float
    seconds: float
    failed_recoveries: int
    failure: str | None
    owner: str


@dataclass(frozen=True, slots=True)
class News:
    """A change of a circuit; or, without a record, that a probe has a place again.

    What nobody can read is news of the circuit `""`, which there is not, before which nothing was.

    Attributes:
        before: the epoch of the news before this, so that a gap is seen.
    """

    circuit: str
    epoch: Epoch
    before: Epoch
    record: Record | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What has become of a step.

    Attributes:
        outcome:
            "told": the record says how things stand;
            "leased": the asker may probe, under its token, up to `until`;
            "busy": all places are taken; one is free at `until`, if not before;
            "alone": the fleet has no opinion: the asker decides;
            "fenced": the token, or the period, has ended: nothing is changed. So it is if the same
            verdict is told again; the record says what has come of it.
        now: the time of the store's clock.
        until: see above; by the store's clock.
        record: as it is after the step; None if there is none.
    """

    outcome: Outcome
    now: float
    record: Record | None
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Opening:
    """A circuit has opened at a member that knew the fleet's `view` of it.

    The first one counts, and one whose view is older than the record does not. One that was asked
    for by the server itself (`hinted`) may prolong it, never shorten. With a quorum above 1, the
    circuit is open for all when so many members have said so within the time that each is open.
    """

    circuit: str
    view: Epoch
    seconds: float
    failed_recoveries: int
    hinted: bool
    failure: str | None


@dataclass(frozen=True, slots=True)
class Asking:
    """A member wants to run a probe: `needed` successes close the circuit, `at_once` may run."""

    circuit: str
    view: Epoch
    token: str
    seconds: float
    needed: int
    at_once: int
    failed_recoveries: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Settling:
    """A probe has ended. If it has failed, the circuit is open for `seconds` more."""

    circuit: str
    epoch: Epoch
    token: str
    verdict: Verdict
    needed: int
    seconds: float
    failed_recoveries: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Renewing:
    """A probe still runs: its token shall last for `seconds` from now."""

    circuit: str
    epoch: Epoch
    token: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Forcing:
    """Somebody sets the state of a circuit for all by hand; CLOSED releases it.

    If it is so already, nothing is changed, unless the member knew of something later: `view`.
    """

    circuit: str
    state: CircuitState
    view: Epoch = NEVER


@dataclass(frozen=True, slots=True)
class Counting:
    """At a member, that many calls of a closed circuit have failed in the last `within` seconds.

    What it told before is void. When those of all members are `threshold` or more, of as many
    members as the quorum asks for, the circuit is open for all, for `seconds`.
    """

    circuit: str
    view: Epoch
    failures: int
    within: float
    threshold: int
    seconds: float
    failed_recoveries: int
    failure: str | None


Step = Opening | Asking | Settling | Renewing | Forcing | Counting


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a sign of life.

    Attributes:
        now: the time of the store's clock.
        latest: the epoch of the latest news.
        members: how many have been heard of lately, the asker included.
    """

    now: float
    latest: Epoch
    members: int


@dataclass(frozen=True, slots=True)
class Standing:
    """All that is held of one circuit, for who looks on.

    Attributes:
        record: None if no change is held, but votes.
        won: probes that have succeeded since it is half open.
        leases: when the token of each probe that runs ends, by the store's clock, in seconds.
        votes: likewise, the vote of each member that says it is open, if the quorum is not reached.
    """

    record: Record | None
    won: int
    leases: Mapping[str, float]
    votes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sight:
    """How a fleet stands.

    Attributes:
        now: the time of the store's clock, in seconds.
        latest: the epoch of the latest news.
        members: when each of them has given its latest sign of life.
        circuits: what is held of them, by name.
    """

    now: float
    latest: Epoch
    members: Mapping[str, float]
    circuits: Mapping[str, Standing]


class Link(Protocol):
    """A member's connection to the store, while it lasts.

    Every method raises whatever its client raises; the member takes each `Exception` as the loss
    of the link, and makes a new one. None takes longer than the time that the store was made with.
    """

    async def take(self, step: Step, seen: Epoch) -> Answer:
        """Let the store take a step; what it tells of it has an epoch later than `seen`."""
        ...

    async def beat(self, seconds: float) -> Beat:
        """Give a sign of life, which lasts for `seconds`; it proves that writing works.

        One of 0 seconds is the last one: the member leaves.
        """
        ...

    def snapshot(self) -> AsyncIterator[dict[str, Record]]:
        """Yield all records that are not plainly closed, or not for long, in handy parts.

        They are not all of one moment: whoever heard a beat before listens for news after that.
        """
        ...

    async def news(self, after: Epoch, seconds: float) -> list[News]:
        """Wait for news, up to so many seconds; return the first ones after that epoch, in order.

        They do not show that the store has come back empty. A beat does: then the latest epoch is
        before the one that is asked for here.
        """
        ...

    async def look(self) -> Sight:
        """Return how the fleet stands; who gives no sign of life is no part of it."""
        ...

    async def past(self, count: int) -> list[News]:
        """Return the latest news that are still there, so many at most, 1 or more, in order."""
        ...
