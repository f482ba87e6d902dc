"""An ordered queue that anybody may put into at any time, and that one task takes from."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Generic, TypeVar

from supervisor.loop import Bell

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
        self._bell: Bell | None = None  # that the owner sleeps on

    def put(self, message: M) -> None:
        """Add `message` behind all others."""
        self.messages.append(message)

    def ring(self) -> None:
        """Wake the owner if it sleeps; an owner that is awake takes all messages anyway."""
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.ring()

    def wait(self, bell: Bell) -> Awaitable[None]:
        """Sleep until `bell`, a new one, is rung; for the owner alone."""
        self._bell = bell
        return bell.wait()
