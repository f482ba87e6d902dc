"""The time of a trace in equal parts, in which things can be counted and shown."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from supervisor.commands.simulate.course import Period
from supervisor.machine import CircuitState
from supervisor.recording import Call, Trace

MOST: Final = 60
"""Parts that a trace is divided into."""

_SHOWN: Final = (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN)
"""Of several states in one part the last of these is shown: probes may be very short."""


@dataclass(frozen=True, slots=True)
class Slices:
    """Equal parts of time, which begin at multiples of their width."""

    begin: float
    width: float
    count: int

    @classmethod
    def of(cls, trace: Trace) -> Slices:
        """Return at most 60 parts of 1, 2 or 5 units, such as 0.2 s or 10 s."""
        widths = (digit * 10.0**exponent for exponent in itertools.count(-3) for digit in (1, 2, 5))
        slices = (cls._of(trace, width) for width in widths)
        return next(found for found in slices if found.count <= MOST)

    @classmethod
    def _of(cls, trace: Trace, width: float) -> Slices:
        first = math.floor(trace.begin / width)
        return cls(first * width, width, max(1, math.ceil(trace.end / width) - first))

    @property
    def edges(self) -> list[float]:
        """Where they begin, and where the last one ends."""
        return [self.begin + number * self.width for number in range(self.count + 1)]

    def at(self, time: float) -> int:
        """Return the number of the part that a time is in; the end is in the last one."""
        number = math.floor((time - self.begin) / self.width + 1e-9)
        return min(number, self.count - 1)

    def count_of(self, times: Iterable[float]) -> list[int]:
        """Return how many of these times are in each part."""
        counts = [0] * self.count
        for time in times:
            counts[self.at(time)] += 1
        return counts

    def calls(self, calls: Iterable[Call]) -> list[list[Call]]:
        """Return the calls that ask in each part."""
        parts: list[list[Call]] = [[] for _ in range(self.count)]
        for call in calls:
            parts[self.at(call.at)].append(call)
        return parts

    def states(self, periods: Sequence[Period]) -> list[CircuitState]:
        """Return the state to show for each part."""
        shown = [0] * self.count
        edges = self.edges
        for period in periods:
            first, last = self.at(period.begin), self.at(period.end)
            if last > first and period.end <= edges[last]:
                last -= 1
            for number in range(first, last + 1):
                shown[number] = max(shown[number], _SHOWN.index(period.state))
        return [_SHOWN[number] for number in shown]


def medians(parts: Iterable[Sequence[Call]]) -> list[float | None]:
    """Return the median duration in each part, which may be infinite; None where none is known."""
    known = ([call.duration for call in calls if call.outcome is not None] for calls in parts)
    return [statistics.median_high(seconds) if seconds else None for seconds in known]


def longest_median(seconds: Iterable[float | None]) -> float:
    """Return the highest of what `medians` returns that is finite, or 0 if there is none."""
    return max(
        (median for median in seconds if median is not None and median < math.inf), default=0.0
    )
