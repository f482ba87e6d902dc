"""Circuits that outlive their event loop in this process: the table of what is kept, by name.

Each event loop has circuits of its own, also if several run at a time. When one ends, what it knew
of a circuit is kept, unless what is kept already is of a later period: then the state has changed
more often elsewhere. The next event loop goes on from there.

An event loop may be closed, and even be forgotten, without having ended its tasks. So what it has
to hand on is looked for when another loop needs it, and handed on at the latest when the garbage
collector frees the loop; nothing here keeps one alive. As the collector may come in the middle of
anything, and in any thread, each step here is one that leaves things in order.
"""

from __future__ import annotations

import math
from contextlib import suppress
from operator import attrgetter
from typing import Final
from weakref import WeakKeyDictionary

from supervisor.circuit import Circuit, Kept, go_on_from, keep
from supervisor.loop import EventLoop, LoopVar, in_forked_process, time_in_process
from supervisor.settings import Keep

LOOKS: Final = 2
"""Names that are looked at for each circuit that starts, whether they have been idle for long."""


class Records:
    """What is kept under one name: the best is what counts, others are on their way out.

    Attributes:
        running: the ids of the circuits that are yet to hand on to here.
        idle_timeout: seconds after which it is forgotten if nobody needs it; None: never.
    """

    __slots__ = ("_kept", "idle_timeout", "running")

    def __init__(self) -> None:
        self._kept: list[Kept] = []
        self.running: set[int] = set()
        self.idle_timeout: float | None = None

    def best(self) -> Kept | None:
        """Return that of the latest period, and of the same period, what was added last."""
        return max(reversed(tuple(self._kept)), key=attrgetter("period"), default=None)

    def add(self, kept: Kept) -> None:
        """Keep that, too, unless what there is knows better."""
        self._kept.append(kept)
        best = self.best()
        for each in tuple(self._kept):
            if each is not best:
                with suppress(ValueError):  # another thread was faster
                    self._kept.remove(each)

    def know_better(self, circuit: Circuit) -> bool:
        """Whether they are of a later period than the circuit."""
        best = self.best()
        return best is not None and best.period > circuit.machine.period

    def clear(self) -> None:
        """Forget what has been kept so far."""
        self._kept.clear()

    def are_idle(self) -> bool:
        """Whether they would have been retired on an event loop that had lasted."""
        best = self.best()
        if best is None or self.idle_timeout is None:
            return False
        return time_in_process() - best.forgettable_at >= self.idle_timeout


_table: Final[dict[str, Records]] = {}
_names: Final[list[str]] = []  # those of the table that are still to be looked at


class Keeping:
    """Where circuits are kept: here, nowhere."""

    def begin(self, circuit: Circuit) -> None:
        """Let a new circuit go on from what is kept under its name."""

    def watch(self, circuit: Circuit, idle_timeout: float | None) -> None:
        """See to it that what the circuit knows is kept when its event loop ends.

        Args:
            circuit: one whose actor is about to start.
            idle_timeout: seconds after which it is forgotten if no event loop needs it.
        """

    def end(self, circuit: Circuit) -> None:
        """Keep what the circuit knows, which ends."""

    def forget(self, circuit: Circuit) -> None:
        """Keep nothing of the circuit, nor what has been kept under its name."""

    def retire(self, circuit: Circuit) -> None:
        """Keep nothing of an idle circuit, but what another event loop knows better."""

    def loop_ends(self) -> None:
        """Know that the event loop is ending; tasks of asyncio's may still have to report."""


