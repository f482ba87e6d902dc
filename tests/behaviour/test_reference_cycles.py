"""No error that comes out of a guard is in a reference cycle: the locals of those who raised it,
and of those whom it passed, are free as soon as it has been handled.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    Supervisor,
    execute_with_retry,
    retry_api_call,
    with_circuit_breaker,
)
from tests.support.worlds import collect_garbage, succeed, until

pytestmark = pytest.mark.anyio

FOREVER = 3600.0
RETRY: dict[str, Any] = {"min_wait": 0.01, "max_wait": 0.01}


class Large:
    """Stands for a response of many megabytes."""


class Held:
    """The large things that somebody's locals have held."""

    def __init__(self) -> None:
        self._made: list[weakref.ref[Large]] = []

    def one(self) -> Large:
        large = Large()
        self._made.append(weakref.ref(large))
        return large

    def alive(self) -> int:
        return sum(each() is not None for each in self._made)

    def __len__(self) -> int:
        return len(self._made)

    async def fail(self) -> None:
        large = self.one()
        raise ConnectionError(f"{type(large)} is down")

    async def be_wrong(self) -> None:
        large = self.one()
        raise ValueError(f"{type(large)} is wrong")

    async def last(self) -> None:
        large = self.one()
        await anyio.sleep(FOREVER)
        del large

    def fail_at_once(self) -> None:
        large = self.one()
        raise ConnectionError(f"{type(large)} is down")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only reference counts free anything."""
    collect_garbage()
    gc.disable()
    yield
    gc.enable()


Way = Callable[[CircuitBreaker, Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def by_call(breaker: CircuitBreaker, func: Callable[[], Awaitable[Any]]) -> None:
    await breaker.call(func)


async def by_fallback(breaker: CircuitBreaker, func: Callable[[], Awaitable[Any]]) -> None:
    def again(error: Exception) -> None:
        try:
            raise error
        finally:
            del error

    await breaker.call(func, fallback=again)


async def by_retry(breaker: CircuitBreaker, func: Callable[[], Awaitable[Any]]) -> None:
    await breaker.retry(func)


async def by_waiting(breaker: CircuitBreaker, func: Callable[[], Awaitable[Any]]) -> None:
    await breaker.waiting(1).call(func)


async def by_waiting_decorator(breaker: CircuitBreaker, func: Callable[[], Any]) -> None:
    await breaker.waiting(1)(func)()


async def by_decorator(breaker: CircuitBreaker, func: Callable[[], Any]) -> None:
    await breaker(func)()


async def by_block(breaker: CircuitBreaker, func: Callable[[], Awaitable[Any]]) -> None:
    async with breaker:
        await func()


async def by_permit(breaker: CircuitBreaker, func: Callable[[], Awaitable[Any]]) -> None:
    with await breaker.acquire():
        await func()


async def by_name(breaker: CircuitBreaker, func: Callable[[], Any]) -> None:
    await with_circuit_breaker(breaker.name)(func)()


async def by_retries(breaker: CircuitBreaker, func: Callable[[], Any]) -> None:
    await execute_with_retry(func, max_attempts=2, operation_name=breaker.name, **RETRY)


async def by_guarded_attempts(breaker: CircuitBreaker, func: Callable[[], Any]) -> None:
    await retry_api_call(2, guard="attempt", **RETRY)(func)()


async def by_waiting_attempts(breaker: CircuitBreaker, func: Callable[[], Any]) -> None:
    options: dict[str, Any] = {"guard": "attempt", "wait_for_recovery": True}
    await retry_api_call(2, **options, **RETRY)(func)()


async def by_attempts_within_a_budget(breaker: CircuitBreaker, func: Callable[[], Any]) -> None:
    budget: dict[str, Any] = {"retry_budget": 0.1, "retry_budget_minimum": 0}
    await retry_api_call(2, **budget, **RETRY)(func)()


ONCE = [
    by_call,
    by_fallback,
    by_retry,
    by_waiting,
    by_waiting_decorator,
    by_decorator,
    by_block,
    by_permit,
    by_name,
]
AGAIN = [by_retries, by_guarded_attempts, by_waiting_attempts, by_attempts_within_a_budget]


async def is_kept(held: Held, call: Callable[[], Awaitable[Any]], error: type[Exception]) -> bool:
    """Whether anything is still alive that was held by somebody whom an error has passed."""

    async def caller() -> None:
        large = held.one()
        await call()
        del large

    try:
        await caller()
    except error:
        pass
    else:
        raise AssertionError("it has raised nothing")
    await anyio.lowlevel.checkpoint()
    assert len(held) > 0
    return held.alive() > 0


@pytest.mark.parametrize("way", [*ONCE, *AGAIN])
@pytest.mark.parametrize("error", [ConnectionError, ValueError])
async def test_nothing_is_kept_by_a_failed_call(
    way: Way, error: type[Exception], enabled: None, no_collector: None
) -> None:
    """Whatever the way into the guard, and whether it is worth another try."""
    held = Held()
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency", failure_threshold=1000)
        func = held.fail if error is ConnectionError else held.be_wrong
        assert not await is_kept(held, partial(way, breaker, func), error)


@pytest.mark.parametrize("way", ONCE)
@pytest.mark.parametrize("asks", [False, True], ids=["at once", "after asking"])
async def test_nothing_is_kept_by_a_refused_call(
    way: Way, asks: bool, enabled: None, no_collector: None
) -> None:
    """Refused by the lease, or by the actor."""
    held = Held()
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency")
        breaker.force_open()
        if not asks:
            await anyio.sleep(0.1)
        assert not await is_kept(held, partial(way, breaker, succeed), Exception)


@pytest.mark.parametrize("way", [each for each in ONCE if each is not by_permit])
async def test_nothing_is_kept_by_a_call_that_took_too_long(
    way: Way, enabled: None, no_collector: None
) -> None:
    """Neither by the error that it gets, nor by the cancellation that it was ended by."""
    held = Held()
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency", timeout=1)
        assert not await is_kept(held, partial(way, breaker, held.last), TimeoutError)


async def test_nothing_is_kept_by_a_group_that_comes_out_of_a_limited_block(
    no_collector: None,
) -> None:
    """The scope of the limit makes another group of what is left of it."""
    held = Held()
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency", timeout=1)

        async def both() -> None:
            async with breaker:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(held.fail)
                    await held.last()

        assert not await is_kept(held, both, ExceptionGroup)


@pytest.mark.parametrize("waits", [False, True])
async def test_nothing_is_kept_by_a_call_of_a_circuit_that_is_stopped(
    waits: bool, no_collector: None
) -> None:
    """Nor by one that waits at that moment."""
    held = Held()
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency")
        await breaker.call(succeed)
        breaker.force_open()
        await anyio.sleep(0.1)
        if not waits:
            supervisor.stop("dependency")
            assert not await is_kept(held, partial(breaker.call, succeed), RuntimeError)
            return

        async def stop() -> None:
            await anyio.sleep(1)
            supervisor.stop("dependency")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            waiting = breaker.waiting(10)
            assert not await is_kept(held, partial(waiting.call, succeed), RuntimeError)


@pytest.mark.parametrize("refused", [False, True])
async def test_nothing_is_kept_by_a_call_from_a_thread(refused: bool, no_collector: None) -> None:
    """A thread's own, since anyio's keep what they hand over until the next collection."""
    held = Held()
    kept: list[int] = []
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency")
        await breaker.call(succeed)
        if refused:
            breaker.force_open()
            await anyio.sleep(0.1)

        def caller() -> None:
            large = held.one()
            breaker.call_from_thread(held.fail_at_once)
            del large

        def run() -> None:
            with suppress(Exception):
                caller()
            kept.append(held.alive())

        thread = threading.Thread(target=run)
        thread.start()
        await until(lambda: not thread.is_alive())
        assert kept == [0]
        assert len(held) == 1 + (not refused)


@pytest.mark.parametrize("guard", ["loop", "attempt"])
@pytest.mark.parametrize("policy", [{}, {"retry_budget": 0.1, "retry_budget_minimum": 0}], ids=str)
async def test_nothing_is_kept_by_retries_in_a_thread(
    guard: Any, policy: dict[str, Any], no_collector: None
) -> None:
    """Whether the attempts come to their end, or the budget does."""
    held = Held()
    kept: list[int] = []
    breaker = CircuitBreaker("dependency", **policy)
    await breaker.call(succeed)
    retried = retry_api_call(2, guard=guard, breaker=breaker, **RETRY)(held.fail_at_once)

    def run() -> None:
        with suppress(ConnectionError):
            retried()
        kept.append(held.alive())

    thread = threading.Thread(target=run)
    thread.start()
    await until(lambda: not thread.is_alive())
    assert kept == [0]
    assert len(held) == (1 if policy else 2)


@pytest.mark.parametrize("guard", ["loop", "attempt"])
@pytest.mark.parametrize("policy", [{}, {"retry_budget": 0.1, "retry_budget_minimum": 0}], ids=str)
async def test_nothing_is_kept_by_retries_of_a_stream(
    guard: Any, policy: dict[str, Any], no_collector: None
) -> None:
    """Likewise."""
    held = Held()
    breaker = CircuitBreaker("dependency", **policy)
    await breaker.call(succeed)

    @retry_api_call(2, guard=guard, breaker=breaker, **RETRY)
    async def stream() -> AsyncIterator[None]:
        yield await held.fail()

    with suppress(ConnectionError):
        await anext(stream())
    assert len(held) == (1 if policy else 2)
    assert held.alive() == 0
