"""Every policy comes back once its dependency has: but for those that `check` warns of.

A search over policies and traffic. The dependency is down for a while, and healthy from then on:
each call succeeds, in less time than the policy calls slow. A policy comes back if it refuses
nothing any more, long after.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

import pytest

from supervisor import Outcome, Policy
from supervisor.commands.risks import risks
from supervisor.commands.simulate.player import play
from supervisor.machine import seconds_to_unthrottle
from supervisor.recording import Call, Trace
from tests.support.seeds import Seeds

DOWN: Final = 20.0
HEALTHY: Final = 400.0
"""Seconds; the second is long enough for whatever comes back at all by numbers like these."""

CALM: Final = 60.0
"""Seconds at the end in which nothing may be refused."""

RATES: Final = (0.2, 1.0, 3.0, 20.0)
DURATIONS: Final = (0.02, 0.5)

OPENS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"failure_threshold": 1},
    {"window_calls": 10, "failure_rate": 0.5, "minimum_calls": 5},
    {"window_seconds": 10, "failure_rate": 0.9, "minimum_calls": 3},
    {"window_seconds": 10, "slow_call_duration": 1, "slow_call_rate": 0.5, "minimum_calls": 3},
    {"failure_threshold": 10_000},
)
STAYS: Final[tuple[dict[str, Any], ...]] = (
    {"recovery_timeout": 1},
    {"recovery_timeout": 5, "recovery_jitter": 1},
    {"recovery_timeout": 5, "recovery_factor": 2, "max_recovery_timeout": 40},
)
PROBES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"success_threshold": 3},
    {"success_threshold": 3, "probes": 1},
    {"probes": 4, "probe_failure_rate": 0.5},
    {"probes": 1, "probe_failure_rate": 1},
)
LIMITS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"half_open_timeout": 2},
    {"half_open_timeout": 0.3},
    {"half_open_timeout": 20},
    {"probe_timeout": 0.3},
    {"probe_timeout": 2},
)
LOADS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {},
    {"ramp": 10},
    {"throttle": 1.01, "throttle_seconds": 10},
    {"throttle": 1.01, "throttle_seconds": 10},
    {"throttle": 1.5, "throttle_seconds": 10},
    {"throttle": 2.0, "throttle_seconds": 10, "ramp": 5},
)


def traffic(rate: float, duration: float) -> Trace:
    """Calls of a dependency that is down, and then healthy."""
    times = [number / rate for number in range(int((DOWN + HEALTHY) * rate))]
    calls = (Call(at, Outcome.FAILED if at < DOWN else Outcome.SUCCEEDED, duration) for at in times)
    return Trace("down, then healthy", tuple(calls))


TRAFFIC: Final = {(rate, length): traffic(rate, length) for rate in RATES for length in DURATIONS}


def comes_back(policy: Policy, trace: Trace) -> bool:
    """Whether all calls are admitted at the end."""
    refused = play("x", policy, trace).refused
    return not refused or refused[-1] < DOWN + HEALTHY - CALM


def test_every_policy_comes_back_or_is_warned_of(seeds: Seeds, figures: Counter[str]) -> None:
    """A search; what has been found is counted."""
    for seed in seeds(300):
        draw = random.Random(seed)
        fields: dict[str, Any] = {}
        for part in (OPENS, STAYS, PROBES, LIMITS, LOADS):
            fields |= draw.choice(part)
        policy = Policy(**fields)
        kind = draw.choice(sorted(TRAFFIC))
        if comes_back(policy, TRAFFIC[kind]):
            figures["policies that came back"] += 1
            continue
        figures["policies that never came back, all warned of"] += 1
        stuck = ("half_open_timeout", "probe_timeout", "throttle")
        assert any(warning.startswith(stuck) for warning in risks(policy)), (fields, kind)


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({"success_threshold": 3, "half_open_timeout": 2, "recovery_timeout": 5}, 1.0),
        ({"probes": 4, "probe_failure_rate": 0.5, "half_open_timeout": 2}, 1.0),
        ({"throttle": 1.01, "throttle_seconds": 10, "failure_threshold": 10_000}, 20.0),
        ({"probe_timeout": 0.3}, 20.0),
    ],
    ids=str,
)
def test_those_that_never_do(fields: dict[str, Any], rate: float) -> None:
    """Each is warned of; so the search has something to find."""
    policy = Policy(**fields)
    assert not comes_back(policy, TRAFFIC[rate, 0.5])
    assert risks(policy)


@pytest.mark.parametrize("throttle", [1.1, 1.25, 1.5, 2.0])
def test_the_time_that_is_told_of_a_throttle(throttle: float) -> None:
    """It is what it takes in fact, within a factor of two."""
    policy = Policy(10_000, throttle=throttle, throttle_seconds=10)
    told = seconds_to_unthrottle(policy)
    refused = play("x", policy, TRAFFIC[20.0, 0.02]).refused
    assert told / 2 < refused[-1] - DOWN < told * 2
