"""The state machine: its table of transitions row by row, and what must not change anything."""

from __future__ import annotations

import math

import pytest

from supervisor.machine.machine import Machine, replay
from supervisor.machine.messages import (
    ANY_PERIOD,
    Acquire,
    CircuitState,
    Force,
    Grant,
    Lease,
    Message,
    Outcome,
    Refusal,
    Renew,
    Reset,
    Settle,
    Transition,
    Withdraw,
)
from supervisor.policy.policy import Policy
from supervisor.recording.format import plain

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
IGNORED, CANCELLED = Outcome.IGNORED, Outcome.CANCELLED


def machine(**policy: float) -> Machine:
    """A machine that opens at the second failure, for ten seconds."""
    return Machine(Policy(**{"failure_threshold": 2, "recovery_timeout": 10.0, **policy}))


def acquire(circuit: Machine, permit: int, at: float) -> Grant:
    answer = circuit.apply(Acquire(permit, at))
    assert isinstance(answer, Grant)
    circuit.advance(at)  # a probe begins with the end of the turn
    return answer


def settle(
    circuit: Machine,
    grant: Grant,
    outcome: Outcome,
    at: float | None = None,
    failure: str | None = None,
    times: int = 1,
) -> None:
    circuit.apply(Settle(grant.period, grant.probe, outcome, at, failure, times))


def opened(at: float = 0.0, **policy: float) -> Machine:
    circuit = machine(**policy)
    for _ in range(circuit.policy.failure_threshold):
        settle(circuit, circuit.grant, FAILED, at, "ValueError: down")
    assert circuit.state is OPEN
    return circuit


def half_opened(**policy: float) -> Machine:
    circuit = opened(**policy)
    circuit.advance(10.0)
    assert circuit.state is HALF_OPEN
    return circuit


