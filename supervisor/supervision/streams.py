"""The event streams that one supervisor delivers to."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import ref

from supervisor.events import EventStream


class Streams:
    """Those that somebody still holds."""

    def __init__(self) -> None:
        # Weak, and no set of the kind: to look through that takes longer than all the rest.
        self._known: tuple[ref[EventStream], ...] = ()

    def add(self, stream: EventStream) -> None:
        """Deliver to one more, and forget those that are closed."""
        self._known = (*map(ref, (each for each in self if not each.closed)), ref(stream))

    def __iter__(self) -> Iterator[EventStream]:
        return iter([stream for each in self._known if (stream := each()) is not None])

    def close(self) -> None:
        """Let all of them end."""
        for stream in self:
            stream.close()
