"""What a policy would have done: traces worked by hand.

That circuits do the same is a matter of test_against_circuits.py, and of a proof.
"""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from supervisor import CircuitState, Policy
from supervisor.commands.simulate.course import Course, SimulationError
from supervisor.commands.simulate.player import play
from supervisor.commands.simulate.scenarios import SCENARIOS, Load, generate
from supervisor.policy.outcomes import Failure, Outcome
from supervisor.recording import Call, Trace, trace_of

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
IGNORED, CANCELLED = Outcome.IGNORED, Outcome.CANCELLED


def trace(*calls: Call, end: float = 60.0) -> Trace:
    """These calls, and a success at the end, so that all the rest is to be seen."""
    return trace_of("by hand", [*calls, Call(end, SUCCEEDED, 0.0)])


def failing(*times: float, **more: Any) -> list[Call]:
    """Calls that ask at these times, and fail a quarter of a second later."""
    return [Call(at, FAILED, 0.25, **more) for at in times]


def ok(*times: float, **more: Any) -> list[Call]:
    """Calls that ask at these times, and succeed a quarter of a second later."""
    return [Call(at, SUCCEEDED, 0.25, **more) for at in times]


def played(policy: Policy, *calls: Call, end: float = 60.0, plain: bool = False) -> Course:
    return play("by hand", policy, trace(*calls, end=end), plain)


def states(course: Course) -> list[tuple[CircuitState, float]]:
    """The states in their order, and when each began; there is no gap between them."""
    for period, after in zip(course.periods, course.periods[1:], strict=False):
        assert period.end == after.begin
    assert course.periods[-1].end >= course.periods[-1].begin
    return [(period.state, period.begin) for period in course.periods]


def test_the_whole_circle() -> None:
    """Three failures open it, all are refused for the recovery timeout, and a probe closes it."""
    course = played(
        Policy(recovery_timeout=10.0),
        *failing(0, 1, 2),
        *ok(3, 12, 12.25, 12.375, 13),
    )
    assert states(course) == [(CLOSED, 0), (OPEN, 2.25), (HALF_OPEN, 12.25), (CLOSED, 12.5)]
    assert course.admitted == (0, 1, 2, 12.25, 13, 60)
    assert course.refused == (3, 12, 12.375)
    assert course.failed == (0, 1, 2)
    assert course.ended[SUCCEEDED] == (12.25, 13, 60)
    assert (course.running, course.slow, course.waiting) == ((), (), 0)
    assert course.times_opened == 1
    assert course.seconds(OPEN) == 10.0
    assert course.seconds(HALF_OPEN) == 0.25
    assert course.seconds(CLOSED) == 2.25 + 47.5


def test_a_warm_up_begins_with_the_trace() -> None:
    """And so it has in the circuit that is played."""
    policy = Policy(2, recovery_timeout=60.0, warm_up=5.0)
    begin = 1000.0
    failed = [Call(begin + at, FAILED, 0.0) for at in (0, 1, 2, 4.75, 5)]
    course = play("late", policy, trace_of("late", [*failed, Call(begin + 9, SUCCEEDED, 0.0)]))
    assert states(course) == [(CLOSED, begin), (OPEN, begin + 5)]


def test_a_row_beside_a_rate() -> None:
    """It opens the circuit though the window is full of successes."""
    policy = Policy(window_calls=100, failure_rate=0.5, failures_in_a_row=3)
    course = played(policy, *ok(*range(20)), *failing(20, 21, 22))
    assert states(course)[:2] == [(CLOSED, 0.0), (OPEN, 22.25)]


def test_what_is_late_does_not_count() -> None:
    """A failure that ends after the circuit has opened changes nothing, nor does its probe's."""
    policy = Policy(recovery_timeout=10.0, probe_timeout=1.0)
    course = played(policy, *failing(0, 0, 0), Call(0, FAILED, 20), Call(11, FAILED, 5))
    opened = [(OPEN, 0.25), (HALF_OPEN, 10.25), (OPEN, 12), (HALF_OPEN, 22)]
    assert states(course) == [(CLOSED, 0), *opened, (CLOSED, 60)]
    assert course.failed == (0, 0, 0, 11, 0)


