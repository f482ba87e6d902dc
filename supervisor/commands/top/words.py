"""What is said of circuits, the one sentence for all of them included.

The page of `CircuitsApp` says the same, word by word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from supervisor.commands.top.reading import RANKS, Circuit, Fleet, Row, probe_of, rank_of
from supervisor.machine import CircuitState

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))

_UNTIL_RELEASED: Final[Mapping[CircuitState, str]] = {
    CircuitState.FORCED_OPEN: "refuses every call until it is released",
    CircuitState.FORCED_CLOSED: "admits every call until it is released",
    CircuitState.DISABLED: "admits every call and counts nothing until it is released",
    CircuitState.METRICS_ONLY: "admits every call until it is released",
}


def duration(seconds: float) -> str:
    """Return seconds as people read them: whole, and at least two of a larger unit."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{math.floor(seconds / length)} {unit}"
    return f"{max(0, math.floor(seconds))} s"


def counted(number: int, thing: str) -> str:
    """Return a number of things."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def word_of(rank: CircuitState | None) -> str:
    """Return a state in a word or two; None is for a circuit that was given up."""
    match rank:
        case None:
            return "given up"
        case CircuitState.HALF_OPEN:
            return "half-open"
        case CircuitState.METRICS_ONLY:
            return "only measuring"
        case state:
            return str(state.value).replace("_", " ")


def would_be(circuit: Circuit) -> str:
    """Return the state that a circuit which only measures would be in, if that is of interest."""
    would = circuit.would_be
    quiet = not circuit.running or would in (circuit.state, CircuitState.CLOSED)
    return "" if quiet else f"would be {word_of(would)}"


def until(time: float | None, now: float) -> str:
    """Return how long it is until a time."""
    if time is None:
        return "at a time not known"
    return f"in {duration(math.ceil(time - now))}" if time > now else "now"


def link_of(fleet: Fleet) -> str:
    """Return how a process stands with those that it shares circuits with."""
    if fleet.linked:
        return f"the fleet has {counted(fleet.members, 'supervisor')}"
    return "the fleet is lost: each circuit decides alone"


def sentence_of(row: Row, now: float) -> str:
    """Return how a circuit is that is not closed."""
    return f"{word_of(rank_of(row.circuit))}{''.join(_more_of(row, now))}"


def _more_of(row: Row, now: float) -> Iterator[str]:
    circuit, rank = row.circuit, rank_of(row.circuit)
    if circuit.running and circuit.origin == "fleet":
        yield " by the fleet"
    if row.since is not None:
        yield f" for {duration(now - row.since)}"
    if rank is CircuitState.OPEN:
        if circuit.failure_count:
            yield f" after {counted(circuit.failure_count, 'failure')}"
        yield f", next probe {until(row.probe, now)}"
    elif rank is CircuitState.FORCED_OPEN and row.probe is not None:
        yield f", refuses every call, next probe {until(row.probe, now)}"
    elif rank is CircuitState.HALF_OPEN:
        yield ", probes decide"
    elif rank is not None and rank in _UNTIL_RELEASED:
        yield f", {_UNTIL_RELEASED[rank]}"
        if would := would_be(circuit):
            yield f"; {would}"
    if row.starts is not None:
        yield f"; its actor starts again {until(row.starts, now)}"


def headline(rows: Sequence[Row], now: float, processes: int = 1) -> str:
    """Return how things stand, in one sentence.

    Args:
        rows: all circuits that are watched, in any order.
        now: the time by the clock of whoever reads.
        processes: how many they are of.
    """
    if not rows:
        return "No circuits yet"
    amiss = [row for row in rows if rank_of(row.circuit) is not CircuitState.CLOSED]
    if len(amiss or rows) == 1:
        (row,) = amiss or rows
        of = f" of {row.process}" if processes > 1 else ""
        return f"{row.circuit.name}{of}: {sentence_of(row, now) if amiss else 'closed'}"
    all_of_them = counted(len(rows), "circuit")
    if processes > 1:
        all_of_them += f" of {processes:,} processes"
    if not amiss:
        return f"All {all_of_them} closed"
    return f"{len(amiss):,} of {all_of_them} not closed: {_sorts_of(amiss, now)}"


def _sorts_of(amiss: Sequence[Row], now: float) -> str:
    numbers = Counter(rank_of(row.circuit) for row in amiss)
    told = ", ".join(f"{numbers[rank]:,} {word_of(rank)}" for rank in RANKS if rank in numbers)
    probes = [probe for row in amiss if (probe := probe_of(row)) is not None]
    return f"{told}; next probe {until(min(probes), now)}" if probes else told
