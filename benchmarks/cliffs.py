"""What one call, read or refusal costs where there are many of something: curves over n.

Each point is measured in small worlds of its own; the least cost that was seen there counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from benchmarks.measure import Bench, Clock, Measurement
from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    Failure,
    Supervisor,
    TooManyCircuitsError,
    app_settings,
    create_retry_decorator,
    get_circuit_breaker,
    with_circuit_breaker,
)

SMALL: Final = 100
"""What the costs of more are compared to."""

FEW: Final = 50
"""Calls, reads or refusals that are measured where there are n of something else."""

REFUSED: Final = 5
"""New names that are refused."""

WORLDS: Final = 3
"""Worlds in which each point is measured; one in a short run."""

DEAF: Final = 0.2
"""Seconds for which a caller makes another call after each refusal."""


class KindError(Exception):
    """A failure of some kind, or of none."""


async def succeed() -> None:
    """Do nothing."""


async def fail() -> None:
    """Fail at once."""
    raise ConnectionError


async def fail_as(kind: str) -> None:
    """Fail in a certain way."""
    raise KindError(kind)


async def all_at_once(n: int, caller: Callable[[], Awaitable[object]], gate: anyio.Event) -> float:
    """Return what each of n callers costs who wait at a gate, and go on in one turn."""
    done, left = anyio.Event(), n

    async def work() -> None:
        nonlocal left
        with suppress(ConnectionError, CircuitBreakerOpenError):
            await caller()
        left -= 1
        if not left:
            done.set()

    clock = Clock()
    async with anyio.create_task_group() as tasks:
        with clock:
            for _ in range(n):
                tasks.start_soon(work)
            for _ in range(4):
                await checkpoint()
            gate.set()
            await done.wait()
    return clock.seconds / n


async def read_after_failure(_bench: Bench, n: int) -> float:
    """Calls fail in one turn, and each of them reads the state."""
    gate = anyio.Event()
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        await breaker.call(succeed)

        async def wait_and_fail() -> None:
            await gate.wait()
            raise ConnectionError

        async def caller() -> None:
            try:
                await breaker.call(wait_and_fail)
            finally:
                _ = breaker.state

        return await all_at_once(n, caller, gate)


async def retry(_bench: Bench, n: int, guard: Literal["attempt", "loop"]) -> float:
    """Loops of attempts fail in one turn; `guard="attempt"` looks at the state after each."""
    gate = anyio.Event()
    app_settings.circuit_breaker.enabled = True
    async with Supervisor():

        @create_retry_decorator("api", max_attempts=2, min_wait=0.01, max_wait=0.02, guard=guard)
        async def wait_and_fail() -> None:
            await gate.wait()
            raise ConnectionError

        return await all_at_once(n, wait_and_fail, gate)


async def probe(_bench: Bench, n: int) -> float:
    """Probes run at once, and end."""
    gate = anyio.Event()
    async with Supervisor() as supervisor:
        breaker = await half_open(supervisor, success_threshold=n)
        return await all_at_once(n, partial(breaker.call, gate.wait), gate)


async def half_open(supervisor: Supervisor, **fields: Any) -> CircuitBreaker:
    """Return the breaker of a circuit that is about to be half-open."""
    breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=0.001, **fields)
    with suppress(ConnectionError):
        await breaker.call(fail)
    await anyio.sleep(0.01)
    return breaker


async def clean_up(_bench: Bench, n: int) -> float:
    """Cancelled tasks make a guarded call by name while their event loop ends."""
    app_settings.circuit_breaker.enabled = True
    by_name = with_circuit_breaker("x")(succeed)

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await by_name()

    async def main() -> None:
        kept.extend(asyncio.create_task(work()) for _ in range(n))
        await asyncio.sleep(0.01)

    kept: list[asyncio.Task[None]] = []

    def end_a_loop() -> float:
        runner = asyncio.Runner(loop_factory=new_loop)
        runner.run(main())
        with Clock() as clock:
            runner.close()
        return clock.seconds / n

    new_loop = type(asyncio.get_running_loop())
    return await anyio.to_thread.run_sync(end_a_loop)


async def refuse_a_name(_bench: Bench, n: int) -> float:
    """A new name is refused where there are n circuits, all in use."""
    gate, clock = anyio.Event(), Clock()
    async with Supervisor(max_circuits=n) as supervisor, anyio.create_task_group() as tasks:
        for number in range(n):
            tasks.start_soon(supervisor.circuit(f"c{number}").call, gate.wait)
        await anyio.sleep(0.01)
        with clock:
            for number in range(REFUSED):
                with suppress(TooManyCircuitsError):
                    supervisor.circuit(f"new {number}")
        gate.set()
    return clock.seconds / REFUSED


async def plain_failure(_bench: Bench, n: int) -> float:
    """A failure of no kind is counted where n kinds are remembered."""
    return await fail_among_kinds(n, "")


async def failure_of_a_kind(_bench: Bench, n: int) -> float:
    """A failure of one of n kinds is counted."""
    return await fail_among_kinds(n, "0")


async def fail_among_kinds(n: int, kind: str) -> float:
    """Return what one failure costs, with the turn that it takes."""

    def classify(result: object) -> Failure | None:
        kind = str(result) if isinstance(result, KindError) else ""
        return Failure(kind, threshold=n + 1_000) if kind else None

    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=n + 1_000, classify=classify)
        for number in range(n):
            with suppress(KindError):
                await breaker.call(fail_as, str(number))
        await checkpoint()
        with Clock() as clock:
            for _ in range(FEW):
                with suppress(KindError):
                    await breaker.call(fail_as, kind)
                await checkpoint()
    return clock.seconds / FEW


async def wait(_bench: Bench, n: int, reads: bool) -> float:
    """One more caller waits, or the state is read, where n wait already."""
    clock = Clock()
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        breaker = await half_open(supervisor)
        tasks.start_soon(breaker.call, anyio.sleep_forever)
        await anyio.sleep(0.01)
        patient = breaker.waiting(3600)
        for _ in range(n):
            tasks.start_soon(patient.call, succeed)
        while breaker.statistics().waiting < n:
            await checkpoint()
        await anyio.sleep(0.01)  # the actor has taken them all
        with clock:
            for _ in range(FEW):
                if reads:
                    _ = breaker.state
                else:
                    tasks.start_soon(patient.call, succeed)
                    await checkpoint()
                    await checkpoint()
        tasks.cancel_scope.cancel()
    return clock.seconds / FEW


async def bare_task(_bench: Bench, n: int) -> float:
    """One more task that only waits starts where n are: so much of a newcomer is no guard's."""
    clock = Clock()
    async with anyio.create_task_group() as tasks:
        for _ in range(n):
            tasks.start_soon(anyio.sleep_forever)
        await anyio.sleep(0.01)
        with clock:
            for _ in range(FEW):
                tasks.start_soon(anyio.sleep_forever)
                await checkpoint()
                await checkpoint()
        tasks.cancel_scope.cancel()
    return clock.seconds / FEW


