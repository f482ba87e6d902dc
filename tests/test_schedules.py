"""The promise under many schedules: an outcome that a finished call has reported is visible to
every admission and every read that starts after it.

A run of plain asyncio always takes the same order. So the order in which ready tasks run is
shuffled by a seed, on asyncio here and on trio by its own scheduler; each seed is another run.
What tasks see is compared with a machine of its own to which the same facts are told directly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.testing

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Supervisor
from supervisor.machine import Machine
from supervisor.messages import Acquire, Grant, Outcome, Reset, Settle
from supervisor.policy import Policy
from tests.virtual_time import VirtualTimeLoop

SEEDS = 60


class ShuffledLoop(VirtualTimeLoop):
    """A virtual-time loop that runs what is ready in an order drawn by a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def _run_once(self) -> None:
        ready = list(self._ready)  # type: ignore[has-type]
        self._random.shuffle(ready)
        self._ready.clear()
        self._ready.extend(ready)
        super()._run_once()  # type: ignore[misc]


def run(backend: str, seed: int, main: Callable[[], Awaitable[Any]]) -> None:
    """Run `main` once, in the order that belongs to `seed`."""
    if backend == "trio":
        from trio._core import _run as scheduler

        scheduler._r.seed(seed)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(main, clock=clock)
    else:
        with asyncio.Runner(loop_factory=lambda: ShuffledLoop(seed)) as runner:
            runner.run(main())  # type: ignore[arg-type]


class Specification:
    """What must be seen: a machine that is told every fact the moment it happens."""

    def __init__(self, policy: Policy) -> None:
        self.machine = Machine(policy)
        self.permits = 0

    def may_run(self) -> Grant | None:
        self.permits += 1
        answer = self.machine.apply(Acquire(self.permits, anyio.current_time()))
        return answer if isinstance(answer, Grant) else None

    def settle(self, grant: Grant, outcome: Outcome) -> None:
        self.machine.apply(Settle(grant.period, grant.probe, outcome, anyio.current_time()))

    def see(self, breaker: CircuitBreaker) -> None:
        """Compare a synchronous read."""
        self.machine.advance(anyio.current_time())
        assert breaker.state is self.machine.state
        assert breaker.failure_count == self.machine.failure_count


async def one_history(seed: int, workers: int = 6, steps: int = 12) -> int:
    """Let some workers call, fail, hang, reset and read at random; return the refusals."""
    draw = random.Random(seed)
    policy = Policy(
        failure_threshold=draw.randint(1, 4),
        recovery_timeout=2.0,
        success_threshold=draw.randint(1, 2),
        probe_timeout=5.0,
    )
    specification = Specification(policy)
    refusals = 0

    async def worker(breaker: CircuitBreaker) -> None:
        nonlocal refusals
        for _ in range(steps):
            for _ in range(draw.randrange(3)):
                await anyio.lowlevel.checkpoint()
            if draw.random() < 0.2:
                await anyio.sleep(draw.choice([0.5, 2.0]))
            action = draw.choices(["call", "read", "reset"], [10, 4, 1])[0]
            if action == "read":
                specification.see(breaker)
            elif action == "reset":
                breaker.reset()
                specification.machine.apply(Reset(anyio.current_time()))
                specification.see(breaker)
            else:
                refusals += await call(breaker)

    async def call(breaker: CircuitBreaker) -> bool:
        expected = specification.may_run()  # requests are answered in the order of asking
        try:
            permit = await breaker.acquire()
        except CircuitBreakerOpenError:
            assert expected is None
            return True
        with permit:  # which lets go of it if a comparison fails
            assert expected is not None
            for _ in range(draw.randrange(4)):
                await anyio.lowlevel.checkpoint()
            if draw.random() < 0.6:
                specification.settle(expected, Outcome.FAILED)
                permit.fail()
            else:
                specification.settle(expected, Outcome.SUCCEEDED)
                permit.succeed()
            specification.see(breaker)
        return False

    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", **asdict(policy))
        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(worker, breaker)
    return refusals


def refusals_in(backend: str, seeds: Iterable[int]) -> int:
    """Play the history of each seed, in the order of that seed; return the refusals."""
    refusals = 0
    for seed in seeds:

        async def main(seed: int = seed) -> None:
            nonlocal refusals
            refusals += await one_history(seed)

        run(backend, seed, main)
    return refusals


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_seen_is_what_has_happened(backend: str) -> None:
    """Every read and every admission agrees with the specification, in every order tried."""
    assert refusals_in(backend, range(SEEDS)) > SEEDS  # the histories are about something


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_orders_differ(backend: str) -> None:
    """Each seed gives its own order of the same tasks, and the same one every time."""

    def order(seed: int) -> tuple[int, ...]:
        ran: list[int] = []

        async def task(number: int) -> None:
            for _ in range(4):
                await anyio.lowlevel.checkpoint()
                ran.append(number)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(task, number)

        run(backend, seed, main)
        return tuple(ran)

    orders = [order(seed) for seed in range(20)]
    assert len(set(orders)) > 10
    assert orders[:3] == [order(seed) for seed in range(3)]
