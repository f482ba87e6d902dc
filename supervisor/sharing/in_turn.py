"""What several threads ask for, done one after the other, without a lock.

Nobody waits for a turn: who finds it taken leaves the work to the one who has it, and who has it
looks for work again after giving it back. So either the one who asks finds the turn free, or the
one who has it finds the work: each of them writes first, and then looks at what the other writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

_TAKEN: Final = "taken"


class InTurn:
    """Does work in the order in which it was asked for, each time in the thread that has the turn.

    It rests on single operations that the interpreter does as a whole, with a global lock or with
    one for each object: `deque.append` and `popleft`, and `dict.setdefault` of a string. Who is
    interrupted gives the turn back, even if he had just taken it and did not know yet.
    """

    def __init__(self) -> None:
        self._work: deque[Callable[[], None]] = deque()
        self._turn: dict[str, object] = {}

    def do(self, work: Callable[[], None]) -> None:
        """Do that work, or leave it to the thread that is at work; it must not raise."""
        self._work.append(work)
        mine = object()
        try:
            while self._work and self._turn.setdefault(_TAKEN, mine) is mine:
                while self._work:
                    self._work.popleft()()
                self._turn.pop(_TAKEN, None)
        finally:
            if self._turn.get(_TAKEN) is mine:  # interrupted
                self._turn.pop(_TAKEN, None)

    def begin_anew(self) -> None:
        """Forget who is at work: in a process that was forked, other threads are not there."""
        self._work.clear()
        self._turn.clear()
