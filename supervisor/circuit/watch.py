"""What callers look at, and keep, if a policy asks for more than to count their errors.

The slack of such a circuit is kept here, and not where the shortest path looks for it, so that a
plain circuit's calls pay nothing for any of this. A policy may ask for

    failures one by one   with their time or kind; successes go the shortest path all the same
    successes in time     in runs, each of which ends with a bucket of a time window
    results               which are judged, too
    running calls         which are known by number, with the time of their beginning
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

from supervisor.machine import BUCKETS, Grant, Lease, Overdue, bucket_of, last_time
from supervisor.policy import Policy

Ticket = Grant | int
"""What an admitted call is settled by: its grant, or its number."""


class Watch:
    """The state of one circuit's watching callers.

    Attributes:
        first_policy, latest_policy: the one that it began with, by which others may still ask for
            it; and the one that it was told last.
        limits_time: whether there may be calls with a limit to their time.
        judges_results: whether there may be calls whose results are judged.
        slack: adverse outcomes that may still be reported under this lease.
        run_began: the time of the first of the unsent successes.
        run_ends: the last time at which one more may be added to them.
        overdue_at: when the first of the running calls is slow, or an earlier time; infinite if
            nobody has to look.
        keeps_calls: whether calls are known by number while they run.
        next_check: the time from which a call must not be admitted before something is looked at.
        admits_freely: whether calls are admitted without a look at the time.
        run_grant: the grant whose successes are added to the unsent ones without more ado.
    """

    __slots__ = (
        "_slow_at",
        "_widths",
        "admits_freely",
        "any_outcome",
        "expires",
        "failures_one_by_one",
        "first_policy",
        "grant",
        "in_time",
        "judges_results",
        "keeps_calls",
        "last_call",
        "latest_policy",
        "limits_time",
        "next_check",
        "others",
        "overdue_at",
        "policy",
        "run_began",
        "run_ends",
        "run_grant",
        "running",
        "slack",
        "slow_after",
        "successes_at_once",
        "time",
    )

    def __init__(self, lease: Lease, policy: Policy, time: Callable[[], float]) -> None:
        self.time = time
        self.first_policy = self.latest_policy = policy
        self.last_call = 0
        self.limits_time = False
        self.judges_results = False
        # Calls under `grant` that are not slow yet, in the order of their beginning; and other
        # calls, with whether they have been told to be slow, and when some of them will be.
        self.running: dict[int, float] = {}
        self.others: dict[int, tuple[Grant, float, bool]] = {}
        self._slow_at: list[tuple[float, int]] = []  # a heap; a call may have ended since
        self.overdue_at = math.inf
        self.run_began = 0.0
        self.grant = lease.grant
        self._adapt(policy)
        self.renew(lease, policy)

    def renew(self, lease: Lease, policy: Policy) -> None:
        """Go by another lease, and perhaps another policy."""
        if lease.grant is not self.grant or policy is not self.policy:
            for call, began in self.running.items():
                self._keep_other(call, self.grant, began)
            self.running.clear()
        if policy is not self.policy:
            self._adapt(policy)
        # Calls of another lease may become slow, which counts as soon as they are.
        self.admits_freely = not (self.keeps_calls or self._slow_at or policy.throttle is not None)
        self.grant = lease.grant
        self.slack = lease.slack
        self.any_outcome = lease.any_outcome
        self.expires = lease.expires
        self.run_grant = None if lease.any_outcome or self._slow_at else lease.grant
        self.look_at(self.overdue_at)
        self.run_ends = -math.inf if self.in_time else math.inf

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
        if self.any_outcome or self._slow_at or not self.successes_at_once:
            return 0
        return min(self.slack, 1) if self.failures_one_by_one else self.slack

    def begin_run(self, now: float) -> None:
        """Let the successes from now on be one run, which ends with a time window's bucket."""
        self.run_began = now
        ends = (last_time(bucket_of(now, width), width) for width in self._widths)
        self.run_ends = min(self.expires, *ends) if self.in_time else math.inf

    def end_run(self) -> float | None:
        """Let the next success begin another run, and return the time of this one."""
        if not self.in_time:
            return None
        self.run_ends = -math.inf
        return self.run_began

    def look_at(self, time: float) -> None:
        """Have somebody look after the running calls at that time; infinite: nobody has to."""
        self.overdue_at = time
        # If no call waits for that, the next one to be kept may be slow before.
        unseen = self.keeps_calls and not self.running
        self.next_check = -math.inf if unseen else min(time, self.expires)

    def begin_call(self, grant: Grant, now: float) -> int:
        """Keep a call that begins now, and return its number."""
        self.last_call = call = self.last_call + 1
        if grant is self.grant and self.keeps_calls:
            self.running[call] = now
        else:
            self._keep_other(call, grant, now)
        return call

    def end_call(self, call: int) -> tuple[Grant, float, bool]:
        """Return the grant of a call that has ended, when it began, and whether that it is slow
        has been told before.
        """
        began = self.running.pop(call, None)
        return self.others.pop(call) if began is None else (self.grant, began, False)

    def grant_of(self, call: int) -> Grant:
        """Return the grant of a call that still runs."""
        return self.grant if call in self.running else self.others[call][0]

    def slow_next(self) -> float:
        """Return when the first of the running calls is slow, or one that has ended would be."""
        while self._slow_at and self._slow_at[0][1] not in self.others:
            heappop(self._slow_at)  # or the actor would wake for each of those that have ended
        first = next(iter(self.running.values()), math.inf) + self.slow_after
        return min(first, self._slow_at[0][0]) if self._slow_at else first

    def newly_overdue(self, now: float, period: int) -> list[Overdue]:
        """Return a report of each running call of this period that has become slow by now, in
        the order of time.
        """
        reports: list[Overdue] = []
        while self._slow_at and self._slow_at[0][0] <= now:
            at, call = heappop(self._slow_at)
            if call in self.others:
                grant, began, _ = self.others[call]
                self._tell(reports, call, grant, began, at, period)
        others = bool(reports)
        while self.running:
            call, began = next(iter(self.running.items()))
            if began + self.slow_after > now:
                break
            del self.running[call]
            self._tell(reports, call, self.grant, began, began + self.slow_after, period)
        if others:
            reports.sort(key=lambda report: report.at)
        self.look_at(self.slow_next())
        return reports

    def _tell(
        self, reports: list[Overdue], call: int, grant: Grant, began: float, at: float, period: int
    ) -> None:
        """Remember that a call is slow, and report it."""
        self.others[call] = (grant, began, True)
        after, rate = grant.policy.slow_call_duration, grant.policy.slow_call_rate
        if grant.period >= period and after is not None:
            reports.append(Overdue(grant.period, call, at, after, failed=rate is None))

    def _keep_other(self, call: int, grant: Grant, began: float) -> None:
        """Keep a call that was not admitted by the present lease."""
        self.others[call] = (grant, began, False)
        limit = grant.policy.slow_call_duration
        if not grant.probe and limit is not None:  # probes have a limit of their own
            heappush(self._slow_at, (began + limit, call))

    def _adapt(self, policy: Policy) -> None:
        self.policy = policy
        rates = policy.failure_rate is not None or policy.slow_call_rate is not None
        windows = (
            policy.window_seconds if rates else None,
            None if policy.throttle is None else policy.throttle_seconds,
            None if policy.retry_budget is None else policy.retry_budget_seconds,
        )
        self._widths = [seconds / BUCKETS for seconds in windows if seconds is not None]
        self.in_time = bool(self._widths)
        self.slow_after = policy.slow_call_duration or math.inf
        self.keeps_calls = policy.slow_call_duration is not None
        self.failures_one_by_one = is_watched(policy)
        self._allow_for(policy)
        self.successes_at_once = not (
            self.in_time
            or _judges_results(policy)
            or self.slow_after < math.inf
            or policy.timeout is not None
        )

    def _allow_for(self, policy: Policy) -> None:
        """Look for what calls that are admitted by this policy will need when they end."""
        self.judges_results = self.judges_results or _judges_results(policy)
        self.limits_time = self.limits_time or policy.timeout is not None


def _judges_results(policy: Policy) -> bool:
    return policy.classify is not None or policy.failure_on_result is not None


def is_watched(policy: Policy) -> bool:
    """Whether a policy asks for more than to count errors in a row, or in the last calls."""
    return (
        policy.failure_on is not Exception
        or policy.ignore != ()
        or policy.window_seconds is not None
        or policy.failure_rate is not None
        or policy.slow_call_duration is not None
        or policy.failure_on_result is not None
        or policy.classify is not None
        or policy.recovery_from is not None
        or policy.throttle is not None
        or policy.retry_budget is not None
        or policy.timeout is not None
    )
