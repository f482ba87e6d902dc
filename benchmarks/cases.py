"""What is measured: each case is an async function that returns a measurement per contestant."""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio
import tenacity
import trio

from benchmarks.cliffs import cliffs
from benchmarks.contestants.interface import Guard, Setup, bound, decorating
from benchmarks.contestants.parts import PARTS
from benchmarks.measure import BARE, Bench, Clock, Crew, Measurement, take_turns
from benchmarks.turns import turns
from supervisor import (
    Supervisor,
    app_settings,
    create_retry_decorator,
    is_retryable_error,
)
from supervisor.supervision import current_supervisor

FAR: Final = 1_000_000.0
TASKS: Final = (1, 10, 100, 1_000, 10_000)
CIRCUITS: Final = (1, 10, 100, 1_000, 10_000)
RECOVERY: Final = 0.1
"""Seconds after which the circuits turn half-open that are to."""

STALL: Final = 0.3
"""Seconds without any answer after which the callers of a half-open circuit wait for its probe."""

SLEEP: Final = 1.0
"""Seconds that the slow subscriber of events sleeps."""

LAPS: Final = 5
"""Calls that each task makes at least in a turn; 2 among 10,000 tasks."""

MANY: Final = 1_000
CROWD: Final = 10_000
SLOW: Final = frozenset({"naive-actor", "anyio-lock"})
"""Contestants so slow that a short run has no time for them among many tasks or circuits; among
10,000 it has none for peers.
"""


GUARDED_ATTEMPTS: Final = 'retry, guard="attempt", circuits enabled'

IMPORTS: Final = {
    BARE: "pass",
    "import anyio": "import anyio",
    "import supervisor": "import supervisor",
    "a breaker": "from supervisor import CircuitBreaker; CircuitBreaker('search')",
    "a retry decorator": "from supervisor import retry_api_call; retry_api_call()(lambda: 1)",
}
"""What new processes do."""

POLICIES: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "last calls": {"window_calls": 100, "failure_threshold": 50},
    "last calls, rate": {"window_calls": 100, "failure_rate": 0.5},
    "last seconds": {"window_seconds": 60.0, "failure_threshold": 50},
    "last seconds, rate": {"window_seconds": 60.0, "failure_rate": 0.5},
    "slow calls": {"slow_call_duration": FAR},
    "slow calls, rate of last calls": {
        "window_calls": 100,
        "slow_call_duration": FAR,
        "slow_call_rate": 0.5,
    },
    "slow calls, rate of last seconds": {
        "window_seconds": 60.0,
        "slow_call_duration": FAR,
        "slow_call_rate": 0.5,
    },
    "types of errors": {"failure_on": OSError, "ignore": LookupError},
    "results": {"failure_on_result": lambda result: result is None},
    "throttle": {"throttle": 2.0},
    "retry budget": {"retry_budget": 0.1},
    "timeout": {"timeout": FAR},
}
"""Policies by what they have besides the defaults."""

WINDOWS: Final = tuple(name for name in POLICIES if name.startswith("last "))
SLOW_CALLS: Final = tuple(name for name in POLICIES if name.startswith("slow "))

BY_DECORATOR: Final = ", decorated"
"""Ends the names of policies that are measured by a decorated function."""

DECORATED: Final = tuple(f"{name}{BY_DECORATOR}" for name in SLOW_CALLS)

Function = Callable[..., Awaitable[Any]]


async def succeed(x: int, *, y: int) -> int:
    """What is guarded: it does nothing, so that only the guard is measured."""
    return x + y


async def fail(x: int, *, y: int) -> int:  # noqa: ARG001
    """Fail at once."""
    raise ConnectionError("the server is down")


async def fail_now_and_then(x: int, *, y: int) -> int:
    """Fail every tenth time."""
    if x % 10 == 0:
        raise ConnectionError("the server is down")
    return x + y


async def yield_asyncio(x: int, *, y: int) -> int:
    """Let other tasks run once."""
    await asyncio.sleep(0)
    return x + y


async def yield_trio(x: int, *, y: int) -> int:
    """Let other tasks run once."""
    await trio.lowlevel.checkpoint()
    return x + y


def direct(guard: Guard | None, func: Function) -> Function | None:
    """Return what is called in the function's place: that itself where there is no guard, what
    its decorator has made of it, or None if each call passes it to the guard.
    """
    return func if guard is None else bound(guard, func)


