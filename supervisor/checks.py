"""Checks of what users pass in; every error names the argument, the value and the range."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Final

LONGEST_NAME: Final = 255
LONGEST_SHOWN: Final = 300


def shown(value: object) -> str:
    """Return a value as error messages show it; its own `__repr__` is user code and may raise."""
    try:
        text = repr(value)
    except Exception:  # also that of an int with too many digits
        text = f"<{type(value).__name__} object>"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def check_name(name: object) -> str:
    """Return `name` if a circuit can be called so: 1 to 255 printable characters."""
    if not isinstance(name, str):
        raise TypeError(f"a circuit's name must be a string, got {shown(name)}")
    text = str.__str__(name)  # a plain one, whatever a subclass has made of it
    if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable() or text.isspace():
        raise ValueError(
            f"a circuit's name must have 1 to {LONGEST_NAME} printable characters,"
            f" got {shown(text)}"
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
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{field} must be a number of seconds, got {shown(value)}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{field} must be more than 0 and finite (seconds), got {shown(value)}")
    return seconds


def unwrapped(func: object) -> object:
    """Return the function that partials of it stand for."""
    while isinstance(func, functools.partial):
        func = func.func
    return func


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
