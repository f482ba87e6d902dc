"""A shared circuit's machine: what it asks and tells, what it adopts, and what it does alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from supervisor.machine import (
    ANY_PERIOD,
    Acquire,
    Adopt,
    AskAgain,
    Asked,
    CircuitState,
    Decide,
    Failed,
    Force,
    Forced,
    FromFleet,
    Grant,
    Machine,
    Opened,
    Probed,
    Refusal,
    Reset,
    Settle,
    SharedMachine,
    Take,
    ToFleet,
    Transition,
    Wait,
    Withdraw,
)
from supervisor.policy import Failure, Outcome, Policy

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, METRICS_ONLY = CircuitState.FORCED_OPEN, CircuitState.METRICS_ONLY
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED


class Shared:
    """A machine that opens at the first failure, for ten seconds, and what it has said so far."""

    def __init__(self, **policy: Any) -> None:
        self.machine = SharedMachine(
            Policy(**{"failure_threshold": 1, "recovery_timeout": 10.0, **policy})
        )
        self.answers: dict[int, Grant | Refusal] = {}
        self.told: list[ToFleet] = []
        self.transitions: list[tuple[str, str, str]] = []

    def __call__(self, *messages: Any, until: float | None = None) -> None:
        """Take messages, each in a turn of its own, and let time pass."""
        for message in messages:
            answer = self.machine.apply(message)
            if answer is not None:
                self.answers[message.permit] = answer
            self.turn(message.at)
        if until is not None:
            self.turn(until)

    def turn(self, at: float) -> None:
        self.machine.advance(at)
        for told in self.machine.transitions:
            match told:
                case Transition():
                    states = told.from_state.value, told.to_state.value
                    self.transitions.append((*states, told.origin))
                case Opened() | Asked() | Probed() | Forced() | Failed():
                    self.told.append(told)
                case _:
                    raise AssertionError(told)
        self.machine.transitions = []
        self.answers.update(self.machine.released)
        self.machine.released = ()

    @property
    def state(self) -> CircuitState:
        return self.machine.state

    def last(self) -> ToFleet:
        """What it has told last; it has not told anything else since it was asked for that."""
        (told,) = self.told
        self.told.clear()
        return told

    def fail(self, at: float, permit: int = 0, **report: Any) -> None:
        self(Settle(self.machine.period, permit, FAILED, at, "down", **report))

    def succeed(self, at: float, permit: int = 0) -> None:
        self(Settle(self.machine.period, permit, SUCCEEDED, at))

    def refused(self, permit: int) -> str:
        answer = self.answers[permit]
        assert isinstance(answer, Refusal)
        return answer.reason

    def admitted(self, permit: int) -> Grant:
        answer = self.answers[permit]
        assert isinstance(answer, Grant)
        return answer

    def take(self, at: float, until: float = 100.0, token: str = "one") -> None:
        """Be given a token for what it has just asked."""
        asked = self.last()
        assert isinstance(asked, Asked)
        self(Take(token, (2, 0), until, at, asked.number))


def news(
    state: CircuitState = OPEN, epoch: int = 1, at: float = 1.0, until: float = 10.0, **more: Any
) -> Adopt:
    return Adopt(state, (epoch, 0), until, 0, None, at, **more)


def half_open(**policy: Any) -> Shared:
    """One that has opened, told so, and become half-open at ten seconds."""
    shared = Shared(**policy)
    shared.fail(0.0)
    opened = shared.last()
    assert opened == Opened((0, 0), 10.0, 0, hinted=False, failure="down")
    shared(news(at=0.1, until=10.0), until=10.0)
    assert (shared.state, shared.told) == (HALF_OPEN, [])
    return shared


def probing(permit: int = 1, **policy: Any) -> Shared:
    """One that runs a probe by a token."""
    shared = half_open(**policy)
    shared(Acquire(permit, 10.0))
    shared.take(10.1)
    assert shared.admitted(permit).probe == permit
    return shared


class TestAsking:
    """In HALF_OPEN, a place comes with a token."""

    def test_the_first_asker_waits_and_others_are_refused(self) -> None:
        """Until the fleet has answered."""
        shared = half_open(success_threshold=2)
        assert shared.machine.lease().refuse_until < 0  # so callers ask
        shared(Acquire(1, 10.0), Acquire(2, 10.0))
        asked = shared.last()
        assert asked == Asked(1, (1, 0), 2, 2, 0, "down")
        assert shared.machine.lease().refuse_until == 10.25
        assert (shared.refused(2), 1 in shared.answers) == ("half_open", False)
        shared(Take("one", (2, 0), 100.0, 10.1, answers=1))
        assert shared.admitted(1).probe == 1
        shared(Acquire(3, 10.2))  # there may be room for more
        assert isinstance(shared.last(), Asked)

    def test_without_an_answer_it_decides_alone(self) -> None:
        """After a quarter of a second; for the rest of the period."""
        shared = half_open()
        shared(Acquire(1, 10.0), until=10.2)
        assert 1 not in shared.answers
        shared.turn(10.25)
        assert shared.admitted(1).probe == 1
        shared(Acquire(2, 10.3))
        assert shared.refused(2) == "half_open"  # a circuit alone has one place
        shared.told.clear()
        shared.succeed(10.5, permit=1)
        assert (shared.state, shared.told) == (CLOSED, [])

    def test_all_places_are_taken(self) -> None:
        """The first asker is refused, too, and nobody asks again before one may be free."""
        shared = half_open()
        shared(Acquire(1, 10.0), Wait(14.0, 10.1, answers=99))
        assert 1 not in shared.answers
        shared(Wait(14.0, 10.1, answers=1))
        assert shared.refused(1) == "half_open"
        assert shared.machine.lease().refuse_until == 14.0
        shared.told.clear()
        shared(Acquire(2, 11.0))
        assert (shared.refused(2), shared.told) == ("half_open", [])
        shared(AskAgain(12.0), Acquire(3, 12.0))
        shared(Wait(11.0, 12.1, answers=2))  # whose clock is another
        assert shared.machine.lease().refuse_until == pytest.approx(12.15)
        shared.turn(12.2)
        shared.told.clear()
        shared(Acquire(4, 12.3))
        assert isinstance(shared.last(), Asked)

    def test_who_said_he_would_waits_on(self) -> None:
        """And the fleet is asked for him when there may be a place."""
        shared = half_open()
        shared(Acquire(1, 10.0, wait_until=60.0), Acquire(2, 10.0, wait_until=60.0))
        assert shared.last() == Asked(1, (1, 0), 1, 1, 0, "down")
        shared(Wait(14.0, 10.1, answers=1), until=13.0)
        assert shared.told == []
        shared.turn(14.0)
        assert shared.last() == Asked(2, (1, 0), 1, 1, 0, "down")
        shared(Wait(18.0, 14.1, answers=2), AskAgain(15.0))
        shared.take(15.1)
        assert (shared.admitted(1).probe, 2 in shared.answers) == (1, False)
        assert isinstance(shared.last(), Asked)  # for the other one
        shared(Wait(18.0, 15.2, answers=4), Withdraw(2, 15.5))
        shared.succeed(16.0, permit=1)
        assert isinstance(shared.last(), Probed)

    def test_who_waits_for_no_time_waits_for_the_fleet(self) -> None:
        """As who does not say that he would."""
        shared = half_open()
        shared(Acquire(1, 10.0, wait_until=10.0), Wait(14.0, 10.1, answers=1))
        assert shared.refused(1) == "half_open"

    def test_who_waited_since_it_was_open(self) -> None:
        """The fleet is asked for him as soon as it is half-open."""
        shared = Shared()
        shared.fail(0.0)
        shared(Acquire(1, 1.0, wait_until=60.0))
        shared.told.clear()
        shared.turn(10.0)
        assert isinstance(shared.last(), Asked)

    def test_a_token_that_nobody_wants_any_more(self) -> None:
        """It is given back, once the asker has gone, or the period has ended."""
        shared = half_open()
        shared(Acquire(1, 10.0), Withdraw(1, 10.05))
        shared.take(10.1)
        back = Probed(0, "one", (2, 0), "given back", 1, 0.0, 0, None)
        assert shared.last() == back
        shared(Acquire(2, 10.2))
        shared.take(10.3, token="two")
        shared(Withdraw(2, 10.4))
        assert shared.last() == replace(back, token="two")
        shared(Acquire(3, 10.5))
        shared.told.clear()
        shared(news(CLOSED, epoch=5, at=10.6), Take("three", (2, 0), 99.0, 10.7, answers=3))
        assert shared.last() == replace(back, token="three")
        assert shared.admitted(3).probe == 0  # a call of a closed circuit

    def test_a_token_that_comes_late(self) -> None:
        """The probe that runs without one has it; a second one goes back."""
        shared = half_open()
        shared(Acquire(1, 10.0), until=10.3)
        shared.told.clear()
        shared(Take("one", (2, 0), 99.0, 10.4, answers=1), Take("two", (2, 0), 99.0, 10.4, 1))
        back = shared.last()
        assert isinstance(back, Probed)
        assert (back.token, back.verdict) == ("two", "given back")
        shared.succeed(11.0, permit=1)
        verdict = shared.last()
        assert isinstance(verdict, Probed)
        assert (verdict.token, verdict.verdict) == ("one", "succeeded")

    def test_a_budget_for_retries_is_looked_at_before_a_token_is_used(self) -> None:
        """The token goes back."""
        shared = half_open(retry_budget=0.1)
        shared(Acquire(1, 10.0, retry=True))
        budget = shared.machine.budget
        assert budget is not None
        while budget.spend(shared.machine.policy, 10.0):
            pass
        shared.take(10.1)
        assert shared.refused(1) == "retry_budget"
        assert isinstance(shared.last(), Probed)

    def test_a_token_that_comes_after_it_has_closed_alone(self) -> None:
        """The fleet is told of that, and its own period of HALF_OPEN does not disturb it."""
        shared = half_open()
        shared(Acquire(1, 10.0), until=10.3)
        shared.succeed(10.4, permit=1)
        shared.told.clear()
        shared(news(HALF_OPEN, 2, at=10.5, until=10.0, origin="here"))
        assert shared.state is CLOSED
        shared(Take("one", (2, 0), 99.0, 10.5, answers=1))
        told = shared.last()
        assert isinstance(told, Probed)
        assert (told.verdict, told.number) == ("succeeded", 2)
        shared(news(CLOSED, 3, at=10.9, origin="here"))
        assert shared.state is CLOSED

    def test_a_token_that_comes_after_it_was_closed_otherwise(self) -> None:
        """By hand, or by the fleet, too: it has found out nothing, or that is over."""
        token = Take("one", (2, 0), 99.0, 10.6, answers=1)
        shared = half_open()
        shared(Acquire(1, 10.0), Reset(10.5))
        shared.told.clear()
        shared(token)
        told = shared.last()
        assert isinstance(told, Probed)
        assert told.verdict == "given back"
        shared = half_open()
        shared(Acquire(1, 10.0), until=10.3)
        shared.succeed(10.4, permit=1)
        shared.told.clear()
        shared(news(CLOSED, 5, at=10.5), token)
        told = shared.last()
        assert isinstance(told, Probed)
        assert told.verdict == "given back"

    def test_places_that_nobody_has_asked_for(self) -> None:
        """Are not waited for."""
        shared = half_open()
        shared(Wait(90.0, 10.0, 4), Acquire(1, 10.1))
        assert isinstance(shared.last(), Asked)


class TestVerdicts:
    """A probe counts when the fleet says so."""

    def test_a_success_closes_it_when_the_fleet_says_so(self) -> None:
        """It waits, and asks nothing meanwhile."""
        shared = probing()
        shared.succeed(10.5, permit=1)
        assert shared.last() == Probed(2, "one", (2, 0), "succeeded", 1, 10.0, 1, None)
        shared(Acquire(2, 10.5))
        assert (shared.state, shared.refused(2)) == (HALF_OPEN, "half_open")
        shared(news(CLOSED, epoch=3, at=10.6, answers=2, origin="here"))
        assert (shared.state, shared.transitions[-1]) == (
            CLOSED,
            ("half_open", "closed", "here"),
        )

    def test_a_failure_opens_it_for_the_time_that_the_fleet_says(self) -> None:
        """Which is longer after each recovery that has failed."""
        shared = probing(recovery_factor=2.0, max_recovery_timeout=60.0)
        shared.fail(10.5, permit=1)
        assert shared.last() == Probed(2, "one", (2, 0), "failed", 1, 20.0, 1, "down")
        shared(news(OPEN, epoch=3, at=10.6, until=30.4, answers=2, origin="here"))
        assert (shared.state, shared.machine.until) == (OPEN, 30.4)

    @pytest.mark.parametrize("succeeds", [True, False])
    def test_without_an_answer_it_counts_here(self, succeeds: bool) -> None:
        """After a quarter of a second."""
        shared = probing()
        if succeeds:
            shared.succeed(10.5, permit=1)
        else:
            shared.fail(10.5, permit=1)
        shared.turn(10.7)
        assert shared.state is HALF_OPEN
        shared.turn(10.75)
        assert shared.state is (CLOSED if succeeds else OPEN)

    def test_the_fleet_has_no_opinion(self) -> None:
        """Then it counts here, at once."""
        shared = probing()
        shared.succeed(10.5, permit=1)
        shared(Decide(10.6, answers=2))
        assert shared.state is CLOSED

    def test_a_verdict_after_the_end_of_its_token_changes_nothing(self) -> None:
        """Whoever was frozen may find that another one has probed."""
        shared = half_open()
        shared(Acquire(1, 10.0))
        shared.take(10.1, until=12.0)
        shared.succeed(12.0, permit=1)
        back = shared.last()
        assert isinstance(back, Probed)
        assert back.verdict == "given back"
        assert (shared.state, shared.machine.stale) == (HALF_OPEN, 1)

    def test_a_token_is_good_for_longer(self) -> None:
        """If it is given once more; but not if it is not known any more."""
        shared = half_open()
        shared(Acquire(1, 10.0))
        shared.take(10.1, until=12.0)
        shared(Take("one", (2, 0), 17.0, 11.0), Take("other", (2, 0), 17.0, 11.0))
        shared.succeed(12.0, permit=1)
        assert isinstance(shared.last(), Probed)

    def test_more_successes_are_needed(self) -> None:
        """The answer says HALF_OPEN, and the next one may ask."""
        shared = probing(success_threshold=2)
        shared.succeed(10.5, permit=1)
        shared.told.clear()
        shared(news(HALF_OPEN, epoch=2, at=10.6, answers=2), Acquire(2, 11.0))
        assert isinstance(shared.last(), Asked)

    def test_what_says_nothing_gives_the_token_back(self) -> None:
        """As does a failure among several probes that decides nothing."""
        shared = probing(probes=4, probe_failure_rate=0.5)
        shared(Settle(shared.machine.period, 1, Outcome.IGNORED, 10.5))
        told = shared.last()
        assert isinstance(told, Probed)
        assert (told.verdict, told.needed) == ("given back", 3)
        for permit, verdict in ((2, "given back"), (3, "failed")):
            shared(Acquire(permit, 11.0))
            shared.take(11.0, token=str(permit))
            shared.fail(11.5, permit)
            told = shared.last()
            assert isinstance(told, Probed)
            assert told.verdict == verdict

    def test_so_many_of_a_sample_run_at_once(self) -> None:
        """In the whole fleet, which is asked for no more."""
        sample: dict[str, Any] = {"probes": 4, "probe_failure_rate": 0.5}
        for fields, at_once in (({}, 4), ({"probes_at_once": 2}, 2)):
            shared = half_open(**sample, **fields)
            shared(Acquire(1, 10.0))
            asked = shared.last()
            assert isinstance(asked, Asked)
            assert (asked.needed, asked.at_once) == (3, at_once)

    def test_a_hint_of_the_dependency_opens_it_at_once(self) -> None:
        """Be it the first of several failures."""
        shared = probing(probes=4, probe_failure_rate=0.5)
        shared.fail(10.5, permit=1, of_kind=Failure(retry_after=30.0))
        told = shared.last()
        assert isinstance(told, Probed)
        assert (told.verdict, told.seconds) == ("failed", 30.0)

    def test_a_slow_success_is_a_failure(self) -> None:
        """By the policy of the circuit."""
        shared = probing()
        shared(Settle(shared.machine.period, 1, SUCCEEDED, 10.5, slow=True))
        told = shared.last()
        assert isinstance(told, Probed)
        assert told.verdict == "failed"

    def test_a_probe_that_runs_too_long(self) -> None:
        """It has failed, as far as the fleet says so."""
        shared = probing(probe_timeout=5.0)
        shared.turn(15.1)
        told = shared.last()
        assert isinstance(told, Probed)
        assert (told.verdict, told.failure) == ("failed", "probe still running after 5 s")
        shared.succeed(15.2, permit=1)
        assert (shared.machine.stale, shared.state) == (1, HALF_OPEN)

    def test_without_a_verdict_in_time_it_opens_by_a_token(self) -> None:
        """If it has one: so it is open for all."""
        shared = probing(half_open_timeout=5.0, success_threshold=2)
        shared(Acquire(2, 11.0))
        shared.take(11.0, token="two")
        shared.turn(15.1)
        failed, back = shared.told
        assert isinstance(failed, Probed)
        assert isinstance(back, Probed)
        assert (failed.verdict, back.verdict, shared.state) == ("given back", "failed", OPEN)

    def test_a_stream_that_fails_after_its_verdict(self) -> None:
        """Opens it by another probe's token, or tells that it is open."""
        shared = probing()
        shared(Settle(ANY_PERIOD, 7, FAILED, 11.0, "broken"))
        told = shared.last()
        assert isinstance(told, Probed)
        assert (told.verdict, shared.state) == ("failed", OPEN)


