"""Recorded traces: what the actor of a circuit is told in a random life of it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from typing import Any

import anyio

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Permit, Recording, Supervisor
from supervisor.policy.outcomes import Failure
from supervisor.policy.policy import Policy
from tests.support.worlds import Down, succeed


class Busy(Down):
    """What a dependency raises that could do more, a little later."""


class Gone(Down):
    """What a dependency raises that will be away for long."""


KINDS: dict[type, Failure] = {
    Busy: Failure("busy", weight=2, threshold=3),
    Gone: Failure("gone", recovery_timeout=11.3, retry_after=0.7),
}


def kind_of(ended_with: object) -> Failure | None:
    """What a classifier makes of an error or a result."""
    return KINDS.get(type(ended_with))


POLICIES: dict[str, dict[str, Any]] = {
    "one failure": {"failure_threshold": 1, "recovery_timeout": 2.0, "probe_timeout": 5.0},
    "hanging probes": {"failure_threshold": 3, "recovery_timeout": 1.5, "probe_timeout": 1.0},
    "several probes": {"failure_threshold": 2, "recovery_timeout": 4.0, "success_threshold": 3},
    "short": {"failure_threshold": 5, "recovery_timeout": 0.1, "success_threshold": 2},
    "last calls": {"window_calls": 8, "failure_threshold": 4, "recovery_timeout": 2.0},
    "rate of calls": {
        "window_calls": 10,
        "failure_rate": 0.6,
        "minimum_calls": 5,
        "recovery_timeout": 2.0,
    },
    "last seconds": {"window_seconds": 3.0, "failure_threshold": 4, "recovery_timeout": 1.0},
    "rate in time": {
        "window_seconds": 5.0,
        "failure_rate": 0.7,
        "minimum_calls": 4,
        "recovery_timeout": 1.0,
    },
    "slow calls": {
        "slow_call_duration": 0.6,
        "failure_threshold": 4,
        "recovery_timeout": 1.0,
    },
    "rate of slow calls": {
        "window_calls": 10,
        "slow_call_duration": 0.6,
        "slow_call_rate": 0.7,
        "failure_rate": 0.8,
        "minimum_calls": 5,
        "recovery_timeout": 1.0,
    },
    "slow calls in time": {
        "window_seconds": 7.0,
        "slow_call_duration": 0.4,
        "slow_call_rate": 0.6,
        "failure_rate": 0.9,
        "minimum_calls": 5,
        "recovery_timeout": 1.0,
        "probe_timeout": 2.0,
    },
    "kinds": {"classify": kind_of, "failure_threshold": 6, "recovery_timeout": 1.0},
    "kinds in time": {
        "classify": kind_of,
        "window_seconds": 4.0,
        "failure_threshold": 7,
        "recovery_timeout": 1.0,
    },
    "growing": {
        "failure_threshold": 2,
        "recovery_timeout": 0.2,
        "recovery_factor": 2.0,
        "max_recovery_timeout": 3.0,
        "recovery_jitter": 0.3,
    },
    "rate of probes": {
        "failure_threshold": 2,
        "recovery_timeout": 1.0,
        "probes": 5,
        "probe_failure_rate": 0.5,
        "probe_timeout": 4.0,
        "half_open_timeout": 6.0,
    },
    "ramp": {
        "failure_threshold": 4,
        "recovery_timeout": 0.5,
        "ramp": 4.0,
        "ramp_start": 0.2,
    },
    "throttle": {
        "failure_threshold": 20,
        "recovery_timeout": 0.5,
        "throttle": 1.2,
        "throttle_seconds": 9.0,
    },
    "retry budget": {
        "failure_threshold": 3,
        "recovery_timeout": 1.0,
        "retry_budget": 0.1,
        "retry_budget_seconds": 8.0,
        "retry_budget_minimum": 1,
    },
}
POLICIES["everything"] = {
    name: value
    for part in ("rate of probes", "growing", "ramp", "throttle", "retry budget", "kinds")
    for name, value in POLICIES[part].items()
} | POLICIES["slow calls in time"]

DEFAULTS = {field.name: field.default for field in fields(Policy)}

WEIGHTS = {
    "acquire": 40,
    "settle": 40,
    "sleep": 12,
    "wait": 4,
    "retry": 6,
    "spend a retry": 2,
    "stream": 6,
    "reset": 1,
    "by hand": 0.5,
    "release": 3,
    "reconfigure": 0.3,
}


async def live(
    breaker: CircuitBreaker, draw: random.Random, steps: int, weights: dict[str, float]
) -> None:
    """Ask for permits, and settle them in any order, some of them late."""
    held: list[Permit] = []
    for _ in range(steps):
        (action,) = draw.choices(list(weights), list(weights.values()))
        try:
            match action:
                case "acquire":
                    held.append(await breaker.acquire())
                case "wait":
                    wait_for: Any = draw.choice(["closed", "verdict"])
                    held.append(await breaker.acquire(wait=3.3, wait_for=wait_for))
                case "give up":
                    with anyio.move_on_after(0):
                        held.append(await breaker.acquire(wait=draw.choice([None, 1.1])))
                case "retry":
                    with suppress(Down):
                        await breaker.retry(draw.choice([succeed, partial(fail, draw)]))
                case "spend a retry":
                    await breaker.spend_retry()
                case "stream":
                    verdict: Any = draw.choice(["end", "first_item"])
                    with suppress(Down):
                        async with breaker.stream(parts, draw, verdict=verdict) as items:
                            async for _ in items:
                                pass
                case "settle" if held:
                    settle(held.pop(draw.randrange(len(held))), draw)
                case "sleep":  # until no deadline's time
                    await anyio.sleep(draw.choice([0.0123, 0.517, 3.031, 7.019]))
                case "reset":
                    breaker.reset()
                case "by hand":
                    force = (breaker.force_open, breaker.force_close, breaker.disable)
                    draw.choice([*force, breaker.only_measure])()
                case "release":
                    breaker.release()
                case "reconfigure":
                    breaker.reconfigure(**DEFAULTS | draw.choice(list(POLICIES.values())))
                case _:
                    pass
        except CircuitBreakerOpenError:
            await anyio.sleep(draw.random())
    for permit in held:
        permit.ignore()


def settle(permit: Permit, draw: random.Random) -> None:
    """Settle it in one way or another."""
    failed = partial(permit.fail, error(draw))
    draw.choice([permit.succeed, failed, failed, permit.ignore])()


async def parts(draw: random.Random) -> AsyncIterator[str]:
    """Yield some items, with time between them, and fail in one way or another, or not."""
    for _ in range(draw.randrange(4)):
        await anyio.sleep(draw.choice([0.0123, 0.517]))
        yield "item"
    if draw.random() < 0.4:
        raise error(draw)


async def fail(draw: random.Random) -> None:
    """Fail in one way or another."""
    raise error(draw)


def error(draw: random.Random) -> Down:
    """Make one of the errors that some policies tell apart."""
    return draw.choice([Down, Down, Down, Busy, Gone])("down")


async def recorded(
    policy: str, seed: int, steps: int, tasks: int = 1, limit: int = 10_000_000
) -> Recording:
    """Return the recording of a life that the seed decides, if it is of one task; of several
    tasks, some give up waiting.
    """
    weights = WEIGHTS if tasks == 1 else {**WEIGHTS, "give up": 4}
    with the_same_luck(seed):
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", **POLICIES[policy])
            await anyio.sleep(0.001)
            recording = supervisor.record("x", limit)
            await anyio.sleep(0.001)  # the actor has been rung for, and takes a turn
            async with anyio.create_task_group() as group:
                for number in range(tasks):
                    own = random.Random(f"{policy} {seed} {number}")
                    group.start_soon(live, breaker, own, steps, weights)
            await anyio.sleep(0.001)  # the actor takes what is left
            return recording


@contextmanager
def the_same_luck(seed: int) -> Iterator[None]:
    """Let a circuit draw the same shares and times for the same seed."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
