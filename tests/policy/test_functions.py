"""Functions that users give: what cannot be called as it will be is refused when it is given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from supervisor import CircuitBreaker, FirstHealthy, Policy, Supervisor, retry_api_call
from supervisor.policy import check_takes

JUDGES = ("failure_on", "ignore", "failure_on_result", "classify", "recovery_from")

GIVEN: dict[str, Callable[[Any], object]] = {
    **{field: lambda func, field=field: Policy(**{field: func}) for field in JUDGES},
    "retry_on": lambda func: retry_api_call(retry_on=[ValueError, func]),
    "move_on": lambda func: FirstHealthy("a", "b", move_on=func),
    "with_fallback": lambda func: CircuitBreaker("x").with_fallback(func),
    "on_change": lambda func: Supervisor(on_change=func),
}
"""Who is called with one thing, and how it is given."""


class Judge:
    """Has methods, and can be called."""

    def none(self) -> bool:
        return True

    def one(self, about: object) -> bool:
        return about is self

    def two(self, about: object, more: object) -> bool:
        return about is more

    def __call__(self, about: object, *, more: object = None) -> bool:
        return about is more


@functools.wraps(Judge.two)
def wrapper(about: object) -> bool:
    return True


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize(
    ("func", "why"),
    [
        (lambda: True, "too many positional arguments"),
        (lambda about, more: about is more, "missing a required argument: 'more'"),
        (lambda about, *, more: about is more, "missing a required .*argument: 'more'"),
        (Judge().none, "too many positional arguments"),
        (functools.partial(Judge().one, None), "too many positional arguments"),
    ],
    ids=["none", "two", "keyword", "method", "partial"],
)
def test_what_takes_something_else(given: str, func: Any, why: str) -> None:
    """An outage would be the first to tell; the error names who is called, with what, and why."""
    text = rf"{given}.* must be a function that can be called with an? .*alone, got .*: {why}$"
    with pytest.raises(TypeError, match=text.replace("an? ", "(an?|the) ")):
        GIVEN[given](func)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize(
    "func",
    [
        lambda about: about,
        lambda about, more=None: about is more,
        lambda *abouts: abouts,
        Judge().one,
        Judge(),
        functools.partial(Judge().two, None),
        wrapper,
        Mock(),
        isinstance.__call__,
    ],
    ids=["one", "default", "any", "method", "object", "partial", "wrapper", "mock", "builtin"],
)
def test_what_fits(given: str, func: Any) -> None:
    """Also of a wrapper, whatever it wraps; and of what tells nobody what it takes."""
    GIVEN[given](func)


class Hiding:
    """Does not let anybody look."""

    @property
    def __signature__(self) -> object:
        raise LookupError

    def __call__(self) -> None: ...


def test_what_hides_its_signature() -> None:
    """It is taken as it is."""
    check_takes("a field", Hiding(), "an error")


async def _async(about: object) -> bool:
    return True


def _generator(about: object) -> Iterator[bool]:
    yield True


@pytest.mark.parametrize("func", [_async, functools.partial(_async), _generator])
@pytest.mark.parametrize("field", JUDGES)
def test_an_answer_that_comes_later(field: str, func: Any) -> None:
    """Nobody would wait for it, and what is to be awaited is true."""
    with pytest.raises(TypeError, match=f"^{field} must be a plain function, got "):
        Policy(**{field: func})


@pytest.mark.anyio
async def test_a_health_check() -> None:
    """It is given nothing: one that needed something would keep its circuit open for ever."""
    async with Supervisor() as supervisor:
        with pytest.raises(TypeError, match=r"^probe_with .* with no arguments, got .*about"):
            supervisor.probe_with(_async, "x")  # type: ignore[arg-type]
