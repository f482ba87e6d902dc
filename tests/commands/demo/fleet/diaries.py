"""Diaries of two processes, as they could be."""

from __future__ import annotations

from supervisor import CircuitState
from supervisor.commands.demo.fleet.diary import Call, Change, Diary, Ready
from supervisor.commands.demo.fleet.passes import FleetPass
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.server import ServerReport

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
PLAN = Plan(workers=8, seconds=10.0, fleet=2)
COUNTS = ServerReport(3.0, 7.0, 1.0, [5, 5, 5, 0, 0, 0, 0, 5, 5, 5], [0, 0, 0, 3, 1, 0, 0, 0, 0, 0])


def diaries() -> tuple[Diary, Diary]:
    """Two processes: the second learns half a second later, and both send a probe."""
    first = Diary(
        1,
        "asyncio",
        Ready(False),
        changes=[
            Change(3.5, OPEN, "here"),
            Change(6.0, HALF_OPEN, "here"),
            Change(6.5, OPEN, "here"),
            Change(7.5, HALF_OPEN, "here"),
            Change(8.0, CLOSED, "here"),
        ],
        calls=[
            Call(1.0, "succeeded", False),
            Call(3.2, "failed", False),
            Call(6.2, "failed", True),
            Call(7.2, "rejected", False),
            Call(7.6, "succeeded", True),
        ],
    )
    second = Diary(
        2,
        "trio",
        Ready(False),
        changes=[
            Change(4.0, OPEN, "fleet"),
            Change(7.0, HALF_OPEN, "here"),
            Change(9.0, CLOSED, "here"),
        ],
        calls=[
            Call(3.4, "failed", False),
            Call(3.75, "failed", False),
            Call(5.0, "rejected", False),
            Call(8.5, "succeeded", True),
        ],
    )
    return first, second


def measured(shared: bool) -> FleetPass:
    """A pass of both."""
    return FleetPass(shared, COUNTS, diaries())
