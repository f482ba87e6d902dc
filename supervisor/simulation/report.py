"""What policies would have done on a trace, as text for a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from supervisor.messages import CircuitState
from supervisor.notation import written
from supervisor.outcomes import Outcome
from supervisor.policy import FOR_CALLERS, Policy
from supervisor.simulation.course import Course
from supervisor.simulation.slices import Slices
from supervisor.simulation.trace import Call, Trace

LONGEST_LABEL: Final = 28

TICK: Final = 10
"""Marks from one time on the ruler to the next."""

_DEFAULT: Final = Policy()

_NOT_ASKED: Final = FOR_CALLERS - {"failure_on_cancel", "timeout"}
"""Functions, in whose place a trace tells what they would say."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What states and levels are drawn with."""

    closed: str
    half_open: str
    open: str
    levels: str

    def state(self, state: CircuitState) -> str:
        """Return the mark of a state."""
        match state:
            case CircuitState.CLOSED:
                return self.closed
            case CircuitState.HALF_OPEN:
                return self.half_open
            case _:
                return self.open

    def level(self, share: float) -> str:
        """Return the mark of a share of the highest level, from 0 to 1."""
        return self.levels[min(math.floor(share * len(self.levels)), len(self.levels) - 1)]


BLOCKS: Final = Marks("░", "▒", "█", "▁▂▃▄▅▆▇█")

ASCII: Final = Marks(".", "?", "#", "0123456789")


def marks_for(encoding: str) -> Marks:
    """Return the best marks that an encoding has."""
    try:
        (BLOCKS.closed + BLOCKS.half_open + BLOCKS.open + BLOCKS.levels).encode(encoding)
    except UnicodeEncodeError:
        return ASCII
    return BLOCKS


def report(trace: Trace, courses: Sequence[Course], marks: Marks = BLOCKS) -> list[str]:
    """Return lines: the trace, a band for each policy, their figures, and what they are."""
    slices = Slices.of(trace)
    width = max(len("failures"), *(len(_label(course)) for course in courses)) + 2
    rows = [("", _ruler(slices)), *_trace(trace, slices, marks)]
    for course in courses:
        states = map(marks.state, slices.states(course.periods))
        rows.append((_label(course), "".join(states)))
    figures = [(_label(course), _figures(course)) for course in courses]
    policies = [(_label(course), settings_of(course) or "as by default") for course in courses]
    blocks = [rows, _table(figures), policies]
    lines = [
        f"{trace.title}: {len(trace.calls):,} calls in {trace.end - trace.begin:,.1f} s",
        f"a mark is {number(slices.width)} s: {marks.closed} closed, {marks.half_open} half-open,"
        f" {marks.open} open",
    ]
    for block in blocks:
        lines += ["", *(f"{label:{width}}{text}".rstrip() for label, text in block)]
    return lines


def settings_of(course: Course) -> str:
    """Return what of the policy is not as by default, and what of it could not be played."""
    policy = course.policy
    given = [
        field.name
        for field in fields(Policy)
        if getattr(policy, field.name) != getattr(_DEFAULT, field.name)
    ]
    parts = [
        f"{field}={written(getattr(policy, field))}" for field in given if field not in _NOT_ASKED
    ]
    if not_asked := [field for field in given if field in _NOT_ASKED]:
        parts.append(f"({', '.join(not_asked)}: not asked, the trace tells)")
    if course.plain:
        parts.append("(plain: no kinds of failures, no waiting)")
    return " ".join(parts)


def number(value: float) -> str:
    """Return a number without zeros that say nothing."""
    text = f"{value:.3f}"
    return text.rstrip("0").rstrip(".")


def median_seconds(calls: Sequence[Call]) -> float | None:
    """Return the median duration of some calls, which may be infinite; None if there are none."""
    return statistics.median_high(call.duration for call in calls) if calls else None


def _label(course: Course) -> str:
    name = course.name
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 3]}..."


def _ruler(slices: Slices) -> str:
    """Return times, each above the mark that begins with it."""
    edges = slices.edges[:-1]
    longest = max(len(number(edge)) for edge in edges)
    step = TICK * math.ceil((longest + 1) / TICK)
    return "".join(number(edge).ljust(step) for edge in edges[::step])


def _trace(trace: Trace, slices: Slices, marks: Marks) -> list[tuple[str, str]]:
    parts = slices.calls(trace.calls)
    medians = [median_seconds(calls) for calls in parts]
    longest = max((m for m in medians if m is not None and m < math.inf), default=0.0)
    failures = "".join(marks.level(_share(calls)) if calls else " " for calls in parts)
    seconds = "".join(_level(median, longest, marks) for median in medians)
    return [
        ("failures", f"{failures}  of the calls of the trace; at the top all"),
        ("seconds", f"{seconds}  that they run, medians; at the top {number(longest)}"),
    ]


def _share(calls: Sequence[Call]) -> float:
    return sum(call.hangs or call.outcome is Outcome.FAILED for call in calls) / len(calls)


def _level(median: float | None, longest: float, marks: Marks) -> str:
    if median is None:
        return " "
    return marks.level(min(median / longest, 1.0) if longest else 0.0)


def _figures(course: Course) -> dict[str, str]:
    seconds = {state: course.seconds(state) for state in _STATES}
    return {
        "admitted": f"{len(course.admitted):,}",
        "refused": f"{len(course.refused):,}",
        "failed": f"{len(course.failed):,}",
        "slow": f"{len(course.slow):,}",
        "running": f"{len(course.running):,}",
        "waiting": f"{course.waiting:,}",
        "opened": f"{course.times_opened:,}",
        **{name: f"{seconds[state]:,.1f} s" for state, name in _STATES.items()},
    }


_STATES: Final[Mapping[CircuitState, str]] = {
    CircuitState.CLOSED: "closed",
    CircuitState.HALF_OPEN: "half-open",
    CircuitState.OPEN: "open",
}


def _table(rows: Sequence[tuple[str, Mapping[str, str]]]) -> list[tuple[str, str]]:
    """Return aligned rows below a heading; a column that is only there for a few goes with them."""
    columns = [
        column
        for column in rows[0][1]
        if column not in _RARE or any(figures[column] != "0" for _, figures in rows)
    ]
    table = [("", {column: column for column in columns}), *rows]
    widths = {column: max(len(figures[column]) for _, figures in table) for column in columns}
    return [
        (label, "  ".join(figures[column].rjust(widths[column]) for column in columns))
        for label, figures in table
    ]


_RARE: Final = ("running", "waiting")
