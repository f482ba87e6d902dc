"""One sleeper, woken once: whatever comes first, the ring, the sleep or its cancellation."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from selectors import BaseSelector
from typing import Any, cast
from unittest.mock import patch

import anyio
import anyio.lowlevel
import pytest
import trio
import uvloop

from supervisor.loop.event_loop import EventLoop
from supervisor.loop.wakeup import AsyncioBell, Bell
from tests.support.tracing import tracing
from tests.support.worlds import settle_down

Run = Callable[[Callable[[], Awaitable[None]]], None]


def on_asyncio(main: Callable[[], Any]) -> None:
    asyncio.run(main())


def on_uvloop(main: Callable[[], Any]) -> None:
    uvloop.run(main())


RUNS = [on_asyncio, on_uvloop, trio.run]


def new_bell() -> Bell:
    return EventLoop.here().new_bell()


@pytest.mark.anyio
async def test_a_ring_wakes_the_sleeper() -> None:
    """It sleeps until then, and goes on after that."""
    bell, seen = new_bell(), []

    async def sleep() -> None:
        await bell.wait()
        seen.append("awake")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep)
        await settle_down()
        assert seen == []
        bell.ring()
    assert seen == ["awake"]


@pytest.mark.anyio
async def test_a_ring_that_was_cut_short_can_be_repeated() -> None:
    """At the recursion limit, nobody is woken by half."""
    bell, seen = new_bell(), []

    async def sleep() -> None:
        await bell.wait()
        seen.append("awake")

    def ring_deep_down() -> None:
        try:
            ring_deep_down()
        except RecursionError:
            with suppress(RecursionError):
                bell.ring()
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep)
        await settle_down()
        with pytest.raises(RecursionError):
            ring_deep_down()
        bell.ring()
    assert seen == ["awake"]


async def ring_interrupted(at: int) -> int:
    """Ring once more before the instruction of that number; return how many there have been."""
    bell, seen = new_bell(), 0

    async def sleep() -> None:
        await bell.wait()
        await anyio.sleep(1)  # it would be woken from this, too

    def ring_once_more(frame: Any, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code is not type(bell).ring.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == at:
                bell.ring()
        return ring_once_more

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep)
        await settle_down()
        with tracing(ring_once_more):
            bell.ring()
    assert anyio.current_time() - began >= 1
    return seen


@pytest.mark.anyio
async def test_a_ring_in_the_middle_of_another_one() -> None:
    """What the garbage collector settles rings at any instruction; it wakes the sleeper once."""
    at = 1
    while await ring_interrupted(at) >= at:
        at += 1
    assert at > 10


def test_a_ring_while_trio_is_asked_where_it_runs() -> None:
    """The same where coverage sees it, which does not trace while others do."""

    async def main() -> None:
        bell, in_trio_task = new_bell(), trio.lowlevel.in_trio_task

        def ring_once_more() -> bool:
            with patch.object(trio.lowlevel, "in_trio_task", in_trio_task):
                bell.ring()
            return in_trio_task()

        async def sleep() -> None:
            await bell.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            await settle_down()
            with patch.object(trio.lowlevel, "in_trio_task", ring_once_more):
                bell.ring()

    trio.run(main)


@pytest.mark.anyio
async def test_a_ring_before_the_sleep_spares_it() -> None:
    """Nothing that was rung is slept on for ever."""
    bell = new_bell()
    bell.ring()
    with anyio.fail_after(1):
        await bell.wait()


@pytest.mark.anyio
async def test_a_ring_after_the_sleeper_was_cancelled_does_nothing() -> None:
    """The cancellation is what the sleeper sees, and the ring reaches nobody else."""
    bell = new_bell()
    with anyio.move_on_after(1) as scope:
        await bell.wait()
    assert scope.cancelled_caught
    bell.ring()
    await settle_down()


@pytest.mark.anyio
async def test_a_sleep_in_a_cancelled_scope_ends_at_once() -> None:
    """Sleeping is a checkpoint."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await new_bell().wait()
    assert scope.cancelled_caught


def test_a_ring_for_a_loop_that_was_closed_does_nothing() -> None:
    """An asyncio loop can be closed while a task sleeps in it."""
    loop = asyncio.new_event_loop()
    bell = AsyncioBell(loop)

    async def sleep() -> None:
        await bell.wait()

    task = loop.create_task(sleep())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    bell.ring()
    assert not task.done()
    task.get_coro().close()  # type: ignore[union-attr]


def test_a_ring_of_trios_that_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised on its way leaves the sleeper asleep, and the next ring wakes it."""
    reschedule = trio.lowlevel.reschedule

    def fail_once(*_: object) -> None:
        monkeypatch.setattr(trio.lowlevel, "reschedule", reschedule)
        raise RecursionError

    async def main() -> None:
        bell = new_bell()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep_on, bell)
            await settle_down()
            monkeypatch.setattr(trio.lowlevel, "reschedule", fail_once)
            with pytest.raises(RecursionError):
                bell.ring()
            bell.ring()

    trio.run(main)


async def sleep_on(bell: Bell) -> None:
    await bell.wait()


# Outside every task


@pytest.mark.parametrize("run", RUNS)
def test_a_ring_by_a_signal_handler_wakes_a_loop_that_sleeps(run: Run) -> None:
    """Who sleeps goes on at once, and not when the loop wakes for something else."""

    async def main() -> None:
        bell = new_bell()
        with ringing_by_signal(bell):
            await sleep_in_time(bell)

    run(main)


@contextmanager
def ringing_by_signal(bell: Bell) -> Iterator[None]:
    """Ring by a signal of the system, soon."""
    before = signal.signal(signal.SIGALRM, lambda *_: bell.ring())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def sleep_in_time(bell: Bell) -> None:
    """Sleep, and be woken by the ring, before anything else wakes the loop."""
    late: list[bool] = []

    async def wake_the_loop() -> None:
        await anyio.sleep(5)
        late.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wake_the_loop)
        await bell.wait()
        await settle_down()
        assert not late
        tasks.cancel_scope.cancel()


def test_a_ring_while_asyncios_loop_is_about_to_sleep() -> None:
    """The collector may come after the loop has seen that there is nothing to do."""

    async def main() -> None:
        bell = new_bell()
        loop = cast("asyncio.SelectorEventLoop", asyncio.get_running_loop())
        selector: BaseSelector = loop._selector  # type: ignore[attr-defined]
        select, rings = selector.select, [bell.ring]

        def ring_first(timeout: float | None = None) -> object:
            if timeout and rings:
                rings.pop()()
            return select(timeout)

        with patch.object(selector, "select", ring_first):
            await sleep_in_time(bell)

    asyncio.run(main())


def test_a_ring_while_trio_is_about_to_sleep() -> None:
    """The same on trio, which calls its instruments then. It could even drop what is added to those
    who run next, between two steps of its own; but no test can be there.
    """

    async def main() -> None:
        bell = new_bell()
        rings = [bell.ring]

        class RingFirst(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                if timeout > 1 and rings:
                    rings.pop()()

        trio.lowlevel.add_instrument(RingFirst())
        await sleep_in_time(bell)

    trio.run(main)
