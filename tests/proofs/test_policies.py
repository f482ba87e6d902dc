"""Everything that can happen to a machine under every policy, compared with an oracle.

And what its leases promise: how much may happen before anything changes, and how little is enough.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from supervisor.machine.messages import NO_PROBE, Acquire, Grant, Outcome, Overdue, Settle
from supervisor.machine.slack import UNLIMITED
from supervisor.policy.outcomes import Failure
from tests.proofs.policy_histories import LONG, TICK, PolicyHistories
from tests.proofs.search import search
from tests.support.seeds import Seeds


@dataclass(frozen=True)
class Move:
    """Something that may happen to a closed circuit by its lease."""

    what: Literal["succeed", "fail", "be late", "end late"]
    slow: bool = False
    weight: int = 1


ALL_MOVES = [
    *(Move("fail", slow=slow) for slow in (True, False)),
    *(Move("succeed", slow=slow) for slow in (True, False)),
]
MOVES = st.sampled_from(
    [*ALL_MOVES, Move("fail", weight=2), Move("fail", weight=0), Move("be late"), Move("end late")]
)


class Trial:
    """A copy of a machine, to which its callers report by its lease."""

    def __init__(self, histories: PolicyHistories) -> None:
        self.machine = histories.twin.copy()
        self.lease = histories.lease
        self.now = histories.now
        self.until = max(self.now, math.nextafter(self.lease.expires, -math.inf))
        self.adverse = 0
        period = self.lease.period
        self.overdue_calls = [
            call
            for call in histories.running
            if call in histories.overdue_calls and histories.grants[call].period == period
        ]
        self.calls = histories.asked

    def copy(self) -> Trial:
        twin = copy.copy(self)
        twin.machine = self.machine.copy()
        twin.overdue_calls = list(self.overdue_calls)
        return twin

    @property
    def slow_calls_fail(self) -> bool:
        return self.lease.grant.policy.slow_call_rate is None

    def cost(self, move: Move) -> int:
        """For how many adverse outcomes it counts."""
        match move.what:
            case "succeed" if not (move.slow and self.is_slow):
                return int(self.lease.any_outcome)
            case "end late" if not self.overdue_calls:
                return 0
            case _:
                return max(1, move.weight)

    @property
    def is_slow(self) -> bool:
        """Whether calls can be slow."""
        return self.lease.grant.policy.slow_call_duration is not None

    def do(self, move: Move) -> None:
        self.adverse += self.cost(move)
        grant, slow = self.lease.grant, move.slow and self.is_slow
        outcome, call = Outcome.FAILED, 0
        match move.what:
            case "succeed" if not (slow and self.slow_calls_fail):
                outcome = Outcome.SUCCEEDED
            case "be late":
                if self.is_slow:
                    self.calls += 1
                    self.overdue_calls.append(self.calls)
                    duration = grant.policy.slow_call_duration
                    assert duration is not None
                    self.machine.apply(
                        Overdue(grant.period, self.calls, self.now, duration, self.slow_calls_fail)
                    )
                return
            case "end late":
                if not self.overdue_calls:
                    return
                call, slow = self.overdue_calls.pop(0), True
            case _:
                pass
        of_kind = Failure(weight=move.weight)
        self.machine.apply(
            Settle(
                grant.period,
                grant.probe,
                outcome,
                self.now,
                of_kind=of_kind,
                slow=slow,
                call=call,
            )
        )

    @property
    def goes_on(self) -> bool:
        """Whether the circuit is closed still, and admits every call."""
        asker = Acquire(self.calls + 1, self.now, 1 - 2**-53)
        answer = self.machine.copy().apply(asker)
        return (
            isinstance(answer, Grant)
            and answer.probe == NO_PROBE
            and (self.machine.would_be == "closed")
        )


class LeaseHistories(PolicyHistories):
    """Histories of a machine whose leases are put to the test in between."""

    @precondition(lambda self: self.lease.slack > 0 and self.oracle.would_be == "closed")
    @rule(
        moves=st.lists(
            st.one_of(MOVES, st.sampled_from([TICK, 0.125, 0.5, 1.0, LONG])), max_size=12
        )
    )
    def spend_less_than_the_slack(self, moves: list[Move | float]) -> None:
        """While fewer than that are adverse, all calls are admitted, whatever their order."""
        trial = Trial(self)
        for move in moves:
            if isinstance(move, float):
                trial.now = min(trial.now + move, trial.until)
            elif trial.adverse + trial.cost(move) < self.lease.slack:
                trial.do(move)
            assert trial.goes_on
        self.figures[f"{self.figure}: spendings of leases"] += 1

    @precondition(lambda self: 0 < self.lease.slack < UNLIMITED)
    @rule()
    def use_up_the_slack(self) -> None:
        """That many may be enough, and fewer never are."""
        slack = self.lease.slack
        if slack <= 3:
            assert self.try_all(Trial(self), depth=4)
            return
        late = len(Trial(self).overdue_calls)
        moves: list[list[Move]] = [
            [Move("end late")] * ends + [first] * n + [last] * (slack - ends - n)
            for ends in range(min(late, slack) + 1)
            for n in range(slack - ends + 1)
            for first in ALL_MOVES
            for last in ALL_MOVES
        ]
        assert any(self.is_enough(one) for one in moves)

    def try_all(self, trial: Trial, depth: int) -> bool:
        """Whether something that uses up the slack is enough; check that nothing less is."""
        found = False
        for move in (*ALL_MOVES, Move("end late")):
            after = trial.copy()
            after.do(move)
            if after.adverse < self.lease.slack:
                assert after.goes_on
            if not after.goes_on:
                found = True
            elif after.adverse < self.lease.slack and depth > 1:
                found |= self.try_all(after, depth - 1)
        return found

    def is_enough(self, moves: list[Move]) -> bool:
        trial = Trial(self)
        for move in moves:
            if trial.adverse + trial.cost(move) > self.lease.slack:
                return False
            trial.do(move)
            if not trial.goes_on:
                return trial.adverse == self.lease.slack
        return False


def test_a_machine_agrees_with_the_oracle_under_every_policy(
    seeds: Seeds, figures: Counter[str]
) -> None:
    """After every step of every history, the machine is what its policy makes of the facts."""
    search(
        lambda: LeaseHistories(figures, "steps under every policy, machine alone"),
        examples=130,
        seeds=seeds,
    )
