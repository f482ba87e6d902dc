"""What a member hears of the fleet, and mails to its circuits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from supervisor.circuit import Circuit, order
from supervisor.loop import EventLoop
from supervisor.machine import AskAgain, SharedMachine
from supervisor.sharing.clocks import StoreClock
from supervisor.sharing.known import Known
from supervisor.sharing.store import NEVER, Beat, Epoch, Link, News, Record
from supervisor.sharing.translation import Reader

T = TypeVar("T")

BEAT: Final = 5.0
"""Seconds between signs of life, and for which news is waited for at a time."""

LIFE: Final = 3 * BEAT
"""Seconds after which a silent member is taken for gone."""

SLICE: Final = 25
"""Circuits that are told something before others have a turn: the actor of each takes one."""


class Hearing:
    """What one member hears.

    Args:
        circuits: those of its supervisor, by name, at any time.
        known: is told of every record.
        clock: is told of the store's clock.
        reader: reads records.

    Attributes:
        members: how many there were, when they were last counted.
    """

    def __init__(
        self, circuits: Mapping[str, Circuit], known: Known, clock: StoreClock, reader: Reader
    ) -> None:
        self.members = 0
        self._circuits = circuits
        self._known = known
        self._clock = clock
        self._reader = reader
        self._heard = NEVER  # the latest news

    async def begin(self, link: Link, loop: EventLoop) -> None:
        """Learn how everything stands; circuits will tell what the fleet does not know."""
        known = self._known.latest
        await self._learn_all(link, await self._give_sign(link, loop), known)

    async def give_signs(self, link: Link, loop: EventLoop) -> None:
        """Give signs of life, for ever."""
        while True:
            await anyio.sleep(BEAT * random.uniform(0.8, 1.0))  # noqa: S311  (not in step)
            heard, known = self._heard, self._known.latest  # later news is not in the answer
            beat = await self._give_sign(link, loop)
            if beat.latest < heard:  # it has come back empty, or from an old copy
                await self._learn_all(link, beat, known)

    async def listen(self, link: Link, loop: EventLoop) -> None:
        """Hear news, for ever."""
        while True:
            for part in slices(await link.news(self._heard, BEAT)):
                if not all(self._hear(news) for news in part):
                    await self.begin(link, loop)
                    break
                await checkpoint()

    async def _give_sign(self, link: Link, loop: EventLoop) -> Beat:
        asked = loop.clock.time()
        beat = await link.beat(LIFE)
        self._clock.read(beat.now, asked, loop.clock.time())
        self._known.forget_old(beat.now)
        self.members = beat.members
        return beat

    def _hear(self, news: News) -> bool:
        """Take news, and return whether nothing is missing before it."""
        if news.before > self._heard:
            return False
        self._heard = news.epoch
        circuit, record = self._circuits.get(news.circuit), news.record
        if record is not None:
            self._known.add(news.circuit, record)
        if circuit is not None and is_shared(circuit):
            now = circuit.time()
            order(circuit, self._reader.adopt(record, now) if record else AskAgain(now))
        return True

    async def _learn_all(self, link: Link, beat: Beat, before: Epoch) -> None:
        """Learn how everything stands after that beat; `before` is what was known until then."""
        known, lost = self._known.latest, beat.latest < before
        self._heard = beat.latest
        now_known = Known()
        async for part in link.snapshot():
            for name, record in part.items():
                now_known.add(name, record)
        self._known.become(now_known, max(known, beat.latest))  # more was heard meanwhile
        for circuits in slices(shared_among(self._circuits)):
            for circuit in circuits:
                self._rejoin(circuit, self._known.of(circuit.name), lost)
            await checkpoint()

    def _rejoin(self, circuit: Circuit, record: Record | None, lost: bool) -> None:
        machine = circuit.machine
        assert isinstance(machine, SharedMachine)
        epoch = Epoch(*machine.terms.epoch)
        stands = self._reader.rejoin(record, circuit.time(), epoch, lost)
        if not machine.agrees_with(stands):
            order(circuit, stands)


def is_shared(circuit: Circuit) -> bool:
    """Whether other members may have it, too."""
    return isinstance(circuit.machine, SharedMachine)


def shared_among(circuits: Mapping[str, Circuit]) -> list[Circuit]:
    """Return those that are shared."""
    return [each for each in circuits.values() if is_shared(each)]


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Return them in parts, after each of which others have a turn."""
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]
