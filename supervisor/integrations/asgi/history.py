"""The latest events of a supervisor's circuits: kept once, and read by any number of readers."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable
from typing import Final

import anyio

from supervisor import (
    CircuitStarted,
    CircuitStopped,
    Event,
    EventsMissed,
    EventStream,
    StateChanged,
    Supervisor,
)

MOST_EVENTS: Final = 1000
"""Events that are kept of all circuits together, for readers that come back."""

MOST_OF_ONE: Final = 20
"""Events that are kept of one circuit, until it is stopped."""


class History:
    """What has happened of late; one task listens, and nothing waits for a reader.

    Attributes:
        run: names the supervisor: numbers of events begin anew in each process, and after each
            start.
        latest: the number of the last event that there was.
        ended: whether nothing more will come, since the application ends, or the supervisor has.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self.run: Final = secrets.token_hex(4)
        self.latest = 0
        self.ended = False
        self._supervisor = supervisor
        self._all: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._of: dict[str, deque[Event]] = {}
        self._entered: dict[str, float] = {}
        self._news = anyio.Event()

    async def follow(self, stream: EventStream) -> None:
        """Keep what the stream delivers, until it ends."""
        async for event in stream:
            self._keep(event)
            self._wake()
        self.end()

    def end(self) -> None:
        """Let readers go: they have all that there will be."""
        self.ended = True
        self._wake()

    def of(self, name: str) -> Iterable[Event]:
        """Return the latest events of one circuit, oldest first."""
        return self._of.get(name, ())

    def entered(self, name: str) -> float | None:
        """Return when a circuit entered its state, by the event loop's clock; None if missed."""
        return self._entered.get(name)

    def since(self, sequence: int) -> Iterable[Event | EventsMissed]:
        """Yield what came after the event of that number, and how much of it is not there now."""
        for event in list(self._all):
            if event.sequence > sequence:
                if missed := event.sequence - sequence - 1:
                    yield EventsMissed(missed, event.sequence - 1)
                yield event
                sequence = event.sequence
        if missed := self.latest - sequence:
            yield EventsMissed(missed, self.latest)

    async def more(self) -> None:
        """Wait until something has happened."""
        await self._news.wait()

    def _keep(self, event: Event | EventsMissed) -> None:
        self.latest = event.sequence
        if isinstance(event, EventsMissed):  # stops may be among them
            self._of = {name: kept for name, kept in self._of.items() if name in self._supervisor}
            self._entered.clear()
            return
        self._all.append(event)
        if isinstance(event, CircuitStopped):
            self._of.pop(event.circuit, None)
            self._entered.pop(event.circuit, None)
            return
        if isinstance(event, CircuitStarted) or _enters_state(event):
            self._entered[event.circuit] = event.at
        self._of.setdefault(event.circuit, deque(maxlen=MOST_OF_ONE)).append(event)

    def _wake(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


def _enters_state(event: Event) -> bool:
    """Whether a circuit is in another state from then on, and not only would be."""
    return isinstance(event, StateChanged) and not event.metrics_only