class TestLink:
    """What it does when the fleet cannot be reached."""

    def test_all_that_it_waits_for_is_decided_here(self) -> None:
        """At once: an asker, a verdict."""
        shared = half_open(success_threshold=2)
        shared(Acquire(1, 10.0))
        shared.take(10.1)
        shared.succeed(10.2, permit=1)
        shared(Decide(10.3), Acquire(2, 10.4))
        assert shared.admitted(2).probe == 2
        shared.succeed(10.5, permit=2)
        assert shared.state is CLOSED

    def test_nobody_waits_for_what_does_not_come(self) -> None:
        """An asker, a verdict, and who comes later: all are answered in that turn."""
        shared = half_open()
        shared(Acquire(1, 10.0), Decide(10.1))
        assert shared.admitted(1).probe == 1
        shared = probing()
        shared.succeed(10.2, permit=1)
        shared(Decide(10.3))
        assert shared.state is CLOSED
        shared = half_open()
        shared(Decide(10.0), Acquire(1, 10.1))
        assert shared.admitted(1).probe == 1
        assert shared.told == []

    def test_a_probe_that_runs_counts_here(self) -> None:
        """Its token means nothing any more."""
        shared = probing()
        shared.told.clear()
        shared(Decide(10.3))
        shared.succeed(500.0, permit=1)
        assert (shared.state, shared.told) == (CLOSED, [])

    def test_a_closed_circuit_goes_on(self) -> None:
        """An answer to what nobody asks changes nothing, either."""
        shared = Shared()
        shared(Decide(1.0), Decide(1.0, answers=4), Wait(9.0, 1.0, 4), AskAgain(1.0))
        assert shared.state is CLOSED


