"""The state machine under every policy: each rule of how it behaves, in one test of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from supervisor.machine.machine import Machine, replay
from supervisor.machine.messages import (
    NO_PROBE,
    UNCOUNTED,
    Acquire,
    CircuitState,
    Force,
    Grant,
    Overdue,
    Reconfigure,
    Reconfigured,
    Refusal,
    Reset,
    Retry,
    Settle,
    Transition,
    WaitFor,
    Withdraw,
)
from supervisor.machine.slack import UNLIMITED
from supervisor.policy import Policy
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.recording.format import plain

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, FORCED_CLOSED = CircuitState.FORCED_OPEN, CircuitState.FORCED_CLOSED
DISABLED, METRICS_ONLY = CircuitState.DISABLED, CircuitState.METRICS_ONLY
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
IGNORED, CANCELLED = Outcome.IGNORED, Outcome.CANCELLED

SLOW = {
    "window_calls": 4,
    "minimum_calls": 2,
    "failure_threshold": 4,
    "slow_call_duration": 1,
    "slow_call_rate": 0.5,
}
"""A policy by which two slow calls among four open the circuit."""

neutral = pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])


def machine(**policy: Any) -> Machine:
    """A machine that opens at the second failure, for ten seconds."""
    return Machine(Policy(**{"failure_threshold": 2, "recovery_timeout": 10, **policy}))


def settle(
    circuit: Machine,
    outcome: Outcome,
    at: float | None = 0.0,
    grant: Grant | None = None,
    **report: Any,
) -> None:
    """Report a call of this period, or that of a grant."""
    grant = grant or Grant(circuit.period, circuit.policy)
    circuit.apply(
        Settle(grant.period, grant.probe, outcome, at, **{"retry": grant.retry, **report})
    )


def fail(circuit: Machine, at: float = 0.0, of_kind: Failure = PLAIN_FAILURE) -> None:
    settle(circuit, FAILED, at, failure="OSError: down", of_kind=of_kind)


def opened(at: float = 0.0, of_kind: Failure = PLAIN_FAILURE, **policy: Any) -> Machine:
    circuit = machine(**{"failure_threshold": 1, **policy})
    fail(circuit, at, of_kind)
    assert circuit.state is OPEN
    return circuit


def half_opened(**policy: Any) -> Machine:
    """A machine that has become half-open at the time 10."""
    circuit = opened(**policy)
    circuit.advance(10.0)
    assert circuit.state is HALF_OPEN
    return circuit


def ramping(**policy: Any) -> Machine:
    """A machine that has been closed at the time 20 by a probe, and admits a tenth of its calls."""
    circuit = half_opened(**{"ramp": 10, "ramp_start": 0.1, **policy})
    settle(circuit, SUCCEEDED, 20.0, acquire(circuit, 1, 10.0))
    assert circuit.state is CLOSED
    return circuit


def acquire(circuit: Machine, permit: int, at: float, **request: Any) -> Grant:
    answer = circuit.apply(Acquire(permit, at, **request))
    assert isinstance(answer, Grant)
    circuit.advance(at)  # a probe begins with the end of the turn
    return answer


def refused(circuit: Machine, permit: int, at: float, **request: Any) -> Refusal:
    answer = circuit.apply(Acquire(permit, at, **request))
    assert isinstance(answer, Refusal)
    return answer


def wait(
    circuit: Machine,
    permit: int,
    at: float,
    until: float = math.inf,
    wait_for: WaitFor = "closed",
    **request: Any,
) -> None:
    """Ask, and wait for the answer."""
    assert (
        circuit.apply(Acquire(permit, at, wait_until=until, wait_for=wait_for, **request)) is None
    )
    assert permit in circuit.waiting


def released(circuit: Machine) -> list[tuple[int, str]]:
    """Who has waited, and why they are refused, or that they are admitted."""
    answers, circuit.released = circuit.released, ()
    return [
        (permit, answer.reason if isinstance(answer, Refusal) else "admitted")
        for permit, answer in answers
    ]


def changes(circuit: Machine) -> list[tuple[CircuitState, float]]:
    """The states entered, and when; told once."""
    entered = [(c.to_state, c.at) for c in circuit.transitions if isinstance(c, Transition)]
    circuit.transitions.clear()
    return entered


class TestTally:
    """What is counted while the circuit is closed."""

    def test_in_a_row(self) -> None:
        """Times and weight multiply; a success sets it to zero."""
        circuit = machine(failure_threshold=10)
        settle(circuit, FAILED, times=2, of_kind=Failure(weight=3))
        assert circuit.failure_count == 6
        settle(circuit, SUCCEEDED)
        assert circuit.failure_count == 0

    def test_the_last_calls(self) -> None:
        """Failures among them, whatever came between."""
        circuit = machine(window_calls=3, failure_threshold=3)
        for outcome in (FAILED, FAILED, SUCCEEDED, FAILED):
            settle(circuit, outcome)
        assert (circuit.state, circuit.failure_count) == (CLOSED, 2)

    def test_the_last_seconds(self) -> None:
        """The failures of the present and the nine steps before it, also if only time passes."""
        circuit = machine(window_seconds=10, failure_threshold=5)
        fail(circuit, 0.9)
        fail(circuit, 5.0)
        counts = []
        for now in (9.9, 10.0, 14.9, 15.0):
            circuit.advance(now)
            counts.append(circuit.failure_count)
        assert counts == [2, 1, 1, 0]

    @neutral
    @pytest.mark.parametrize("policy", [{}, {"window_calls": 5}, SLOW])
    def test_an_outcome_that_is_neutral(self, policy: dict[str, Any], outcome: Outcome) -> None:
        """Neither a call nor a failure nor slow; only a figure."""
        circuit = machine(**policy)
        fail(circuit)
        before = plain(circuit.trip)
        settle(circuit, outcome, slow=True, times=7)
        assert plain(circuit.trip) == before
        assert circuit.ignored + circuit.cancelled == 7

    def test_a_failed_probe_is_one_failure_more(self) -> None:
        """Whatever its weight; successes of probes add nothing."""
        circuit = half_opened(success_threshold=2, window_calls=5)
        settle(circuit, SUCCEEDED, 11.0, acquire(circuit, 1, 10.0))
        settle(circuit, FAILED, 12.0, acquire(circuit, 2, 10.0), of_kind=Failure(weight=4))
        assert (circuit.state, circuit.failure_count) == (OPEN, 2)

    def test_a_probe_that_hangs_is_one_failure_more(self) -> None:
        """At the time at which it has run too long."""
        circuit = half_opened(probe_timeout=5, window_seconds=20)
        acquire(circuit, 1, 10.0)
        circuit.advance(15.0)
        circuit.advance(19.9)
        assert circuit.failure_count == 2
        circuit.advance(20.0)  # the first one is too old
        assert circuit.failure_count == 1

    def test_no_verdict_is_one_failure_more(self) -> None:
        """Also where failures would not have been enough."""
        circuit = half_opened(half_open_timeout=5, probes=9, probe_failure_rate=1)
        acquire(circuit, 1, 10.0)
        circuit.advance(15.0)
        assert circuit.failure_count == 2

    @pytest.mark.parametrize(
        "close",
        [
            lambda circuit: circuit.apply(Reset(30.0)),
            lambda circuit: settle(circuit, SUCCEEDED, 11.0, acquire(circuit, 1, 10.0)),
            lambda circuit: [circuit.apply(Force(s, 30.0)) for s in (FORCED_OPEN, CLOSED)],
        ],
    )
    def test_it_is_emptied_when_the_circuit_closes(self, close: Callable[[Machine], Any]) -> None:
        """By a probe, by a reset, or by release."""
        circuit = half_opened(window_seconds=1000)
        assert circuit.failure_count == 1
        close(circuit)
        assert (circuit.state, circuit.failure_count) == (CLOSED, 0)

    def test_a_transition_tells_the_count_of_its_time(self) -> None:
        """However late it is noticed."""
        late, early = (opened(at=1.0, window_seconds=5) for _ in range(2))
        early.advance(8.0)
        for circuit in (late, early):
            circuit.advance(50.0)
        assert late.transitions == early.transitions
        assert late.transitions[-1].failure_count == 0  # type: ignore[union-attr]


class TestOpening:
    """When a closed circuit opens."""

    def test_by_a_share_of_failures(self) -> None:
        """Also by a success, which fills the window up, and then with a summary."""
        circuit = machine(window_calls=10, failure_rate=0.5, minimum_calls=4, failure_threshold=1)
        for outcome in (FAILED, FAILED, SUCCEEDED):
            settle(circuit, outcome, 1.0)
        assert circuit.state is CLOSED
        settle(circuit, SUCCEEDED, 2.0)
        assert changes(circuit) == [(OPEN, 2.0)]
        assert circuit.last_failure == "2 of 4 calls failed"

    def test_by_a_share_of_slow_calls(self) -> None:
        """Slow successes are no failures."""
        circuit = machine(**SLOW)
        for _ in range(2):
            settle(circuit, SUCCEEDED, 1.0, slow=True)
        assert (circuit.state, circuit.failure_count) == (OPEN, 0)
        assert circuit.last_failure == "2 of 2 calls were slow"

    def test_by_a_kind_of_failure(self) -> None:
        """At its own threshold."""
        circuit = machine(failure_threshold=9)
        for _ in range(3):
            fail(circuit, of_kind=Failure("rate limit", threshold=3))
        assert (circuit.state, circuit.failure_count) == (OPEN, 3)

    def test_by_what_the_dependency_asks_for(self) -> None:
        """At the first failure that says so, and for that long."""
        circuit = machine(failure_threshold=9)
        fail(circuit, 1.0, Failure(weight=0, retry_after=90))
        assert (circuit.state, circuit.until, circuit.failure_count) == (OPEN, 91.0, 0)

    def test_the_failure_that_opens_it_is_told(self) -> None:
        """Not a summary."""
        circuit = machine(window_calls=2, failure_rate=1, minimum_calls=2)
        fail(circuit)
        fail(circuit)
        assert circuit.last_failure == "OSError: down"


class TestOverdue:
    """Calls that count as slow before they end."""

    def test_slow_calls_that_still_run_open_it(self) -> None:
        """At the time at which they have become slow, with a text that says so."""
        circuit = machine(**SLOW)
        circuit.apply(Overdue(0, 1, 5.0, 1.0, failed=False))
        circuit.apply(Overdue(0, 2, 6.0, 1.0, failed=False))
        assert changes(circuit) == [(OPEN, 6.0)]
        assert circuit.last_failure == "still running after 1 s"

    def test_or_they_count_as_failures(self) -> None:
        """One each; their end counts for nothing more."""
        circuit = machine(slow_call_duration=1.5)
        circuit.apply(Overdue(0, 1, 5.0, 1.5, failed=True))
        settle(circuit, FAILED, 6.0, call=1)
        assert (circuit.state, circuit.failure_count, circuit.failed) == (CLOSED, 1, 1)
        circuit.apply(Overdue(0, 2, 7.0, 1.5, failed=True))
        assert (circuit.state, circuit.last_failure) == (OPEN, "still running after 1.5 s")

    def test_a_slow_call_that_fails_is_one_call(self) -> None:
        """Its entry is changed, and the share of failures looked at."""
        circuit = machine(**{**SLOW, "slow_call_rate": 1, "failure_rate": 0.5})
        settle(circuit, SUCCEEDED, 1.0)
        circuit.apply(Overdue(0, 1, 5.0, 1.0, failed=False))
        settle(circuit, FAILED, 6.0, call=1, of_kind=Failure(weight=5))
        assert (circuit.state, circuit.failure_count) == (OPEN, 1)

    @neutral
    def test_a_slow_call_that_is_neutral_is_taken_back(self, outcome: Outcome) -> None:
        """And nothing of it is kept."""
        circuit = machine(**SLOW)
        circuit.apply(Overdue(0, 1, 5.0, 1.0, failed=False))
        settle(circuit, outcome, 6.0, call=1)
        assert not circuit.trip.overdue
        settle(circuit, FAILED, 7.0, call=1)
        assert circuit.failure_count == 0
        assert (circuit.trip.tally.calls, circuit.trip.tally.slow) == (0, 0)

    @pytest.mark.parametrize(
        "leave",
        [
            lambda circuit: circuit.apply(Reset(5.0)),
            lambda circuit: circuit.apply(Force(FORCED_CLOSED, 5.0)),
            lambda circuit: fail(circuit, 5.0, Failure(retry_after=1)),
        ],
    )
    def test_of_an_earlier_period_they_are_stale(self, leave: Callable[[Machine], Any]) -> None:
        """As when they become slow, so when they end."""
        circuit = machine(**SLOW)
        circuit.apply(Overdue(0, 1, 4.0, 1.0, failed=False))
        leave(circuit)
        figures = circuit.period, circuit.failure_count, circuit.trip.tally.slow
        circuit.apply(Overdue(0, 2, 5.5, 1.0, failed=False))
        settle(circuit, FAILED, 5.5, Grant(0, circuit.policy), call=1)
        assert (circuit.period, circuit.failure_count, circuit.trip.tally.slow) == figures
        assert circuit.stale == 1

    def test_they_do_not_open_what_is_forced_closed(self) -> None:
        """But they count; while it is disabled, they do not even count."""
        circuit = machine(**SLOW)
        circuit.apply(Force(FORCED_CLOSED, 1.0))
        for call in range(1, 4):
            circuit.apply(Overdue(1, call, 5.0, 1.0, failed=False))
        assert (circuit.state, circuit.trip.tally.slow) == (FORCED_CLOSED, 3)
        circuit.apply(Force(DISABLED, 6.0))
        circuit.apply(Overdue(2, 9, 7.0, 1.0, failed=False))
        assert circuit.trip.tally.slow == 3


class TestTimeOpen:
    """How long it stays open."""

    def test_it_grows_with_failed_recoveries(self) -> None:
        """Until it has closed; then it begins anew."""
        circuit = machine(failure_threshold=1, recovery_factor=2, max_recovery_timeout=35)
        fail(circuit, 0.0)
        times = []
        for permit in range(1, 5):
            times.append(circuit.until - circuit.since)
            settle(circuit, FAILED, circuit.until, acquire(circuit, permit, circuit.until))
        assert times == [10.0, 20.0, 35.0, 35.0]
        settle(circuit, SUCCEEDED, circuit.until, acquire(circuit, 9, circuit.until))
        fail(circuit, circuit.latest)
        assert circuit.until - circuit.since == 10.0

    @pytest.mark.parametrize("begin_anew", [[Reset()], [Force(FORCED_OPEN), Force(CLOSED)]])
    def test_by_hand_it_begins_anew(self, begin_anew: list[Reset | Force]) -> None:
        """A reset or a release forgets the failed recoveries, too."""
        circuit = half_opened(recovery_factor=2, max_recovery_timeout=1000)
        settle(circuit, FAILED, 10.0, acquire(circuit, 1, 10.0))
        assert circuit.until == 30.0
        for message in begin_anew:
            circuit.apply(message)
        fail(circuit, 15.0)
        assert circuit.until == 25.0

    def test_a_kind_of_failure_has_its_own(self) -> None:
        """Of a call as well as of a probe."""
        kind = Failure(recovery_timeout=3)
        circuit = opened(of_kind=kind)
        assert circuit.until == 3.0
        settle(circuit, FAILED, 4.0, acquire(circuit, 1, 3.0), of_kind=Failure(retry_after=50))
        assert circuit.until == 54.0

    def test_jitter_is_that_of_the_seed(self) -> None:
        """Each opening has another time; copies, and machines of the same seed, agree."""
        first, second, other = (Machine(Policy(1, 10, recovery_jitter=0.5), s) for s in (7, 7, 8))
        copy = first.copy()

        def drawn(circuit: Machine) -> list[float]:
            times = []
            for _ in range(5):
                fail(circuit, 0.0)
                times.append(circuit.until)
                circuit.apply(Reset(0.0))
            return times

        times = drawn(first)
        assert drawn(second) == drawn(copy) == times
        assert len({*times, *drawn(first), *drawn(other)}) == 15
        assert all(5.0 <= seconds < 15.0 for seconds in times)

    def test_the_refusal_and_the_transition_tell_it(self) -> None:
        """Exactly."""
        circuit = opened(at=5.0, of_kind=Failure(retry_after=70))
        assert circuit.transitions[-1].retry_after == 70.0  # type: ignore[union-attr]
        assert refused(circuit, 1, 25.0).retry_after == 50.0


class TestHalfOpen:
    """How it is tried whether the dependency is back."""

    def test_probes_may_be_more_than_successes_needed(self) -> None:
        """`probes` at once, and `success_threshold` successes close it."""
        circuit = half_opened(probes=3, success_threshold=1)
        grants = [acquire(circuit, permit, 10.0) for permit in (1, 2, 3)]
        assert refused(circuit, 4, 10.0) == Refusal(HALF_OPEN, 0.0, "OSError: down", "half_open")
        settle(circuit, SUCCEEDED, 11.0, grants[1])
        assert circuit.state is CLOSED
        settle(circuit, FAILED, 11.0, grants[0])
        assert (circuit.failure_count, circuit.stale) == (0, 1)

    def test_probes_may_be_fewer_than_successes_needed(self) -> None:
        """They run one after the other then."""
        circuit = half_opened(probes=1, success_threshold=3)
        for permit in (1, 2, 3):
            assert circuit.state is HALF_OPEN
            grant = acquire(circuit, permit, 10.0)
            assert refused(circuit, 9, 10.0).reason == "half_open"
            settle(circuit, SUCCEEDED, 10.0, grant)
        assert circuit.state is CLOSED

    def test_a_share_of_probes_may_fail(self) -> None:
        """It opens as soon as too many have, and counts each failure."""
        circuit = half_opened(probes=4, probe_failure_rate=0.5)
        grants = [acquire(circuit, permit, 10.0) for permit in (1, 2, 3, 4)]
        settle(circuit, FAILED, 11.0, grants[0])
        assert (circuit.state, circuit.failure_count) == (HALF_OPEN, 2)
        assert refused(circuit, 5, 11.0).reason == "half_open"  # four are looked at, no more
        settle(circuit, SUCCEEDED, 11.0, grants[1])
        settle(circuit, FAILED, 12.0, grants[2], failure="OSError: again")
        assert (circuit.state, circuit.failure_count, circuit.until) == (OPEN, 3, 22.0)
        assert circuit.last_failure == "OSError: again"

    def test_it_closes_as_soon_as_too_few_can_fail(self) -> None:
        """Those that still run are stale then."""
        circuit = half_opened(probes=4, probe_failure_rate=0.5)
        grants = [acquire(circuit, permit, 10.0) for permit in (1, 2, 3, 4)]
        for grant in grants[:2]:
            settle(circuit, SUCCEEDED, 11.0, grant)
            assert circuit.state is HALF_OPEN
        settle(circuit, SUCCEEDED, 11.0, grants[2])
        assert circuit.state is CLOSED

    @neutral
    def test_a_neutral_probe_frees_its_place(self, outcome: Outcome) -> None:
        """Of a sample, too; slow or not."""
        circuit = half_opened(probes=1, probe_failure_rate=1)
        settle(circuit, outcome, 11.0, acquire(circuit, 1, 10.0), slow=True)
        assert circuit.state is HALF_OPEN
        assert acquire(circuit, 2, 11.0).probe == 2

    def test_a_slow_probe_has_failed(self) -> None:
        """Also if it has succeeded otherwise."""
        circuit = half_opened(**{**SLOW, "failure_threshold": 1})
        settle(circuit, SUCCEEDED, 11.0, acquire(circuit, 1, 10.0), slow=True, failure="took 2 s")
        assert (circuit.state, circuit.last_failure, circuit.succeeded) == (OPEN, "took 2 s", 1)

    def test_a_hung_probe_is_one_of_the_sample(self) -> None:
        """It has failed, and its place is not free again."""
        circuit = half_opened(probes=2, probe_failure_rate=1, probe_timeout=5)
        hung = acquire(circuit, 1, 10.0)
        circuit.advance(15.0)
        assert (circuit.state, circuit.failure_count) == (HALF_OPEN, 2)
        settle(circuit, SUCCEEDED, 15.0, hung)
        assert circuit.stale == 1
        acquire(circuit, 2, 15.0)
        assert refused(circuit, 3, 15.0).reason == "half_open"
        circuit.advance(20.0)
        assert changes(circuit)[-1] == (OPEN, 20.0)
        assert circuit.last_failure == "probe still running after 5 s"

    def test_the_time_of_a_probe_is_that_of_its_grant(self) -> None:
        """Another policy leaves the deadlines of those that run."""
        circuit = half_opened(success_threshold=2, probe_timeout=5)
        acquire(circuit, 1, 10.0)
        circuit.apply(Reconfigure(replace(circuit.policy, probe_timeout=1), 11.0))
        circuit.advance(14.0)
        assert (circuit.state, circuit.deadline) == (HALF_OPEN, 15.0)
        circuit.advance(15.0)
        assert circuit.last_failure == "probe still running after 5 s"

    def test_no_verdict_in_time(self) -> None:
        """From the first probe on; it may have become half-open long before."""
        circuit = half_opened(half_open_timeout=30, success_threshold=3)
        circuit.advance(100.0)
        settle(circuit, SUCCEEDED, 101.0, acquire(circuit, 1, 100.0))
        acquire(circuit, 2, 129.0)
        assert circuit.deadline == 130.0
        circuit.advance(130.0)
        circuit.advance(200.0)
        assert changes(circuit)[-2:] == [(OPEN, 130.0), (HALF_OPEN, 140.0)]
        assert circuit.last_failure == "no verdict within 30 s"

    def test_no_verdict_is_a_failed_recovery(self) -> None:
        """The time open grows."""
        circuit = half_opened(half_open_timeout=5, recovery_factor=2, max_recovery_timeout=99)
        acquire(circuit, 1, 10.0)
        circuit.advance(15.0)
        assert circuit.until == 35.0

    def test_a_probe_that_hangs_comes_before_the_verdict_of_time(self) -> None:
        """If both are due at once."""
        circuit = half_opened(half_open_timeout=5, probe_timeout=5)
        acquire(circuit, 1, 10.0)
        circuit.advance(15.0)
        assert circuit.last_failure == "probe still running after 5 s"

    @pytest.mark.parametrize("limits", [{"probe_timeout": 5}, {"half_open_timeout": 5}])
    def test_a_verdict_when_time_has_jumped(self, limits: dict[str, float]) -> None:
        """It waits until the probe has had a turn, so that it can say how it has ended."""
        for outcome, state in ((SUCCEEDED, CLOSED), (FAILED, OPEN), (IGNORED, HALF_OPEN)):
            circuit = half_opened(**limits)
            probe = acquire(circuit, 1, 10.0)
            circuit.apply(Settle(-1, NO_PROBE, IGNORED, 18.0))  # a message judges nobody, nor
            circuit.pass_time(18.0)  # does a read
            assert circuit.state is HALF_OPEN
            settle(circuit, outcome, 18.0, probe)
            assert (circuit.state, circuit.stale) == (state, 1)

    @pytest.mark.parametrize("limits", [{"probe_timeout": 5}, {"half_open_timeout": 5}])
    def test_a_verdict_that_was_put_off(self, limits: dict[str, float]) -> None:
        """Comes when as much time again has passed; in a turn, even if that is late again."""
        circuit = half_opened(**limits)
        acquire(circuit, 1, 10.0)
        circuit.advance(18.0)
        assert (circuit.state, circuit.deadline) == (HALF_OPEN, 21.0)
        circuit.pass_time(30.0)
        assert circuit.state is HALF_OPEN
        circuit.advance(30.0)
        assert changes(circuit)[-1] == (OPEN, 21.0)
        assert circuit.failed_recoveries == 1

    def test_many_probes_when_time_has_jumped(self) -> None:
        """Each is put off by itself, and none of those that begin later for another one's sake."""
        circuit = half_opened(success_threshold=9, probe_timeout=5)
        acquire(circuit, 1, 10.0)
        acquire(circuit, 2, 12.0)
        circuit.advance(16.0)
        assert circuit.deadline == 17.0
        circuit.advance(30.0)
        assert changes(circuit)[-2:] == [(OPEN, 17.0), (HALF_OPEN, 27.0)]
        assert circuit.failure_count == 2

    def test_what_a_probe_is_told_by_the_dependency(self) -> None:
        """It opens at once and for that long, however many probes may fail."""
        circuit = half_opened(probes=9, probe_failure_rate=1)
        settle(circuit, FAILED, 11.0, acquire(circuit, 1, 10.0), of_kind=Failure(retry_after=60))
        assert (circuit.state, circuit.until) == (OPEN, 71.0)


