"""Calls as they come and end: traces, and how their rows stand in CSV files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from supervisor.arguments import check_name, check_seconds, shown
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

COLUMNS: Final = (*NEEDED, *OF_FAILURES, "retry", "wait", "waited", "circuit", "reason")

REFUSED: Final = "refused"
"""The outcome of a call that was not admitted: how it would have ended is not known."""

OUTCOMES: Final = (*(outcome.value for outcome in Outcome), REFUSED)

LATEST: Final = 1e10
"""Seconds; later times, which a float cannot tell well apart, are most likely milliseconds."""

_DIGITS: Final = 9
"""Of seconds, after the point: no clock tells more."""


class TraceError(ValueError):
    """A file is no trace; the message names the line, the column and the value."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it would come and end.

    Attributes:
        at: seconds at which it asks to be admitted.
        outcome: how it would end if it ran; None: it was refused when the trace was recorded, so
            nobody knows.
        duration: seconds that it would run; infinite if it would never end.
        failure: what kind of failure it would be.
        retry: whether it is another attempt of a call that has failed.
        wait: seconds for which it would wait to be admitted. If it has waited, it ends as one of
            the calls that begin then.
        waited: seconds for which it has waited when the trace was recorded.
        circuit: the name of its circuit; empty if that is not told.
        reason: why it was refused; empty if it was not, or that is not told.
    """

    at: float
    outcome: Outcome | None
    duration: float
    failure: Failure = PLAIN_FAILURE
    retry: bool = False
    wait: float | None = None
    waited: float = 0.0
    circuit: str = ""
    reason: str = ""

    @property
    def hangs(self) -> bool:
        """Whether it would never end."""
        return self.duration == math.inf

    @property
    def began(self) -> float:
        """When it began to run, if it did."""
        return self.at + self.waited


@dataclass(frozen=True, slots=True)
class Trace:
    """Calls, one or more, in the order in which they ask.

    Attributes:
        title: what it is called.
        calls: by times that begin with 0, or somewhere near.
        since: the second of the calendar that 0 is, since 1970; None if that is not known.
    """

    title: str
    calls: tuple[Call, ...]
    since: int | None = None

    @property
    def begin(self) -> float:
        """When the first call asks."""
        return self.calls[0].at

    @property
    def end(self) -> float:
        """When the last call would have ended, but for those that never end."""
        return max(call.began if call.hangs else call.began + call.duration for call in self.calls)


def trace_of(title: str, calls: Iterable[Call]) -> Trace:
    """Return a trace of these calls.

    Raises:
        TraceError: there are none.
    """
    in_order = tuple(sorted(calls, key=lambda call: call.at))
    if not in_order:
        raise TraceError(f"{title}: there are no calls in it")
    return Trace(title, in_order)


def row_of(call: Call) -> list[object]:
    """Return what stands in the columns of a call."""
    told = call.failure is not PLAIN_FAILURE
    failure = [getattr(call.failure, column) if told else None for column in OF_FAILURES]
    refused = call.outcome is None
    return [
        round(call.at, _DIGITS),
        REFUSED if call.outcome is None else call.outcome.value,
        None if refused else round(call.duration, _DIGITS),
        *failure,
        "true" if call.retry else None,
        call.wait,
        round(call.waited, _DIGITS) or None,
        call.circuit,
        call.reason,
    ]


def check_header(header: Sequence[str]) -> None:
    """Refuse what names no columns of a trace, or not all that are needed.

    Raises:
        ValueError: the text says why.
    """
    for name in header:
        if name not in COLUMNS:
            raise ValueError(f"unknown column {shown(name)}; there are {', '.join(COLUMNS)}")
        if header.count(name) > 1:
            raise ValueError(f"column {name} is there more than once")
    if missing := [name for name in NEEDED if name not in header]:
        raise ValueError(f"columns must be named in the first line; missing: {', '.join(missing)}")


def call_in(cells: Mapping[str, str]) -> Call:
    """Return the call that stands in a row, of which these cells are not empty.

    Raises:
        TypeError, ValueError: the text names the column and the value.
    """
    outcome = _outcome(cells.get("outcome", ""))
    _check_cells(cells, outcome)
    duration = cells.get("duration", "")
    return Call(
        at=_seconds("at", cells.get("at", "")),
        outcome=outcome,
        duration=0.0 if outcome is None else _seconds("duration", duration, or_infinite=True),
        failure=_failure(cells),
        retry="retry" in cells and _switch("retry", cells["retry"]),
        wait=check_seconds("wait", _read(float, cells["wait"])) if "wait" in cells else None,
        waited=_seconds("waited", cells.get("waited", "0")),
        circuit=check_name(cells["circuit"]) if "circuit" in cells else "",
        reason=cells.get("reason", ""),
    )


def _check_cells(cells: Mapping[str, str], outcome: Outcome | None) -> None:
    """Refuse cells that do not go together with how a call has ended."""
    for column in OF_FAILURES:
        if column in cells and outcome is not Outcome.FAILED:
            raise ValueError(
                f"{column} is for failures only, and this call"
                f" {'was refused' if outcome is None else outcome.value},"
                f" got {shown(cells[column])}"
            )
    for column in ("duration", "waited"):
        if outcome is None and column in cells:
            raise ValueError(
                f"{column} is not known of a call that was refused, got {shown(cells[column])}"
            )
    if outcome is not None and "reason" in cells:
        raise ValueError(
            f"reason is for calls that were refused, and this one {outcome.value},"
            f" got {shown(cells['reason'])}"
        )


def _outcome(cell: str) -> Outcome | None:
    if cell not in OUTCOMES:
        raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}, got {shown(cell)}")
    return None if cell == REFUSED else Outcome(cell)


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


def _failure(cells: Mapping[str, str]) -> Failure:
    told = [column for column in OF_FAILURES if column in cells]
    if not told:
        return PLAIN_FAILURE
    given: dict[str, Any] = {column: _read(OF_FAILURES[column], cells[column]) for column in told}
    for column, value in given.items():
        if OF_FAILURES[column] is float:
            check_seconds(column, value)  # to a failure, what is none would be no hint
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
