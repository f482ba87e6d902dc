"""A loop does what a decorator of tenacity's own does, though its first attempt is made before it.

Random outcomes, by every way to retry: the same attempts at the same times, the same errors judged,
the same lines, and the same end.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import tenacity
from anyio import to_thread

from supervisor import app_settings, create_retry_decorator, execute_with_retry
from supervisor.errors import describe
from supervisor.retry import tasks, threads
from tests.support.logs import Records, handled_by
from tests.support.retries import EACH_MODE, Dependency
from tests.support.seeds import Seeds

pytestmark = pytest.mark.anyio

HISTORIES = 30


class Abort(BaseException):
    """No `Exception`, and so never worth another attempt."""


ENDINGS = (*[ConnectionError] * 4, tenacity.TryAgain, ValueError, Abort, None)
"""What attempts raise; None: nothing, and they return something."""


@dataclass
class History:
    """What a function does when it is called again and again, and what comes of that."""

    seed: int
    clock: Callable[[], float]
    calls: list[float] = field(default_factory=list)
    judged: list[BaseException] = field(default_factory=list)
    lines: list[tuple[int, float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)
        self.attempts = draw.randint(1, 5)
        self.waits = draw.choice([0.5, 1.0]), draw.choice([2.0, 60.0])
        self.seconds = [draw.choice([0.0, draw.random()]) for _ in range(self.attempts)]
        kinds = [draw.choice(ENDINGS) for _ in range(self.attempts)]
        self.ends = [kind and kind(f"attempt {number}") for number, kind in enumerate(kinds)]
        self.began = self.clock()

    def begin(self) -> float:
        """Begin an attempt; return how long it takes."""
        if not self.calls:
            random.seed(self.seed)  # for the jitter of the waits
        self.calls.append(round(self.clock() - self.began, 6))
        return self.seconds[len(self.calls) - 1]

    def end(self) -> str:
        """End it as it is to end."""
        error = self.ends[len(self.calls) - 1]
        if error is not None:
            raise error
        return f"result {len(self.calls)}"

    async def awaited(self) -> str:
        """Make an attempt in a task."""
        await anyio.sleep(self.begin())
        return self.end()

    async def streamed(self) -> AsyncIterator[str]:
        """Open a stream."""
        yield await self.awaited()

    def is_worth_it(self, error: BaseException) -> bool:
        """Judge an error."""
        self.judged.append(error)
        return isinstance(error, ConnectionError)

    def note(self, state: tenacity.RetryCallState) -> None:
        """Write a line as tenacity would have it."""
        assert state.outcome is not None
        error = state.outcome.exception()
        assert error is not None
        self.lines.append((state.attempt_number, state.upcoming_sleep, describe(error)))

    def seen(self, end: object) -> dict[str, object]:
        """Return all of it, with errors by their numbers in place of themselves."""
        return {
            "end": self.ends.index(end) if isinstance(end, BaseException) else end,
            "over": round(self.clock() - self.began, 6),
            "calls": self.calls,
            "judged": [self.ends.index(error) for error in self.judged],
            "lines": self.lines,
        }


def tenacity_options(history: History, jitter: bool) -> dict[str, Any]:
    """What tenacity's own decorator is told."""
    low, high = history.waits
    wait = tenacity.wait_random_exponential if jitter else tenacity.wait_exponential

    def is_worth_it(error: BaseException) -> bool:
        return isinstance(error, Exception) and history.is_worth_it(error)

    return {
        "stop": tenacity.stop_after_attempt(history.attempts),
        "wait": wait(multiplier=low, min=low, max=high),
        "retry": tenacity.retry_if_exception(is_worth_it),
        "before_sleep": history.note,
        "reraise": True,
    }


def own_decorator(history: History, jitter: bool, mode: str) -> Any:
    """The same of this package's."""
    app_settings.circuit_breaker.enabled = mode != "disabled"
    app_settings.circuit_breaker.logs = "logging"
    return create_retry_decorator(
        "api",
        history.attempts,
        *history.waits,
        jitter,
        guard="loop" if mode in ("disabled", "loop") else "attempt",
        wait_for_recovery=mode == "patient",
        retry_on=history.is_worth_it,
        name=mode,
        failure_threshold=1_000_000,
        retry_budget=1.0,
        retry_budget_minimum=1_000_000,
    )


async def ended(call: Callable[[], Awaitable[object]]) -> object:
    """Return the result of a call, or what it raises."""
    try:
        return await call()
    except (Exception, Abort) as error:
        return error


async def read(stream: AsyncIterator[str]) -> str:
    (item,) = [item async for item in stream]
    return item


