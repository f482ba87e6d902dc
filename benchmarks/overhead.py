"""The overhead of one closed, successful `call`, against a breaker with an `asyncio.Lock`.

    python benchmarks/overhead.py

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
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from supervisor import Supervisor

CALLS = 20_000
ROUNDS = 21

Call = Callable[..., Awaitable[Any]]


class LockBreaker:
    """The usual home-grown breaker: its state is read and written under a lock."""

    def __init__(self, failure_threshold: int = 3, recovery_timeout: float = 30.0) -> None:
        self.failure_threshold = failure_threshold
        self.recovery_timeout = recovery_timeout
        self.state = "closed"
        self.failures = 0
        self.opened_at = 0.0
        self.lock = asyncio.Lock()

    async def call(self, func: Call, *args: Any, **kwargs: Any) -> Any:
        """Run the function if the circuit is not open, and count how it ends."""
        async with self.lock:
            if self.state == "open":
                if time.monotonic() - self.opened_at < self.recovery_timeout:
                    raise RuntimeError("open")
                self.state = "half_open"
        try:
            result = await func(*args, **kwargs)
        except Exception:
            async with self.lock:
                self.failures += 1
                if self.state == "half_open" or self.failures >= self.failure_threshold:
                    self.state, self.opened_at = "open", time.monotonic()
            raise
        async with self.lock:
            self.state, self.failures = "closed", 0
        return result


async def dependency(x: int, *, y: int) -> int:
    """What is guarded: it does nothing, so that only the guard is measured."""
    return x + y


async def measure(contestant: str) -> float:
    """Return the CPU seconds of one call."""
    async with Supervisor() as supervisor:
        ours = supervisor.circuit("dependency").call
        lock = LockBreaker().call
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
