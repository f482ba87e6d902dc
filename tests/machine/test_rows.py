"""Failures in a row that open a circuit beside its window."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor.machine import Machine, Overdue, Settle
from supervisor.machine.rows import RowTrip, reconfigured, trip_by
from supervisor.machine.tripping import Trip
from supervisor.policy import Failure, Outcome, Policy
from supervisor.recording.format import FORMAT, plain, read_start

SUCCEEDED, FAILED, IGNORED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.IGNORED

RATE: dict[str, Any] = {"window_calls": 100, "failure_rate": 0.5}
SLOW: dict[str, Any] = {"slow_call_duration": 1.0, "slow_call_rate": 1.0}
windows = pytest.mark.parametrize(
    "window",
    [RATE, {"window_seconds": 10.0, "failure_rate": 0.5}, {"window_seconds": 10.0}],
    ids=str,
)


def trip(**policy: Any) -> RowTrip:
    circuit = trip_by(Policy(**{"failure_threshold": 50, "failures_in_a_row": 3, **policy}))
    assert isinstance(circuit, RowTrip)
    return circuit


def end(circuit: Trip, outcome: Outcome, at: float = 0.0, **report: Any) -> bool:
    return circuit.count(Settle(0, 0, outcome, at, **report), at)


def count(circuit: Trip, text: str) -> list[bool]:
    """Count S and F, s (slow) and f (slow and failed); return after each whether that opens it."""
    return [
        end(circuit, FAILED if letter in "Ff" else SUCCEEDED, slow=letter in "sf")
        for letter in text
    ]


def overdue(circuit: Trip, call: int, failed: bool = True) -> bool:
    return circuit.count_overdue(Overdue(0, call, 0.0, 1.0, failed))


class TestRows:
    """What opens it."""

    @windows
    @pytest.mark.parametrize(
        ("text", "opens"),
        [
            ("FFF", True),
            ("FFSFF", False),
            ("FFSFFF", True),
            ("SSSSSSSSSFFF", True),
            ("SFSFSF", False),
        ],
    )
    def test_as_many_failures_with_no_success_between(
        self, window: dict[str, Any], text: str, opens: bool
    ) -> None:
        """Whatever else is in the window, and though there are not `minimum_calls`."""
        assert count(trip(**window), text) == [False] * (len(text) - 1) + [opens]

    def test_the_window_opens_it_as_well(self) -> None:
        """By the rate, or by the number of failures, with no row."""
        assert count(trip(**RATE), "FSFSFSFSFS")[-1]
        assert count(trip(window_calls=10, failure_threshold=2), "FSSF")[-1]

    @pytest.mark.parametrize(("weight", "row"), [(0, 0), (1, 1), (2, 2)])
    def test_a_failure_counts_by_its_weight(self, weight: int, row: int) -> None:
        """One that weighs nothing neither opens the circuit nor ends a row."""
        circuit = trip(**RATE)
        count(circuit, "F")
        assert end(circuit, FAILED, of_kind=Failure(weight=weight)) is (row == 2)
        assert circuit.row == 1 + row

    def test_several_that_are_reported_together(self) -> None:
        """Each counts."""
        assert end(trip(**RATE), FAILED, times=3)

    def test_a_slow_success_ends_it(self) -> None:
        """Where a rate looks at slow calls for themselves."""
        circuit = trip(**RATE, **SLOW)
        assert count(circuit, "fFsFF") == [False] * 5
        assert circuit.row == 2

    def test_successes_stay_out_of_a_window_of_failures(self) -> None:
        """They end the row, and that is all."""
        circuit = trip(window_seconds=10.0)
        count(circuit, "SFS")
        assert (circuit.tally.calls, circuit.row, circuit.counts_successes) == (1, 0, False)


class TestCallsThatStillRun:
    """Those that have been slow for too long count before they end, and once."""

    def test_it_opens_while_they_run(self) -> None:
        circuit = trip(**RATE, slow_call_duration=1.0)
        assert [overdue(circuit, call) for call in (1, 2, 3)] == [False, False, True]

    def test_their_end_adds_nothing(self) -> None:
        circuit = trip(**RATE, slow_call_duration=1.0)
        overdue(circuit, 1)
        assert not end(circuit, FAILED, call=1)
        assert (circuit.row, circuit.late) == (1, {})

    def test_one_that_says_nothing_is_taken_back(self) -> None:
        """Of this row; one of a row that is over has gone with that."""
        circuit = trip(**RATE, slow_call_duration=1.0)
        overdue(circuit, 1)
        count(circuit, "SF")
        overdue(circuit, 2)
        assert circuit.row == 2
        circuit.take_back(1)
        assert circuit.row == 2
        circuit.take_back(2)
        assert (circuit.row, circuit.late) == (1, {})
        overdue(circuit, 3)
        circuit.take_all_back()
        assert (circuit.row, circuit.late) == (1, {})

    def test_one_that_was_only_slow(self) -> None:
        """It is a failure, or a success, when it ends."""
        circuit = trip(**RATE, **SLOW)
        count(circuit, "FF")
        assert not overdue(circuit, 1, failed=False)
        assert circuit.row == 2
        assert end(circuit, FAILED, call=1)
        overdue(circuit, 2, failed=False)
        end(circuit, SUCCEEDED, call=2)
        assert circuit.row == 0


class TestSlack:
    """The smaller of what the window and the row can take."""

    @pytest.mark.parametrize(
        ("policy", "text", "slack"),
        [
            (RATE, "", 3),
            (RATE, "FF", 1),
            (RATE, "FFS", 3),
            ({**RATE, "failures_in_a_row": 20}, "", 10),
            ({"window_calls": 9, "failure_threshold": 2}, "", 2),
        ],
    )
    def test_by_hand(self, policy: dict[str, Any], text: str, slack: int) -> None:
        circuit = trip(**policy)
        count(circuit, text)
        assert circuit.slack() == slack

    def test_a_lower_limit_than_the_row_has_reached(self) -> None:
        """The next failure opens it, and a success ends that."""
        circuit = trip(**RATE, failures_in_a_row=9)
        count(circuit, "FFFF")
        circuit = reconfigured(circuit, Policy(**RATE, failures_in_a_row=2), 0.0)
        assert circuit.slack() == 1
        assert count(circuit.copy(), "F") == [True]
        assert count(circuit, "SF") == [False, False]


class TestOtherPolicies:
    """What is left of a row by another policy."""

    def test_another_window_keeps_it(self) -> None:
        """And the calls of it that still run."""
        circuit = trip(**RATE, slow_call_duration=1.0)
        count(circuit, "F")
        overdue(circuit, 1)
        other = reconfigured(circuit, Policy(window_seconds=9.0, failures_in_a_row=5), 0.0)
        assert isinstance(other, RowTrip)
        assert (other.row, list(other.late)) == (2, [1])
        (cancelled := other.copy()).take_all_back()
        other.take_back(1)
        assert (other.row, cancelled.row, circuit.row) == (1, 1, 2)

    def test_failures_in_a_row_without_a_window_are_one(self) -> None:
        """Whether they have ended or not."""
        circuit = trip_by(Policy(5, slow_call_duration=1.0))
        count(circuit, "FF")
        overdue(circuit, 1)
        other = reconfigured(circuit, Policy(**RATE, failures_in_a_row=5), 0.0)
        assert isinstance(other, RowTrip)
        assert (other.row, list(other.late)) == (3, [1])

    def test_of_a_window_nobody_knows_the_order(self) -> None:
        """The row begins when it is first looked at."""
        circuit = trip_by(Policy(**RATE))
        count(circuit, "FF")
        assert type(circuit) is Trip
        other = reconfigured(circuit, Policy(**RATE, failures_in_a_row=3), 0.0)
        assert count(other, "FF") == [False, False]
        assert other.tally.failures == 4
        assert type(reconfigured(other, Policy(**RATE), 0.0)) is Trip


def test_only_circuits_that_have_the_field_remember_it() -> None:
    """All others have what they had."""
    for policy in (Policy(), Policy(**RATE)):
        assert type(Machine(policy).trip) is Trip
    assert not hasattr(Machine(Policy()).trip, "__dict__")


def test_a_recording_knows_the_row() -> None:
    """A machine that is read from one goes on with it; not with that of another policy."""
    machine = Machine(Policy(**RATE, failures_in_a_row=3, slow_call_duration=1.0))
    machine.apply(Settle(0, 0, FAILED, 1.0))
    machine.apply(Overdue(0, 7, 2.0, 1.0, failed=True))
    start = {"format": FORMAT, "circuit": "x", "clock_zero": 1e9, "policy": plain(machine.policy)}
    _, _, read = read_start(json.dumps({**start, "machine": plain(machine)}))
    assert isinstance(read.trip, RowTrip)
    assert (read.trip.row, list(read.trip.late)) == (2, [7])
    read.apply(Settle(0, 0, FAILED, 3.0, "down"))
    assert (read.state.value, read.last_failure) == ("open", "down")
    start["policy"] = plain(Policy(**RATE))
    with pytest.raises(ValueError, match="trip does not follow from the policy"):
        read_start(json.dumps({**start, "machine": plain(machine)}))
