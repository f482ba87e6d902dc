"""Calls as they would come and end: traces, and how they stand in CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supervisor.arguments import check_seconds, shown
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome
from supervisor.settings import read_switch

NEEDED: Final = ("at", "outcome", "duration")

OF_FAILURES: Final[Mapping[str, type[int | float | str]]] = {
    "kind": str,
    "weight": int,
    "threshold": int,
    "recovery_timeout": float,
    "retry_after": float,
}
"""What a classifier would say of a failure."""

COLUMNS: Final = (*NEEDED, *OF_FAILURES, "retry", "wait")

LATEST: Final = 1e10
"""Seconds; later times, which a float cannot tell well apart, are most likely milliseconds."""


class TraceError(ValueError):
    """A file is no trace; the message names the line, the column and the value."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it would come and end.

    Attributes:
        at: seconds at which it asks to be admitted.
        outcome: how it would end if it ran.
        duration: seconds that it would run; infinite if it would never end.
        failure: what kind of failure it would be.
        retry: whether it is another attempt of a call that has failed.
        wait: seconds for which it would wait to be admitted. If it has waited, it ends as one of
            the calls that ask then.
    """

    at: float
    outcome: Outcome
    duration: float
    failure: Failure = PLAIN_FAILURE
    retry: bool = False
    wait: float | None = None

    @property
    def hangs(self) -> bool:
        """Whether it would never end."""
        return self.duration == math.inf


@dataclass(frozen=True, slots=True)
class Trace:
    """Calls, one or more, in the order in which they ask."""

    title: str
    calls: tuple[Call, ...]

    @property
    def begin(self) -> float:
        """When the first call asks."""
        return self.calls[0].at

    @property
    def end(self) -> float:
        """When the last call would have ended, but for those that never end."""
        return max(call.at if call.hangs else call.at + call.duration for call in self.calls)


def trace_of(title: str, calls: Iterable[Call]) -> Trace:
    """Return a trace of these calls.

    Raises:
        TraceError: there are none.
    """
    in_order = tuple(sorted(calls, key=lambda call: call.at))
    if not in_order:
        raise TraceError(f"{title}: there are no calls in it")
    return Trace(title, in_order)


def read_trace(file: Path) -> Trace:
    """Return the trace in a CSV file; its lines may stand in any order.

    Raises:
        OSError: the file cannot be read.
        TraceError: it is no trace.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        try:
            calls = list(_calls(reader))
        except UnicodeDecodeError as error:
            raise TraceError(f"{file}: is not UTF-8 text ({error})") from None
        except (csv.Error, TypeError, ValueError) as error:
            raise TraceError(f"{file}, line {max(1, reader.line_num)}: {error}") from None
    return trace_of(file.name, calls)


def write_trace(trace: Trace, file: Path) -> None:
    """Write a trace as `read_trace` reads it.

    Raises:
        OSError: the file cannot be written.
    """
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_row, trace.calls))


def _row(call: Call) -> list[object]:
    told = call.failure is not PLAIN_FAILURE
    failure = [getattr(call.failure, column) if told else None for column in OF_FAILURES]
    retry = "true" if call.retry else None
    return [call.at, call.outcome.value, call.duration, *failure, retry, call.wait]


def _calls(rows: Iterator[list[str]]) -> Iterator[Call]:
    header = [name.strip() for name in next(rows, ())]
    _check_header(header)
    for cells in rows:
        if len(cells) not in (0, len(header)):
            raise ValueError(f"there are {len(cells)} cells, but {len(header)} columns")
        if cells:
            given = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            yield _call({name: cell for name, cell in given.items() if cell})


def _check_header(header: list[str]) -> None:
    for name in header:
        if name not in COLUMNS:
            raise ValueError(f"unknown column {shown(name)}; there are {', '.join(COLUMNS)}")
        if header.count(name) > 1:
            raise ValueError(f"column {name} is there more than once")
    if missing := [name for name in NEEDED if name not in header]:
        raise ValueError(f"columns must be named in the first line; missing: {', '.join(missing)}")


def _call(cells: dict[str, str]) -> Call:
    outcome = _outcome(cells.get("outcome", ""))
    for column in OF_FAILURES:
        if column in cells and outcome is not Outcome.FAILED:
            raise ValueError(
                f"{column} is for failures only, and this call {outcome.value},"
                f" got {shown(cells[column])}"
            )
    return Call(
        at=_seconds("at", cells.get("at", "")),
        outcome=outcome,
        duration=_seconds("duration", cells.get("duration", ""), or_infinite=True),
        failure=_failure(cells),
        retry="retry" in cells and _switch("retry", cells["retry"]),
        wait=check_seconds("wait", _read(float, cells["wait"])) if "wait" in cells else None,
    )


def _outcome(cell: str) -> Outcome:
    try:
        return Outcome(cell)
    except ValueError:
        choices = ", ".join(outcome.value for outcome in Outcome)
        raise ValueError(f"outcome must be one of {choices}, got {shown(cell)}") from None


def _seconds(column: str, cell: str, or_infinite: bool = False) -> float:
    seconds = _read(float, cell)
    if isinstance(seconds, float) and (
        0 <= seconds <= LATEST or (or_infinite and seconds == math.inf)
    ):
        return seconds
    hint = ", or inf" if or_infinite else ""
    raise ValueError(
        f"{column} must be 0 or more and at most {LATEST:g} (seconds){hint}, got {shown(cell)}"
    )


def _failure(cells: dict[str, str]) -> Failure:
    told = [column for column in OF_FAILURES if column in cells]
    given: dict[str, Any] = {column: _read(OF_FAILURES[column], cells[column]) for column in told}
    return Failure(**given)


def _switch(column: str, cell: str) -> bool:
    try:
        return read_switch(cell)
    except ValueError as error:
        raise ValueError(f"{column} {error}") from None


def _read(kind: type[int | float | str], cell: str) -> object:
    """Return a value of that type, or what is none, which is for the checks to say."""
    try:
        return kind(cell)
    except ValueError:
        return cell
