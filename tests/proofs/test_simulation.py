"""What a simulation says of calls and a policy is what a circuit does with such calls.

Policies and traces are drawn, and each trace is played twice: by the simulation, and by a circuit
whose callers sleep in virtual time. Every verdict is compared, every transition, and the figures.

Nothing happens at the same time as something else, unless one follows from the other: what a
scheduler makes of a tie is no promise of anybody's. All times are sums of powers of two. Their
last binary places tell them apart:

    when a call asks      eighths of a second, and steps of 2**-14 s, as many as its number
    how long it runs      eighths of a second, and steps of 2**-21 s, as many as its number
    a policy's times, and how long a caller waits      the same, and `OWN_STEPS` of 2**-26 s

So no two sums of them are equal, all of them are exact, and event loops can tell them apart, whose
resolution is 1e-9 s. Ties that are decided by a rule have tests of their own, in test_course.py.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Final, get_args

import pytest

from supervisor.commands.simulate.trace import Call, Trace, trace_of
from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy
from supervisor.testing import run_in_virtual_time
from tests.support.guarded_traces import (
    Admitted,
    Played,
    Refused,
    Way,
    assert_same,
    guarded,
    simulated,
)
from tests.support.worlds import BACKENDS

TRACES: Final = 200
"""Those that are played on each backend for each unit of effort."""

ASKING, RUNNING, OF_POLICIES = 2.0**-14, 2.0**-21, 2.0**-26
OWN_STEPS: Final = {
    "recovery_timeout": 3,
    "max_recovery_timeout": 3,
    "probe_timeout": 5,
    "half_open_timeout": 7,
    "slow_call_duration": 11,
    "timeout": 13,
    "wait": 17,
}

QUICK, LONG = (0.125, 0.25, 0.375), (0.125, 0.5, 0.75, 1.25, 3.0, 6.0)
SECONDS = (0.5, 1.0, 2.0)
TEN_STEPS = (1.25, 5.0, 10.0, 80.0)
SHARES = (0.1, 0.3, 0.5, 2 / 3, 1.0)
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED


@dataclass(frozen=True)
class Play:
    """A trace, a policy, and how calls are guarded."""

    policy: Policy
    trace: Trace
    plain: bool
    way: Way
    returns: bool


# What is drawn

Chance = random.Random
Fields = dict[str, Any]


def play_of(seed: int) -> Play:
    """Draw what is played."""
    chance = Chance(seed)
    return Play(
        policy=Policy(**policy_fields(chance)),
        trace=trace_of(f"seed {seed}", calls(chance)),
        plain=chance.random() < 0.2,
        way=chance.choice(get_args(Way)),
        returns=chance.random() < 0.3,
    )


def some(chance: Chance, **values: tuple[Any, ...]) -> Fields:
    """Draw a value for about half of these fields."""
    return {name: chance.choice(of) for name, of in values.items() if chance.random() < 0.5}


def policy_fields(chance: Chance) -> Fields:
    """Draw a policy, put together from its parts."""
    drawn = {
        **when_it_opens(chance),
        **how_long_it_is_open(chance),
        **how_it_returns(chance),
        **what_load_it_lets_through(chance),
        **some(chance, failure_on_cancel=(True,), timeout=SECONDS),
    }
    own = {field: drawn[field] + apart(field) for field in OWN_STEPS if field in drawn}
    return {**drawn, **own}


def apart(of: str) -> float:
    """Return what tells such times apart from others."""
    return OWN_STEPS[of] * OF_POLICIES


def when_it_opens(chance: Chance) -> Fields:
    drawn: Fields = {"failure_threshold": chance.choice([1, 2, 2, 3, 4, 20])}
    match chance.choice(["in a row", "calls", "seconds"]):
        case "in a row":
            return drawn | some(chance, slow_call_duration=SECONDS)
        case "calls":
            drawn["window_calls"] = calls = chance.randint(2, 8)
            drawn["failure_threshold"] = min(calls, drawn["failure_threshold"])
            drawn["minimum_calls"] = chance.randint(1, calls)
        case _:
            drawn["window_seconds"] = chance.choice(TEN_STEPS)
            drawn["minimum_calls"] = chance.randint(1, 8)
    drawn |= some(chance, failure_rate=SHARES, slow_call_duration=SECONDS)
    if "slow_call_duration" in drawn:
        drawn |= some(chance, slow_call_rate=SHARES)
    return drawn


def how_long_it_is_open(chance: Chance) -> Fields:
    drawn: Fields = {"recovery_timeout": chance.choice(SECONDS)}
    drawn |= some(chance, max_recovery_timeout=(2.0, 8.0, 10.0), recovery_jitter=SHARES)
    if "max_recovery_timeout" in drawn:
        drawn |= some(chance, recovery_factor=(1.5, 2.0))
    return drawn


def how_it_returns(chance: Chance) -> Fields:
    drawn: Fields = {
        "success_threshold": chance.choice([1, 1, 2, 3]),
        "probe_timeout": chance.choice(SECONDS),
    }
    drawn |= some(chance, probes=(1, 2, 4), half_open_timeout=SECONDS)
    if "probes" in drawn:
        drawn |= some(chance, probe_failure_rate=SHARES)
    return drawn | some(chance, ramp=TEN_STEPS, ramp_start=(0.1, 0.5))


def what_load_it_lets_through(chance: Chance) -> Fields:
    return some(
        chance,
        throttle=(1.0, 1.5, 2.0),
        throttle_floor=(0.05, 0.25),
        throttle_seconds=TEN_STEPS,
        retry_budget=(0.25, 0.5),
        retry_budget_minimum=(0, 1),
        retry_budget_seconds=TEN_STEPS,
    )


def calls(chance: Chance) -> Iterator[Call]:
    """Draw calls to a dependency that has its days."""
    failures = [PLAIN_FAILURE, *chance.choice([(), (failure(chance, "a"), failure(chance, "b"))])]
    retries, waits = chance.choice([0.0, 0.3]), chance.choice([0.0, 0.0, 0.5])
    at, number = 0.0, 0
    for _ in range(chance.randint(2, 8)):
        mood, gap = chance.choice(list(MOODS)), chance.choice([0.0, 0.125, 0.25, 1.0])
        at += chance.choice([0.125, 1.0, 2.0])
        for _ in range(chance.randint(1, 10)):
            number += 1
            at += gap
            outcome, seconds = MOODS[mood](chance)
            wait = None
            if chance.random() < waits:
                wait = chance.choice(SECONDS) + apart("wait")
            yield Call(
                at + number * ASKING,
                outcome,
                seconds + number * RUNNING,
                chance.choice(failures) if outcome is FAILED else PLAIN_FAILURE,
                retry=chance.random() < retries,
                wait=wait,
            )
    end = at + chance.choice([0.5, 2.0, 8.0])
    yield Call(end + 100 * ASKING, SUCCEEDED, 0.125 + 100 * RUNNING)


MOODS: Final[Mapping[str, Callable[[Chance], tuple[Outcome, float]]]] = {
    "well": lambda chance: (SUCCEEDED, chance.choice(QUICK)),
    "down": lambda chance: (FAILED, chance.choice(QUICK)),
    "slow": lambda chance: (chance.choice([SUCCEEDED, FAILED]), chance.choice(LONG)),
    "any": lambda chance: (chance.choice(list(Outcome)), chance.choice([*QUICK, *LONG, math.inf])),
}


def failure(chance: Chance, kind: str) -> Failure:
    drawn = some(
        chance, weight=(0, 2, 3), threshold=(1, 2, 3), recovery_timeout=(1.25,), retry_after=(2.5,)
    )
    return Failure(kind, **drawn)


# How it is compared


def check(backend: str, play: Play) -> Played:
    """Play it twice, and return what the simulation says."""
    said = simulated(play.policy, play.trace, play.plain)
    main = partial(guarded, play.policy, play.trace, play.plain, play.way, play.returns)
    assert_same(run_in_virtual_time(main, backend=backend), said)
    return said


def is_refuted(backend: str, play: Play) -> bool:
    try:
        check(backend, play)
    except AssertionError:
        return True
    return False


def smallest(backend: str, play: Play) -> Play:
    """Leave out of a play that refutes the claim what is not needed for that."""
    for call in play.trace.calls:
        rest = [other for other in play.trace.calls if other is not call]
        if rest and is_refuted(backend, less := replace(play, trace=trace_of("less", rest))):
            play = less
    for field in fields(Policy):
        try:
            default: Any = field.default
            policy = replace(play.policy, **{field.name: default})
        except ValueError:  # others need it
            continue
        if is_refuted(backend, less := replace(play, policy=policy)):
            play = less
    return play


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_simulation_says_what_a_circuit_does(
    backend: str, effort: int, figures: Counter[str]
) -> None:
    """Who is admitted, and who is not and why; each state, and since when; the figures."""
    seen: Counter[str] = Counter()
    for seed in range(TRACES * effort):
        play = play_of(seed)
        try:
            count(play, check(backend, play), seen)
        except AssertionError:
            less = smallest(backend, play)
            print(f"seed {seed}, and what is needed of it: {less}")
            check(backend, less)
            raise
    figures[f"calls simulated and made, {backend}"] += seen["admitted"] + seen["refused"]
    assert all(seen[what] > TRACES // 10 for what in WORTH_SEEING), seen


WORTH_SEEING: Final = (
    *("open", "half_open", "ramp", "throttled", "retry_budget"),
    *("to open", "to half_open", "to closed"),
    *(outcome.value for outcome in Outcome),
    *("has waited", "was slow", "ran into the timeout", "stale"),
)


def count(play: Play, played: Played, seen: Counter[str]) -> None:
    """Count what has been met."""
    policy = play.policy
    for call, verdict in zip(play.trace.calls, played.verdicts, strict=True):
        if isinstance(verdict, Refused):
            seen["refused"] += 1
            seen[verdict.reason] += 1
        if isinstance(verdict, Admitted):
            seen["admitted"] += 1
            seen["has waited"] += verdict.at > call.at
            seen["was slow"] += call.duration > (policy.slow_call_duration or math.inf)
            seen["ran into the timeout"] += call.duration > (policy.timeout or math.inf)
            if verdict.ended is not None:
                seen[verdict.ended.value] += 1
    for change in played.changes:
        seen[f"to {change.to_state}"] += 1
    seen["stale"] += played.figures["stale"]
