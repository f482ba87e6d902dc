"""A trace, played to the machine of one policy."""

from __future__ import annotations

import heapq
import math
import random
import zlib
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from supervisor.circuit import settle_error
from supervisor.commands.simulate.course import Course, Period, SimulationError, Times
from supervisor.errors import CallTimeoutError, describe
from supervisor.machine import (
    Acquire,
    CircuitState,
    Grant,
    Machine,
    Refusal,
    Transition,
    is_slow,
    overdue,
    settled,
    slow_from,
)
from supervisor.policy import PLAIN_FAILURE, Failure, Judgement, Outcome, Policy
from supervisor.recording import Call, Trace

# What comes first of that which happens at the same time: a call that has run for just so long is
# slow before it ends, as in a circuit, and who asks then finds the places free.
_OVERDUE: Final = 0
_END: Final = 1
_ASK: Final = 2


def play(name: str, policy: Policy, trace: Trace, plain: bool = False) -> Course:
    """Play a trace to one policy.

    Random numbers are the same each time: those by which a share of the calls is admitted are
    the calls' own, and those by which times are jittered are the name's.

    Args:
        name: what the policy is called.
        policy: its functions are asked about its own timeouts; a trace tells what they would say of
            all else.
        trace: what is played. A call of which it does not tell the end counts for nothing.
        plain: whether callers tell no kinds of failures, and do not wait.

    Raises:
        SimulationError: one of the policy's functions has raised something.
    """
    player = Player(name, policy, trace, plain)
    player.play()
    return player.course()


@dataclass(frozen=True, slots=True)
class _Running:
    grant: Grant
    began: float
    seconds: float
    outcome: Outcome | None  # for its caller
    judgement: Judgement  # for the circuit


def _judged_late(name: str, policy: Policy, plain: bool) -> Judgement:
    """Return what a call counts as that the policy's `timeout` cancels."""
    late = CallTimeoutError(f"the call was cancelled after its timeout of {policy.timeout:g} s")
    try:
        judgement = settle_error(policy, late, lambda _judgement, _text: None)
    except Exception as error:
        raise SimulationError(
            f"policy {name!r} was asked about {late!r}, and has raised {describe(error)}"
        ) from None
    return PLAIN_FAILURE if plain and isinstance(judgement, Failure) else judgement


def _rounding(time: float) -> float:
    """Return by how much a time may be off that is the sum of several numbers in a trace."""
    return 2e-9 + 4 * math.ulp(time)


