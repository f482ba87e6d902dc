"""What policies would have done on a trace, as SVG or PNG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from supervisor.commands.pictures import FAINT, GUARDED, INK, LINES, Axes, drawing, save
from supervisor.commands.pictures import STATES as COLOURS
from supervisor.commands.simulate.course import Course, Times
from supervisor.commands.simulate.report import label_of, seconds_of, settings_of
from supervisor.commands.simulate.slices import Slices, longest_median, medians
from supervisor.machine import CircuitState
from supervisor.policy import Outcome
from supervisor.recording import Call, Trace

KINDS: Final[Mapping[str, str]] = {
    "failed": "#882255",
    "never ended": "#4d4d4d",
    "ignored or cancelled": "#e6ab9c",
    "succeeded": "#7cc4ae",
    "not known": "#b3a8c9",
    "refused": "#d9d9d9",
}
"""What can come of a call, each upon those before it, and a colour that is none of the states'."""

STATES: Final[Mapping[CircuitState, str]] = {
    CircuitState.CLOSED: "closed",
    CircuitState.OPEN: "open",
    CircuitState.HALF_OPEN: "half-open",
}
"""In the order in which they are drawn: probes may be too short to be seen below others."""

LONGEST_NOTE: Final = 150
"""Characters that fit above a panel."""

PANEL: Final = 1.25
"""Inches that a panel is high."""

HEADROOM: Final = 1.25
"""How much higher than the highest line the panel of durations is."""

_OF_OUTCOMES: Final[Mapping[Outcome | None, str]] = {
    None: "not known",
    Outcome.SUCCEEDED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.IGNORED: "ignored or cancelled",
    Outcome.CANCELLED: "ignored or cancelled",
}


def draw(trace: Trace, courses: Sequence[Course], file: Path) -> None:
    """Draw the trace, and below it what each policy would have done.

    Raises:
        OSError: the file cannot be written.
    """
    slices = Slices.of(trace)
    timed = any(course.policy.slow_call_duration or course.policy.timeout for course in courses)
    count = 1 + timed + len(courses)
    figure = drawing(
        figsize=(12, 1 + count * (PANEL + 0.6)), dpi=150, layout="constrained", facecolor="white"
    )
    # Not by `sharex`: axes that share look at all others whenever one is drawn.
    panels = list(figure.subplots(count, squeeze=True))
    for axes in panels:
        _frame(axes, slices)
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    _draw_trace(panels[0], slices, trace, courses)
    if timed:
        _draw_seconds(panels[1], slices, trace)
    for axes, course in zip(panels[1 + timed :], courses, strict=True):
        _draw_course(axes, slices, course)
    panels[-1].set_xlabel(seconds_of(trace), fontsize=12, color=INK)
    save(figure, file)


def _frame(axes: Axes, slices: Slices) -> None:
    axes.set_frame_on(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    axes.tick_params(length=0, labelsize=11, labelcolor=INK)
    axes.set(xlim=(slices.edges[0], slices.edges[-1]))


def _draw_trace(axes: Axes, slices: Slices, trace: Trace, courses: Sequence[Course]) -> None:
    parts = slices.calls(trace.calls)
    shares = {kind: [_share(calls, kind) for calls in parts] for kind in KINDS}
    _stack(axes, slices, shares)
    there = {kind for kind, heights in shares.items() if any(heights)}
    for course in courses:
        there |= {kind for kind, times in _times(course).items() if times}
    for kind, colour in KINDS.items():
        if kind in there:
            axes.broken_barh([], (0, 0), color=colour, label=kind)
    for state, name in STATES.items():
        axes.broken_barh([], (0, 0), color=_colour(state), label=name)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.008, 0.96),
        ncols=len(KINDS) + len(STATES),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        columnspacing=1.5,
        handlelength=1.1,
    )
    axes.set(ylim=(0, 1), yticks=(0, 0.5, 1), yticklabels=("0", "50 %", "100 %"))
    title = f"{trace.title}: {len(trace.calls):,} calls"
    _write_title(axes, title, "left", pad=34, fontsize=17, fontweight="bold", color=INK)
    what = "what comes of them if all are admitted"
    _write_title(axes, what, "right", pad=36, fontsize=12, color=FAINT)


