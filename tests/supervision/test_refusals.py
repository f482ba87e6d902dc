"""Refusals are logged: one line for each circuit and minute, with how many there were."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest
import sniffio
import uvloop

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Supervisor
from supervisor.circuit.record import Circuit
from supervisor.instrumentation import use_logging
from supervisor.loop import EventLoop, Tasks
from supervisor.supervision.refusals import TOGETHER
from tests.support.logs import handled_by
from tests.support.worlds import (
    Dependency,
    collect_garbage,
    crash,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
    tasks_here,
)

pytestmark = pytest.mark.anyio

Backend = tuple[str, dict[str, Any]]


class Told(logging.Handler):
    """Each line about refusals: the circuit, how many, in how many seconds, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, int]] = []
        self.times: list[float] = []
        self.seconds: list[float] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        facts = vars(record)
        if "refused" in facts:
            assert record.levelno == logging.WARNING
            self.lines.append((facts["circuit"], facts["refused"]))
            self.seconds.append(facts["seconds"])
            self.texts.append(record.getMessage())
            self.times.append(anyio.current_time())


@pytest.fixture
def told() -> Iterator[Told]:
    use_logging()
    with handled_by(Told()) as told:
        yield told


@asynccontextmanager
async def opened(
    name: str = "x", recovery_timeout: float = 10_000
) -> AsyncIterator[CircuitBreaker]:
    """An open circuit, for long."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit(name, failure_threshold=1, recovery_timeout=recovery_timeout)
        await fail_times(breaker, 1)
        await settle_down()
        yield breaker


async def refuse(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        assert await is_refused(breaker)


async def test_refusals_of_a_minute_are_one_line(told: Told) -> None:
    """A minute after the first one, with how many there were."""
    async with opened("search") as breaker:
        began = anyio.current_time()
        await refuse(breaker, 3)
        await anyio.sleep(TOGETHER / 2)
        await refuse(breaker, 1231)
        assert told.lines == []
        await anyio.sleep(TOGETHER / 2 + 1)
        assert told.lines == [("search", 1234)]
        assert told.texts == ["circuit search: calls refused in the last 60 s: 1234"]
        assert told.times[0] - began == pytest.approx(TOGETHER, abs=0.01)
        assert told.seconds[0] == pytest.approx(TOGETHER, abs=0.01)
        await anyio.sleep(10 * TOGETHER)
        assert len(told.lines) == 1


async def test_no_more_than_one_line_a_minute(told: Told) -> None:
    """For each circuit, however long it goes on; and no refusal is left out."""
    async with opened() as breaker:
        refused = 0
        for step in range(1500):
            await refuse(breaker, step % 4)
            refused += step % 4
            await anyio.sleep(0.7)
        within = list(told.times)
    assert sum(count for _, count in told.lines) == refused == breaker.statistics().rejected
    assert len(within) == 1500 * 0.7 // TOGETHER
    gaps = [later - earlier for earlier, later in pairwise(within)]
    assert min(gaps) >= TOGETHER


async def test_each_circuit_has_a_line_of_its_own(told: Told) -> None:
    """Those that refuse nothing have none."""
    async with opened("a") as first, Supervisor() as other:
        second = other.circuit("b", failure_threshold=1)
        other.circuit("c")
        await fail_times(second, 1)
        await refuse(first, 2)
        await refuse(second, 3)
        await anyio.sleep(TOGETHER + 1)
        assert sorted(told.lines) == [("a", 2), ("b", 3)]


async def test_nothing_runs_while_nobody_is_refused(told: Told) -> None:
    """No task, and no timer, before the first refusal and after its line; also while it is open."""
    async with opened() as breaker:
        before = tasks_here()
        await refuse(breaker, 5)
        assert tasks_here() == before + 1
        await anyio.sleep(TOGETHER + 1)
        assert tasks_here() == before
        await refuse(breaker, 1)
        assert tasks_here() == before + 1


async def test_the_rest_is_told_at_the_end(told: Told) -> None:
    """By a line that says in how much time, and the end waits for nothing."""
    async with opened() as breaker:
        await refuse(breaker, 2)
        await anyio.sleep(5)
        before = anyio.current_time()
    assert anyio.current_time() == before
    assert told.lines == [("x", 2)]
    assert told.seconds[0] == pytest.approx(5, abs=0.01)


async def test_a_circuit_that_is_stopped_has_its_line(told: Told) -> None:
    """Together with its successor of the same name, so that there is one."""
    async with Supervisor() as supervisor:
        for count in (2, 3):
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            await settle_down()
            await refuse(breaker, count)
            supervisor.stop("x")
        await anyio.sleep(TOGETHER + 1)
        assert told.lines == [("x", 5)]


# Refusals of all kinds


@asynccontextmanager
async def forced_open() -> AsyncIterator[CircuitBreaker]:
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        breaker.force_open()
        yield breaker


@asynccontextmanager
async def given_up() -> AsyncIterator[CircuitBreaker]:
    async with Supervisor(max_restarts=0, on_give_up="refuse") as supervisor:
        breaker = supervisor.circuit("x")
        await breaker.call(succeed)
        crash(supervisor, "x")
        await settle_down()
        yield breaker


@asynccontextmanager
async def probing() -> AsyncIterator[CircuitBreaker]:
    dependency = Dependency()
    async with half_open("x") as breaker, anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.call, dependency.call)
        await settle_down()
        yield breaker
        dependency.let_go()


@asynccontextmanager
async def throttled() -> AsyncIterator[CircuitBreaker]:
    """Closed all the time: it refuses a share of the calls."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=10_000, throttle=1.01)
        for _ in range(200):
            try:
                await breaker.call(fail)
            except Exception:
                continue
        assert breaker.state == "closed"
        yield breaker


