"""Event streams by whose events they deliver, so that none is looked at that wants others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from weakref import ref

from supervisor.events import EventStream

ENDED: Final = 16
"""Streams that have ended, beyond as many as there are, before they are looked for."""


class Listeners:
    """Streams that are told of one circuit each, or of all. Whoever drops one listens no more.

    There may be one for each of thousands of circuits, and each event finds its own. The sets of
    weak references that Python has take longer to look through than all else that an event takes.
    """

    def __init__(self) -> None:
        self._of: dict[str | None, list[ref[EventStream]]] = {}
        self._count = self._most = 0

    def add(self, stream: EventStream) -> None:
        """Let a stream be found from now on."""
        if self._count >= self._most:
            self._forget_ended()
        reference = ref(stream)
        self._of.setdefault(stream.circuit, []).append(reference)
        self._count += 1

    def of(self, circuit: str) -> list[EventStream]:
        """Return those that deliver events of that circuit."""
        references = (*self._of.get(None, ()), *self._of.get(circuit, ()))
        return [each for one in references if (each := one()) is not None and not each.closed]

    def __iter__(self) -> Iterator[EventStream]:
        for references in list(self._of.values()):
            yield from (each for one in references if (each := one()) is not None)

    def _forget_ended(self) -> None:
        """Done whenever there are twice as many as were left the last time."""
        left: dict[str | None, list[ref[EventStream]]] = {}
        before, count = self._of, self._count
        for stream in self:
            if not stream.closed:
                left.setdefault(stream.circuit, []).append(ref(stream))
        still = sum(map(len, left.values()))
        if self._of is before and self._count == count:  # or the collector has had one added
            self._of, self._count, self._most = left, still, 2 * still + ENDED