class TestTransitions:
    """Each row of the table in the module's docstring."""

    def test_closed_opens_at_the_failure_threshold(self) -> None:
        """CLOSED -> OPEN at `failure_threshold` failures in a row, not before."""
        circuit = machine()
        settle(circuit, circuit.grant, FAILED, at=1.0)
        assert (circuit.state, circuit.failure_count) == (CLOSED, 1)
        settle(circuit, circuit.grant, FAILED, at=2.0, failure="OSError: no route")
        assert (circuit.state, circuit.failure_count, circuit.times_opened) == (OPEN, 2, 1)
        assert circuit.transitions == [
            Transition(CLOSED, OPEN, 2.0, 1, 2, 10.0, "OSError: no route"),
        ]

    def test_a_run_of_failures_counts_as_so_many(self) -> None:
        """Also the one that opens the circuit."""
        circuit = machine(failure_threshold=3)
        circuit.apply(Settle(0, 0, FAILED, at=1.0, times=2))
        assert (circuit.state, circuit.failure_count, circuit.failed) == (CLOSED, 2, 2)
        circuit.apply(Settle(0, 0, FAILED, at=1.0, times=2))
        assert (circuit.state, circuit.failure_count, circuit.failed) == (OPEN, 4, 4)

    def test_a_hung_probe_counts_as_one_failure(self) -> None:
        """In a row with those that opened the circuit."""
        circuit = half_opened(probe_timeout=5)
        before = circuit.failure_count
        acquire(circuit, 1, 10.0)
        circuit.advance(15.0)
        assert (circuit.state, circuit.failure_count) == (OPEN, before + 1)

    def test_a_success_starts_the_count_again(self) -> None:
        """CLOSED stays while no `failure_threshold` failures follow each other."""
        circuit = machine()
        for outcome in (FAILED, SUCCEEDED, FAILED, SUCCEEDED, FAILED):
            settle(circuit, circuit.grant, outcome, at=1.0)
        assert (circuit.state, circuit.failure_count) == (CLOSED, 1)

    @pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])
    def test_an_outcome_that_counts_as_nothing_leaves_the_count(self, outcome: Outcome) -> None:
        """CLOSED: neither an ignored nor a cancelled call resets or raises the count."""
        circuit = machine()
        settle(circuit, circuit.grant, FAILED, at=1.0)
        settle(circuit, circuit.grant, outcome, at=1.0, times=5)
        assert (circuit.state, circuit.failure_count) == (CLOSED, 1)

    def test_open_becomes_half_open_when_the_recovery_timeout_has_passed(self) -> None:
        """OPEN -> HALF_OPEN at exactly `recovery_timeout` after it opened, and not before."""
        circuit = opened(at=5.0)
        circuit.advance(math.nextafter(15.0, 0.0))
        assert circuit.state is OPEN
        circuit.advance(15.0)
        assert circuit.state is HALF_OPEN
        assert circuit.transitions[-1] == Transition(
            OPEN, HALF_OPEN, 15.0, 2, 2, 0.0, "ValueError: down"
        )

    def test_half_open_is_dated_back_to_its_deadline(self) -> None:
        """A transition carries the time of the fact, however late it was noticed."""
        circuit = opened(at=5.0)
        circuit.advance(1000.0)
        assert circuit.since == 15.0

    def test_half_open_closes_after_the_success_threshold(self) -> None:
        """HALF_OPEN -> CLOSED after `success_threshold` successes, with the count at zero."""
        circuit = half_opened(success_threshold=2)
        first, second = acquire(circuit, 1, 10.0), acquire(circuit, 2, 10.0)
        settle(circuit, first, SUCCEEDED, at=11.0)
        assert circuit.state is HALF_OPEN
        settle(circuit, second, SUCCEEDED, at=12.0)
        assert (circuit.state, circuit.failure_count, circuit.since) == (CLOSED, 0, 12.0)

    def test_half_open_reopens_on_any_failure_with_a_full_timeout(self) -> None:
        """HALF_OPEN -> OPEN on one failure, for `recovery_timeout` from that failure on."""
        circuit = half_opened(success_threshold=3)
        settle(circuit, acquire(circuit, 1, 10.0), SUCCEEDED, at=11.0)
        settle(circuit, acquire(circuit, 2, 11.0), FAILED, at=12.5, failure="OSError")
        assert (circuit.state, circuit.deadline, circuit.failure_count) == (OPEN, 22.5, 3)
        assert (circuit.last_failure, circuit.times_opened) == ("OSError", 2)

    def test_half_open_reopens_when_a_probe_hangs(self) -> None:
        """HALF_OPEN -> OPEN when the oldest probe has run for `probe_timeout`."""
        circuit = half_opened(success_threshold=2, probe_timeout=5.0)
        assert circuit.deadline == math.inf
        hung = acquire(circuit, 1, 10.0)
        acquire(circuit, 2, 13.0)
        assert circuit.deadline == 15.0
        circuit.advance(15.0)
        assert (circuit.state, circuit.deadline) == (OPEN, 25.0)
        assert circuit.last_failure == "probe still running after 5 s"
        settle(circuit, hung, SUCCEEDED, at=16.0)
        assert (circuit.state, circuit.stale) == (OPEN, 1)

    def test_a_long_silence_makes_several_transitions_at_their_times(self) -> None:
        """Once a probe has had its turn, and did not use it."""
        circuit = half_opened(probe_timeout=5.0)
        acquire(circuit, 1, 10.0)
        circuit.advance(16.0)
        assert (circuit.state, circuit.deadline) == (HALF_OPEN, 17.0)
        circuit.advance(1000.0)
        assert [(t.to_state, t.at) for t in circuit.transitions[-2:]] == [
            (OPEN, 17.0),
            (HALF_OPEN, 27.0),
        ]

    @pytest.mark.parametrize("make", [machine, opened, half_opened])
    def test_reset_closes_from_any_state(self, make: type) -> None:
        """Any state -> CLOSED on `Reset`, with the failures forgotten and a new period."""
        circuit = make()
        before = circuit.period
        circuit.apply(Reset(at=12.0))
        assert (circuit.state, circuit.failure_count, circuit.since) == (CLOSED, 0, 12.0)
        assert circuit.period > before

    def test_reset_without_a_time_keeps_the_last_one(self) -> None:
        """A reset from outside any event loop needs no clock."""
        circuit = opened(at=5.0)
        circuit.apply(Reset())
        assert (circuit.state, circuit.since) == (CLOSED, 5.0)


