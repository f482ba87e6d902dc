"""How everything is measured: turns in shuffled rounds, in thread CPU time, and what follows.

What a guard costs is the guarded call minus the bare one, both taken in the same round. Medians
and quartiles are those of the rounds; a ratio is one median by another.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, get_args

import anyio
import trio
from anyio.abc import TaskGroup
from loguru import logger

from benchmarks.contestants.interface import Contestant

Backend = Literal["asyncio", "uvloop", "trio"]
BACKENDS: Final[tuple[Backend, ...]] = get_args(Backend)

BARE: Final = "bare"
RATIOS: Final = ("lock", "anyio-lock", "inline", "tenacity")
"""The contestants that others are compared to, where they have taken part."""

TRIAL: Final = 200
"""Calls of the first turn, which counts only to find out how many calls fit into the others."""

MOST_CALLS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is.

    Attributes:
        rounds: turns that every contestant takes in every case, 7 or more to be of any use.
        turn: CPU seconds that one turn is to last, as far as the number of tasks allows.
        circuits: how many circuits the case of their creation creates.
        callers: how many callers meet at a half-open circuit.
        herds: how often they do.
        every_way: whether all ways to use this library take part in all cases.
    """

    rounds: int = 9
    turn: float = 0.012
    circuits: int = 10_000
    callers: int = 10_000
    herds: int = 2
    every_way: bool = True


FULL: Final = Plan()
QUICK: Final = Plan(rounds=7, turn=0.004, circuits=1_000, herds=1, every_way=False)


@dataclass(slots=True)
class Measurement:
    """What one contestant showed in one case: seconds per call by round, and other figures."""

    contestant: str
    seconds: list[float] = field(default_factory=list)
    calls: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles, in seconds."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return those of one value or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant in one case on one backend.

    Attributes:
        cost: seconds that a call takes.
        overhead: the same minus the bare call's; `cost` in cases where the whole is compared.
        ratios: the median of `overhead` by that of another contestant, by the other's name.
        figures: whatever else the case has found out.
        problem: why there are no figures.
    """

    backend: Backend
    case: str
    contestant: str
    calls: int
    cost: Spread | None
    overhead: Spread | None
    ratios: Mapping[str, float]
    figures: Mapping[str, float]
    problem: str | None = None


def rows(
    backend: Backend, case: str, measurements: Sequence[Measurement], whole: bool
) -> list[Row]:
    """Return the overheads and ratios of one case."""
    found = {measurement.contestant: measurement for measurement in measurements}
    bare = found.get(BARE)
    overheads: dict[str, Spread] = {}
    for name, measurement in found.items():
        seconds = measurement.seconds
        if seconds and not whole and name != BARE and bare is not None:
            pairs = zip(seconds, bare.seconds, strict=False)
            overheads[name] = Spread.of([guarded - alone for guarded, alone in pairs])
        elif seconds and whole:
            overheads[name] = Spread.of(seconds)
    return [
        Row(
            backend,
            case,
            name,
            measurement.calls,
            Spread.of(measurement.seconds) if measurement.seconds else None,
            overheads.get(name),
            _ratios(name, overheads),
            measurement.figures,
            measurement.problem,
        )
        for name, measurement in found.items()
    ]


def _ratios(name: str, overheads: Mapping[str, Spread]) -> dict[str, float]:
    if name not in overheads:
        return {}
    return {
        other: overheads[name].median / overheads[other].median
        for other in RATIOS
        if other in overheads and overheads[other].median > 0
    }


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a case is measured: on one backend, with the contestants that run there."""

    backend: Backend
    plan: Plan
    contestants: Mapping[str, Contestant]

    def run(self, measure: Callable[[Bench], Awaitable[Any]]) -> Any:
        """Run `measure` on a new event loop of the backend."""
        options: dict[str, Any] = {"use_uvloop": True} if self.backend == "uvloop" else {}
        name = "trio" if self.backend == "trio" else "asyncio"
        return anyio.run(measure, self, backend=name, backend_options=options)

    async def pause(self) -> None:
        """Let all other tasks run once."""
        if self.backend == "trio":
            await trio.lowlevel.checkpoint()
        else:
            await asyncio.sleep(0)

    def names(self, *, bare: bool = True, every_way: bool | None = None) -> list[str]:
        """Return who takes part: of the ways to use this library, perhaps only `call`."""
        every = self.plan.every_way if every_way is None else every_way
        return [
            name
            for name, contestant in self.contestants.items()
            if (bare or name != BARE) and (every or contestant.kind != "ours" or name == "call")
        ]


