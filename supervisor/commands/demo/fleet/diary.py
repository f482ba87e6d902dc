"""What a process tells of its calls and its circuit, as lines, and as it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, assert_never

from supervisor.commands.demo.plan import Backend
from supervisor.commands.demo.workers import CallOutcome
from supervisor.machine import CircuitState


@dataclass(frozen=True, slots=True)
class Ready:
    """The process could begin.

    Attributes:
        linked: whether it has reached the store.
    """

    linked: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an agent's; times are seconds since the pass began.

    Attributes:
        at: when it was sent; when it ended, if it was rejected.
        probe: whether it was let through by a circuit that was half-open.
    """

    at: float
    outcome: CallOutcome
    probe: bool


@dataclass(frozen=True, slots=True)
class Change:
    """The circuit's new state in this process, and who has brought it about."""

    at: float
    state: CircuitState
    origin: Literal["here", "fleet", "by hand"]


@dataclass(frozen=True, slots=True)
class Done:
    """The pass is over, and everything is told."""


Fact = Ready | Call | Change | Done
Say = Callable[[Fact], object]

_KINDS = {kind.__name__: kind for kind in (Ready, Call, Change, Done)}


def line_of(fact: Fact) -> str:
    """Return a fact as a line without an end."""
    values = [getattr(fact, name) for name in fact.__slots__]
    return json.dumps([type(fact).__name__, *values])


def read_fact(line: str) -> Fact:
    """Return the fact that a line tells."""
    name, *values = json.loads(line)
    fact: Fact = _KINDS[name](*values)
    if isinstance(fact, Change):
        return Change(fact.at, CircuitState(fact.state), fact.origin)
    return fact


@dataclass(slots=True)
class Diary:
    """What a process has told, as it comes.

    Attributes:
        number: of the process, from 1 on.
        backend: its event loop.
        ready: what it said when it could begin; None before.
        changes, calls: in the order in which they came.
        done: whether it has told all.
        ended: whether it is gone.
    """

    number: int
    backend: Backend
    ready: Ready | None = None
    changes: list[Change] = field(default_factory=list[Change])
    calls: list[Call] = field(default_factory=list[Call])
    done: bool = False
    ended: bool = False

    def write(self, lines: Iterable[str]) -> None:
        """Write down all that a process tells, until it has nothing more to tell."""
        try:
            for line in lines:
                self.add(read_fact(line))
        finally:
            self.ended = True

    def add(self, fact: Fact) -> None:
        """Write down a fact."""
        match fact:
            case Ready():
                self.ready = fact
            case Call():
                self.calls.append(fact)
            case Change():
                self.changes.append(fact)
            case Done():
                self.done = True
            case _:
                assert_never(fact)

    def state_at(self, at: float) -> CircuitState:
        """Return the circuit's state at that time."""
        state = CircuitState.CLOSED
        for change in self.changes:
            if change.at <= at:
                state = change.state
        return state

    def periods(self, state: CircuitState, end: float) -> list[tuple[float, float]]:
        """Return begin and length of each period that the circuit spent in a state."""
        begins = [(0.0, CircuitState.CLOSED), *((each.at, each.state) for each in self.changes)]
        ends = [*(begin for begin, _ in begins[1:]), end]
        return [
            (begin, until - begin)
            for (begin, now), until in zip(begins, ends, strict=True)
            if now is state
        ]