class TestAdopting:
    """What it takes from the fleet."""

    def test_an_opening_elsewhere_opens_it(self) -> None:
        """For as long, with its failure and its recoveries."""
        shared = Shared()
        opened = Adopt(OPEN, (5, 0), 8.0, 3, "OSError", 1.0)
        shared(opened)
        machine = shared.machine
        assert (machine.state, machine.until, machine.failed_recoveries) == (OPEN, 8.0, 3)
        assert (machine.last_failure, machine.times_opened) == ("OSError", 1)
        assert machine.origin_of_state == "fleet"
        assert (shared.transitions, shared.told) == ([("closed", "open", "fleet")], [])
        shared.turn(8.0)
        assert (shared.state, machine.origin_of_state) == (HALF_OPEN, "fleet")

    def test_what_is_not_later_changes_nothing(self) -> None:
        """Be it late, or heard twice."""
        shared = Shared()
        shared(news(OPEN, 5), news(CLOSED, 6, 2.0), news(OPEN, 5, 3.0), news(CLOSED, 6, 3.0))
        shared(news(OPEN, 4, 3.0, answers=9))
        assert shared.state is CLOSED
        shared.fail(4.0)
        shared(news(CLOSED, 6, 5.0))
        assert shared.state is OPEN

    def test_its_own_way_is_its_own(self) -> None:
        """Until there is something later, or an answer; what is set by hand goes before that."""
        shared = Shared()
        shared(news(OPEN, 5), Reset(2.0), news(OPEN, 5, 3.0))
        assert shared.state is CLOSED
        shared(news(OPEN, 5, 4.0, until=8.0, answers=9))
        assert shared.state is OPEN
        shared(Force(FORCED_OPEN, 5.0), news(OPEN, 5, 6.0, until=8.0, answers=9))
        assert shared.state is FORCED_OPEN

    def test_the_first_opening_counts(self) -> None:
        """It is open here until the fleet says, without another transition."""
        shared = Shared()
        shared.fail(0.0)
        shared(news(OPEN, 5, 0.1, until=7.0))
        assert (shared.machine.until, len(shared.transitions)) == (7.0, 1)
        assert shared.machine.last_failure == "down"

    def test_half_open_elsewhere(self) -> None:
        """Then it is so here, whatever it was before."""
        for before in (None, news(OPEN, 1, until=60.0)):
            shared = Shared()
            if before is not None:
                shared(before)
            shared(news(HALF_OPEN, 2, at=5.0, until=4.0))
            assert shared.state is HALF_OPEN

    def test_closed_elsewhere_begins_a_ramp(self) -> None:
        """Or all would come back at once."""
        shared = Shared(ramp=10.0)
        shared(news(OPEN, 1, until=60.0), news(CLOSED, 2, at=5.0))
        assert (shared.state, shared.machine.ramp_step) == (CLOSED, 1)

    def test_our_clock_is_ahead(self) -> None:
        """The fleet says that it is still open: so it is, for a moment at least."""
        shared = half_open()
        shared(Acquire(1, 10.0), news(OPEN, 1, at=10.1, until=10.0, answers=1))
        assert (shared.state, shared.refused(1)) == (OPEN, "open")
        assert shared.machine.until == pytest.approx(10.15)

    def test_an_answer_to_what_has_gone_its_own_way(self) -> None:
        """A verdict that was counted here did not count for the fleet."""
        shared = probing()
        shared.succeed(10.5, permit=1)
        shared.turn(10.75)
        assert shared.state is CLOSED
        shared(news(HALF_OPEN, 2, at=10.9, until=10.0, answers=2))
        assert shared.state is HALF_OPEN
        shared(news(HALF_OPEN, 2, at=10.9, until=10.0, answers=2))
        assert shared.state is HALF_OPEN

    def test_only_measuring_tells_nothing(self) -> None:
        """What it would do is nobody's business."""
        shared = Shared()
        shared(Force(METRICS_ONLY, 0.0))
        shared.fail(1.0)
        shared(news(CLOSED, 0, 2.0, rejoined=True))
        assert (shared.machine.would_be, shared.told) == (OPEN, [])
        shared.turn(11.0)
        shared(Acquire(1, 11.5))
        assert (shared.machine.would_be, shared.told) == (HALF_OPEN, [])
        shared(news(CLOSED, 1, 12.0, rejoined=True))
        assert shared.told == []


