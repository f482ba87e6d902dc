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
from typing import Final

from supervisor.machine.time_windows import Calls, TimeWindow

_FAILED: Final = 1
_SLOW: Final = 2
_EMPTY: Final = 4
_BOTH: Final = _FAILED | _SLOW


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

    def take_back(self, call: int, failed: bool) -> None:  # noqa: ARG002
        """Forget a call of this very row."""
        self.failures -= failed

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
    """The last `size` calls. The place of one that was taken back stays empty until it leaves."""

    size: int
    entries: bytearray
    empty: int  # of them
    added: int  # calls, ever
    failures: int
    slow: int

    expires: Final = math.inf

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries = bytearray()
        self.empty = self.added = 0
        self.failures = self.slow = 0

    @property
    def calls(self) -> int:
        """How many calls there are in it."""
        return len(self.entries) - self.empty

    @property
    def room(self) -> int:
        """How many more there can be until the first one leaves it."""
        return self.size - len(self.entries)

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
            self.empty -= gone.count(_EMPTY)

    def after(self, times: int, amended: int) -> tuple[int, int, int]:
        """Return calls, failures and slow calls as they would be after more of the worst, of
        which so many would be amended.
        """
        new = times - amended
        if new <= self.room:
            return self.calls + new, self.failures + times, self.slow + new
        gone = self.entries[: new - self.room]
        calls = min(len(self.entries) + new, self.size) - self.empty + gone.count(_EMPTY)
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

    def take_back(self, call: int, failed: bool) -> None:
        """Forget a call that was counted as failed, or else as slow."""
        if self.holds(call):
            self.entries[call - self.added] = _EMPTY
            self.empty += 1
            self.failures -= failed
            self.slow -= not failed

    def holds(self, call: int) -> bool:
        """Return whether that call is still there."""
        return call >= self.added - len(self.entries)

    def last(self) -> int:
        """Return a name for the call that was counted last, for `amend`."""
        return self.added - 1

    def history(self, latest: float) -> Iterator[Calls]:
        """Return what is remembered, oldest first."""
        for entry in self.entries.replace(bytes((_EMPTY,)), b""):
            yield latest, 1, bool(entry & _FAILED), bool(entry & _SLOW)

    def clear(self) -> None:
        """Forget everything."""
        self.entries = bytearray()
        self.empty = self.added = self.failures = self.slow = 0

    def copy(self) -> CallWindow:
        """Return another one that remembers the same."""
        twin = CallWindow(self.size)
        twin.__dict__.update(self.__dict__)
        twin.entries = self.entries.copy()
        return twin


Tally = InARow | CallWindow | TimeWindow


def take_over(new: Tally, old: Tally, latest: float) -> None:
    """Let `new` remember what `old` does, as far as it can hold it."""
    old.advance(latest)  # or what it has lost would be found again by a longer one
    for at, times, failed, slow in old.history(latest):
        if times:
            new.add(at, times, failed, slow)
    new.advance(latest)


def _having(entries: bytearray, flag: int) -> int:
    return entries.count(flag) + entries.count(_BOTH)
