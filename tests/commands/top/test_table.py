"""The circuits as a table, however narrow the terminal is."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from supervisor.commands.top.reading import Row, rows_of
from supervisor.commands.top.table import CUT, LONGEST_NAME, cut, encodable, table_of
from tests.commands.top.worlds import Terminal, circuit, console_of, reading, rows

BUSY = circuit(
    "payments",
    "open",
    since=86.0,
    retry_after=16.0,
    failure_count=5,
    started=3000,
    rejected=2500,
    refusals={"forced_open": 1, "open": 2499},
    in_flight=3,
    waiting=2,
    restarts=1,
)


def drawn(some: list[Row], width: int = 200, encoding: str = "utf-8", of: int = 1) -> list[str]:
    """The lines of a table, without spaces at their ends."""
    file = Terminal(encoding)
    table = table_of(some, 0.0, width=width, encoding=encoding, of_several=of > 1)
    console_of(file, width=max(width, 1), term="dumb").print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def busy() -> list[Row]:
    return rows_of("7@server", reading(circuit()), reading(BUSY, now=102.0), 0.0)


def test_all_columns() -> None:
    """Each figure is under its title, and none is lost."""
    titles, _, row = drawn(busy(), of=2)
    words = re.compile(r"\S+(?: \S+)*")
    assert dict(zip(words.findall(titles), words.findall(row), strict=True)) == {
        "circuit": "payments",
        "state": "open",
        "for": "16 s",
        "next probe": "in 16 s",
        "calls/s": "1,500.0",
        "failures": "5",
        "refused/s": "1,250.0",
        "reason": "open",
        "in flight": "3",
        "waiting": "2",
        "restarts": "1",
        "process": "7@server",
    }


def test_a_circuit_that_is_forced_open() -> None:
    """For a time, it has a next probe as well; until it is released, it has none."""
    for_a_time = drawn(rows(circuit(state="forced_open", retry_after=90.0)))[2]
    assert for_a_time.split() == ["payments", "forced", "open", "in", "90", "s"]
    for_ever = drawn(rows(circuit(state="forced_open", retry_after=None)))[2]
    assert for_ever.split() == ["payments", "forced", "open"]


def test_what_is_nothing_is_not_there() -> None:
    """So that the eye finds what is."""
    *_, row = drawn(rows(circuit(since=None)))
    assert row.split() == ["payments", "closed"]


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({"state": "half_open"}, "half-open"),
        ({"state": "forced_open", "retry_after": None}, "forced open"),
        ({"state": "metrics_only", "would_be": "closed"}, "only measuring"),
        ({"state": "metrics_only", "would_be": "open"}, "only measuring, would be open"),
        ({"state": "open", "running": False}, "given up"),
    ],
)
def test_states_are_words(figures: dict[str, object], word: str) -> None:
    """The colour says nothing that they do not."""
    *_, row = drawn(rows(circuit(**figures)))  # type: ignore[arg-type]
    assert row == f"payments  {word}"


@pytest.mark.parametrize("width", [1, 5, 12, 24, 40, 60, 80, 100, 140])
def test_a_narrow_terminal(width: int) -> None:
    """What matters less gives way, and no line is too long."""
    lines = drawn(busy(), width, of=2)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 3
    if width >= 24:
        assert "open" in lines[2]
    if width >= 40:
        assert "in 16 s" in lines[2]


def test_names_that_are_long_are_cut_off() -> None:
    """As much as there is no room for."""
    long = circuit("日本" * 60)
    assert cell_len(drawn(rows(long))[2].split()[0]) <= LONGEST_NAME
    narrow = drawn(rows(circuit("a" * 90, "open")), width=40)[2]
    assert narrow.split()[0].endswith(CUT)
    assert max(map(cell_len, narrow.split())) <= 40


@pytest.mark.parametrize(
    ("room", "text"), [(9, "payments"), (8, "payments"), (6, "paym.."), (1, ".")]
)
def test_cut(room: int, text: str) -> None:
    """A text is never wider than its room."""
    assert cut("payments", room) == text


def test_a_terminal_that_lacks_letters() -> None:
    """It gets them escaped, and lines of its own letters."""
    lines = drawn(rows(circuit("café")), encoding="ascii")
    assert lines[2].startswith(r"caf\xe9")
    assert encodable("café", "utf-8") == "café"


def test_names_are_no_markup() -> None:
    """What looks like a style is text."""
    assert "[red]x" in drawn(rows(circuit("[red]x")))[2]
