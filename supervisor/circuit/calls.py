"""The calls that are known by number while they run, since it counts how long that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from heapq import heappop, heappush

from supervisor.machine import NO_PROBE, UNCOUNTED, Grant, is_late
from supervisor.policy import Policy

Ticket = Grant | int
"""What an admitted call is settled by: its grant, or its number."""


class OfOneCall(Grant):
    """Admits one call alone, whose report is more than what came of it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Part(OfOneCall):
    """Admits a call as a part of the one that it is inside of, which is the one that reports."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed(OfOneCall):
    """Admits a call whose end somebody wants to know of; it is as good as `ticket`.

    Attributes:
        ticket: what it is settled by.
        asked: when it has asked to be admitted.
        began: when it was.
        wait: seconds for which it would have waited.
    """

    ticket: Ticket = field(kw_only=True)
    asked: float = field(kw_only=True)
    began: float = field(kw_only=True)
    wait: float | None = field(kw_only=True)

    __hash__ = object.__hash__  # it is looked for among running calls, by number


class Known(Enum):
    """What is known of how long a call takes."""

    RUNS = auto()
    PUT_OFF = auto()  # it should have been slow while the event loop stood still
    IS_SLOW = auto()


class RunningCalls:
    """The running calls of one circuit, by number.

    Attributes:
        last: the number that was given last.
        seen: the last one at the actor's last turn.
        under_lease: those under the present lease's grant that are not slow yet, in the order of
            their beginning, and when that was.
        others: all others: by what grant, since when, and what is known of them. Of those that are
            put off, the time for which they are is left out.
        slow_after: seconds after which a call under the present lease is slow; infinite if such
            calls need not be kept.
    """

    __slots__ = ("_grant", "_slow_at", "last", "others", "seen", "slow_after", "under_lease")

    def __init__(self, grant: Grant, policy: Policy) -> None:
        self.last = self.seen = 0
        self.under_lease: dict[int, float] = {}
        self.others: dict[int, tuple[Grant, float, Known]] = {}
        self.slow_after = policy.slow_call_duration or math.inf
        self._grant = grant
        self._slow_at: list[tuple[float, int]] = []  # of others, a heap; a call may have ended

    @property
    def others_may_become_slow(self) -> bool:
        """Whether calls of another lease are looked after, which count as soon as they are slow."""
        return bool(self._slow_at)

    def renew(self, grant: Grant, policy: Policy) -> None:
        """Go by another lease, or another policy."""
        for call in list(self.under_lease):
            self._move(call)
        self._grant = grant
        self.slow_after = policy.slow_call_duration or math.inf

    def make_small(self) -> None:
        """Give the room back that calls had, if none runs: a dictionary would keep it."""
        for calls in (self.under_lease, self.others):
            if not calls:
                calls.clear()

    def begin(self, call: int, grant: Grant, now: float) -> None:
        """Keep a call that begins now."""
        if grant is self._grant and self.slow_after < math.inf:
            self.under_lease[call] = now
        else:
            self._keep_other(call, grant, now)

    def forget(self, call: int) -> None:
        """Keep a call no more, that has never begun."""
        self.others.pop(call, None)
        self.under_lease.pop(call, None)

    def end(self, call: int, now: float | None) -> tuple[Grant, float | None, int]:
        """Return the grant of a call that has ended, when it began, and its number if it has been
        told to be slow, or else 0.

        When it began is left out if it should have been slow while the event loop stood still: it
        may have ended before. If nobody else had a turn while it ran, it has taken the time itself.
        """
        others_ran = self._others_ran(call)
        began = self.under_lease.pop(call, None)
        if began is not None:
            grant, known = self._grant, Known.RUNS
        else:
            grant, began, known = self.others.pop(call)
        if known is Known.IS_SLOW:
            return grant, began, call if grant.probe == NO_PROBE else 0
        if others_ran and now is not None and is_late(_slow_at(grant, began), now):
            return grant, None, 0
        return grant, began, 0

    def grant_if_fast(self, call: int, now: float) -> Grant | None:
        """Return the grant of a call that still runs; None: it is slow, and among `others`."""
        self._move(call)
        grant, began, known = self.others[call]
        slow_at = _slow_at(grant, began)
        if known is Known.IS_SLOW:
            return None
        in_time = now < slow_at or (self._others_ran(call) and is_late(slow_at, now))
        return grant if in_time else None

    def grant_of(self, call: int) -> Grant:
        """Return the grant of a call that still runs."""
        return self._grant if call in self.under_lease else self.others[call][0]

    def slow_next(self) -> float:
        """Return when the first of the running calls is slow, or one that has ended would be."""
        while self._slow_at and not self._runs(self._slow_at[0][1]):
            heappop(self._slow_at)  # or the actor would wake for each of those that have ended
        first = self._oldest()[1] + self.slow_after
        return min(first, self._slow_at[0][0]) if self._slow_at else first

    def next_overdue(self, now: float) -> int | None:
        """Return the call among `others` that became slow first, if one has by now and has not
        been told to be.

        A call that should have been so while the event loop stood still is put off once: it is
        given as much time again, and at most its whole time.
        """
        while (oldest := self._oldest())[1] + self.slow_after <= now:
            self._move(oldest[0])
        while self._slow_at and self._slow_at[0][0] <= now:
            soonest = self._slow_at[0]
            slow_at, call = soonest
            running = self.others.get(call)
            if running is not None and running[2] is not Known.IS_SLOW:
                if running[2] is Known.PUT_OFF or not is_late(slow_at, now):
                    return call
                self._put_off(call, running, slow_at, now)
            if self._slow_at and self._slow_at[0] is soonest:
                heappop(self._slow_at)
        return None

    def _others_ran(self, call: int) -> bool:
        """Whether somebody else had a turn while it ran, as far as can be told."""
        return call < self.last or call <= self.seen

    def _oldest(self) -> tuple[int, float]:
        """Return the call under the present lease that has run for longest; infinite: there is
        none.
        """
        for oldest in self.under_lease.items():  # `next(iter(…))` fails if one ends in between
            return oldest
        return 0, math.inf

    def _move(self, call: int) -> None:
        """Keep a call that is under the present lease among the others, if it still runs."""
        began = self.under_lease.get(call)
        if began is None:
            return
        running = (self._grant, began, Known.RUNS)
        self._expect(call, _slow_at(self._grant, began))
        if call in self.under_lease:  # still, and nothing is called before it is moved
            self.others[call] = running
            del self.under_lease[call]

    def _put_off(
        self, call: int, running: tuple[Grant, float, Known], slow_at: float, now: float
    ) -> None:
        grant, began, _ = running
        late = now - slow_at
        later = (grant, began + late + min(late, slow_at - began), Known.PUT_OFF)
        self._expect(call, _slow_at(*later[:2]))
        if self.others.get(call) is running:
            self.others[call] = later

    def _keep_other(self, call: int, grant: Grant, began: float) -> None:
        """Keep a call that was not admitted by the present lease."""
        self.others[call] = (grant, began, Known.RUNS)
        self._expect(call, _slow_at(grant, began))

    def _runs(self, call: int) -> bool:
        return call in self.others or call in self.under_lease

    def _expect(self, call: int, slow_at: float) -> None:
        if slow_at < math.inf:
            heappush(self._slow_at, (slow_at, call))


def _slow_at(grant: Grant, began: float) -> float:
    """Return when a call is slow, be it a probe or not; infinite if that counts for nothing."""
    limit = grant.policy.slow_call_duration
    return math.inf if limit is None or grant.probe == UNCOUNTED else began + limit