class TestByHand:
    """States that are set by hand: here, or for all."""

    def test_here_goes_before(self) -> None:
        """The fleet's state is taken up at the release."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0), news(OPEN, 5, at=1.0, until=20.0))
        assert (shared.state, shared.machine.origin_of_state) == (FORCED_OPEN, "by hand")
        shared(Force(CLOSED, 2.0))
        assert (shared.state, shared.machine.until) == (OPEN, 20.0)
        assert shared.transitions == [
            ("closed", "forced_open", "by hand"),
            ("forced_open", "closed", "by hand"),
            ("closed", "open", "fleet"),
        ]
        shared(Force(CLOSED, 3.0), Reset(4.0))
        assert shared.state is CLOSED

    def test_a_release_where_the_fleet_says_nothing(self) -> None:
        """It is closed."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0), Force(CLOSED, 2.0))
        assert (shared.state, shared.told) == (CLOSED, [])

    def test_for_all(self) -> None:
        """It stays until it is released for all, and goes behind what is set here."""
        shared = Shared()
        shared(news(FORCED_OPEN, 5), Force(CLOSED, 2.0))
        assert (shared.state, shared.machine.origin_of_state) == (FORCED_OPEN, "fleet")
        shared(Force(METRICS_ONLY, 3.0), news(CLOSED, 6, at=4.0))
        assert shared.state is METRICS_ONLY
        shared(Force(CLOSED, 5.0), news(FORCED_OPEN, 7, at=6.0), news(OPEN, 8, at=7.0))
        assert shared.state is OPEN
        shared(news(FORCED_OPEN, 9, at=8.0), news(CLOSED, 10, at=9.0))
        assert (shared.state, shared.told) == (CLOSED, [])

    def test_here_for_a_time(self) -> None:
        """Afterwards, the fleet's state is taken up; or it decides alone if there is none."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0, seconds=5.0))
        shared.turn(5.0)
        shared(Acquire(1, 5.5))
        shared.succeed(6.0, permit=1)
        assert (shared.state, shared.told) == (CLOSED, [])
        shared(Force(FORCED_OPEN, 7.0, seconds=5.0), news(OPEN, 5, at=8.0, until=20.0))
        assert shared.state is FORCED_OPEN
        shared.turn(12.0)
        assert (shared.state, shared.machine.until) == (OPEN, 20.0)
        assert shared.transitions[-2:] == [
            ("forced_open", "half_open", "by hand"),
            ("half_open", "open", "fleet"),
        ]

    def test_here_by_several(self) -> None:
        """The last of them takes up the fleet's state; what is set for all is none of theirs."""
        shared = Shared()
        shared(news(FORCED_OPEN, 5))
        shared(Force(FORCED_OPEN, 1.0, hold=1), Force(FORCED_OPEN, 1.0, hold=2))
        shared(Force(CLOSED, 2.0, hold=2), news(OPEN, 6, at=3.0, until=20.0))
        assert shared.state is FORCED_OPEN
        shared(Force(CLOSED, 4.0, hold=1))
        assert (shared.state, shared.machine.until) == (OPEN, 20.0)

    def test_for_all_goes_before_several_here(self) -> None:
        """Once it is released for all, nobody keeps it open."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0, hold=1), Force(FORCED_OPEN, 1.0, everywhere=True))
        shared(news(FORCED_OPEN, 5, at=1.2, answers=1), news(CLOSED, 6, at=2.0))
        assert shared.state is CLOSED

    def test_half_open_here(self) -> None:
        """It decides alone, without a question to the fleet, which is told if it opens."""
        shared = Shared()
        shared(Force(HALF_OPEN, 0.0), Acquire(1, 0.5))
        assert (shared.state, shared.told) == (HALF_OPEN, [])
        assert shared.transitions == [("closed", "half_open", "by hand")]
        shared.fail(1.0, permit=1)
        assert shared.state is OPEN
        assert isinstance(shared.last(), Opened)

    def test_set_here_for_all(self) -> None:
        """At once here; the fleet is told, and what it says until it has answered is kept."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0, everywhere=True))
        assert (shared.state, shared.last()) == (FORCED_OPEN, Forced(1, (0, 0), FORCED_OPEN))
        shared(news(OPEN, 4, at=0.1), news(FORCED_OPEN, 5, at=0.2, answers=1))
        shared(news(CLOSED, 6, at=0.3))
        assert shared.state is CLOSED

    def test_released_here_for_all(self) -> None:
        """Also one that is merely open, and whose release is heard as news first."""
        shared = Shared()
        shared(news(OPEN, 5, until=60.0), Force(CLOSED, 2.0, everywhere=True))
        assert (shared.state, shared.last()) == (OPEN, Forced(1, (5, 0), CLOSED))
        shared(news(CLOSED, 6, at=2.1), news(CLOSED, 6, at=2.2, answers=1))
        assert shared.state is CLOSED

    def test_what_is_set_for_all_is_not_released_here(self) -> None:
        """Not for a moment."""
        shared = Shared()
        shared(news(FORCED_OPEN, 5), Force(CLOSED, 2.0))
        assert shared.transitions == [("closed", "forced_open", "fleet")]

    def test_an_answer_that_later_news_has_overtaken(self) -> None:
        """The later one counts."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0, everywhere=True))
        shared(news(CLOSED, 6, at=0.1), news(FORCED_OPEN, 5, at=0.2, answers=1))
        assert shared.state is CLOSED

    def test_set_otherwise_here_before_the_answer(self) -> None:
        """Then that stays."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0, everywhere=True), Force(METRICS_ONLY, 0.1))
        shared(news(FORCED_OPEN, 5, at=0.2, answers=1))
        assert shared.state is METRICS_ONLY