def _draw_seconds(axes: Axes, slices: Slices, trace: Trace) -> None:
    seconds = medians(slices.calls(trace.calls))
    top = (longest_median(seconds) or 1.0) * HEADROOM
    heights = [math.nan if median is None else min(median, top) for median in seconds]
    axes.stairs(heights, slices.edges, baseline=None, color=GUARDED, linewidth=2)
    axes.set(ylim=(0, top * 1.02), yticks=(0, _tick(top)), yticklabels=("0", _tick_label(top, "s")))
    title = "how long they run, medians"
    _write_title(axes, title, "left", pad=6, fontsize=12, color=FAINT)


def _draw_course(axes: Axes, slices: Slices, course: Course) -> None:
    counts = {kind: slices.count_of(times) for kind, times in _times(course).items()}
    per_second = {kind: [n / slices.width for n in numbers] for kind, numbers in counts.items()}
    top = _stack(axes, slices, per_second) or 1.0
    for state in STATES:
        periods = [(p.begin, p.end - p.begin) for p in course.periods if p.state is state]
        edge = 1.5 if state is CircuitState.HALF_OPEN else 0
        band = (-0.36 * top, 0.26 * top)
        axes.broken_barh(periods, band, color=_colour(state), linewidth=edge)
    ticks = {"yticks": (0, _tick(top)), "yticklabels": ("0", _tick_label(top, "/ s"))}
    axes.set(ylim=(-0.5 * top, top * 1.02), **ticks)
    _write_title(axes, label_of(course), "left", pad=22, fontsize=13, fontweight="bold", color=INK)
    _write_title(axes, _summary(course), "right", pad=22, fontsize=12, color=INK)
    note = textwrap.shorten(settings_of(course), LONGEST_NOTE, placeholder=" ...")
    axes.text(slices.edges[0], top * 1.08, note, fontsize=10.5, color=FAINT, parse_math=False)


def _write_title(axes: Axes, title: str, place: str, **style: Any) -> None:
    axes.set_title(title, loc=place, parse_math=False, **style)  # names are no formulas


def _summary(course: Course) -> str:
    counts = {
        "admitted": len(course.admitted),
        "refused": len(course.refused),
        "failed": len(course.failed),
        "slow": len(course.slow),
        "not known": len(course.unknown),
        "still running": len(course.running),
        "still waiting": course.waiting,
    }
    shown = [
        f"{count:,} {what}"
        for what, count in counts.items()
        if count or what in ("admitted", "refused", "failed")
    ]
    return "    ".join([*shown, f"opened {course.times_opened:,} times"])


def _times(course: Course) -> dict[str, Times]:
    """Return when which calls were admitted or refused, by what has come of them."""
    times = dict.fromkeys(KINDS, Times())
    times |= {
        "refused": course.refused,
        "never ended": course.running,
        "not known": course.unknown,
    }
    for outcome in Outcome:
        times[_OF_OUTCOMES[outcome]] += course.ended[outcome]
    return times


def _share(calls: Sequence[Call], kind: str) -> float:
    kinds = ["never ended" if call.hangs else _OF_OUTCOMES[call.outcome] for call in calls]
    return kinds.count(kind) / len(kinds) if kinds else 0.0


def _stack(axes: Axes, slices: Slices, heights: Mapping[str, Sequence[float]]) -> float:
    """Draw steps upon each other, and return how high they reach.

    The highest is drawn first, and the others cover its lower part.
    """
    below = [0.0] * slices.count
    tops: dict[str, Sequence[float]] = {}
    for kind in KINDS:
        below = [low + more for low, more in zip(below, heights[kind], strict=True)]
        if any(heights[kind]):
            tops[kind] = below
    for kind in reversed(tops):
        axes.stairs(tops[kind], slices.edges, fill=True, color=KINDS[kind], linewidth=0)
    return max(below)


def _tick(top: float) -> float:
    """Return the highest of 1, 2 or 5 units, such as 0.2 or 10, that is no more than `top`."""
    unit = 10.0 ** math.floor(math.log10(top))
    return max(digit * unit for digit in (1, 2, 5) if digit == 1 or digit * unit <= top)


def _tick_label(top: float, unit: str) -> str:
    return f"{_tick(top):g} {unit}"


def _colour(state: CircuitState) -> str:
    _, colour = COLOURS[state]
    return colour