async def all_figures(_bench: Bench, n: int) -> float:
    """The figures of n circuits, each of which has been called, are read."""
    async with Supervisor() as supervisor:
        await call_each(supervisor, n)
        with Clock() as clock:
            supervisor.statistics()
    return clock.seconds / n


async def collect_figures(_bench: Bench, n: int) -> float:
    """The same, bit by bit: how long does another task wait at most?"""
    longest, collected = 0.0, False
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        await call_each(supervisor, n)

        async def other() -> None:
            nonlocal longest
            while not longest or not collected:
                with Clock() as clock:
                    await checkpoint()
                longest = max(longest, clock.seconds)

        tasks.start_soon(other)
        await supervisor.collect_statistics()
        collected = True
    return longest


async def call_each(supervisor: Supervisor, n: int) -> None:
    """Start n circuits, and call each of them once."""
    for number in range(n):
        await supervisor.circuit(f"c{number}").call(succeed)
    await anyio.sleep(0.01)


async def ask_by_name(_bench: Bench, n: int, plainly: bool) -> float:
    """One of n circuits is asked for by its name, and called."""
    async with Supervisor() as supervisor:
        for number in range(n):
            supervisor.circuit(f"c{number}")
        await supervisor["c0"].call(succeed)
        with Clock() as clock:
            if plainly:
                for _ in range(1_000):
                    await supervisor.circuit("c0").call(succeed)
            else:
                for _ in range(1_000):
                    await (await get_circuit_breaker("c0")).call(succeed)
    return clock.seconds / 1_000