class InProcess(Keeping):
    """What one event loop, which keeps this, has to hand on in this process.

    Args:
        loop: it runs here.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._circuits: dict[Circuit, Records] = {}  # and where they are kept
        self._ahead = time_in_process() - loop.clock.time()
        self._actors_ended = -math.inf  # by the loop's own clock
        self.ended = math.inf  # by the process's clock, as far as that is known
        _keepings[self] = None

    def begin(self, circuit: Circuit) -> None:
        """Let a new circuit go on from what is kept under its name."""
        kept = kept_under(circuit.name)
        if kept is not None:
            go_on_from(circuit, kept)

    def watch(self, circuit: Circuit, idle_timeout: float | None) -> None:
        """See to it that what the circuit knows is kept when its event loop ends."""
        _retire_some()
        self._circuits[circuit] = records = _table.setdefault(circuit.name, Records())
        records.running.add(id(circuit))
        records.idle_timeout = idle_timeout

    def end(self, circuit: Circuit) -> None:
        """Keep what the circuit knows, which ends."""
        self._hand_on(circuit, self._look_at_clocks())

    def forget(self, circuit: Circuit) -> None:
        """Keep nothing of the circuit, nor what has been kept under its name."""
        records = self._take_out(circuit)
        if records is not None:
            _clear(circuit.name, records)

    def retire(self, circuit: Circuit) -> None:
        """Keep nothing of an idle circuit, but what another event loop knows better."""
        records = self._take_out(circuit)
        if records is not None and not records.know_better(circuit):
            _clear(circuit.name, records)

    def loop_ends(self) -> None:
        """Know that the event loop is ending; tasks of asyncio's may still have to report."""
        self._actors_ended = self._look_at_clocks()
        self.ended = self._actors_ended + self._ahead
        if self._loop.asyncio_loop is None:
            self.hand_on()

    def hand_on(self) -> None:
        """Keep what all circuits know, which nobody calls any more."""
        for circuit in list(self._circuits):
            self._hand_on(circuit, self._actors_ended)

    def leave_behind(self) -> None:
        """Hand on nothing if the loop ran when this process was forked: it is another one's."""
        if self._loop.left_behind:
            for circuit in list(self._circuits):
                self._take_out(circuit)

    @property
    def has_ended(self) -> bool:
        """Whether the event loop will never run again."""
        return self._loop.is_closed()

    def _hand_on(self, circuit: Circuit, ended: float) -> None:
        records = self._circuits.get(circuit)
        if records is not None:
            records.add(keep(circuit, self._ahead, ended))
            self._take_out(circuit)  # afterwards: others go on from what is there

    def _take_out(self, circuit: Circuit) -> Records | None:
        records = self._circuits.pop(circuit, None)
        if records is not None:
            records.running.discard(id(circuit))
        return records

    def _look_at_clocks(self) -> float:
        """Return the event loop's time, if it runs here; for ever ago, if it does not."""
        now = self._loop.time_here()
        if now is None:
            return -math.inf
        self._ahead = time_in_process() - now
        return now

    def __del__(self) -> None:
        self.hand_on()


def keeping_on(loop: EventLoop, keep: Keep | None) -> Keeping:
    """Return where the circuits of an event loop are kept, which runs here."""
    if keep is None:
        return Keeping()
    keeping = _of_loop.get()
    if keeping is None:
        keeping = InProcess(loop)
        _of_loop.set(keeping)
    return keeping


def kept_under(name: str) -> Kept | None:
    """Return what is kept under a name."""
    _hand_on_what_has_ended()
    records = _records_under(name)
    return None if records is None else records.best()


def forget_kept() -> None:
    """Keep nothing of what has been kept so far, nor of the circuits that run now."""
    _table.clear()


def _records_under(name: str) -> Records | None:
    """Return what is kept under a name, unless it has been idle for too long: that is forgotten."""
    records = _table.get(name)
    if records is not None and records.are_idle():
        _clear(name, records)
        return None
    return records


def _clear(name: str, records: Records) -> None:
    """Forget what has been kept so far; circuits that run may still hand on what they know."""
    records.clear()
    if not records.running and _table.get(name) is records:
        _table.pop(name, None)


def _retire_some() -> None:
    """Forget what has been idle for too long, so that names of the past do not add up."""
    if not _names:
        _names.extend(_table)
    with suppress(IndexError):  # there are fewer, or another thread was faster
        for _ in range(LOOKS):
            _records_under(_names.pop())


def _hand_on_what_has_ended() -> None:
    """Keep what is known on event loops that have been closed, in the order of their ends."""
    known = [each for reference in _keepings.keyrefs() if (each := reference()) is not None]
    for keeping in sorted(known, key=attrgetter("ended")):
        if keeping.has_ended:
            keeping.hand_on()


def _after_fork() -> None:
    """Begin with what was kept in the parent; what loops know that run there is not for here."""
    for keeping in list(_keepings):
        keeping.leave_behind()


_of_loop: Final[LoopVar[InProcess | None]] = LoopVar("_kept_circuits", None)
_keepings: Final[WeakKeyDictionary[InProcess, None]] = WeakKeyDictionary()

in_forked_process(_after_fork)