def test_calls_that_take_no_time() -> None:
    """One ends before the next asks, also if that is at the same time."""
    course = played(Policy(failure_threshold=3), *[Call(1, FAILED, 0)] * 5)
    assert (course.admitted, course.refused) == ((1, 1, 1, 60), (1, 1))


def test_a_timeout() -> None:
    """A call that would run for just so long fails then, or for longer, whatever it would do."""
    policy = Policy(failure_threshold=3, timeout=2.0)
    calls = [
        Call(0, SUCCEEDED, math.nextafter(2, 0)),
        Call(1, SUCCEEDED, 2),
        Call(2, SUCCEEDED, math.inf),
        Call(3, IGNORED, 3),
    ]
    course = played(policy, *calls)
    assert states(course)[:2] == [(CLOSED, 0), (OPEN, 5)]
    assert course.failed == (1, 2, 3)
    assert course.ended[SUCCEEDED] == (0, 60)
    assert course.ended[IGNORED] == ()


def test_calls_that_never_end() -> None:
    """As soon as they have run for too long they count as failed, and are still running."""
    hanging = [Call(at, SUCCEEDED, math.inf) for at in (0, 0.5, 5)]
    course = played(Policy(failure_threshold=2, slow_call_duration=1.0), *hanging)
    assert states(course)[:2] == [(CLOSED, 0), (OPEN, 1.5)]
    assert (course.slow, course.running) == ((0, 0.5), (0, 0.5))
    course = played(Policy(failure_threshold=2), *hanging)
    assert states(course) == [(CLOSED, 0)]
    assert (course.slow, course.running) == ((), (0, 0.5, 5))


def test_a_call_that_is_slow_when_it_ends() -> None:
    """One that has run just so long is slow, and a failure where there is no rate of slow calls."""
    slow = [Call(0, SUCCEEDED, 1), Call(1, SUCCEEDED, 1)]
    course = played(Policy(failure_threshold=2, slow_call_duration=1.0), *slow)
    assert states(course)[:2] == [(CLOSED, 0), (OPEN, 2)]
    assert (course.slow, course.failed) == ((0, 1), ())
    quick = Call(1.5, SUCCEEDED, 0.25)
    rate = Policy(slow_call_duration=1.0, slow_call_rate=1.0, window_calls=3, minimum_calls=2)
    assert states(played(rate, *slow))[:2] == [(CLOSED, 0), (OPEN, 2)]
    assert states(played(rate, slow[0], quick)) == [(CLOSED, 0)]


def test_a_slow_call_that_fails_later() -> None:
    """It counts once: as slow when it is, and as failed, too, when it fails."""
    policy = Policy(
        slow_call_duration=1.0,
        slow_call_rate=1.0,
        failure_rate=1.0,
        window_calls=2,
        minimum_calls=2,
    )
    course = played(policy, Call(0, FAILED, 3), Call(1, FAILED, 0.5))
    assert states(course)[:2] == [(CLOSED, 0), (OPEN, 3)]
    assert course.slow == (0,)


def test_a_slow_probe() -> None:
    """It fails when it ends, since a probe has a limit of its own."""
    policy = Policy(recovery_timeout=10.0, slow_call_duration=1.0)
    course = played(policy, *failing(0, 0, 0), Call(11, SUCCEEDED, 3))
    assert states(course)[2:4] == [(HALF_OPEN, 10.25), (OPEN, 14)]
    assert course.slow == (11,)


@pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])
def test_what_counts_as_nothing(outcome: Outcome) -> None:
    """It neither counts nor ends a run of failures."""
    course = played(Policy(failure_threshold=2), *failing(0), Call(1, outcome, 1), *failing(3))
    assert states(course)[:2] == [(CLOSED, 0), (OPEN, 3.25)]
    assert course.ended[outcome] == (1,)


@pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])
def test_what_counts_as_nothing_and_is_slow(outcome: Outcome) -> None:
    """That it was slow has counted before it ended; of a probe, only its end is looked at."""
    policy = Policy(failure_threshold=2, slow_call_duration=1.0, recovery_timeout=10.0)
    course = played(policy, *failing(0), Call(1, outcome, 1), Call(13, outcome, 2), *ok(15))
    assert states(course) == [(CLOSED, 0), (OPEN, 2), (HALF_OPEN, 12), (CLOSED, 15.25)]
    assert course.ended[outcome] == (1, 13)
    assert course.slow == (1, 13)


