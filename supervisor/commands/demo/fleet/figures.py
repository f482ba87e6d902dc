"""What a pass comes to, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.commands.demo.fleet.diary import Diary
from supervisor.commands.demo.fleet.passes import FleetPass
from supervisor.machine import CircuitState


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """What a pass comes to.

    Attributes:
        dead_requests: that reached the server while it was dead, as it counted them.
        late_requests: those of them that were sent after the first circuit had opened, but for
            probes: what an earlier lesson would have spared.
        probes: calls that half-open circuits let through.
        rejected: calls that were refused.
        opened_within: seconds from the first circuit's opening to the last process's; None if not
            all have opened.
        closed_within: seconds from the server's return until the circuit was closed in all; None
            if it was not.
    """

    dead_requests: int
    late_requests: int
    probes: int
    rejected: int
    opened_within: float | None
    closed_within: float | None

    @classmethod
    def of(cls, measured: FleetPass) -> FleetFigures:
        """Return the figures of a pass."""
        server, diaries = measured.server, measured.diaries
        openings = [opening for diary in diaries for opening in first_openings(diary)]
        first = min(openings, default=server.dead_until)
        calls = [call for diary in diaries for call in diary.calls]
        sent = [call for call in calls if call.outcome != "rejected"]
        late = [call for call in sent if first < call.at < server.dead_until and not call.probe]
        closings = [closing_of(diary) for diary in diaries]
        back = [closing - server.dead_until for closing in closings if closing is not None]
        return cls(
            dead_requests=sum(server.dead),
            late_requests=len(late),
            probes=sum(call.probe for call in sent),
            rejected=len(calls) - len(sent),
            opened_within=max(openings) - first if len(openings) == len(diaries) else None,
            closed_within=max(back) if len(back) == len(diaries) else None,
        )


def first_openings(diary: Diary) -> list[float]:
    """Return when a process's circuit has opened first, if it has."""
    return [each.at for each in diary.changes if each.state is CircuitState.OPEN][:1]


def closing_of(diary: Diary) -> float | None:
    """Return when a process's circuit has closed for good; None if it has not, or never opened."""
    last = diary.changes[-1] if diary.changes else None
    return last.at if last is not None and last.state is CircuitState.CLOSED else None