async def succeed_often(func: Function, guard: Guard | None, calls: int) -> None:
    """Make calls that succeed; without a guard if there is none."""
    decorated = direct(guard, func)
    if decorated is not None:
        for _ in range(calls):
            await decorated(1, y=2)
    elif guard is not None:
        for _ in range(calls):
            await guard(func, 1, y=2)


async def fail_often(func: Function, guard: Guard | None, calls: int) -> None:
    """Make calls that fail, all or some of them."""
    decorated = direct(guard, func)
    if decorated is not None:
        for number in range(calls):
            try:  # noqa: SIM105  (`suppress` would cost more than the call)
                await decorated(number, y=2)
            except ConnectionError:
                pass
    elif guard is not None:
        for number in range(calls):
            try:  # noqa: SIM105
                await guard(func, number, y=2)
            except ConnectionError:
                pass


async def one_task(
    often: Callable[[Guard | None, int], Awaitable[None]], bench: Bench
) -> list[Measurement]:
    """Measure calls that one task makes one after the other."""

    async def turn(name: str, calls: int) -> float:
        async with opened(bench, name) as guard:
            await often(guard, 20)
            with Clock() as clock:
                await often(guard, calls)
        return clock.seconds

    return await take_turns(bench, bench.names(every_way=True), turn)


