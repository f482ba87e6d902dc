"""Who looks on when an actor takes a turn: recordings, and whatever else wants to know all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from supervisor.machine import Machine, Message


class TurnObserver(Protocol):
    """Is told of each turn of one circuit's actor, in order, on the actor's own task.

    It must neither wait nor fail, and must leave the machine as it is.
    """

    def turn_taken(self, messages: Sequence[Message], machine: Machine, at: float | None) -> None:
        """Learn what a turn has taken, and the machine that came of it.

        `machine.transitions` are those of this turn. `at` is the time of the turn's end, None if
        the machine has crashed before.
        """
        ...


NO_OBSERVERS: Final[tuple[TurnObserver, ...]] = ()
"""Those of a circuit that nobody observes: shared, and free."""
