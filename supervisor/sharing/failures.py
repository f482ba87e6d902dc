"""Failures of closed circuits that the members of a fleet count together."""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

from supervisor.machine import Failed

Of = TypeVar("Of")

PARTS: Final = 10
"""In how many parts the time is in which they count: at the end of each, they are told."""


class Together(NamedTuple):
    """When they open a circuit: so many, within so many seconds."""

    failures: int
    within: float


class Failures(Generic[Of]):
    """Those that one member has seen of each circuit, in the last parts of the time."""

    def __init__(self) -> None:
        self._recent: dict[Of, _Recent] = {}

    def add(self, circuit: Of, failed: Failed) -> None:
        """Count those; what has failed before the latest change of the fleet's is over."""
        recent = self._recent.get(circuit)
        if recent is None or recent.last.view != failed.view:
            recent = self._recent[circuit] = _Recent()
        recent.last = failed
        recent.parts[-1] += failed.failures

    def clear(self) -> None:
        """Forget all."""
        self._recent.clear()

    def end_part(self) -> list[tuple[Of, int, Failed]]:
        """Begin another part of the time; return how many there are where that is to be told, and
        the last ones.
        """
        to_tell: list[tuple[Of, int, Failed]] = []
        for circuit, recent in list(self._recent.items()):
            failures = sum(recent.parts)
            if failures != recent.told or recent.parts[-1]:
                to_tell.append((circuit, failures, recent.last))
                recent.told = failures
            if failures:
                recent.parts.append(0)
            else:
                del self._recent[circuit]
        return to_tell


class _Recent:
    """What is remembered of one circuit.

    Attributes:
        last: the failure that was counted last.
        parts: how many there were in each part of the time, the present one being the last.
        told: how many the store was told.
    """

    last: Failed

    def __init__(self) -> None:
        self.parts: deque[int] = deque([0], maxlen=PARTS)
        self.told = 0
