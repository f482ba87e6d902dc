"""An ordered queue that anybody may put into at any time, and that one task takes from."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from typing import Final, Generic, Literal, TypeVar

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

    __slots__ = ("_bell", "messages")

    def __init__(self) -> None:
        self.messages: list[M] = []
        self._bell: Bell | Literal["rung"] | None = None  # that the owner sleeps on

    def ring(self) -> None:
        """Wake the owner, or spare it its next sleep; if that raises, it can be repeated."""
        bell = self._bell
        if bell == "rung":
            return
        try:
            self._bell = "rung"  # before: who comes in between need not ring again
            if bell is not None:
                bell.ring()
        except BaseException:
            self._bell = bell
            raise

    def wake(self) -> None:
        """Be awake, and about to take all messages; for the owner alone."""
        self._bell = None

    def wait(self, bell: Bell) -> Awaitable[None]:
        """Sleep until `bell`, a new one, is rung; for the owner alone.

        Not if it has been rung for since the owner woke, or has mail.
        """
        rung, self._bell = self._bell == "rung", bell
        if rung or self.messages:
            self.ring()
        return bell.wait()
