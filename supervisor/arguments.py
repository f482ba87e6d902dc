"""Checks of what users pass in; every error names the argument, the value and the range."""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import math
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MethodType
from typing import Any, Final, Literal, TypeVar

F = TypeVar("F")

LONGEST_NAME: Final = 255
LONGEST_SHOWN: Final = 300
_MOST_PARTS: Final = LONGEST_SHOWN // 3 + 3
"""Each takes three characters at least, with what is between it and the next one."""

_UNCUT: Final = 2**30

# Windows are divided into steps, which a clock must be able to tell apart.
SHORTEST_WINDOW: Final = 1e-3
LONGEST_WINDOW: Final = 1e9
LARGEST_COUNT: Final = 10**100
"""Products and sums of such numbers still have a place among floats."""

MOST_CALLS: Final = 1_000_000
"""Calls in a window, each of which takes a byte."""

Guarded = Literal["async", "async generator", "plain"]
"""The forms of functions that something guards."""

Form = Literal[Guarded, "generator", "descriptor", "class", "none"]

_LONGEST_WAY: Final = 16

_TOLD_BY: Final[tuple[tuple[Form, Callable[[object], bool]], ...]] = (
    ("async", inspect.iscoroutinefunction),
    ("async generator", inspect.isasyncgenfunction),
    ("generator", inspect.isgeneratorfunction),
)

_NEEDED: Final[Mapping[Guarded, str]] = {
    "async": "an async function (`async def`)",
    "async generator": "an async generator function (`async def` with `yield`)",
    "plain": "a plain function",
}

_INSTEAD: Final[Mapping[Form, str]] = {
    "async": "; an async function is guarded by `@breaker` itself, or `await breaker.call(...)`",
    "async generator": "; an async generator is guarded by `@breaker.streaming`, or by `async with"
    " breaker.stream(...) as items:`",
    "plain": "; a plain function is guarded in worker threads, by `@breaker.sync`",
    "generator": "; the body of a generator runs while it is read, outside of the call: guard what"
    " it calls by `@breaker.sync`, or make it an async one for `@breaker.streaming`",
    "descriptor": "; decorate the function in it",
    "class": "; guard its methods, each by itself",
    "none": "",
}


def shown(value: object) -> str:
    """Return a value as error messages show it; its own `__repr__` is user code and may raise."""
    try:
        text = _Brief().repr(value)
    except Exception:  # also that of an int with too many digits
        text = f"<{type(value).__name__} object>"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


class _Brief(reprlib.Repr):
    """Shows the beginning of a value: as `repr` does, but for what will be cut off anyway.

    However much a value holds, and however deep, so many parts of it are looked at as may be shown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = _MOST_PARTS
        self.maxlist = self.maxtuple = self.maxdeque = self.maxarray = _MOST_PARTS
        self.maxlong = _UNCUT
        self._parts_left = _MOST_PARTS

    def repr1(self, x: Any, level: int) -> str:
        self._parts_left -= 1
        return super().repr1(x, level) if self._parts_left >= 0 else "..."

    def repr_instance(self, x: Any, level: int) -> str:  # noqa: ARG002
        return repr(x)  # what it raises is its own

    def repr_str(self, x: str, level: int) -> str:  # noqa: ARG002
        return repr(x[: LONGEST_SHOWN + 1])

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002
        return repr(x[: LONGEST_SHOWN + 1])

    def repr_bytearray(self, x: bytearray, level: int) -> str:  # noqa: ARG002
        return repr(x[: LONGEST_SHOWN + 1])

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        first = itertools.islice(x.items(), max(0, self._parts_left))
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in first
        ]
        return f"{{{', '.join(shown)}{', ...' * (len(shown) < len(x))}}}"

    def repr_set(self, x: set[Any], level: int) -> str:
        return self._braces(x, level) if x else "set()"

    def repr_frozenset(self, x: frozenset[Any], level: int) -> str:
        return f"frozenset({self._braces(x, level) if x else ''})"

    def _braces(self, x: AbstractSet[Any], level: int) -> str:
        first = itertools.islice(x, max(0, self._parts_left))
        return f"{{{', '.join(self.repr1(each, level - 1) for each in first)}}}"


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
    """Return `value` if it is a whole number of at least `at_least`, and at most 1e100."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field} must be a whole number, got {shown(value)}")
    if value < at_least:
        raise ValueError(f"{field} must be at least {at_least}, got {shown(value)}")
    if value > LARGEST_COUNT:
        raise ValueError(f"{field} must be at most 1e100, got {shown(value)}")
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
    """Return `value` as a float if it is a share: at most 1, and more than 0 or, by `zero`, 0."""
    share = _as_float(field, value, "a number")
    if not (0 < share <= 1 or (zero and share == 0)):
        at_least = "0 or more" if zero else "more than 0"
        raise ValueError(f"{field} must be {at_least} and at most 1, got {shown(value)}")
    return share


def check_factor(field: str, value: object, at_least: float = 1) -> float:
    """Return `value` as a float if it is finite and at least that."""
    factor = _as_float(field, value, "a number")
    if not (math.isfinite(factor) and factor >= at_least):
        raise ValueError(f"{field} must be at least {at_least:g} and finite, got {shown(value)}")
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


def is_method_of_class(func: object) -> bool:
    """Return whether `func` is what `@staticmethod` or `@classmethod` has made of a function."""
    return isinstance(func, staticmethod | classmethod)


def decorate_within(method: F, decorate: Callable[[Any], Any]) -> F:
    """Decorate the function of a static or class method: either order of decorators is right."""
    func: Any = method
    decorated: F = type(func)(decorate(func.__func__))
    return decorated


def form_of(func: object) -> Form:
    """Return what a call of `func` gives, also of partials, methods and objects with a `__call__`.

    Of a plain function it is not known: it may return something that is to be awaited, or read.
    """
    if isinstance(func, staticmethod | classmethod):
        return "descriptor"
    for each in _ends_in(func):
        for form, is_of_it in _TOLD_BY:
            if is_of_it(each):
                return form
    return "class" if isinstance(func, type) else "plain" if callable(func) else "none"


def _ends_in(func: object) -> Iterator[object]:
    """What is called on the way to the function that runs in the end, and that one."""
    for _ in range(_LONGEST_WAY):  # an object's `__call__` may be an object again
        yield func
        if isinstance(func, functools.partial):
            func = func.func
        elif isinstance(func, MethodType | staticmethod):
            func = func.__func__
        elif is_function(func) and not inspect.isroutine(func):
            func = type(func).__call__
        else:
            return


def is_async(func: object) -> bool:
    """Return whether calling `func` is sure to give a coroutine."""
    return form_of(func) == "async"


def check_form(what: str, func: object, form: Guarded, hint: str = "") -> None:
    """Refuse to decorate anything but a function of that form; `what` is the decorator.

    Raises:
        TypeError: it names what guards the function, and ends with `hint`.
    """
    own = form_of(func)
    if own != form:
        raise TypeError(f"{what} needs {_NEEDED[form]}, got {shown(func)}{_INSTEAD[own]}{hint}")


def check_async(what: str, func: object) -> None:
    """Refuse to decorate anything but an async function; `what` is the decorator."""
    check_form(what, func, "async")


def instead_of(func: object, form: Form | None = None) -> str:
    """Return the end of an error about a function: what guards one of its form, or of another."""
    return _INSTEAD[form or form_of(func)]
