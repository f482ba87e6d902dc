"""What a store holds of a circuit: in whole milliseconds of its clock, and pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from supervisor.machine import CircuitState
from supervisor.sharing.store import LONGEST_FAILURE, NEVER, Epoch, Record

LONGEST: Final = 10**12
"""No time is longer, in milliseconds: thirty years, which is for ever."""

REMEMBERED_CLOSED: Final = 60 * 60 * 1000
REMEMBERED_OPEN: Final = 24 * REMEMBERED_CLOSED
"""Milliseconds after which a record is dropped: since it is CLOSED, which latecomers have to hear;
since it could be probed, if nobody wants to, and members do not take that for CLOSED.
"""

BY_POLICY: Final = (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN)


class Term(NamedTuple):
    """When something ends, and how long it was meant to last, in milliseconds."""

    ends: int
    length: int


class Count(NamedTuple):
    """How many calls have failed at a member, and when that says nothing any more."""

    ends: int
    length: int
    failures: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds of one circuit, in milliseconds of the store's clock.

    Attributes:
        epoch: of its last change; `NEVER` if there is no record, but votes and counts at most.
        ends: when it may be probed; of a state other than OPEN, when that was entered.
        length: how long it is open; 0 if it is not.
        won: successes of probes in this period of HALF_OPEN.
        leases: the tokens of probes that run.
        votes: members that say it is open, while the quorum is not reached.
        counts: failures of members, while there are too few.
    """

    state: CircuitState = CircuitState.CLOSED
    epoch: Epoch = NEVER
    ends: int = 0
    length: int = 0
    failed_recoveries: int = 0
    failure: str | None = None
    owner: str = ""
    won: int = 0
    leases: Mapping[str, Term] = field(default_factory=dict[str, Term])
    votes: Mapping[str, Term] = field(default_factory=dict[str, Term])
    counts: Mapping[str, Count] = field(default_factory=dict[str, Count])


NOTHING: Final = Held()


def bytes_of(name: str) -> bytes:
    """Return a name as bytes; halves of characters, which any `str` may have in it, included."""
    return name.encode("utf-8", "surrogatepass")


def shortened(failure: str | None) -> str | None:
    """Return as much of a text as is kept."""
    return None if failure is None else failure[:LONGEST_FAILURE]


def milliseconds(seconds: float) -> int:
    """Return a length as a store has it; what is not over at once takes a millisecond at least."""
    if seconds <= 0.0:
        return 0
    return int(min(max(round(min(seconds, LONGEST) * 1000), 1), LONGEST))


def record_of(held: Held) -> Record | None:
    """Return what members are told of that."""
    if held.epoch == NEVER:
        return None
    return Record(
        held.state,
        held.epoch,
        held.ends / 1000,
        held.length / 1000,
        held.failed_recoveries,
        held.failure,
        held.owner,
    )


def as_of(held: Held, now: int) -> Held:
    """Return what is left of it at that time."""
    leases, votes = _living(held.leases, now), _living(held.votes, now)
    counts = {
        owner: Count(min(ends, now + length), length, failures)
        for owner, (ends, length, failures) in held.counts.items()
        if ends > now
    }
    ends = min(held.ends, now + held.length)
    if not leases and held.state in BY_POLICY:
        closed = held.state is CircuitState.CLOSED
        if ends + (REMEMBERED_CLOSED if closed else REMEMBERED_OPEN) <= now:
            return replace(NOTHING, votes=votes, counts=counts)
    return replace(held, ends=ends, leases=leases, votes=votes, counts=counts)


def _living(terms: Mapping[str, Term], now: int) -> Mapping[str, Term]:
    """Return those that have not ended; after a clock that went back, for their length at most."""
    return {
        name: Term(min(ends, now + length), length)
        for name, (ends, length) in terms.items()
        if ends > now
    }
