"""What each step makes of what a store holds of a circuit: pure, in whole milliseconds.

The steps of a store are these rules, taken one at a time. Redis has them once more, in `lua/`; one
table of cases and one model compare the two. Four things hold for all of them:

- A step may be repeated, as after a lost answer: what it has done is not done twice. Only a state
  that was set by hand, and that somebody has released meanwhile, is set again.
- The clock of the store may be set. No end is farther away than it was when it was set: so a clock
  that goes back leaves nothing open, or taken, for longer than it was meant to be once more.
- An epoch is later than all that the store and the asker have seen, whatever the clock says.
- A store may come back from an old copy. What it holds is void if the asker has seen a later change
  of the same circuit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, assert_never

from supervisor.machine import CircuitState
from supervisor.sharing.store import (
    LONGEST_FAILURE,
    NEVER,
    Asking,
    Epoch,
    Forcing,
    Opening,
    Outcome,
    Record,
    Renewing,
    Settling,
    Step,
)

LONGEST: Final = 10**12
"""No time is longer, in milliseconds: thirty years, which is for ever."""

EARLY: Final = 50
"""Milliseconds by which a probe may be asked for too soon: clocks are read over a network."""

REMEMBERED_CLOSED: Final = 60 * 60 * 1000
REMEMBERED_OPEN: Final = 24 * REMEMBERED_CLOSED
"""Milliseconds after which a record is dropped: since it is CLOSED, which latecomers have to hear;
since it could be probed, if nobody wants to, and members do not take that for CLOSED.
"""

_BY_POLICY: Final = (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN)


class Term(NamedTuple):
    """When something ends, and how long it was meant to last, in milliseconds."""

    ends: int
    length: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds of one circuit, in milliseconds of the store's clock.

    Attributes:
        epoch: of its last change; `NEVER` if there is no record, but votes at most.
        ends: when it may be probed; of a state other than OPEN, when that was entered.
        length: how long it is open; 0 if it is not.
        won: successes of probes in this period of HALF_OPEN.
        leases: the tokens of probes that run.
        votes: members that say it is open, while the quorum is not reached.
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


NOTHING: Final = Held()


class Asker(NamedTuple):
    """Who wants a step to be taken: the member, the latest epoch that it has seen, its quorum."""

    owner: str
    seen: Epoch
    quorum: int


class Taken(NamedTuple):
    """What has become of a step.

    Attributes:
        held: what the store holds of the circuit from now on; `NOTHING`: nothing.
        outcome, ends: those of the answer.
        news: whether members are told of the change, or that a probe has a place.
    """

    held: Held
    outcome: Outcome
    ends: int = 0
    news: Literal["change", "place"] | None = None


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


def later_epoch(now: int, *seen: Epoch) -> Epoch:
    """Return the epoch of a change at that time, later than all those."""
    latest = max(seen)
    return Epoch(now, 0) if now > latest.milliseconds else latest._replace(number=latest.number + 1)


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
    ends = min(held.ends, now + held.length)
    if not leases and held.state in _BY_POLICY:
        closed = held.state is CircuitState.CLOSED
        if ends + (REMEMBERED_CLOSED if closed else REMEMBERED_OPEN) <= now:
            return replace(NOTHING, votes=votes)
    return replace(held, ends=ends, leases=leases, votes=votes)


def take(step: Step, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    """Take a step.

    Args:
        step: what is asked for.
        held: what the store holds of the circuit, as of now.
        now: the time of the store's clock.
        epoch: that of news, if the step makes any.
        asker: who asks for it.
    """
    match step:
        case Opening():
            return _open(step, _unless_void(held, step.view), now, epoch, asker)
        case Asking():
            return _lease(step, _unless_void(held, step.view), now, epoch, asker)
        case Settling():
            return _settle(step, held, now, epoch, asker)
        case Renewing():
            return _renew(step, held, now)
        case Forcing():
            if step.state is held.state and held.epoch != NEVER:
                return Taken(held, "told")
            return _changed(step.state, epoch, now, asker.owner)
        case _:
            assert_never(step)


def _open(step: Opening, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    term = _term(step.seconds, now)
    told_before = held.owner == asker.owner and step.view < held.epoch
    if held.state is CircuitState.OPEN and step.hinted and not told_before:
        if term.ends <= held.ends:
            return Taken(held, "told")
        longer = replace(held, epoch=epoch, ends=term.ends, length=term.length, owner=asker.owner)
        return Taken(longer, "told", news="change")
    if held.state is not CircuitState.CLOSED or step.view < held.epoch:
        return Taken(held, "told")
    votes = {**held.votes, asker.owner: term}
    if len(votes) < asker.quorum:
        return Taken(replace(held, votes=votes), "alone")
    return _opened(step, term, epoch, asker)


def _lease(step: Asking, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    news: Literal["change"] | None = None
    if held.state is CircuitState.CLOSED:
        if step.view < held.epoch:
            return Taken(held, "told")
        if asker.quorum > 1:  # it is open at the asker's only
            return Taken(held, "alone")
    elif held.state not in _BY_POLICY or _is_open(held, now):
        return Taken(held, "told")
    if held.state is not CircuitState.HALF_OPEN:
        of = held if held.state is CircuitState.OPEN else step
        half_open = replace(NOTHING, state=CircuitState.HALF_OPEN, epoch=epoch, ends=now)
        held = replace(
            half_open,
            failed_recoveries=of.failed_recoveries,
            failure=shortened(of.failure),
            owner=asker.owner,
        )
        news = "change"
    # One at least: members whose policies differ may have had more successes than this one needs.
    places = max(1, min(step.at_once, step.needed - held.won))
    if step.token not in held.leases and len(held.leases) >= places:
        return Taken(held, "busy", min(lease.ends for lease in held.leases.values()), news)
    return _leased(held, step.token, _term(step.seconds, now), news)


def _settle(step: Settling, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    if held.epoch < step.epoch:  # the store has lost it
        return Taken(held, "alone")
    if held.epoch > step.epoch or step.token not in held.leases:
        return Taken(held, "fenced")
    if step.verdict == "failed":
        return _opened(step, _term(step.seconds, now), epoch, asker)
    won = held.won + (step.verdict == "succeeded")
    if won > held.won and won >= step.needed:
        return _changed(CircuitState.CLOSED, epoch, now, asker.owner)
    leases = {token: term for token, term in held.leases.items() if token != step.token}
    return Taken(replace(held, won=won, leases=leases), "told", news="place")


def _renew(step: Renewing, held: Held, now: int) -> Taken:
    if held.epoch != step.epoch or step.token not in held.leases:
        return Taken(held, "fenced")
    return _leased(held, step.token, _term(step.seconds, now))


def _leased(held: Held, token: str, term: Term, news: Literal["change"] | None = None) -> Taken:
    leases = {**held.leases, token: term}
    return Taken(replace(held, leases=leases), "leased", term.ends, news)


def _opened(step: Opening | Settling, term: Term, epoch: Epoch, asker: Asker) -> Taken:
    held = Held(
        CircuitState.OPEN,
        epoch,
        term.ends,
        term.length,
        step.failed_recoveries,
        shortened(step.failure),
        asker.owner,
    )
    return Taken(held, "told", news="change")


def _changed(state: CircuitState, epoch: Epoch, now: int, owner: str) -> Taken:
    return Taken(Held(state, epoch, now, owner=owner), "told", news="change")


def _is_open(held: Held, now: int) -> bool:
    return held.state is CircuitState.OPEN and now + EARLY < held.ends


def _unless_void(held: Held, view: Epoch) -> Held:
    return replace(NOTHING, votes=held.votes) if held.epoch < view else held


def _term(seconds: float, now: int) -> Term:
    length = milliseconds(seconds)
    return Term(now + length, length)


def _living(terms: Mapping[str, Term], now: int) -> Mapping[str, Term]:
    """Return those that have not ended; after a clock that went back, for their length at most."""
    return {
        name: Term(min(ends, now + length), length)
        for name, (ends, length) in terms.items()
        if ends > now
    }
