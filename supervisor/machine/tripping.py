"""When a closed circuit opens: what it remembers of its calls, and the limits to that."""

from __future__ import annotations

import math
from functools import partial

from supervisor.machine.kinds import Kinds
from supervisor.machine.messages import Overdue, Settle
from supervisor.machine.ratios import is_share, ratio
from supervisor.machine.recent import moved
from supervisor.machine.slack import fewest
from supervisor.machine.time_windows import TimeWindow
from supervisor.machine.windows import CallWindow, InARow, Tally, take_over
from supervisor.policy import Outcome, Policy


class Trip:
    """What the outcomes of a closed circuit's calls amount to.

    Attributes:
        tally: what is remembered of all calls.
        kinds: the same of each kind of failure that has a threshold of its own, while there are
            any of it.
        overdue: calls that have been counted as slow and still run: what the tally calls them,
            and whether they count as failures; None as long as there has been none.
    """

    policy: Policy
    tally: Tally
    kinds: Kinds | None
    overdue: dict[int, tuple[int, bool]] | None

    __slots__ = ("kinds", "overdue", "policy", "tally")

    def __init__(self, policy: Policy, origin: float = 0.0) -> None:
        self.policy = policy
        self.tally = _tally(policy, origin)
        self.kinds = None
        self.overdue = None

    def count(self, report: Settle, at: float) -> bool:
        """Count a success or a failure, and return whether the circuit is to open."""
        failed = report.outcome is Outcome.FAILED
        counted = self._amend(report, failed) if report.call else self._add(report, at, failed)
        asked_to_wait = failed and report.of_kind.retry_after is not None
        return (
            self._has_kind_reached(report, at)
            or asked_to_wait
            or (counted and self._has_reached(failed))
        )

    def summary(self) -> str | None:
        """Return why it has opened, where that is not for one failure alone."""
        tally, rate = self.tally, self.policy.slow_call_rate
        if not tally.calls or not self.counts_successes:
            return None
        if rate is not None and is_share(tally.slow, tally.calls, rate):
            return f"{tally.slow} of {tally.calls} calls were slow"
        return f"{tally.failures} of {tally.calls} calls failed"

    def count_overdue(self, report: Overdue) -> bool:
        """Count a call as slow before it ends, and return whether the circuit is to open."""
        self._add_to_tally(report.at, 1, report.failed, slow=not report.failed)
        self.overdue = self.overdue or {}
        self.overdue[report.call] = self.tally.last(), report.failed
        return self._has_reached(report.failed)

    def take_back(self, call: int) -> None:
        """Count a call no more that was overdue, and has ended without saying anything."""
        counted = self._end_overdue(call)
        if counted is not None:
            self.tally.take_back(*counted)

    def take_all_back(self) -> None:
        """Do that for all calls that still run."""
        for call in list(self.overdue or ()):
            self.take_back(call)

    def fail(self, at: float) -> None:
        """Count one failure of a circuit that is not closed."""
        self.tally.add(at, 1, failed=True, slow=False)

    def forget(self) -> None:
        """Forget all calls."""
        self.tally.clear()
        self.kinds = self.overdue = None

    def forget_running(self) -> None:
        """Leave the calls that still run as they have been counted."""
        self.overdue = None

    def take_over(self, old: Trip, latest: float) -> None:
        """Remember what another one does, as far as there is room for it."""
        policy, before = self.policy, old.policy
        if (policy.window_calls, policy.window_seconds) == (
            before.window_calls,
            before.window_seconds,
        ):
            twin = old.copy()
            self.tally, self.kinds, self.overdue = twin.tally, twin.kinds, twin.overdue
            return
        take_over(self.tally, old.tally, latest)
        if old.kinds is not None:
            kinds = old.kinds.moved_to(partial(_beside, self.tally, self.policy), latest)
            self.kinds = kinds if kinds.tallies else None

    def moved(self, by: float) -> Trip:
        """Return the same as of so many seconds later."""
        twin = self.copy()
        twin.tally = moved(self.tally, by)
        twin.kinds = self.kinds and self.kinds.moved(by)
        return twin

    def copy(self) -> Trip:
        """Return another one that remembers the same."""
        twin = type(self).__new__(type(self))
        twin.policy = self.policy
        twin.tally = self.tally.copy()
        twin.kinds = self.kinds and self.kinds.copy()
        twin.overdue = self.overdue and self.overdue.copy()
        return twin

    @property
    def counts_successes(self) -> bool:
        """Whether successes have to be remembered."""
        return self.looks_at_rates or not isinstance(self.tally, TimeWindow)

    @property
    def looks_at_rates(self) -> bool:
        """Whether the share of some calls among all is looked at."""
        return self.policy.failure_rate is not None or self.policy.slow_call_rate is not None

    @property
    def any_outcome(self) -> bool:
        """Whether a success could open the circuit: the one that fills the window up; or the next
        one, if the share has been reached by what has left the window, or by another policy.
        """
        return self.looks_at_rates and (
            self.tally.calls < self.policy.minimum_calls or self._has_reached(failed=False)
        )

    @property
    def expires(self) -> float:
        """The time up to which `slack` is right, if nothing is counted."""
        return self.tally.expires if self.looks_at_rates else math.inf

    def slack(self) -> int:
        """Return how many more outcomes, and only adverse ones, could open the circuit."""
        tally = self.tally
        if isinstance(tally, InARow):
            return max(1, self.policy.failure_threshold - tally.failures)
        still_run = (self.overdue or {}).values()
        overdue = sum(not failed and tally.holds(call) for call, failed in still_run)
        if overdue:
            return fewest(lambda times: not self._could_be_reached(times, overdue))
        return fewest(partial(_lacking, tally, self.policy))

    def _could_be_reached(self, times: int, overdue: int) -> bool:
        """Whether so many of the worst outcomes would do: slow failures, or failures of calls
        that have been counted as slow already and make no further call.
        """
        reached = self._is_reached(*self.tally.after(times, 0), failed=True)
        if not reached and overdue:
            spare = max(0, self.tally.calls + times - self.policy.minimum_calls)
            amended = min(times, overdue, spare)
            reached = self._is_reached(*self.tally.after(times, amended), failed=True)
        return reached

    def _has_reached(self, failed: bool) -> bool:
        """Whether the circuit is to open, after an outcome that has or has not failed."""
        return self._is_reached(self.tally.calls, self.tally.failures, self.tally.slow, failed)

    def _is_reached(self, calls: int, failures: int, slow: int, failed: bool) -> bool:
        policy = self.policy
        if policy.failure_rate is None:
            if failed and failures >= policy.failure_threshold:
                return True
        elif calls >= policy.minimum_calls and is_share(failures, calls, policy.failure_rate):
            return True
        return (
            policy.slow_call_rate is not None
            and calls >= policy.minimum_calls
            and is_share(slow, calls, policy.slow_call_rate)
        )

    def _add(self, report: Settle, at: float, failed: bool) -> bool:
        """Count calls by their weight, and return whether that has any."""
        times = report.times * report.of_kind.weight if failed else report.times
        if times and (failed or self.counts_successes):
            self._add_to_tally(at, times, failed, report.slow)
        return times > 0

    def _add_to_tally(self, at: float, times: int, failed: bool, slow: bool) -> None:
        if not failed and isinstance(self.tally, InARow):
            self.overdue = None  # the row is at its end that they were in
        self.tally.add(at, times, failed, slow)

    def _amend(self, report: Settle, failed: bool) -> bool:
        """Let a call that was overdue count as failed, too, and return whether it does."""
        place, has_failed = self._end_overdue(report.call) or (0, True)
        return failed and not has_failed and self.tally.amend(place)

    def _end_overdue(self, call: int) -> tuple[int, bool] | None:
        """Take a call out that runs no more, and return how it has been counted, if it is."""
        counted = self.overdue.pop(call, None) if self.overdue else None
        self.overdue = self.overdue or None  # the room of many is given back
        return counted

    def _has_kind_reached(self, report: Settle, at: float) -> bool:
        """Count by kinds, and return whether the circuit is to open for the kind reported."""
        if self.kinds is None:
            if report.of_kind.threshold is None:
                return False
            self.kinds = Kinds()
        reached = self.kinds.count(report, at, partial(_beside, self.tally, self.policy))
        if not self.kinds.tallies:
            self.kinds = None
        return reached


