"""`async with` blocks: each is its own, wherever it ends; and those that are entered otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)
from contextvars import copy_context
from typing import Any

import anyio
import pytest
import trio
from anyio import to_thread

from supervisor import CircuitBreaker
from tests.support.worlds import Down, fail

pytestmark = pytest.mark.anyio


Enter = Callable[[CircuitBreaker], AbstractAsyncContextManager[object]]


@asynccontextmanager
async def by_hand(breaker: CircuitBreaker) -> AsyncIterator[None]:
    await breaker.__aenter__()
    try:
        yield
    finally:
        await breaker.__aexit__(None, None, None)


@asynccontextmanager
async def by_a_stack(breaker: CircuitBreaker) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(breaker)
        yield


@asynccontextmanager
async def by_a_statement(breaker: CircuitBreaker) -> AsyncIterator[None]:
    async with breaker:
        yield


otherwise = pytest.mark.parametrize("enter", [by_hand, by_a_stack])
limited = pytest.mark.parametrize("limit", [None, 100.0])


async def leave(breaker: CircuitBreaker) -> None:
    with pytest.raises(RuntimeError, match="belongs to the event loop of another thread"):
        await breaker.__aexit__(None, None, None)


async def leave_by_an_error(breaker: CircuitBreaker) -> None:
    with pytest.raises(RuntimeError, match="belongs to the event loop of another thread"):
        await breaker.__aexit__(Down, Down(), None)


async def enter_and_leave(breaker: CircuitBreaker) -> None:
    async with breaker:
        pass
    with pytest.raises(Down):
        async with breaker:
            raise Down
    assert (breaker.statistics().succeeded, breaker.statistics().failed) == (1, 1)


@otherwise
@limited
@pytest.mark.parametrize("use", [leave, leave_by_an_error, enter_and_leave])
@pytest.mark.parametrize("kind", ["asyncio", "trio"])
async def test_a_thread_is_in_no_block_that_it_has_inherited(
    use: Callable[[CircuitBreaker], Coroutine[None, None, None]],
    limit: float | None,
    kind: str,
    enter: Enter,
) -> None:
    """On free-threaded builds every thread inherits the context of the one that starts it."""
    breaker = CircuitBreaker("x", timeout=limit)

    def run() -> None:
        asyncio.run(use(breaker)) if kind == "asyncio" else trio.run(use, breaker)

    async with enter(breaker):
        await to_thread.run_sync(copy_context().run, run)
        figures = breaker.statistics()
        assert (figures.in_flight, figures.succeeded, figures.failed) == (1, 0, 0)
    assert (breaker.statistics().in_flight, breaker.statistics().succeeded) == (0, 1)


def figures(breaker: CircuitBreaker) -> tuple[int, int, int, int]:
    now = breaker.statistics()
    return now.in_flight, now.succeeded, now.failed, now.cancelled


class Suspended:
    """Awaited, it waits until the coroutine is closed."""

    def __await__(self) -> Generator[None]:
        yield


async def in_block(breaker: CircuitBreaker) -> None:
    async with breaker:
        await Suspended()


@pytest.mark.parametrize("slow", [None, 100.0])
@pytest.mark.parametrize("enter", [by_a_statement, by_hand])
async def test_an_abandoned_block_ends_alone(enter: Enter, slow: float | None) -> None:
    """The garbage collector runs its end in whatever task is in a block of the same breaker."""
    breaker = CircuitBreaker("x", failure_threshold=9, slow_call_duration=slow)
    with suppress(Down):
        await breaker.call(fail)  # it is joined, so that a block waits for nothing
    abandoned = in_block(breaker)
    abandoned.send(None)
    async with enter(breaker):
        assert figures(breaker) == (2, 0, 1, 0)
        copy_context().run(abandoned.close)
        assert figures(breaker) == (1, 0, 1, 1)
        with pytest.raises(Down):
            async with breaker:
                raise Down
    assert figures(breaker) == (0, 1, 2, 1)


async def test_a_generator_may_be_closed_by_another_task() -> None:
    breaker = CircuitBreaker("x")

    async def numbers() -> AsyncGenerator[int]:
        async with breaker:
            yield 1

    async with aclosing(numbers()) as opened:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, opened)
        assert figures(breaker) == (1, 0, 0, 0)
        async with breaker:
            await opened.aclose()
            assert figures(breaker) == (1, 0, 0, 1)
    assert figures(breaker) == (0, 1, 0, 1)


@otherwise
async def test_a_look_enters_nothing(enter: Enter) -> None:
    """Whoever looks for `__aexit__` and does not keep it is in no block."""
    breaker = CircuitBreaker("x")
    for expected in (1, 2):
        assert hasattr(breaker, "__aexit__")
        async with enter(breaker):
            assert figures(breaker) == (1, expected - 1, 0, 0)
        assert figures(breaker) == (0, expected, 0, 0)


@otherwise
async def test_what_is_entered_otherwise_is_left_once(enter: Enter) -> None:
    """Also by a task that was started inside, and remembers it as well."""
    breaker, other = CircuitBreaker("x"), CircuitBreaker("y")

    async def leave_what_is_left() -> None:
        await inside.wait()
        with pytest.raises(RuntimeError, match="was entered in another context"):
            await breaker.__aexit__(None, None, None)

    inside = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with enter(other), enter(breaker), enter(other):
            tasks.start_soon(leave_what_is_left)
            assert figures(other) == (2, 0, 0, 0)
        assert (figures(breaker), figures(other)) == ((0, 1, 0, 0), (0, 2, 0, 0))
        inside.set()


async def test_what_is_entered_otherwise_may_be_left_in_another_order() -> None:
    """As a generator does that is read by turns with another one."""
    x, y, z = (CircuitBreaker(name) for name in "xyz")
    async with AsyncExitStack() as of_x, AsyncExitStack() as of_y, AsyncExitStack() as of_z:
        for stack, breaker in ((of_x, x), (of_y, y), (of_z, z)):
            await stack.enter_async_context(breaker)
        await of_x.aclose()
        assert [figures(each) for each in (x, y, z)] == [(0, 1, 0, 0), (1, 0, 0, 0), (1, 0, 0, 0)]
        await of_z.aclose()
        await of_y.aclose()
    assert [figures(each) for each in (x, y, z)] == [(0, 1, 0, 0)] * 3


async def test_what_a_task_has_left_is_no_block_of_its_parent() -> None:
    """Which remembers it as well, and forgets it when it enters the next one."""
    breaker, other = CircuitBreaker("x"), CircuitBreaker("y")
    stack = AsyncExitStack()
    await stack.enter_async_context(breaker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stack.aclose)
    assert figures(breaker) == (0, 1, 0, 0)
    async with by_a_stack(other):
        with pytest.raises(RuntimeError, match="was entered in another context"):
            await breaker.__aexit__(None, None, None)
    assert (figures(breaker), figures(other)) == ((0, 1, 0, 0), (0, 1, 0, 0))


async def test_a_way_out_is_used_once() -> None:
    breaker = CircuitBreaker("x")
    leave = breaker.__aexit__
    await breaker.__aenter__()
    await leave(None, None, None)
    async with breaker:
        with pytest.raises(RuntimeError, match="was entered in another context"):
            await leave(None, None, None)
        assert figures(breaker) == (1, 1, 0, 0)
    assert figures(breaker) == (0, 2, 0, 0)


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
async def test_another_thread_may_look_before_the_block_is_entered(kind: str) -> None:
    """Threads take turns in any place, also between the two halves of a statement."""
    breaker = CircuitBreaker("x")
    await breaker.call(anyio.lowlevel.checkpoint)

    async def look() -> None:
        theirs.append(breaker.__aexit__)

    async def enter_and_fail() -> None:
        await breaker.__aenter__()
        await theirs.pop()(Down, Down(), None)
        theirs.append(breaker.statistics().failed)

    def run(use: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run(use()) if kind == "asyncio" else trio.run(use)

    theirs: list[Any] = []
    ours = breaker.__aexit__
    await to_thread.run_sync(run, look)
    await breaker.__aenter__()
    await to_thread.run_sync(run, enter_and_fail)
    await ours(None, None, None)
    assert theirs == [1]
    assert figures(breaker) == (0, 2, 0, 0)


class Waits(CircuitBreaker):
    """Does something first, for which others may come in between."""

    async def __aenter__(self) -> None:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        await super().__aenter__()


class WaitsTwice(Waits):
    """Does something last, as well."""

    async def __aexit__(self, *how: Any) -> None:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        await super().__aexit__(*how)


@pytest.mark.parametrize("kind", [Waits, WaitsTwice])
async def test_subclasses_that_wait_before_they_enter(kind: type[CircuitBreaker]) -> None:
    """Many of them, each of which fails or succeeds for itself."""
    breaker = kind("x", failure_threshold=1_000)

    async def use(number: int) -> None:
        for turn in range(20):
            with suppress(Down):
                async with breaker:
                    if turn % 2:
                        await anyio.lowlevel.checkpoint()
                    if (turn + number) % 4 == 0:
                        raise Down

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(use, number)
    assert figures(breaker) == (0, 120, 40, 0)
