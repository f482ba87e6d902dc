"""Checks of what users pass in; every error names the argument, the value and the range."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

LONGEST_NAME: Final = 255
LONGEST_SHOWN: Final = 300

# Windows are divided into steps, which a clock must be able to tell apart.
SHORTEST_WINDOW: Final = 1e-3
LONGEST_WINDOW: Final = 1e9
MOST_CALLS: Final = 1_000_000
"""Calls in a window, each of which takes a byte."""


def shown(value: object) -> str:
    """Return a value as error messages show it; its own `__repr__` is user code and may raise."""
    try:
        text = repr(value)
    except Exception:  # also that of an int with too many digits
        text = f"<{type(value).__name__} object>"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def check_name(name: object, what: str = "a circuit's name") -> str:
    """Return `name` if a circuit can be called so: 1 to 255 printable characters."""
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a string, got {shown(name)}")
    text = str.__str__(name)  # a plain one, whatever a subclass has made of it
    if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable() or text.isspace():
        raise ValueError(
            f"{what} must have 1 to {LONGEST_NAME} printable characters, got {shown(text)}"
        )
    return text


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(choices)}; got {shown(value)}")


def check_count(field: str, value: object, at_least: int = 1) -> int:
    """Return `value` if it is a whole number of at least `at_least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field} must be a whole number, got {shown(value)}")
    if value < at_least:
        raise ValueError(f"{field} must be at least {at_least}, got {shown(value)}")
    return value


def check_seconds(field: str, value: object) -> float:
    """Return `value` as a float if it is finite and more than 0."""
    seconds = _as_float(field, value, "a number of seconds")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{field} must be more than 0 and finite (seconds), got {shown(value)}")
    return seconds


def check_window(field: str, value: object) -> float:
    """Return `value` as a float if it is a number of seconds that a window can have."""
    seconds = check_seconds(field, value)
    if not SHORTEST_WINDOW <= seconds <= LONGEST_WINDOW:
        raise ValueError(
            f"{field} must be at least {SHORTEST_WINDOW:g} and at most {LONGEST_WINDOW:g}"
            f" (seconds), got {shown(value)}"
        )
    return seconds


def check_window_calls(field: str, value: object) -> int:
    """Return `value` if it is a number of calls that a window can have."""
    calls = check_count(field, value)
    if calls > MOST_CALLS:
        raise ValueError(f"{field} must be at most {MOST_CALLS}, got {shown(value)}")
    return calls


def check_share(field: str, value: object, zero: bool = False) -> float:
    """Return `value` as a float if it is a share of a whole: at most 1, and more than 0 unless
    `zero` is allowed.
    """
    share = _as_float(field, value, "a number")
    if not (0 < share <= 1 or (zero and share == 0)):
        at_least = "0 or more" if zero else "more than 0"
        raise ValueError(f"{field} must be {at_least} and at most 1, got {shown(value)}")
    return share


def check_factor(field: str, value: object) -> float:
    """Return `value` as a float if it is finite and at least 1."""
    factor = _as_float(field, value, "a number")
    if not (math.isfinite(factor) and factor >= 1):
        raise ValueError(f"{field} must be at least 1 and finite, got {shown(value)}")
    return factor


def _as_float(field: str, value: object, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{field} must be {what}, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def unwrapped(func: object) -> object:
    """Return the function that partials of it stand for."""
    while isinstance(func, functools.partial):
        func = func.func
    return func


def check_known(
    caller: str,
    given: Mapping[str, object],
    known: Collection[str],
    others: Sequence[str] = (),
) -> None:
    """Refuse arguments that are not known, and say what is nearest; `caller` is what was called,
    and `others` are names that it takes besides.

    Raises:
        TypeError: it names the caller, the argument and its value.
    """
    for name, value in given.items():
        if name not in known:
            names = (*others, *known)
            likely = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {likely[0]}?" if likely else f"there are {', '.join(names)}"
            raise TypeError(f"{caller}() got an unexpected argument {name}={shown(value)}; {hint}")


def is_function(value: object) -> bool:
    """Return whether `value` can be called, and is no type."""
    return callable(value) and not isinstance(value, type)


def is_async(func: object) -> bool:
    """Return whether calling `func` is sure to give a coroutine."""
    func = unwrapped(func)
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)


def check_async(what: str, func: object) -> None:
    """Refuse to decorate anything but an async function; `what` is the decorator."""
    if not is_async(func):
        hint = ""
        if inspect.isasyncgenfunction(func):
            hint = "; guard an async generator with a permit: `with await breaker.acquire():`"
        raise TypeError(f"{what} needs an async function (`async def`), got {shown(func)}{hint}")