def test_a_cancellation_that_is_a_failure() -> None:
    """If the policy says so, it counts as one; to its caller it was cancelled."""
    policy = Policy(failure_threshold=1, failure_on_cancel=True)
    course = played(policy, Call(0, CANCELLED, 0.25))
    assert states(course)[:2] == [(CLOSED, 0), (OPEN, 0.25)]
    assert (course.failed, course.ended[CANCELLED]) == ((), (0,))


def test_kinds_of_failures() -> None:
    """They are those that the trace tells, unless callers tell none."""
    limited = failing(0, failure=Failure("rate limit", retry_after=20))
    course = played(Policy(recovery_timeout=5.0), *limited, *ok(10))
    assert states(course)[:3] == [(CLOSED, 0), (OPEN, 0.25), (HALF_OPEN, 20.25)]
    assert course.refused == (10,)
    course = played(Policy(recovery_timeout=5.0), *limited, *ok(10), plain=True)
    assert states(course) == [(CLOSED, 0)]
    assert course.plain


def test_who_waits() -> None:
    """First come first served: a probe when there are places, the rest when it closes; one that
    does not wait for so long is refused, as is one that does not wait.
    """
    policy = Policy(recovery_timeout=10.0)
    waiting = [Call(at, FAILED, 0.25, wait=20.0) for at in (1, 2, 3)]
    course = played(policy, *failing(0, 0, 0), *waiting, *failing(4, wait=2.0), *ok(11, 12, 13, 14))
    assert states(course) == [(CLOSED, 0), (OPEN, 0.25), (HALF_OPEN, 10.25), (CLOSED, 10.5)]
    assert course.admitted == (0, 0, 0, 10.25, 10.5, 10.5, 11, 12, 13, 14, 60)
    assert course.refused == (6,)
    # Each that waited ended as one that asks then, and those succeed.
    assert course.failed == (0, 0, 0)
    assert played(policy, *failing(0, 0, 0), *waiting, plain=True).refused == (1, 2, 3)


def test_who_still_waits() -> None:
    """At the end they have not been answered."""
    course = played(Policy(), *failing(0, 0, 0), *ok(1, wait=40.0), end=20.0)
    assert (course.waiting, course.admitted, course.refused) == (1, (0, 0, 0), (20,))


def test_the_last_that_waits() -> None:
    """With no call after it, it ends as the last one does."""
    calls = [*failing(0, 0, 0), Call(1, SUCCEEDED, math.inf), Call(1, SUCCEEDED, 20, wait=15.0)]
    course = play("by hand", Policy(recovery_timeout=10.0), trace_of("by hand", calls))
    assert course.admitted == (0, 0, 0, 10.25)
    assert course.running == (10.25,)


def test_a_share() -> None:
    """Of a ramp, each call is admitted by a number of its own, which is the same each time."""
    policy = Policy(failure_threshold=1, recovery_timeout=1.0, ramp=20.0, ramp_start=0.5)
    calls = [*failing(0), *ok(2), *ok(*(3 + n / 4 for n in range(60)))]
    course = played(policy, *calls)
    chance = random.Random(0)
    draws = [chance.random() for _ in calls]
    admitted = [
        call.at
        for call, draw in zip(calls, draws, strict=True)
        if call.at < 2.25 or draw < 0.5 + 0.5 * (call.at - 2.25) / 20
    ]
    assert course.admitted == (*admitted, 60)
    assert course.refused
    assert played(policy, *calls) == course


def test_a_retry_budget() -> None:
    """Retries are told apart from first attempts, and are not deposits."""
    policy = Policy(retry_budget=0.5, retry_budget_minimum=0, retry_budget_seconds=100.0)
    course = played(policy, *ok(0, 1), *ok(2, 3, retry=True), *ok(4), *ok(5, 6, retry=True))
    assert course.refused == (3, 5, 6)
    assert course.admitted == (0, 1, 2, 4, 60)


def test_jitter() -> None:
    """It is that of the name: the same each time, and another one for another name."""
    policy = Policy(recovery_timeout=10.0, recovery_jitter=0.5)
    calls = trace(*failing(0, 0, 0))
    once, again, other = (play(name, policy, calls) for name in ("a", "a", "b"))
    assert once == again
    assert once.periods[1].end != other.periods[1].end


