"""The store's clock, as told by the clock of an event loop."""

from __future__ import annotations

import math
from typing import Final

GOOD_FOR: Final = 60.0
"""Seconds after which a reading is replaced by any other: clocks drift."""

SLACK: Final = 0.05
"""Seconds by which two readings may differ, besides their round trips, before one of the clocks has
been set.
"""


class StoreClock:
    """By how much the store's clock is ahead of that of the event loop.

    An answer says what the store's clock was at some moment between the question and the answer,
    so half of that time is the error at most. The best reading of the last minute counts, unless a
    clock has been set since then (Cristian, *Probabilistic clock synchronization*, 1989).
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._error = math.inf
        self._read_at = -math.inf

    def read(self, store: float, asked: float, answered: float) -> None:
        """Know what it was at some moment between two of the event loop's, in seconds."""
        ahead, error = store - (asked + answered) / 2, (answered - asked) / 2
        was_set = abs(ahead - self._ahead) > error + self._error + SLACK
        if error <= self._error or was_set or answered - self._read_at > GOOD_FOR:
            self._ahead, self._error, self._read_at = ahead, error, answered

    def here(self, at: float, now: float, within: float = math.inf) -> float:
        """Return a time of the store's, at least `now` and at most so many seconds later, as that
        of the event loop.
        """
        return min(max(at - self._ahead, now), now + within)
