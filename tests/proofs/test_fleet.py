"""Fleets at random: processes, their clocks, a network and a store, of which all may go wrong."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from supervisor.machine import CircuitState
from supervisor.policy import Policy
from supervisor.sharing.store import Epoch
from tests.proofs.fleets import FleetInABox, Luck, Process
from tests.proofs.witness import longest_open
from tests.support.seeds import Seeds

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
BY_HAND = [CircuitState.FORCED_OPEN, CircuitState.DISABLED, CLOSED, CLOSED]

POLICIES = [
    Policy(failure_threshold=2, recovery_timeout=2.0, probe_timeout=4.0),
    Policy(failure_threshold=1, recovery_timeout=1.0, success_threshold=3, probes=2),
    Policy(
        failure_threshold=2,
        recovery_timeout=1.0,
        recovery_factor=2.0,
        max_recovery_timeout=8.0,
        half_open_timeout=6.0,
    ),
    Policy(failure_threshold=2, recovery_timeout=1.5, probes=4, probe_failure_rate=0.5),
]

KIND = Luck()
"""Nothing goes wrong, and the store answers within 0.1 s."""

UNKIND = Luck(slow=0.05, lost=0.01, twice=0.1, gaps=0.03, drift=1e-4, hints=0.1)
CRUEL = replace(UNKIND, jumps=0.002, deaths=0.005, stops=0.01)
WORST = replace(CRUEL, slow=0.2, lost=0.05, hands=0.02)
COUNTING = replace(CRUEL, together=3)
"""With failures that count together, too."""

STEPS = 2_500
"""Of each life."""


def live(fleet: FleetInABox) -> None:
    """Let something happen."""
    chance, luck = fleet.chance, fleet.luck
    process = chance.choice(fleet.processes)
    if process.frozen_until <= fleet.now:
        act(fleet, process)
    if chance.random() < 0.02:
        fleet.works = chance.random() < 0.5
    if chance.random() < luck.jumps:
        fleet.set_clock(chance.choice([-3600.0, -1.0, 1.0, 3600.0]))
    if chance.random() < luck.deaths and fleet.down_until <= fleet.now:
        fleet.die()
    if chance.random() < luck.stops:
        process.frozen_until = fleet.now + chance.uniform(0.1, 6.0)
    fleet.pass_time(chance.choice([0.001, 0.01, 0.05, 0.2, 0.5]))


def act(fleet: FleetInABox, process: Process) -> None:
    """Let somebody in a process do something."""
    chance = fleet.chance
    if chance.random() < fleet.luck.hands:
        fleet.force(process, chance.choice(BY_HAND), everywhere=chance.random() < 0.5)
    elif process.running and chance.random() < 0.5:
        fleet.end_call(process, chance.choice(list(process.running)))
    elif process.asking and chance.random() < 0.1:
        fleet.withdraw(process, chance.choice(list(process.asking)))
    else:
        fleet.call(process)


def at_most(policy: Policy) -> int:
    return policy.probes or policy.success_threshold


def check_bounds(fleet: FleetInABox) -> None:
    """What is true at every moment."""
    assert fleet.living_tokens() <= at_most(fleet.policy)
    for process in fleet.processes:
        machine = process.machine
        terms = machine.terms
        waits_for = [*terms.asked, *terms.ended, *terms.held]
        assert len(terms.asked) <= 1
        assert terms.spare is None
        assert machine.would_be is HALF_OPEN or not waits_for
        held = {token.token for token in terms.held.values()}
        assert held >= set(process.held), "a token that nobody gives back"
        assert process.linked or not held, "a token without a link"
        if machine.would_be is OPEN:
            longest = longest_open(fleet.policy) + 0.01
            assert machine.until <= process.time(fleet.now) + longest, "open for too long"


def check_that_all_know(fleet: FleetInABox) -> None:
    """What the store says is known everywhere, and goes everywhere but where a hand says else."""
    record = fleet.record()
    for process in fleet.processes:
        machine = process.machine
        assert process.linked
        if record is None:
            continue
        known = Epoch(*machine.terms.epoch)
        if fleet.unnoticed and known > record.epoch:
            continue  # the next step of its own makes that void
        assert known == record.epoch
        is_over = record.until < fleet.store_time() / 1000 + 1.0
        if process.by_hand:
            continue
        if record.state is CLOSED:
            assert machine.state is CLOSED or fleet.quorum > 1
        elif record.state is OPEN:
            assert machine.state in (OPEN, HALF_OPEN) or is_over
        elif record.state is HALF_OPEN:
            assert machine.state is not OPEN
        else:
            assert machine.state is record.state


def calm(fleet: FleetInABox) -> None:
    """Let nothing go wrong any more, and all be heard of; then let calls come to the truth."""
    fleet.luck = replace(KIND, together=fleet.luck.together)
    fleet.works = True
    fleet.pass_time(14.0)
    check_that_all_know(fleet)
    for process in fleet.processes:
        fleet.force(process, CLOSED, everywhere=False)
    fleet.pass_time(20.0)
    fleet.force(fleet.processes[0], CLOSED, everywhere=True)
    fleet.pass_time(40.0)
    for _ in range(200):
        for process in fleet.processes:
            for permit in list(process.running):
                fleet.end_call(process, permit)
            fleet.call(process)
            fleet.pass_time(0.3)
    fleet.pass_time(10.0)


def check_agreement(fleet: FleetInABox) -> None:
    """All is closed, and everybody knows of it."""
    record = fleet.record()
    states = [process.machine.state for process in fleet.processes]
    assert set(states) == {CLOSED}, (states, record)
    assert record is None or record.state is CLOSED, record
    for process in fleet.processes:
        assert process.linked
        assert not process.held
        assert not process.asking


@pytest.mark.parametrize("policy", POLICIES, ids=["plain", "several", "growing", "share"])
@pytest.mark.parametrize(
    "luck", [UNKIND, CRUEL, WORST, COUNTING], ids=["unkind", "cruel", "worst", "counting"]
)
@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_whatever_goes_wrong(
    quorum: int, luck: Luck, policy: Policy, seeds: Seeds, figures: Counter[str]
) -> None:
    """No more tokens than may be; nobody waits for long; what is adopted is later; at last, all
    agree.
    """
    transitions = 0
    for seed in seeds(1, first=quorum):
        fleet = FleetInABox(random.Random(seed), luck, policy, quorum)
        for _ in range(STEPS):
            live(fleet)
            check_bounds(fleet)
        calm(fleet)
        check_agreement(fleet)
        assert fleet.longest_wait < 0.3
        transitions += fleet.transitions
        figures["steps of fleets"] += fleet.steps + STEPS
        figures["transitions of fleets"] += fleet.transitions
    assert transitions > 40 * seeds.effort


@pytest.mark.parametrize("policy", POLICIES[:2], ids=["plain", "several"])
def test_while_the_store_answers(policy: Policy, seeds: Seeds, figures: Counter[str]) -> None:
    """All probes together are no more than one circuit would let run, and the epochs that each
    process adopts are in the order of the store's.
    """
    most = 0
    for seed in seeds(3):
        fleet = FleetInABox(random.Random(seed), KIND, policy)
        for _ in range(STEPS):
            live(fleet)
            check_bounds(fleet)
            running = [
                permit
                for each in fleet.processes
                if each.machine.probing is not None
                for permit in each.machine.probing.running
            ]
            assert len(running) <= at_most(policy)
            most = max(most, len(running))
            for process in fleet.processes:
                record, state = process.machine.terms.record, process.machine.would_be
                assert state is not CLOSED or record is None or record.state is CLOSED
                if record is not None:
                    assert fleet.changes[record.epoch] is record.state  # type: ignore[index]
        figures["steps of fleets"] += fleet.steps + STEPS
    assert most == at_most(policy)
