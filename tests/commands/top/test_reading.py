"""What is made of what a process says: rates, and an order."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from supervisor.commands.top.plan import Sorting
from supervisor.commands.top.reading import Row, in_order, rows_of
from tests.commands.top.worlds import circuit, reading, rows


def rates(before: object, after: object, **other: object) -> Row:
    (row,) = rows_of("7@server", before, after, at=0.0)  # type: ignore[arg-type]
    return row


def test_rates_are_what_has_come_in_between() -> None:
    """By the clock of the process, whenever its answers have come."""
    before = reading(circuit(started=10, rejected=4, refusals={"open": 4}), now=100.0)
    figures = {"started": 20, "rejected": 10, "refusals": {"open": 5, "half_open": 5}}
    row = rates(before, reading(circuit(**figures), now=102.0))
    assert (row.calls, row.refusals, row.reason) == (5.0, 3.0, "half_open")


def test_no_refusals_have_no_reason() -> None:
    """However many there were before."""
    before = circuit(started=10, rejected=4, refusals={"open": 4})
    row = rates(reading(before), reading(before, now=101.0))
    assert (row.calls, row.refusals, row.reason) == (0.0, 0.0, "")


@pytest.mark.parametrize(
    "before",
    [
        None,
        reading(circuit("search")),
        reading(circuit(), run="b"),
        reading(circuit(), now=101.0),
        reading(circuit(started=11)),
    ],
    ids=["none", "of another circuit", "of another start", "at the same time", "of one before it"],
)
def test_no_rates_without_a_reading_before(before: object) -> None:
    """A start begins to count anew, and so does a circuit."""
    row = rates(before, reading(circuit(started=10), now=101.0))
    assert (row.calls, row.refusals, row.reason) == (None, None, "")


def test_times_are_by_the_clock_of_the_reader() -> None:
    """Since that of the process begins at any number."""
    (row,) = rows(circuit(since=86.0, retry_after=16.0))
    assert (row.since, row.probe) == (-14.0, 16.0)
    (row,) = rows(circuit(retry_after=None))
    assert (row.since, row.probe) == (None, None)


def test_a_pattern() -> None:
    """Only circuits that it fits are seen."""
    several = reading(circuit("db:users"), circuit("mail"))
    (row,) = rows_of("7@server", None, several, 0.0, "db:*")
    assert row.circuit.name == "db:users"


def test_what_needs_attention_is_first() -> None:
    """Whatever it is sorted by."""
    several = [
        circuit("i"),
        circuit("h", restarts=1),
        circuit("g", waiting=1),
        circuit("f", "metrics_only"),
        circuit("e", "disabled"),
        circuit("d", "half_open"),
        circuit("c", "forced_open"),
        circuit("b", "open"),
        circuit("a", running=False),
    ]
    for sorting in get_args(Sorting):
        order = [row.circuit.name for row in in_order(rows(*several), sorting)]
        assert "".join(order) == "abcdefghi", sorting


@pytest.mark.parametrize("sorting", get_args(Sorting))
def test_among_equals_the_most_is_first(sorting: Sorting) -> None:
    """And by name, if there is as much of it."""
    few, most = (
        circuit(
            name,
            started=many,
            rejected=many,
            refusals={"open": many},
            failure_count=many,
            in_flight=many,
            waiting=many,
        )
        for name, many in (("a", 2), ("b", 3))
    )
    none = (circuit(name, waiting=1, started=0) for name in ("a", "b"))  # that wait need attention
    both = rows_of("7@server", reading(*none), reading(few, most, now=101.0), 0.0)
    order = "".join(row.circuit.name for row in in_order(both, sorting))
    assert order == ("ab" if sorting == "name" else "ba")


def test_nothing_that_moves_the_cursor_gets_in() -> None:
    """Nor what turns a line round, or cannot be written at all."""
    assert circuit("a\x1b[31m\n\u202e\ud800é").name == r"a\x1b[31m\n\u202e\ud800é"


@pytest.mark.parametrize(
    "figures",
    [{"name": None}, {"state": "ajar"}, {"started": -1}, {"since": "then"}, {"rejected": 10**30}],
)
def test_what_is_no_circuit(figures: dict[str, object]) -> None:
    """It is not taken for one."""
    with pytest.raises(ValidationError):
        circuit(**figures)  # type: ignore[arg-type]