class TestAdmission:
    """Who is let through."""

    def test_closed_grants_everybody_the_same(self) -> None:
        """CLOSED: one grant serves every call of the period."""
        circuit = machine()
        assert acquire(circuit, 1, 0.0) is acquire(circuit, 2, 1.0) is circuit.grant

    def test_open_refuses_with_the_exact_wait(self) -> None:
        """OPEN: a refusal names the state, the seconds left and the last failure."""
        circuit = opened(at=5.0)
        assert circuit.apply(Acquire(1, 12.0)) == Refusal(OPEN, 3.0, "ValueError: down")

    def test_the_first_request_after_the_timeout_is_a_probe(self) -> None:
        """OPEN: a request that comes at the deadline finds the circuit HALF_OPEN."""
        circuit = opened(at=5.0)
        assert acquire(circuit, 7, 15.0) == Grant(circuit.period, circuit.policy, 7)
        assert circuit.state is HALF_OPEN

    @pytest.mark.parametrize("threshold", [1, 3])
    def test_half_open_runs_as_many_probes_as_it_needs_successes(self, threshold: int) -> None:
        """HALF_OPEN: at most as many probes at once as successes are still missing."""
        circuit = half_opened(success_threshold=threshold)
        answers = [circuit.apply(Acquire(permit, 10.0)) for permit in range(1, 100)]
        granted = [answer for answer in answers if isinstance(answer, Grant)]
        assert len(granted) == threshold
        assert answers[threshold] == Refusal(HALF_OPEN, 0.0, "ValueError: down", "half_open")
        if threshold > 1:
            settle(circuit, granted[0], SUCCEEDED, at=11.0)
            assert isinstance(circuit.apply(Acquire(100, 11.0)), Refusal)

    @pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])
    def test_a_probe_that_counts_as_nothing_frees_its_permit(self, outcome: Outcome) -> None:
        """HALF_OPEN: an ignored or cancelled probe hands its permit on."""
        circuit = half_opened()
        settle(circuit, acquire(circuit, 1, 10.0), outcome, at=11.0)
        assert (circuit.state, circuit.stale) == (HALF_OPEN, 0)
        assert acquire(circuit, 2, 11.0).probe == 2

    def test_a_withdrawn_asker_frees_its_permit(self) -> None:
        """HALF_OPEN: an asker that was cancelled leaves no permit behind."""
        circuit = half_opened()
        acquire(circuit, 1, 10.0)
        circuit.apply(Withdraw(1, 10.5))
        assert acquire(circuit, 2, 11.0).probe == 2
        assert circuit.cancelled == 1

    def test_who_withdraws_may_have_no_permit(self) -> None:
        """Each is counted as cancelled, and its time passes like that of any message."""
        circuit = opened(recovery_timeout=10)
        for permit in (1, 2):
            circuit.apply(Withdraw(permit, 5.0))
        assert (circuit.cancelled, circuit.state) == (2, OPEN)
        circuit.apply(Withdraw(3, 10.0))
        assert (circuit.cancelled, circuit.state) == (3, HALF_OPEN)

    def test_a_withdrawal_needs_no_time(self) -> None:
        """An asker may be closed where no event loop runs any more."""
        circuit = half_opened()
        acquire(circuit, 1, 10.0)
        circuit.apply(Withdraw(1))
        assert running(circuit) == []


class TestStaleReports:
    """Rule 1: a report from an earlier period is counted as stale and changes nothing else."""

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_while_open(self, outcome: Outcome) -> None:
        """A late result neither closes the circuit nor makes it stay open longer."""
        circuit = machine()
        grant = circuit.grant
        settle(circuit, grant, FAILED, at=1.0)
        settle(circuit, grant, FAILED, at=2.0)
        settle(circuit, grant, outcome, at=9.0)
        assert (circuit.state, circuit.deadline, circuit.stale) == (OPEN, 12.0, 1)

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_while_half_open(self, outcome: Outcome) -> None:
        """A late result neither reopens nor closes the circuit, and frees no permit."""
        circuit = half_opened()
        acquire(circuit, 1, 10.0)
        settle(circuit, Grant(0, circuit.policy), outcome, at=11.0)
        assert (circuit.state, running(circuit), circuit.stale) == (HALF_OPEN, [1], 1)

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_in_the_next_closed_period(self, outcome: Outcome) -> None:
        """A late result neither raises nor resets the new count."""
        circuit = half_opened()
        settle(circuit, acquire(circuit, 1, 10.0), SUCCEEDED, at=11.0)
        settle(circuit, circuit.grant, FAILED, at=12.0)
        settle(circuit, Grant(0, circuit.policy), outcome, at=13.0)
        assert (circuit.state, circuit.failure_count, circuit.stale) == (CLOSED, 1, 1)

    def test_after_a_reset(self) -> None:
        """A reset forgets the calls in flight, too."""
        circuit = machine()
        grant = circuit.grant
        circuit.apply(Reset(at=1.0))
        settle(circuit, grant, FAILED, at=2.0, times=9)
        assert (circuit.state, circuit.failure_count, circuit.stale) == (CLOSED, 0, 9)

    def test_a_probe_settled_twice(self) -> None:
        """The second report of one permit is stale."""
        circuit = half_opened(success_threshold=2)
        probe = acquire(circuit, 1, 10.0)
        settle(circuit, probe, SUCCEEDED, at=11.0)
        settle(circuit, probe, SUCCEEDED, at=11.0)
        assert (circuit.state, circuit.probing.successes, circuit.stale) == (HALF_OPEN, 1, 1)

    def test_every_report_is_counted(self) -> None:
        """The four totals count every report, stale ones included."""
        circuit = opened()
        for outcome in Outcome:
            settle(circuit, Grant(0, circuit.policy), outcome, at=1.0, times=3)
        totals = circuit.succeeded, circuit.failed, circuit.ignored, circuit.cancelled
        assert totals == (3, 3 + 2, 3, 3)
        assert circuit.stale == 12


