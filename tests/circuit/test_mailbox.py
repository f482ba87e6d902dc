"""A mailbox that is rung in the middle of anything, as signal handlers do: the owner wakes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

import anyio
import pytest

from supervisor.circuit import mailbox as mailboxes
from supervisor.circuit.mailbox import Mailbox
from supervisor.loop import EventLoop, wakeup
from tests.support.tracing import tracing
from tests.support.worlds import settle_down

pytestmark = pytest.mark.anyio

WATCHED = {mailboxes.__file__, wakeup.__file__}


class Interruption:
    """Does something once, at one of the places where Python may run a signal handler."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self._at = at
        self._act = act
        self.places = 0

    def here(self) -> AbstractContextManager[None]:
        """Come to all places in mailboxes and bells."""
        return tracing(self._trace)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.places += 1
            if self.places == self._at:
                self._act()  # not watched, since it is called by what watches
        return self._trace


class Owner:
    """Sleeps until its mailbox is rung, again and again."""

    def __init__(self, turns: int) -> None:
        self.mailbox: Mailbox[int] = Mailbox()
        self.taken: list[int] = []
        self._turns = turns

    async def run(self) -> None:
        """Take what there is, and sleep, as an actor does."""
        while len(self.taken) < self._turns:
            self.mailbox.wake()
            self.taken += self.mailbox.messages
            self.mailbox.messages.clear()
            if len(self.taken) < self._turns:
                await self.mailbox.wait(EventLoop.here().new_bell())


async def places_of_a_life(at: int, ring: Callable[[Owner], None]) -> int:
    """Let an owner sleep and wake, with another ring at a place; return how many there are."""
    owner = Owner(turns=3)
    interruption = Interruption(at, lambda: ring(owner))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            with interruption.here():
                tasks.start_soon(owner.run)
                await settle_down()
                for _ in range(2):
                    owner.mailbox.messages.append(0)
                    owner.mailbox.ring()
                    await settle_down()
            if interruption.places < at:  # there is no such place
                ring(owner)
    assert owner.taken == [0, 0, 0] or sorted(owner.taken) == [0, 0, 1]
    return interruption.places


def put_and_ring(owner: Owner) -> None:
    owner.mailbox.messages.append(1)
    owner.mailbox.ring()


def ring_twice(owner: Owner) -> None:
    put_and_ring(owner)
    owner.mailbox.ring()


@pytest.mark.parametrize("ring", [put_and_ring, ring_twice])
async def test_a_ring_at_every_place(ring: Callable[[Owner], None]) -> None:
    """The owner takes what was put there, although nobody rings any more."""
    places = await places_of_a_life(sys.maxsize, ring)
    assert places > 50
    for at in range(1, places + 1):
        await places_of_a_life(at, ring)
