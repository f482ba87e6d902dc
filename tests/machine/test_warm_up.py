"""The time in which a closed circuit counts, but does not open by itself."""

from __future__ import annotations

import math
from typing import Any

import pytest

from supervisor.machine import (
    Acquire,
    CircuitState,
    Failed,
    Force,
    Grant,
    Machine,
    Overdue,
    Reconfigure,
    Reset,
    Settle,
    SharedMachine,
)
from supervisor.machine.slack import UNLIMITED
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
METRICS_ONLY, FORCED_OPEN = CircuitState.METRICS_ONLY, CircuitState.FORCED_OPEN
LAST = math.nextafter(110.0, 0.0)
"""The last moment of a warm-up that has begun at 100."""


def machine(begin: float = 100.0, **policy: Any) -> Machine:
    """One that opens at the second failure, but not in its first ten seconds."""
    circuit = Machine(Policy(**{"failure_threshold": 2, "warm_up": 10.0, **policy}))
    circuit.begin(begin)
    return circuit


def end(
    circuit: Machine, outcome: str, at: float | None, of_kind: Failure = PLAIN_FAILURE, **more: Any
) -> None:
    circuit.apply(Settle(circuit.period, 0, Outcome(outcome), at, of_kind=of_kind, **more))


def fail(circuit: Machine, at: float | None, times: int = 1, **more: Any) -> CircuitState:
    for _ in range(times):
        end(circuit, "failed", at, **more)
    return circuit.would_be


class TestItsTime:
    """From when to when it warms up."""

    def test_failures_count_and_the_first_one_afterwards_opens_it(self) -> None:
        """At its very end, and not a moment before."""
        circuit = machine()
        assert fail(circuit, 100.0, times=5) is CLOSED
        assert fail(circuit, LAST) is CLOSED
        assert circuit.failure_count == 6
        circuit.advance(1000.0)
        assert circuit.state is CLOSED
        assert fail(machine(), 110.0, times=2) is OPEN
        assert fail(circuit, 1000.0) is OPEN

    def test_the_time_of_the_failure_decides(self) -> None:
        """Not that of the turn; and where it has none, the latest time that is known."""
        circuit = machine()
        circuit.apply(Settle(0, 0, Outcome.IGNORED, 120.0))
        assert fail(circuit, 109.0, times=3) is CLOSED
        assert fail(circuit, None) is OPEN

    def test_a_success_ends_the_row_as_always(self) -> None:
        circuit = machine()
        fail(circuit, 101.0, times=5)
        end(circuit, "succeeded", 102.0)
        assert fail(circuit, 110.0) is CLOSED

    def test_of_a_circuit_without_one(self) -> None:
        """Also if it has been open till later than it is closed again."""
        circuit = machine(warm_up=None)
        fail(circuit, 100.0, times=2)
        circuit.apply(Reset(101.0))
        assert fail(circuit, 102.0, times=2) is OPEN

    @pytest.mark.parametrize("state", ["forced_closed", "disabled", "metrics_only", "forced_open"])
    def test_it_begins_anew_whenever_it_is_closed_by_hand(self, state: str) -> None:
        """By a release, by a reset, and where it only measures."""
        circuit = machine()
        circuit.apply(Force(CircuitState(state), 200.0))
        if state == "metrics_only":
            assert fail(circuit, 209.0, times=9) is CLOSED
        circuit.apply(Force(CLOSED, 300.0))
        assert fail(circuit, 309.0, times=9) is CLOSED
        circuit.apply(Reset(400.0))
        assert fail(circuit, 409.0, times=9) is CLOSED
        assert fail(circuit, 410.0) is OPEN
        circuit.apply(Reset(411.0))
        assert fail(circuit, 420.0, times=9) is CLOSED

    def test_not_when_probes_have_closed_it(self) -> None:
        """Nor if it was to go on beyond that."""
        circuit = machine(recovery_timeout=1.0)
        fail(circuit, 101.0, of_kind=Failure(retry_after=2.0))
        answer = circuit.apply(Acquire(1, 103.0))
        assert isinstance(answer, Grant)
        circuit.apply(Settle(answer.period, 1, Outcome.SUCCEEDED, 104.0))
        assert circuit.state is CLOSED
        assert fail(circuit, 105.0, times=2) is OPEN

    def test_a_failed_probe_opens_it(self) -> None:
        """It is not closed then."""
        circuit = machine()
        circuit.apply(Force(HALF_OPEN, 101.0))
        circuit.apply(Acquire(1, 101.0))
        circuit.apply(Settle(circuit.period, 1, Outcome.FAILED, 102.0))
        assert circuit.state is OPEN

    @pytest.mark.parametrize(
        ("warm_up", "ends"), [(20.0, 120.0), (7.0, 107.0), (2.0, 105.0), (None, 105.0)]
    )
    def test_by_another_policy(self, warm_up: float | None, ends: float) -> None:
        """It is as long as that one says."""
        circuit = machine()
        fail(circuit, 104.0)
        circuit.apply(Reconfigure(Policy(2, warm_up=warm_up), 105.0))
        for at in (105.0, 106.0, 107.0, 108.0, 119.0, 120.0):
            assert fail(circuit, at) is (CLOSED if at < ends else OPEN)
            if at >= ends:
                break

    def test_another_policy_begins_none(self) -> None:
        """Neither in a circuit that had none, nor in one whose own is over."""
        for before in (None, 1.0):
            circuit = machine(warm_up=before)
            circuit.apply(Reconfigure(Policy(2, warm_up=50.0), 105.0))
            assert fail(circuit, 106.0, times=2) is OPEN

    def test_on_another_clock_it_has_as_much_left(self) -> None:
        circuit = machine()
        fail(circuit, 104.0, times=2)
        twin = circuit.without_callers().moved(1000.0)
        assert fail(twin, 1109.0) is CLOSED
        assert fail(twin, 1110.0) is OPEN