KINDS: dict[str, Callable[[], Any]] = {
    "open": opened,
    "forced open": forced_open,
    "given up": given_up,
    "half-open": probing,
    "throttled": throttled,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("seeded")
async def test_refusals_of_all_kinds_are_told(told: Told, kind: str) -> None:
    """Whatever the circuit's state is, and whoever refuses: the lease, the actor, or nobody."""
    async with KINDS[kind]() as breaker:
        for _ in range(20):
            await is_refused(breaker)
        await settle_down()
        rejected = breaker.statistics().rejected
        assert rejected >= 15
    assert told.lines == [("x", rejected)]


async def test_a_retry_that_the_budget_refuses_is_told_as_a_call_if_it_is_one(told: Told) -> None:
    """An attempt within a guarded loop is none of its own."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", retry_budget=0.01, retry_budget_minimum=0)
        await breaker.call(succeed)
        for retry in (breaker.spend_retry, lambda: breaker.retry(succeed)):
            with pytest.raises(CircuitBreakerOpenError):
                await retry()
    assert told.lines == [("x", 1)]


# Ends of other kinds


async def test_nothing_that_happens_while_it_is_noted_replaces_the_refusal(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an event loop that takes no more tasks; the next one lets all be told."""
    async with opened() as breaker:

        def too_late(tasks: Tasks[Any], name: str, subject: Any, work: Any) -> None:
            work.close()
            raise RuntimeError("no more tasks")

        with monkeypatch.context() as patch:
            patch.setattr(Tasks, "start", too_late)
            await refuse(breaker, 2)
        await refuse(breaker, 3)
    assert told.lines == [("x", 5)]


async def test_a_loop_that_refuses_a_timer(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been refused meanwhile is told when it is mended, a minute after the next one."""
    async with opened() as breaker:

        def out_of_order(*_: object) -> Any:
            raise OSError("no timer")

        with monkeypatch.context() as patch:
            patch.setattr(EventLoop, "alarm", out_of_order)
            for _ in range(3):
                await refuse(breaker, 1)
                await settle_down()
        assert told.lines == []
        await refuse(breaker, 1)
        await anyio.sleep(TOGETHER + 1)
        assert told.lines == [("x", 4)]


def test_the_end_of_an_event_loop(anyio_backend: Backend, told: Told) -> None:
    """What a default supervisor's circuits have refused by then is told; what they refuse while
    tasks clean up begins nothing.
    """
    name, options = anyio_backend

    async def clean_up(breaker: CircuitBreaker) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await settle_down()
                await refuse(breaker, 1)

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        await settle_down()
        await refuse(breaker, 2)
        if name == "asyncio":
            left.append(asyncio.ensure_future(clean_up(breaker)))
            await settle_down()

    left: list[object] = []
    anyio.run(main, backend=name, backend_options=options)
    assert told.lines == [("x", 2)]


def test_an_event_loop_may_be_closed_without_ending_its_tasks(told: Told) -> None:
    """They are forgotten without a word."""

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        await settle_down()
        await refuse(breaker, 2)
        await settle_down()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    del loop
    collect_garbage()
    assert told.lines == []


async def test_circuits_without_a_supervisor_note_nothing() -> None:
    """What is only read has nobody to tell."""
    assert Circuit("x", CircuitBreaker("x").policy).on_refusal is None


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_event_loop_that_ends_gets_no_task_for_refusals(new_loop: Any, told: Told) -> None:
    """It would seem to go on; a caller that has been cancelled is the first to be refused."""
    tasks: list[asyncio.Task[None]] = []
    refused: list[bool] = []

    async def work(breaker: CircuitBreaker) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            for _ in range(5):
                refused.append(await is_refused(breaker))
                await asyncio.sleep(0)

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        await settle_down()
        tasks.extend(asyncio.create_task(work(breaker)) for _ in range(20))
        await settle_down()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert refused == [True] * 100


async def test_a_refusal_of_a_cancelled_caller_brings_no_line(told: Told) -> None:
    """On asyncio; the next refusal does. On trio, whose system tasks end last, both are told."""
    async with opened() as breaker:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep(1)
            finally:
                with anyio.CancelScope(shield=True):
                    await refuse(breaker, 1)
        await refuse(breaker, 1)
        await anyio.sleep(TOGETHER + 1)
        both = sniffio.current_async_library() == "trio"
        assert told.lines == [("x", 2 if both else 1)]
