"""What all circuits have counted, for any thread: those that there are, and those that have ended.

A supervisor counts what its circuits did for as long as it lasts, and the process what its
supervisors' did, so that no sum goes down when a circuit is retired, or an event loop ends.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import get_ident
from typing import Final
from weakref import WeakKeyDictionary

from supervisor.circuit import Circuit, Statistics, figures_of
from supervisor.loop import EventLoop, in_forked_process
from supervisor.machine import CircuitState

NAMES: Final = 1000
"""Names that are told apart once their circuits have ended: the first ones that were used."""

Way = tuple[CircuitState, CircuitState]
"""From one state to another."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What circuits that have ended had counted, added up; see `Statistics`."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    ignored: int = 0
    cancelled: int = 0
    rejected: int = 0
    would_have_refused: int = 0
    stale: int = 0
    restarts: int = 0
    refusals: Mapping[str, int] = field(default_factory=Counter[str], hash=False)

    def __add__(self, other: Totals | Statistics) -> Totals:
        return Totals(
            self.started + other.started,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.ignored + other.ignored,
            self.cancelled + other.cancelled,
            self.rejected + other.rejected,
            self.would_have_refused + other.would_have_refused,
            self.stale + other.stale,
            self.restarts + other.restarts,
            Counter(self.refusals) + Counter(other.refusals) if other.refusals else self.refusals,
        )


NOTHING: Final = Totals()


@dataclass(frozen=True, slots=True)
class Fleet:
    """How a supervisor stands with those that it shares circuits with.

    Attributes:
        linked: whether the store is reached; if not, every circuit decides alone.
        members: how many supervisors there are, this one included; 0 if it is not reached.
        owner: the name of this one among them; empty in `Figures` of those that have ended.
        joined, lost: how often the store has been reached, and lost, as `FleetJoined` and
            `FleetLost` tell; it counts as lost also if it is not there at the start.
    """

    linked: bool
    members: int
    owner: str
    joined: int
    lost: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a supervisor's circuits have counted, as of one moment.

    What has been counted under a name is what its circuit has, and the sum of those that ended
    before. The first 1,000 names are told apart; those of others are added up under None.

    Attributes:
        circuits: the figures of those that there are, by name.
        ended: the sums of those that have ended, by name.
        transitions: how often any of them has gone from which state to which, by name.
        fleet: how things stand with those that circuits are shared with; None if none are. Of what
            has ended, only `joined` and `lost` are told.
    """

    circuits: Mapping[str, Statistics] = field(hash=False)
    ended: Mapping[str | None, Totals] = field(hash=False)
    transitions: Mapping[str | None, Mapping[Way, int]] = field(hash=False)
    fleet: Fleet | None = None

    def tells_apart(self, name: str) -> bool:
        """Whether that circuit's counts will still be under its name once it has ended."""
        return name in _names


NO_FIGURES: Final = Figures({}, {}, {})


class History:
    """What one supervisor's circuits have done; written on its event loop, read in any thread.

    What is read together is exchanged by one statement, so that nothing is found twice and nothing
    is missed, as in `supervisor.circuit.figures`.

    Args:
        circuits: those that there are, by name, at any time.

    Attributes:
        closed: whether all of that has been left to the process.
        fleet: returns how things stand with those that circuits are shared with, in any thread.
    """

    def __init__(self, circuits: Mapping[str, Circuit]) -> None:
        self._circuits = circuits
        self._ended: dict[str | None, Totals] = {}
        self._latest: Circuit | None = None  # that has ended
        self._transitions: dict[str | None, Counter[Way]] = {}
        self.closed = False
        self.fleet: Callable[[], Fleet | None] = lambda: None
        _histories[self] = None

    def begin(self, circuit: Circuit) -> None:
        """Tell its name apart from now on, if there is room for one more."""
        if len(_names) < NAMES:
            _names[circuit.name] = None

    def end(self, circuit: Circuit) -> None:
        """Count a circuit among those that have ended; for a moment, it is among the others, too.

        What its calls report is counted until another one ends.
        """
        before = self._latest
        if before is None:
            self._latest = circuit
            return
        name = _key(before.name)
        total = self._ended.get(name, NOTHING) + figures_of(before, _time_of(before.loop))
        self._ended[name], self._latest = total, circuit

    def change(self, name: str, from_state: CircuitState, to_state: CircuitState) -> None:
        """Count a change of state."""
        self._transitions.setdefault(_key(name), Counter())[from_state, to_state] += 1

    def read(self) -> Figures:
        """Return all figures: of the circuits that there are, and of those before them."""
        while True:
            latest = self._latest
            ended, present = self._ended.copy(), list(self._circuits.values())
            if self._latest is latest:  # or another one has ended meanwhile
                break
        now = _time_of(present[0].loop) if present else -math.inf
        if latest is not None:
            name = _key(latest.name)
            ended[name] = ended.get(name, NOTHING) + figures_of(latest, now)
        figures = {each.name: figures_of(each, now) for each in present if each is not latest}
        ways = {name: counts.copy() for name, counts in list(self._transitions.items())}
        fleet = self.fleet()
        return Figures(figures, ended, ways, _ended(fleet) if self.closed else fleet)

    def close(self, goes_on: bool) -> None:
        """Leave all that to the process, since the supervisor ends, or its event loop.

        What its circuits count from now on is not seen any more.

        Args:
            goes_on: whether what they have counted goes on in others.
        """
        if not self.closed:
            figures, thread = self.read(), get_ident()
            new = replace(figures, circuits={}) if goes_on else figures
            past = _sum_of(_past.get(thread, NO_FIGURES), new)
            self.closed, _past[thread] = True, past


def all_figures() -> list[Figures]:
    """Return the figures of each supervisor of this process, whatever its event loop, from any
    thread; and the sums that those have left that have ended.
    """
    while True:
        past = _past.copy()
        references = _histories.keyrefs()
        histories = [each for reference in references if (each := reference()) is not None]
        present = [each.read() for each in histories if not each.closed]
        if _past == past:  # or another one has ended meanwhile
            return [*past.values(), *present]


def _sum_of(past: Figures, figures: Figures) -> Figures:
    ended, transitions = dict(past.ended), dict(past.transitions)
    circuits = ((_key(name), NOTHING + each) for name, each in figures.circuits.items())
    for name, total in (*figures.ended.items(), *circuits):
        ended[name] = ended.get(name, NOTHING) + total
    for name, ways in figures.transitions.items():
        transitions[name] = Counter(transitions.get(name, {})) + Counter(ways)
    return Figures({}, ended, transitions, _ended(past.fleet, figures.fleet))


def _ended(*fleets: Fleet | None) -> Fleet | None:
    told = [each for each in fleets if each is not None]
    if not told:
        return None
    joined, lost = sum(each.joined for each in told), sum(each.lost for each in told)
    return Fleet(linked=False, members=0, owner="", joined=joined, lost=lost)


def _key(name: str) -> str | None:
    return name if name in _names else None


def _time_of(loop: EventLoop) -> float:
    """Return an event loop's time, in whatever thread; one that has ended may not tell."""
    try:
        return loop.clock.time()
    except Exception:
        return -math.inf


_histories: Final[WeakKeyDictionary[History, None]] = WeakKeyDictionary()
_names: Final[dict[str, None]] = {}  # those that are told apart
_past: Final[dict[int, Figures]] = {}  # of what has ended in each thread, which alone writes it


def _after_fork() -> None:
    for each in (_histories, _names, _past):
        each.clear()


in_forked_process(_after_fork)
