"""The circuits as a table that fits into a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from supervisor.commands.top.reading import Circuit, Row, probe_of, rank_of
from supervisor.commands.top.words import duration, until, word_of, would_be
from supervisor.machine import CircuitState

LONGEST_NAME: Final = 60
"""Cells; what is longer is cut off."""

SHORTEST_NAME: Final = 24
"""Cells that are left for a name, or columns give way to it."""

CUT: Final = ".."

STYLES: Final[Mapping[CircuitState, str]] = {
    CircuitState.CLOSED: "green",
    CircuitState.HALF_OPEN: "bold yellow",
    CircuitState.OPEN: "bold red",
    CircuitState.FORCED_OPEN: "bold red",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, what it says of a row at a time, and its rank.

    Where there is no room, those of the highest rank give way first.
    """

    title: str
    cell: Callable[[Row, float], str]
    rank: int
    justify: Literal["left", "right"] = "right"


def style_of(row: Row) -> str:
    """Return the colour of a state, which its word tells as well."""
    return STYLES.get(row.circuit.state, "cyan") if row.circuit.running else "bold red"


def _state(circuit: Circuit) -> str:
    word, would = word_of(rank_of(circuit)), would_be(circuit)
    return f"{word}, {would}" if would else word


def _rate(per_second: float | None) -> str:
    return "" if per_second is None else f"{per_second:,.1f}"


def _lasted(row: Row, now: float) -> str:
    return "" if row.since is None else duration(now - row.since)


def _probe(row: Row, now: float) -> str:
    if rank_of(row.circuit) is CircuitState.OPEN:
        return until(row.probe, now)
    probe = probe_of(row)
    return "" if probe is None else until(probe, now)


def _origin(circuit: Circuit) -> str:
    is_closed = rank_of(circuit) is CircuitState.CLOSED
    return "" if is_closed or not circuit.shared else circuit.origin


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


COLUMNS: Final = (
    Column("circuit", lambda row, _: row.circuit.name, 0, justify="left"),
    Column("state", lambda row, _: _state(row.circuit), 0, justify="left"),
    Column("for", _lasted, 3),
    Column("next probe", _probe, 1),
    Column("calls/s", lambda row, _: _rate(row.calls), 4),
    Column("failures", lambda row, _: _count(row.circuit.failure_count), 6),
    Column("refused/s", lambda row, _: _rate(row.refusals), 5),
    Column("reason", lambda row, _: row.reason.replace("_", "-"), 9, justify="left"),
    Column("in flight", lambda row, _: _count(row.circuit.in_flight), 7),
    Column("waiting", lambda row, _: _count(row.circuit.waiting), 8),
    Column("restarts", lambda row, _: _count(row.circuit.restarts), 10),
)

ORIGIN: Final = Column("origin", lambda row, _: _origin(row.circuit), 2, justify="left")
PROCESS: Final = Column("process", lambda row, _: row.process, 2, justify="left")

GAP: Final = 2
"""Cells between two columns; one of them is the box's."""


def table_of(
    rows: Sequence[Row],
    now: float,
    *,
    width: int,
    encoding: str = "utf-8",
    of_several: bool = False,
) -> Table:
    """Return rows as a table.

    Args:
        rows: those that are to be seen, in their order.
        now: the time by the clock of whoever reads.
        width: cells that there are.
        encoding: of the terminal; what it lacks is escaped.
        of_several: whether to tell which process each is of.
    """
    columns = list(COLUMNS)
    if any(row.circuit.shared for row in rows):
        columns.append(ORIGIN)
    if of_several:
        columns.append(PROCESS)
    texts = [
        [cut(encodable(column.cell(row, now), encoding), LONGEST_NAME) for row in rows]
        for column in columns
    ]
    widths = [
        max([len(column.title), *map(cell_len, cells)])
        for column, cells in zip(columns, texts, strict=True)
    ]
    widths = _fitted(columns, widths, width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    fitting = [each for each in zip(columns, texts, widths, strict=True) if each[2]]
    for column, _, room in fitting:
        table.add_column(column.title, justify=column.justify, no_wrap=True, width=room)
    for index, row in enumerate(rows):
        table.add_row(
            *(
                Text(cut(cells[index], room), style_of(row) if column.title == "state" else "")
                for column, cells, room in fitting
            )
        )
    return table


def _fitted(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Return the widths for a terminal, in which 0 is for a column that is left out."""
    left = list(widths)
    needed = min(left[0], SHORTEST_NAME)
    by_rank = sorted(range(1, len(columns)), key=lambda index: -columns[index].rank)
    for index in by_rank:
        if needed + sum(room + GAP for room in left[1:] if room) <= width:
            break
        if columns[index].rank:
            left[index] = 0
    others = sum(room + GAP for room in left[1:] if room)
    left[0] = max(1, min(left[0], width - others))
    return left


def cut(text: str, room: int) -> str:
    """Return a text that is so many cells wide at most."""
    if cell_len(text) <= room:
        return text
    return set_cell_size(text, max(0, room - len(CUT))).rstrip() + CUT[:room]


def encodable(text: str, encoding: str) -> str:
    """Return a text without letters that the terminal cannot be sent."""
    return text.encode(encoding, "backslashreplace").decode(encoding)