class TestRamp:
    """Only a growing share is admitted after closing."""

    def test_the_share_grows(self) -> None:
        """A call is admitted if its draw is less than the share of its time."""
        circuit = ramping()
        for at, share in ((20.0, 0.1), (25.0, 0.55), (29.0, 0.91)):
            assert acquire(circuit, 2, at, draw=share - 0.01) is circuit.grant
            refusal = refused(circuit, 3, at, draw=share + 0.01)
            assert refusal == Refusal(CLOSED, 0.0, None, "ramp")
        assert acquire(circuit, 4, 30.0, draw=1 - 2**-53) is circuit.grant

    def test_nothing_is_answered_in_advance(self) -> None:
        """Until its end, which is the deadline."""
        circuit = ramping()
        assert (circuit.lease().slack, circuit.deadline) == (0, 30.0)
        circuit.advance(30.0)
        assert (circuit.lease().slack, circuit.deadline) == (1, math.inf)

    def test_outcomes_count_as_ever(self) -> None:
        """A failure opens it, and the next ramp begins with the next closing."""
        circuit = ramping()
        fail(circuit, 21.0)
        assert circuit.state is OPEN
        assert circuit.deadline == 31.0

    @pytest.mark.parametrize(
        "close",
        [
            [Reset(10.0)],
            [Force(FORCED_OPEN, 10.0), Force(CLOSED, 10.0)],
            [Force(METRICS_ONLY, 10.0)],
        ],
    )
    def test_by_hand_there_is_none(self, close: list[Reset | Force]) -> None:
        """Nor at the beginning."""
        circuit = machine(ramp=10)
        assert acquire(circuit, 1, 0.0, draw=0.99).probe == NO_PROBE
        circuit = half_opened(ramp=10)
        for message in close:
            circuit.apply(message)
        assert acquire(circuit, 1, 10.0, draw=0.99).probe == NO_PROBE


