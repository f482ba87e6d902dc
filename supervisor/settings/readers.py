"""How numbers and words are read, be they written as text or given as what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeGuard

from supervisor.policy import InitialState

WORDS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


def is_list(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    """Return whether there are several values."""
    return isinstance(value, list | tuple)


def number(kind: type[int] | type[float], value: object) -> object:
    """Return a text as the number that it says, and what else there is as it is."""
    try:
        return kind(value) if isinstance(value, str) else value
    except ValueError:
        return value


def in_lower_case(value: object) -> object:
    """Return a text without capitals and the space around it, and what else there is as it is."""
    return value.strip().lower() if isinstance(value, str) else value


def word(value: object) -> object:
    """Return True or False for a word that means it, and what else there is as it is."""
    return WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


def listed(text: str) -> list[str]:
    """Return what stands in a text with commas between, or as a list of JSON's."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return [each.strip() for each in text.split(",")]
    return [each.strip().strip('"') for each in text[1:-1].split(",")]


def numbers(value: object) -> object:
    """Return numbers with commas between them, also as JSON, or a list of them, as a tuple."""
    value = listed(value) if isinstance(value, str) else value
    return tuple(number(float, each) for each in value) if is_list(value) else value


READERS: Final[Mapping[Any, Callable[[object], object]]] = {
    int: partial(number, int),
    float: partial(number, float),
    bool: word,
    tuple[float, ...]: numbers,
    InitialState: in_lower_case,
}
"""How values of these types are read; the others are things that are imported."""
