"""Traces made up: what a dependency does on a bad day, and the calls that it gets."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from supervisor.policy import PLAIN_FAILURE, Failure, Outcome
from supervisor.recording import Call, Trace, trace_of

SPREAD: Final = 0.35
"""How much the durations of calls differ: the standard deviation of their logarithms."""


@dataclass(frozen=True, slots=True)
class Load:
    """What callers do.

    Attributes:
        rate: first attempts per second; they come at random, independent of each other.
        length: seconds.
        retries: how often a call that has failed is tried again.
        wait: seconds for which each call waits to be admitted.
    """

    rate: float = 20.0
    length: float = 120.0
    retries: int = 0
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What a dependency does at some time.

    Attributes:
        failing: share of the calls that fail.
        hanging: share of the calls that never end.
        seconds: median duration of the others.
        failure: what kind of failures there are.
    """

    failing: float = 0.01
    hanging: float = 0.0
    seconds: float = 0.1
    failure: Failure = PLAIN_FAILURE


HEALTHY: Final = Health()


def _outage(at: float, length: float) -> Health:
    return Health(failing=1.0, seconds=0.02) if 0.3 <= at / length < 0.7 else HEALTHY


def _brownout(at: float, length: float) -> Health:
    return Health(failing=0.01 + 0.64 * _hump(at / length, 0.2, 0.8))


def _flapping(at: float, length: float) -> Health:
    """Down and up again, five times."""
    part = at / length
    down = 0.2 <= part < 0.8 and math.floor((part - 0.2) / 0.06) % 2 == 0
    return Health(failing=1.0, seconds=0.02) if down else HEALTHY


def _slow(at: float, length: float) -> Health:
    """Durations grow to forty times; high up, calls begin to fail, too."""
    load = _hump(at / length, 0.2, 0.8)
    return Health(failing=0.01 + 2 * max(0.0, load - 0.75), seconds=0.1 * 40**load)


def _hang(at: float, length: float) -> Health:
    return Health(hanging=0.9) if 0.3 <= at / length < 0.6 else HEALTHY


def _rate_limit(at: float, length: float) -> Health:
    """Three bursts, in each of which the server says when it will be over."""
    for begin in (0.15, 0.45, 0.75):
        left = math.ceil((begin + 0.12) * length - at)
        if at >= begin * length and left > 0:
            limited = Failure("rate limit", retry_after=left)
            return Health(failing=1.0, seconds=0.02, failure=limited)
    return HEALTHY


def _recovery_under_load(at: float, length: float) -> Health:
    """An outage, after which the server is up again but overloaded for a while."""
    part = at / length
    if 0.2 <= part < 0.4:
        return Health(failing=1.0, seconds=0.02)
    if 0.4 <= part < 0.8:
        left = (0.8 - part) / 0.4
        return Health(failing=0.01 + 0.5 * left, seconds=0.1 + 0.4 * left)
    return HEALTHY


def _hump(part: float, begin: float, end: float) -> float:
    """Return 0 before and after, and between them what rises to 1 and falls again."""
    if not begin <= part < end:
        return 0.0
    return math.sin(math.pi * (part - begin) / (end - begin)) ** 2


SCENARIOS: Final[Mapping[str, Callable[[float, float], Health]]] = {
    "outage": _outage,
    "brownout": _brownout,
    "flapping": _flapping,
    "slow": _slow,
    "hang": _hang,
    "rate-limit": _rate_limit,
    "recovery-under-load": _recovery_under_load,
}
"""What a dependency does, by the seconds that have passed and those that there are in all."""


def generate(scenario: str, seed: int, load: Load) -> Trace:
    """Return a trace of that scenario; the same seed gives the same one.

    Calls that would end after its length are left out, but for those that never end.

    Raises:
        KeyError: there is no such scenario.
        TraceError: there is no call in it.
    """
    health = SCENARIOS[scenario]
    return trace_of(f"{scenario}, seed {seed}", _calls(health, random.Random(seed), load))  # noqa: S311


def _calls(
    health: Callable[[float, float], Health], chance: random.Random, load: Load
) -> Iterator[Call]:
    asks = [(at, 0) for at in _first_attempts(chance, load)]
    while asks:
        at, retries = heapq.heappop(asks)
        call = _call(at, health(at, load.length), chance, retries > 0, load.wait)
        ends_at = at if call.hangs else at + call.duration
        if ends_at <= load.length:
            yield call
            if call.outcome is Outcome.FAILED and retries < load.retries:
                pause = 2**retries * (0.5 + chance.random())
                heapq.heappush(asks, (round(ends_at + pause, 3), retries + 1))


def _first_attempts(chance: random.Random, load: Load) -> Iterator[float]:
    at = chance.expovariate(load.rate)
    while at <= load.length:
        yield round(at, 3)
        at += chance.expovariate(load.rate)


def _call(
    at: float, health: Health, chance: random.Random, retry: bool, wait: float | None
) -> Call:
    # As many draws for each call, whatever comes of it: scenarios of a seed have the same calls.
    draw, spread = chance.random(), chance.lognormvariate(0.0, SPREAD)
    duration = max(0.001, round(health.seconds * spread, 3))
    if draw < health.hanging:
        return Call(at, Outcome.SUCCEEDED, math.inf, retry=retry, wait=wait)
    if draw < health.hanging + health.failing:
        return Call(at, Outcome.FAILED, duration, health.failure, retry, wait)
    return Call(at, Outcome.SUCCEEDED, duration, retry=retry, wait=wait)
