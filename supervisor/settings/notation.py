"""How settings are written in variables and in TOML: names, numbers, dotted names."""

from __future__ import annotations

import importlib
import json
import operator
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeGuard, TypeVar

from supervisor.arguments import check_count, check_seconds, shown
from supervisor.policy import KINDS, OPTIONAL, TYPES, Errors

T = TypeVar("T")


def spelt(name: str) -> str:
    """Return a circuit's name as variables spell it, but in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def toml_key(*path: str) -> str:
    """Return a key as TOML has it, with quotes where they are needed."""
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key) for key in path)


_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")

WORDS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


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
    read = _READERS.get(TYPES[field], _things)
    return _checked(KINDS[field].check, read(value), value)


def read_count(value: object) -> int:
    """Return a whole number of at least 1, given as it is or as text.

    Raises:
        ValueError: it is none; the message is to follow a name.
    """
    return _checked(check_count, _number(int, value), value)


def read_seconds(value: object) -> float:
    """Return a finite number of seconds above 0, given as it is or as text.

    Raises:
        ValueError: it is none; the message is to follow a name.
    """
    return _checked(check_seconds, _number(float, value), value)


def read_switch(value: object) -> bool:
    """Return True or False, given as it is, or as a word or number that means it.

    Raises:
        ValueError: it is none; the message is to follow a name.
    """
    read = _word(value)
    if not isinstance(read, int | float) or read not in (0, 1):
        raise ValueError(f"must be true or false, got {shown(value)}")
    return bool(read)


def is_none(value: object) -> bool:
    """Return whether `value` is None, or the word for it."""
    return value is None or (isinstance(value, str) and value.strip().lower() == "none")


def written(value: object) -> str:
    """Return a value as a variable would have it."""
    match value:
        case None | ():
            return "none"
        case bool():
            return str(value).lower()
        case _ if _is_list(value):
            return ",".join(map(written, value))
        case _ if (name := getattr(value, "__qualname__", None)) is not None:
            module = getattr(value, "__module__", "")
            return name if module == "builtins" else f"{module}{':' if '.' in name else '.'}{name}"
        case _:
            return shown(value)


def _checked(check: Callable[[str, object], T], value: object, given: object) -> T:
    try:
        return check("", value)
    except (TypeError, ValueError) as error:
        # The user knows the value as it was given, and looks for that.
        message = str(error).removeprefix(" ").removesuffix(shown(value))
        raise ValueError(message + shown(given)) from None


def _number(kind: type[int] | type[float], value: object) -> object:
    try:
        return kind(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _word(value: object) -> object:
    return WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


_READERS: Final[Mapping[Any, Callable[[object], object]]] = {
    int: partial(_number, int),
    float: partial(_number, float),
    bool: _word,
}
"""How values of these types are read; the others are things that are imported."""


def _things(value: object) -> object:
    """Return what dotted names stand for: one, several with commas between, or a list of them."""
    if isinstance(value, str):
        things = [_imported(name.strip(), value) for name in value.split(",")]
        return things[0] if len(things) == 1 else tuple(things)
    if _is_list(value):
        return tuple(_imported(it, value) if isinstance(it, str) else it for it in value)
    return value


def _is_list(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return isinstance(value, list | tuple)


def _imported(name: str, given: object) -> object:
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        return operator.attrgetter(attribute)(importlib.import_module(module or "builtins"))
    except Exception as error:  # importing runs user code, which may raise anything
        raise ValueError(
            "must be what can be imported, as package.module:name, got"
            f" {shown(given)} ({name}: {shown(error)}): correct it, or install what is missing"
        ) from None
