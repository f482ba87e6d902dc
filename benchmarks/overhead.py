"""The overhead of one closed, successful `call`, against a breaker with an `asyncio.Lock`.

The one figure that is quickly had; `python -m benchmarks` has all of them.

    python -m benchmarks.overhead

Overhead is the guarded call minus the bare call, in thread CPU time, with the garbage collector
off. All contestants take turns in shuffled rounds of one process; medians are printed, as
ratios to the lock. Absolute times mean little on a shared machine.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time

import anyio

from benchmarks.contestants.homegrown import LockBreaker
from benchmarks.contestants.interface import Setup
from supervisor import Supervisor

CALLS = 20_000
ROUNDS = 21


async def dependency(x: int, *, y: int) -> int:
    """What is guarded: it does nothing, so that only the guard is measured."""
    return x + y


async def measure(contestant: str) -> float:
    """Return the CPU seconds of one call."""
    async with Supervisor() as supervisor:
        ours = supervisor.circuit("dependency").call
        lock = LockBreaker(Setup(), asyncio.Lock()).call
        await ours(dependency, 1, y=2)
        gc.disable()
        started = time.thread_time()
        if contestant == "bare":
            for _ in range(CALLS):
                await dependency(1, y=2)
        else:
            call = lock if contestant == "lock" else ours
            for _ in range(CALLS):
                await call(dependency, 1, y=2)
        elapsed = time.thread_time() - started
        gc.enable()
    return elapsed / CALLS


def main() -> None:
    """Measure all contestants in turn, and print their overheads."""
    contestants = [("asyncio", name) for name in ("bare", "lock", "ours")]
    contestants += [("trio", name) for name in ("bare", "ours")]
    times: dict[tuple[str, str], list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(ROUNDS):
        random.shuffle(contestants)
        for backend, name in contestants:
            times[backend, name].append(anyio.run(measure, name, backend=backend))
    medians = {contestant: statistics.median(values) for contestant, values in times.items()}
    lock = medians["asyncio", "lock"] - medians["asyncio", "bare"]
    print(f"{ROUNDS} interleaved rounds of {CALLS} calls; medians")
    for backend, name in (("asyncio", "lock"), ("asyncio", "ours"), ("trio", "ours")):
        overhead = medians[backend, name] - medians[backend, "bare"]
        print(f"{backend:8} {name:5} {overhead * 1e6:6.3f} µs   {overhead / lock:5.2f} x lock")


if __name__ == "__main__":
    main()
