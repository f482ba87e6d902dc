"""All that a store in memory holds: circuits, news, members; synchronous, for one at a time."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Final

from supervisor.sharing.rules import (
    NOTHING,
    Asker,
    Held,
    as_of,
    bytes_of,
    later_epoch,
    milliseconds,
    record_of,
    take,
)
from supervisor.sharing.store import (
    LONGEST_NAME,
    NEVER,
    Answer,
    Beat,
    Epoch,
    News,
    Record,
    Sight,
    Standing,
    Step,
)

KEPT_NEWS: Final = 10_000
"""News that are kept at least: who has missed more begins with a snapshot."""

MOST_NEWS: Final = 500
"""News that are heard at a time."""

LOOKS: Final = 20
"""Circuits that are looked at with each beat, whether they can be dropped."""


def standing_of(held: Held) -> Standing:
    """Return what onlookers are told of that."""
    leases = {token: term.ends / 1000 for token, term in held.leases.items()}
    votes = {owner: term.ends / 1000 for owner, term in held.votes.items()}
    return Standing(record_of(held), held.won, leases, votes)


class Space:
    """What the supervisors of one space have in common.

    Attributes:
        latest: the epoch of the latest news.
    """

    def __init__(self) -> None:
        self.latest = NEVER
        self._circuits: dict[str, Held] = {}
        self._news: deque[News] = deque(maxlen=KEPT_NEWS)
        self._beats: dict[str, int] = {}
        self._names: list[str] = []  # those that are still to be looked at

    def take(self, step: Step, now: int, asker: Asker) -> Answer:
        """Take a step at that time."""
        name = step.circuit
        if len(bytes_of(name)) > LONGEST_NAME:
            return Answer("alone", now / 1000, None)
        epoch = later_epoch(now, self.latest, asker.seen)
        taken = take(step, self._as_of(name, now), now, epoch, asker)
        self._keep(name, taken.held)
        record = record_of(taken.held)
        if taken.news is not None:
            told = record if taken.news == "change" else None
            self._news.append(News(name, epoch, self.latest, told))
            self.latest = epoch
        return Answer(taken.outcome, now / 1000, record, taken.ends / 1000)

    def beat(self, owner: str, seconds: float, now: int) -> Beat:
        """Hear a member's sign of life, or that it leaves; drop what nobody needs any more."""
        length = milliseconds(seconds)
        self._beats.pop(owner, None)
        if length:
            for each, at in list(self._beats.items()):
                if not now - length < at <= now:  # silent for long; or the clock went back
                    del self._beats[each]
            self._beats[owner] = now
        self._drop_some(now)
        return Beat(now / 1000, self.latest, len(self._beats))

    def news(self, after: Epoch) -> list[News]:
        """Return what has happened after that, oldest first."""
        later = list(takewhile(lambda news: news.epoch > after, reversed(self._news)))
        return later[: -MOST_NEWS - 1 : -1]

    def past(self, count: int) -> list[News]:
        """Return the latest news, so many at most, oldest first."""
        return list(self._news)[-count:]

    def look(self, now: int) -> Sight:
        """Return how all stands."""
        members = {owner: at / 1000 for owner, at in self._beats.items()}
        held = ((name, self._as_of(name, now)) for name in self._circuits)
        circuits = {name: standing_of(each) for name, each in held if each != NOTHING}
        return Sight(now / 1000, self.latest, members, circuits)

    def names(self) -> list[str]:
        """Return those of the circuits that there may be records of."""
        return list(self._circuits)

    def records(self, names: list[str], now: int) -> dict[str, Record]:
        """Return the records of these circuits, where there is one."""
        records = ((name, record_of(self._as_of(name, now))) for name in names)
        return {name: record for name, record in records if record is not None}

    def _as_of(self, name: str, now: int) -> Held:
        return as_of(self._circuits.get(name, NOTHING), now)

    def _keep(self, name: str, held: Held) -> None:
        if held == NOTHING:
            self._circuits.pop(name, None)
        else:
            self._circuits[name] = held

    def _drop_some(self, now: int) -> None:
        """So that names of the past do not add up."""
        if not self._names:
            self._names = self.names()
        looked_at, self._names = self._names[:LOOKS], self._names[LOOKS:]
        for name in looked_at:
            if self._as_of(name, now) == NOTHING:
                self._circuits.pop(name, None)