class TestThrottle:
    """A share of calls is refused as long as many fail."""

    POLICY = Policy(failure_threshold=10**6, throttle=2, throttle_seconds=100)

    def throttled(self, policy: Policy = POLICY) -> Machine:
        """100 requests of late, of which 40 have been accepted."""
        circuit = Machine(policy)
        settle(circuit, SUCCEEDED, 5.0, times=40)
        settle(circuit, FAILED, 5.0, times=60, failure="OSError: down")
        return circuit

    def test_the_share(self) -> None:
        """The formula's; who is refused is one request more."""
        circuit = self.throttled()
        share = 1 - 20 / 101
        assert acquire(circuit, 1, 6.0, draw=share - 0.001).probe == NO_PROBE
        refusal = refused(circuit, 2, 6.0, draw=share)
        assert refusal == Refusal(CLOSED, 0.0, None, "throttled")
        assert acquire(circuit, 3, 6.0, draw=1 - 21 / 102 - 0.001).probe == NO_PROBE
        assert refused(circuit, 4, 6.0, draw=1 - 21 / 102).reason == "throttled"

    def test_the_floor(self) -> None:
        """A call of twenty passes even if all have failed."""
        circuit = Machine(self.POLICY)
        settle(circuit, FAILED, 5.0, times=10**5)
        assert acquire(circuit, 1, 6.0, draw=0.049).probe == NO_PROBE
        assert refused(circuit, 2, 6.0, draw=0.051).reason == "throttled"

    def test_weights_do_not_matter(self) -> None:
        """Calls are counted."""
        circuit = Machine(self.POLICY)
        settle(circuit, SUCCEEDED, 5.0, times=5)
        settle(circuit, FAILED, 5.0, times=5, of_kind=Failure(weight=1000))
        assert acquire(circuit, 1, 6.0, draw=0.999).probe == NO_PROBE

    def test_an_overdue_call_counts_when_it_ends(self) -> None:
        """As it ends, once."""
        circuit = Machine(replace(self.POLICY, slow_call_duration=1))
        for call in range(1, 10):
            circuit.apply(Overdue(0, call, 5.0, 1.0, failed=True))
        assert acquire(circuit, 1, 6.0, draw=0.999).probe == NO_PROBE
        settle(circuit, FAILED, 6.0, call=1)
        assert refused(circuit, 2, 6.0, draw=0.5).reason == "throttled"

    @neutral
    def test_neutral_outcomes_are_no_requests(self, outcome: Outcome) -> None:
        """Neither accepted nor refused."""
        circuit = self.throttled()
        share = circuit.throttle and circuit.throttle.share(circuit.policy)
        settle(circuit, outcome, 5.0, times=50)
        assert circuit.throttle is not None
        assert circuit.throttle.share(circuit.policy) == share

    def test_time_ends_it(self) -> None:
        """In steps of a tenth of `throttle_seconds`."""
        circuit = self.throttled()
        assert refused(circuit, 1, 99.9, draw=0.999).reason == "throttled"
        assert acquire(circuit, 2, 100.0, draw=0.4).probe == NO_PROBE
        circuit.advance(200.0)
        assert acquire(circuit, 3, 200.0, draw=0.999).probe == NO_PROBE

    def test_the_lease(self) -> None:
        """All are admitted without asking while they pass freely, and no longer than it is sure."""
        circuit = Machine(self.POLICY)
        settle(circuit, SUCCEEDED, 5.0, times=10)
        lease = circuit.lease()
        assert (lease.slack, lease.expires) == (11, math.nextafter(100.0, 0.0))
        assert self.throttled().lease().slack == 0

    def test_beside_a_ramp_the_smaller_share_counts(self) -> None:
        """And gives the reason; a call that is refused by a ramp is one more request."""
        circuit = ramping(throttle=2, throttle_floor=0.3)
        assert refused(circuit, 2, 21.0, draw=0.5).reason == "ramp"
        assert circuit.throttle is not None
        assert circuit.throttle.share(circuit.policy) == 0.5
        assert refused(circuit, 3, 26.0, draw=0.55).reason == "throttled"
        for permit in range(4, 90):
            refused(circuit, permit, 26.0, draw=0.99)
        assert acquire(circuit, 90, 29.9, draw=0.29).probe == NO_PROBE
        assert refused(circuit, 91, 29.9, draw=0.31).reason == "throttled"

    def test_equal_shares_are_the_ramps(self) -> None:
        """One of them has to be the reason."""
        circuit = ramping(throttle=2, throttle_floor=0.5, ramp_start=0.5)
        for permit in range(2, 90):
            refused(circuit, permit, 20.0, draw=0.99)
        assert refused(circuit, 90, 20.0, draw=0.5).reason == "ramp"

    def test_it_is_emptied_with_the_tally(self) -> None:
        """By a reset as by a probe."""
        circuit = self.throttled()
        circuit.apply(Reset(6.0))
        assert acquire(circuit, 1, 6.0, draw=0.999).probe == NO_PROBE