class TestStreams:
    """What a stream tells after it has been admitted: it is alive, or it has failed later."""

    def test_a_probe_is_alive(self) -> None:
        """Its time begins anew with each part of its answer, at the time of that."""
        circuit = half_opened(probe_timeout=60.0)
        probe = acquire(circuit, 1, at=10.0)
        circuit.apply(Renew(1, probe.period, at=69.0))
        assert (circuit.state, circuit.deadline) == (HALF_OPEN, 129.0)
        circuit.apply(Renew(1, probe.period, at=129.0))  # at the very end of its time
        assert (circuit.state, circuit.since) == (OPEN, 129.0)

    def test_of_another_period(self) -> None:
        """It is too late to say so."""
        circuit = half_opened(probe_timeout=60.0)
        probe = acquire(circuit, 1, at=10.0)
        circuit.apply(Renew(1, probe.period - 1, at=50.0))
        assert circuit.deadline == 70.0
        settle(circuit, probe, SUCCEEDED, at=50.0)
        circuit.apply(Renew(1, probe.period, at=50.0))
        assert (circuit.state, circuit.deadline) == (CLOSED, math.inf)

    def test_a_later_failure_counts_in_the_present_period(self) -> None:
        """In whatever state, at once; never as stale."""
        later = Grant(ANY_PERIOD, Policy())
        circuit = machine()
        settle(circuit, circuit.grant, FAILED, at=1.0)
        settle(circuit, later, FAILED, 2.0, "Down: later")
        assert (circuit.state, circuit.last_failure) == (OPEN, "Down: later")
        settle(circuit, later, FAILED, 3.0)
        assert (circuit.state, circuit.until) == (OPEN, 12.0)
        acquire(circuit, 1, at=12.0)
        settle(circuit, later, FAILED, 13.0, "Down: still")
        assert (circuit.state, circuit.until) == (OPEN, 23.0)
        assert (circuit.failed, circuit.stale, circuit.failed_recoveries) == (4, 0, 1)

    def test_a_later_failure_among_many_probes(self) -> None:
        """It is one more that has failed."""
        circuit = half_opened(probes=4, probe_failure_rate=0.5)
        later = Grant(ANY_PERIOD, Policy())
        settle(circuit, acquire(circuit, 1, at=10.0), SUCCEEDED, 10.0)
        settle(circuit, later, FAILED, 11.0)
        assert circuit.state is HALF_OPEN
        settle(circuit, later, FAILED, 12.0)
        assert circuit.state is OPEN


class TestLease:
    """What may be answered in advance."""

    def test_while_closed(self) -> None:
        """CLOSED: the slack is what is missing to the threshold."""
        circuit = machine(failure_threshold=3)
        settle(circuit, circuit.grant, FAILED)
        assert circuit.lease() == Lease(CLOSED, 0, circuit.grant, 2, -math.inf, None)

    def test_while_open(self) -> None:
        """OPEN: everybody is refused up to the deadline."""
        lease = opened(at=5.0).lease()
        assert (lease.slack, lease.refuse_until) == (0, 15.0)
        assert (lease.state, lease.last_failure) == (OPEN, "ValueError: down")

    def test_while_half_open(self) -> None:
        """HALF_OPEN: everybody asks while a permit is free, and is refused while none is."""
        circuit = half_opened(probe_timeout=5.0)
        assert (circuit.lease().slack, circuit.lease().refuse_until) == (0, -math.inf)
        acquire(circuit, 1, 10.0)
        assert (circuit.lease().slack, circuit.lease().refuse_until) == (0, 15.0)

    @pytest.mark.parametrize("failures", range(5))
    def test_the_slack_is_exact(self, failures: int) -> None:
        """Any mix of outcomes with fewer failures than the slack leaves the circuit closed, and
        the slack in failures opens it.
        """
        circuit = machine(failure_threshold=5)
        settle(circuit, circuit.grant, FAILED, at=0.0, times=1)
        for _ in range(failures - 1):
            settle(circuit, circuit.grant, FAILED, at=0.0)
        slack = circuit.lease().slack
        for _ in range(slack - 1):
            settle(circuit, circuit.grant, FAILED, at=1.0)
        assert circuit.state is CLOSED
        settle(circuit, circuit.grant, FAILED, at=1.0)
        assert circuit.state is OPEN


