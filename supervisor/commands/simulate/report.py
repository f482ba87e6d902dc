"""What policies would have done on a trace, as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final

from supervisor.commands.simulate.course import Course
from supervisor.commands.simulate.slices import Slices, longest_median, medians
from supervisor.machine import BY_HAND, CircuitState
from supervisor.policy import FOR_CALLERS, Outcome, Policy
from supervisor.recording import Call, Trace
from supervisor.settings import written

LONGEST_LABEL: Final = 28

TICK: Final = 10
"""Marks from one time on the ruler to the next."""

_DEFAULT: Final = Policy()

_NOT_ASKED: Final = FOR_CALLERS - {"failure_on_cancel", "timeout", "initial_state"}
"""Functions, in whose place a trace tells what they would say."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What states and levels are drawn with."""

    closed: str
    half_open: str
    open: str
    levels: str

    @property
    def legend(self) -> str:
        """What the marks of states mean."""
        return f"{self.closed} closed, {self.half_open} half-open, {self.open} open"

    def state(self, state: CircuitState) -> str:
        """Return the mark of a state."""
        match state:
            case CircuitState.CLOSED:
                return self.closed
            case CircuitState.HALF_OPEN:
                return self.half_open
            case _:
                return self.open

    def level(self, share: float | None) -> str:
        """Return the mark of a share of the highest level, from 0 to 1; None is a gap."""
        if share is None:
            return " "
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
    labels = [label_of(course) for course in courses]
    bands = ["".join(map(marks.state, slices.states(course.periods))) for course in courses]
    parts = slices.calls(trace.calls)
    seconds = medians(parts)
    longest = longest_median(seconds)
    blocks = [
        [
            ("", _ruler(slices)),
            ("failures", "".join(map(marks.level, map(_share, parts)))),
            ("duration", "".join(marks.level(_part(it, longest)) for it in seconds)),
            *zip(labels, bands, strict=True),
        ],
        _table(labels, [_figures(course) for course in courses]),
        [(label, settings_of(course)) for label, course in zip(labels, courses, strict=True)],
    ]
    width = max(map(len, ["failures", *labels])) + 2
    lines = [
        f"{trace.title}: {len(trace.calls):,} calls in {trace.end - trace.begin:,.1f} s",
        f"each mark is {number(slices.width)} s: {marks.legend}",
        f"failures: from none to all calls; duration: medians, from 0 to {number(longest)} s",
        *_notes(trace),
    ]
    for block in blocks:
        lines += ["", *(f"{label:{width}}{text}".rstrip() for label, text in block)]
    return lines


def seconds_of(trace: Trace) -> str:
    """Return what the times of a trace are."""
    if trace.since is None:
        return "seconds"
    return f"seconds since {datetime.fromtimestamp(trace.since, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _notes(trace: Trace) -> Iterator[str]:
    """Return what has to be known of a trace that was recorded."""
    if trace.since is not None:
        yield f"times are {seconds_of(trace)}"
    if refused := sum(call.outcome is None for call in trace.calls):
        yield (
            f"{refused:,} calls were refused when this was recorded: how they would have ended is"
            " not known,"
        )
        yield "so they count for nothing where a policy admits them"


def settings_of(course: Course) -> str:
    """Return what of the policy is not as by default, and what of it could not be played."""
    policy = course.policy
    given = [
        field.name
        for field in fields(Policy)
        if getattr(policy, field.name) != getattr(_DEFAULT, field.name)
    ]
    parts = [
        f"{field}={_written(getattr(policy, field))}" for field in given if field not in _NOT_ASKED
    ]
    if policy.initial_state in BY_HAND:
        parts.append("(played as if it was released at once)")
    if not_asked := [field for field in given if field in _NOT_ASKED]:
        asked = "not asked, the trace tells"
        if policy.timeout is not None:
            asked = "asked about its timeouts only, of all else the trace tells"
        parts.append(f"({', '.join(not_asked)}: {asked})")
    if course.plain:
        parts.append("(plain: no kinds of failures, no waiting)")
    return " ".join(parts) or "as by default"


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else written(value)


def number(value: float) -> str:
    """Return a number without zeros that say nothing."""
    text = f"{value:.3f}"
    return text.rstrip("0").rstrip(".")


def label_of(course: Course) -> str:
    """Return the name of a policy, or its beginning."""
    name = course.name
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 3]}..."


def _ruler(slices: Slices) -> str:
    """Return times, each above the mark that begins with it."""
    edges = slices.edges[:-1]
    longest = max(len(number(edge)) for edge in edges)
    step = TICK * math.ceil((longest + 1) / TICK)
    return "".join(number(edge).ljust(step) for edge in edges[::step])


def _share(calls: Sequence[Call]) -> float | None:
    known = [call for call in calls if call.outcome is not None]
    failed = sum(call.hangs or call.outcome is Outcome.FAILED for call in known)
    return failed / len(known) if known else None


def _part(seconds: float | None, longest: float) -> float | None:
    return None if seconds is None else min(seconds / (longest or 1.0), 1.0)


def _figures(course: Course) -> dict[str, str]:
    seconds = {state: course.seconds(state) for state in _STATES}
    return {
        "admitted": f"{len(course.admitted):,}",
        "refused": f"{len(course.refused):,}",
        "failed": f"{len(course.failed):,}",
        "slow": f"{len(course.slow):,}",
        "not known": f"{len(course.unknown):,}",
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


def _table(labels: Sequence[str], figures: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return aligned rows below a heading; rare columns are left out where they are 0."""
    columns = [
        column
        for column in figures[0]
        if column not in _RARE or any(row[column] != "0" for row in figures)
    ]
    rows = [{column: column for column in columns}, *figures]
    widths = {column: max(len(row[column]) for row in rows) for column in columns}
    texts = ["  ".join(row[column].rjust(widths[column]) for column in columns) for row in rows]
    return list(zip(["", *labels], texts, strict=True))


_RARE: Final = ("not known", "running", "waiting")
