"""How a fleet stands, and what has happened to it, in lines for people."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Final

from supervisor.commands.texts import printable
from supervisor.commands.top.words import counted, duration, until, word_of
from supervisor.machine import CircuitState
from supervisor.sharing import LIFE, News, Record, Sight, Standing

GAP: Final = "  "

MEMBERS: Final = ("supervisor", "last sign of life")
CIRCUITS: Final = (
    "circuit",
    "state",
    "for",
    "next probe",
    "probes",
    "votes",
    "failed recoveries",
    "by",
    "failure",
)


def report(sight: Sight, past: Sequence[News], space: str) -> Iterator[str]:
    """Yield lines on how the fleet stands.

    Args:
        sight: what there is to be seen.
        past: changes of the past, oldest first.
        space: whose fleet it is.
    """
    standing = shown_of(sight)
    verb = "shares" if len(sight.members) == 1 else "share"
    yield (
        f"{counted(len(sight.members), 'supervisor')} {verb} circuits in space {space!r};"
        f" {counted(len(standing), 'circuit')} not plainly closed"
    )
    if sight.members:
        yield ""
        beats = sorted(sight.members.items())
        yield from table(MEMBERS, [(owner, _alive(sight.now - at)) for owner, at in beats])
    if standing:
        yield ""
        yield from table(CIRCUITS, [_row(*each, sight.now) for each in standing])
    if past:
        yield ""
        yield from lines_of(past)


def shown_of(sight: Sight) -> list[tuple[str, Standing]]:
    """Return the circuits that are not plainly closed, by name."""
    return sorted(
        (name, standing)
        for name, standing in sight.circuits.items()
        if standing.votes or state_of(standing) is not CircuitState.CLOSED
    )


def state_of(standing: Standing | None) -> CircuitState:
    """Return the state of a circuit for all; it is closed if nothing is held of it."""
    if standing is None or standing.record is None:
        return CircuitState.CLOSED
    return standing.record.state


def lines_of(news: Sequence[News]) -> Iterator[str]:
    """Yield a line for each change, by the clock of the store."""
    yield from table(None, [_change(each) for each in news])


def table(titles: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines of columns, without those that have nothing to say; texts are made harmless."""
    cells = [[printable(cell) for cell in row] for row in rows]
    columns = [column for column in range(len(cells[0])) if any(row[column] for row in cells)]
    if titles is not None:
        cells.insert(0, list(titles))
    widths = {column: max(len(row[column]) for row in cells) for column in columns}
    for row in cells:
        yield GAP.join(row[column].ljust(widths[column]) for column in columns).rstrip()


def _alive(age: float) -> str:
    ago = f"{duration(age)} ago"
    return ago if age < LIFE else f"{ago}: taken for gone"


def _row(name: str, standing: Standing, now: float) -> tuple[str, ...]:
    record, state = standing.record, state_of(standing)
    begun = None if record is None else record.epoch.milliseconds / 1000
    is_open = record is not None and state is CircuitState.OPEN
    return (
        name,
        word_of(state),
        "" if begun is None else duration(now - begun),
        until(record.until, now) if record is not None and is_open else "",
        _probes(standing, now),
        f"{len(standing.votes):,} to open it" if standing.votes else "",
        "" if record is None or not record.failed_recoveries else f"{record.failed_recoveries:,}",
        "" if record is None else record.owner,
        "" if record is None else record.failure or "",
    )


def _probes(standing: Standing, now: float) -> str:
    told = [f"{standing.won:,} succeeded"] if standing.won else []
    if standing.leases:
        ends = until(max(standing.leases.values()), now).removeprefix("in ")
        told.append(f"{len(standing.leases):,} running, for {ends} at most")
    return "; ".join(told)


def _change(news: News) -> tuple[str, str, str, str, str]:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(news.epoch.milliseconds / 1000))
    record = news.record
    if record is None:
        what = "a probe has ended, and its place is free" if news.circuit else "nobody can read it"
        return f"{at} UTC", news.circuit, what, "", ""
    return f"{at} UTC", news.circuit, _entered(record), record.owner, record.failure or ""


def _entered(record: Record) -> str:
    what = word_of(record.state)
    if record.state is CircuitState.OPEN:
        what += f" for {duration(math.ceil(record.seconds))}"
        if record.failed_recoveries:
            what += f", after {record.failed_recoveries:,} in vain"
    return what
