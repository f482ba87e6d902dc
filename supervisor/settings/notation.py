"""How settings are written in variables and in TOML: names, numbers, dotted names."""

from __future__ import annotations

import importlib
import operator
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal, TypeVar, cast, get_args

from supervisor.arguments import LONGEST_SHOWN, check_choice, check_count, check_seconds, shown
from supervisor.policy import KINDS, OPTIONAL, TYPES, Errors
from supervisor.settings.readers import READERS, in_lower_case, is_list, listed, number, word

T = TypeVar("T")

_SPACE: Final = re.compile(r"[A-Za-z0-9._:/-]{1,100}")


def spelt(name: str) -> str:
    """Return a circuit's name as variables spell it, but in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def cut(text: str) -> str:
    """Return the beginning of a text that may be very long."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def read_field(field: str, value: object) -> object:
    """Return what a field of a policy is to be, given as it is or as text.

    Raises:
        ValueError: it cannot be that; the message is to follow the field's name.
    """
    if is_none(value):
        if field in OPTIONAL:
            return None
        if TYPES[field] == Errors and value is not None:
            return ()
    read = READERS.get(TYPES[field], _things)(value)
    return read if is_named(read) else _checked(KINDS[field].check, read, value)


def read_count(value: object) -> int:
    """Return a whole number of at least 1, given as it is or as text.

    Raises:
        ValueError: it is none; the message is to follow a name.
    """
    return _checked(check_count, number(int, value), value)


def read_seconds(value: object) -> float:
    """Return a finite number of seconds above 0, given as it is or as text.

    Raises:
        ValueError: it is none; the message is to follow a name.
    """
    return _checked(check_seconds, number(float, value), value)


def read_switch(value: object) -> bool:
    """Return True or False, given as it is, or as a word or number that means it.

    Raises:
        ValueError: it is none; the message is to follow a name.
    """
    read = word(value)
    if not isinstance(read, int | float) or read not in (0, 1):
        raise ValueError(f"must be true or false, got {shown(value)}")
    return bool(read)


Keep = Literal["process"]
"""Where circuits outlive their event loop."""


def check_keep(field: str, value: object) -> Keep | None:
    """Return where circuits are kept, or None for nowhere.

    Raises:
        ValueError: it is nothing of the kind; the message begins with `field`.
    """
    if value is None:
        return None
    if value not in get_args(Keep):
        raise ValueError(f"{field} must be 'process' or None, got {shown(value)}")
    return "process"


def read_keep(value: object) -> Keep | None:
    """Return where circuits are kept, given as it is, or as a word; nothing is nowhere, too.

    Raises:
        ValueError: it is nothing of the kind; the message is to follow a name.
    """
    read = in_lower_case(value)
    if is_none(read) or read == "":
        return None
    return _checked(check_keep, read, value)


Logs = Literal["loguru", "logging"]
"""The library that log lines go to."""


def read_logs(value: object) -> Logs:
    """Return the library that log lines go to, by its name in any case.

    Raises:
        ValueError: it is none of them; the message is to follow a name.
    """
    return _checked(_check_logs, in_lower_case(value), value)


def check_space(field: str, value: object) -> str:
    """Return who shares circuits with whom: 1 to 100 letters, digits, and `._:/-`.

    Raises:
        TypeError, ValueError: it is nothing of the kind; the message begins with `field`.
    """
    if not isinstance(value, str):
        raise TypeError(f"{field} must be a string, got {shown(value)}")
    space = str.__str__(value)  # a plain one, whatever a subclass has made of it
    if not _SPACE.fullmatch(space):
        raise ValueError(
            f"{field} must have 1 to 100 letters, digits or . _ : / -, got {shown(space)}"
        )
    return space


def read_space(value: object) -> str:
    """Return who shares circuits with whom.

    Raises:
        ValueError: it is nothing of the kind; the message is to follow a name.
    """
    return _checked(check_space, value, value)


Names = Literal["short", "qualified"]
"""What circuits are called that are named after functions."""


def read_names(value: object) -> Names:
    """Return how circuits are named after functions, by the word for it in any case.

    Raises:
        ValueError: it is none of them; the message is to follow a name.
    """
    return _checked(_check_names, in_lower_case(value), value)


def _check_logs(field: str, value: object) -> Logs:
    check_choice(field, value, get_args(Logs))
    return cast("Logs", value)


def _check_names(field: str, value: object) -> Names:
    check_choice(field, value, get_args(Names))
    return cast("Names", value)


def is_none(value: object) -> bool:
    """Return whether `value` is None, or the word for it."""
    return value is None or (isinstance(value, str) and in_lower_case(value) == "none")


def _checked(check: Callable[[str, object], T], value: object, given: object) -> T:
    try:
        return check("", value)
    except (TypeError, ValueError) as error:
        # The user knows the value as it was given, and looks for that.
        message = str(error).removeprefix(" ").removesuffix(shown(value))
        raise ValueError(message + shown(given)) from None


@dataclass(frozen=True, slots=True)
class Named:
    """What a dotted name stands for, until it is needed.

    Its module may read the settings itself while it is imported, or import what does.
    """

    name: str
    given: object  # what the user knows it by

    def __str__(self) -> str:
        return self.name


def is_named(value: object) -> bool:
    """Return whether something has to be imported before `value` can be used."""
    values = value if is_list(value) else [value]
    return any(isinstance(each, Named) for each in values)


def import_field(field: str, value: object) -> object:
    """Return what a field of a policy is to be whose value is named.

    Raises:
        ValueError: it cannot be imported, or cannot be that; the message is to follow a name.
    """
    values = value if is_list(value) else [value]
    given = next(each.given for each in values if isinstance(each, Named))
    things = [_imported(each.name, given) if isinstance(each, Named) else each for each in values]
    return _checked(KINDS[field].check, tuple(things) if is_list(value) else things[0], given)


def _things(value: object) -> object:
    """Return what dotted names stand for: one, several in a text, or a list of them.

    Raises:
        ValueError: one is missing, or cannot be imported; the message is to follow a name.
    """
    if isinstance(value, str):
        names = listed(value)
        if not all(names):
            raise ValueError(f"must be dotted names, with commas between them, got {shown(value)}")
        things = [_thing(name, value) for name in names]
        return things[0] if len(things) == 1 else tuple(things)
    if is_list(value):
        return tuple(_thing(it, value) if isinstance(it, str) else it for it in value)
    return value


def _thing(name: str, given: object) -> object:
    """Return what a name stands for, or the name if its module is to be imported yet."""
    module, _ = _divided(name)
    return Named(name, given) if _is_for_later(module) else _imported(name, given)


def _is_for_later(module: str) -> bool:
    loaded = sys.modules.get(module)
    if loaded is not None:
        spec = getattr(loaded, "__spec__", None)
        return module == "__main__" or getattr(spec, "_initializing", False)
    package = module.partition(".")[0]
    return package in sys.modules or (package.isidentifier() and find_spec(package) is not None)


def _divided(name: str) -> tuple[str, str]:
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    return module or "builtins", attribute


def _imported(name: str, given: object) -> object:
    module, attribute = _divided(name)
    try:
        return operator.attrgetter(attribute)(importlib.import_module(module))
    except (Exception, SystemExit) as error:  # importing runs user code, which may raise anything
        why = f"{cut(name)}: {shown(error)}"
        raise ValueError(
            "must be what can be imported, as package.module:name, got"
            f" {shown(given)} ({why}): correct it, or install what is missing"
        ) from None
