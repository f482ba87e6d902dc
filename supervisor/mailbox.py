"""An ordered queue that anybody may put into at any time, and that one task takes from."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Generic, TypeVar

import anyio

M = TypeVar("M")


class Mailbox(Generic[M]):
    """Messages in the order in which they were put, and a bell for the task that owns it.

    Putting never waits and never fails, so that it works in a cancelled scope and in a
    `finally`. It does not wake the owner: who needs an answer rings the bell as well, and
    all other messages wait until somebody does.
    """

    __slots__ = ("_bell", "messages")

    def __init__(self) -> None:
        self.messages: list[M] = []
        self._bell: anyio.Event | None = None  # that the owner waits for, or will

    def put(self, message: M) -> None:
        """Add `message` behind all others."""
        self.messages.append(message)

    def ring(self) -> None:
        """Wake the owner if it sleeps; an owner that is awake takes all messages anyway."""
        bell, self._bell = self._bell, None
        if bell is not None:
            with suppress(RuntimeError):  # its event loop was closed while it slept
                bell.set()

    async def wait(self, until: float = math.inf) -> None:
        """Sleep until the bell rings or the event loop's clock shows `until`."""
        if self._bell is None:
            self._bell = anyio.Event()
        if until == math.inf:  # spares an idle circuit the cancel scope
            await self._bell.wait()
        else:
            with anyio.CancelScope(deadline=until):
                await self._bell.wait()
