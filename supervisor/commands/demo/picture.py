"""The timeline of both passes as PNG: what reached the server, and what the circuits did."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from supervisor.commands.demo.passes import Pass, circuit_of
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.workers import OPERATIONS
from supervisor.commands.pictures import (
    FAINT,
    GUARDED,
    INK,
    LINES,
    OUTAGE,
    STATES,
    WITHOUT,
    Axes,
    drawing,
    save,
)
from supervisor.machine import CircuitState


def draw(plan: Plan, without: Pass, guarded: Pass) -> None:
    """Draw both passes into `plan.output`.

    Raises:
        OSError: the file cannot be written.
    """
    figure = drawing(figsize=(12, 7), dpi=150, layout="constrained", facecolor="white")
    rates, bands = figure.subplots(2, sharex=True, height_ratios=[2.7, 1])
    for axes in (rates, bands):
        _frame(axes, plan)
    _draw_rates(rates, plan, without, guarded)
    _draw_bands(bands, plan, guarded)
    save(figure, plan.output)


def _frame(axes: Axes, plan: Plan) -> None:
    axes.set_frame_on(False)
    axes.axvspan(plan.dead_from, plan.dead_until, color=OUTAGE, linewidth=0)
    axes.set(xlim=(0, plan.seconds))
    axes.tick_params(length=0, labelsize=12, labelcolor=INK)


def _draw_rates(axes: Axes, plan: Plan, without: Pass, guarded: Pass) -> None:
    highest = max([1.0, *without.server.rates, *guarded.server.rates])
    axes.set(ylim=(0, highest * 1.25))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    _draw_rate(axes, without, WITHOUT)
    _draw_rate(axes, guarded, GUARDED)
    title = "A server dies and comes back: the requests that reach it"
    axes.set_title(title, loc="left", pad=36, fontsize=20, fontweight="bold", color=INK)
    source = f"{plan.workers} agents on {plan.backend}; requests per second, counted by the server"
    axes.text(0, highest * 1.3, source, fontsize=13, color=FAINT)
    middle = (plan.dead_from + plan.dead_until) / 2
    write = partial(axes.text, middle, ha="center")
    write(highest * 1.17, "the server is dead", fontsize=12, color=FAINT)
    note = partial(write, fontsize=14, fontweight="bold")
    note(highest * 1.05, f"without circuits: {_hits(without)}", color=WITHOUT)
    note(highest * 0.06, f"with circuits: {_hits(guarded)}", color=GUARDED)


def _draw_rate(axes: Axes, measured: Pass, colour: str) -> None:
    rates, bucket = measured.server.rates, measured.server.bucket
    edges = [number * bucket for number in range(len(rates) + 1)]
    axes.stairs(rates, edges, fill=True, color=colour, alpha=0.18, linewidth=0)
    axes.stairs(rates, edges, baseline=None, color=colour, linewidth=2.2)


def _hits(measured: Pass) -> str:
    return f"{sum(measured.server.dead):,} requests"


def _draw_bands(axes: Axes, plan: Plan, guarded: Pass) -> None:
    names = [operation.__name__ for operation in OPERATIONS]
    for row, name in enumerate(names):
        for state, (meaning, colour) in STATES.items():
            periods = list(periods_of(plan, guarded, name, state))
            label = "" if row else meaning
            axes.broken_barh(periods, (row - 0.36, 0.72), color=colour, linewidth=0, label=label)
    axes.set(yticks=range(len(names)), yticklabels=[circuit_of(name) for name in names])
    axes.set(ylim=(len(names) - 0.5, -0.5))
    axes.set_xlabel("seconds since the pass began", fontsize=12, color=INK)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.008, 0.97),
        ncols=len(STATES),
        frameon=False,
        fontsize=12,
        labelcolor=INK,
        columnspacing=1.6,
        handlelength=1.2,
    )


def periods_of(
    plan: Plan, measured: Pass, operation: str, state: CircuitState
) -> Iterator[tuple[float, float]]:
    """Yield the start and the length of every period that the circuit spent in that state."""
    changes = [
        (change.at, change.state) for change in measured.changes if change.operation == operation
    ]
    ends = [(0.0, CircuitState.CLOSED), *changes, (plan.seconds, None)]
    for (start, now), (end, _) in pairwise(ends):
        if now is state:
            yield start, end - start
