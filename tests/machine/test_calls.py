"""What an ended or an overdue call reports: each rule, and what a machine makes of it."""

from __future__ import annotations

import math
import random

import pytest

from supervisor.machine.calls import is_slow, overdue, settled, slow_from
from supervisor.machine.machine import Machine
from supervisor.machine.messages import (
    NO_PROBE,
    UNCOUNTED,
    Acquire,
    CircuitState,
    Force,
    Grant,
    Overdue,
    Refusal,
    Settle,
)
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import Policy

SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
IGNORED, CANCELLED = Outcome.IGNORED, Outcome.CANCELLED

NO_LIMIT = Policy()
LIMIT = Policy(slow_call_duration=5)
RATE = Policy(slow_call_duration=5, slow_call_rate=0.5, window_calls=10)

PERIOD, CALL, PROBE = 3, 17, 8
BUSY = Failure("busy", weight=2, threshold=4, retry_after=60)

every_grant = pytest.mark.parametrize("probe", [NO_PROBE, PROBE, UNCOUNTED])
nothing = pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])


def grant(policy: Policy = LIMIT, probe: int = NO_PROBE, retry: bool = False) -> Grant:
    return Grant(PERIOD, policy, probe, retry)


class TestSlowFrom:
    """The time from which a call that still runs is overdue."""

    @pytest.mark.parametrize("policy", [LIMIT, RATE])
    def test_seconds_after_it_began(self, policy: Policy) -> None:
        """As many as `slow_call_duration`, with or without a rate."""
        assert slow_from(grant(policy), 100.0) == 105.0
        assert slow_from(grant(policy, retry=True), 100.0) == 105.0

    def test_never_without_a_limit(self) -> None:
        """A call may run for as long as it likes."""
        assert slow_from(grant(NO_LIMIT), 100.0) == math.inf

    @pytest.mark.parametrize("probe", [PROBE, UNCOUNTED])
    def test_never_for_some(self, probe: int) -> None:
        """A probe has a limit of its own; what counts for nothing is not looked at."""
        assert slow_from(grant(probe=probe), 100.0) == math.inf


class TestIsSlow:
    """Whether a call is slow at some time."""

    @every_grant
    def test_from_the_limit_on(self, probe: int) -> None:
        """Not just before, and just then; probes as well."""
        ends = (100.0, math.nextafter(105.0, 0.0), 105.0, 1e9)
        assert [is_slow(grant(probe=probe), 100.0, at) for at in ends] == [False, False, True, True]

    def test_never_without_a_limit(self) -> None:
        """However long it takes."""
        assert not is_slow(grant(NO_LIMIT), 0.0, 1e9)

    def test_a_call_is_slow_just_when_it_is_overdue(self) -> None:
        """Rounding makes no difference between the two: neither a bit sooner, nor a bit later."""
        chance = random.Random(1)
        one_by_difference = False
        for _ in range(1000):
            began, limit = chance.uniform(0, 1e6), chance.uniform(0.01, 10)
            given = grant(Policy(slow_call_duration=limit))
            at = slow_from(given, began)
            assert is_slow(given, began, at)
            assert not is_slow(given, began, math.nextafter(at, 0.0))
            one_by_difference |= at - began < limit
        assert one_by_difference  # so that one might have looked at the duration instead


class TestOverdue:
    """What a call that still runs reports when it is slow."""

    def test_a_failure_without_a_rate(self) -> None:
        """With the time at which it became slow, not that at which somebody noticed."""
        assert overdue(grant(), CALL, 100.0) == Overdue(PERIOD, CALL, 105.0, 5.0, failed=True)

    def test_slow_with_a_rate(self) -> None:
        """The rate looks at slow calls for themselves."""
        assert overdue(grant(RATE), CALL, 100.0) == Overdue(PERIOD, CALL, 105.0, 5.0, failed=False)


