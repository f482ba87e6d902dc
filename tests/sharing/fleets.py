"""Supervisors that share circuits, and a store whose link can be cut, slowed down, and broken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack

import anyio

from supervisor import CircuitBreaker, CircuitState, Supervisor
from supervisor.sharing import Link, MemorySharing
from supervisor.sharing.choice import SharingOptions
from supervisor.sharing.store import Answer, Beat, Epoch, News, Record, Sight, Step


class Cut(ConnectionError):
    """What a link raises that is cut."""


class FaultyStore(MemorySharing):
    """A store in memory whose links can be cut.

    Attributes:
        error: what every link raises, as long as there is one.
        delay: seconds that each answer takes.
        deaf: whether a link can be made, but brings no news.
        forget: whether nobody hears any news.
        asked: what it has been asked, and how often.
        steps: what it was asked to do.
    """

    def __init__(self, **options: Unpack[SharingOptions]) -> None:
        super().__init__(clock=lambda: anyio.current_time() + 12345.0, **options)
        self.error: BaseException | None = None
        self.delay = 0.0
        self.deaf = False
        self.forget = False
        self.asked: Counter[str] = Counter()
        self.steps: list[Step] = []
        self.links: list[FaultyLink] = []

    @asynccontextmanager
    async def connect(self, owner: str) -> AsyncGenerator[Link]:
        await self.answer("connect")
        async with super().connect(owner) as link:
            faulty = FaultyLink(self, link)
            self.links.append(faulty)
            try:
                yield faulty
            finally:
                self.links.remove(faulty)

    async def answer(self, what: str) -> None:
        self.asked[what] += 1
        if self.delay:
            with anyio.fail_after(1.0):
                await anyio.sleep(self.delay)
        if self.error is not None:
            raise self.error

    def cut(self, error: BaseException | None = None) -> None:
        """Let every question fail from now on; the links that there are stay cut."""
        self.error = Cut("cut") if error is None else error
        for link in self.links:
            link.cut(self.error)

    def mend(self) -> None:
        """Let them be answered again."""
        self.error = None
        self.delay = 0.0

    def state(self, circuit: str) -> CircuitState:
        """Return how it holds that circuit to stand."""
        return self._held.space._circuits[circuit].state

    def drop_news(self) -> None:
        """Keep nothing of what has happened so far but its results."""
        self._held.space._news.clear()

    def lose_all(self) -> None:
        """Come back empty."""
        self._held.space = type(self._held.space)()


class FaultyLink:
    """A link that fails when its store says so, and for ever once it is cut."""

    def __init__(self, store: FaultyStore, link: Link) -> None:
        self._store = store
        self._link = link
        self._error: BaseException | None = None
        self._gone = anyio.Event()

    def cut(self, error: BaseException) -> None:
        """Let every question fail, and who listens hear of it."""
        self._error = error
        self._gone.set()

    async def take(self, step: Step, seen: Epoch) -> Answer:
        self._store.steps.append(step)
        await self._answer("take")
        return await self._link.take(step, seen)

    async def beat(self, seconds: float) -> Beat:
        await self._answer("beat")
        return await self._link.beat(seconds)

    async def snapshot(self) -> AsyncIterator[dict[str, Record]]:
        await self._answer("snapshot")
        async for part in self._link.snapshot():
            yield part

    async def look(self) -> Sight:
        await self._answer("look")
        return await self._link.look()

    async def past(self, count: int) -> list[News]:
        await self._answer("past")
        return await self._link.past(count)

    async def _answer(self, what: str) -> None:
        await self._store.answer(what)
        if self._error is not None:
            raise self._error

    async def news(self, after: Epoch, seconds: float) -> list[News]:
        await self._answer("news")
        if self._store.deaf:
            raise Cut("deaf")
        heard: list[News] = []
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                heard.extend(await self._link.news(after, seconds))
                if self._store.forget:
                    heard.clear()
                    await anyio.sleep(seconds)
                group.cancel_scope.cancel()

            group.start_soon(listen)
            await self._gone.wait()
            group.cancel_scope.cancel()
        if self._error is not None and not heard:
            raise self._error
        return heard


@asynccontextmanager
async def fleet(
    size: int = 2, store: MemorySharing | None = None, **policy: Any
) -> AsyncIterator[tuple[FaultyStore, list[Supervisor], list[CircuitBreaker]]]:
    """Several supervisors of one event loop, each with a circuit "x" that they share."""
    store = store or FaultyStore()
    assert isinstance(store, FaultyStore)
    policy = {"failure_threshold": 1, "recovery_timeout": 10.0, **policy}
    async with Supervisor(sharing=store) as first:
        supervisors = [first]
        async with anyio.create_task_group() as group:
            stop = anyio.Event()

            async def live(supervisor: Supervisor, *, task_status: Any) -> None:
                async with supervisor:
                    task_status.started()
                    await stop.wait()

            for _ in range(size - 1):
                supervisors.append(Supervisor(sharing=store))
                await group.start(live, supervisors[-1])
            try:
                yield store, supervisors, [each.circuit("x", **policy) for each in supervisors]
            finally:
                stop.set()


async def heard(seconds: float = 0.05) -> None:
    """Let everybody hear what there is to hear."""
    assert seconds < math.inf
    await anyio.sleep(seconds)
