"""The terms on which a circuit is shared: what it knows of its fleet, and what it waits for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from supervisor.machine.fleet import NEVER, NEWS, Adopt, Epoch, Take
from supervisor.machine.messages import Settle
from supervisor.machine.states import Origin

ANSWER_WITHIN: Final = 0.25
"""Seconds that the fleet has for an answer; then the circuit decides alone."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """What the fleet is to answer.

    Attributes:
        until: when the circuit goes on without an answer.
        permit: of the asker, or of the probe that has ended.
        impatient: whether the asker waits for nothing else.
        report: how the probe has ended.
    """

    until: float
    permit: int
    impatient: bool = False
    report: Settle | None = None


class Terms:
    """What a shared circuit knows of its fleet, and what it waits for."""

    epoch: Epoch  # of the latest that it knows of
    record: Adopt | None  # the latest itself
    counts: bool  # whether the fleet counts failures together
    origin: Origin  # of its state
    set_by_fleet: bool  # whether its state has been set by hand for all
    forcing: int  # the number under which it has asked for that; 0: it has not
    alone: bool  # whether this half-open period is decided here
    number: int  # of what it has asked last
    asked: dict[int, Awaited]  # for a probe, by number: one at a time
    ended: dict[int, Awaited]  # probes, likewise
    held: dict[int, Take]  # permit of a running probe -> what it runs by
    spare: Take | None  # for the asker that is about to be told
    full_until: float  # all places are taken

    def __init__(self) -> None:
        self.epoch = NEVER
        self.record = None
        self.counts = False
        self.origin = "here"
        self.set_by_fleet = False
        self.forcing = NEWS
        self.number = NEWS
        self.forget_probes()

    def forget_probes(self) -> None:
        """Wait for nothing any more: another period begins."""
        self.alone = False
        self.asked = {}
        self.ended = {}
        self.held = {}
        self.spare = None
        self.full_until = 0.0

    def copy(self) -> Terms:
        """Return others that say the same."""
        twin = Terms.__new__(Terms)
        twin.__dict__.update(self.__dict__)
        twin.asked = self.asked.copy()
        twin.ended = self.ended.copy()
        twin.held = self.held.copy()
        return twin

    @property
    def deadline(self) -> float:
        """When the circuit goes on without an answer; infinite if it waits for none."""
        return min((each.until for _, each in self._awaited()), default=math.inf)

    def due(self, at: float) -> int | None:
        """Return the number of what the circuit goes on without from that time on, if any."""
        return next((number for number, each in self._awaited() if each.until <= at), None)

    def next_number(self) -> int:
        """Count one more question."""
        self.number += 1
        return self.number

    def held_by(self, token: str) -> int | None:
        """Return the permit of the probe that runs by that token, if there is one."""
        return next((permit for permit, held in self.held.items() if held.token == token), None)

    def take_out(self, at: float) -> Take | None:
        """Take out any token that counts at that time."""
        permit = next((permit for permit, held in self.held.items() if at < held.until), None)
        return None if permit is None else self.held.pop(permit)

    def _awaited(self) -> Iterator[tuple[int, Awaited]]:
        yield from self.asked.items()
        yield from self.ended.items()
