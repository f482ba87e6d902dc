"""Both passes as SVG or PNG: what each process's circuit did, and which calls hit a dead server."""

from __future__ import annotations

from typing import Final

from supervisor.commands.demo.fleet.diary import Diary
from supervisor.commands.demo.fleet.figures import FleetFigures
from supervisor.commands.demo.fleet.passes import FleetPass
from supervisor.commands.demo.fleet.view import name_of
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.report import duration
from supervisor.commands.pictures import FAINT, INK, OUTAGE, STATES, Axes, drawing, save
from supervisor.machine import CircuitState

ROW: Final = 0.36
"""Inches that the band of a process is high."""

MEANINGS: Final = {
    CircuitState.CLOSED: "closed",
    CircuitState.OPEN: "open",
    CircuitState.HALF_OPEN: "half-open",
}


def draw(plan: Plan, alone: FleetPass, shared: FleetPass) -> None:
    """Draw both passes into `plan.output`.

    Raises:
        OSError: the file cannot be written.
    """
    figure = drawing(
        figsize=(12, 3 + 2 * ROW * plan.fleet), dpi=150, layout="constrained", facecolor="white"
    )
    panels = figure.subplots(2, sharex=True)
    for axes, measured in zip(panels, (alone, shared), strict=True):
        _draw_pass(axes, plan, measured)
    above, below = panels
    title = "A server dies and comes back: what each process learns of it"
    above.set_title(title, loc="left", pad=52, fontsize=19, fontweight="bold", color=INK)
    above.legend(
        loc="lower left",
        bbox_to_anchor=(-0.008, 1.1),
        ncols=len(STATES) + 2,
        frameon=False,
        fontsize=11.5,
        labelcolor=INK,
        columnspacing=1.4,
        handlelength=1.1,
        handletextpad=0.5,
    )
    below.set_xlabel("seconds since the pass began; shaded: the server is dead", color=INK)
    save(figure, plan.output)


def _draw_pass(axes: Axes, plan: Plan, measured: FleetPass) -> None:
    axes.set_frame_on(False)
    axes.set_axisbelow(True)
    axes.axvspan(plan.dead_from, plan.dead_until, color=OUTAGE, linewidth=0)
    axes.tick_params(length=0, labelsize=11, labelcolor=INK)
    for row, diary in enumerate(measured.diaries):
        _draw_states(axes, plan, diary, row)
    _draw_calls(axes, measured, probes=False)
    _draw_calls(axes, measured, probes=True)
    names = [f"process {diary.number}, {diary.backend}" for diary in measured.diaries]
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.9))
    axes.set(xlim=(0, plan.seconds))
    figures = FleetFigures.of(measured)
    axes.text(0, -0.62, name_of(measured.shared), fontsize=14, fontweight="bold", color=INK)
    axes.text(plan.seconds, -0.62, _summary(figures), fontsize=12, color=FAINT, ha="right")


def _draw_states(axes: Axes, plan: Plan, diary: Diary, row: int) -> None:
    for state, (_, colour) in STATES.items():
        label = "" if row else MEANINGS[state]
        edge = 1.5 if state is CircuitState.HALF_OPEN else 0  # it may be too short to be seen
        periods = diary.periods(state, plan.seconds)
        axes.broken_barh(periods, (row - 0.32, 0.64), color=colour, linewidth=edge, label=label)


def _draw_calls(axes: Axes, measured: FleetPass, probes: bool) -> None:
    """Mark the calls that a dead server got, and the probes, also those that succeeded."""
    marked = [
        (call.at, row)
        for row, diary in enumerate(measured.diaries)
        for call in diary.calls
        if call.probe is probes and (probes or call.outcome == "failed")
    ]
    label = "probe" if probes else "call that fails"
    axes.scatter(
        [at for at, _ in marked],
        [row for _, row in marked],
        s=34 if probes else 20,
        facecolor="white" if probes else INK,
        edgecolor=INK,
        linewidth=1.2,
        label=label,
        zorder=3,
    )


def _summary(figures: FleetFigures) -> str:
    return (
        f"{figures.dead_requests:,} requests hit the dead server,"
        f" {figures.probes:,} probes; last process knows after {duration(figures.opened_within)}"
    )
