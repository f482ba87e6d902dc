"""Who looks on: at an actor's turns, such as recordings, or at single calls, such as traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from supervisor.machine import Machine, Message
from supervisor.policy import Judgement


class TurnObserver(Protocol):
    """Is told of each turn of one circuit's actor, in order, by whoever takes it.

    It must neither wait nor fail, and must leave the machine as it is.
    """

    def turn_taken(self, messages: Sequence[Message], machine: Machine, at: float | None) -> None:
        """Learn what a turn has taken, and the machine that came of it.

        `machine.transitions` are those of this turn. `at` is the time of the turn's end, None if
        the machine has crashed before.
        """
        ...


class CallObserver(Protocol):
    """Is told of each call of one circuit that is refused or has ended, where that is decided.

    All times are those of the circuit's event loop. It must neither wait nor fail, and may be told
    in the middle of anything, since the garbage collector settles abandoned calls.
    """

    def call_refused(self, asked: float, reason: str, retry: bool, wait: float | None) -> None:
        """Learn of a call that was not admitted.

        Args:
            asked: when it asked to be.
            reason: why it was not.
            retry: whether it is another attempt.
            wait: seconds for which it would have waited.
        """
        ...

    def call_ended(
        self,
        asked: float,
        began: float,
        ended: float,
        judgement: Judgement,
        retry: bool,
        wait: float | None,
        probe: bool,
    ) -> None:
        """Learn of a call that was admitted at the time `began`, and what it counts as.

        `probe` is whether a half-open circuit has let it through.
        """
        ...


class SeveralObservers:
    """Tells several observers of each call, in order."""

    __slots__ = ("_observers",)

    def __init__(self, *observers: CallObserver) -> None:
        self._observers = observers

    def call_refused(self, asked: float, reason: str, retry: bool, wait: float | None) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.call_refused(asked, reason, retry, wait)

    def call_ended(
        self,
        asked: float,
        began: float,
        ended: float,
        judgement: Judgement,
        retry: bool,
        wait: float | None,
        probe: bool,
    ) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.call_ended(asked, began, ended, judgement, retry, wait, probe)


NO_OBSERVERS: Final[tuple[TurnObserver, ...]] = ()
"""Those of a circuit that nobody observes: shared, and free."""