class TestWhatOpensItAllTheSame:
    """And what does not."""

    def test_a_server_that_asks_to_wait(self) -> None:
        circuit = machine()
        assert fail(circuit, 101.0, of_kind=Failure(retry_after=7.0)) is OPEN
        assert circuit.retry_after(101.0) == 30.0

    @pytest.mark.parametrize(
        "of_kind",
        [Failure("busy", threshold=1), Failure(weight=100), Failure(recovery_timeout=5.0)],
    )
    def test_no_other_kind_of_failure(self, of_kind: Failure) -> None:
        circuit = machine()
        assert fail(circuit, 101.0, of_kind=of_kind) is CLOSED

    def test_no_rate_no_row_and_no_slow_call(self) -> None:
        """Each does afterwards."""
        window: dict[str, Any] = {"window_calls": 20, "minimum_calls": 2}
        assert fail(machine(**window, failure_rate=0.5), 101.0, times=5) is CLOSED
        assert fail(machine(**window, failures_in_a_row=1), 101.0, times=5) is CLOSED
        circuit = machine(slow_call_duration=1.0)
        for call, state in enumerate([CLOSED] * 3 + [OPEN]):
            at = 101.0 if state is CLOSED else 110.0
            circuit.apply(Overdue(0, call + 1, at, 1.0, failed=True))
            assert circuit.state is state

    def test_a_success_opens_it_when_the_rate_has_been_reached_meanwhile(self) -> None:
        circuit = machine(window_calls=20, failure_rate=0.5, minimum_calls=2)
        fail(circuit, 101.0, times=5)
        end(circuit, "succeeded", LAST)
        assert circuit.state is CLOSED
        end(circuit, "succeeded", 110.0)
        assert (circuit.state, circuit.last_failure) == (OPEN, "5 of 7 calls failed")


class TestLease:
    """What callers may do without a question."""

    def test_everything_up_to_its_last_moment(self) -> None:
        circuit = machine()
        fail(circuit, 101.0, times=5)
        lease = circuit.lease()
        assert (lease.slack, lease.expires, lease.any_outcome) == (UNLIMITED, LAST, False)
        circuit.advance(110.0)
        lease = circuit.lease()
        assert (lease.slack, lease.expires, lease.any_outcome) == (1, math.inf, False)

    def test_with_a_rate_every_outcome_is_told(self) -> None:
        """Since a success may open it when it is over, whatever has been known before."""
        circuit = machine(window_calls=20, failure_rate=0.5, minimum_calls=1)
        assert circuit.lease().any_outcome
        fail(circuit, 101.0)
        end(circuit, "succeeded", 101.0, times=10)
        assert circuit.lease().any_outcome
        circuit.advance(110.0)
        assert not circuit.lease().any_outcome

    def test_a_throttle_refuses_in_it_too(self) -> None:
        circuit = machine(throttle=1.5, throttle_seconds=5.0)
        assert circuit.lease().slack < UNLIMITED
        fail(circuit, 101.0, times=5)
        assert circuit.lease().slack == 0


class TestFleet:
    """A shared circuit that warms up."""

    def test_its_failures_are_told_only_afterwards(self) -> None:
        """Where the fleet counts them together: who has just begun must not open it for all."""
        circuit = SharedMachine(Policy(9, warm_up=10.0))
        circuit.terms.counts = True
        circuit.warm_up(100.0)
        fail(circuit, 101.0, times=3)
        assert circuit.transitions == []
        fail(circuit, 110.0)
        (told,) = circuit.transitions
        assert isinstance(told, Failed)
        assert told.failures == 1
