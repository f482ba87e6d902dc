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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Final, get_args

import pytest

from supervisor.policy import PLAIN_FAILURE, Failure, Outcome, Policy
from supervisor.recording import Call, Trace, trace_of
from supervisor.testing import run_in_virtual_time
from tests.proofs.drawn_policies import SECONDS, Chance, apart, policy_fields, some
from tests.support.guarded_traces import (
    Admitted,
    Played,
    Refused,
    Way,
    assert_same,
    guarded,
    simulated,
)
from tests.support.seeds import Seeds
from tests.support.worlds import BACKENDS

TRACES: Final = 70
"""Those that are played on each backend for each unit of effort."""

ASKING, RUNNING = 2.0**-14, 2.0**-21

QUICK, LONG = (0.125, 0.25, 0.375), (0.125, 0.5, 0.75, 1.25, 3.0, 6.0)
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
    backend: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """Who is admitted, and who is not and why; each state, and since when; the figures."""
    seen: Counter[str] = Counter()
    for seed in seeds(TRACES):
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
