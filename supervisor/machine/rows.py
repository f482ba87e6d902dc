"""When a closed circuit opens that looks at failures in a row, too, beside its window."""

from __future__ import annotations

from supervisor.machine.messages import Overdue, Settle
from supervisor.machine.tripping import Trip
from supervisor.machine.windows import InARow
from supervisor.policy import Outcome, Policy


class RowTrip(Trip):
    """What the outcomes of calls amount to in a window, and in a row.

    Attributes:
        row: failures since the last success, by their weight.
        late: the calls among them that still run, since they were slow; each with how many of the
            failures it is.
    """

    row: int
    late: dict[int, int]

    __slots__ = ("late", "row")

    def __init__(self, policy: Policy, origin: float = 0.0) -> None:
        super().__init__(policy, origin)
        self.row, self.late = 0, {}

    def count(self, report: Settle, at: float) -> bool:
        """Count a success or a failure, and return whether the circuit is to open."""
        failures = self._failures_of(report)
        opens = super().count(report, at)
        if report.outcome is Outcome.FAILED:
            self.row += failures
            self.late.pop(report.call, None)
        else:
            self.row, self.late = 0, {}
        return opens or (failures > 0 and self.row >= self.longest)

    def count_overdue(self, report: Overdue) -> bool:
        """Count a call as slow before it ends, and return whether the circuit is to open."""
        opens = super().count_overdue(report)
        if report.failed:
            self.row += 1
            self.late[report.call] = 1
        return opens or (report.failed and self.row >= self.longest)

    def take_back(self, call: int) -> None:
        """Count a call no more that was overdue, and has ended without saying anything."""
        super().take_back(call)
        self.row -= self.late.pop(call, 0)

    def take_all_back(self) -> None:
        """Do that for all calls that still run."""
        super().take_all_back()
        for call in list(self.late):
            self.take_back(call)

    def forget_running(self) -> None:
        """Leave the calls that still run as they have been counted."""
        super().forget_running()
        self.late = {}

    def forget(self) -> None:
        """Forget all calls."""
        super().forget()
        self.row, self.late = 0, {}

    def take_over(self, old: Trip, latest: float) -> None:
        """Remember what another one does, as far as there is room for it."""
        super().take_over(old, latest)
        if isinstance(old, RowTrip):
            self.row, self.late = old.row, old.late.copy()
        elif isinstance(old.tally, InARow):
            late = (call for call, (_, failed) in (old.overdue or {}).items() if failed)
            self.row, self.late = old.tally.failures, dict.fromkeys(late, 1)

    def copy(self) -> RowTrip:
        """Return another one that remembers the same."""
        twin = super().copy()
        assert isinstance(twin, RowTrip)
        twin.row, twin.late = self.row, self.late.copy()
        return twin

    def slack(self) -> int:
        """Return how many more outcomes, and only adverse ones, could open the circuit."""
        return min(super().slack(), max(1, self.longest - self.row))

    @property
    def longest(self) -> int:
        """The failures in a row that open the circuit."""
        assert self.policy.failures_in_a_row is not None
        return self.policy.failures_in_a_row

    def _failures_of(self, report: Settle) -> int:
        """Return how many failures are new: of a call that was overdue, none that has failed by
        that, or of which it is not known any more.
        """
        if report.outcome is not Outcome.FAILED:
            return 0
        if not report.call:
            return report.times * report.of_kind.weight
        _, has_failed = (self.overdue or {}).get(report.call, (0, True))
        return int(not has_failed)


def trip_by(policy: Policy, origin: float = 0.0) -> Trip:
    """Return what no calls amount to by a policy."""
    return (Trip if policy.failures_in_a_row is None else RowTrip)(policy, origin)


def reconfigured(trip: Trip, policy: Policy, latest: float, origin: float = 0.0) -> Trip:
    """Return what these calls amount to by another policy."""
    twin = trip_by(policy, origin)
    twin.take_over(trip, latest)
    return twin
