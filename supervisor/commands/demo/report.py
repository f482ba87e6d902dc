"""The table at the end: both passes side by side."""

from __future__ import annotations

from rich import box
from rich.table import Table

from supervisor.commands.demo.figures import Figures, Latency
from supervisor.commands.demo.plan import Plan

NOTHING = "-"


def report(plan: Plan, without: Figures, guarded: Figures) -> Table:
    """Return both passes' figures as a table, with a note on what they mean."""
    by = f" by {plan.client}" if plan.client else ""
    table = Table(
        title=f"{plan.workers} agents on {plan.backend}{by},"
        f" a server that is dead for {plan.dead_until - plan.dead_from:.1f} s",
        caption="Recovered: the first success from which on,"
        f" for {plan.recovery_window:.2g} s, at least 95 %\n"
        "of the calls succeed. Circuits have to wait for their next probe.",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("measured")
    table.add_column("without circuits", justify="right")
    table.add_column("with circuits", justify="right", style="bold")
    columns = zip(_LABELS, _column(without), _column(guarded), strict=True)
    for label, left, right in columns:
        table.add_row(label, left, right, end_section=label in _SECTION_ENDS)
    return table


_LABELS = (
    "requests that hit the dead server",
    "requests in all",
    "calls that succeeded",
    "calls that failed",
    "   latency, median / p99",
    "calls that were rejected",
    "   latency, median / p99",
    "circuits opened",
    "server back to first success",
    "server back to recovered",
)

_SECTION_ENDS = ("requests in all", "circuits opened")


def _column(figures: Figures) -> list[str]:
    return [
        f"{figures.dead_requests:,}",
        f"{figures.requests:,}",
        f"{figures.succeeded:,}",
        f"{figures.failed:,}",
        _latency(figures.failed_latency),
        f"{figures.rejected:,}",
        _latency(figures.rejected_latency),
        f"{figures.times_opened:,}",
        duration(figures.first_success),
        duration(figures.recovered),
    ]


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return NOTHING
    return f"{duration(latency.median)} / {duration(latency.p99)}"


def duration(seconds: float | None) -> str:
    """Return seconds as people read them, or a dash for what did not happen."""
    match seconds:
        case None:
            return NOTHING
        case _ if seconds < 0.001:
            return f"{seconds * 1e6:.0f} µs"
        case _ if seconds < 1:
            return f"{seconds * 1e3:.{0 if seconds >= 0.01 else 1}f} ms"
        case _:
            return f"{seconds:.2f} s"
