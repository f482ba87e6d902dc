"""The rules by which shared circuits change, under steps at random."""

from __future__ import annotations

from collections import Counter

import hypothesis
from hypothesis import given, settings

from supervisor import CircuitState
from supervisor.sharing.held import NOTHING, Held, as_of
from supervisor.sharing.rules import Asker, Taken, later_epoch, take
from supervisor.sharing.store import NEVER, Epoch
from tests.sharing.cases import BEGIN
from tests.sharing.drawn import HISTORIES, LONGEST, MOST_AT_ONCE, Drawn
from tests.support.seeds import Seeds

HISTORIES_TRIED = 60


def test_random_steps(seeds: Seeds, figures: Counter[str]) -> None:
    """Whatever is asked for, by whom and when."""
    for seed in seeds(1):

        @hypothesis.seed(seed)
        @settings(max_examples=HISTORIES_TRIED, database=None, deadline=None)
        @given(HISTORIES)
        def histories(history: list[Drawn]) -> None:
            figures["steps of shared circuits"] += len(history)
            follow(history)

        histories()


def follow(history: list[Drawn]) -> None:
    """Take all steps, each of them twice."""
    now, latest = round(BEGIN * 1000), NEVER
    held: dict[str, Held] = {}
    known: list[Epoch] = []
    for drawn in history:
        now += round(drawn.later * 1000)
        step = drawn.step(known)
        seen = max(getattr(step, "view", NEVER), NEVER)
        asker = Asker(drawn.owner, seen, 1 + drawn.hinted)
        before = as_of(held.get(step.circuit, NOTHING), now)
        epoch = later_epoch(now, latest, seen)
        taken = take(step, before, now, epoch, asker)
        check_terms(taken.held, now)
        check_answer(taken)
        assert (taken.news == "change") == (taken.held.epoch not in (before.epoch, NEVER))
        if taken.news:
            assert epoch > latest
            latest = epoch
            known.append(epoch)
        held[step.circuit] = taken.held
        again = take(step, as_of(taken.held, now), now, later_epoch(now, latest, seen), asker)
        assert again.held == taken.held, step
        assert again.news is None


def check_terms(held: Held, now: int) -> None:
    """No place is taken, and no circuit open, for longer than anybody has asked for."""
    assert held.ends <= now + held.length <= now + LONGEST * 1000
    for ends, length, *_ in [*held.leases.values(), *held.votes.values(), *held.counts.values()]:
        assert now < ends <= now + length <= now + LONGEST * 1000
    assert len(held.leases) <= MOST_AT_ONCE
    assert not held.leases or held.state is CircuitState.HALF_OPEN
    assert not (held.votes or held.counts) or held.state is CircuitState.CLOSED


def check_answer(taken: Taken) -> None:
    """What is answered is what is held."""
    ends = [lease.ends for lease in taken.held.leases.values()]
    if taken.outcome == "leased":
        assert taken.ends in ends
    elif taken.outcome == "busy":
        assert taken.ends == min(ends)
    else:
        assert taken.ends == 0
