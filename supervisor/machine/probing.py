"""What a half-open circuit knows of its probes."""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Final

from supervisor.machine.ratios import is_share
from supervisor.policy import Policy

DELAY: Final = 0.005
"""Seconds by which a turn may be late on an event loop that runs: some count in milliseconds."""


def is_late(due: float, now: float) -> bool:
    """Whether nobody had a turn at the time when something was due: the event loop stood still."""
    return now - due > DELAY


class Probing:
    """The probes of one half-open period.

    One failure opens the circuit, `success_threshold` successes close it; or, with a
    `probe_failure_rate`, the share of failures among `probes` decides, as soon as it is certain.
    """

    # permit -> when it counts as failed, seconds given, whether that has been put off
    running: dict[int, tuple[float, float, bool]]
    successes: int
    failures: int
    verdict_by: float
    verdict_within: float
    verdict_put_off: bool
    # of those running, a heap; a probe in it may have ended, or been renewed
    ends: list[tuple[float, int]]
    admitted: list[int]  # since the last turn; one of them may have ended

    def __init__(self) -> None:
        self.running = {}
        self.ends = []
        self.admitted = []
        self.successes = 0
        self.failures = 0
        self.verdict_by = math.inf
        self.verdict_within = math.inf
        self.verdict_put_off = False

    @property
    def deadline(self) -> float:
        """When something has to be done about them, if none of them ends before."""
        return min(self.verdict_by, self.ends[0][0]) if self.ends else self.verdict_by

    def places(self, policy: Policy) -> int:
        """Return how many more may run now."""
        if policy.probe_failure_rate is not None:
            at_once = policy.probes_at_once or _sample(policy)
            left = _sample(policy) - self.successes - self.failures
            places = min(left, at_once) - len(self.running)
        elif policy.probes is not None:
            places = policy.probes - len(self.running)
        else:
            places = policy.success_threshold - self.successes - len(self.running)
        # Another policy may have come, by which there have been enough already.
        return max(0 if self.running else 1, places)

    def admit(self, permit: int, policy: Policy) -> None:
        """Let a probe run; its time begins when its caller is told so, with `begin`."""
        self.running[permit] = (math.inf, policy.probe_timeout, False)
        self.admitted.append(permit)
        if policy.half_open_timeout is not None and self.verdict_within == math.inf:
            self.verdict_within = policy.half_open_timeout

    def begin(self, now: float) -> None:
        """Let the time of those begin that have been admitted."""
        for permit in self.admitted:
            if permit in self.running:
                _, seconds, put_off = self.running[permit]
                self._end_at(permit, now + seconds, seconds, put_off)
        if self.admitted and self.verdict_by == math.inf:
            self.verdict_by = now + self.verdict_within
        self.admitted.clear()

    def renew(self, permit: int, at: float) -> None:
        """Let the time of a probe begin anew, if it runs: its caller has heard of it."""
        end, seconds, _ = self.running.get(permit, (math.inf, 0.0, False))
        if end < math.inf:
            self.running[permit] = (at + seconds, seconds, False)
            if at + seconds != end:
                heappush(self.ends, (at + seconds, permit))
            self._drop_ended()

    def put_off(self, now: float) -> None:
        """Put off, once each, whatever should have been decided before `now`.

        Nobody had a turn since then, so a probe may have ended meanwhile without a chance to say
        so. It is given as much time again as the turn is late, and at most its whole time.
        """
        late: list[int] = []
        while self.ends and is_late(self.ends[0][0], now):
            late.append(heappop(self.ends)[1])
            self._drop_ended()
        for permit in late:
            end, seconds, put_off = self.running[permit]
            later = end if put_off else now + min(now - end, seconds)
            self._end_at(permit, later, seconds, put_off=True)
        if is_late(self.verdict_by, now) and not self.verdict_put_off:
            self.verdict_by = now + min(now - self.verdict_by, self.verdict_within)
            self.verdict_put_off = True

    def end(self, permit: int) -> bool:
        """Take a probe out that runs no more, and return whether it did."""
        ran = self.running.pop(permit, None) is not None
        self._drop_ended()
        return ran

    def end_overdue(self, at: float) -> tuple[int, float] | None:
        """Take a probe out that has run for too long, and return its permit, and the seconds that
        it was given.
        """
        if not self.ends or self.ends[0][0] > at:
            return None
        _, permit = self.ends[0]
        _, seconds, _ = self.running.pop(permit)
        self._drop_ended()
        return permit, seconds

    def restore_ends(self) -> None:
        """Find the ends again by the probes that run."""
        known = [(end, permit) for permit, (end, _, _) in self.running.items()]
        self.ends = sorted(each for each in known if each[0] < math.inf)
        self.admitted = [permit for end, permit in known if end == math.inf]

    def forget_running(self) -> None:
        """Take all probes out: whoever runs them has gone."""
        self.running.clear()
        self.ends.clear()
        self.admitted.clear()

    def moved(self, by: float) -> Probing:
        """Return another one that knows the same as of so many seconds later, while none runs."""
        twin = self.copy()
        twin.verdict_by += by
        return twin

    def _end_at(self, permit: int, end: float, seconds: float, put_off: bool) -> None:
        self.running[permit] = (end, seconds, put_off)
        heappush(self.ends, (end, permit))

    def _drop_ended(self) -> None:
        """Let the first of the ends be the end of a probe that runs."""
        while self.ends and not self._is_end(*self.ends[0]):
            heappop(self.ends)

    def _is_end(self, end: float, permit: int) -> bool:
        return permit in self.running and self.running[permit][0] == end

    def is_lost(self, policy: Policy, more: int = 0) -> bool:
        """Whether so many have failed, and so many more, that the circuit is to open again."""
        failures = self.failures + more
        if policy.probe_failure_rate is None:
            return failures > 0
        return is_share(failures, _sample(policy), policy.probe_failure_rate)

    def is_won(self, policy: Policy) -> bool:
        """Whether so many have succeeded that the circuit is to close."""
        if policy.probe_failure_rate is None:
            return self.successes >= policy.success_threshold
        most = _sample(policy) - self.successes  # failures that there can still be
        return not is_share(most, _sample(policy), policy.probe_failure_rate)

    def copy(self) -> Probing:
        """Return another one that knows the same."""
        twin = Probing()
        twin.__dict__.update(self.__dict__)
        twin.running = self.running.copy()
        twin.ends = self.ends.copy()
        twin.admitted = self.admitted.copy()
        return twin


def successes_needed(policy: Policy) -> int:
    """Return how many successes close a half-open circuit, if nothing fails."""
    rate = policy.probe_failure_rate
    if rate is None:
        return policy.success_threshold
    sample = _sample(policy)
    return next(wins for wins in range(1, sample + 1) if not is_share(sample - wins, sample, rate))


def _sample(policy: Policy) -> int:
    assert policy.probes is not None
    return policy.probes