async def loop_over_refusals(_bench: Bench, n: int) -> float:
    """Callers make another call after each refusal: how long does another task wait?"""
    longest = 0.0
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        breaker = supervisor.circuit("x")
        await breaker.call(succeed)
        breaker.force_open()
        await checkpoint()

        async def caller() -> None:
            while True:
                with suppress(CircuitBreakerOpenError):
                    await breaker.call(succeed)

        for _ in range(n):
            tasks.start_soon(caller)
        end = time.monotonic() + DEAF
        while (began := time.monotonic()) < end:
            await checkpoint()
            longest = max(longest, time.monotonic() - began)
        tasks.cancel_scope.cancel()
    return longest


Point = Callable[[Bench, int], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """What one costs, at several n.

    Attributes:
        measure: returns the seconds of one, in a new world.
        sizes: the first is what the others are compared to.
        on_trio: whether trio has such a thing.
    """

    measure: Point
    sizes: tuple[int, ...]
    on_trio: bool = True


CURVES: Final[Mapping[str, Curve]] = {
    "failures in one turn, each read": Curve(read_after_failure, (SMALL, 1_000, 4_000)),
    'retries, guard="loop"': Curve(partial(retry, guard="loop"), (SMALL, 1_000, 4_000)),
    'retries, guard="attempt"': Curve(partial(retry, guard="attempt"), (SMALL, 1_000, 4_000)),
    "clean-up as the loop ends": Curve(clean_up, (SMALL, 1_000, 3_000), on_trio=False),
    "new name at a full cap": Curve(refuse_a_name, (SMALL, 1_000, 10_000)),
    "probes": Curve(probe, (SMALL, 1_000, 5_000)),
    "kinds, plain failure": Curve(plain_failure, (SMALL, 1_000)),
    "kinds, failure of one": Curve(failure_of_a_kind, (SMALL, 1_000)),
    "waiters, newcomer": Curve(partial(wait, reads=False), (SMALL, 1_000, 10_000)),
    "bare tasks that wait": Curve(bare_task, (SMALL, 1_000, 10_000)),
    "waiters, read": Curve(partial(wait, reads=True), (SMALL, 1_000, 10_000)),
    "figures of all circuits": Curve(all_figures, (SMALL, 1_000, 10_000)),
    "collected figures, wait of others": Curve(collect_figures, (SMALL, 1_000, 10_000)),
    "get_circuit_breaker": Curve(partial(ask_by_name, plainly=False), (SMALL, 10_000)),
    "Supervisor.circuit": Curve(partial(ask_by_name, plainly=True), (SMALL, 10_000)),
    "refusals, wait of others": Curve(loop_over_refusals, (1, 10)),
}


def point(curve: str, n: int | None = None) -> str:
    """Return the name of a point in the results: the last one's, unless n is given."""
    return f"{curve}: {CURVES[curve].sizes[-1] if n is None else n:,}"


async def cliffs(bench: Bench) -> list[Measurement]:
    """Measure every point of every curve; their growth is compared to their first point."""
    enabled = app_settings.circuit_breaker.enabled
    try:
        return [
            measurement
            for name, curve in CURVES.items()
            if curve.on_trio or bench.backend != "trio"
            for measurement in await _measured(bench, name, curve)
        ]
    finally:
        app_settings.circuit_breaker.enabled = enabled


async def _measured(bench: Bench, name: str, curve: Curve) -> list[Measurement]:
    worlds = WORLDS if bench.plan.every_way else 1
    found: list[Measurement] = []
    for n in curve.sizes if bench.plan.every_way else (curve.sizes[0], curve.sizes[-1]):
        least = min([await curve.measure(bench, n) for _ in range(worlds)])
        first = found[0].seconds[0] if found else least
        figures = {"growth": least / first}
        found.append(Measurement(point(name, n), [least], n, figures))
    return found
