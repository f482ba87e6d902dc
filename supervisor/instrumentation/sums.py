"""What circuits have counted, added up by label: what exporters of metrics have in common.

A series is for ever, so the number of labels is bounded; and a counter that went down would be
taken for one that begins anew, so none does.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count
from operator import add, attrgetter
from os import getpid
from typing import Final, NamedTuple, TypeVar

from supervisor import (
    CircuitState,
    Figures,
    Fleet,
    Statistics,
    Supervisor,
    Totals,
    Window,
    all_figures,
)
from supervisor.arguments import check_count, shown
from supervisor.machine import Origin

OTHER: Final = "other"
"""The label of all circuits that have none of their own."""


class Counts(NamedTuple):
    """The counters among the fields of `Statistics`."""

    succeeded: int = 0
    failed: int = 0
    ignored: int = 0
    cancelled: int = 0
    rejected: int = 0
    would_have_refused: int = 0
    stale: int = 0
    restarts: int = 0


_counted = attrgetter(*Counts._fields)

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Sums:
    """What the circuits of one label have counted, and those of them that there are.

    Attributes:
        counts: the plain counters.
        refusals: rejected calls by reason.
        transitions: changes of state, by the states before and after.
        circuits: the figures of those that there are; more than one, if several event loops have a
            circuit of that name.
    """

    counts: Counts = Counts()  # noqa: RUF009  (a tuple)
    refusals: Counter[str] = field(default_factory=Counter[str])
    transitions: Counter[tuple[CircuitState, CircuitState]] = field(
        default_factory=Counter[tuple[CircuitState, CircuitState]]
    )
    circuits: list[Statistics] = field(default_factory=list[Statistics])

    @property
    def window(self) -> Window | None:
        """What the windows of all circuits of the label remember, if any has one."""
        windows = [each.window for each in self.circuits if each.window is not None]
        if not windows:
            return None
        return Window(
            sum(each.calls for each in windows),
            sum(each.failures for each in windows),
            sum(each.slow for each in windows),
            all(each.complete for each in windows),
        )

    @property
    def origins(self) -> set[Origin]:
        """Who has brought about the states of those that are shared."""
        return {each.origin for each in self.circuits if each.shared}

    def add(self, figures: Statistics | Totals) -> None:
        """Add what has been counted, but for the transitions."""
        self.counts = Counts._make(map(add, self.counts, _counted(figures)))
        if figures.refusals:
            self.refusals.update(figures.refusals)

    def keep_to(self, told: Sums) -> None:
        """Fall behind in nothing that has been told before."""
        self.counts = Counts._make(map(max, self.counts, told.counts))
        _keep_to(told.refusals, self.refusals)
        _keep_to(told.transitions, self.transitions)


class Links(NamedTuple):
    """How supervisors stand with the stores that they share circuits through.

    Attributes:
        linked: whether each of them reaches its store; None if all of them have ended.
        joined, lost: how often any of them has reached one, and lost it.
    """

    linked: bool | None
    joined: int
    lost: int


class Told(NamedTuple):
    """All that there is to tell at one moment.

    Attributes:
        labels: the sums of each label that has ever been used.
        links: None if no supervisor shares circuits.
    """

    labels: dict[str, Sums]
    links: Links | None


class Labels:
    """Adds up circuits by label. May be read in several threads at once.

    Args:
        supervisor: whose circuits; None: all circuits of the process.
        limit: labels that there may be, beside `OTHER`, 1 or more. The first names that are seen
            get one each, and keep it.

    Raises:
        TypeError, ValueError: one of them is of the wrong type or out of range.
    """

    def __init__(self, supervisor: Supervisor | None, limit: int) -> None:
        if supervisor is not None and not isinstance(supervisor, Supervisor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"supervisor must be a Supervisor, got {shown(supervisor)}")
        self._supervisor = supervisor
        self._limit = check_count("limit", limit)
        self._begin()

    def _begin(self) -> None:
        self._process = getpid()
        self._drawn = count()  # by each name that asks for a label
        self._labels: dict[str, str] = {}
        self._told: dict[str, Sums] = {}

    def read(self) -> Told:
        """Return what there is to tell now.

        No counter is less than it was before. Without this, those of a circuit that is kept for the
        next event loop would be gone for a while, and those of a report that is on its way in
        another thread for an instant.
        """
        if self._process != getpid():  # a forked one, whose figures begin with none, too
            self._begin()
        sums: defaultdict[str, Sums] = defaultdict(Sums)
        read = self._figures()
        for figures in read:
            for name, statistics in figures.circuits.items():
                of_label = sums[self._label(name, figures)]
                of_label.add(statistics)
                of_label.circuits.append(statistics)
            for ended, totals in figures.ended.items():
                sums[self._label(ended, figures)].add(totals)
            for changed, ways in figures.transitions.items():
                sums[self._label(changed, figures)].transitions.update(ways)
        for label, told in self._told.copy().items():
            sums[label].keep_to(told)
        self._told.update(sums)
        return Told(sums, _links([each.fleet for each in read if each.fleet is not None]))

    def _figures(self) -> list[Figures]:
        return all_figures() if self._supervisor is None else [self._supervisor.figures()]

    def _label(self, name: str | None, figures: Figures) -> str:
        if name is None:
            return OTHER
        label = self._labels.get(name)
        if label is None:
            # What is not told apart would be counted under OTHER, too, once it has ended.
            if not figures.tells_apart(name) or next(self._drawn) >= self._limit:
                return OTHER
            label = self._labels.setdefault(name, _label_of(name))
        return label


def _links(fleets: list[Fleet]) -> Links | None:
    if not fleets:
        return None
    present = [each.linked for each in fleets if each.owner]
    return Links(
        all(present) if present else None,
        sum(each.joined for each in fleets),
        sum(each.lost for each in fleets),
    )


def _keep_to(told: Mapping[K, int], counts: Counter[K]) -> None:
    for key, value in told.items():
        if value > counts[key]:
            counts[key] = value


def _label_of(name: str) -> str:
    """Return a name as it is, but for the few that could be taken for `OTHER`."""
    return f"_{name}" if re.fullmatch(f"_*{OTHER}", name) else name
