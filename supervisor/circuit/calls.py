"""The calls that are known by number while they run, since it counts how long that takes."""

from __future__ import annotations

import math
from heapq import heappop, heappush

from supervisor.machine import Grant, Overdue, overdue, slow_from
from supervisor.policy import Policy

Ticket = Grant | int
"""What an admitted call is settled by: its grant, or its number."""


class RunningCalls:
    """The running calls of one circuit, by number.

    Attributes:
        last: the number that was given last.
        under_lease: those under the present lease's grant that are not slow yet, in the order of
            their beginning, and when that was.
        others: all others: by what grant, since when, and whether they have been told to be slow.
        slow_after: seconds after which a call under the present lease is slow; infinite if such
            calls need not be kept.
    """

    __slots__ = ("_grant", "_slow_at", "last", "others", "slow_after", "under_lease")

    def __init__(self, grant: Grant, policy: Policy) -> None:
        self.last = 0
        self.under_lease: dict[int, float] = {}
        self.others: dict[int, tuple[Grant, float, bool]] = {}
        self.slow_after = policy.slow_call_duration or math.inf
        self._grant = grant
        self._slow_at: list[tuple[float, int]] = []  # of others, a heap; a call may have ended

    @property
    def others_may_become_slow(self) -> bool:
        """Whether calls of another lease are looked after, which count as soon as they are slow."""
        return bool(self._slow_at)

    def renew(self, grant: Grant, policy: Policy) -> None:
        """Go by another lease, or another policy."""
        for call, began in self.under_lease.items():
            self._keep_other(call, self._grant, began)
        self.under_lease.clear()
        self._grant = grant
        self.slow_after = policy.slow_call_duration or math.inf

    def begin(self, grant: Grant, now: float) -> int:
        """Keep a call that begins now, and return its number."""
        self.last = call = self.last + 1
        if grant is self._grant and self.slow_after < math.inf:
            self.under_lease[call] = now
        else:
            self._keep_other(call, grant, now)
        return call

    def end(self, call: int) -> tuple[Grant, float, int]:
        """Return the grant of a call that has ended, when it began, and its number if it has been
        told to be slow, or else 0.
        """
        began = self.under_lease.pop(call, None)
        if began is not None:
            return self._grant, began, 0
        grant, began, told = self.others.pop(call)
        return grant, began, call if told else 0

    def grant_of(self, call: int) -> Grant:
        """Return the grant of a call that still runs."""
        return self._grant if call in self.under_lease else self.others[call][0]

    def slow_next(self) -> float:
        """Return when the first of the running calls is slow, or one that has ended would be."""
        while self._slow_at and self._slow_at[0][1] not in self.others:
            heappop(self._slow_at)  # or the actor would wake for each of those that have ended
        first = next(iter(self.under_lease.values()), math.inf) + self.slow_after
        return min(first, self._slow_at[0][0]) if self._slow_at else first

    def newly_overdue(self, now: float, period: int) -> list[Overdue]:
        """Return a report of each call of this period that has become slow by now, in the order
        of time.
        """
        reports: list[Overdue] = []
        while self._slow_at and self._slow_at[0][0] <= now:
            _, call = heappop(self._slow_at)
            if call in self.others:
                grant, began, _ = self.others[call]
                self._tell(reports, call, grant, began, period)
        others = bool(reports)
        while self.under_lease:
            call, began = next(iter(self.under_lease.items()))
            if began + self.slow_after > now:
                break
            del self.under_lease[call]
            self._tell(reports, call, self._grant, began, period)
        if others:
            reports.sort(key=lambda report: report.at)
        return reports

    def _tell(
        self, reports: list[Overdue], call: int, grant: Grant, began: float, period: int
    ) -> None:
        """Remember that a call is slow, and report it."""
        self.others[call] = (grant, began, True)
        if grant.period >= period:
            reports.append(overdue(grant, call, began))

    def _keep_other(self, call: int, grant: Grant, began: float) -> None:
        """Keep a call that was not admitted by the present lease."""
        self.others[call] = (grant, began, False)
        slow_at = slow_from(grant, began)
        if slow_at < math.inf:
            heappush(self._slow_at, (slow_at, call))
