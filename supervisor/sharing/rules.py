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

from dataclasses import replace
from typing import Final, Literal, NamedTuple, assert_never

from supervisor.machine import CircuitState
from supervisor.sharing.held import (
    BY_POLICY,
    NOTHING,
    Count,
    Held,
    Term,
    milliseconds,
    shortened,
)
from supervisor.sharing.store import (
    NEVER,
    Asking,
    Counting,
    Epoch,
    Forcing,
    Opening,
    Outcome,
    Renewing,
    Settling,
    Step,
)

EARLY: Final = 50
"""Milliseconds by which a probe may be asked for too soon: clocks are read over a network."""


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


def later_epoch(now: int, *seen: Epoch) -> Epoch:
    """Return the epoch of a change at that time, later than all those."""
    latest = max(seen)
    return Epoch(now, 0) if now > latest.milliseconds else latest._replace(number=latest.number + 1)


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
        case Counting():
            return _count(step, _unless_void(held, step.view), now, epoch, asker)
        case Forcing():
            return _force(step, _unless_void(held, step.view), now, epoch, asker)
        case _:
            assert_never(step)


def _open(step: Opening, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    term = _term(step.seconds, now)
    is_own = held.owner == asker.owner and step.view < held.epoch
    told_before = is_own and term.length == held.length  # else it is another one, not heard yet
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


def _count(step: Counting, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    if held.state is not CircuitState.CLOSED or step.view < held.epoch:
        return Taken(held, "told")
    counts = {owner: count for owner, count in held.counts.items() if owner != asker.owner}
    if step.failures > 0:
        counts[asker.owner] = Count(*_term(step.within, now), step.failures)
    failures = sum(count.failures for count in counts.values())
    if failures < step.threshold or len(counts) < asker.quorum:
        return Taken(replace(held, counts=counts), "alone")
    return _opened(step, _term(step.seconds, now), epoch, asker)


def _lease(step: Asking, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    news: Literal["change"] | None = None
    if held.state is CircuitState.CLOSED:
        if step.view < held.epoch:
            return Taken(held, "told")
        if asker.quorum > 1:  # it is open at the asker's only
            return Taken(held, "alone")
    elif held.state not in BY_POLICY or _is_open(held, now):
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
        return Taken(held, "busy", min(lease.ends for lease in held.leases.values()))
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


def _force(step: Forcing, held: Held, now: int, epoch: Epoch, asker: Asker) -> Taken:
    if step.state is held.state and held.epoch != NEVER:
        return Taken(held, "told")
    return _changed(step.state, epoch, now, asker.owner)


def _leased(held: Held, token: str, term: Term, news: Literal["change"] | None = None) -> Taken:
    leases = {**held.leases, token: term}
    return Taken(replace(held, leases=leases), "leased", term.ends, news)


def _opened(step: Opening | Settling | Counting, term: Term, epoch: Epoch, asker: Asker) -> Taken:
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
    if held.epoch >= view:
        return held
    return replace(NOTHING, votes=held.votes, counts=held.counts)


def _term(seconds: float, now: int) -> Term:
    length = milliseconds(seconds)
    return Term(now + length, length)