class TestRetryBudget:
    """Retries are a share of the calls."""

    POLICY = Policy(
        failure_threshold=1, retry_budget=0.5, retry_budget_minimum=1, retry_budget_seconds=100
    )

    def retries(self, circuit: Machine, at: float) -> int:
        """How many retries are admitted."""
        granted = 0
        while isinstance(answer := circuit.apply(Retry(granted + 1, at)), Grant):
            granted += 1
        assert answer == Refusal(circuit.state, 0.0, circuit.last_failure, "retry_budget")
        return granted

    def test_of_calls_that_have_ended(self) -> None:
        """Those that have succeeded or failed, and were no retries themselves."""
        circuit = Machine(self.POLICY)
        settle(circuit, SUCCEEDED, 1.0, times=4)
        settle(circuit, IGNORED, 1.0, times=100)
        settle(circuit, CANCELLED, 1.0, times=100)
        settle(circuit, SUCCEEDED, 1.0, times=100, retry=True)
        settle(circuit, FAILED, None, times=2)
        assert self.retries(circuit, 2.0) == 4

    def test_stale_ones_too(self) -> None:
        """In whatever state."""
        circuit = Machine(self.POLICY)
        settle(circuit, FAILED, 1.0)
        settle(circuit, FAILED, 1.0, Grant(0, circuit.policy), times=3)
        assert circuit.stale == 3
        assert self.retries(circuit, 2.0) == 3

    def test_of_late(self) -> None:
        """Old calls and old retries are forgotten."""
        circuit = Machine(self.POLICY)
        settle(circuit, SUCCEEDED, 1.0, times=10)
        assert self.retries(circuit, 99.0) == 6
        assert self.retries(circuit, 100.0) == 0  # the retries are not as old as the calls
        assert self.retries(circuit, 200.0) == 1

    def test_an_attempt_that_asks_to_be_admitted(self) -> None:
        """Takes from the same budget, and its grant says that it is a retry."""
        circuit = Machine(self.POLICY)
        grant = acquire(circuit, 1, 1.0, retry=True)
        assert grant == Grant(0, circuit.policy, retry=True)
        refusal = refused(circuit, 2, 1.0, retry=True)
        assert refusal == Refusal(CLOSED, 0.0, None, "retry_budget")
        assert acquire(circuit, 3, 1.0) is circuit.grant
        settle(circuit, SUCCEEDED, 1.0, grant, times=9)
        assert refused(circuit, 4, 1.0, retry=True).reason == "retry_budget"

    def test_the_state_goes_first(self) -> None:
        """A retry that an open circuit refuses takes nothing."""
        circuit = Machine(self.POLICY)
        settle(circuit, FAILED, 1.0, retry=True)
        for permit in range(1, 9):
            assert refused(circuit, permit, 2.0, retry=True).reason == "open"
        assert self.retries(circuit, 2.0) == 1

    def test_a_refused_retry_takes_no_place(self) -> None:
        """Of the probes."""
        circuit = Machine(self.POLICY)
        settle(circuit, FAILED, 1.0, retry=True)
        assert self.retries(circuit, 31.0) == 1
        assert refused(circuit, 1, 31.0, retry=True) == Refusal(
            HALF_OPEN, 0.0, None, "retry_budget"
        )
        assert acquire(circuit, 2, 31.0).probe == 2

    def test_nothing_empties_it(self) -> None:
        """Neither a reset nor a state set by hand."""
        circuit = Machine(self.POLICY)
        assert self.retries(circuit, 1.0) == 1
        for message in (Reset(2.0), Force(FORCED_OPEN, 2.0), Force(CLOSED, 2.0)):
            circuit.apply(message)
        assert self.retries(circuit, 3.0) == 0

    def test_without_one_all_may_be_retried(self) -> None:
        """As many as there are."""
        circuit = machine()
        assert all(circuit.apply(Retry(n, 1.0)) is circuit.grant for n in range(99))
        assert acquire(circuit, 1, 1.0, retry=True).retry


