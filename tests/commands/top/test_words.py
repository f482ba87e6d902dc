"""What is said of circuits; the page says the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor import Supervisor
from supervisor.commands.top.reading import Circuit
from supervisor.commands.top.words import duration, headline
from supervisor.integrations.asgi.documents import as_json
from tests.commands.top.worlds import circuit, rows

OPEN = {"state": "open", "since": 86.0, "failure_count": 5, "retry_after": 16.0}


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1.0, "0 s"),
        (0.9, "0 s"),
        (119.9, "119 s"),
        (120.0, "2 min"),
        (7_199.0, "119 min"),
        (7_200.0, "2 h"),
        (172_799.0, "47 h"),
        (172_800.0, "2 d"),
        (1e9, "11574 d"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    """Whole ones, in the largest unit of which there are two."""
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({}, "closed"),
        (OPEN, "open for 14 s after 5 failures, next probe in 16 s"),
        (OPEN | {"failure_count": 1}, "open for 14 s after 1 failure, next probe in 16 s"),
        (OPEN | {"failure_count": 0}, "open for 14 s, next probe in 16 s"),
        (OPEN | {"since": None}, "open after 5 failures, next probe in 16 s"),
        (OPEN | {"retry_after": 0.0}, "open for 14 s after 5 failures, next probe now"),
        (
            OPEN | {"retry_after": None},
            "open for 14 s after 5 failures, next probe at a time not known",
        ),
        (
            OPEN | {"origin": "fleet"},
            "open by the fleet for 14 s after 5 failures, next probe in 16 s",
        ),
        (OPEN | {"running": False}, "given up for 14 s"),
        (OPEN | {"running": False, "origin": "fleet"}, "given up for 14 s"),
        ({"state": "half_open", "since": 98.0}, "half-open for 2 s, probes decide"),
        (
            {"state": "forced_open", "retry_after": None},
            "forced open, refuses every call until it is released",
        ),
        (
            {"state": "forced_open", "retry_after": 90.0, "since": 98.0},
            "forced open for 2 s, refuses every call, next probe in 90 s",
        ),
        (
            {"state": "half_open", "restarts_in": 2.5},
            "half-open, probes decide; its actor starts again in 3 s",
        ),
        ({"state": "forced_closed"}, "forced closed, admits every call until it is released"),
        (
            {"state": "disabled"},
            "disabled, admits every call and counts nothing until it is released",
        ),
        (
            {"state": "metrics_only", "would_be": "closed"},
            "only measuring, admits every call until it is released",
        ),
        (
            {"state": "metrics_only", "would_be": "half_open"},
            "only measuring, admits every call until it is released; would be half-open",
        ),
    ],
)
def test_one_circuit_that_is_not_closed(figures: dict[str, Any], told: str) -> None:
    """It is the one that is named, whatever the others do."""
    one = circuit("payments", **figures)
    assert headline(rows(one), 0.0) == f"payments: {told}"
    if figures:
        assert headline(rows(circuit("search"), one), 0.0) == f"payments: {told}"


def test_times_go_on() -> None:
    """From what was read, until it is read again."""
    (row,) = rows(circuit(**OPEN))
    assert headline([row], 10.2) == "payments: open for 24 s after 5 failures, next probe in 6 s"


def test_all_circuits() -> None:
    """How many there are, and of how many processes."""
    closed = [circuit(str(number)) for number in range(12)]
    assert headline([], 0.0) == "No circuits yet"
    assert headline(rows(*closed), 0.0) == "All 12 circuits closed"
    assert headline(rows(*closed) * 100, 0.0, 100) == "All 1,200 circuits of 100 processes closed"
    assert headline(rows(*closed[:1]), 0.0, 2) == "0 of 7@server: closed"


def test_several_circuits_that_are_not_closed() -> None:
    """How many of each kind, and the next probe of all."""
    several = rows(
        circuit("a"),
        circuit("b", "half_open"),
        circuit("c", **OPEN),
        circuit("d", **OPEN | {"retry_after": 3.0}),
        circuit("e", "forced_open", retry_after=None),
        circuit("f", running=False),
    )
    told = "1 given up, 2 open, 1 forced open, 1 half-open; next probe in 3 s"
    assert headline(several, 0.0) == f"5 of 6 circuits not closed: {told}"
    assert headline(several[:2] + several[4:], 0.0) == (
        "3 of 4 circuits not closed: 1 given up, 1 forced open, 1 half-open"
    )
    for_a_time = rows(circuit("c", **OPEN), circuit("e", "forced_open", retry_after=2.0))
    assert headline(for_a_time, 0.0) == (
        "2 of 2 circuits not closed: 1 open, 1 forced open; next probe in 2 s"
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (90, "x: forced open, refuses every call, next probe in 90 s"),
        (None, "x: forced open, refuses every call until it is released"),
    ],
)
async def test_what_a_process_tells_of_a_circuit_that_is_forced_open(
    seconds: float | None, told: str
) -> None:
    """Its time is finite, or is not told."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        breaker.force_open(seconds=seconds)
        figures = json.loads(json.dumps(as_json(breaker.statistics(), show_failures=False)))
    assert headline(rows(Circuit.model_validate(figures)), 0.0) == told