def _beside(tally: Tally, policy: Policy) -> Tally:
    """Return another one by that policy, whose steps begin together with those of the first."""
    return _tally(policy, tally.origin if isinstance(tally, TimeWindow) else 0.0)


def _lacking(tally: CallWindow | TimeWindow, policy: Policy, times: int) -> int:
    """Return how many more than so many of the worst outcomes it takes, at the least: as if none
    but them, or no failure, left the window meanwhile.
    """
    calls, failures, slow = tally.after(times, 0)
    room, too_few = max(0, tally.room - times), policy.minimum_calls - calls
    if policy.failure_rate is None:
        lacking = policy.failure_threshold - failures
    else:
        lacking = max(too_few, _lacking_to(policy.failure_rate, failures, calls, room))
    if policy.slow_call_rate is None:
        return lacking
    return min(lacking, max(too_few, _lacking_to(policy.slow_call_rate, slow, calls, room)))


def _lacking_to(share: float, part: int, calls: int, room: int) -> int:
    """Return how many more it takes until a part is that share of all calls, if each of them is one
    more of the part, and the first `room` of them are one more call.
    """
    parts, of = ratio(share)
    lacking = calls * parts - part * of
    if lacking > room * (of - parts):
        return -(-(lacking + room * parts) // of)
    return -(-lacking // max(1, of - parts))


def _tally(policy: Policy, origin: float) -> Tally:
    if policy.window_calls is not None:
        return CallWindow(policy.window_calls)
    seconds = policy.window_seconds
    return InARow() if seconds is None else TimeWindow(seconds, origin)