class TestRejoining:
    """How things stand after news were missed."""

    def test_what_is_open_there_is_adopted(self) -> None:
        """Also by a circuit that has closed by itself meanwhile."""
        shared = half_open()
        shared(Decide(10.0), Acquire(1, 10.0), Acquire(2, 10.0))
        shared.turn(10.3)
        shared.succeed(10.5, permit=1)
        assert shared.state is CLOSED
        shared(news(OPEN, 1, at=11.0, until=10.0, rejoined=True))
        assert shared.state is HALF_OPEN
        shared(news(OPEN, 1, at=12.0, until=11.0, rejoined=True))
        assert shared.state is HALF_OPEN  # no probe that runs is disturbed
        shared(news(OPEN, 3, at=13.0, until=20.0, rejoined=True))
        assert shared.state is OPEN

    def test_what_is_open_here_is_told(self) -> None:
        """If the fleet knows nothing else."""
        shared = Shared()
        shared(news(CLOSED, 5))
        shared.fail(2.0)
        opened = shared.last()
        shared(news(CLOSED, 5, at=4.0, rejoined=True))
        assert (shared.state, shared.last()) == (OPEN, opened)
        shared(news(CLOSED, 6, at=5.0, rejoined=True))
        assert (shared.state, shared.told) == (CLOSED, [])

    def test_a_store_that_has_lost_all(self) -> None:
        """It is told again; the next epoch may be any."""
        shared = Shared()
        shared(news(OPEN, 5, until=30.0), news(CLOSED, 0, at=2.0, rejoined=True, lost=True))
        opened = shared.last()
        assert isinstance(opened, Opened)
        assert (opened.view, opened.until) == ((0, 0), 30.0)
        shared(news(OPEN, 1, at=3.0, until=29.0))
        assert shared.machine.until == 29.0

    def test_a_half_open_circuit_stays(self) -> None:
        """The fleet lets somebody probe who knows better."""
        shared = half_open()
        shared(Decide(10.0), news(CLOSED, 1, at=11.0, rejoined=True), Acquire(1, 11.0))
        assert shared.state is HALF_OPEN
        assert isinstance(shared.last(), Asked)

    def test_a_closed_one_stays(self) -> None:
        """Whatever was lost; what is merely late changes nothing."""
        shared = Shared()
        shared(news(OPEN, 5), news(CLOSED, 6, 2.0), news(OPEN, 5, at=3.0, rejoined=True))
        assert shared.state is CLOSED
        shared = Shared()
        shared(
            news(OPEN, 5), news(CLOSED, 6, 2.0), news(CLOSED, 0, at=3.0, rejoined=True, lost=True)
        )
        assert (shared.state, shared.machine.terms.epoch, shared.told) == (CLOSED, (0, 0), [])

    def test_a_state_for_all_survives_a_store_that_has_lost_it(self) -> None:
        """But not a store that has heard of the release."""
        shared = Shared()
        shared(news(FORCED_OPEN, 5), news(CLOSED, 0, at=2.0, rejoined=True, lost=True))
        assert (shared.state, shared.last()) == (FORCED_OPEN, Forced(1, (5, 0), FORCED_OPEN))
        shared(news(FORCED_OPEN, 7, at=2.5, answers=1), news(CLOSED, 7, at=3.0, rejoined=True))
        assert (shared.state, shared.told) == (CLOSED, [])

    def test_what_was_not_answered_is_told_again(self) -> None:
        """A state, or a release, that was meant for all."""
        for state in (FORCED_OPEN, CLOSED):
            shared = Shared()
            shared(Force(state, 0.0, everywhere=True), Decide(1.0))
            told = shared.last()
            shared(news(CLOSED, 0, at=2.0, rejoined=True, lost=True))
            assert shared.last() == told
            assert not shared.machine.agrees_with(news(CLOSED, 0, at=3.0, rejoined=True))

    def test_what_was_not_answered_is_told_to_an_old_copy(self) -> None:
        """Although that does not know how much it has lost: else nothing would be heard again."""
        shared = Shared()
        shared(Force(FORCED_OPEN, 0.0, everywhere=True), news(FORCED_OPEN, 5), Decide(1.5))
        shared.told.clear()
        shared(news(METRICS_ONLY, 4, at=2.0, rejoined=True))
        assert (shared.state, shared.last()) == (FORCED_OPEN, Forced(1, (5, 0), FORCED_OPEN))
        shared(news(FORCED_OPEN, 6, at=3.0, answers=1), news(CLOSED, 7, at=4.0))
        assert shared.state is CLOSED

    def test_where_nothing_is_to_be_told(self) -> None:
        """A plainly closed circuit need not hear that it is closed, if it knows since when."""
        shared = Shared()
        shared(news(CLOSED, 5))
        assert shared.machine.agrees_with(news(CLOSED, 5, rejoined=True))
        assert not shared.machine.agrees_with(news(CLOSED, 4, rejoined=True, lost=True))


