"""What a member has heard of circuits, whether they run here or not: newcomers begin with that."""

from __future__ import annotations

from itertools import islice
from typing import Final

from supervisor.machine import CircuitState
from supervisor.sharing.held import REMEMBERED_CLOSED, REMEMBERED_OPEN
from supervisor.sharing.store import NEVER, Epoch, Record

LOOKS: Final = 500
"""Circuits of either sort that are looked at at a time, whether they are to be forgotten."""


class Known:
    """Records by name, of each circuit the latest.

    Attributes:
        latest: the epoch of the latest change that was ever heard of.
    """

    def __init__(self) -> None:
        self.latest: Epoch = NEVER
        self._closed: dict[str, Record] = {}  # in the order of their coming
        self._others: dict[str, Record] = {}
        self._names: list[str] = []  # of others, that are still to be looked at

    def add(self, circuit: str, record: Record) -> None:
        """Know that, unless something later is known."""
        self.latest = max(self.latest, record.epoch)
        before = self.of(circuit)
        if before is not None and before.epoch > record.epoch:
            return
        self._closed.pop(circuit, None)
        self._others.pop(circuit, None)
        closed = record.state is CircuitState.CLOSED
        (self._closed if closed else self._others)[circuit] = record

    def become(self, other: Known, since: Epoch) -> None:
        """Know what the other one does, and what was heard of later than that; nothing else."""
        for circuit, record in (*self._closed.items(), *self._others.items()):
            if record.epoch > since:
                other.add(circuit, record)
        self.latest = max(self.latest, other.latest)
        self._closed, self._others = other._closed, other._others

    def of(self, circuit: str) -> Record | None:
        """Return the latest that is known of a circuit."""
        return self._others.get(circuit) or self._closed.get(circuit)

    def forget_old(self, now: float) -> None:
        """Forget some of what the store does, too, at a time of its clock."""
        for circuit, record in list(islice(self._closed.items(), LOOKS)):
            if now - record.epoch.milliseconds / 1000 < REMEMBERED_CLOSED / 1000:
                break
            del self._closed[circuit]
        if not self._names:
            self._names = list(self._others)
        looked_at, self._names = self._names[:LOOKS], self._names[LOOKS:]
        for circuit in looked_at:
            other = self._others.get(circuit)
            if other is None or other.state not in (CircuitState.OPEN, CircuitState.HALF_OPEN):
                continue
            if other.until + REMEMBERED_OPEN / 1000 <= now:
                del self._others[circuit]
