"""How events reach one listener, in order."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

import anyio

from supervisor.arguments import check_count, check_name
from supervisor.errors import Uncopied
from supervisor.events.records import Event, EventsMissed


class EventStream(Uncopied):
    """The events of one supervisor from now on, for one listener.

    Use it as `async with supervisor.events() as stream: async for event in stream: ...`.
    It ends when the supervisor does. A listener that falls behind by more than the buffer
    gets an `EventsMissed` in the place of what it missed; it never holds anybody up.

    Args:
        buffer: events, 1 or more, that may wait for the listener.
        circuit: the name of the one whose events are delivered; None: those of all.

    Attributes:
        circuit: the same.
        closed: whether nothing more will be delivered.

    Raises:
        TypeError, ValueError: `buffer` is of the wrong type or out of range, or `circuit` no name.
    """

    no_copies = "an EventStream is for one listener"
    instead = "ask the supervisor for another one"

    def __init__(self, buffer: int, circuit: str | None = None) -> None:
        self._buffer = check_count("buffer", buffer)
        self.circuit = None if circuit is None else check_name(circuit)
        self._waiting: list[Event] = []
        self._taken: list[Event | EventsMissed] = []  # out of those, newest first
        self._news: anyio.Event | None = None  # for who finds nothing
        self._missed = 0
        self._last_missed = 0
        self.closed = False

    def put(self, event: Event) -> None:
        """Deliver `event`, which is one of those that are listened to, if there is room."""
        if self.closed:
            return
        if len(self._waiting) < self._buffer:
            self._waiting.append(event)
            self._wake()
        else:
            self._missed += 1
            self._last_missed = event.sequence

    def close(self) -> None:
        """Deliver nothing more; what was delivered can still be read."""
        self.closed = True
        self._wake()

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event | EventsMissed:
        while not self._taken:
            if self._waiting:
                self._take()
            elif self.closed:
                raise StopAsyncIteration
            else:
                self._news = news = self._news or anyio.Event()
                if not (self._waiting or self.closed):  # by the garbage collector, meanwhile
                    await news.wait()
        return self._taken.pop()

    def _take(self) -> None:
        # The garbage collector may settle a call, and have its event put, in the middle of this.
        fresh: list[Event] = []
        waiting, self._waiting = self._waiting, fresh
        missed, self._missed = self._missed, 0
        self._taken.extend(waiting)
        if missed:
            self._taken.append(EventsMissed(missed, self._last_missed))
        self._taken.reverse()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            with suppress(RuntimeError):  # its event loop was closed while somebody listened
                news.set()
