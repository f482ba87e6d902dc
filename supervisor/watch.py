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
from typing import Final

from supervisor.messages import Grant, Lease, Overdue
from supervisor.policy import Policy
from supervisor.windows import BUCKETS, bucket_of, last_time

Ticket = Grant | int
"""What an admitted call is settled by: its grant, or its number."""


class Watch:
    """The state of one circuit's watching callers.

    Attributes:
        first_policy, latest_policy: the one that it began with, by which others may still ask for
            it; and the one that it was told last.
        limits_time: whether there may be calls with a limit to their time.
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
        "latest_policy",
        "last_call",
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
        # Calls under `grant` that are not slow yet, in the order of their beginning; and other
        # calls, with whether they have been told to be slow.
        self.running: dict[int, float] = {}
        self.others: dict[int, tuple[Grant, float, bool]] = {}
        self.overdue_at = math.inf
        self.run_began = 0.0
        self.grant = lease.grant
        self._adapt(policy)
        self.renew(lease, policy)

    def renew(self, lease: Lease, policy: Policy) -> None:
        """Go by another lease, and perhaps another policy."""
        if policy is not self.policy:
            self._adapt(policy)
        if lease.grant is not self.grant:
            for call, began in self.running.items():
                self.others[call] = (self.grant, began, False)
            self.running.clear()
        self.grant = lease.grant
        self.slack = lease.slack
        self.any_outcome = lease.any_outcome
        self.expires = lease.expires
        self.run_grant = None if lease.any_outcome or self.judges_results else lease.grant
        self.look_at(self.overdue_at)
        self.run_ends = -math.inf if self.in_time else math.inf

    @property
    def headroom(self) -> int:
        """What the shortest path may go by: nothing if it leaves out what has to be done; 1 if
        it may admit calls and count successes, but has to report each failure.
        """
        if self.any_outcome or not self.successes_at_once:
            return 0
        return min(self.slack, 1) if self.failures_one_by_one else self.slack

    def begin_run(self, now: float) -> None:
        """Let the successes from now on be one run, which ends with a time window's bucket."""
        self.run_began = now
        self.run_ends = min(
            (last_time(bucket_of(now, width), width) for width in self._widths), default=math.inf
        )

    def end_run(self) -> float | None:
        """Let the next success begin another run, and return the time of this one."""
        if not self.in_time:
            return None
        self.run_ends = -math.inf
        return self.run_began

    def look_at(self, time: float) -> None:
        """Have somebody look after the running calls at that time; infinite: nobody has to."""
        self.overdue_at = time
        # While nobody looks, the next call to be kept must see to it.
        unseen = time == math.inf and self.keeps_calls
        self.next_check = -math.inf if unseen else min(time, self.expires)

    def begin_call(self, grant: Grant, now: float) -> int:
        """Keep a call that begins now, and return its number."""
        self.last_call = call = self.last_call + 1
        if grant is self.grant:
            self.running[call] = now
        else:  # a probe, which has a limit of its own
            self.others[call] = (grant, now, False)
        return call

    def end_call(self, call: int) -> tuple[Grant, float, bool]:
        """Return the grant of a call that has ended, when it began, and whether that it is slow
        has been told before.
        """
        began = self.running.pop(call, None)
        return self.others.pop(call) if began is None else (self.grant, began, False)

    def grant_of(self, ticket: Ticket) -> Grant:
        """Return the grant of a call that still runs."""
        if isinstance(ticket, Grant):
            return ticket
        return self.grant if ticket in self.running else self.others[ticket][0]

    def newly_overdue(self, now: float, period: int) -> list[Overdue]:
        """Return a report of each running call of this period that has become slow by now."""
        reports: list[Overdue] = []
        failed = self.policy.slow_call_rate is None
        first = math.inf
        while self.running:
            call, began = next(iter(self.running.items()))
            first = began + self.slow_after
            if first > now:
                break
            del self.running[call]
            self.others[call] = (self.grant, began, True)
            if self.grant.period == period:
                reports.append(Overdue(period, call, first, self.slow_after, failed))
        self.look_at(first if self.running else math.inf)
        return reports

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
        self.judges_results = policy.classify is not None or policy.failure_on_result is not None
        self.slow_after = policy.slow_call_duration or math.inf
        self.limits_time = self.limits_time or policy.timeout is not None
        self.keeps_calls = policy.slow_call_duration is not None
        self.admits_freely = not self.keeps_calls and policy.throttle is None
        self.failures_one_by_one = is_watched(policy)
        self.successes_at_once = not (
            self.in_time
            or self.judges_results
            or self.slow_after < math.inf
            or policy.timeout is not None
        )


def is_watched(policy: Policy) -> bool:
    """Whether a policy asks for more than to count errors in a row, or in the last calls."""
    return (
        policy.failure_on is not Exception
        or policy.ignore != ()
        or any(getattr(policy, field) is not None for field in _WATCHED)
    )


_WATCHED: Final = (
    "window_seconds",
    "failure_rate",
    "slow_call_duration",
    "failure_on_result",
    "classify",
    "recovery_from",
    "throttle",
    "retry_budget",
    "timeout",
)
