"""What happens right now: a live table on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

import anyio
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from supervisor.commands.demo.passes import Scene, circuit_of
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.workers import OPERATIONS, OUTCOMES
from supervisor.commands.top.reading import Circuit, Reading, rows_of
from supervisor.commands.top.screen import is_live
from supervisor.commands.top.table import table_of
from supervisor.commands.top.words import headline

REFRESH: Final = 0.125
"""Seconds between two views on a terminal."""

READINGS: Final = 9
"""Views that are kept, the latest included: what happens per second is counted over a second."""

PLAIN_REFRESH: Final = 1.0
"""Seconds between two plain lines."""

WIDTH: Final = 80

WORDS: Final = ("circuit", "operation")
"""The columns that hold words; all others hold numbers."""


async def watch(console: Console, scene: Scene) -> None:
    """Show the pass until this is cancelled."""
    if is_live(console):
        await _watch_live(console, scene)
    else:
        await _watch_plainly(console, scene)


async def _watch_live(console: Console, scene: Scene) -> None:
    readings: deque[Reading] = deque(maxlen=READINGS)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            readings.append(_reading(scene, readings[-1] if readings else None))
            live.update(screen_of(scene, readings[0], readings[-1]), refresh=True)
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


def _reading(scene: Scene, before: Reading | None) -> Reading:
    """Return the circuits as they are, and since when that has been seen."""
    now = anyio.current_time()
    known = {} if before is None else {circuit.name: circuit for circuit in before.circuits}
    circuits: list[Circuit] = []
    for statistics in scene.supervisor.statistics().values():
        circuit = Circuit.model_validate(statistics, from_attributes=True)
        was = known.get(circuit.name)
        since = now if was is None or was.state is not circuit.state else was.since
        circuits.append(circuit.model_copy(update={"since": since}))
    return Reading(process=os.getpid(), run="", now=now, circuits=tuple(circuits))


def screen_of(scene: Scene, before: Reading, reading: Reading) -> RenderableType:
    """Return the pass as it stands, for a terminal: with circuits, as `top` shows them."""
    bar = clock(scene.plan, scene.journal.now, WIDTH)
    if not scene.guarded:
        return Group(_heading(scene), bar, _operations(scene))
    rows = rows_of("", before, reading, at=reading.now)
    told = Text(headline(rows, reading.now), "bold")
    table = table_of(rows, reading.now, width=WIDTH)
    return Group(_heading(scene), bar, told, Text(), table)


def _heading(scene: Scene) -> Text:
    number = 2 if scene.guarded else 1
    style = "bold red" if _server(scene) == "dead" else "green"
    return Text.assemble(
        (f"Pass {number} of 2, {_name(scene)}", "bold"),
        f": {scene.plan.workers} agents on {scene.plan.backend}, the server is ",
        (_server(scene), style),
    )


def clock(plan: Plan, now: float, cells: int) -> Text:
    """Return a bar of the whole pass, coloured by what the server is, bright up to now."""
    bar = Text()
    for cell in range(cells):
        at = (cell + 0.5) / cells * plan.seconds
        colour = "red" if plan.is_dead(at) else "green"
        bar.append("━", colour if at <= now else f"dim {colour}")
    return bar


def _operations(scene: Scene) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=WIDTH, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("operation", "circuit", "succeeded", "failed", "requests"):
        table.add_column(column, justify="left" if column in WORDS else "right", no_wrap=True)
    for operation in OPERATIONS:
        name, counts = operation.__name__, scene.journal.counts
        requests = scene.journal.requests[name]
        figures = (counts[name, "succeeded"], counts[name, "failed"], requests)
        table.add_row(circuit_of(name), Text("none", "dim"), *(f"{count:,}" for count in figures))
    return table


def _name(scene: Scene) -> str:
    return "with circuits" if scene.guarded else "without circuits"


def _server(scene: Scene) -> str:
    return server_at(scene.plan, scene.journal.now)


def server_at(plan: Plan, now: float) -> str:
    """Return what the server is, in a word."""
    return "dead" if plan.is_dead(now) else "healthy"
