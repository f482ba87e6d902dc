"""What happens right now: a row for each process on a terminal, and plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import anyio
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from supervisor.commands.demo.fleet.diary import Diary
from supervisor.commands.demo.fleet.passes import Scene
from supervisor.commands.demo.view import PLAIN_REFRESH, REFRESH, clock, server_at
from supervisor.commands.top.screen import is_live
from supervisor.machine import CircuitState

CELLS: Final = 40
"""Marks for the length of a pass."""

STYLES: Final[Mapping[CircuitState, str]] = {
    CircuitState.CLOSED: "green",
    CircuitState.OPEN: "red",
    CircuitState.HALF_OPEN: "yellow",
}


async def watch(console: Console, scene: Scene) -> None:
    """Show the pass until this is cancelled."""
    if is_live(console):
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(screen_of(scene), refresh=True)
                await anyio.sleep(REFRESH)
    while True:
        await anyio.sleep(PLAIN_REFRESH)
        console.out(line_of(scene), highlight=False)


def name_of(shared: bool) -> str:
    """Return what a pass is called."""
    return "with sharing" if shared else "without sharing"


def line_of(scene: Scene) -> str:
    """Return the pass as it stands, in one line."""
    calls = [call for diary in scene.diaries for call in diary.calls]
    counts = ", ".join(
        f"{sum(call.outcome == outcome for call in calls)} {outcome}"
        for outcome in ("succeeded", "failed", "rejected")
    )
    now = scene.now
    opened = sum(diary.state_at(now) is CircuitState.OPEN for diary in scene.diaries)
    return (
        f"{name_of(scene.shared)}, {now:.0f} s: server {server_at(scene.plan, now)}; {counts};"
        f" open in {opened} of {len(scene.diaries)} processes"
    )


def screen_of(scene: Scene) -> RenderableType:
    """Return the pass as it stands, for a terminal: a bar of states for each process."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("process", no_wrap=True)
    table.add_column(clock(scene.plan, scene.now, CELLS), no_wrap=True)
    for column in ("failed", "probes", "rejected"):
        table.add_column(column, justify="right", no_wrap=True)
    for diary in scene.diaries:
        outcomes = [call.outcome for call in diary.calls]
        counts = (
            outcomes.count("failed"),
            sum(call.probe for call in diary.calls),
            outcomes.count("rejected"),
        )
        bar = _bar(scene, diary)
        table.add_row(f"{diary.number}, {diary.backend}", bar, *(f"{n:,}" for n in counts))
    return Group(_heading(scene), table)


def _heading(scene: Scene) -> Text:
    server = server_at(scene.plan, scene.now)
    style = "bold red" if server == "dead" else "green"
    return Text.assemble(
        (f"Pass {2 if scene.shared else 1} of 2, {name_of(scene.shared)}", "bold"),
        f": {scene.plan.workers} agents in {scene.plan.fleet} processes, the server is ",
        (server, style),
    )


def _bar(scene: Scene, diary: Diary) -> Text:
    """Return what the circuit of one process has been, up to now."""
    bar = Text()
    for cell in range(CELLS):
        at = (cell + 0.5) / CELLS * scene.plan.seconds
        if at <= scene.now:
            bar.append("█", STYLES[diary.state_at(at)])
    return bar