class TestMachine:
    """What it has in common with every machine."""

    def test_a_copy_knows_all_and_changes_nothing(self) -> None:
        """Reads are made on copies."""
        shared = probing()
        before = shared.machine.copy()
        twin = shared.machine.copy()
        twin.apply(Settle(twin.period, 1, SUCCEEDED, 11.0))
        twin.apply(Acquire(2, 11.0))
        twin.apply(news(CLOSED, 9, at=12.0))
        assert isinstance(twin, SharedMachine)
        assert vars(shared.machine.terms) == vars(before.terms)

    @pytest.mark.parametrize("message", [news(), Take("", (0, 0), 0.0, 0.0), Decide(0.0)])
    def test_one_that_is_not_shared_has_no_fleet(self, message: FromFleet) -> None:
        """It refuses what one says."""
        with pytest.raises(AssertionError, match="is no message for"):
            Machine(Policy()).apply(message)


class TestCountingTogether:
    """Failures that have not opened it."""

    def test_they_are_told_by_their_weight(self) -> None:
        """With the time for which it would be open; but not the one that opens it."""
        shared = Shared(failure_threshold=4)
        shared.machine.terms.counts = True
        shared.fail(1.0)
        shared.fail(2.0, of_kind=Failure(weight=2, recovery_timeout=5.0))
        shared.succeed(3.0)
        shared.fail(4.0, of_kind=Failure(weight=0))
        assert shared.told == [
            Failed((0, 0), 1, 10.0, "down"),
            Failed((0, 0), 2, 5.0, "down"),
        ]
        for at in (5.0, 6.0, 7.0, 8.0):
            shared.fail(at)
        assert [type(each) for each in shared.told[2:]] == [Failed, Failed, Failed, Opened]

    def test_each_failure_is_heard_of(self) -> None:
        """Callers do not count them by themselves; successes they do."""
        shared = Shared(failure_threshold=4)
        assert shared.machine.lease().slack == 4
        shared.machine.terms.counts = True
        lease = shared.machine.lease()
        assert (lease.slack, lease.any_outcome) == (1, False)
        shared.fail(1.0)
        assert shared.machine.lease().slack == 1

    def test_not_where_nobody_counts_them_or_it_does_nothing_about_them(self) -> None:
        """Nor where its state is set by hand."""
        shared = Shared(failure_threshold=4)
        shared.fail(1.0)
        shared.machine.terms.counts = True
        for state in (METRICS_ONLY, CircuitState.FORCED_CLOSED):
            shared(Force(state, 2.0))
            shared.fail(3.0)
        assert shared.told == []
