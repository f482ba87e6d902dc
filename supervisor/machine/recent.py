"""What is remembered of late, as of another time, or by another policy."""

from __future__ import annotations

from typing import Self

from supervisor.machine.time_windows import TimeWindow
from supervisor.machine.windows import Tally, take_over


def moved(tally: Tally, by: float) -> Tally:
    """Return a tally that remembers the same as of so many seconds later."""
    twin = tally.copy()
    if isinstance(twin, TimeWindow):
        twin.origin += by
    return twin


class Recent:
    """What goes by the calls of so many last seconds."""

    recent: TimeWindow

    __slots__ = ("recent",)

    def __init__(self, seconds: float, origin: float = 0.0) -> None:
        self.recent = TimeWindow(seconds, origin)

    def copy(self) -> Self:
        """Return another one that remembers the same."""
        twin = type(self).__new__(type(self))
        twin.recent = self.recent.copy()
        return twin

    def moved(self, by: float) -> Self:
        """Return one that remembers the same as of so many seconds later."""
        twin = self.copy()
        twin.recent.origin += by
        return twin

    def reconfigured(self, seconds: float, latest: float) -> Self:
        """Return one of so many seconds that remembers the same, as far as it can hold that."""
        twin = type(self)(seconds, self.recent.origin)
        take_over(twin.recent, self.recent, latest)
        return twin
