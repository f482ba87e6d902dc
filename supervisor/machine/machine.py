"""The circuit breaker as a state machine: pure and synchronous, so that it can be trusted.

It reads no clock, does no I/O, knows no task. Messages and times go in; answers, recorded
transitions, a lease and one deadline come out. Three rules keep it right:

1. Every transition starts a new *period*, and every grant carries the period it was given in.
   A report from an earlier period is counted as stale and changes nothing else.
2. What is no message raises before anything has changed.
3. Time may jump: whoever is let go begins at the end of the turn, and a verdict over probes that
   comes too late is put off once, since nobody can have told how they have ended.

    from       when                                                       to
    CLOSED     `Trip`: by default `failure_threshold` failures in a row   OPEN
    OPEN       `seconds_open` have passed: by default `recovery_timeout`  HALF_OPEN
    HALF_OPEN  `Probing` is won: `success_threshold` probes succeeded     CLOSED
    HALF_OPEN  it is lost: a probe has failed, or run for too long        OPEN
    any        `Reset`                                                    CLOSED, in a new period
    any        `Force`                                                    that state, until released
    FORCED_    `until` has come, if it was forced open for a time         HALF_OPEN
    OPEN

While a closed circuit warms up, only a server that asks to wait opens it: see `warm_up`.

The first three states and their names are those of Michael Nygard's *Release It!*, chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Self, assert_never

from supervisor.machine.fleet import FromFleet
from supervisor.machine.messages import (
    ANY_PERIOD,
    UNCOUNTED,
    Acquire,
    Force,
    Grant,
    Lease,
    Message,
    Overdue,
    Reason,
    Reconfigure,
    Reconfigured,
    Refusal,
    Renew,
    Reset,
    Retry,
    Settle,
    Told,
    Transition,
    Withdraw,
)
from supervisor.machine.ordered import Ordered, OrderedMap, Times
from supervisor.machine.probing import Probing, is_late
from supervisor.machine.recovery import seconds_open
from supervisor.machine.retry_budget import RetryBudget
from supervisor.machine.rows import RowTrip, reconfigured, trip_by
from supervisor.machine.slack import UNLIMITED
from supervisor.machine.states import BY_HAND, REFUSING, UNGUARDED, CircuitState, Origin
from supervisor.machine.throttling import RAMP_STEPS, Throttle, ramp_share
from supervisor.machine.tripping import Trip
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy

_NOBODY: Final[OrderedMap[int, Acquire]] = OrderedMap()
_NEVER: Final[Ordered[tuple[float, int]]] = Ordered()
"""Who waits where nobody does, and until when."""

NO_HOLDS: Final[Times[int]] = Times()
"""Who keeps it open by hand where nobody does."""

_REASONS: Final[dict[CircuitState, Reason]] = {
    CircuitState.OPEN: "open",
    CircuitState.HALF_OPEN: "half_open",
    CircuitState.FORCED_OPEN: "forced_open",
}
"""Why calls are refused in states where it is for the state alone."""

_LONG_AGO: Final = -math.inf
"""Until when calls are refused where they are not: one number for all leases."""

_NOTHING: Final[list[Told]] = []
"""What has changed where nothing has: likewise."""


class Machine:
    """The state of one circuit and the rules by which it changes.

    `seed` is that of its random numbers, by which times are jittered.
    """

    is_shared = False  # with a fleet; of its kind, not of its state

    # At most 30 attributes, or Python could not share their names among all machines. Their types
    # say also how a recording writes them down.
    policy: Policy
    seed: int
    origin: float  # where the steps of its windows of seconds begin
    would_be: CircuitState  # its state, but for `metrics_only`
    metrics_only: bool
    period: int
    since: float  # when the period began
    latest: float  # the last time told; stands in where a message carries none
    grant: Grant
    trip: Trip | RowTrip
    until: float  # when OPEN ends, or FORCED_OPEN, or the warm-up of CLOSED
    holds: Times[int]  # who keeps it FORCED_OPEN -> until when
    failed_recoveries: int  # in a row
    last_failure: str | None  # what has opened it, until it is closed again
    probing: Probing | None  # while HALF_OPEN
    ramp_step: int  # the next one, if the circuit has closed a short while ago
    throttle: Throttle | None
    budget: RetryBudget | None
    waiting: OrderedMap[int, Acquire]  # permit -> request, in the order of their coming
    wait_ends: Ordered[tuple[float, int]]  # when each of them gives up
    released: tuple[tuple[int, Grant | Refusal], ...]  # answers, for the owner to collect
    transitions: list[Told]  # likewise
    succeeded: int
    failed: int
    ignored: int
    cancelled: int
    stale: int  # of those four, how many came too late to count
    times_opened: int
    would_have_refused: int

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy = policy
        self.seed = seed
        self.origin = 0.0
        self.would_be = CircuitState.CLOSED
        self.metrics_only = False
        self.period = 0
        self.since = 0.0
        self.latest = 0.0
        self.grant = _first_grant(policy)
        self.trip = trip_by(policy)
        self.until = policy.warm_up or 0.0
        self.holds = NO_HOLDS
        self.failed_recoveries = 0
        self.last_failure = None
        self.probing = None
        self.ramp_step = 0
        self.throttle = None if policy.throttle is None else Throttle(policy.throttle_seconds)
        seconds = policy.retry_budget_seconds
        self.budget = None if policy.retry_budget is None else RetryBudget(seconds)
        self.waiting = _NOBODY
        self.wait_ends = _NEVER
        self.released = ()
        self.transitions = _NOTHING
        self.succeeded = self.failed = self.ignored = self.cancelled = 0
        self.stale = 0
        self.times_opened = 0
        self.would_have_refused = 0

    def begin(self, at: float) -> None:
        """Enter the state that its policy begins with, as nothing has happened yet."""
        self.warm_up(at)
        self.apply(Force(CircuitState(self.policy.initial_state), at))

    def warm_up(self, at: float) -> None:
        """Begin the time in which it does not open by itself, if its policy has one."""
        if self.policy.warm_up is not None:
            self.until = at + self.policy.warm_up

    @property
    def state(self) -> CircuitState:
        """The state that callers see."""
        return CircuitState.METRICS_ONLY if self.metrics_only else self.would_be

    @property
    def origin_of_state(self) -> Origin:
        """Who has brought it about."""
        return "by hand" if self.state in BY_HAND else "here"

    @property
    def failure_count(self) -> int:
        """The failures in a row, or in the window; kept until the circuit closes again."""
        return self.trip.tally.failures

    @property
    def deadline(self) -> float:
        """When something changes of itself, if nothing is told before; may be infinite."""
        changes_at = self._changes_at
        return min(changes_at, self.wait_ends[0][0]) if self.waiting.size else changes_at

    def apply(self, message: Message) -> Grant | Refusal | None:
        """Take one message, and return the answer if it asks for one and need not wait for it."""
        period = self.period
        match message:
            case Settle():
                self._settle(message)
            case Acquire():
                return self._acquire(message)
            case Retry():
                self.pass_time(message.at)
                return self._retry(message.at)
            case Overdue():
                self._overdue(message)
            case Renew():
                self._renew(message)
            case Withdraw():
                self._withdraw(message)
            case Reset() | Force() | Reconfigure():
                self._obey(message, self._advance_to(message.at))
            case _:
                self._hear(message)
        changed = period != self.period or isinstance(message, Reconfigure)
        if self.waiting and (changed or self._places()):
            self._ask_again(self.latest)
        return None

    def advance(self, now: float) -> None:
        """End a turn: let time pass up to `now`, and whoever has been let go begin then."""
        if self.probing is not None:
            self.probing.begin(now)
            self.probing.put_off(now)
        self._pass_time(now, is_turn=True)
        if self.probing is not None:
            self.probing.begin(now)

    def pass_time(self, at: float) -> None:
        """Make the changes that time alone has brought about up to the time of a fact, or of a
        read; but leave it to the turn to judge probes that should have been judged before.
        """
        self._pass_time(at, is_turn=False)

    def _pass_time(self, now: float, is_turn: bool) -> None:
        self.latest = max(self.latest, now)
        while (deadline := self.deadline) <= now and deadline < math.inf:
            if self._changes_at > deadline:
                self._end_waits(deadline, now)
                continue
            if self.probing is not None and is_late(deadline, now) and not is_turn:
                break
            self._change(deadline)
            if self.waiting:
                self._ask_again(now)
        self.trip.tally.advance(self.latest)
        if self.throttle is not None:
            self.throttle.recent.advance(self.latest)

    def would_only_wait(self, request: Acquire) -> bool:
        """Whether an asker would wait for what comes in any case before he gives up, so that nobody
        need look at his request until then.
        """
        if request.wait_until is None or not request.at < self.deadline <= request.wait_until:
            return False
        if self.metrics_only or self.would_be not in _REASONS or self._places():
            return False
        refusal = Refusal(self.would_be, 0.0, None, _REASONS[self.would_be])
        return self._waits(request, refusal, request.at)

    def would_only_count(self, report: Settle, successes: int) -> bool:
        """Whether a report decides nothing, after so many successes that are not counted yet: that
        of a probe of which more have to succeed, if nobody waits for its place.
        """
        probing, policy = self.probing, self.policy
        return (
            probing is not None
            and not self.waiting
            and policy.probe_failure_rate is None
            and report.outcome is Outcome.SUCCEEDED
            and not report.slow
            and probing.successes + successes + 1 < policy.success_threshold
        )

    def lease(self, shown: Callable[[str], str | None] = str) -> Lease:
        """Return what can be answered in advance, with what is shown of its last failure."""
        failure = self.last_failure
        slack, refuse_until = 0, _LONG_AGO
        any_outcome, expires = False, math.inf
        match self.would_be:
            case CircuitState.CLOSED:
                slack, expires = self._slack()
                any_outcome = self.trip.any_outcome or (
                    self._warms_up(self.latest) and self.trip.looks_at_rates
                )
            case CircuitState.FORCED_CLOSED | CircuitState.DISABLED:
                slack = UNLIMITED
            case CircuitState.FORCED_OPEN:
                refuse_until = self.until
            case _ if not self.metrics_only and not self._places():
                refuse_until = self._changes_at
            case _:
                pass
        return Lease(
            self.state,
            self.period,
            self.grant,
            slack,
            refuse_until,
            None if failure is None else shown(failure),
            any_outcome,
            expires,
        )

    def copy(self) -> Self:
        """Return a machine in the same state, with nothing to collect."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.trip = self.trip.copy()
        twin.probing = self.probing and self.probing.copy()
        twin.throttle = self.throttle and self.throttle.copy()
        twin.budget = self.budget and self.budget.copy()
        twin.released = ()
        twin.transitions = _NOTHING
        return twin

    def without_callers(self) -> Self:
        """Return a copy whose calls have been cancelled, and whose askers have gone."""
        twin = self.copy()
        twin.waiting, twin.wait_ends = _NOBODY, _NEVER
        twin.trip.take_all_back()
        if twin.probing is not None:
            twin.probing.forget_running()
        return twin

    def moved(self, by: float) -> Self:
        """Return a copy to which everything has happened so many seconds later: the same on
        another clock. There must be no callers.
        """
        twin = self.copy()
        twin.origin += by
        twin.since += by
        twin.latest += by
        twin.until += by
        twin.holds = Times((hold, end + by) for hold, end in self.holds.items()) or NO_HOLDS
        twin.trip = self.trip.moved(by)
        twin.probing = self.probing and self.probing.moved(by)
        twin.throttle = self.throttle and self.throttle.moved(by)
        twin.budget = self.budget and self.budget.moved(by)
        return twin

    def retry_after(self, now: float) -> float:
        """Return the seconds from `now` until a refused call may be admitted: 0.0 unless OPEN or
        FORCED_OPEN, infinite if the latter has no end.
        """
        if self.would_be in REFUSING and not self.metrics_only:
            return max(0.0, self.until - now)  # not yet half-open, though its time has come
        return 0.0

    def _hear(self, message: FromFleet) -> None:
        """Refuse what a fleet says: only a shared circuit has one."""
        raise AssertionError(f"{message!r} is no message for a circuit that is not shared")

    # Asking

    def _acquire(self, request: Acquire) -> Grant | Refusal | None:
        self.pass_time(request.at)
        answer = self._ask(request, request.at)
        if isinstance(answer, Refusal):
            if self._waits(request, answer, request.at):
                self._wait(request)
                return None
            self._count_request(answer.reason, request.at)
        return answer

    def _ask(self, request: Acquire, at: float) -> Grant | Refusal:
        """Admit a call, or return why it is not."""
        if self.would_be in UNGUARDED:
            return self._grant(request)
        reason = self._reason_to_refuse(request.draw, at)
        if reason is None and request.retry and not self._has_budget(at):
            reason = "retry_budget"
        if reason is None:
            return self._grant(request)
        if self.metrics_only:
            self.would_have_refused += 1
            self._count_request(reason, at)
            return Grant(self.period, self.policy, UNCOUNTED, request.retry)
        return Refusal(self.state, self.retry_after(at), self.last_failure, reason)

    def _reason_to_refuse(self, draw: float, at: float) -> Reason | None:
        match self.would_be:
            case CircuitState.CLOSED:
                return self._reason_to_share(draw, at)
            case CircuitState.HALF_OPEN if self._places():
                return None
            case _:
                return _REASONS[self.would_be]

    def _reason_to_share(self, draw: float, at: float) -> Reason | None:
        ramp = ramp_share(self.policy, at - self.since) if self.ramp_step else 1.0
        throttle = 1.0
        if self.throttle is not None:
            self.throttle.recent.advance(at)
            throttle = self.throttle.share(self.policy)
        if draw < min(ramp, throttle):
            return None
        return "ramp" if ramp <= throttle else "throttled"

    def _grant(self, request: Acquire) -> Grant:
        if self.probing is not None:
            self.probing.admit(request.permit, self.policy)
            return Grant(self.period, self.policy, request.permit, request.retry)
        return Grant(self.period, self.policy, retry=True) if request.retry else self.grant

    def _count_request(self, reason: Reason, at: float) -> None:
        """Count a refused call as a request, if it was refused a share."""
        if self.throttle is not None and reason in ("ramp", "throttled"):
            self.throttle.recent.add(at, 1, failed=True, slow=False)

    def _has_budget(self, at: float) -> bool:
        return self.budget is None or self.budget.spend(self.policy, at)

    def _retry(self, at: float) -> Grant | Refusal:
        if self.would_be in UNGUARDED or self._has_budget(at):
            return self.grant
        if self.metrics_only:
            self.would_have_refused += 1
            return self.grant
        return Refusal(self.state, 0.0, self.last_failure, "retry_budget")

    def _places(self) -> int:
        return 0 if self.probing is None else self.probing.places(self.policy)

    # Waiting to be admitted

    def _waits(self, request: Acquire, refusal: Refusal, at: float) -> bool:
        """Whether the asker would rather wait than be refused."""
        return (
            request.wait_until is not None
            and request.wait_until > at
            and refusal.reason not in ("throttled", "retry_budget")
            and (request.wait_for == "closed" or self.would_be is CircuitState.HALF_OPEN)
            and (self.would_be not in REFUSING or not request.deadline <= self.until < math.inf)
        )

    def _wait(self, request: Acquire) -> None:
        if not self.waiting and self.ramp_step and self.policy.ramp is not None:
            passed = (request.at - self.since) / self.policy.ramp
            self.ramp_step = min(RAMP_STEPS, math.floor(passed * RAMP_STEPS) + 1)
        self.waiting = self.waiting.having(request.permit, request)
        self.wait_ends = self.wait_ends.having(_wait_end(request))

    def _stop_waiting(self, permit: int) -> None:
        request = self.waiting.get(permit)
        if request is not None:
            self.waiting = self.waiting.without(permit)
            self.wait_ends = self.wait_ends.without(_wait_end(request))
        if not self.waiting:
            self.waiting, self.wait_ends = _NOBODY, _NEVER  # an idle circuit keeps nothing more

    def _ask_again(self, at: float) -> None:
        """Ask for those who wait, first come first served, after something has changed.

        If something else is due by now as well, nobody is told how it is in between.
        """
        last_at = at if self._changes_at > at else -math.inf
        answers: list[tuple[int, Grant | Refusal]] = []
        for permit, request in self.waiting.items():
            answer = self._ask(request, at)
            if isinstance(answer, Refusal):
                if self._waits(request, answer, last_at):
                    if self.probing is not None:
                        break  # no place is left for the others, either
                    continue
                self._count_request(answer.reason, at)
            answers.append((permit, answer))
        for permit, _ in answers:
            self._stop_waiting(permit)
        self.released = (*self.released, *answers)

    def _end_waits(self, until: float, at: float) -> None:
        """Refuse those who have waited `until` they would wait no longer."""
        answers: list[tuple[int, Grant | Refusal]] = []
        while self.wait_ends and self.wait_ends[0][0] <= until:
            _, permit = self.wait_ends[0]
            answer = self._ask(self.waiting[permit], at)
            if isinstance(answer, Refusal):
                self._count_request(answer.reason, at)
            self._stop_waiting(permit)
            answers.append((permit, answer))
        self.released = (*self.released, *answers)

    def _withdraw(self, request: Withdraw) -> None:
        self._advance_to(request.at)
        self._stop_waiting(request.permit)
        if self.probing is not None:
            self.probing.end(request.permit)
        self.cancelled += not request.refused

    # Outcomes

    def _settle(self, report: Settle) -> None:
        at = self._advance_to(report.at)
        self._add_to_figures(report)
        counts = report.outcome.counts
        if counts and self.budget is not None and not report.retry:
            self.budget.deposit(at, report.times)
        if report.probe == UNCOUNTED:
            return
        if report.period not in (self.period, ANY_PERIOD):
            self.stale += report.times
        elif self.probing is not None:
            self._settle_probe(report, at)
        elif self.would_be in (CircuitState.CLOSED, CircuitState.FORCED_CLOSED):
            if counts:
                self._count(report, at)
            else:
                self.trip.take_back(report.call)

    def _add_to_figures(self, report: Settle) -> None:
        match report.outcome:
            case Outcome.SUCCEEDED:
                self.succeeded += report.times
            case Outcome.FAILED:
                self.failed += report.times
            case Outcome.IGNORED:
                self.ignored += report.times
            case Outcome.CANCELLED:
                self.cancelled += report.times
            case _:
                assert_never(report.outcome)

    def _count(self, report: Settle, at: float) -> None:
        if self.throttle is not None:
            failed = report.outcome is Outcome.FAILED
            self.throttle.recent.add(at, report.times, failed, slow=False)
        if self.trip.count(report, at) and self._may_open(at, report.of_kind):
            self._open(at, report.failure or self.trip.summary(), report.of_kind)

    def _may_open(self, at: float, kind: Failure = PLAIN_FAILURE) -> bool:
        """Whether it is closed, and does not warm up, unless a server has asked to wait."""
        asked_to_wait = kind.retry_after is not None
        return self.would_be is CircuitState.CLOSED and (asked_to_wait or not self._warms_up(at))

    def _warms_up(self, at: float) -> bool:
        warm_up, closed = self.policy.warm_up, self.would_be is CircuitState.CLOSED
        return warm_up is not None and closed and at < self.until

    def _settle_probe(self, report: Settle, at: float) -> None:
        assert self.probing is not None
        if report.period == ANY_PERIOD:
            self._fail_probe(at, report.failure, report.of_kind)
        elif not self.probing.end(report.probe):
            self.stale += report.times
        else:
            self._judge_probe(report, at)

    def _judge_probe(self, report: Settle, at: float) -> None:
        """Count the outcome of a probe that has ended."""
        assert self.probing is not None
        if report.outcome is Outcome.FAILED or (
            report.slow and report.outcome is Outcome.SUCCEEDED
        ):
            self._fail_probe(at, report.failure, report.of_kind)
        elif report.outcome is Outcome.SUCCEEDED:
            self.probing.successes += 1
            if self.probing.is_won(self.policy):
                self._enter(CircuitState.CLOSED, at)

    def _fail_probe(self, at: float, failure: str | None, kind: Failure = PLAIN_FAILURE) -> None:
        assert self.probing is not None
        self.probing.failures += 1
        if kind.retry_after is not None or self.probing.is_lost(self.policy):
            self._reopen(at, failure, kind)
        elif self.probing.is_won(self.policy):  # by a policy that came after the successes
            self._enter(CircuitState.CLOSED, at)
        else:
            self.trip.fail(at)

    def _overdue(self, report: Overdue) -> None:
        self.pass_time(report.at)
        counted = self.would_be in (CircuitState.CLOSED, CircuitState.FORCED_CLOSED)
        if report.period != self.period or not counted:
            return
        if self.trip.count_overdue(report) and self._may_open(report.at):
            self._open(report.at, f"still running after {report.after:g} s")

    def _renew(self, report: Renew) -> None:
        self.pass_time(report.at)
        if report.period == self.period and self.probing is not None:
            self.probing.renew(report.permit, report.at)

    # Changes of state

    def _obey(self, order: Reset | Force | Reconfigure, at: float) -> None:
        match order:
            case Reset():
                self._reset(at)
            case Force(CircuitState.CLOSED, hold=hold) if hold:
                self._let_go(hold, at)
            case Force():
                self._force(order.state, at, hold=order.hold, until=at + order.seconds)
            case Reconfigure():
                self._reconfigure(order, at)
            case _:
                assert_never(order)

    @property
    def _changes_at(self) -> float:
        """When its state changes of itself, or the end of a step of its ramp."""
        if self.would_be in REFUSING:
            return self.until
        if self.probing is not None:
            return self.probing.deadline
        if self.ramp_step and self.policy.ramp is not None:
            step = self.ramp_step if self.waiting else RAMP_STEPS
            return self.since + self.policy.ramp * (step / RAMP_STEPS)
        return math.inf

    def _change(self, at: float) -> None:
        """Make the change that is due at this time."""
        if self.would_be in REFUSING:
            self._enter(CircuitState.HALF_OPEN, at)
        elif self.probing is None:
            step = self.ramp_step if self.waiting else RAMP_STEPS
            self.ramp_step = (step + 1) % (RAMP_STEPS + 1)
        elif (ended := self.probing.end_overdue(at)) is not None:
            permit, timeout = ended
            failure = f"probe still running after {timeout:g} s"
            self._judge_probe(Settle(self.period, permit, Outcome.FAILED, at, failure), at)
        else:
            self._reopen(at, f"no verdict within {self.probing.verdict_within:g} s")

    def _reopen(self, at: float, failure: str | None, kind: Failure = PLAIN_FAILURE) -> None:
        self.trip.fail(at)
        self.failed_recoveries += 1
        self._open(at, failure, kind)

    def _open(self, at: float, failure: str | None, kind: Failure = PLAIN_FAILURE) -> None:
        self.times_opened += 1
        self.last_failure = failure
        seed = f"{self.seed} {self.times_opened}"
        self.until = at + seconds_open(self.policy, kind, self.failed_recoveries, seed)
        self._enter(CircuitState.OPEN, at)

    def _enter(self, state: CircuitState, at: float, origin: Origin = "here") -> None:
        before, self.would_be = self.would_be, state
        self._begin_period(at)
        if state is CircuitState.CLOSED and before is CircuitState.HALF_OPEN:
            self.ramp_step = 0 if self.policy.ramp is None else 1
        self._add_transition(before, state, self.metrics_only, origin)

    def _begin_period(self, at: float) -> None:
        """Begin a new period; in CLOSED, with nothing to remember."""
        self.period += 1
        self.since = at
        self._renew_grant()
        self.probing = Probing() if self.would_be is CircuitState.HALF_OPEN else None
        self.ramp_step = 0
        if self.would_be is not CircuitState.FORCED_OPEN:
            self.holds = NO_HOLDS
        self.trip.tally.advance(at)
        self.trip.forget_running()
        if self.would_be is CircuitState.CLOSED:
            self._forget()
            self.until = at
        elif self.would_be in UNGUARDED:
            self.last_failure, self.failed_recoveries = None, 0

    def _forget(self) -> None:
        self.last_failure = None
        self.failed_recoveries = 0
        self.trip.forget()
        if self.throttle is not None:
            self.throttle.recent.clear()

    def _reset(self, at: float) -> None:
        if self.state in BY_HAND and not self.metrics_only:
            self._begin_period(at)
            self._forget()
            self._add_transition(self.state, self.state, metrics_only=False, origin="by hand")
        else:
            self._enter(CircuitState.CLOSED, at, "by hand")
            self.ramp_step = 0
            self.warm_up(at)

    def _let_go(self, hold: int, at: float) -> None:
        """Let somebody keep it open no more; whoever is the last one releases it."""
        if hold not in self.holds:
            return  # somebody has released it meanwhile
        left = self.holds.without(hold).after(at)
        if left:
            self.holds, self.until = left, left.last
        else:
            self._force(CircuitState.CLOSED, at)

    def _force(
        self,
        state: CircuitState,
        at: float,
        origin: Origin = "by hand",
        hold: int = 0,
        until: float = math.inf,
    ) -> None:
        before = self.state
        if state is CircuitState.FORCED_OPEN:
            self.holds = self.holds.after(at).having(hold, until)
            self.until = self.holds.last
        if state is before or (state is CircuitState.CLOSED and before not in BY_HAND):
            return
        self.metrics_only = state is CircuitState.METRICS_ONLY
        if state is CircuitState.OPEN:  # not by hand: a policy begins so
            self._open(at, None)
            return
        self.would_be = CircuitState.CLOSED if self.metrics_only else state
        self._begin_period(at)
        if self.would_be is CircuitState.CLOSED:
            self.warm_up(at)
        self._add_transition(before, state, metrics_only=False, origin=origin)

    def _reconfigure(self, order: Reconfigure, at: float) -> None:
        """Go on by another policy: what is running and remembered stays, as far as there is room
        for it.
        """
        policy, warm_up = order.policy, self.policy.warm_up
        if warm_up is not None and self._warms_up(at):  # none begins by this
            self.until += (policy.warm_up or 0.0) - warm_up
        self.policy = policy
        self.seed = order.seed
        self._renew_grant()
        origin = self.origin
        self.trip = reconfigured(self.trip, policy, self.latest, origin)
        seconds = policy.throttle_seconds
        if policy.throttle is None or self.throttle is None:
            self.throttle = None if policy.throttle is None else Throttle(seconds, origin)
        else:
            self.throttle = self.throttle.reconfigured(seconds, self.latest)
        seconds = policy.retry_budget_seconds
        if policy.retry_budget is None or self.budget is None:
            self.budget = None if policy.retry_budget is None else RetryBudget(seconds, origin)
        else:
            self.budget = self.budget.reconfigured(seconds, self.latest)
        if policy.ramp is None:
            self.ramp_step = 0
        self._tell(Reconfigured(policy, at))

    def _renew_grant(self) -> None:
        if self.would_be is CircuitState.CLOSED or self.would_be in UNGUARDED:
            self.grant = Grant(self.period, self.policy)

    def _tell(self, change: Told) -> None:
        if self.transitions is _NOTHING:
            self.transitions = []
        self.transitions.append(change)

    def _add_transition(
        self,
        from_state: CircuitState,
        to_state: CircuitState,
        metrics_only: bool,
        origin: Origin,
    ) -> None:
        retry_after = self.retry_after(self.since)
        if to_state is CircuitState.OPEN:  # or what would have been, if it only measures
            retry_after = self.until - self.since
        self._tell(
            Transition(
                from_state=from_state,
                to_state=to_state,
                at=self.since,
                period=self.period,
                failure_count=self.failure_count,
                retry_after=retry_after,
                last_failure=self.last_failure,
                metrics_only=metrics_only,
                origin=origin,
            )
        )

    def _slack(self) -> tuple[int, float]:
        """Return how many adverse outcomes a closed circuit can take, and up to which time."""
        if self.ramp_step:
            return 0, math.inf
        slack, expires = self.trip.slack(), self.trip.expires
        if self._warms_up(self.latest):
            slack, expires = UNLIMITED, math.nextafter(self.until, -math.inf)
        if self.throttle is not None:
            if self.throttle.share(self.policy) < 1:
                return 0, math.inf
            slack = min(slack, self.throttle.slack(self.policy))
            expires = min(expires, self.throttle.recent.expires)
        return slack, expires

    def _advance_to(self, at: float | None) -> float:
        """Advance to the time of a message; one that has none counts at the latest time told."""
        if at is None:
            return self.latest
        self.pass_time(at)
        return at


def _first_grant(policy: Policy) -> Grant:
    """Return the same one for machines that are made one after another by the same policy."""
    global _latest_first  # noqa: PLW0603
    grant = _latest_first
    if grant.policy is not policy:
        grant = _latest_first = Grant(0, policy)
    return grant


_latest_first = Grant(0, Policy())


def _wait_end(request: Acquire) -> tuple[float, int]:
    assert request.wait_until is not None
    return request.wait_until, request.permit


def replay(machine: Machine, messages: Sequence[Message]) -> Machine:
    """Return a copy of `machine` that has taken `messages`, but for those that it cannot take."""
    twin = machine.copy()
    for index, message in enumerate(messages):
        try:
            twin.apply(message)
        except RecursionError:
            raise  # it is whoever asks for this that has gone too deep
        except Exception:  # whatever it broke half-way is left behind with the copy
            return replay(replay(machine, messages[:index]), messages[index + 1 :])
    return twin
