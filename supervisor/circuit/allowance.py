"""What callers may do under a lease, if a policy asks for more than to count their errors.

The slack of such a circuit is kept here, and not where the shortest path looks for it, so that a
plain circuit's calls pay nothing for any of this. A policy may ask for

    failures one by one   with their time or kind; successes go the shortest path all the same
    successes in time     in runs, each of which ends with a bucket of a time window
    results               which are judged, too
    failures kept         the last ones, for whoever reads the circuit
    running calls         which are known by number, with the time of their beginning

and so may who observes calls, whatever the policy.
"""

from __future__ import annotations

import math
from operator import attrgetter, is_
from typing import Final

from supervisor.circuit.calls import RunningCalls, Ticket
from supervisor.circuit.observers import CallObserver
from supervisor.circuit.statistics import RecentFailure
from supervisor.loop import Clock
from supervisor.machine import BUCKETS, Grant, Lease, Settle, bucket_of, last_time
from supervisor.policy import Outcome, Policy, takes_arguments

_parts_that_ask = attrgetter(
    "failure_on",
    "ignore",
    "window_seconds",
    "failure_rate",
    "slow_call_duration",
    "warm_up",
    "failure_on_result",
    "classify",
    "recovery_from",
    "throttle",
    "retry_budget",
    "timeout",
    "keep_failures",
)
_NOTHING_ASKED: Final = _parts_that_ask(Policy())


def asks_for_more(policy: Policy) -> bool:
    """Whether a policy asks for more than to count errors in a row, or in the last calls."""
    # Not by `==`, which is the user's own where a part is a function or a type.
    return not all(map(is_, _parts_that_ask(policy), _NOTHING_ASKED))


