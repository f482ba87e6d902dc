"""How machines, messages and policies stand in JSON: written by their types, and read by them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from supervisor.arguments import shown
from supervisor.machine import (
    CallWindow,
    CircuitState,
    Grant,
    Kinds,
    Machine,
    Message,
    Ordered,
    OrderedMap,
    Probing,
    RowTrip,
    SharedMachine,
    Tally,
    Times,
    TimeWindow,
    Told,
    Trip,
)
from supervisor.policy import FOR_CALLERS, Policy

FORMAT: Final = 8

_FOR_NOW: Final = {"policy", "grant", "released", "transitions"}


NOT_NEEDED: Final[Mapping[type, AbstractSet[str]]] = {
    Machine: _FOR_NOW,
    SharedMachine: _FOR_NOW,
    Trip: {"policy"},
    RowTrip: {"policy"},
    CallWindow: {"size"},
    TimeWindow: {"width", "origin"},
    Probing: {"ends", "admitted"},
    Policy: FOR_CALLERS,
}
"""What need not be known to go on from there: it follows from the rest, or is for callers."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The end of a turn of the actor: time has passed up to `at`."""

    at: float


Entry = Message | Turn | Told


def needed(part: object) -> dict[str, Any]:
    """Return what has to be known of a record, a machine or a part of one, by name."""
    return {name: getattr(part, name) for name in _types(cast("Any", type(part)))}


def plain(value: Any) -> Any:
    """Return a value in what JSON has: no keys but strings, and nothing infinite."""
    match value:
        case Kinds():
            return plain(value.told()) or None
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


def read_start(line: str) -> tuple[str, float, Machine]:
    """Return the circuit's name, when its event loop's clock was at 0 in seconds of Unix time, and
    the machine as it was at the beginning.

    Raises:
        Exception: of any type, if the line is damaged.
    """
    start = _loaded(line)
    if start["format"] != FORMAT:
        raise ValueError(f"its format is {start['format']!r}, not {FORMAT}")
    _check_names(start, ("format", "circuit", "clock_zero", "policy", "machine"))
    kind = SharedMachine if "terms" in start["machine"] else Machine
    machine = kind(_read(Policy, start["policy"], "policy"))
    _fill(machine, start["machine"])
    _fit(machine, Machine(machine.policy))
    machine.grant = Grant(machine.period, machine.policy)
    clock_zero = _read(float, start["clock_zero"], "clock_zero")
    return _read(str, start["circuit"], "circuit"), clock_zero, machine


def _fit(machine: Machine, new: Machine) -> None:
    """Give a machine what follows from its policy, and refuse what cannot have come of that."""
    if type(machine.trip) is not type(new.trip):
        raise ValueError("trip does not follow from the policy")
    machine.trip.policy = machine.policy
    kinds = machine.trip.kinds.tallies.values() if machine.trip.kinds is not None else ()
    for tally in (machine.trip.tally, *kinds):
        _fit_window(tally, new.trip.tally, "tally", machine.origin)
    for name in ("throttle", "budget"):
        there, expected = getattr(machine, name), getattr(new, name)
        if (there is None) is not (expected is None):
            raise ValueError(f"{name} does not follow from the policy")
        if there is not None:
            _fit_window(there.recent, expected.recent, name, machine.origin)
    half_open = machine.would_be is CircuitState.HALF_OPEN
    if (machine.probing is not None) is not half_open:
        raise ValueError("probing is there only while the circuit is half-open")
    if machine.probing is not None:
        machine.probing.restore_ends()


def _fit_window(window: Tally, new: Tally, name: str, origin: float) -> None:
    if type(window) is not type(new):
        raise ValueError(f"{name} does not follow from the policy")
    if isinstance(window, CallWindow) and isinstance(new, CallWindow):
        window.size = new.size
    elif isinstance(window, TimeWindow) and isinstance(new, TimeWindow):
        window.width, window.origin = new.width, origin


def read_entry(line: str) -> Entry:
    """Return what another line holds; see `read_start`."""
    ((kind, fields),) = _loaded(line).items()
    entry: Entry = _read(_ENTRIES[kind], fields, kind)
    return entry


_ENTRIES: Final[Mapping[str, type]] = {kind.__name__: kind for kind in get_args(Entry)}


