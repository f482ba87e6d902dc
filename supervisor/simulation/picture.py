"""What policies would have done on a trace, as SVG or PNG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context

from supervisor.demo.canvas import Axes, drawing
from supervisor.demo.picture import FAINT, INK, LINES
from supervisor.demo.picture import STATES as DEMO_STATES
from supervisor.messages import CircuitState
from supervisor.outcomes import Outcome
from supervisor.simulation.course import Course
from supervisor.simulation.report import median_seconds, number, settings_of
from supervisor.simulation.slices import Slices
from supervisor.simulation.trace import Call, Trace

# Calls, each kind below the next; after Okabe and Ito, like the colours of the states.
KINDS: Final[Mapping[str, str]] = {
    "failed": "#882255",
    "never ended": "#4d4d4d",
    "ignored or cancelled": "#e6ab9c",
    "succeeded": "#7cc4ae",
    "refused": "#d9d9d9",
}

STATES: Final[Mapping[CircuitState, str]] = {
    CircuitState.CLOSED: "closed",
    CircuitState.HALF_OPEN: "half-open",
    CircuitState.OPEN: "open",
}

SECONDS: Final = "#0072b2"

LONGEST_NOTE: Final = 130
"""Characters that fit above a band."""

BAND: Final = -0.34, 0.24
"""Bottom and height of a band of states, in parts of the highest count."""


def draw(trace: Trace, courses: Sequence[Course], file: Path) -> None:
    """Draw the trace, and below it what each policy would have done.

    Raises:
        OSError: the file cannot be written.
    """
    slices = Slices.of(trace)
    timed = any(course.policy.slow_call_duration or course.policy.timeout for course in courses)
    heights = [1.1, *([0.8] if timed else []), *(1.25 for _ in courses)]
    figure = drawing(
        figsize=(12, 1.4 + sum(heights) + 0.5 * len(heights)),
        dpi=110,
        layout="constrained",
        facecolor="white",
    )
    panels = list(figure.subplots(len(heights), sharex=True, height_ratios=heights))
    for axes in panels:
        _frame(axes, slices)
    _draw_trace(panels[0], slices, trace, courses)
    if timed:
        _draw_seconds(panels[1], slices, trace)
    for axes, course in zip(panels[-len(courses) :], courses, strict=True):
        _draw_course(axes, slices, trace, course)
    panels[-1].set_xlabel("seconds", fontsize=12, color=INK)
    metadata: dict[str, Any] = {"Date": None} if file.suffix == ".svg" else {}
    with rc_context({"svg.hashsalt": "supervisor", "svg.fonttype": "none"}):
        figure.savefig(file, bbox_inches="tight", pad_inches=0.25, metadata=metadata)


def _frame(axes: Axes, slices: Slices) -> None:
    axes.set_frame_on(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    axes.tick_params(length=0, labelsize=11, labelcolor=INK)
    axes.set(xlim=(slices.edges[0], slices.edges[-1]))


def _draw_trace(axes: Axes, slices: Slices, trace: Trace, courses: Sequence[Course]) -> None:
    parts = slices.calls(trace.calls)
    _stack(axes, slices, {kind: _shares(parts, kind) for kind in KINDS})
    refused = {"refused": any(course.refused for course in courses)}
    there = {kind: refused.get(kind, False) or _is_there(trace, kind) for kind in KINDS}
    for state, label in STATES.items():
        axes.broken_barh([], (0, 0), color=_colour(state), label=label)
    axes.set(ylim=(0, 1), yticks=(0, 0.5, 1), yticklabels=("0", "50 %", "100 %"))
    axes.set_title(
        f"{trace.title}: {len(trace.calls):,} calls, and what would come of them",
        loc="left",
        pad=34,
        fontsize=17,
        fontweight="bold",
        color=INK,
    )
    assert there
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.008, 0.98),
        ncols=len(KINDS) + len(STATES),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        columnspacing=1.4,
        handlelength=1.1,
    )


def _kind_of(call: Call) -> str:
    if call.hangs:
        return "never ended"
    return _KIND_OF[call.outcome]


_KIND_OF: Final[Mapping[Outcome, str]] = {
    Outcome.FAILED: "failed",
    Outcome.SUCCEEDED: "succeeded",
    Outcome.IGNORED: "ignored or cancelled",
    Outcome.CANCELLED: "ignored or cancelled",
}


def _is_there(trace: Trace, kind: str) -> bool:
    return any(_kind_of(call) == kind for call in trace.calls)


def _shares(parts: Sequence[Sequence[Call]], kind: str) -> list[float]:
    return [
        sum(_kind_of(call) == kind for call in calls) / len(calls) if calls else 0.0
        for calls in parts
    ]


def _draw_seconds(axes: Axes, slices: Slices, trace: Trace) -> None:
    medians = [median_seconds(calls) for calls in slices.calls(trace.calls)]
    longest = max((m for m in medians if m is not None and m < math.inf), default=1.0)
    heights = [0.0 if median is None else min(median, longest * 1.25) for median in medians]
    axes.stairs(heights, slices.edges, baseline=None, color=SECONDS, linewidth=1.8)
    axes.set(ylim=(0, longest * 1.25))
    axes.set_title("seconds that the calls run, medians", loc="left", fontsize=11, color=FAINT)


def _draw_course(axes: Axes, slices: Slices, trace: Trace, course: Course) -> None:
    rates: dict[str, Iterable[float]] = {
        "failed": course.failed,
        "never ended": course.running,
        "ignored or cancelled": course.ended[Outcome.IGNORED] + course.ended[Outcome.CANCELLED],
        "succeeded": course.ended[Outcome.SUCCEEDED],
        "refused": course.refused,
    }
    counts = {kind: [n / slices.width for n in slices.count_of(t)] for kind, t in rates.items()}
    asked = slices.count_of(call.at for call in trace.calls)
    top = max(asked) / slices.width
    _stack(axes, slices, counts)
    bottom, height = BAND
    for state in STATES:
        periods = [(p.begin, p.end - p.begin) for p in course.periods if p.state is state]
        axes.broken_barh(
            periods, (bottom * top, height * top), color=_colour(state), linewidth=0
        )
    axes.set(ylim=(bottom * top, top * 1.05), yticks=(0, top), yticklabels=("0", number(top)))
    title = dict(fontsize=12, color=INK, pad=20)
    axes.set_title(course.name, loc="left", fontweight="bold", **title)
    axes.set_title(_summary(course), loc="right", **title)
    note = settings_of(course) or "as by default"
    axes.text(slices.edges[0], top * 1.1, note, fontsize=10, color=FAINT)


def _summary(course: Course) -> str:
    parts = [
        f"{len(course.admitted):,} admitted",
        f"{len(course.refused):,} refused",
        f"{len(course.failed):,} failed",
        f"opened {course.times_opened:,} times",
    ]
    return "   ".join(parts)


def _stack(axes: Axes, slices: Slices, counts: Mapping[str, Sequence[float]]) -> None:
    """Draw steps on top of each other: the highest first, so that each covers it from below."""
    tops = list(accumulate(counts.values(), lambda below, more: [a + b for a, b in zip(below, more)]))
    for kind, heights in reversed(list(zip(counts, tops, strict=True))):
        axes.stairs(heights, slices.edges, fill=True, color=KINDS[kind], linewidth=0, label=kind)


def _colour(state: CircuitState) -> str:
    _, colour = DEMO_STATES[state]
    return colour