Turn = Callable[[str, int], Awaitable[float]]
"""Let a contestant make that many calls, and return the CPU seconds which they took."""


async def take_turns(
    bench: Bench, names: Sequence[str], turn: Turn, *, group: int = 1, rounds: int | None = None
) -> list[Measurement]:
    """Let the contestants take turns, in another order each round.

    Args:
        bench: where.
        names: who.
        turn: one turn.
        group: every turn's number of calls is a multiple of it.
        rounds: instead of the plan's.
    """
    found = {name: Measurement(name) for name in names}
    for name, measurement in found.items():
        trial = group * max(1, TRIAL // group)
        with _reported(measurement):
            cost = max(await turn(name, trial), 1e-9) / trial
            fitting = min(bench.plan.turn / cost, MOST_CALLS)
            measurement.calls = group * max(1, round(fitting / group))
    for _ in range(bench.plan.rounds if rounds is None else rounds):
        fit = [measurement for measurement in found.values() if measurement.problem is None]
        for measurement in random.sample(fit, len(fit)):
            with _reported(measurement):
                seconds = await turn(measurement.contestant, measurement.calls)
                measurement.seconds.append(seconds / measurement.calls)
    return list(found.values())


@contextmanager
def _reported(measurement: Measurement) -> Iterator[None]:
    """Keep a contestant's failure to itself, so that the others can go on."""
    try:
        yield
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        measurement.problem = f"{type(error).__name__}: {error}"[:200]
        measurement.seconds.clear()


class Clock:
    """A block that is timed in thread CPU time, with the garbage collector off."""

    __slots__ = ("began", "seconds")

    def __enter__(self) -> Clock:
        gc.disable()
        self.seconds = 0.0
        self.began = time.thread_time()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.thread_time() - self.began
        gc.enable()


class Crew:
    """Tasks that make calls at the same time, again and again, timed while all are at it."""

    def __init__(self, bench: Bench, size: int, tasks: TaskGroup) -> None:
        self._bench = bench
        self._size = size
        self._tasks = tasks
        self._gate = anyio.Event()
        self._done = anyio.Event()
        self._at_gate = self._at_work = 0
        self._began: float | None = None
        self._ended = 0.0
        self._errors: list[Exception] = []

    async def gather(self) -> None:
        """Start the tasks, and wait until all of them are at the gate."""
        for _ in range(self._size):
            self._tasks.start_soon(self._work)
        while self._at_gate < self._size:
            await self._bench.pause()

    async def run(self, calls: Callable[[], Awaitable[None]]) -> float:
        """Let every task `await calls()`, and return the CPU seconds of them all."""
        self._calls, self._began, self._at_work = calls, None, self._size
        gate, self._gate, self._done = self._gate, anyio.Event(), anyio.Event()
        gc.disable()
        try:
            gate.set()
            await self._done.wait()
        finally:
            gc.enable()
        if self._errors:
            error, self._errors = self._errors[0], []
            raise error
        assert self._began is not None
        return self._ended - self._began

    async def _work(self) -> None:
        while True:
            self._at_gate += 1
            await self._gate.wait()
            await self._bench.pause()  # and so all others have passed the gate, too
            if self._began is None:
                self._began = time.thread_time()
            try:
                await self._calls()
            except Exception as error:
                self._errors.append(error)
            self._at_work -= 1
            if not self._at_work:
                self._ended = time.thread_time()
                self._done.set()


@contextmanager
def worn_heap() -> Iterator[None]:
    """Leave the heap as a process has it that has run for a while: with room, and full of holes.

    On a fresh heap the interpreter gives whole arenas back to the system and fetches them again
    as calls come and go, or it does not; an object more or less decides, and it costs a
    microsecond per call.
    """
    objects = [bytes(size) for _ in range(32_000) for size in (300, 450, 800)]
    kept = objects[::50]
    del objects
    yield
    del kept


@contextmanager
def quiet() -> Iterator[None]:
    """Switch all logging off, and warnings: contestants are not to differ in what they say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    logger.disable("")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        logger.enable("")
        logger.disable("supervisor")
