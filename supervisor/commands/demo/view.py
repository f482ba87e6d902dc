"""What happens right now: a live table on a terminal, and plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import anyio
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from supervisor.circuit import Statistics
from supervisor.commands.demo.passes import Scene, circuit_of
from supervisor.commands.demo.workers import OPERATIONS, OUTCOMES
from supervisor.machine import CircuitState

REFRESH: Final = 0.125
"""Seconds between two views on a terminal."""

PLAIN_REFRESH: Final = 1.0
"""Seconds between two plain lines."""

WIDTH: Final = 80

WORDS: Final = ("circuit", "operation", "state")
"""The columns that hold words; all others hold numbers."""

STYLES: Final[Mapping[CircuitState, str]] = {
    CircuitState.CLOSED: "green",
    CircuitState.HALF_OPEN: "bold yellow",
    CircuitState.OPEN: "bold red",
}


async def watch(console: Console, scene: Scene) -> None:
    """Show the pass until this is cancelled."""
    if console.file.isatty() and not console.is_dumb_terminal:
        await _watch_live(console, scene)
    else:
        await _watch_plainly(console, scene)


async def _watch_live(console: Console, scene: Scene) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(screen_of(scene), refresh=True)
            await anyio.sleep(REFRESH)


async def _watch_plainly(console: Console, scene: Scene) -> None:
    while True:
        await anyio.sleep(PLAIN_REFRESH)
        console.out(line_of(scene), highlight=False)


def line_of(scene: Scene) -> str:
    """Return the pass as it stands, in one line."""
    outcomes = OUTCOMES if scene.guarded else ("succeeded", "failed")
    calls = ", ".join(f"{scene.journal.total(outcome)} {outcome}" for outcome in outcomes)
    statistics = scene.supervisor.statistics().values()
    states = "".join(f"; {circuit.name} {circuit.state.value}" for circuit in statistics)
    return f"{_name(scene)}, {scene.journal.now:.0f} s: server {_server(scene)}; {calls}{states}"


def screen_of(scene: Scene) -> RenderableType:
    """Return the pass as it stands, for a terminal."""
    table = _circuits(scene) if scene.guarded else _operations(scene)
    return Group(_heading(scene), _clock(scene), table)


def _heading(scene: Scene) -> Text:
    number = 2 if scene.guarded else 1
    style = "bold red" if _server(scene) == "dead" else "green"
    return Text.assemble(
        (f"Pass {number} of 2, {_name(scene)}", "bold"),
        f": {scene.plan.workers} agents on {scene.plan.backend}, the server is ",
        (_server(scene), style),
    )


def _clock(scene: Scene) -> Text:
    """Return a bar of the whole pass, coloured by what the server is, bright up to now."""
    plan, bar = scene.plan, Text()
    for cell in range(WIDTH):
        at = (cell + 0.5) / WIDTH * plan.seconds
        colour = "red" if plan.dead_from <= at < plan.dead_until else "green"
        bar.append("━", colour if at <= scene.journal.now else f"dim {colour}")
    return bar


def _circuits(scene: Scene) -> Table:
    figures = ("failures", "started", "succeeded", "rejected", "retry in")
    table = _table("circuit", "state", *figures)
    for name, statistics in scene.supervisor.statistics().items():
        table.add_row(name, *_circuit(statistics))
    return table


def _circuit(statistics: Statistics) -> list[RenderableType]:
    state = statistics.state
    counts = (statistics.failure_count, statistics.started, statistics.succeeded)
    retry_after = f"{statistics.retry_after:.1f} s" if state is CircuitState.OPEN else ""
    return [
        Text(state.value, STYLES[state]),
        *(f"{count:,}" for count in (*counts, statistics.rejected)),
        retry_after,
    ]


def _operations(scene: Scene) -> Table:
    table = _table("operation", "circuit", "succeeded", "failed", "requests")
    for operation in OPERATIONS:
        name, counts = operation.__name__, scene.journal.counts
        requests = scene.journal.requests[name]
        figures = (counts[name, "succeeded"], counts[name, "failed"], requests)
        table.add_row(circuit_of(name), Text("none", "dim"), *(f"{count:,}" for count in figures))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=WIDTH, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in WORDS else "right", no_wrap=True)
    return table


def _name(scene: Scene) -> str:
    return "with circuits" if scene.guarded else "without circuits"


def _server(scene: Scene) -> str:
    plan = scene.plan
    return "dead" if plan.dead_from <= scene.journal.now < plan.dead_until else "healthy"
