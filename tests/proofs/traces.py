"""Recorded traces: what the actor of a circuit is told in a random life of it."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import anyio

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Permit, Recording, Supervisor

POLICIES: list[dict[str, Any]] = [
    {"failure_threshold": 1, "recovery_timeout": 2.0, "probe_timeout": 5.0},
    {"failure_threshold": 3, "recovery_timeout": 1.5, "probe_timeout": 1.0},
    {"failure_threshold": 2, "recovery_timeout": 4.0, "success_threshold": 3},
    {"failure_threshold": 5, "recovery_timeout": 0.1, "success_threshold": 2},
]


WEIGHTS = {"acquire": 40, "settle": 40, "sleep": 12, "reset": 1}


async def live(
    breaker: CircuitBreaker, draw: random.Random, steps: int, weights: dict[str, int]
) -> None:
    """Ask for permits, and settle them in any order, some of them late."""
    held: list[Permit] = []
    for _ in range(steps):
        (action,) = draw.choices(list(weights), list(weights.values()))
        if action == "acquire":
            try:
                held.append(await breaker.acquire())
            except CircuitBreakerOpenError:
                await anyio.sleep(draw.random())
        elif action == "settle" and held:
            permit = held.pop(draw.randrange(len(held)))
            draw.choice([permit.succeed, permit.fail, permit.fail, permit.ignore])()
        elif action == "sleep":
            await anyio.sleep(draw.choice([0.0123, 0.517, 3.031, 7.019]))  # no deadline's time
        elif action == "give up":
            with anyio.move_on_after(0), suppress(CircuitBreakerOpenError):
                held.append(await breaker.acquire())
        elif action == "reset":
            breaker.reset()
    for permit in held:
        permit.ignore()


async def recorded(seed: int, steps: int, tasks: int = 1, limit: int = 10_000_000) -> Recording:
    """Return the recording of a life that the seed decides, if it is of one task; of several
    tasks, some give up waiting.
    """
    weights = WEIGHTS if tasks == 1 else {**WEIGHTS, "give up": 4}
    draw = random.Random(seed)
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", **draw.choice(POLICIES))
        await anyio.sleep(0.001)
        recording = supervisor.record("x", limit)
        await anyio.sleep(0.001)  # the actor has been rung for, and takes a turn
        async with anyio.create_task_group() as group:
            for number in range(tasks):
                own = random.Random(f"{seed} {number}")
                group.start_soon(live, breaker, own, steps, weights)
        await anyio.sleep(0.001)  # the actor takes what is left
        return recording
