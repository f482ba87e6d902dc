"""Fleets at random: processes, their clocks, a network and a store, of which all may go wrong."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from supervisor.machine import CircuitState
from supervisor.policy import Policy
from supervisor.sharing.store import Epoch, Record
from tests.proofs.drawn_policies import policy_fields
from tests.proofs.fleets import FleetInABox, Luck, Process
from tests.proofs.witness import longest_open
from tests.support.seeds import Seeds

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, METRICS_ONLY = CircuitState.FORCED_OPEN, CircuitState.METRICS_ONLY
FOR_ALL = [FORCED_OPEN, CircuitState.DISABLED, METRICS_ONLY, CLOSED, CLOSED]
HERE = [*FOR_ALL, FORCED_OPEN, FORCED_OPEN, HALF_OPEN]

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
    Policy(failure_threshold=12, window_seconds=10.0, recovery_timeout=2.0, ramp=5.0),
    None,  # another one for each life
]
NAMES = ["plain", "several", "growing", "share", "late", "drawn"]

KIND = Luck()
"""Nothing goes wrong, and the store answers within 0.1 s."""

UNKIND = Luck(slow=0.05, lost=0.01, twice=0.1, gaps=0.03, drift=1e-4, hints=0.2)
CRUEL = replace(UNKIND, jumps=0.002, deaths=0.005, stops=0.01, leaves=0.005)
WORST = replace(CRUEL, slow=0.2, lost=0.05, hands=0.02)
COUNTING = replace(CRUEL, together=4, hands=0.005, hints=0.05)
"""With failures that count together, too; few hints, which would open it before they do."""

STEPS = 900
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
    if chance.random() < luck.leaves:
        fleet.leave(process, is_killed=chance.random() < 0.5)
    if chance.random() < 0.05:  # many at the same moment
        for each in fleet.processes * 3:
            if each.frozen_until <= fleet.now:
                act(fleet, each)
    fleet.pass_time(chance.choice([0.001, 0.01, 0.05, 0.2, 0.5]))


def act(fleet: FleetInABox, process: Process) -> None:
    """Let somebody in a process do something."""
    chance = fleet.chance
    if chance.random() < fleet.luck.hands:
        act_by_hand(fleet, process)
    elif chance.random() < fleet.luck.leaves:
        fleet.replace_circuit(process)
    elif process.running and chance.random() < 0.5:
        fleet.end_call(process, chance.choice(list(process.running)))
    elif process.asking and chance.random() < 0.1:
        fleet.withdraw(process, chance.choice(list(process.asking)))
    else:
        fleet.call(process)


def act_by_hand(fleet: FleetInABox, process: Process) -> None:
    """Let somebody set a state, here or for all, or end what was set."""
    match fleet.chance.randrange(8):
        case 0:
            fleet.reset(process)
        case 1:
            fleet.let_go(process)
        case 2 | 3 | 4:
            fleet.force(process, fleet.chance.choice(FOR_ALL), everywhere=True)
        case _:
            fleet.force(process, fleet.chance.choice(HERE), everywhere=False)


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
        heard = machine.terms.record
        is_otherwise = heard is None or heard.state is not record.state
        if fleet.unnoticed and (known > record.epoch or (known == record.epoch and is_otherwise)):
            continue  # the next step of its own makes that void
        assert known == record.epoch
        if process.hand.until > fleet.now - 0.1 or process.hand.since == known:
            continue
        if record.state is CLOSED:
            may_probe = process.hand.probes or fleet.has_lost  # it asks again, and is told more
            probes = may_probe and machine.state is HALF_OPEN
            assert machine.state is CLOSED or probes or fleet.quorum > 1
        elif record.state is OPEN:
            check_that_it_is_open(fleet, process, record)
        elif record.state is HALF_OPEN:
            assert machine.state is not OPEN
        else:
            assert machine.state is record.state


def check_that_it_is_open(fleet: FleetInABox, process: Process, record: Record) -> None:
    """For as long as the store says, unless the store's clock has been set since it said so."""
    machine = process.machine
    is_over = record.until < fleet.store_time() / 1000 + 1.0
    was_set = fleet.set_at >= fleet.changed_at[record.epoch]
    assert machine.state is OPEN or (machine.state is HALF_OPEN and (is_over or was_set))
    if machine.state is OPEN:
        assert machine.failed_recoveries == record.failed_recoveries
        ends = record.until - fleet.store_ahead
        assert was_set or process.when(machine.until) == pytest.approx(ends, abs=0.7)


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
    for _ in range(300):
        for process in fleet.processes:
            for permit in list(process.running):
                fleet.end_call(process, permit)
            fleet.call(process)
        fleet.pass_time(0.1)  # quick enough for the shortest period of HALF_OPEN
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


@pytest.mark.parametrize("policy", POLICIES, ids=NAMES)
@pytest.mark.parametrize(
    "luck", [UNKIND, CRUEL, WORST, COUNTING], ids=["unkind", "cruel", "worst", "counting"]
)
@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_whatever_goes_wrong(
    quorum: int, luck: Luck, policy: Policy | None, seeds: Seeds, figures: Counter[str]
) -> None:
    """No more tokens than may be; nobody waits for long; what is adopted is later; at last, all
    agree.
    """
    transitions = 0
    for seed in seeds(1, first=quorum):
        chance = random.Random(seed)
        drawn = policy or Policy(**policy_fields(chance))
        fleet = FleetInABox(chance, luck, drawn, quorum)
        for _ in range(STEPS):
            live(fleet)
            check_bounds(fleet)
        calm(fleet)
        check_agreement(fleet)
        assert fleet.longest_wait < 0.3
        transitions += fleet.transitions
        figures["steps of fleets"] += fleet.steps + STEPS
        figures["transitions of fleets"] += fleet.transitions
    assert transitions > 10 * seeds.effort or policy is None


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