async def expected(seed: int, jitter: bool) -> dict[str, object]:
    """What tenacity makes of a history, in a task."""
    history = History(seed, anyio.current_time)
    options = tenacity_options(history, jitter)
    func = tenacity.retry(sleep=anyio.sleep, **options)(history.awaited)
    return history.seen(await ended(func))


def lines_of(records: Records) -> list[tuple[Any, ...]]:
    """The lines about retries, by what is in them."""
    lines = [vars(record) for record in records.records]
    return [(it["attempt"], it["wait"], it["error"]) for it in lines if "attempt" in it]


async def compare(
    seeds: Seeds, jitters: list[bool], call: Callable[[History, bool], Awaitable[object]]
) -> None:
    """Play some histories both ways."""
    ends = set()
    for seed in seeds(HISTORIES):
        for jitter in jitters:
            history = History(seed, anyio.current_time)
            with handled_by(Records()) as records:
                end = await ended(partial(call, history, jitter))
            history.lines = lines_of(records)
            assert history.seen(end) == await expected(seed, jitter)
            ends.add(type(end))
    assert ends == {str, *filter(None, ENDINGS)}


@pytest.fixture(autouse=True)
def random_as_before(seeded: random.Random) -> None:
    """Leave the random numbers of the process as they were."""


@EACH_MODE
async def test_functions(seeds: Seeds, mode: str) -> None:
    """By a decorator."""

    async def call(history: History, jitter: bool) -> object:
        return await own_decorator(history, jitter, mode)(history.awaited)()

    await compare(seeds, [False, True], call)


@EACH_MODE
async def test_streams(seeds: Seeds, mode: str) -> None:
    """Until the first item has come."""

    async def call(history: History, jitter: bool) -> object:
        return await read(own_decorator(history, jitter, mode)(history.streamed)())

    await compare(seeds, [False, True], call)


@pytest.mark.parametrize("enabled", [False, True])
async def test_calls(seeds: Seeds, enabled: bool) -> None:
    """Without a decorator, and with jitter, therefore."""
    app_settings.circuit_breaker.enabled = enabled
    app_settings.circuit_breaker.logs = "logging"
    app_settings.circuit_breaker.failure_threshold = 1_000_000

    async def call(history: History, jitter: bool) -> object:
        low, high = history.waits
        return await execute_with_retry(
            history.awaited,
            max_attempts=history.attempts,
            min_wait=low,
            max_wait=high,
            retry_on=history.is_worth_it,
        )

    await compare(seeds, [True], call)


# Threads


class Hand:
    """A clock that goes on as a thread sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def in_thread(history: History, hand: Hand) -> Callable[[], str]:
    """A plain function."""

    def called() -> str:
        hand.sleep(history.begin())
        return history.end()

    return called


@EACH_MODE
async def test_threads(seeds: Seeds, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain functions, in worker threads."""
    for seed in seeds(HISTORIES):
        for jitter in (False, True):
            hand = Hand()
            history = History(seed, hand.time)
            options = tenacity_options(history, jitter)
            func = tenacity.retry(sleep=hand.sleep, **options)(in_thread(history, hand))
            wanted = history.seen(await ended(partial(to_thread.run_sync, func)))

            hand = Hand()
            clock = SimpleNamespace(monotonic=hand.time, sleep=hand.sleep)
            monkeypatch.setattr(threads, "time", clock)
            history = History(seed, hand.time)
            func = own_decorator(history, jitter, mode)(in_thread(history, hand))
            with handled_by(Records()) as records:
                end = await ended(partial(to_thread.run_sync, func))
            history.lines = lines_of(records)
            assert history.seen(end) == wanted


# What needs no loop


def no_loop(*_: object, **__: object) -> None:
    raise AssertionError("a loop was made")


@EACH_MODE
@pytest.mark.parametrize("end", ["done", ValueError("no")], ids=["success", "failure"])
async def test_no_loop_is_made_for_one_attempt(
    mode: str, end: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it succeeds or fails, unless it is worth another one."""
    monkeypatch.setattr(tasks, "AsyncRetrying", no_loop)
    monkeypatch.setattr(threads, "Retrying", no_loop)
    decorate = own_decorator(History(0, anyio.current_time), False, mode)

    def plain() -> object:
        if isinstance(end, BaseException):
            raise end
        return end

    async def stream() -> AsyncIterator[Any]:
        yield plain()

    for call in (
        decorate(Dependency(end).fetch),
        lambda: read(decorate(stream)()),
        partial(to_thread.run_sync, decorate(plain)),
    ):
        assert await ended(call) is end
