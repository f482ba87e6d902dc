"""What a circuit's actor was told, in order, for a look at it afterwards.

A machine is a pure function of its messages. So a recording, played again, gives the same states
and transitions, on any machine and any event loop. It is written as JSON lines: one that says
whose it is and where it starts, then one for each message, turn and change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from supervisor.arguments import shown
from supervisor.machine import (
    Acquire,
    CallWindow,
    Change,
    CircuitState,
    Grant,
    Machine,
    Message,
    Probing,
    TimeWindow,
    Trip,
)
from supervisor.policy import FOR_CALLERS, Policy

FORMAT: Final = 2

NOT_NEEDED: Final[Mapping[type, AbstractSet[str]]] = {
    Machine: {"policy", "grant", "released", "transitions"},
    Trip: {"policy"},
    CallWindow: {"size"},
    TimeWindow: {"width"},
    Policy: FOR_CALLERS,
}
"""What need not be known to go on from there: it follows from the rest, or is for callers."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The end of a turn of the actor: time has passed up to `at`."""

    at: float


Entry = Message | Turn | Change


class Recording:
    """The last messages of one circuit, and the changes that they have brought about.

    It keeps at least the last `limit` entries, as far as there are any, and at most twice as
    many and those of one turn.
    """

    def __init__(
        self, circuit: str, machine: Machine, limit: int, catch_up: Callable[[], None]
    ) -> None:
        self.circuit = circuit
        self._limit = limit
        self._catch_up = catch_up
        self._earlier: _Stretch | None = None
        self._latest = _Stretch(machine.copy())

    def add(self, messages: Sequence[Message], machine: Machine, at: float | None) -> None:
        """Keep what a turn has taken, and the machine that came of it; for the actor.

        `at` is the time of the turn's end, None if it has not come to its end.
        """
        entries = self._latest.entries
        entries.extend(messages)
        if at is not None:
            entries.append(Turn(at))
        entries.extend(machine.transitions)
        if len(entries) >= self._limit:
            self._earlier, self._latest = self._latest, _Stretch(machine.copy())

    def lines(self) -> Iterator[str]:
        """Return the recording up to now as JSON lines, without their ends.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        self._catch_up()
        first = self._earlier or self._latest
        start = {
            "format": FORMAT,
            "circuit": self.circuit,
            "policy": plain(first.start.policy),
            "machine": plain(first.start),
        }
        yield json.dumps(start, allow_nan=False)
        for stretch in (self._earlier, self._latest):
            for entry in stretch.entries if stretch else ():
                yield json.dumps({type(entry).__name__: plain(entry)}, allow_nan=False)

    def write(self, path: str | Path) -> None:
        """Write the recording to a file, for `python -m supervisor replay`.

        Raises:
            OSError: the file cannot be written.
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        Path(path).write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")


class _Stretch:
    def __init__(self, start: Machine) -> None:
        self.start = start
        self.entries: list[Entry] = []


def needed(part: object) -> dict[str, Any]:
    """Return what has to be known of a record, a machine or a part of one, by name."""
    names = getattr(part, "__slots__", None) or vars(part)
    unneeded = NOT_NEEDED.get(type(part), ())
    return {name: getattr(part, name) for name in names if name not in unneeded}


def plain(value: Any) -> Any:
    """Return a value in what JSON has: no keys but strings, and nothing infinite."""
    match value:
        case Enum():
            return value.value
        case float():
            return "inf" if value == math.inf else value
        case None | str() | int():
            return value
        case bytearray():
            return value.hex()
        case [*items]:
            return [plain(item) for item in items]
        case {**pairs}:
            return [plain(pair) for pair in pairs.items()]
        case _:
            return {name: plain(item) for name, item in needed(value).items()}


def read_start(line: str) -> tuple[str, Machine]:
    """Return the circuit's name, and the machine as it was at the beginning.

    Raises:
        Exception: of any type, if the line is damaged.
    """
    start = _loaded(line)
    if start["format"] != FORMAT:
        raise ValueError(f"its format is {start['format']!r}, not {FORMAT}")
    _check_names(start, ("format", "circuit", "policy", "machine"))
    machine = Machine(_read(Policy, start["policy"], "policy"))
    state = start["machine"]
    if state["would_be"] == CircuitState.HALF_OPEN:
        machine.probing = Probing()
    kinds = [_read(str, kind, "kinds") for kind, _ in state["trip"]["kinds"] or ()]
    machine.trip.kinds = {kind: machine.trip.tally.copy() for kind in kinds} or None
    _fill(machine, state)
    machine.grant = Grant(machine.period, machine.policy)
    return _read(str, start["circuit"], "circuit"), machine


def read_entry(line: str) -> Entry:
    """Return what another line holds; see `read_start`."""
    ((kind, fields),) = _loaded(line).items()
    entry: Entry = _read(_ENTRIES[kind], fields, kind)
    return entry


_ENTRIES: Final[Mapping[str, type]] = {kind.__name__: kind for kind in get_args(Entry)}

_UNSEEN: Final[Mapping[str, Any]] = {
    "last_failure": str | None,
    "waiting": dict[int, Acquire],
    "wait_ends": list[tuple[float, int]],
    "overdue": dict[int, int] | None,
    "running": dict[int, tuple[float, float]],
}
"""The types of what there is none of in a new machine; those of all the rest it shows."""


def _loaded(line: str) -> Any:
    return json.loads(line, parse_constant=_no_number)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _fill(part: Any, written: Any) -> Any:
    """Return a new part, with what was written of it."""
    values = needed(part)
    _check_names(written, values)
    for name, value in values.items():
        setattr(part, name, _like(value, written[name], name))
    return part


def _like(value: Any, written: Any, name: str) -> Any:
    """Return what was written in the place of a new part's value."""
    if name in _UNSEEN:
        return _read(_UNSEEN[name], written, name)
    match value:
        case None | str() | int() | float():
            return _read(type(value), written, name)
        case bytearray():
            return bytearray.fromhex(written)
        case [*items]:
            return [_like(*pair, name) for pair in zip(items, written, strict=True)]
        case {**parts}:
            pairs = zip(parts.items(), written, strict=True)
            return {key: _fill(part, fields) for (key, part), (_, fields) in pairs}
        case _:
            return _fill(value, written)


def _read(kind: Any, written: Any, name: str) -> Any:
    """Return what was written as a value of that type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:  # it or None
        return None if written is None else _read(inner[0], written, name)
    if origin is tuple:
        return tuple(_read(*pair, name) for pair in zip(inner, written, strict=True))
    if origin is list:
        return [_read(inner[0], item, name) for item in written]
    if origin is dict:
        return {_read(inner[0], key, name): _read(inner[1], value, name) for key, value in written}
    if types := _types(kind):
        _check_names(written, types)
        return kind(**{each: _read(of, written[each], each) for each, of in types.items()})
    if type(written) is kind or written in inner:  # one of a `Literal`
        return written
    if kind is float and (written == "inf" or type(written) is int):
        return float(written)
    if origin is None and issubclass(kind, Enum):
        return kind(written)
    raise TypeError(f"{name} is {shown(written)}")


@cache
def _types(kind: Any) -> dict[str, Any]:
    """Return the types of what is written of a record; of nothing, if that is none."""
    unneeded = NOT_NEEDED.get(kind, ())
    types = get_type_hints(kind) if is_dataclass(kind) else {}
    return {name: of for name, of in types.items() if name not in unneeded}


def _check_names(written: Any, names: Iterable[str]) -> None:
    if wrong := written.keys() ^ set(names):
        raise ValueError(f"missing or unknown: {', '.join(sorted(wrong))}")