class TestNotSlow:
    """A call that ends in time, or whose time nobody looks at."""

    @pytest.mark.parametrize("policy", [NO_LIMIT, LIMIT, RATE])
    @pytest.mark.parametrize("outcome", [SUCCEEDED, IGNORED, CANCELLED])
    def test_an_outcome(self, policy: Policy, outcome: Outcome) -> None:
        """It is reported as it is, with nothing besides."""
        report = settled(grant(policy), outcome, 104.0, began=100.0)
        assert report == Settle(PERIOD, NO_PROBE, outcome, 104.0)

    @pytest.mark.parametrize("policy", [NO_LIMIT, LIMIT, RATE])
    @pytest.mark.parametrize("kind", [PLAIN_FAILURE, BUSY])
    def test_a_failure(self, policy: Policy, kind: Failure) -> None:
        """It is reported with its kind, and with its error as text."""
        report = settled(grant(policy), kind, 104.0, "Down: down", began=100.0)
        assert report == Settle(PERIOD, NO_PROBE, FAILED, 104.0, "Down: down", of_kind=kind)

    @every_grant
    @pytest.mark.parametrize("retry", [False, True])
    def test_the_grant(self, probe: int, retry: bool) -> None:
        """A report says what its call was admitted by: as a probe, as a retry, in which period."""
        report = settled(grant(probe=probe, retry=retry), SUCCEEDED, 104.0, began=100.0)
        assert report == Settle(PERIOD, probe, SUCCEEDED, 104.0, retry=retry)

    @pytest.mark.parametrize(("at", "began"), [(None, 100.0), (9e9, None), (None, None)])
    def test_a_call_whose_time_is_not_known(self, at: float | None, began: float | None) -> None:
        """It is not taken for slow."""
        assert settled(grant(), SUCCEEDED, at, began=began) == Settle(
            PERIOD, NO_PROBE, SUCCEEDED, at
        )


class TestSlowAtItsEnd:
    """A call that has not been reported as overdue, such as a probe."""

    @every_grant
    def test_a_success_without_a_rate(self, probe: int) -> None:
        """It has failed, and says how long it took."""
        report = settled(grant(probe=probe), SUCCEEDED, 107.5, began=100.0)
        assert report == Settle(PERIOD, probe, FAILED, 107.5, "took 7.5 s", slow=True)

    @every_grant
    def test_a_success_with_a_rate(self, probe: int) -> None:
        """It is slow, and no failure."""
        report = settled(grant(RATE, probe), SUCCEEDED, 107.5, began=100.0)
        assert report == Settle(PERIOD, probe, SUCCEEDED, 107.5, "took 7.5 s", slow=True)

    @pytest.mark.parametrize("policy", [LIMIT, RATE])
    def test_a_failure(self, policy: Policy) -> None:
        """It is slow as well; its kind and its error are worth more than its time."""
        report = settled(grant(policy), BUSY, 107.5, "Busy: later", began=100.0)
        expected = Settle(PERIOD, NO_PROBE, FAILED, 107.5, "Busy: later", of_kind=BUSY, slow=True)
        assert report == expected

    @nothing
    @pytest.mark.parametrize("policy", [LIMIT, RATE])
    def test_what_counts_as_nothing(self, policy: Policy, outcome: Outcome) -> None:
        """It is not even slow: it says nothing about the dependency."""
        report = settled(grant(policy), outcome, 107.5, began=100.0)
        assert report == Settle(PERIOD, NO_PROBE, outcome, 107.5)

    def test_the_limit_is_that_of_its_grant(self) -> None:
        """Of two calls at the same time, each goes by the policy that it was admitted by."""
        strict, patient = grant(LIMIT), grant(Policy(slow_call_duration=50))
        outcomes = [
            settled(each, SUCCEEDED, 107.5, began=100.0).outcome for each in (strict, patient)
        ]
        assert outcomes == [FAILED, SUCCEEDED]
        assert (slow_from(strict, 100.0), slow_from(patient, 100.0)) == (105.0, 150.0)


