"""What a circuit remembers of the calls of the last seconds, in steps (as Hystrix)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Final

from supervisor.machine.slack import UNLIMITED

BUCKETS: Final = 10
"""Steps in which the oldest calls leave a time window."""

Calls = tuple[float, int, bool, bool]
"""Calls that ended alike: when, how many, whether they failed, whether they were slow."""

Ring = Annotated[list[int], BUCKETS]
"""A number for each bucket, of which number n is at n % BUCKETS; and how many that are."""


class TimeWindow:
    """The calls of the last `seconds`; the oldest leave it in steps of a tenth of that."""

    width: float  # of a bucket, in seconds
    origin: float  # when bucket 0 begins
    newest: int  # the number of the bucket that time is in
    calls_in: Ring
    failures_in: Ring
    slow_in: Ring
    calls: int
    failures: int
    slow: int

    room: Final = UNLIMITED  # none leaves it because others come

    def __init__(self, seconds: float, origin: float = 0.0) -> None:
        self.width = seconds / BUCKETS
        self.origin = origin
        self.newest = 0
        self.clear()

    @property
    def expires(self) -> float:
        """The last time at which all that is in it still is."""
        for number in range(self.newest - BUCKETS + 1, self.newest + 1):
            if self.calls_in[number % BUCKETS]:
                return last_time(number + BUCKETS - 1, self.width, self.origin)
        return math.inf

    def add(self, at: float, times: int, failed: bool, slow: bool) -> None:
        """Count calls that ended alike."""
        self.advance(at)
        place = self.newest % BUCKETS
        self.calls_in[place] += times
        self.calls += times
        if failed:
            self.failures_in[place] += times
            self.failures += times
        if slow:
            self.slow_in[place] += times
            self.slow += times

    def after(self, times: int, amended: int) -> tuple[int, int, int]:
        """Return calls, failures and slow calls as they would be after more of the worst, of
        which so many would be amended.
        """
        new = times - amended
        return self.calls + new, self.failures + times, self.slow + new

    def advance(self, at: float) -> None:
        """Forget what is too old at that time."""
        number = bucket_of(at, self.width, self.origin)
        if number <= self.newest:
            return
        for passed in range(max(self.newest + 1, number - BUCKETS + 1), number + 1):
            place = passed % BUCKETS
            self.calls -= self.calls_in[place]
            self.failures -= self.failures_in[place]
            self.slow -= self.slow_in[place]
            self.calls_in[place] = self.failures_in[place] = self.slow_in[place] = 0
        self.newest = number

    def amend(self, call: int) -> bool:
        """Let a call that was counted as slow count as failed, too; return whether it does."""
        held = self.holds(call)
        if held:
            self.failures_in[call % BUCKETS] += 1
            self.failures += 1
        return held

    def take_back(self, call: int, failed: bool) -> None:
        """Forget a call that was counted as failed, or else as slow."""
        if self.holds(call):
            place = call % BUCKETS
            self.calls_in[place] -= 1
            self.calls -= 1
            self.failures_in[place] -= failed
            self.failures -= failed
            self.slow_in[place] -= not failed
            self.slow -= not failed

    def holds(self, call: int) -> bool:
        """Return whether that call is still there."""
        return call > self.newest - BUCKETS

    def last(self) -> int:
        """Return a name for the call that was counted last, for `amend`."""
        return self.newest

    def history(self, latest: float) -> Iterator[Calls]:
        """Return what is remembered, bucket by bucket, in each the failures last."""
        for number in range(self.newest - BUCKETS + 1, self.newest + 1):
            place = number % BUCKETS
            # In the middle of it, since its ends are not safe from rounding.
            at = min(self.origin + (number + 0.5) * self.width, latest)
            calls, failures, slow = (
                ring[place] for ring in (self.calls_in, self.failures_in, self.slow_in)
            )
            both = max(0, failures + slow - calls)  # as few as there can be
            yield at, calls - failures - slow + both, False, False
            yield at, slow - both, False, True
            yield at, both, True, True
            yield at, failures - both, True, False

    def clear(self) -> None:
        """Forget everything but the time."""
        self.calls_in = [0] * BUCKETS
        self.failures_in = [0] * BUCKETS
        self.slow_in = [0] * BUCKETS
        self.calls = self.failures = self.slow = 0

    def copy(self) -> TimeWindow:
        """Return another one that remembers the same."""
        twin = TimeWindow.__new__(TimeWindow)
        twin.__dict__.update(self.__dict__)
        twin.calls_in = self.calls_in.copy()
        twin.failures_in = self.failures_in.copy()
        twin.slow_in = self.slow_in.copy()
        return twin


def bucket_of(at: float, width: float, origin: float = 0.0) -> int:
    """Return the number of the bucket of that width for that time, if 0 begins at `origin`."""
    return math.floor((at - origin) / width)


def last_time(bucket: int, width: float, origin: float = 0.0) -> float:
    """Return the last time that is in that bucket."""
    time = origin + (bucket + 1) * width
    # Its end is not in it; nor may what rounding brings be.
    while bucket_of(time, width, origin) > bucket:
        time = math.nextafter(time, -math.inf)
    return time