async def many_tasks(size: int, bench: Bench) -> list[Measurement]:
    """Measure calls of many tasks at a time, of a function that yields once."""
    func = yield_trio if bench.backend == "trio" else yield_asyncio

    async with anyio.create_task_group() as tasks:
        crew = Crew(bench, size, tasks)
        await crew.gather()

        async def turn(name: str, calls: int) -> float:
            async with opened(bench, name) as guard:
                await succeed_often(func, guard, 1)
                return await crew.run(partial(succeed_often, func, guard, calls // size))

        with frozen():
            group = size * (LAPS if size <= MANY else 2)
            found = await take_turns(bench, _fast(bench, size), turn, group=group)
        tasks.cancel_scope.cancel()
    return found


async def many_circuits(size: int, bench: Bench) -> list[Measurement]:
    """Measure calls that go to each of many circuits in turn, in a random order that stays the
    same; and such that all go to one of them, while the others are idle.
    """
    async with AsyncExitStack() as stack:
        targets: dict[str, list[Function]] = {}
        decorated = set()
        for name in _fast(bench, size, every_way=False):
            if name == BARE:
                targets[name] = [succeed] * size
                decorated.add(name)
                continue
            guards = await _circuits(bench, name, size, stack)
            direct_ones = [each for guard in guards if (each := direct(guard, succeed))]
            targets[name] = direct_ones or guards
            if direct_ones:
                decorated.add(name)
        for functions in targets.values():
            random.shuffle(functions)  # or else they are called as they lie in memory

        async def turn(name: str, calls: int) -> float:
            lap = decorated_lap if name in decorated else guarded_lap
            await lap(targets[name])  # what was evicted from the caches comes back
            with Clock() as clock:
                for _ in range(calls // size):
                    await lap(targets[name])
            return clock.seconds

        async def hot_turn(name: str, calls: int) -> float:
            lap = decorated_lap if name in decorated else guarded_lap
            hot = targets[name][:1] * calls
            with Clock() as clock:
                await lap(hot)
            return clock.seconds

        with frozen():
            found = await take_turns(bench, list(targets), turn, group=size)
            hot = await take_turns(bench, list(targets), hot_turn)
    bare = next((one for one in hot if one.contestant == BARE), None)
    for measurement, one in zip(found, hot, strict=True):
        if bare and one is not bare and one.seconds:
            pairs = zip(one.seconds, bare.seconds, strict=False)
            measurement.figures["hot"] = statistics.median(own - alone for own, alone in pairs)
    return found


async def guarded_lap(guards: Sequence[Guard]) -> None:
    """Make one call through each guard."""
    for guard in guards:
        await guard(succeed, 1, y=2)


async def decorated_lap(functions: Sequence[Function]) -> None:
    """Call each function once."""
    for func in functions:
        await func(1, y=2)


async def reject(bench: Bench) -> list[Measurement]:
    """Measure what a refused call costs from beginning to end."""

    async def turn(name: str, calls: int) -> float:
        refusals = bench.contestants[name].refusals
        async with opened(bench, name, failure_threshold=1, recovery_timeout=FAR) as guard:
            assert guard is not None
            await trip(bench, name, guard)
            decorated = direct(guard, succeed)
            refused = 0
            with Clock() as clock:
                if decorated is not None:
                    for _ in range(calls):
                        try:
                            await decorated(1, y=2)
                        except refusals:
                            refused += 1
                else:
                    for _ in range(calls):
                        try:
                            await guard(succeed, 1, y=2)
                        except refusals:
                            refused += 1
        if refused != calls:
            raise RuntimeError(f"only {refused} of {calls} calls were refused")
        return clock.seconds

    names = [name for name in bench.names(bare=False) if bench.contestants[name].refusals]
    return await take_turns(bench, names, turn)


async def parts(bench: Bench) -> list[Measurement]:
    """Measure what a guard is made of, next to the guards themselves."""
    made_of = {part.name: part for part in PARTS}

    async def turn(name: str, calls: int) -> float:
        context = made_of[name].open(Setup()) if name in made_of else opened(bench, name)
        async with context as guard:
            await succeed_often(succeed, guard, 20)
            with Clock() as clock:
                await succeed_often(succeed, guard, calls)
        return clock.seconds

    ours = [name for name in ("call", "context-manager") if name in bench.contestants]
    return await take_turns(bench, [BARE, *made_of, *ours], turn)


async def policies(bench: Bench) -> list[Measurement]:
    """Measure a success under each policy, next to the plain one."""

    async def turn(name: str, calls: int) -> float:
        async with opened(bench, BARE) if name == BARE else _by_policy(name) as guard:
            await succeed_often(succeed, guard, 200)
            with Clock() as clock:
                await succeed_often(succeed, guard, calls)
        return clock.seconds

    return await take_turns(bench, [BARE, *POLICIES, *DECORATED], turn)


@asynccontextmanager
async def _by_policy(name: str) -> AsyncIterator[Guard]:
    supervisor = current_supervisor()
    breaker = supervisor.circuit(name, **POLICIES[name.removesuffix(BY_DECORATOR)])
    try:
        yield decorating(breaker) if name in DECORATED else breaker.call
    finally:
        supervisor.stop(name)


async def half_open(bench: Bench) -> list[Measurement]:
    """Count how many of 10,000 callers reach the backend while its circuit is half-open."""
    found: list[Measurement] = []
    for name in _fast(bench, CROWD):
        if not bench.contestants[name].refusals:
            continue
        measurement = Measurement(name, calls=bench.plan.callers)
        try:
            reached = [await herd(bench, name, measurement) for _ in range(bench.plan.herds)]
            measurement.figures["reached"] = max(reached)
        except Exception as error:
            measurement.problem = f"{type(error).__name__}: {error}"[:200]
        found.append(measurement)
    return found


async def herd(bench: Bench, name: str, measurement: Measurement) -> int:
    """Let all callers in at a half-open circuit; return how many reached the backend before
    any of them was done there.
    """
    refusals = bench.contestants[name].refusals
    release, reached, refused = anyio.Event(), 0, 0

    async def probe() -> None:
        nonlocal reached
        reached += 1
        await release.wait()

    async def caller(guard: Guard) -> None:
        nonlocal refused
        try:
            await guard(probe)
        except refusals:
            refused += 1

    async with opened(bench, name, failure_threshold=1, recovery_timeout=RECOVERY) as guard:
        assert guard is not None
        await trip(bench, name, guard)
        await anyio.sleep(RECOVERY * 1.5)
        async with anyio.create_task_group() as tasks:
            with Clock() as clock:
                for _ in range(bench.plan.callers):
                    tasks.start_soon(caller, guard)
                answered, since = -1, time.monotonic()
                while answered < bench.plan.callers and time.monotonic() < since + STALL:
                    if reached + refused > answered:
                        answered, since = reached + refused, time.monotonic()
                    await anyio.sleep(0.005)
            found = reached
            release.set()
    measurement.seconds.append(clock.seconds / bench.plan.callers)
    return found


async def trip(bench: Bench, name: str, guard: Guard) -> None:
    """Let calls fail until the circuit is open."""
    refusals = bench.contestants[name].refusals
    for _ in range(20):
        try:
            await guard(fail, 1, y=2)
        except refusals:
            return
        except ConnectionError:
            await bench.pause()
    raise RuntimeError("20 failures in a row have not opened it")


async def creation(bench: Bench) -> list[Measurement]:
    """Measure the creation of 10,000 circuits, their tasks included, and what they occupy."""
    size = bench.plan.circuits
    names = _fast(bench, size, every_way=False)

    async def turn(name: str, calls: int) -> float:
        async with AsyncExitStack() as stack:
            nothing = Setup()
            with Clock() as clock:
                if name == BARE:  # this suite's context managers alone, with nothing to create
                    for _ in range(calls):
                        await stack.enter_async_context(bench.contestants[BARE].open(nothing))
                else:
                    await _circuits(bench, name, calls, stack)
                await bench.pause()  # the first turn of each task
                await bench.pause()
            await bench.pause()
        return clock.seconds

    found = await take_turns(bench, names, turn, group=size)
    bare = next((measurement for measurement in found if measurement.contestant == BARE), None)
    for measurement in found:
        measurement.figures["bytes"] = await memory(bench, measurement.contestant, size)
        if bare and measurement is not bare and measurement.contestant != "call":
            measurement.figures["bytes"] -= bare.figures["bytes"]
            adapter = statistics.median(bare.seconds)
            measurement.seconds = [own - adapter for own in measurement.seconds]
        if measurement.contestant == "call":
            measurement.figures["idle_cpu"] = await idle(bench)
    return [measurement for measurement in found if measurement is not bare]


async def memory(bench: Bench, name: str, size: int) -> float:
    """Return the bytes that each of so many circuits occupies."""
    names = [f"circuit {number}" for number in range(size)]
    async with AsyncExitStack() as stack:
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            circuits = await _circuits(bench, name, size, stack, names)
            for _ in range(3):
                await bench.pause()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        del circuits
    return (after - before) / size


async def idle(bench: Bench) -> float:
    """Return the CPU seconds per second that idle circuits cost, all of them together."""
    used = []
    for size in (0, bench.plan.circuits):
        async with AsyncExitStack() as stack:
            await _circuits(bench, "call", size, stack)
            await anyio.sleep(0.05)
            with Clock() as clock:
                await anyio.sleep(0.25)
            used.append(clock.seconds / 0.25)
    return used[1] - used[0]


async def retries(bench: Bench) -> list[Measurement]:
    """Measure the retry decorators on calls that succeed at once, next to tenacity's own."""
    own = tenacity.retry(
        sleep=anyio.sleep,
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=1, min=1, max=10),
        retry=tenacity.retry_if_exception(is_retryable_error),
        reraise=True,
    )
    functions = {
        BARE: succeed,
        "tenacity": own(succeed),
        "retry, circuits disabled": create_retry_decorator("worker", 3, 1.0, 10.0)(succeed),
        "retry, circuits enabled": create_retry_decorator("worker", 3, 1.0, 10.0)(succeed),
        GUARDED_ATTEMPTS: create_retry_decorator(
            "worker", 3, 1.0, 10.0, guard="attempt", name="attempts"
        )(succeed),
    }

    async def turn(name: str, calls: int) -> float:
        if name == "call":
            async with opened(bench, name) as guard:
                await succeed_often(succeed, guard, 20)
                with Clock() as clock:
                    await succeed_often(succeed, guard, calls)
            return clock.seconds
        func = functions[name]
        async with Supervisor():
            with circuits(enabled=name.endswith("enabled")):
                await func(1, y=2)
                await bench.pause()
                await func(1, y=2)
                with Clock() as clock:
                    for _ in range(calls):
                        await func(1, y=2)
        return clock.seconds

    guarded = ["call"] if "call" in bench.contestants else []
    return await take_turns(bench, [*functions, *guarded], turn)


async def imports(bench: Bench) -> list[Measurement]:
    """Measure imports in new processes, by their CPU time; once, whatever the backend."""
    if bench.backend != "asyncio":
        return []
    found = {name: Measurement(name, calls=1) for name in IMPORTS}
    for _ in range(bench.plan.rounds):
        for name in random.sample(list(found), len(found)):
            found[name].seconds.append(_seconds_of_process(IMPORTS[name]))
    return list(found.values())


def _seconds_of_process(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603  (`IMPORTS`)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


async def listener(_bench: Bench) -> list[Measurement]:
    """Measure, by the clock on the wall, how long calls take while a subscriber of events sleeps;
    the circuit opens and closes all the time, so that there are events.
    """
    found = []
    for name, subscribers in (("no subscriber", 0), ("a subscriber sleeps", 1)):
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            for _ in range(subscribers):
                tasks.start_soon(_sleep_on_events, supervisor)
            await anyio.sleep(0.01)
            breaker = supervisor.circuit("flaky", failure_threshold=1, recovery_timeout=0.001)
            waits = []
            for number in range(100):
                func = fail if number % 2 == 0 else succeed
                began = time.perf_counter()
                with suppress(ConnectionError):
                    await breaker.call(func, 1, y=2)
                waits.append(time.perf_counter() - began)
                await anyio.sleep(0.002 if func is fail else 0)
            tasks.cancel_scope.cancel()
        figures = {"longest": max(waits), "median": statistics.median(waits)}
        found.append(Measurement(name, waits, len(waits), figures))
    return found


async def _sleep_on_events(supervisor: Supervisor) -> None:
    async for _ in supervisor.events():
        await anyio.sleep(SLEEP)


@asynccontextmanager
async def opened(bench: Bench, name: str, **setup: Any) -> Any:
    """Yield the contestant's guard, or None for calls without one."""
    if name == BARE:
        yield None
    else:
        async with bench.contestants[name].open(Setup(**setup)) as guard:
            yield guard


async def _circuits(
    bench: Bench, name: str, size: int, stack: AsyncExitStack, names: list[str] | None = None
) -> list[Guard]:
    """Create circuits: ours in one supervisor, the others one by one."""
    names = names or [f"circuit {number}" for number in range(size)]
    if name == "call":
        supervisor = await stack.enter_async_context(Supervisor())
        return [supervisor.circuit(each).call for each in names[:size]]
    make = bench.contestants[name].open
    return [await stack.enter_async_context(make(Setup(name=each))) for each in names[:size]]


def _fast(bench: Bench, size: int, every_way: bool | None = None) -> list[str]:
    """Return who takes part where there are so many tasks or circuits."""
    names = bench.names(every_way=every_way)
    if bench.plan.every_way or size < MANY:
        return names
    reference = "anyio-lock" if bench.backend == "trio" else "lock"
    return [
        name
        for name in names
        if name == reference
        or (name not in SLOW and (size < CROWD or bench.contestants[name].kind != "peer"))
    ]


@contextmanager
def circuits(*, enabled: bool) -> Iterator[None]:
    """Switch the decorators' circuits on or off for a while."""
    settings = app_settings.circuit_breaker
    before, settings.enabled = settings.enabled, enabled
    try:
        yield
    finally:
        settings.enabled = before


@contextmanager
def frozen() -> Iterator[None]:
    """Let the garbage collector forget about what a case has set up."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure.

    Attributes:
        name: its name in results.
        group: its name on the command line.
        title: what it is, in the reports.
        measure: how to measure it.
        whole: whether whole costs are compared, and not overheads.
        quick: whether a short run has time for it.
    """

    name: str
    group: str
    title: str
    measure: Callable[[Bench], Awaitable[list[Measurement]]]
    whole: bool = False
    quick: bool = True


CASES: Final[tuple[Case, ...]] = (
    Case(
        "success",
        "success",
        "closed, success, 1 task",
        partial(one_task, partial(succeed_often, succeed)),
    ),
    Case(
        "failure",
        "failure",
        "closed, failure below the threshold",
        partial(one_task, partial(fail_often, fail)),
    ),
    Case(
        "mixed",
        "mixed",
        "closed, 9 successes to 1 failure",
        partial(one_task, partial(fail_often, fail_now_and_then)),
    ),
    Case("parts", "parts", "what a guard is made of", parts),
    Case("policies", "policies", "closed, success, by policy", policies),
    Case("reject", "reject", "open, rejected; whole cost", reject, whole=True),
    *(
        Case(
            f"tasks-{size}",
            "tasks",
            f"closed, success that yields once, {size:,} task{'s'[: size > 1]}",
            partial(many_tasks, size),
            quick=size != 10,
        )
        for size in TASKS
    ),
    *(
        Case(
            f"circuits-{size}",
            "circuits",
            f"closed, success, {size:,} circuit{'s'[: size > 1]} in turn",
            partial(many_circuits, size),
            quick=size not in (10, 1_000),
        )
        for size in CIRCUITS
    ),
    Case("half-open", "half-open", "half-open, 10,000 callers", half_open, whole=True),
    Case("creation", "creation", "creation of a circuit, task included", creation, whole=True),
    Case(
        "turns",
        "turns",
        "asks, leases, and changes of event loops; whole cost",
        turns,
        whole=True,
    ),
    Case("retry", "retry", "retry decorators, first-try success", retries),
    Case("import", "import", "import in a new process", imports),
    Case(
        "listener",
        "listener",
        "wait of a caller while a subscriber of events sleeps for 1 s",
        listener,
        whole=True,
    ),
    Case("cliffs", "cliffs", "cost of one where there are many", cliffs, whole=True),
)

GROUPS: Final = tuple(dict.fromkeys(case.group for case in CASES))