def test_a_trace_that_does_not_begin_at_0() -> None:
    """The first period begins with the first call."""
    calls = [Call(1e9 + at, FAILED, 0.25) for at in (0, 1, 2, 40)]
    course = play("late", Policy(window_seconds=10.0), trace_of("late", calls))
    assert states(course)[:2] == [(CLOSED, 1e9), (OPEN, 1e9 + 2.25)]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(window_seconds=5.0, failure_rate=0.5, recovery_timeout=2.0, ramp=5.0, throttle=2.0),
        Policy(slow_call_duration=0.5, timeout=1.0, retry_budget=0.1, probes=5),
    ],
)
def test_figures_add_up(scenario: str, policy: Policy) -> None:
    """Each call is admitted, refused or waits; each admitted one has ended or runs."""
    calls = generate(scenario, 3, Load(rate=10.0, length=60.0, retries=1, wait=3.0))
    course = play("any", policy, calls)
    assert len(course.admitted) + len(course.refused) + course.waiting == len(calls.calls)
    ended = sum(map(len, course.ended.values()))
    assert ended + len(course.running) == len(course.admitted)
    assert set(course.running) <= set(course.admitted)
    assert course.periods[0].begin == calls.begin
    assert course.periods[-1].end == calls.end
    whole = sum(course.seconds(state) for state in (CLOSED, OPEN, HALF_OPEN))
    assert whole == pytest.approx(calls.end - calls.begin)


# What a trace cannot tell


def test_timeouts_that_count_for_nothing() -> None:
    """What a timeout of the policy's own counts as, only its functions know, so they are asked."""
    long = [Call(at, SUCCEEDED, 9.0) for at in (0, 10, 20, 30)]
    assert states(played(Policy(timeout=2.0, ignore=TimeoutError), *long)) == [(CLOSED, 0)]
    assert played(Policy(timeout=2.0, ignore=TimeoutError), *long).failed == (0, 10, 20, 30)
    assert played(Policy(timeout=2.0), *long).times_opened == 1
    heavy = Policy(timeout=2.0, classify=lambda _: Failure("late", weight=3))
    assert states(played(heavy, *long))[:2] == [(CLOSED, 0), (OPEN, 2)]
    assert states(played(heavy, *long, plain=True))[:2] == [(CLOSED, 0), (OPEN, 22)]


def test_a_function_that_raises_when_it_is_asked() -> None:
    """The error names the policy, what it was asked about, and what it has raised."""
    broken = Policy(timeout=2.0, classify=lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(
        SimulationError, match=r"^policy 'by hand' was asked about CallTimeoutError"
    ):
        played(broken, *ok(0))


def test_calls_whose_end_is_not_known() -> None:
    """They are admitted and refused as others are, but nothing comes of them: as probes, too."""
    refused = [Call(at, None, 0.0) for at in (1.0, 12.0, 13.0)]
    course = played(Policy(failure_threshold=1, recovery_timeout=10.0), *failing(0), *refused)
    assert course.refused == (1.0,)
    assert course.unknown == (12.0, 13.0)
    assert states(course) == [(CLOSED, 0), (OPEN, 0.25), (HALF_OPEN, 10.25), (CLOSED, 60)]


def test_nothing_is_known() -> None:
    """A trace of refused calls only, one of which waits."""
    calls = trace_of("refused", [Call(0.0, None, 0.0, wait=2.0), Call(1.0, None, 0.0)])
    assert play("it", Policy(), calls).unknown == (0.0, 1.0)


def test_a_call_that_has_waited_before() -> None:
    """It ends as it did then, if it waits as long as then; else as those that began at the time."""
    policy = Policy(failure_threshold=1, recovery_timeout=10.0)
    calls = [
        *failing(0),
        Call(2.0, SUCCEEDED, 0.25, wait=20.0, waited=8.25),
        Call(3.0, FAILED, 0.25, wait=20.0, waited=8.0),
    ]
    assert states(played(policy, *calls)) == [
        (CLOSED, 0),
        (OPEN, 0.25),
        (HALF_OPEN, 10.25),
        (CLOSED, 10.5),
        (OPEN, 10.75),
        (HALF_OPEN, 20.75),
        (CLOSED, 60),
    ]