class TestOverdueBefore:
    """A call that has been reported as overdue: its end says which call it is."""

    def test_a_success_without_a_rate(self) -> None:
        """It has failed still, but is not counted as slow again."""
        report = settled(grant(), SUCCEEDED, 107.5, began=100.0, told=CALL)
        assert report == Settle(PERIOD, NO_PROBE, FAILED, 107.5, "took 7.5 s", call=CALL)

    def test_a_success_with_a_rate(self) -> None:
        """It is a success, which has been counted as slow."""
        report = settled(grant(RATE), SUCCEEDED, 107.5, began=100.0, told=CALL)
        assert report == Settle(PERIOD, NO_PROBE, SUCCEEDED, 107.5, "took 7.5 s", call=CALL)

    @pytest.mark.parametrize("policy", [LIMIT, RATE])
    def test_a_failure(self, policy: Policy) -> None:
        """Its kind and its error are reported all the same: they may ask for more."""
        report = settled(grant(policy), BUSY, 107.5, "Busy: later", began=100.0, told=CALL)
        expected = Settle(PERIOD, NO_PROBE, FAILED, 107.5, "Busy: later", of_kind=BUSY, call=CALL)
        assert report == expected

    @nothing
    @pytest.mark.parametrize("policy", [LIMIT, RATE])
    def test_what_counts_as_nothing(self, policy: Policy, outcome: Outcome) -> None:
        """It still says which call it is, so that nobody waits for its end."""
        report = settled(grant(policy), outcome, 107.5, began=100.0, told=CALL)
        assert report == Settle(PERIOD, NO_PROBE, outcome, 107.5, call=CALL)

    @pytest.mark.parametrize(("at", "began"), [(None, 100.0), (107.5, None), (None, None)])
    def test_a_time_that_is_not_known(self, at: float | None, began: float | None) -> None:
        """That it was slow is known all the same."""
        report = settled(grant(), SUCCEEDED, at, began=began, told=CALL)
        assert report == Settle(PERIOD, NO_PROBE, FAILED, at, "was slow", call=CALL)


class TestOnAMachine:
    """What comes of these reports, where one fact is told in two steps."""

    def run(self, machine: Machine, call: int, judgement: Failure | Outcome = SUCCEEDED) -> None:
        """Let a call begin, be overdue after 5 s, and end after 7 s."""
        began = machine.latest
        admitted = machine.apply(Acquire(call, began))
        assert isinstance(admitted, Grant)
        if slow_from(admitted, began) < math.inf:
            machine.apply(overdue(admitted, call, began))
            machine.apply(settled(admitted, judgement, began + 7, began=began, told=call))
        else:
            machine.apply(settled(admitted, judgement, began + 7, began=began))

    def test_a_slow_success_is_no_request_that_was_accepted(self) -> None:
        """A throttle sees a failure, as it does if the call is slow only when it ends."""
        machine = Machine(Policy(throttle=1.01, slow_call_duration=5, failure_threshold=100))
        for call in range(1, 4):
            self.run(machine, call)
        assert machine.failed == 3
        # Three requests, of which none was accepted: 1 - 3 / 4 of the calls are admitted.
        answers = [machine.copy().apply(Acquire(9, 30.0, draw)) for draw in (0.2499, 0.25)]
        assert [isinstance(answer, Refusal) for answer in answers] == [False, True]

    def test_a_slow_success_counts_once(self) -> None:
        """It neither counts twice nor ends the failures in a row, of whatever kind."""
        busy = Failure("busy", threshold=3)
        machine = Machine(Policy(failure_threshold=9, slow_call_duration=5))
        self.run(machine, 1, busy)
        self.run(machine, 2)
        self.run(machine, 3, busy)
        assert (machine.state, machine.failure_count) == (CircuitState.CLOSED, 3)
        self.run(machine, 4, busy)
        assert machine.state is CircuitState.OPEN

    def test_with_a_rate_it_is_accepted(self) -> None:
        """A throttle does not look at how long a success took."""
        machine = Machine(
            Policy(throttle=1.01, slow_call_duration=5, slow_call_rate=1, window_calls=12)
        )
        for call in range(1, 4):
            self.run(machine, call)
        assert (machine.succeeded, machine.failure_count) == (3, 0)
        assert isinstance(machine.apply(Acquire(9, 30.0, 0.9999)), Grant)

    @pytest.mark.parametrize(
        ("state", "failures"), [(CircuitState.FORCED_CLOSED, 2), (CircuitState.DISABLED, 0)]
    )
    def test_by_hand(self, state: CircuitState, failures: int) -> None:
        """Slow calls count as other failures do in that state, and never open it."""
        machine = Machine(Policy(failure_threshold=2, slow_call_duration=5))
        machine.apply(Force(state, 0.0))
        self.run(machine, 1)
        self.run(machine, 2)
        assert (machine.state, machine.failure_count, machine.failed) == (state, failures, 2)

    def test_what_would_have_been_refused(self) -> None:
        """In METRICS_ONLY, it is in the figures as a failure, and counts for nothing."""
        machine = Machine(Policy(failure_threshold=1, slow_call_duration=5))
        machine.apply(Force(CircuitState.METRICS_ONLY, 0.0))
        self.run(machine, 1)
        assert machine.would_be is CircuitState.OPEN
        self.run(machine, 2)
        assert (machine.failed, machine.failure_count, machine.times_opened) == (2, 1, 1)
