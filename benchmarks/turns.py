"""What is dearer than a call that the lease answers: asks, leases, and another event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import anyio
import anyio.to_thread

from benchmarks.measure import Bench, Clock, Measurement, take_turns
from supervisor import CircuitBreaker, Supervisor
from supervisor.machine import Machine, Settle
from supervisor.policy import Outcome, Policy

FOR_EVER: Final = 1_000_000.0
HALF_OPEN: Final = "ask, half-open"
RAMP: Final = "ask, ramp"
CHANGE_OF_LOOPS: Final = "change of event loops"
LAST_CALLS: Final = "lease, rate of last calls"
LAST_SECONDS: Final = "lease, rate of last seconds"

ASKS: Final[Mapping[str, dict[str, Any]]] = {
    HALF_OPEN: {"success_threshold": 1_000_000_000},
    RAMP: {"ramp": FOR_EVER, "ramp_start": 1.0},
}
"""Policies by which each call asks, and is admitted."""

LEASES: Final[Mapping[str, Policy]] = {
    LAST_CALLS: Policy(window_calls=100, failure_rate=0.5),
    LAST_SECONDS: Policy(window_seconds=60.0, failure_rate=0.5),
}


async def succeed() -> None:
    """Do nothing."""


async def fail() -> None:
    """Fail at once."""
    raise ConnectionError


async def turns(bench: Bench) -> list[Measurement]:
    """Measure each of them; what is asked for begins and ends at once."""

    async def turn(name: str, calls: int) -> float:
        if name in LEASES:
            return lease(LEASES[name], calls)
        if name == CHANGE_OF_LOOPS:
            new_loop = type(asyncio.get_running_loop())
            return await anyio.to_thread.run_sync(change_loops, new_loop, calls)
        return await ask(ASKS[name], calls)

    names = [*ASKS, *LEASES]
    return await take_turns(
        bench, names if bench.backend == "trio" else [*names, CHANGE_OF_LOOPS], turn
    )


async def ask(policy: dict[str, Any], calls: int) -> float:
    """Make calls each of which asks, with a turn of the event loop between them."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=0.001, **policy)
        await let_it_recover(breaker)
        clock, seconds = Clock(), 0.0
        for _ in range(calls):
            with clock:
                await breaker.call(succeed)
            seconds += clock.seconds
            await anyio.lowlevel.checkpoint()
    return seconds


async def let_it_recover(breaker: CircuitBreaker) -> None:
    """Let a call fail and the circuit recover: it stays half-open, or has a ramp."""
    with suppress(ConnectionError):
        await breaker.call(fail)
    await anyio.sleep(0.01)
    await breaker.call(succeed)
    await anyio.sleep(0.01)


def lease(policy: Policy, times: int) -> float:
    """Make leases of a machine that has seen enough calls, of which every tenth has failed."""
    machine = Machine(policy)
    for number in range(200):
        failed = number % 10 == 0
        outcome = Outcome.FAILED if failed else Outcome.SUCCEEDED
        machine.apply(Settle(0, 0, outcome, at=1.0))
    with Clock() as clock:
        for _ in range(times):
            machine.lease()
    return clock.seconds


def change_loops(new_loop: Callable[[], asyncio.AbstractEventLoop], changes: int) -> float:
    """Use one breaker on two event loops in turn: what the first call costs on each, compared with
    the next one.
    """
    breaker, loops = CircuitBreaker("x"), (new_loop(), new_loop())

    async def call_twice() -> float:
        began = time.thread_time()
        await breaker.call(succeed)
        changed = time.thread_time()
        await breaker.call(succeed)
        return (changed - began) - (time.thread_time() - changed)

    def on_each(make: Callable[[], Awaitable[Any]]) -> list[Any]:
        return [loop.run_until_complete(make()) for loop in loops]

    for _ in range(2):
        on_each(call_twice)
    laps = max(1, changes // 2)
    seconds = sum(sum(on_each(call_twice)) for _ in range(laps))
    on_each(end_all)
    for loop in loops:
        loop.close()
    return seconds / (2 * laps) * changes


async def end_all() -> None:
    """Cancel all other tasks of the event loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
