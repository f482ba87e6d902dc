"""An ordered queue that anybody may put into at any time, and that one task takes from."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from typing import Final, Generic, TypeVar

from supervisor.loop import Bell

M = TypeVar("M")

END: Final = slice(sys.maxsize, None)
"""Where one more message belongs: to assign to it calls nothing that could be interrupted."""


class Mailbox(Generic[M]):
    """Messages in the order in which they were put, and a bell for the task that owns it.

    A message is put by an assignment to `messages[END]`. That never waits and never fails, so it
    works in a cancelled scope and in a `finally`. It does not wake the owner: who needs an answer
    rings the bell as well, and all other messages wait until somebody does.
    """

    __slots__ = ("_bell", "_rung", "messages")

    def __init__(self) -> None:
        self.messages: list[M] = []
        self._bell: Bell | None = None  # that the owner sleeps on
        self._rung = False  # since it woke

    def ring(self) -> None:
        """Wake the owner, or spare it its next sleep; if that raises, it can be repeated."""
        if self._rung:
            return
        try:
            self._rung = True  # before the look: who is about to sleep looks after it has said so
            bell = self._bell
            if bell is not None:
                bell.ring()
                self._bell = None  # it would keep its event loop
        except BaseException:
            self._rung = False
            raise

    def wake(self) -> None:
        """Be awake, and about to take all messages; for the owner alone."""
        self._bell = None
        self._rung = False

    def wait(self, bell: Bell) -> Awaitable[None]:
        """Sleep until `bell`, a new one, is rung; for the owner alone.

        Not if it has been rung for since the owner woke, or has mail.
        """
        self._bell = bell
        if self._rung or self.messages:
            self._rung, self._bell = True, None
            bell.ring()
        return bell.wait()