def _loaded(line: str) -> Any:
    return json.loads(line, parse_constant=_no_number)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _read(kind: Any, written: Any, name: str) -> Any:
    """Return what was written as a value of that type."""
    read = _OF_MANY.get(get_origin(kind))
    if read is not None:
        return read(get_args(kind), written, name)
    if kind is Kinds:
        return _read_kinds(written, name)
    if types := _types(kind):
        _check_names(written, types)
        if not hasattr(kind, "__dataclass_fields__"):
            return _fill(kind.__new__(kind), written)
        return kind(**{each: _read(of, written[each], each) for each, of in types.items()})
    return _read_alone(kind, written, name)


def _fill(part: Any, written: Any) -> Any:
    """Give a machine, or a part of one, what was written of it."""
    types = _types(cast("Any", type(part)))
    _check_names(written, types)
    for name, of in types.items():
        setattr(part, name, _read(of, written[name], name))
    return part


def _read_kinds(written: Any, name: str) -> Kinds:
    kinds = Kinds()
    kinds.tallies = _read(get_type_hints(Kinds)["tallies"], written, name)
    if not kinds.tallies:
        raise ValueError(f"{name} are there only while there are any")
    return kinds


def _read_alone(kind: type, written: Any, name: str) -> Any:
    if type(written) is kind:
        return written
    if kind is float and (written == "inf" or type(written) is int):
        return float(written)
    if kind is bytearray:
        return bytearray.fromhex(written)
    if issubclass(kind, Enum):
        return kind(written)
    raise TypeError(f"{name} is {shown(written)}")


def _read_one_of(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    """Read what may be None, or one of several parts, which differ in what is in them."""
    if written is None:
        return _read_alone(NoneType if NoneType in kinds else kinds[0], written, name)
    rest = [kind for kind in kinds if kind is not NoneType]
    fitting = (kind for kind in rest if len(rest) == 1 or _types(kind).keys() == written.keys())
    return _read(next(fitting), written, name)


def _read_annotated(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    """Read what is of a type, and perhaps of a certain length."""
    value = _read(kinds[0], written, name)
    if isinstance(kinds[1], int) and len(value) != kinds[1]:
        raise ValueError(f"{name} has {len(value)} numbers, not {kinds[1]}")
    return value


def _read_tuple(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    if kinds[-1] is ...:
        return tuple(_read_list(kinds, written, name))
    return tuple(_read(*pair, name) for pair in zip(kinds, written, strict=True))


def _read_list(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    return [_read(kinds[0], item, name) for item in written]


def _read_dict(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    return {_read(kinds[0], key, name): _read(kinds[1], item, name) for key, item in written}


def _read_ordered(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    return Ordered(_read_list(kinds, written, name))


def _read_ordered_map(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    return OrderedMap(_read_dict(kinds, written, name).items())


def _read_times(kinds: tuple[Any, ...], written: Any, name: str) -> Any:
    return Times(_read_dict((*kinds, float), written, name).items())


def _read_choice(choices: tuple[Any, ...], written: Any, name: str) -> Any:
    if written not in choices:
        raise TypeError(f"{name} is {shown(written)}")
    return written


_OF_MANY: Final[Mapping[Any, Callable[[tuple[Any, ...], Any, str], Any]]] = {
    Annotated: _read_annotated,
    Union: _read_one_of,
    UnionType: _read_one_of,
    tuple: _read_tuple,
    list: _read_list,
    dict: _read_dict,
    Ordered: _read_ordered,
    OrderedMap: _read_ordered_map,
    Times: _read_times,
    Literal: _read_choice,
}


@cache
def _types(kind: Any) -> dict[str, Any]:
    """Return the types of what is written of a record or a part; of nothing, if it is neither."""
    if not isinstance(kind, type) or kind.__module__ == "builtins" or issubclass(kind, Enum):
        return {}
    unneeded: AbstractSet[str] = NOT_NEEDED.get(kind, frozenset())  # pyright: ignore[reportUnknownArgumentType]
    types = get_type_hints(kind, include_extras=True)  # pyright: ignore[reportUnknownArgumentType]
    return {name: of for name, of in types.items() if name not in unneeded and of is not Final}


def _check_names(written: Any, names: Iterable[str]) -> None:
    if wrong := written.keys() ^ set(names):
        raise ValueError(f"missing or unknown: {', '.join(sorted(wrong))}")
