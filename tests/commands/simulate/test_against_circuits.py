"""What a policy would have done, and what a circuit does with such calls: examples of both.

A proof does the same with traces and policies that are drawn, but for calls that do something at
the same time: those have to be told apart by a rule, and stand here.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from supervisor.commands.simulate.scenarios import SCENARIOS, Load, generate
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy
from supervisor.recording import Call, Trace, trace_of
from tests.support.guarded_traces import Admitted, Refused, assert_same, guarded, simulated

pytestmark = pytest.mark.anyio

SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
IGNORED, CANCELLED = Outcome.IGNORED, Outcome.CANCELLED


def trace(*calls: Call) -> Trace:
    """These calls, and a success at the end, so that all the rest is to be seen."""
    return trace_of("by hand", [*calls, Call(60.0, SUCCEEDED, 0.125)])


async def test_forty_slow_successes_under_a_throttle() -> None:
    """Each is a failure, however late it ends: 35 of them are refused.

    One asks every second, takes a second and a half, and is slow after one. When the fourth one
    asks, two have ended, and none was accepted: a third of the calls is admitted, then a quarter,
    and so on down to the floor, a twentieth. A simulation used to take for accepted what had
    succeeded after it was overdue, and refused none of them.
    """
    policy = Policy(throttle=1.01, slow_call_duration=1, failure_threshold=100)
    forty = trace_of("slow", [Call(float(at), SUCCEEDED, 1.5) for at in range(40)])
    said = simulated(policy, forty)
    assert_same(await guarded(policy, forty), said)
    chance = random.Random(0)
    requests = [0, 0, 1, 2, *range(3, 39)]  # that have ended or been refused; none was accepted
    shares = [max(0.05, 1 / (n + 1)) for n in requests]
    admitted = [at for at, share in enumerate(shares) if chance.random() < share]
    verdicts = said.verdicts
    assert [at for at, it in enumerate(verdicts) if isinstance(it, Admitted)] == admitted
    assert sum(isinstance(it, Refused) for it in verdicts) == 35
    assert (said.figures["failed"], said.figures["succeeded"]) == (5, 0)


SLOW: dict[str, dict[str, Any]] = {
    "in a row": {"failure_threshold": 2},
    "a rate of failures": {"window_calls": 4, "minimum_calls": 2, "failure_rate": 1.0},
    "a rate of slow calls": {"window_calls": 4, "minimum_calls": 2, "slow_call_rate": 1.0},
    "a throttle": {"failure_threshold": 20, "throttle": 1.01},
    "a timeout": {"failure_threshold": 2, "timeout": 1.0},
}


ENDS = {
    "succeeded": (SUCCEEDED, PLAIN_FAILURE),
    "ignored": (IGNORED, PLAIN_FAILURE),
    "cancelled": (CANCELLED, PLAIN_FAILURE),
    "failed": (FAILED, PLAIN_FAILURE),
    "failed, of no weight": (FAILED, Failure(weight=0)),
    "failed, of weight 3": (FAILED, Failure("busy", weight=3)),
}


@pytest.mark.parametrize("policy", SLOW)
@pytest.mark.parametrize("end", ENDS)
async def test_calls_that_take_just_as_long_as_makes_them_slow(policy: str, end: str) -> None:
    """They have been slow before they end, and that has counted, unless they end without telling
    anything. What a `timeout` ends has failed.
    """
    outcome, of_kind = ENDS[end]
    seconds = 1.25 if policy == "a timeout" else 1.0
    calls = [Call(at, outcome, seconds, of_kind) for at in (1.0, 3.5, 6.0, 8.5)]
    own = Policy(**SLOW[policy], slow_call_duration=1.0, recovery_timeout=10.0)
    said = simulated(own, trace(*calls))
    assert_same(await guarded(own, trace(*calls), way="each"), said)
    if policy == "a throttle":
        return
    opened = [(change.to_state, change.at) for change in said.changes[:1]]
    if outcome.counts or policy == "a timeout":
        assert opened == [("open", 4.5)]
        assert said.figures["stale"] == 1  # the end of the call that has opened it
    else:
        assert opened == []
        assert (said.figures[outcome.value], said.figures["failure_count"]) == (4, 0)


@pytest.mark.parametrize("policy", ["in a row", "a rate of failures", "a rate of slow calls"])
@pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])
async def test_slow_calls_that_tell_nothing_at_the_end(policy: str, outcome: Outcome) -> None:
    """Each counts while it hangs: two at a time open the circuit, and it stays open."""
    own = Policy(**SLOW[policy], slow_call_duration=1.0, recovery_timeout=10.0)
    alone = [Call(at, outcome, 2.0) for at in (1.0, 3.5)]
    at_once = [Call(at, outcome, 2.0) for at in (6.0, 6.5)]
    said = simulated(own, trace(*alone, *at_once))
    assert_same(await guarded(own, trace(*alone, *at_once), way="each"), said)
    assert [(change.to_state, change.at) for change in said.changes[:2]] == [
        ("open", 7.5),
        ("half_open", 17.5),
    ]
    assert said.figures[outcome.value] == 4


async def test_calls_that_take_no_time() -> None:
    """They end at the time at which they ask, and before anybody else does."""
    policy = Policy(failure_threshold=3, recovery_timeout=5.0)
    failing = [Call(at, FAILED, 0.0) for at in (1.0, 2.0, 3.0, 4.0, 5.0)]
    calls = trace(*failing, Call(9.0, SUCCEEDED, 0.0))
    said = simulated(policy, calls)
    assert said.figures["rejected"] == 2
    assert_same(await guarded(policy, calls, way="each"), said)


def told_apart(calls: Trace) -> Trace:
    """Return the same trace, in which nothing happens at the same time as something else.

    Its times are whole milliseconds, and a clock may round them up or down.
    """
    return trace_of(
        calls.title,
        [
            replace(call, at=call.at + number * 1e-7, duration=call.duration + 3e-5 + number * 1e-8)
            for number, call in enumerate(calls.calls)
        ],
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    "policy",
    [
        {"window_seconds": 5.0, "failure_rate": 0.5, "recovery_timeout": 3.0, "ramp": 5.0},
        {"slow_call_duration": 1.0, "recovery_timeout": 2.0, "throttle": 2.0, "retry_budget": 0.1},
    ],
)
async def test_scenarios(scenario: str, policy: dict[str, Any]) -> None:
    """A circuit that guards the calls of a bad day does what the simulation says."""
    calls = told_apart(generate(scenario, 1, Load(rate=4.0, length=40.0, retries=2, wait=3.0)))
    own = Policy(**policy)
    assert_same(await guarded(own, calls), simulated(own, calls))