class TestTimes:
    """What a message without a time, or an early one, comes to."""

    def test_a_message_without_a_time_happens_at_the_latest_one(self) -> None:
        """A report from where no event loop runs opens and closes like any other."""
        circuit = machine(failure_threshold=1)
        circuit.advance(7.0)
        settle(circuit, circuit.grant, FAILED)
        assert (circuit.state, circuit.since) == (OPEN, 7.0)
        circuit.advance(17.0)
        settle(circuit, acquire(circuit, 1, 18.0), SUCCEEDED)
        assert (circuit.state, circuit.since) == (CLOSED, 18.0)

    def test_a_reset_lets_its_time_pass_first(self) -> None:
        """Whether the deadline was noticed before the reset makes no difference."""
        late, early = opened(at=5.0), opened(at=5.0)
        early.advance(15.0)
        for circuit in (late, early):
            circuit.apply(Reset(at=20.0))
        assert late.period == early.period
        assert late.transitions == early.transitions

    def test_the_wait_is_never_negative(self) -> None:
        """The seconds until a retry are counted from the latest time known."""
        circuit = opened(at=5.0)
        circuit.advance(14.0)
        assert circuit.retry_after(circuit.latest) == 1.0


class TestIllegalMessages:
    """Rule 2: what is no message raises before anything has changed."""

    @pytest.mark.parametrize("message", ["no message at all", None, Grant(0, Policy())])
    def test_nothing_changes(self, message: Message) -> None:
        """A foreign object is refused."""
        circuit = machine(failure_threshold=1)
        before = _visible(circuit)
        with pytest.raises(AssertionError):
            circuit.apply(message)
        assert _visible(circuit) == before

    def test_replay_leaves_them_out(self) -> None:
        """`replay` applies what can be applied, to a copy."""
        circuit = machine(failure_threshold=3)
        failure = Settle(0, 0, FAILED)
        twin = replay(circuit, [failure, None, failure, None])  # type: ignore[list-item]
        assert (twin.failure_count, circuit.failure_count) == (2, 0)


def test_a_copy_is_independent() -> None:
    """What happens to a copy does not show in the original, nor the other way."""
    circuit = half_opened(success_threshold=2)
    acquire(circuit, 1, 10.0)
    twin = circuit.copy()
    circuit.transitions.clear()
    assert _visible(twin) == _visible(circuit)
    acquire(twin, 2, 10.0)
    twin.apply(Reset(at=11.0))
    assert (circuit.state, running(circuit)) == (HALF_OPEN, [1])


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        (CircuitState.FORCED_OPEN, True),
        (HALF_OPEN, False),
        (CLOSED, False),
        (CircuitState.METRICS_ONLY, False),
    ],
)
def test_who_would_only_wait(state: CircuitState, waits: bool) -> None:
    """Nobody who may be admitted now, however long he is ready to wait."""
    circuit = machine()
    circuit.apply(Force(state, 1.0))
    assert circuit.would_only_wait(Acquire(1, 2.0, wait_until=math.inf)) is waits


def test_states_equal_their_strings() -> None:
    """Existing code compares states with strings."""
    for state in CircuitState:
        assert state == state.value == state.name.lower()


def running(circuit: Machine) -> list[int]:
    """The probes that run."""
    return [] if circuit.probing is None else list(circuit.probing.running)


def _visible(circuit: Machine) -> object:
    """All that there is of a machine, but for its policy, as plain values."""
    return plain(circuit), circuit.transitions, circuit.released


def test_who_keeps_it_open_is_forgotten_in_time() -> None:
    """Those whose time is over leave nothing, though somebody else keeps it open all the while."""
    circuit = machine()
    circuit.apply(Force(CircuitState.FORCED_OPEN, 0.0, hold=1))
    for hold in range(2, 100):
        circuit.apply(Force(CircuitState.FORCED_OPEN, hold * 10.0, hold=hold, seconds=15.0))
    assert dict(circuit.holds) == {1: math.inf, 98: 995.0, 99: 1005.0}
