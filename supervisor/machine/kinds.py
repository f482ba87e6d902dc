"""What is remembered of kinds of failure that have thresholds of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from supervisor.machine.messages import Settle
from supervisor.machine.recent import moved
from supervisor.machine.time_windows import BUCKETS, TimeWindow, bucket_of
from supervisor.machine.windows import CallWindow, InARow, Tally, take_over
from supervisor.policy import Outcome


class Kinds:
    """What is remembered of each kind of failure that has a threshold of its own.

    There may be many, so that only a failure of one of them looks at each. Until then windows are
    not told of what else has ended. No tally is ever changed, so that copies share them.

    Attributes:
        tallies: by kind; kinds of which nothing is remembered are not there.
        untold: calls that are in none of these windows yet, and when they ended; those of one
            bucket are together. In a window of seconds, a failure only lets time pass.
    """

    tallies: dict[str, Tally]
    untold: tuple[tuple[float, int], ...]

    __slots__ = ("tallies", "untold")

    def __init__(self) -> None:
        self.tallies = {}
        self.untold = ()

    def count(self, report: Settle, at: float, new_tally: Callable[[], Tally]) -> bool:
        """Count a success or a failure, and return whether its kind has reached its threshold.

        Where nothing is remembered, it must be a failure of a kind with a threshold.
        """
        kind, threshold = report.of_kind.kind, report.of_kind.threshold
        failed = report.outcome is Outcome.FAILED
        if failed and kind is not None and (threshold is not None or kind in self.tallies):
            own = self._count_failure(kind, report.times, at, new_tally)
            return threshold is not None and own.failures >= threshold
        self._pass(report.times, at, failed)
        return False

    def told(self) -> dict[str, Tally]:
        """Return tallies that know of all outcomes, without those of which nothing is left."""
        if isinstance(next(iter(self.tallies.values()), None), InARow):
            return self.tallies.copy()
        tallies = {kind: tally.copy() for kind, tally in self.tallies.items()}
        for tally in tallies.values():
            for at, times in self.untold:
                tally.add(at, times, failed=False, slow=False)
        return {kind: tally for kind, tally in tallies.items() if tally.failures}

    def copy(self) -> Kinds:
        """Return another one that remembers the same."""
        twin = Kinds()
        twin.tallies, twin.untold = self.tallies, self.untold
        return twin

    def moved_to(self, new_tally: Callable[[], Tally], latest: float) -> Kinds:
        """Return the same in tallies of another policy, as far as they can hold it."""
        twin = Kinds()
        for kind, tally in self.told().items():
            twin.tallies[kind] = new_tally()
            take_over(twin.tallies[kind], tally.copy(), latest)
        return twin

    def moved(self, by: float) -> Kinds:
        """Return the same as of so many seconds later."""
        twin = Kinds()
        twin.tallies = {kind: moved(tally, by) for kind, tally in self.tallies.items()}
        twin.untold = tuple((at + by, times) for at, times in self.untold)
        return twin

    def _count_failure(
        self, kind: str, times: int, at: float, new_tally: Callable[[], Tally]
    ) -> Tally:
        tallies = self.told()
        own = tallies[kind].copy() if kind in tallies else new_tally()
        own.add(at, times, failed=True, slow=False)
        if not isinstance(own, InARow):
            for other in tallies.values():
                if isinstance(other, CallWindow):
                    other.add(at, times, failed=False, slow=False)
                other.advance(at)
            tallies = {each: tally for each, tally in tallies.items() if tally.failures}
        self.tallies, self.untold = {**tallies, kind: own}, ()
        return own

    def _pass(self, times: int, at: float, failed: bool) -> None:
        """Keep an outcome that is not of any of the kinds for later, or forget all of them if no
        failure is left now.
        """
        tally = next(iter(self.tallies.values()))
        match tally:
            case InARow():
                over = not failed
            case CallWindow():
                times += sum(before for _, before in self.untold)
                self.untold = ((at, times),)
                over = times >= tally.size
            case TimeWindow():
                self._pass_in_time(0 if failed else times, at, tally)
                over = bucket_of(at, tally.width, tally.origin) >= tally.newest + BUCKETS
            case _:
                assert_never(tally)
        if over:
            self.tallies, self.untold = {}, ()

    def _pass_in_time(self, times: int, at: float, tally: TimeWindow) -> None:
        earlier, step = self.untold, (tally.width, tally.origin)
        if earlier and bucket_of(at, *step) <= bucket_of(earlier[-1][0], *step):
            at, times = earlier[-1][0], earlier[-1][1] + times
            earlier = earlier[:-1]
        self.untold = (*earlier, (at, times))
