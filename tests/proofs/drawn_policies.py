"""Policies drawn at random, of which each field is often another than by default.

All times are sums of powers of two. The last binary places of those that something ends by itself
are their own, so that no two of them come at once: `OWN_STEPS` of 2**-26 s.
"""

from __future__ import annotations

import random
from typing import Any, Final

Chance = random.Random
Fields = dict[str, Any]

OF_POLICIES: Final = 2.0**-26
OWN_STEPS: Final = {
    "recovery_timeout": 3,
    "max_recovery_timeout": 3,
    "probe_timeout": 5,
    "half_open_timeout": 7,
    "slow_call_duration": 11,
    "timeout": 13,
    "wait": 17,
    "warm_up": 19,
}

SECONDS = (0.5, 1.0, 2.0)
TEN_STEPS = (1.25, 5.0, 10.0, 80.0)
SHARES = (0.1, 0.29, 0.3, 0.5, 2 / 3, 1.0)


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
        **some(chance, failure_on_cancel=(True,), timeout=SECONDS, keep_failures=(1, 3)),
        **(some(chance, warm_up=SECONDS) if chance.random() < 0.5 else {}),
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
    drawn |= some(chance, failures_in_a_row=(1, 2, 3, 5))
    if "slow_call_duration" in drawn:
        drawn |= some(chance, slow_call_rate=SHARES)
    return drawn


def how_long_it_is_open(chance: Chance) -> Fields:
    drawn: Fields = {"recovery_timeout": chance.choice(SECONDS)}
    drawn |= some(chance, max_recovery_timeout=(2.0, 8.0, 10.0), recovery_jitter=SHARES)
    drawn |= some(chance, recovery_schedule=((0.5 + apart("recovery_timeout"),),))
    if "max_recovery_timeout" in drawn and "recovery_schedule" not in drawn:
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
    if "probe_failure_rate" in drawn:
        drawn |= some(chance, probes_at_once=tuple(range(1, drawn["probes"] + 1)))
    return drawn | some(chance, ramp=TEN_STEPS, ramp_start=(0.1, 0.5))


def what_load_it_lets_through(chance: Chance) -> Fields:
    return some(
        chance,
        throttle=(1.01, 1.1, 1.5, 2.0),
        throttle_floor=(0.05, 0.25),
        throttle_seconds=TEN_STEPS,
        retry_budget=(0.25, 0.29, 0.5),
        retry_budget_minimum=(0, 1),
        retry_budget_seconds=TEN_STEPS,
    )
