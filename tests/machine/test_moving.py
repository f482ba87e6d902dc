"""A machine that goes on by another clock is the same at every moment, but for the times."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from supervisor.machine import (
    NO_PROBE,
    Acquire,
    CircuitState,
    Force,
    Grant,
    Machine,
    Message,
    Overdue,
    Reconfigure,
    Refusal,
    Reset,
    Retry,
    Settle,
    Withdraw,
)
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy
from tests.proofs.drawn_policies import policy_fields
from tests.support.seeds import Seeds

BY = 4096.0 + 2.0**-12  # no multiple of a step
KINDS = (PLAIN_FAILURE, PLAIN_FAILURE, Failure("busy", threshold=2), Failure("broken", threshold=3))


class Two:
    """A machine, and after a cut another one that goes by a clock which is `BY` seconds ahead."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.machine = Machine(Policy(**policy_fields(chance)), seed=7)
        self.twin: Machine | None = None
        self.now = 0.0
        self.permits = 0
        self.running: list[tuple[int, Grant]] = []

    def cut(self) -> None:
        """Let all callers go, and the second machine begin."""
        self.running.clear()
        self.machine = self.machine.without_callers()
        self.twin = self.machine.moved(BY)

    def step(self) -> None:
        self.now += self.chance.choice([0.0, 0.0, 0.0625, 0.125, 0.5, 1.0, 4.0])
        message = self.message()
        answer = self.machine.apply(message)
        self.machine.advance(self.now)
        if isinstance(message, Acquire) and isinstance(answer, Grant):
            self.running.append((message.permit, answer))
        if self.twin is not None:
            at: Any = message.at
            if isinstance(answer, Refusal):
                answer = replace(answer, retry_after=pytest.approx(answer.retry_after, abs=1e-6))
            assert self.twin.apply(replace(message, at=at + BY)) == answer
            self.twin.advance(self.now + BY)
            self.compare(self.twin)

    def message(self) -> Message:
        chance, now = self.chance, self.now
        self.permits += 1
        match chance.choice("aaaassssrroowfcx"):
            case "s" if self.running:
                permit, grant = self.running.pop(chance.randrange(len(self.running)))
                failed = chance.random() < 0.5
                outcome = Outcome.FAILED if failed else Outcome.SUCCEEDED
                kind = chance.choice(KINDS) if failed else PLAIN_FAILURE
                return Settle(
                    grant.period, grant.probe, outcome, now, of_kind=kind, retry=grant.retry
                )
            case "o" if self.machine.policy.slow_call_duration and self.running:
                permit, grant = self.running[0]
                if grant.probe == NO_PROBE:
                    return Overdue(grant.period, permit, now, 1.0, failed=False)
                return Retry(self.permits, now)
            case "w" if self.running:
                return Withdraw(self.running.pop()[0], now)
            case "r":
                return Retry(self.permits, now)
            case "f":
                return Force(chance.choice(list(CircuitState)), now)
            case "c":
                policy = Policy(**policy_fields(chance))
                return Reconfigure(policy, now, seed=self.permits)
            case "x" if chance.random() < 0.2:
                return Reset(now)
            case _:
                return Acquire(self.permits, now, chance.random())

    def compare(self, twin: Machine) -> None:
        one, other = self.machine, twin
        for name in ("state", "would_be", "period", "failure_count", "times_opened", "stale"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.retry_after(self.now) == pytest.approx(other.retry_after(self.now + BY))
        assert one.deadline + BY == pytest.approx(other.deadline, abs=1e-6)
        lease, later = one.lease(), other.lease()
        times = {"refuse_until": later.refuse_until - BY, "expires": later.expires - BY}
        assert replace(later, **times) == replace(
            lease, **{name: pytest.approx(getattr(lease, name), abs=1e-6) for name in times}
        )


def test_a_moved_machine_does_the_same(seeds: Seeds, figures: Counter[str]) -> None:
    """Whatever its policy, and whatever it is told, before it is moved and afterwards."""
    for seed in seeds(300):
        two = Two(random.Random(seed))
        for cut_after in (True, False):
            for _ in range(40):
                two.step()
            if cut_after:
                two.cut()
        figures["steps of machines that were moved"] += 40


def test_what_is_copied_stays_as_it_was() -> None:
    """To move a machine changes nothing of it: it may be moved again, or to elsewhere."""
    policy = Policy(window_seconds=10.0, failure_rate=0.5, throttle=2.0, retry_budget=0.5)
    machine = Machine(policy)
    machine.apply(Settle(0, NO_PROBE, Outcome.FAILED, 1.0, of_kind=Failure("busy", threshold=5)))
    before = machine.lease()
    for by in (BY, -1.0):
        moved = machine.moved(by)
        moved.apply(Settle(0, NO_PROBE, Outcome.FAILED, 100.0 + by))
        assert machine.lease() == before
        assert (machine.latest, machine.failure_count) == (1.0, 1)


@pytest.mark.parametrize("by", [BY, -4096.5])
@pytest.mark.parametrize(("at", "state"), [(9.75, "open"), (10.0, "closed")])
def test_kinds_of_failure_leave_a_window_when_they_would_have(
    by: float, at: float, state: str
) -> None:
    """Also if other calls have ended since, of which their windows have not been told yet."""
    machine = Machine(Policy(window_seconds=10.0, failure_rate=1.0, minimum_calls=100))
    busy = Failure("busy", threshold=2)
    machine.apply(Settle(0, NO_PROBE, Outcome.FAILED, 0.5, of_kind=busy))
    machine.apply(Settle(0, NO_PROBE, Outcome.SUCCEEDED, 3.0))
    moved = machine.moved(by)
    moved.apply(Settle(0, NO_PROBE, Outcome.FAILED, at + by, of_kind=busy))
    assert moved.state == state