class TestWaiting:
    """Callers who are ready to wait instead of being refused."""

    def test_until_a_place_is_free(self) -> None:
        """First come, first served, in the order of their coming."""
        circuit = opened()
        for permit in (1, 2, 3):
            wait(circuit, permit, at=permit)
        circuit.advance(10.0)
        assert released(circuit) == [(1, "admitted")]
        circuit.apply(Settle(circuit.period, 1, IGNORED, 11.0))
        assert released(circuit) == [(2, "admitted")]
        circuit.apply(Withdraw(2, 12.0))
        assert released(circuit) == [(3, "admitted")]
        assert not circuit.waiting

    def test_until_it_is_closed(self) -> None:
        """All of them are admitted then, at the time of the outcome that closed it."""
        circuit = opened()
        for permit in (1, 2, 3):
            wait(circuit, permit, at=0.0, until=11.5)
        circuit.advance(10.0)
        circuit.apply(Settle(circuit.period, 1, SUCCEEDED, 11.5 - 2**-40))
        assert released(circuit) == [(1, "admitted"), (2, "admitted"), (3, "admitted")]

    def test_a_reset_admits_them(self) -> None:
        """As any change of state."""
        circuit = opened()
        wait(circuit, 1, at=1.0)
        circuit.apply(Reset(2.0))
        assert circuit.released == ((1, circuit.grant),)

    def test_until_they_give_up(self) -> None:
        """Each at its own time, which is a deadline, with the refusal of the time that it is."""
        circuit = opened()
        wait(circuit, 1, at=1.0, until=7.0)
        wait(circuit, 2, at=2.0, until=4.0)
        assert circuit.deadline == 4.0
        circuit.advance(9.0)
        assert circuit.released == (
            (2, Refusal(OPEN, 1.0, "OSError: down", "open")),
            (1, Refusal(OPEN, 1.0, "OSError: down", "open")),
        )
        assert circuit.deadline == 10.0

    def test_a_change_of_state_at_the_same_time_comes_first(self) -> None:
        """Who would have given up just then is asked for first."""
        circuit = opened()
        for permit in (1, 2):
            wait(circuit, permit, at=1.0, until=10.0)
        circuit.advance(10.0)
        assert released(circuit) == [(1, "admitted"), (2, "half_open")]

    @pytest.mark.parametrize("wait_for", ["closed", "verdict"])
    def test_all_changes_of_that_time_come_first(self, wait_for: WaitFor) -> None:
        """Nobody is told how it was in between."""
        circuit = half_opened(probes=3, probe_failure_rate=1.0, probe_timeout=5.0)
        for permit in (1, 2, 3):
            acquire(circuit, permit, 10.0)
        wait(circuit, 4, at=12.0, until=15.0, wait_for=wait_for)
        circuit.advance(15.0)
        assert circuit.state is OPEN
        assert released(circuit) == [(4, "open")]

    def test_there_is_no_time_left_to_wait(self) -> None:
        """Then it is a refusal at once."""
        circuit = opened()
        assert refused(circuit, 1, 5.0, wait_until=5.0).reason == "open"
        assert not circuit.waiting

    def test_what_comes_after_a_deadline_is_not_waited_for(self) -> None:
        """Neither at first, nor when it opens again; the verdict of probes may come at any time."""
        circuit = opened()
        assert refused(circuit, 1, 5.0, wait_until=99.0, deadline=10.0).reason == "open"
        wait(circuit, 2, 5.0, until=99.0, deadline=10.1)
        wait(circuit, 3, 5.0, until=99.0, deadline=20.0)
        wait(circuit, 4, 5.0, until=99.0, deadline=20.1)
        circuit.advance(10.0)
        assert released(circuit) == [(2, "admitted")]
        wait(circuit, 5, 10.0, until=99.0, deadline=11.0)
        probe = Grant(circuit.period, circuit.policy, 2)
        settle(circuit, FAILED, 10.0, probe)
        assert released(circuit) == [(3, "open"), (5, "open")]
        assert list(circuit.waiting) == [4]

    def test_who_need_not_wait_is_admitted(self) -> None:
        """At once."""
        assert acquire(machine(), 1, 0.0, wait_until=9.0).probe == NO_PROBE

    def test_for_the_verdict_of_probes(self) -> None:
        """Only while it is half-open; if it opens again, they are refused at once."""
        circuit = opened()
        assert refused(circuit, 1, 5.0, wait_until=99.0, wait_for="verdict").reason == "open"
        probe = acquire(circuit, 2, 10.0)
        wait(circuit, 3, 10.0, until=99.0, wait_for="verdict")
        wait(circuit, 4, 10.0, until=99.0)
        settle(circuit, FAILED, 12.0, probe)
        assert released(circuit) == [(3, "open")]
        assert list(circuit.waiting) == [4]

    def test_for_the_verdict_of_probes_that_closes_it(self) -> None:
        """They are admitted like the others."""
        circuit = half_opened()
        probe = acquire(circuit, 1, 10.0)
        wait(circuit, 2, 10.0, until=99.0, wait_for="verdict")
        settle(circuit, SUCCEEDED, 12.0, probe)
        assert released(circuit) == [(2, "admitted")]

    def test_nobody_waits_for_budget(self) -> None:
        """Whoever lacks it is refused at once, also when a place has become free."""
        circuit = half_opened(retry_budget=1, retry_budget_minimum=0)
        probe = acquire(circuit, 1, 10.0)
        wait(circuit, 2, 10.0, retry=True)
        wait(circuit, 3, 10.0)
        settle(circuit, IGNORED, 11.0, probe)
        assert released(circuit) == [(2, "retry_budget"), (3, "admitted")]

    def test_who_is_forced_to_wait_may_be_released(self) -> None:
        """A circuit that was opened by hand is waited for, too."""
        circuit = machine()
        circuit.apply(Force(FORCED_OPEN, 1.0))
        wait(circuit, 1, 2.0)
        wait(circuit, 2, 2.0, until=5.0)
        circuit.apply(Force(DISABLED, 5.0))
        assert released(circuit) == [(2, "forced_open"), (1, "admitted")]

    def test_during_a_ramp(self) -> None:
        """Each is asked for at each tenth, with its own draw; and at the end all that are left."""
        circuit = ramping(ramp_start=0.1)
        wait(circuit, 2, 20.0, draw=0.95)
        wait(circuit, 3, 20.5, draw=0.3)
        wait(circuit, 4, 20.5, draw=0.19)
        assert circuit.deadline == 21.0
        for now in (21.0, 22.0, 22.9):
            circuit.advance(now)
        assert released(circuit) == [(4, "admitted")]
        circuit.advance(23.0)
        assert released(circuit) == [(3, "admitted")]
        circuit.advance(50.0)
        assert released(circuit) == [(2, "admitted")]

    def test_who_comes_late_into_a_ramp(self) -> None:
        """Is asked for from the next tenth on."""
        circuit = ramping()
        wait(circuit, 2, 24.2, draw=0.99)
        assert circuit.deadline == 25.0
        circuit.advance(27.5)
        assert circuit.deadline == 28.0
        circuit.apply(Withdraw(2, 27.6))
        assert circuit.deadline == 30.0
        circuit.advance(29.95)
        wait(circuit, 3, 29.95, draw=0.999)
        assert circuit.deadline == 30.0

    def test_who_gives_up_during_a_ramp(self) -> None:
        """Is one request that was refused, or is admitted at the last moment."""
        circuit = ramping(throttle=2)
        wait(circuit, 2, 20.0, until=20.5, draw=0.99)
        wait(circuit, 3, 20.0, until=20.6, draw=0.15)
        circuit.advance(20.6)
        assert released(circuit) == [(2, "ramp"), (3, "admitted")]
        assert circuit.throttle is not None
        assert circuit.throttle.recent.failures == 1

    def test_the_throttle_ends_a_wait_for_the_ramp(self) -> None:
        """Whoever would be refused by the throttle does not wait for that."""
        circuit = ramping(throttle=1.01, throttle_floor=0.2)
        wait(circuit, 2, 20.0, draw=0.9)
        settle(circuit, SUCCEEDED, 20.5, times=10)
        settle(circuit, IGNORED, 20.5)
        for permit in range(3, 50):
            refused(circuit, permit, 20.5, draw=0.99)
        circuit.advance(28.0)
        assert released(circuit) == [(2, "throttled")]

    def test_who_withdraws_waits_no_longer(self) -> None:
        """And is counted as cancelled."""
        circuit = opened()
        wait(circuit, 1, 1.0, until=5.0)
        circuit.apply(Withdraw(1, 2.0))
        assert (circuit.cancelled, circuit.deadline, circuit.waiting) == (1, 10.0, {})
        circuit.advance(20.0)
        assert released(circuit) == []

    def test_more_places_by_another_policy(self) -> None:
        """Are given to those who wait; and places that there are too many of, to nobody."""
        circuit = half_opened(success_threshold=1)
        acquire(circuit, 1, 10.0)
        for permit in (2, 3, 4):
            wait(circuit, permit, 10.0)
        for threshold, admitted in ((3, [(2, "admitted"), (3, "admitted")]), (1, [])):
            policy = replace(circuit.policy, success_threshold=threshold)
            circuit.apply(Reconfigure(policy, 11.0))
            assert released(circuit) == admitted
        assert refused(circuit, 5, 11.0).reason == "half_open"

    def test_a_ramp_that_another_policy_ends(self) -> None:
        """All who wait are admitted."""
        circuit = ramping()
        wait(circuit, 2, 20.0, draw=0.9)
        circuit.apply(Reconfigure(replace(circuit.policy, ramp=None), 21.0))
        assert released(circuit) == [(2, "admitted")]

    @pytest.mark.parametrize("fields", [{}, {"success_threshold": 3}, {"probes": 2}])
    def test_when_time_has_jumped(self, fields: dict[str, int]) -> None:
        """As many as there are places begin now, however often each could have been too late."""
        circuit = opened(probe_timeout=2, half_open_timeout=3, **fields)
        for permit in range(1, 21):
            wait(circuit, permit, 0.0)
        circuit.advance(3600.0)
        places = max(fields.values(), default=1)
        assert released(circuit) == [(permit, "admitted") for permit in range(1, places + 1)]
        assert (circuit.state, circuit.since, circuit.deadline) == (HALF_OPEN, 10.0, 3602.0)
        assert (circuit.failed_recoveries, circuit.times_opened) == (0, 1)

    def test_who_has_given_up_when_time_has_jumped(self) -> None:
        """Is refused if that was before anybody was let go, with no time left to come back."""
        circuit = opened()
        wait(circuit, 1, 0.0, until=5.0)
        wait(circuit, 2, 0.0, until=10.0)
        wait(circuit, 3, 0.0, until=11.0)
        wait(circuit, 4, 0.0, until=99.0)
        circuit.advance(60.0)
        assert circuit.released[0] == (1, Refusal(OPEN, 0.0, "OSError: down", "open"))
        assert released(circuit) == [(1, "open"), (2, "admitted"), (3, "half_open")]
        assert list(circuit.waiting) == [4]

    def test_during_a_ramp_when_time_has_jumped(self) -> None:
        """All are asked for by the share of now, and the throttle sees them now."""
        circuit = ramping(ramp_start=0.1, throttle=2, throttle_seconds=10)
        for permit, draw in ((2, 0.95), (3, 0.3), (4, 0.6)):
            wait(circuit, permit, 20.0, draw=draw)
        circuit.advance(25.9)
        assert released(circuit) == [(3, "admitted"), (4, "admitted")]
        assert circuit.deadline == 26.0
        circuit.advance(99.0)
        assert released(circuit) == [(2, "admitted")]

    def test_a_place_that_is_free_before_the_turn_ends(self) -> None:
        """Who gets it begins with the end of the turn: it may be long after the report."""
        circuit = half_opened(probe_timeout=5)
        probe = acquire(circuit, 1, 10.0)
        wait(circuit, 2, 10.0)
        settle(circuit, IGNORED, 12.0, probe)
        circuit.apply(Settle(-1, NO_PROBE, IGNORED, 17.0))  # of another call, at another time
        circuit.advance(30.0)
        assert released(circuit) == [(2, "admitted")]
        assert (circuit.state, circuit.deadline) == (HALF_OPEN, 35.0)

    def test_copies_wait_for_themselves(self) -> None:
        """What is released in one still waits in the other."""
        circuit = opened()
        for permit in (1, 2):
            wait(circuit, permit, 0.0, until=5.0)
        copy = circuit.copy()
        circuit.apply(Withdraw(1, 1.0))
        copy.advance(5.0)
        assert released(copy) == [(1, "open"), (2, "open")]
        assert list(circuit.waiting) == [2]
        assert circuit.deadline == 5.0

    def test_many_of_them(self) -> None:
        """They are taken in, refused each at its time, handed on and released without long work:
        four times as many make four times as many calls of functions, and not sixteen times.
        """
        assert calls_made(self.live, 2000) < 6 * calls_made(self.live, 500)

    @staticmethod
    def live(many: int) -> None:
        circuit = opened(success_threshold=1)
        for permit in range(1, many + 1):  # each gives up at another time
            wait(circuit, permit, 0.0, until=1.0 + permit / many)
        circuit.advance(3.0)
        assert len(released(circuit)) == many
        for permit in range(1, many + 1):
            wait(circuit, permit, 4.0)
        circuit.advance(10.0)
        for permit in range(1, many // 2):  # one after the other runs, as a neutral probe
            assert released(circuit) == [(permit, "admitted")]
            circuit.apply(Settle(circuit.period, permit, IGNORED, 11.0))
        for permit in range(many - many // 10, many):
            circuit.apply(Withdraw(permit, 11.0))
        circuit.apply(Settle(circuit.period, many // 2, SUCCEEDED, 11.0))
        assert len(released(circuit)) == many // 2 - many // 10 + 1


def calls_made(func: Callable[[int], None], argument: int) -> int:
    """How many calls, of functions in Python and in C, there are in a call."""
    count = 0

    def see(frame: object, event: str, of: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        func(argument)
    finally:
        sys.setprofile(None)
    return count


class TestByHand:
    """States that last until the circuit is released."""

    def test_forced_open(self) -> None:
        """Everything is refused, for ever as far as one can know."""
        circuit = machine()
        circuit.apply(Force(FORCED_OPEN, 5.0))
        assert refused(circuit, 1, 6.0) == Refusal(FORCED_OPEN, math.inf, None, "forced_open")
        assert circuit.retry_after(6.0) == math.inf
        lease = circuit.lease()
        assert (lease.slack, lease.refuse_until, circuit.deadline) == (0, math.inf, math.inf)
        circuit.advance(1e9)
        assert circuit.transitions == [
            Transition(CLOSED, FORCED_OPEN, 5.0, 1, 0, math.inf, None, origin="by hand"),
        ]

    def test_forced_closed(self) -> None:
        """Everything is admitted, and counted, but it never opens."""
        circuit = opened(retry_budget=1, retry_budget_minimum=0)
        circuit.apply(Force(FORCED_CLOSED, 5.0))
        assert circuit.lease().slack == UNLIMITED
        for permit in range(1, 9):
            grant = acquire(circuit, permit, 6.0, draw=0.99)
            assert grant == circuit.lease().grant
            settle(circuit, FAILED, 6.0, grant, of_kind=Failure("x", threshold=1, retry_after=1))
        assert acquire(circuit, 9, 6.0, retry=True) == Grant(2, circuit.policy, retry=True)
        assert circuit.apply(Retry(10, 6.0)) == circuit.grant
        assert (circuit.state, circuit.failure_count, circuit.stale) == (FORCED_CLOSED, 9, 0)

    def test_disabled(self) -> None:
        """Everything is admitted, and nothing is counted but the figures."""
        circuit = machine(throttle=2)
        fail(circuit)
        circuit.apply(Force(DISABLED, 5.0))
        settle(circuit, FAILED, 6.0, acquire(circuit, 1, 6.0), times=5)
        settle(circuit, SUCCEEDED, 6.0)
        assert (circuit.state, circuit.failure_count, circuit.stale) == (DISABLED, 1, 0)
        assert (circuit.failed, circuit.succeeded) == (6, 1)
        assert circuit.lease().slack == UNLIMITED

    @pytest.mark.parametrize("state", [FORCED_OPEN, FORCED_CLOSED, DISABLED, METRICS_ONLY])
    @pytest.mark.parametrize("make", [machine, opened, half_opened])
    def test_release(self, make: Callable[[], Machine], state: CircuitState) -> None:
        """Closed, in a new period, with nothing counted; a call before it is stale."""
        circuit = make()
        circuit.apply(Force(state, 11.0))
        grant = Grant(circuit.period, circuit.policy)
        assert circuit.state is state
        fail(circuit, 12.0)
        circuit.apply(Force(CLOSED, 13.0))
        assert (circuit.state, circuit.since, circuit.failure_count) == (CLOSED, 13.0, 0)
        assert circuit.period > grant.period
        settle(circuit, FAILED, 14.0, grant)
        assert circuit.failure_count == 0
        assert circuit.stale == 1

    @pytest.mark.parametrize("state", [FORCED_OPEN, FORCED_CLOSED, DISABLED, METRICS_ONLY])
    def test_the_same_state_again(self, state: CircuitState) -> None:
        """Changes nothing; nor does a release of what is not forced."""
        circuit = machine()
        circuit.apply(Force(CLOSED, 1.0))
        assert (circuit.period, changes(circuit)) == (0, [])
        circuit.apply(Force(state, 1.0))
        assert changes(circuit) == [(state, 1.0)]
        circuit.apply(Force(state, 2.0))
        assert (circuit.period, changes(circuit)) == (1, [])

    @pytest.mark.parametrize("make", [opened, half_opened])
    def test_no_release_of_what_the_policy_does(self, make: Callable[[], Machine]) -> None:
        """Force(CLOSED) is no reset."""
        circuit = make()
        before = plain(circuit)
        circuit.apply(Force(CLOSED))
        assert plain(circuit) == before

    def test_from_one_to_another(self) -> None:
        """Without a release between them."""
        circuit = machine()
        for at, state in enumerate((FORCED_OPEN, METRICS_ONLY, DISABLED, FORCED_CLOSED)):
            circuit.apply(Force(state, at))
        told = [(c.from_state, c.to_state) for c in circuit.transitions]  # type: ignore[union-attr]
        assert told == [
            (CLOSED, FORCED_OPEN),
            (FORCED_OPEN, METRICS_ONLY),
            (METRICS_ONLY, DISABLED),
            (DISABLED, FORCED_CLOSED),
        ]

    @pytest.mark.parametrize("state", [FORCED_OPEN, FORCED_CLOSED, DISABLED])
    def test_a_reset_in_between(self, state: CircuitState) -> None:
        """A new period in the same state, with nothing counted."""
        circuit = machine(throttle=2)
        fail(circuit)
        circuit.apply(Force(state, 1.0))
        assert circuit.failure_count == 1
        circuit.apply(Reset(2.0))
        assert (circuit.state, circuit.failure_count, circuit.period) == (state, 0, 2)
        assert changes(circuit) == [(state, 1.0), (state, 2.0)]
        assert circuit.lease().period == 2

    def test_without_a_time(self) -> None:
        """From where no event loop runs, it happens at the latest time told."""
        circuit = opened(at=5.0)
        circuit.apply(Force(FORCED_OPEN))
        circuit.apply(Reconfigure(Policy()))
        assert circuit.since == 5.0
        assert circuit.transitions[-1] == Reconfigured(Policy(), 5.0)


class TestMetricsOnly:
    """The circuit does as its policy says, but refuses nobody."""

    def measured(self, **policy: Any) -> Machine:
        circuit = machine(**policy)
        circuit.apply(Force(METRICS_ONLY, 0.0))
        assert (circuit.state, circuit.would_be) == (METRICS_ONLY, CLOSED)
        return circuit

    def test_what_would_have_happened_is_told(self) -> None:
        """With the states, times and seconds that it would have had."""
        circuit = self.measured()
        fail(circuit, 1.0)
        fail(circuit, 2.0)
        circuit.advance(12.0)
        settle(circuit, SUCCEEDED, 13.0, acquire(circuit, 1, 12.0))
        down = "OSError: down"
        assert circuit.transitions[1:] == [
            Transition(CLOSED, OPEN, 2.0, 2, 2, 10.0, down, metrics_only=True),
            Transition(OPEN, HALF_OPEN, 12.0, 3, 2, 0.0, down, metrics_only=True),
            Transition(HALF_OPEN, CLOSED, 13.0, 4, 0, 0.0, None, metrics_only=True),
        ]
        told = Transition(CLOSED, METRICS_ONLY, 0.0, 1, 0, 0.0, None, origin="by hand")
        assert (circuit.transitions[0], circuit.origin_of_state) == (told, "by hand")

    def test_who_would_be_refused_is_admitted_and_counted(self) -> None:
        """But what becomes of these calls is for the figures alone."""
        circuit = self.measured(failure_threshold=1)
        fail(circuit, 1.0)
        assert (circuit.state, circuit.would_be) == (METRICS_ONLY, OPEN)
        assert circuit.retry_after(1.0) == 0.0
        grant = acquire(circuit, 1, 2.0, wait_until=99.0)
        assert grant == Grant(circuit.period, circuit.policy, UNCOUNTED)
        for outcome in Outcome:
            settle(circuit, outcome, 3.0, grant)
        assert (circuit.would_have_refused, circuit.stale, circuit.failure_count) == (1, 0, 1)
        assert (circuit.failed, circuit.succeeded) == (2, 1)

    def test_probes_are_counted(self) -> None:
        """As many as there would be; the others are not."""
        circuit = self.measured(failure_threshold=1)
        fail(circuit, 1.0)
        assert acquire(circuit, 1, 11.0).probe == 1
        assert acquire(circuit, 2, 11.0).probe == UNCOUNTED
        settle(circuit, FAILED, 12.0, Grant(circuit.period, circuit.policy, 1))
        assert (circuit.would_be, circuit.until) == (OPEN, 22.0)

    def test_shares_and_budgets_are_measured(self) -> None:
        """Requests that would have been refused count as such."""
        circuit = self.measured(
            failure_threshold=99, throttle=1.01, retry_budget=1, retry_budget_minimum=0
        )
        settle(circuit, FAILED, 1.0, retry=True)
        assert acquire(circuit, 1, 2.0, draw=0.9).probe == UNCOUNTED
        assert circuit.throttle is not None
        assert circuit.throttle.recent.calls == 2
        assert acquire(circuit, 2, 2.0, retry=True) == Grant(
            1, circuit.policy, UNCOUNTED, retry=True
        )
        assert isinstance(circuit.apply(Retry(3, 2.0)), Grant)
        assert circuit.would_have_refused == 3

    def test_the_lease(self) -> None:
        """Calls are admitted in advance while it would be closed; else everybody asks."""
        circuit = self.measured()
        lease = circuit.lease()
        assert (lease.state, lease.slack) == (METRICS_ONLY, 2)
        fail(circuit, 1.0)
        fail(circuit, 1.0)
        lease = circuit.lease()
        assert (lease.slack, lease.refuse_until) == (0, -math.inf)
        acquire(circuit, 1, 11.0)
        assert circuit.lease().refuse_until == -math.inf

    def test_a_reset(self) -> None:
        """It goes on measuring, from a closed state on."""
        circuit = self.measured(failure_threshold=1)
        fail(circuit, 1.0)
        circuit.apply(Reset(2.0))
        assert (circuit.state, circuit.would_be, circuit.failure_count) == (METRICS_ONLY, CLOSED, 0)
        told = circuit.transitions[-1]
        assert told == Transition(
            OPEN, CLOSED, 2.0, 3, 0, 0.0, None, metrics_only=True, origin="by hand"
        )

    def test_it_begins_closed(self) -> None:
        """Whatever there was before."""
        circuit = opened()
        circuit.apply(Force(METRICS_ONLY, 5.0))
        assert (circuit.would_be, circuit.failure_count, circuit.deadline) == (CLOSED, 0, math.inf)


class TestReconfigure:
    """Another policy, in the middle of everything."""

    @pytest.mark.parametrize("make", [machine, opened, half_opened, ramping])
    def test_nothing_opens_or_closes_by_it(self, make: Callable[[], Machine]) -> None:
        """State, period, times and counts stay."""
        circuit = make()
        before = circuit.copy()
        policy = replace(circuit.policy, failure_threshold=1, recovery_timeout=99)
        circuit.apply(Reconfigure(policy, 20.0))
        before.advance(20.0)
        for name in ("state", "period", "since", "until", "failure_count", "deadline"):
            assert getattr(circuit, name) == getattr(before, name)
        assert circuit.transitions[-1] == Reconfigured(policy, 20.0)
        assert circuit.policy is policy

    def test_new_thresholds_are_looked_at_from_the_next_outcome_on(self) -> None:
        """A success does not reach a threshold of failures; a failure does."""
        circuit = machine(failure_threshold=9, window_calls=9)
        for _ in range(4):
            fail(circuit)
        circuit.apply(Reconfigure(replace(circuit.policy, failure_threshold=2), 1.0))
        assert (circuit.state, circuit.lease().slack) == (CLOSED, 1)
        settle(circuit, SUCCEEDED, 1.0)
        assert circuit.state is CLOSED
        fail(circuit, 1.0)
        assert (circuit.state, circuit.failure_count) == (OPEN, 5)

    def test_probes_that_have_won_by_another_policy(self) -> None:
        """The next one to end closes the circuit, also if it fails, since no other could help."""
        circuit = half_opened(probes=4, probe_failure_rate=0.5)
        settle(circuit, SUCCEEDED, 10.0, acquire(circuit, 1, 10.0))
        grant = acquire(circuit, 2, 10.0)
        policy = replace(circuit.policy, probes=3, probe_failure_rate=1.0)
        circuit.apply(Reconfigure(policy, 11.0))
        assert circuit.state is HALF_OPEN
        settle(circuit, FAILED, 12.0, grant)
        assert (circuit.state, circuit.failure_count) == (CLOSED, 0)

    def test_calls_of_before_count(self) -> None:
        """The period is the same; new grants carry the new policy."""
        circuit = machine()
        grant = acquire(circuit, 1, 0.0)
        policy = replace(circuit.policy, failure_threshold=5)
        circuit.apply(Reconfigure(policy, 1.0))
        settle(circuit, FAILED, 2.0, grant)
        assert (circuit.failure_count, circuit.stale) == (1, 0)
        assert acquire(circuit, 2, 2.0) == Grant(0, policy)

    def test_the_tally_is_taken_over(self) -> None:
        """From failures in a row to a window, and back."""
        circuit = machine(failure_threshold=9)
        settle(circuit, FAILED, 1.0, times=3)
        circuit.apply(Reconfigure(Policy(9, window_seconds=10), 5.0))
        settle(circuit, SUCCEEDED, 6.0)
        assert circuit.failure_count == 3
        circuit.apply(Reconfigure(Policy(9), 14.9))
        assert circuit.failure_count == 3
        settle(circuit, SUCCEEDED, 15.0)
        assert circuit.failure_count == 0

    def test_a_call_that_is_overdue_may_still_fail(self) -> None:
        """As long as the window is the same."""
        circuit = machine(**SLOW)
        circuit.apply(Overdue(0, 1, 5.0, 1.0, failed=False))
        circuit.apply(Reconfigure(replace(circuit.policy, recovery_timeout=99), 5.0))
        settle(circuit, FAILED, 6.0, call=1)
        assert circuit.failure_count == 1

    @pytest.mark.parametrize(
        ("policy", "attribute"),
        [({"throttle": 2}, "throttle"), ({"retry_budget": 0.5}, "budget")],
    )
    def test_shares_come_and_go(self, policy: dict[str, Any], attribute: str) -> None:
        """Empty at first; and taken over if they stay."""
        circuit = machine()
        for given, calls in (({}, None), (policy, 0), (policy, 1), ({}, None), (policy, 0)):
            circuit.apply(Reconfigure(Policy(**given), 1.0))
            part = getattr(circuit, attribute)
            assert (None if part is None else part.recent.calls) == calls
            settle(circuit, SUCCEEDED, 1.0)

    def test_what_a_share_had_forgotten_stays_forgotten(self) -> None:
        """Also by one that remembers longer."""
        circuit = Machine(Policy(10**6, throttle=1.01, throttle_seconds=10))
        settle(circuit, FAILED, 1.0, times=100)
        policy = replace(circuit.policy, throttle_seconds=1000)
        circuit.apply(Reconfigure(policy, 50.0))
        assert acquire(circuit, 1, 50.0, draw=0.99).probe == NO_PROBE

    def test_half_open_there_is_always_a_place(self) -> None:
        """If no probe is running, or no verdict would come."""
        circuit = half_opened(success_threshold=3)
        for permit in (1, 2):
            settle(circuit, SUCCEEDED, 11.0, acquire(circuit, permit, 10.0))
        circuit.apply(Reconfigure(replace(circuit.policy, success_threshold=1), 12.0))
        assert circuit.state is HALF_OPEN
        settle(circuit, SUCCEEDED, 13.0, acquire(circuit, 3, 13.0))
        assert circuit.state is CLOSED

    def test_a_ramp_goes_by_the_new_policy(self) -> None:
        """From when the circuit has closed; one that comes later does not begin any more."""
        circuit = ramping()
        circuit.apply(Reconfigure(replace(circuit.policy, ramp=100), 21.0))
        assert circuit.deadline == 120.0
        assert refused(circuit, 2, 40.0, draw=0.5).reason == "ramp"
        circuit.apply(Reconfigure(replace(circuit.policy, ramp=None), 41.0))
        circuit.apply(Reconfigure(replace(circuit.policy, ramp=100), 42.0))
        assert acquire(circuit, 3, 43.0, draw=0.99).probe == NO_PROBE


class TestLease:
    """What may be answered in advance."""

    @pytest.mark.parametrize(
        ("policy", "slack", "any_outcome", "expires"),
        [
            ({}, 2, False, math.inf),
            ({"window_calls": 5}, 2, False, math.inf),
            ({"window_seconds": 10}, 2, False, math.inf),
            ({"window_calls": 20, "failure_rate": 0.5}, 9, True, math.inf),
            ({"window_seconds": 10, "failure_rate": 0.5}, 9, True, math.nextafter(11, 0)),
            ({"throttle": 3}, 2, False, math.nextafter(120, 0)),
            ({"throttle": 1.01}, 1, False, math.nextafter(120, 0)),
            ({"throttle": 1.01, "failure_threshold": 1}, 1, False, math.nextafter(120, 0)),
        ],
    )
    def test_while_closed(
        self, policy: dict[str, Any], slack: int, any_outcome: bool, expires: float
    ) -> None:
        """After one success."""
        circuit = machine(**policy)
        settle(circuit, SUCCEEDED, 1.0)
        lease = circuit.lease()
        assert (lease.slack, lease.any_outcome, lease.expires) == (slack, any_outcome, expires)

    def test_a_success_may_open_it_after_a_pause(self) -> None:
        """When the successes before the failures have left the window; then each one is told."""
        circuit = machine(window_seconds=10, failure_rate=0.6, minimum_calls=5)
        settle(circuit, SUCCEEDED, 0.5, times=5)
        settle(circuit, FAILED, 9.0, times=5)
        assert not circuit.lease().any_outcome
        circuit.advance(10.5)
        assert (circuit.lease().any_outcome, circuit.lease().slack) == (True, 1)
        settle(circuit, SUCCEEDED, 10.5)
        assert circuit.state is OPEN

    def test_no_place_is_left(self) -> None:
        """Everybody is refused until something must happen."""
        circuit = half_opened(half_open_timeout=7, probes=1)
        assert circuit.lease().refuse_until == -math.inf
        acquire(circuit, 1, 10.0)
        assert circuit.lease().refuse_until == 17.0


class TestCopies:
    """A copy is another circuit."""

    def histories(self) -> list[Machine]:
        policy = {"throttle": 2, "retry_budget": 0.5, "ramp": 10}
        slow = machine(**SLOW, **policy)
        slow.apply(Overdue(0, 1, 1.0, 1.0, failed=False))
        fail(slow, 1.0, Failure("x", threshold=3))
        probing = half_opened(success_threshold=3, **policy)
        acquire(probing, 1, 11.0)
        waiting = opened(**policy)
        wait(waiting, 1, 1.0, until=5.0)
        return [slow, probing, waiting, ramping(**policy)]

    @pytest.mark.parametrize("index", range(4))
    def test_nothing_that_happens_to_one_shows_in_the_other(self, index: int) -> None:
        """Whatever state it is in."""
        circuit = self.histories()[index]
        before = plain(circuit)
        copy = circuit.copy()
        assert plain(copy) == before
        assert (copy.transitions, copy.released) == ([], ())
        for at in (20.0, 21.0):
            for message in (
                Acquire(7, at, draw=0.99),
                Acquire(8, at, wait_until=at + 5, draw=0.99),
                Retry(9, at),
                Settle(copy.period, 1, SUCCEEDED, at, slow=True),
                Settle(copy.period, 0, FAILED, at, of_kind=Failure("y", threshold=9)),
                Settle(copy.period, 0, FAILED, at, call=1),
                Overdue(copy.period, 2, at, 1.0, failed=False),
                Withdraw(8, at),
                Reconfigure(Policy(window_calls=9), at),
                Force(METRICS_ONLY, at),
                Reset(at),
            ):
                copy.apply(message)
        copy.advance(100.0)
        assert plain(circuit) == before


def test_replay_leaves_out_what_raises() -> None:
    """All other messages are taken as if it had not been there."""
    circuit = machine(failure_threshold=9, throttle=2)
    failure = Settle(0, 0, FAILED, 1.0)
    poison = Settle(0, 0, FAILED, "late")  # type: ignore[arg-type]
    twin = replay(circuit, [failure, poison, Acquire(1, 2.0, draw=0.9), poison, failure])
    alone = circuit.copy()
    for message in (failure, Acquire(1, 2.0, draw=0.9), failure):
        alone.apply(message)
    assert plain(twin) == plain(alone)
    assert (twin.failure_count, circuit.failure_count) == (2, 0)
