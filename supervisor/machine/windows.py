"""What a circuit remembers of ended calls: failures in a row, the last calls, or the last seconds.

Each keeps running totals, so that one more call costs the same however many are remembered, and
takes no more memory than it did when it was new.

    InARow      failures since the last success
    CallWindow  the last `size` calls, a byte for each (resilience4j: COUNT_BASED)
    TimeWindow  the last `seconds`, in ten buckets (Hystrix's rolling numbers)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Final

BUCKETS: Final = 10
"""Steps in which the oldest calls leave a time window."""

_FAILED: Final = 1
_SLOW: Final = 2

Calls = tuple[float, int, bool, bool]
"""Calls that ended alike: when, how many, whether they failed, whether they were slow."""


class InARow:
    """Failures since the last success."""

    failures: int

    __slots__ = ("failures",)  # every plain circuit has one

    calls: Final = 0  # nobody asks for a rate of them
    slow: Final = 0
    expires: Final = math.inf

    def __init__(self) -> None:
        self.failures = 0

    def add(self, at: float, times: int, failed: bool, slow: bool) -> None:  # noqa: ARG002
        """Count calls that ended alike."""
        self.failures = self.failures + times if failed else 0

    def after(self, times: int, amended: int) -> tuple[int, int, int]:  # noqa: ARG002
        """Return calls, failures and slow calls as they would be after more of the worst."""
        return 0, self.failures + times, 0

    def advance(self, at: float) -> None:
        """Forget what is too old at that time."""

    def amend(self, call: int) -> bool:  # noqa: ARG002
        """Let a call that was counted as slow count as failed, too: it is not known any more."""
        return False

    def last(self) -> int:
        """Return a name for the call that was counted last, for `amend`."""
        return 0

    def history(self, latest: float) -> Iterator[Calls]:
        """Return what is remembered, oldest first."""
        yield latest, self.failures, True, False

    def clear(self) -> None:
        """Forget everything."""
        self.failures = 0

    def copy(self) -> InARow:
        """Return another one that remembers the same."""
        twin = InARow()
        twin.failures = self.failures
        return twin


class CallWindow:
    """The last `size` calls."""

    size: int
    entries: bytearray
    added: int  # calls, ever
    failures: int
    slow: int

    expires: Final = math.inf

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries = bytearray()
        self.added = 0
        self.failures = self.slow = 0

    @property
    def calls(self) -> int:
        """How many calls there are in it."""
        return len(self.entries)

    def add(self, at: float, times: int, failed: bool, slow: bool) -> None:  # noqa: ARG002
        """Count calls that ended alike."""
        self.added += times
        self.entries += bytes((failed * _FAILED + slow * _SLOW,)) * min(times, self.size)
        self.failures += failed * min(times, self.size)
        self.slow += slow * min(times, self.size)
        surplus = len(self.entries) - self.size
        if surplus > 0:
            gone = self.entries[:surplus]
            del self.entries[:surplus]
            self.failures -= _having(gone, _FAILED)
            self.slow -= _having(gone, _SLOW)

    def after(self, times: int, amended: int) -> tuple[int, int, int]:
        """Return calls, failures and slow calls as they would be after more of the worst, of
        which so many would be amended.
        """
        new = times - amended
        gone = self.entries[: max(0, len(self.entries) + new - self.size)]
        calls = min(len(self.entries) + new, self.size)
        failures = min(self.failures - _having(gone, _FAILED) + times, self.size)
        return calls, failures, min(self.slow - _having(gone, _SLOW) + new, self.size)

    def advance(self, at: float) -> None:
        """Forget what is too old at that time: nothing is."""

    def amend(self, call: int) -> bool:
        """Let a call that was counted as slow count as failed, too; return whether it does."""
        held = self.holds(call)
        if held:
            self.entries[call - self.added] |= _FAILED
            self.failures += 1
        return held

    def holds(self, call: int) -> bool:
        """Return whether that call is still there."""
        return call >= self.added - len(self.entries)

    def last(self) -> int:
        """Return a name for the call that was counted last, for `amend`."""
        return self.added - 1

    def history(self, latest: float) -> Iterator[Calls]:
        """Return what is remembered, oldest first."""
        for entry in self.entries:
            yield latest, 1, bool(entry & _FAILED), bool(entry & _SLOW)

    def clear(self) -> None:
        """Forget everything."""
        self.entries = bytearray()
        self.added = self.failures = self.slow = 0

    def copy(self) -> CallWindow:
        """Return another one that remembers the same."""
        twin = CallWindow(self.size)
        twin.__dict__.update(self.__dict__)
        twin.entries = self.entries.copy()
        return twin


Ring = Annotated[list[int], BUCKETS]
"""A number for each bucket, of which number n is at n % BUCKETS; and how many that are."""


class TimeWindow:
    """The calls of the last `seconds`; the oldest leave it in steps of a tenth of that."""

    width: float  # of a bucket, in seconds
    newest: int  # the number of the bucket that time is in
    calls_in: Ring
    failures_in: Ring
    slow_in: Ring
    calls: int
    failures: int
    slow: int

    def __init__(self, seconds: float) -> None:
        self.width = seconds / BUCKETS
        self.newest = 0
        self.clear()

    @property
    def expires(self) -> float:
        """The last time at which all that is in it still is."""
        for number in range(self.newest - BUCKETS + 1, self.newest + 1):
            if self.calls_in[number % BUCKETS]:
                return last_time(number + BUCKETS - 1, self.width)
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
        number = bucket_of(at, self.width)
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
            at = min((number + 0.5) * self.width, latest)  # its ends are not safe from rounding
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


def bucket_of(at: float, width: float) -> int:
    """Return the number of the bucket of that width for that time."""
    return math.floor(at / width)


def last_time(bucket: int, width: float) -> float:
    """Return the last time that is in that bucket."""
    time = (bucket + 1) * width
    while bucket_of(time, width) > bucket:  # its end is not in it; nor may what rounding brings be
        time = math.nextafter(time, -math.inf)
    return time


Tally = InARow | CallWindow | TimeWindow


def take_over(new: Tally, old: Tally, latest: float) -> None:
    """Let `new` remember what `old` does, as far as it can hold it."""
    old.advance(latest)  # or what it has lost would be found again by a longer one
    for at, times, failed, slow in old.history(latest):
        if times:
            new.add(at, times, failed, slow)
    new.advance(latest)


def _having(entries: bytearray, flag: int) -> int:
    return sum(entries.count(code) for code in range(4) if code & flag)