class Allowance:
    """What remains of a circuit's lease, and what its callers have to do for their policy.

    Attributes:
        first_policy, latest_policy: the one that it began with, by which others may still ask for
            it; and the one that it was told last.
        slack: adverse outcomes that may still be reported under this lease.
        any_outcome, expires, grant: those of the lease.
        limits_time: whether there may be calls with a limit to their time, or that are judged by
            their arguments: they go no shortest path.
        judges_results: whether there may be calls whose results are judged.
        failures_one_by_one: whether each failure is reported by itself.
        keeps_calls: whether calls under this lease are known by number while they run.
        only_keeps_calls: whether that is all that there is to them: no limit, and no judgement.
        running_calls: those that are known by number, by whatever lease.
        overdue_at: when the first of them is slow, or an earlier time; infinite if nobody has to
            look.
        failures: the last ones, if they are kept; replaced as a whole, for other threads.
        observer: who wants to know of each call; none of them goes the shortest path then.
        next_check: the time from which a call must not be admitted before something is looked at.
        admits_freely: whether calls are admitted without a look at the time.
        run_grant: the grant whose successes are added to the unsent ones without more ado.
        run_ends: the last time at which one more may be added to them.
        run_began: the time of that run; None if it does not matter.
        between_runs: where `run_ends` is while there is no run.
    """

    __slots__ = (
        "_in_time",
        "_origin",
        "_policy",
        "_successes_at_once",
        "_widths",
        "admits_freely",
        "any_outcome",
        "between_runs",
        "clock",
        "expires",
        "failures",
        "failures_one_by_one",
        "first_policy",
        "grant",
        "judges_results",
        "keeps_calls",
        "latest_policy",
        "limits_time",
        "next_check",
        "observer",
        "only_keeps_calls",
        "overdue_at",
        "run_began",
        "run_ends",
        "run_grant",
        "running_calls",
        "slack",
    )

    def __init__(self, lease: Lease, policy: Policy, clock: Clock, origin: float = 0.0) -> None:
        self.clock = clock
        self._origin = origin  # of the machine's windows
        self.first_policy = self.latest_policy = policy
        self.limits_time = False
        self.judges_results = False
        self.observer: CallObserver | None = None
        self.overdue_at = math.inf
        self.grant: Grant = lease.grant
        self.running_calls = RunningCalls(lease.grant, policy)
        self.run_began: float | None = None
        self.failures: tuple[RecentFailure, ...] | None = None
        self._adapt(policy)
        self.renew(lease, policy)

    def renew(self, lease: Lease, policy: Policy) -> None:
        """Go by another lease, and perhaps another policy."""
        if policy is not self._policy or lease.grant is not self.grant:
            self.running_calls.renew(lease.grant, policy)
        if policy is not self._policy:
            self._adapt(policy)
        self.running_calls.make_small()
        waits_for_others = self.running_calls.others_may_become_slow
        self.admits_freely = not (
            self.keeps_calls
            or waits_for_others
            or policy.throttle is not None
            or self.observer is not None
        )
        self.grant = lease.grant
        self.slack = lease.slack
        self.any_outcome = lease.any_outcome
        self.expires = lease.expires
        self.run_grant = None if lease.any_outcome or waits_for_others else lease.grant
        self._look_at(self.overdue_at)
        self.run_ends = self.between_runs

    def withdraw(self) -> None:
        """Admit nobody and count nothing at once, until there is another lease."""
        self.slack = 0
        self.any_outcome = True
        self.run_grant = None

    def expect(self, policy: Policy) -> None:
        """Keep nothing back until the next lease, which may be that of another policy."""
        self.latest_policy = policy
        self.any_outcome = True
        self.run_grant = None
        self._allow_for(policy)

    @property
    def headroom(self) -> int:
        """What the shortest path may go by: nothing if it leaves out what has to be done; 1 if
        it may admit calls and count successes, but has to report each failure.
        """
        if self.run_grant is None or not self._successes_at_once or self.observer is not None:
            return 0
        return min(self.slack, 1) if self.failures_one_by_one else self.slack

    def covers(self, report: Settle) -> bool:
        """Take an outcome from the slack, and return whether the lease still holds after it."""
        if not report.outcome.counts:
            return not report.call  # it was counted as slow, and is taken back
        failed, kind = report.outcome is Outcome.FAILED, report.of_kind
        if failed and kind.has_own_limits:
            return False  # limits of its own, which the lease does not know
        if report.at is None or report.at > self.expires:
            return False
        if not (failed or report.slow or self.any_outcome):
            return True
        weight = max(1, kind.weight) if failed else 1
        self.slack -= weight
        return self.slack > 0

    def remember(self, report: Settle) -> None:
        """Keep a report if it is one of a failure, and failures are kept."""
        if self.failures is not None and report.outcome is Outcome.FAILED:
            kept = self._policy.keep_failures or 1
            failure = RecentFailure(report.at, report.failure)
            self.failures = (*self.failures, failure)[-kept:]

    # Runs of successes

    def time_in_run(self, ticket: Ticket) -> float | None:
        """Return the time of one more success in the present run, if nothing depends on it; 0.0
        if its time does not matter.
        """
        may_change = self.overdue_at < math.inf or self.expires < math.inf
        watches_time = self._in_time or may_change
        now = self.clock.time() if watches_time else 0.0
        # From here on nothing is called that could be interrupted, but for a look at the ticket.
        if not self._is_under_lease(ticket):
            return None
        if watches_time and (now > self.expires or now >= self.overdue_at):
            return None
        return None if self.any_outcome and self.slack <= 1 else now

    def begin_run(self, now: float) -> None:
        """Let the successes from now on be one run, which ends with a time window's bucket."""
        if self._in_time:
            steps = [(width, self._origin) for width in self._widths]
            ends = [last_time(bucket_of(now, *step), *step) for step in steps]
            ends_first = min(self.expires, *ends)
            self.run_began, self.run_ends = now, ends_first

    # Calls while they run

    def begin_call(self, call: int, grant: Grant, now: float) -> bool:
        """Keep a call that begins now, and return whether somebody has to look sooner for that."""
        before = self.overdue_at
        self.running_calls.begin(call, grant, now)
        self._look_at(min(self.running_calls.slow_next(), before))
        return self.overdue_at < before

    def look_after_calls(self) -> None:
        """Have the first of the running calls looked at that has not become slow yet."""
        self._look_at(self.running_calls.slow_next())

    def _look_at(self, time: float) -> None:
        """Have somebody look after the running calls at that time; infinite: nobody has to."""
        self.overdue_at = time
        # If no call waits for that, the next one to be kept may be slow before.
        unseen = self.keeps_calls and not self.running_calls.under_lease
        looks = unseen or self.observer is not None
        self.next_check = -math.inf if looks else min(time, self.expires)

    def _is_under_lease(self, ticket: Ticket) -> bool:
        if isinstance(ticket, Grant):
            return ticket is self.grant
        return ticket in self.running_calls.under_lease

    # Policies

    def _adapt(self, policy: Policy) -> None:
        self._policy = policy
        self._widths = [seconds / BUCKETS for seconds in _windows_in_time(policy)]
        self._in_time = bool(self._widths)
        self.between_runs = -math.inf if self._in_time else math.inf
        self.run_began = None
        kept = policy.keep_failures
        self.failures = None if kept is None else (self.failures or ())[-kept:]
        self.keeps_calls = policy.slow_call_duration is not None
        self.failures_one_by_one = asks_for_more(policy)
        self._allow_for(policy)
        self._successes_at_once = not (
            self._in_time or self.keeps_calls or _judges_results(policy) or _limits_time(policy)
        )

    def _allow_for(self, policy: Policy) -> None:
        """Look for what calls that are admitted by this policy will need when they end."""
        self.judges_results = self.judges_results or _judges_results(policy)
        self.limits_time = self.limits_time or _limits_time(policy)
        self.only_keeps_calls = self.keeps_calls and not (self.judges_results or self.limits_time)


def _limits_time(policy: Policy) -> bool:
    """Whether calls go no shortest path: they have a limit, or are judged by their arguments."""
    return policy.timeout is not None or takes_arguments(policy)


def _windows_in_time(policy: Policy) -> list[float]:
    """Return the seconds of those windows for which the time of a success matters."""
    rates = policy.failure_rate is not None or policy.slow_call_rate is not None
    windows = (
        (policy.window_seconds, rates),
        (policy.throttle_seconds, policy.throttle is not None),
        (policy.retry_budget_seconds, policy.retry_budget is not None),
    )
    return [seconds for seconds, used in windows if used and seconds is not None]


def _judges_results(policy: Policy) -> bool:
    return policy.classify is not None or policy.failure_on_result is not None
