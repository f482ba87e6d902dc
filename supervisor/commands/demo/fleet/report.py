"""The table at the end: both passes side by side."""

from __future__ import annotations

from rich import box
from rich.table import Table

from supervisor.commands.demo.fleet.figures import FleetFigures
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.report import duration


def report(plan: Plan, alone: FleetFigures, shared: FleetFigures) -> Table:
    """Return both passes' figures as a table."""
    table = Table(
        title=f"{plan.workers} agents in {plan.fleet} processes,"
        f" a server that is dead for {plan.dead_until - plan.dead_from:.1f} s",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("measured")
    table.add_column("without sharing", justify="right")
    table.add_column("with sharing", justify="right", style="bold")
    for label, left, right in zip(_LABELS, _column(alone), _column(shared), strict=True):
        table.add_row(label, left, right)
    return table


_LABELS = (
    "requests that hit the dead server",
    "   after a circuit had opened, no probes",
    "probes",
    "calls that were rejected",
    "first opening to last process",
    "server back to closed in all",
)


def _column(figures: FleetFigures) -> list[str]:
    return [
        f"{figures.dead_requests:,}",
        f"{figures.late_requests:,}",
        f"{figures.probes:,}",
        f"{figures.rejected:,}",
        duration(figures.opened_within),
        duration(figures.closed_within),
    ]
