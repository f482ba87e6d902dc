"""All that is seen at a time: how things stand, who does not answer, and the circuits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.text import Text

from supervisor.commands.top.plan import Plan
from supervisor.commands.top.process import Process
from supervisor.commands.top.reading import in_order
from supervisor.commands.top.table import encodable, style_of, table_of
from supervisor.commands.top.words import counted, headline, link_of

AROUND: Final = 4
"""Lines for the table's head, and for what is above and below it."""


def is_live(console: Console) -> bool:
    """Return whether there is a terminal whose cursor can be moved."""
    return console.file.isatty() and not console.is_dumb_terminal


def sentence(plan: Plan, processes: Sequence[Process], now: float) -> str:
    """Return how things stand, in one sentence; processes that do not answer are part of it."""
    silent = sum(1 for process in processes if process.problem)
    if silent == len(processes):
        return "No answer"
    rows = [row for process in processes for row in process.rows]
    if not rows and plan.pattern != "*":
        told = f"No circuit fits {plan.pattern!r}"
    else:
        told = headline(rows, now, len(processes) - silent)
    if silent:
        verb = "does" if silent == 1 else "do"
        told += f"; {silent:,} of {len(processes):,} processes {verb} not answer"
    return told


def problems(processes: Sequence[Process]) -> list[str]:
    """Return a line for each process that does not answer."""
    return [f"{process.name}: {process.problem}" for process in processes if process.problem]


def links(processes: Sequence[Process]) -> str:
    """Return how those stand that share circuits with their fleets; empty if none does."""
    fleets = [each.fleet for each in processes if each.fleet is not None and not each.problem]
    if not fleets:
        return ""
    joined, lost = sum(each.joined for each in fleets), sum(each.lost for each in fleets)
    counts = f"joined {counted(joined, 'time')}, lost {counted(lost, 'time')}"
    if len(fleets) == 1:
        return f"{link_of(fleets[0])} ({counts})"
    linked = sum(each.linked for each in fleets)
    return f"{linked:,} of {len(fleets):,} processes are linked to their fleet ({counts})"


def screen_of(
    plan: Plan, processes: Sequence[Process], now: float, console: Console, *, whole: bool
) -> RenderableType:
    """Return what is seen.

    Args:
        plan: what was asked for.
        processes: those that are watched.
        now: the time by the event loop's clock.
        console: where it will be seen.
        whole: whether all circuits are to be there, or as many as there is room for.
    """
    rows = in_order((row for process in processes for row in process.rows), plan.sorting)
    silent = problems(processes)
    style = "bold red" if silent else style_of(rows[0]) if rows else ""
    told = [
        Text(encodable(line, console.encoding), style)
        for line in (sentence(plan, processes, now), *silent)
    ]
    if linked := links(processes):
        told.append(Text(encodable(linked, console.encoding)))
    if not rows:
        return Group(*told)
    above = sum(len(line.wrap(console, console.width)) for line in told)
    room = len(rows) if whole else max(2, console.height - above - AROUND)
    seen = rows if len(rows) <= room else rows[: room - 1]
    table = table_of(
        seen,
        now,
        width=console.width,
        encoding=console.encoding,
        of_several=len(processes) > 1,
    )
    more = len(rows) - len(seen)
    below = [Text(f"and {counted(more, 'circuit')} more", "dim")] if more else []
    return Group(*told, Text(), table, *below)
