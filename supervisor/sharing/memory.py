"""A store in this process, for event loops that run in its threads or one after another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeVar, Unpack, cast
from weakref import WeakSet

import anyio

from supervisor.loop import EventLoop, LoopVar, Native, in_forked_process, post, time_in_process
from supervisor.policy import check_function
from supervisor.sharing.choice import Sharing, SharingOptions
from supervisor.sharing.in_turn import InTurn
from supervisor.sharing.rules import Asker
from supervisor.sharing.space import Space
from supervisor.sharing.store import Answer, Beat, Epoch, Link, News, Record, Sight, Step

T = TypeVar("T")

PATIENCE: Final = 1.0
"""Seconds that a member waits for the thread that is at work, which takes microseconds."""

SLICE: Final = 200
"""Circuits in a part of a snapshot."""


class MemorySharing(Sharing):
    """A store in this process: supervisors share their circuits through it.

    Their event loops may run in several threads, on asyncio and trio, or one after another. What it
    holds lasts as long as it does. A process that is forked has a copy of its own.

    Args:
        options: see `Sharing`.
        clock: returns the store's time, in seconds. By default it is that of the asker's event
            loop, which may be virtual, as far as the process's clock was ahead of it.

    Attributes:
        malformed: always 0.

    Raises:
        TypeError, ValueError: an option is unknown, of the wrong type or out of range.
    """

    def __init__(
        self, *, clock: Callable[[], float] | None = None, **options: Unpack[SharingOptions]
    ) -> None:
        super().__init__(**options)
        if clock is not None:
            check_function("clock", clock)
        self._clock = clock
        self._held = _Held()
        _all.add(self._held)

    def __repr__(self) -> str:
        return f"MemorySharing(quorum={self.quorum})"

    @asynccontextmanager
    async def connect(self, owner: str) -> AsyncGenerator[Link]:
        """Connect as the member of that name, on the event loop that runs here."""
        loop = EventLoop.here()
        clock = self._clock
        if clock is None:
            ahead = _ahead.get()
            if (
                ahead is None
            ):  # else time would jump for those who connect later, where it is virtual
                ahead = time_in_process() - loop.clock.time()
                _ahead.set(ahead)
            clock = lambda: loop.clock.time() + ahead  # noqa: E731
        yield _Link(self._held, loop, clock, owner, self.quorum)


class _Held:
    """What the members of one store have in common, used in turn."""

    def __init__(self) -> None:
        self.in_turn = InTurn()
        self.space = Space()
        self.listeners: dict[_Sleeper, None] = {}

    def take(self, step: Step, now: int, asker: Asker) -> Answer:
        """Take a step, and wake who listens if there is news."""
        before = self.space.latest
        answer = self.space.take(step, now, asker)
        if self.space.latest > before:
            woken = list(self.listeners)
            self.listeners.clear()
            for listener in woken:
                listener.wake()
        return answer

    def listen(self, after: Epoch, sleeper: _Sleeper) -> list[News]:
        """Return what has happened after that; if nothing has, wake the sleeper when it does."""
        news = self.space.news(after)
        if not news:
            self.listeners[sleeper] = None
        return news

    def begin_anew(self) -> None:
        """Go on with what there is, in a process that was forked: without the other threads."""
        self.in_turn.begin_anew()
        self.listeners.clear()


class _Link:
    """A member's way to what is held; it lasts as long as the event loop."""

    def __init__(
        self, held: _Held, loop: EventLoop, clock: Callable[[], float], owner: str, quorum: int
    ) -> None:
        self._held = held
        self._loop = loop
        self._clock = clock
        self._owner = owner
        self._quorum = quorum

    async def take(self, step: Step, seen: Epoch) -> Answer:
        """Let the store take a step."""
        asker = Asker(self._owner, seen, self._quorum)
        return await self._ask(lambda now: self._held.take(step, now, asker))

    async def beat(self, seconds: float) -> Beat:
        """Give a sign of life."""
        return await self._ask(lambda now: self._held.space.beat(self._owner, seconds, now))

    async def snapshot(self) -> AsyncIterator[dict[str, Record]]:
        """Yield all records, in handy parts."""
        space = self._held.space
        names = await self._ask(lambda _: space.names())
        while names:
            part, names = names[:SLICE], names[SLICE:]
            yield await self._ask(partial(space.records, part))

    async def news(self, after: Epoch, seconds: float) -> list[News]:
        """Wait for news."""
        sleeper = _Sleeper(self._loop)
        try:
            news = await self._ask(lambda _: self._held.listen(after, sleeper))
            if news:
                return news
            with anyio.move_on_after(seconds):
                await sleeper.sleep()
        finally:
            self._held.listeners.pop(sleeper, None)
        return await self._ask(lambda _: self._held.space.news(after))

    async def look(self) -> Sight:
        """Return how the fleet stands."""
        return await self._ask(self._held.space.look)

    async def past(self, count: int) -> list[News]:
        """Return the latest news."""
        return await self._ask(lambda _: self._held.space.past(count))

    async def _ask(self, question: Callable[[int], T]) -> T:
        """Have a question answered in turn, as of now, and be a turn of the event loop's.

        Raises:
            TimeoutError: the thread that had the turn is gone, or does not run.
        """
        now = max(round(self._clock() * 1000), 1)
        sleeper = _Sleeper(self._loop)
        answers: list[T] = []

        def answer() -> None:
            answers.append(question(now))
            sleeper.wake()

        self._held.in_turn.do(answer)
        with anyio.fail_after(PATIENCE):
            await sleeper.sleep()
        return answers[0]


class _Sleeper:
    """Who sleeps on an event loop, and is woken from whatever thread."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._bell = loop.new_bell()

    def sleep(self) -> Awaitable[None]:
        """Sleep until woken, for a turn of the event loop at least."""
        return self._bell.wait()

    def wake(self) -> None:
        """Wake the sleeper, unless his event loop has ended, or takes nothing from this thread."""
        if self._loop.runs_here():
            self._bell.ring()
        else:
            with suppress(anyio.RunFinishedError, NotImplementedError):
                post(cast("Native", self._loop.native), self._bell.ring)


_ahead: Final[LoopVar[float | None]] = LoopVar("_ahead_of_shared", None)
_all: Final[WeakSet[_Held]] = WeakSet()


def _after_fork() -> None:
    for held in list(_all):
        held.begin_anew()


in_forked_process(_after_fork)
