"""Functions that users give: one that cannot be called as it will be is refused when it is given.

Most of them are needed for the first time when something else fails. An error then comes too late,
and in the place of another one.
"""

from __future__ import annotations

from inspect import signature
from types import CodeType, FunctionType
from typing import Any

from supervisor.arguments import form_of, shown


def check_function(field: str, value: object) -> object:
    """Return `value` if it can be called."""
    if not callable(value):
        raise TypeError(f"{field} must be a function, got {shown(value)}")
    return value


def check_answering(field: str, value: object) -> object:
    """Return `value` if it can be called, and answers at once: not later, nor bit by bit."""
    check_function(field, value)
    if form_of(value) in ("async", "async generator", "generator"):
        raise TypeError(f"{field} must be a plain function, got {shown(value)}")
    return value


def check_judge(field: str, value: object, about: str = "an error or a result") -> object:
    """Return `value` if it is a plain function, or a type, that can be asked about one thing."""
    check_answering(field, value)
    check_takes(field, value, about)
    return value


def check_takes(field: str, func: Any, *given: str) -> None:
    """Refuse a function that cannot be called with what is `given`, in words, by position.

    Raises:
        TypeError: it names the field, the function, what that is given, and what is wrong.
    """
    if isinstance(func, FunctionType) and _takes_just(func.__code__, len(given)):
        return  # as most of them, for a twentieth of what a signature costs
    try:
        told = signature(func, follow_wrapped=False)  # a wrapper may take what it wraps does not
    except Exception:  # nobody knows: of some builtins, or of what hides it
        return
    try:
        told.bind(*given)
    except TypeError as error:
        only = f"{' and '.join(given)} alone" if given else "no arguments"
        raise TypeError(
            f"{field} must be a function that can be called with {only}, got {shown(func)}: {error}"
        ) from None


def _takes_just(code: CodeType, number: int) -> bool:
    return code.co_argcount == number and not code.co_kwonlyargcount
