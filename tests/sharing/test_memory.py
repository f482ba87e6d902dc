"""The store in memory: news, signs of life, snapshots, several event loops."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
import trio
import uvloop

from supervisor import CircuitState
from supervisor.sharing import Link, MemorySharing, memory
from supervisor.sharing.memory import SLICE
from supervisor.sharing.rules import Asker
from supervisor.sharing.space import KEPT_NEWS, LOOKS, MOST_NEWS, Space
from supervisor.sharing.store import NEVER, Answer, Forcing, News, Step
from tests.sharing.cases import ASKING, BEGIN, HOUR, OPENING, SETTLING, epoch
from tests.sharing.stories import SetClock, assert_in_order
from tests.support.worlds import collect_garbage, settle_down

here = pytest.mark.anyio


@asynccontextmanager
async def linked(**options: Any) -> AsyncIterator[Link]:
    async with MemorySharing(**options).connect("a") as link:
        yield link


@here
async def test_news_of_the_past_are_told_at_once() -> None:
    async with linked() as link:
        began = anyio.current_time()
        opened = await link.take(OPENING, NEVER)
        (news,) = await link.news(NEVER, 5.0)
        assert news.record == opened.record
        assert anyio.current_time() == began


@here
async def test_news_wake_all_who_listen() -> None:
    store = MemorySharing()
    heard: list[News] = []

    async def listen(owner: str) -> None:
        async with store.connect(owner) as link:
            heard.extend(await link.news(NEVER, 60.0))

    began = anyio.current_time()
    async with store.connect("a") as link, anyio.create_task_group() as group:
        group.start_soon(listen, "b")
        group.start_soon(listen, "c")
        await settle_down()
        await link.take(OPENING, NEVER)
    assert [each.circuit for each in heard] == ["db", "db"]
    assert anyio.current_time() == began


@here
async def test_no_news_are_waited_for_no_longer_than_that() -> None:
    async with linked() as link:
        began = anyio.current_time()
        assert await link.news(NEVER, 5.0) == []
        assert anyio.current_time() == pytest.approx(began + 5.0, abs=0.01)


@here
async def test_a_listener_may_be_cancelled() -> None:
    async with linked() as link:
        with anyio.move_on_after(1.0) as scope:
            await link.news(NEVER, 5.0)
        assert scope.cancelled_caught
        await link.take(OPENING, NEVER)
        assert len(await link.news(NEVER, 5.0)) == 1


def test_so_many_news_at_a_time_and_so_many_in_all() -> None:
    """Whoever comes too late sees it: there is news before the first one that is heard."""
    space = Space()
    asker = Asker("a", NEVER, 1)
    for number in range(KEPT_NEWS + 1):
        state = (CircuitState.FORCED_OPEN, CircuitState.CLOSED)[number % 2]
        space.take(Forcing("db", state), round(BEGIN * 1000), asker)
    first = space.news(NEVER)
    assert len(first) == MOST_NEWS
    assert first[0].before == epoch(0, 0)
    assert space.news(first[-1].epoch)[0].before == first[-1].epoch
    last = space.news(epoch(0, KEPT_NEWS - 2))
    assert [each.epoch.number for each in last] == [KEPT_NEWS - 1, KEPT_NEWS]


@here
async def test_signs_of_life() -> None:
    """Who is silent for long, or leaves, is no member any more; nor who is of the future."""
    clock = SetClock()
    store = MemorySharing(clock=clock)
    async with store.connect("a") as a, store.connect("b") as b:
        assert (await a.beat(15.0)).members == 1
        clock.now += 14.0
        beat = await b.beat(15.0)
        assert (beat.members, beat.now, beat.latest) == (2, clock.now, NEVER)
        clock.now += 1.0
        assert (await b.beat(15.0)).members == 1
        await a.beat(15.0)
        assert (await a.beat(0.0)).members == 1
        await a.beat(15.0)
        clock.now -= HOUR
        assert (await b.beat(15.0)).members == 1


@here
async def test_a_snapshot_in_parts() -> None:
    clock = SetClock()
    async with linked(clock=clock) as link:
        names = {str(number) for number in range(2 * SLICE + 1)}
        for name in names:
            await link.take(replace(OPENING, circuit=name), NEVER)
        parts = [part async for part in link.snapshot()]
        assert [len(part) for part in parts] == [SLICE, SLICE, 1]
        records = {name: record for part in parts for name, record in part.items()}
        assert set(records) == names
        clock.now += 25 * HOUR
        assert [part async for part in link.snapshot()] == [{}, {}, {}]


@here
async def test_a_vote_is_no_record() -> None:
    async with linked(quorum=2) as link:
        await link.take(OPENING, NEVER)
        assert [part async for part in link.snapshot()] == [{}]
        assert await link.news(NEVER, 1.0) == []


def test_circuits_of_the_past_do_not_add_up() -> None:
    """Some are looked at with each beat, whether anybody needs them."""
    space = Space()
    asker = Asker("a", NEVER, 1)
    for number in range(2 * LOOKS):
        space.take(replace(OPENING, circuit=str(number)), 1000, asker)
    later = round(25 * HOUR * 1000)
    space.take(OPENING, later, asker)
    left = []
    for _ in range(3):
        space.beat("a", 15.0, later)
        left.append(len(space.names()))
    assert left == [LOOKS + 1, 1, 1]


@here
async def test_its_clock_is_the_event_loops() -> None:
    async with linked() as link:
        opened = await link.take(OPENING, NEVER)
        assert opened.record is not None
        assert opened.record.until == pytest.approx(opened.now + 30.0)
        await anyio.sleep(29.0)
        assert (await link.take(ASKING, NEVER)).outcome == "told"
        await anyio.sleep(1.0)
        assert (await link.take(ASKING, NEVER)).outcome == "leased"


def test_quorum_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="quorum must be at least 1, got 0"):
        MemorySharing(quorum=0)
    assert repr(MemorySharing(quorum=3)) == "MemorySharing(quorum=3)"
    assert MemorySharing().malformed == 0


# Event loops of several threads, or one after another: in real time


def on_asyncio(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(function())


def on_uvloop(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(function())


def on_trio(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    trio.run(function)


LOOPS = [on_asyncio, on_uvloop, on_trio]
every_loop = pytest.mark.parametrize("run", LOOPS, ids=lambda run: run.__name__)


@every_loop
def test_one_event_loop_after_another(run: Callable[..., None]) -> None:
    store = MemorySharing()
    states: list[CircuitState] = []

    async def step() -> None:
        async with store.connect("a") as link:
            answer = await link.take(OPENING, NEVER)
            assert answer.record is not None
            states.append(answer.record.state)
            assert answer.now < answer.record.until <= answer.now + 30.0

    on_asyncio(step)
    run(step)
    assert states == [CircuitState.OPEN] * 2


def in_threads(*runs: Callable[[], None]) -> None:
    """Run all of them at once, and to their ends."""
    threads = [threading.Thread(target=run, daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@every_loop
def test_news_wake_another_thread(run: Callable[..., None]) -> None:
    store = MemorySharing()
    listens = threading.Event()
    heard: list[News] = []

    async def listen() -> None:
        async with store.connect("b") as link:
            listens.set()
            heard.extend(await link.news(NEVER, 60.0))

    async def tell() -> None:
        assert listens.wait(60)
        async with store.connect("a") as link:
            await link.take(OPENING, NEVER)

    in_threads(lambda: run(listen), lambda: on_asyncio(tell))
    assert [each.circuit for each in heard] == ["db"]


def test_threads_that_ask_at_once() -> None:
    """Each place for a probe is given once; all steps are in one order."""
    store = MemorySharing()
    leased: list[str] = []
    steps = 300

    async def probe(owner: str) -> None:
        async with store.connect(owner) as link:
            for number in range(steps):
                token = f"{owner}/{number}"
                answer = await link.take(replace(ASKING, token=token, seconds=900.0), epoch(9))
                if answer.outcome == "leased":
                    assert answer.record is not None
                    leased.append(token)
                    back = replace(
                        SETTLING, token=token, epoch=answer.record.epoch, verdict="given back"
                    )
                    leased.remove(token)
                    assert (await link.take(back, NEVER)).outcome == "told"
                else:
                    assert answer.outcome == "busy"

    in_threads(*[lambda run=run: run(lambda: probe(run.__name__)) for run in LOOPS])
    news: list[News] = []

    async def listen() -> None:
        async with store.connect("d") as link:
            while part := await link.news(news[-1].epoch if news else NEVER, 0.01):
                news.extend(part)

    on_trio(listen)
    assert_in_order(news)
    assert news[0].record is not None
    assert all(each.record is None for each in news[1:])


class Slow(str):
    """A name that takes its time, so that whoever takes a step with it has the turn meanwhile."""

    __slots__ = ("begun", "may_end")

    def __init__(self, _: str) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def encode(self, *args: Any) -> bytes:
        self.begun.set()
        assert self.may_end.wait(60)
        return super().encode(*args)


@every_loop
def test_a_step_that_another_thread_takes(run: Callable[..., None]) -> None:
    """The event loop goes on meanwhile, and is told what has come of it."""
    store = MemorySharing()
    name = Slow("slow")
    answers: list[Answer] = []

    async def step(taken: Step) -> None:
        async with store.connect("a") as link:
            answers.append(await link.take(taken, NEVER))

    async def other() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(step, OPENING)
            await settle_down()
            assert answers == []
            name.may_end.set()

    def late() -> None:
        assert name.begun.wait(60)
        run(other)

    in_threads(lambda: on_asyncio(lambda: step(replace(OPENING, circuit=name))), late)
    assert [answer.outcome for answer in answers] == ["told", "told"]
    assert {answer.record.epoch < epoch(0) for answer in answers if answer.record} == {True}


def test_an_event_loop_that_is_gone_is_not_woken() -> None:
    store = MemorySharing()
    loop = asyncio.new_event_loop()

    async def listen() -> None:
        async with store.connect("b") as link:
            await link.news(NEVER, 60.0)

    task = loop.create_task(listen())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()

    async def tell() -> None:
        async with store.connect("a") as link:
            assert (await link.take(OPENING, NEVER)).outcome == "told"

    on_trio(tell)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task, loop
    collect_garbage()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_goes_on_with_a_copy() -> None:
    """Also if it was forked while another thread was taking a step."""
    store = MemorySharing()
    name = Slow("slow")

    async def step(taken: Step, expected: str) -> None:
        async with store.connect("a") as link:
            assert (await link.take(taken, NEVER)).outcome == expected

    on_asyncio(lambda: step(OPENING, "told"))
    slow = threading.Thread(
        target=on_asyncio, args=[lambda: step(replace(OPENING, circuit=name), "told")]
    )
    slow.start()
    assert name.begun.wait(60)
    child = os.fork()
    if not child:
        try:
            on_trio(lambda: step(ASKING, "told"))
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    name.may_end.set()
    slow.join(60)
    assert status == 0


def test_what_a_forked_process_forgets() -> None:
    """The same in this one, where it can be seen: who is at work, and who listens."""
    store = MemorySharing()

    async def fork() -> None:
        async with store.connect("a") as link:
            async with anyio.create_task_group() as group:
                group.start_soon(link.news, NEVER, 60.0)
                await settle_down()
                memory._after_fork()
                await link.take(OPENING, NEVER)
                group.cancel_scope.cancel()

    on_asyncio(fork)