class Player:
    """Plays one trace to the machine of one policy.

    Attributes:
        machine: what the policy makes of the calls.
        answers: when each call was admitted or refused, by its number in the trace, in order.
        ended: how calls have ended for their callers, by their number, in order.
    """

    def __init__(self, name: str, policy: Policy, trace: Trace, plain: bool) -> None:
        self.name = name
        self.policy = policy
        self.trace = trace
        self.plain = plain
        self.machine = Machine(policy, seed=zlib.crc32(name.encode()))
        self.machine.warm_up(trace.begin)
        if policy.initial_state == "open":  # who only measures, or is set by hand, is looked at
            self.machine.begin(trace.begin)
        self.draws = random.Random(0)  # noqa: S311  (nobody is to be kept from guessing them)
        self.ahead = [(call.at, _ASK, number) for number, call in enumerate(trace.calls)]
        self.begins = sorted(
            (call.began, number)
            for number, call in enumerate(trace.calls)
            if call.outcome is not None
        ) or [(trace.begin, 0)]
        self.timed_out = None if policy.timeout is None else _judged_late(name, policy, plain)
        self.running: dict[int, _Running] = {}
        self.overdue: set[int] = set()
        self.slow: list[float] = []
        self.answers: dict[int, tuple[float, Grant | Refusal]] = {}
        self.ended: dict[int, Outcome | None] = {}

    def play(self) -> None:
        """Let everything happen that does until the end of the trace."""
        end = self.trace.end
        while (now := min(self.next_at, self.machine.deadline)) <= end:
            if self.machine.deadline > now:
                self.happen(*heapq.heappop(self.ahead))
            self.machine.advance(now)
            self.release(now)

    @property
    def next_at(self) -> float:
        """When a call asks, ends, or is slow next."""
        return self.ahead[0][0] if self.ahead else math.inf

    def happen(self, now: float, what: int, number: int) -> None:
        """Let a call ask, end, or be slow."""
        if what == _ASK:
            self.ask(number, self.trace.calls[number], now)
        elif what == _OVERDUE:
            self.be_overdue(number)
        else:
            self.settle(number, now)

    def ask(self, number: int, call: Call, now: float) -> None:
        """Let a call ask to be admitted."""
        wait_until = None if call.wait is None or self.plain else now + call.wait
        request = Acquire(number + 1, now, self.draws.random(), call.retry, wait_until)
        answer = self.machine.apply(request)
        if answer is not None:
            self.answer(number, call, answer, now)

    def release(self, now: float) -> None:
        """Let calls that have waited begin, or be refused.

        The dependency may have changed meanwhile, so each of those that begin ends as another one
        of the calls does that have begun from now on; in a trace of this very policy, as itself.
        """
        if not self.machine.released:
            return
        released, self.machine.released = self.machine.released, ()
        next_one = bisect_left(self.begins, (now - _rounding(now),))
        for passed, (permit, answer) in enumerate(released):
            number = permit - 1
            like = (
                self.begins[min(next_one + passed, len(self.begins) - 1)][1]
                if self.begins
                else number
            )
            self.answer(number, self.trace.calls[like], answer, now)

    def answer(self, number: int, call: Call, answer: Grant | Refusal, now: float) -> None:
        """Let a call begin, or be refused."""
        self.answers[number] = (now, answer)
        if isinstance(answer, Refusal):
            return
        running = self.running[number] = self.begun(call, answer, now)
        ends_at = now + running.seconds
        if ends_at < math.inf:
            heapq.heappush(self.ahead, (ends_at, _END, number))
        overdue_at = slow_from(answer, now)
        if overdue_at < math.inf and overdue_at <= ends_at:
            heapq.heappush(self.ahead, (overdue_at, _OVERDUE, number))

    def begun(self, call: Call, grant: Grant, now: float) -> _Running:
        """Return a call that begins to run, with what becomes of it under the policy."""
        timeout, outcome = self.policy.timeout, call.outcome
        if outcome is None:
            return _Running(grant, now, 0.0, None, Outcome.IGNORED)
        if timeout is not None and self.timed_out is not None and call.duration >= timeout:
            return _Running(grant, now, timeout, Outcome.FAILED, self.timed_out)
        judgement: Judgement = outcome
        if outcome is Outcome.FAILED:
            judgement = PLAIN_FAILURE if self.plain else call.failure
        elif outcome is Outcome.CANCELLED and self.policy.failure_on_cancel:
            judgement = PLAIN_FAILURE
        return _Running(grant, now, call.duration, outcome, judgement)

    def be_overdue(self, number: int) -> None:
        """Report a call that still runs as slow."""
        running = self.running[number]
        self.overdue.add(number)
        self.slow.append(running.began)
        self.machine.apply(overdue(running.grant, number + 1, running.began))

    def settle(self, number: int, now: float) -> None:
        """Report the outcome of a call as a circuit does."""
        running = self.running.pop(number)
        self.ended[number] = running.outcome
        told = number + 1 if number in self.overdue else 0
        if not told and is_slow(running.grant, running.began, now):
            self.slow.append(running.began)
        self.machine.apply(
            settled(running.grant, running.judgement, now, began=running.began, told=told)
        )

    def course(self) -> Course:
        """Return what has happened."""
        answers = self.answers.values()
        return Course(
            name=self.name,
            policy=self.policy,
            plain=self.plain,
            periods=self.periods(),
            admitted=tuple(at for at, answer in answers if isinstance(answer, Grant)),
            refused=tuple(at for at, answer in answers if isinstance(answer, Refusal)),
            ended={outcome: self.ended_so(outcome) for outcome in Outcome},
            unknown=self.ended_so(None),
            running=tuple(running.began for running in self.running.values()),
            slow=tuple(self.slow),
            waiting=len(self.machine.waiting),
        )

    def ended_so(self, outcome: Outcome | None) -> Times:
        """Return when those calls were admitted that have ended so."""
        return tuple(
            self.answers[number][0] for number, how in self.ended.items() if how is outcome
        )

    def periods(self) -> tuple[Period, ...]:
        """Return in which states the circuit was, and when."""
        changes = [change for change in self.machine.transitions if isinstance(change, Transition)]
        states = [(CircuitState.CLOSED, self.trace.begin)]
        states += [(change.to_state, change.at) for change in changes]
        ends = [*(begin for _, begin in states[1:]), self.trace.end]
        return tuple(
            Period(state, begin, end) for (state, begin), end in zip(states, ends, strict=True)
        )
