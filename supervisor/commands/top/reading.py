"""What a process has said of its circuits; two of them make rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from supervisor.commands.texts import printable
from supervisor.commands.top.plan import Sorting
from supervisor.machine import CircuitState, Origin

# By whoever answers: nothing that is not printable gets further than this.
Printable = Annotated[str, AfterValidator(printable)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Circuit(BaseModel):
    """Of a `Statistics`, what is shown; and `since`, when its state began, by the process's clock.

    An infinite `retry_after` is None.
    """

    model_config = ConfigDict(frozen=True)

    name: Printable
    state: CircuitState
    would_be: CircuitState
    running: bool
    failure_count: Count
    retry_after: FiniteFloat | None
    started: Count
    rejected: Count
    waiting: Count
    in_flight: Count
    times_opened: Count
    restarts: Count
    refusals: dict[Printable, Count]
    since: FiniteFloat | None = None
    restarts_in: FiniteFloat = 0.0
    shared: bool = False
    origin: Origin = "here"


class Fleet(BaseModel):
    """How a process stands with those that it shares circuits with, as `supervisor.fleet` says."""

    model_config = ConfigDict(frozen=True)

    linked: bool
    members: Count
    joined: Count
    lost: Count


class Reading(BaseModel):
    """All circuits of a process at one moment, as `CircuitsApp` tells them.

    Attributes:
        process: its number.
        run: names the start of its supervisor: all is counted from there.
        now: seconds by its event loop's clock.
        circuits: in any order.
        fleet: None if it shares none of them.
    """

    model_config = ConfigDict(frozen=True)

    process: Count
    run: Printable
    now: FiniteFloat
    circuits: tuple[Circuit, ...]
    fleet: Fleet | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One circuit as it was at a reading, and what it has done since the one before.

    Times are by the clock of whoever reads.

    Attributes:
        circuit: its figures.
        process: which one it is of.
        since: when its state began; None if that is not known.
        probe: when one that is open, or forced open for a time, will let a call through; None if
            that is not known.
        starts: when its actor, which pauses after a crash, starts again; None if it runs.
        calls, refusals: per second; None after the first reading of a process.
        reason: why most of those calls were refused; empty if none was.
    """

    circuit: Circuit
    process: str
    since: float | None
    probe: float | None
    starts: float | None = None
    calls: float | None = None
    refusals: float | None = None
    reason: str = ""


def rows_of(
    process: str, before: Reading | None, reading: Reading, at: float, pattern: str = "*"
) -> list[Row]:
    """Return the circuits of a reading whose names fit the pattern.

    Args:
        process: which one it is of.
        before: the reading before, whosever it was.
        reading: what is to be seen.
        at: when that came, by the clock of whoever reads.
        pattern: one of `fnmatch`.
    """
    earlier: dict[str, Circuit] = {}
    seconds = 0.0
    if before is not None and before.run == reading.run:
        earlier = {circuit.name: circuit for circuit in before.circuits}
        seconds = reading.now - before.now
    ahead = at - reading.now
    return [
        _row(process, circuit, ahead, at, earlier.get(circuit.name), seconds)
        for circuit in reading.circuits
        if fnmatchcase(circuit.name, pattern)
    ]


def _row(
    process: str,
    circuit: Circuit,
    ahead: float,
    at: float,
    before: Circuit | None,
    seconds: float,
) -> Row:
    row = Row(
        circuit,
        process,
        since=None if circuit.since is None else circuit.since + ahead,
        probe=None if circuit.retry_after is None else at + circuit.retry_after,
        starts=at + circuit.restarts_in if circuit.restarts_in > 0 else None,
    )
    if before is None or seconds <= 0 or circuit.started < before.started:  # it is a new one
        return row
    refused = circuit.rejected - before.rejected
    return replace(
        row,
        calls=(circuit.started - before.started) / seconds,
        refusals=refused / seconds,
        reason=_reason(before.refusals, circuit.refusals) if refused else "",
    )


def _reason(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    return max(now, key=lambda reason: now[reason] - before.get(reason, 0), default="")


RANKS: Final[tuple[CircuitState | None, ...]] = (
    None,
    CircuitState.OPEN,
    CircuitState.FORCED_OPEN,
    CircuitState.HALF_OPEN,
    CircuitState.FORCED_CLOSED,
    CircuitState.DISABLED,
    CircuitState.METRICS_ONLY,
    CircuitState.CLOSED,
)
"""States in the order in which they need attention; None is for a circuit that was given up."""


def rank_of(circuit: Circuit) -> CircuitState | None:
    """Return by which of the ranks a circuit goes."""
    return circuit.state if circuit.running else None


def probe_of(row: Row) -> float | None:
    """Return when a circuit that refuses every call will let one through, if that is known."""
    refuses = (CircuitState.OPEN, CircuitState.FORCED_OPEN)
    return row.probe if rank_of(row.circuit) in refuses else None


def needs_attention(circuit: Circuit) -> bool:
    """Return whether a circuit is not closed, has callers that wait, or was restarted."""
    is_closed = rank_of(circuit) is CircuitState.CLOSED
    return not is_closed or circuit.waiting > 0 or circuit.restarts > 0


_AMOUNTS: Final[Mapping[Sorting, Callable[[Row], float]]] = {
    "name": lambda _: 0,
    "calls": lambda row: row.calls or 0,
    "failures": lambda row: row.circuit.failure_count,
    "refusals": lambda row: row.refusals or 0,
    "in-flight": lambda row: row.circuit.in_flight,
    "waiting": lambda row: row.circuit.waiting,
}


def in_order(rows: Iterable[Row], sorting: Sorting) -> list[Row]:
    """Return what needs attention, the worst first, and then the rest; among equals, most first."""
    amount = _AMOUNTS[sorting]

    def key(row: Row) -> tuple[int, bool, float, str, str]:
        circuit = row.circuit
        rank, is_calm = RANKS.index(rank_of(circuit)), not needs_attention(circuit)
        return rank, is_calm, -amount(row), circuit.name, row.process

    return sorted(rows, key=key)
