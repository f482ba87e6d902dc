"""The machine of a circuit whose probes have to be allowed by the fleet that it is shared with.

In HALF_OPEN, a place comes with a token of the fleet's, and a verdict counts when the fleet says
so. For either, the circuit waits for at most 0.25 s, and decides alone from then on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Self

from supervisor.machine.fleet import NEWS, Asked, Opened, Probed, Take, Verdict
from supervisor.machine.machine import Machine
from supervisor.machine.messages import Acquire, Grant, Lease, Refusal, Settle, Withdraw
from supervisor.machine.probing import Probing, successes_needed
from supervisor.machine.recovery import seconds_open
from supervisor.machine.states import CircuitState
from supervisor.machine.terms import ANSWER_WITHIN, Awaited, Terms
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy

PATIENCE: Final = ANSWER_WITHIN + 0.01
"""Seconds that the first asker waits, whatever happens."""


class LeasingMachine(Machine):
    """The state of one circuit, and the rules by which it probes with the fleet's leave."""

    terms: Terms

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        super().__init__(policy, seed)
        self.terms = Terms()

    def copy(self) -> Self:
        """Return a machine in the same state, with nothing to collect."""
        twin = super().copy()
        twin.terms = self.terms.copy()
        return twin

    def lease(self, shown: Callable[[str], str | None] = str) -> Lease:
        """Return what can be answered in advance; see `Machine`."""
        lease = super().lease(shown)
        return replace(lease, refuse_until=-math.inf) if self._may_ask() else lease

    # Asking

    def _fleet_decides(self) -> bool:
        return self.probing is not None and not self.metrics_only and not self.terms.alone

    def _may_ask(self) -> bool:
        terms = self.terms
        waits = terms.asked or terms.ended or self.latest < terms.full_until
        return self._fleet_decides() and not waits

    def _places(self) -> int:
        return int(self.terms.spare is not None) if self._fleet_decides() else super()._places()

    def would_only_wait(self, request: Acquire) -> bool:
        """Whether he would; but in HALF_OPEN the fleet is asked for whoever waits."""
        return self.would_be is not CircuitState.HALF_OPEN and super().would_only_wait(request)

    def _acquire(self, request: Acquire) -> Grant | Refusal | None:
        self.pass_time(request.at)
        if not self._may_ask():
            return super()._acquire(request)
        impatient = request.wait_until is None or request.wait_until <= request.at
        if impatient:
            wait_until = request.at + PATIENCE
            request = replace(request, wait_until=wait_until, wait_for="verdict")
        self._wait(request)
        self._ask_fleet(request.permit, request.at, impatient)
        return None

    def _ask_again(self, at: float) -> None:
        super()._ask_again(at)
        self._ask_for_waiting(at)

    def _ask_for_waiting(self, at: float) -> None:
        if self.waiting and self._may_ask():
            self._ask_fleet(next(iter(self.waiting)), at, impatient=False)

    def _ask_fleet(self, permit: int, at: float, impatient: bool) -> None:
        terms, policy = self.terms, self.policy
        number = terms.next_number()
        terms.asked[number] = Awaited(at + ANSWER_WITHIN, permit, impatient)
        self._tell(
            Asked(
                number,
                terms.epoch,
                successes_needed(policy),
                policy.probes_at_once or policy.probes or policy.success_threshold,
                self.failed_recoveries,
                self.last_failure,
            )
        )

    def _take(self, token: Take) -> None:
        """Let a probe run by a token, or one that runs already; or give it back."""
        terms, probing = self.terms, self.probing
        held = terms.held_by(token.token)
        if held is not None:
            terms.held[held] = token
        elif token.answers != NEWS and (probing is None or token.epoch < terms.epoch):
            self._use_late(token)
        elif token.answers in terms.asked:
            terms.alone, terms.epoch, terms.spare = False, token.epoch, token
            self._ask_again(token.at)
            self._end_question(token.answers, token.at)
            spare, terms.spare = terms.spare, None
            self._give_back(spare)
        elif token.answers != NEWS and probing is not None:  # too late: one has begun without it
            running = (permit for permit in probing.running if permit not in terms.held)
            permit = next(running, None)
            if permit is None:
                self._give_back(token)
            else:
                terms.held[permit] = token

    def _use_late(self, token: Take) -> None:
        """Give back what nobody wants any more; but if the circuit has closed alone meanwhile, the
        fleet is to know.
        """
        terms = self.terms
        closed = self.would_be is CircuitState.CLOSED and not self.metrics_only
        if closed and terms.origin == "here" and token.epoch >= terms.epoch:
            self._tell(_probed(self.policy, terms.next_number(), token, "succeeded"))
        else:
            self._give_back(token)

    def _end_question(self, number: int, at: float) -> None:
        """Go on after an answer: an asker who waits for nothing else is told now."""
        asked = self.terms.asked.pop(number, None)
        if asked is None or not asked.impatient or asked.permit not in self.waiting:
            return
        answer = self._ask(self.waiting[asked.permit], at)
        if isinstance(answer, Refusal):
            self._count_request(answer.reason, at)
        self._stop_waiting(asked.permit)
        self.released = (*self.released, (asked.permit, answer))

    def _grant(self, request: Acquire) -> Grant:
        grant, terms = super()._grant(request), self.terms
        if self.probing is not None and terms.spare is not None:
            terms.held[request.permit], terms.spare = terms.spare, None
        return grant

    def _withdraw(self, request: Withdraw) -> None:
        self._give_back(self.terms.held.pop(request.permit, None))
        super()._withdraw(request)

    # How a probe ends

    def _judge_probe(self, report: Settle, at: float) -> None:
        assert self.probing is not None
        token = self.terms.held.pop(report.probe, None)
        if token is None:
            super()._judge_probe(report, at)
        elif at >= token.until:
            self.stale += report.times  # another one may run by now
            self._give_back(token)
        elif (verdict := _verdict_of(report, self.probing, self.policy)) == "given back":
            self._give_back(token)
            super()._judge_probe(report, at)  # which only counts it
        else:
            self._tell_verdict(token, verdict, report, at)

    def _tell_verdict(self, token: Take, verdict: Verdict, report: Settle, at: float) -> None:
        terms = self.terms
        number = terms.next_number()
        terms.ended[number] = Awaited(at + ANSWER_WITHIN, report.probe, report=report)
        failed, seed = self.failed_recoveries + 1, f"{self.seed} {self.times_opened + 1}"
        seconds = seconds_open(self.policy, report.of_kind, failed, seed)
        self._tell(_probed(self.policy, number, token, verdict, seconds, failed, report.failure))

    def _give_back(self, token: Take | None) -> None:
        if token is not None:
            self._tell(_probed(self.policy, NEWS, token, "given back"))

    # What it does without the fleet

    def _go_without(self, number: int, at: float) -> None:
        """Do without an answer that does not come."""
        terms = self.terms
        ended = terms.ended.pop(number, None)
        terms.alone = terms.alone or ended is not None or number in terms.asked
        if ended is not None and ended.report is not None:
            super()._judge_probe(ended.report, at)
        self._end_question(number, at)

    @property
    def _changes_at(self) -> float:
        at = super()._changes_at
        if self.probing is None:
            return at
        full_until = self.terms.full_until
        return min(at, self.terms.deadline, full_until if full_until > 0 else math.inf)

    def _change(self, at: float) -> None:
        terms = self.terms
        if self.probing is None:
            super()._change(at)
        elif (number := terms.due(at)) is not None:
            self._go_without(number, at)
        elif 0 < terms.full_until <= at:
            terms.full_until = 0.0
        else:
            super()._change(at)

    def _begin_period(self, at: float) -> None:
        terms = self.terms
        for token in (*terms.held.values(), terms.spare):
            self._give_back(token)
        terms.forget_probes()
        super()._begin_period(at)

    def _open(self, at: float, failure: str | None, kind: Failure = PLAIN_FAILURE) -> None:
        token = self.terms.take_out(at)
        super()._open(at, failure, kind)
        if token is not None:
            seconds, failed = self.until - at, self.failed_recoveries
            self._tell(_probed(self.policy, NEWS, token, "failed", seconds, failed, failure))
        elif not self.metrics_only:
            self._tell_opened(hinted=kind.retry_after is not None)

    def _tell_opened(self, hinted: bool) -> None:
        failed, failure = self.failed_recoveries, self.last_failure
        self._tell(Opened(self.terms.epoch, self.until, failed, hinted, failure))


def _verdict_of(report: Settle, probing: Probing, policy: Policy) -> Verdict:
    """Return what the fleet is told; of failures among several probes, only one too many."""
    succeeded = report.outcome is Outcome.SUCCEEDED
    if report.outcome is Outcome.FAILED or (succeeded and report.slow):
        lost = report.of_kind.retry_after is not None or probing.is_lost(policy, more=1)
        return "failed" if lost else "given back"
    return "succeeded" if succeeded else "given back"


def _probed(
    policy: Policy,
    number: int,
    token: Take,
    verdict: Verdict,
    seconds: float = 0.0,
    failed: int = 0,
    failure: str | None = None,
) -> Probed:
    """Return what the fleet is told of a probe that ran, or did not, by a token."""
    needed = successes_needed(policy)
    return Probed(number, token.token, token.epoch, verdict, needed, seconds, failed, failure)
