"""What is different from one reading of a process to the next, in lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supervisor.commands.top.process import Process
from supervisor.commands.top.reading import Row, needs_attention, rank_of
from supervisor.commands.top.words import counted, link_of, sentence_of, word_of


def news_of(process: Process, known: Sequence[Row], problem: str, now: float) -> Iterator[str]:
    """Yield lines on what a reading has brought.

    Args:
        process: as it is now.
        known: its rows at the latest reading before that has not failed.
        problem: why the reading before has failed; empty if it has not.
        now: the time by the clock of whoever reads.
    """
    if process.problem:
        if process.problem != problem:
            yield f"{process.problem}; trying again"
        return
    if problem:
        yield "answers again"
    if process.has_begun_anew:
        yield "began anew, or is another process"
        known = ()
    if process.fleet is not None and process.fleet.linked is not process.had_link:
        yield link_of(process.fleet)
    for name, told in changes_of(known, process.rows, now):
        yield f"{name}: {told}"


def changes_of(before: Sequence[Row], rows: Sequence[Row], now: float) -> Iterator[tuple[str, str]]:
    """Yield names of circuits, and what has changed; of new ones, those that need attention.

    Args:
        before: rows of the reading before.
        rows: those of this one, of the same process.
        now: the time by the clock of whoever reads.
    """
    earlier = {row.circuit.name: row for row in before}
    for row in rows:
        if told := _change(earlier.pop(row.circuit.name, None), row, now):
            yield row.circuit.name, told
    for name in earlier:
        yield name, "stopped"


def _change(before: Row | None, row: Row, now: float) -> str:
    circuit = row.circuit
    if before is None:
        return _told(row, now) if needs_attention(circuit) else ""
    earlier = before.circuit
    was = rank_of(earlier)
    if was is not rank_of(circuit):
        return f"{_told(row, now)}, was {word_of(was)}"
    has_changed = (
        earlier.would_be is not circuit.would_be
        or earlier.times_opened != circuit.times_opened  # and has opened anew in between
        or earlier.restarts != circuit.restarts
        or bool(earlier.waiting) != bool(circuit.waiting)
    )
    return _told(row, now) if has_changed else ""


def _told(row: Row, now: float) -> str:
    circuit = row.circuit
    told = sentence_of(row, now)
    if circuit.waiting:
        told += f", {counted(circuit.waiting, 'call')} waiting"
    if circuit.restarts:
        told += f", restarted {counted(circuit.restarts, 'time')}"
    return told
