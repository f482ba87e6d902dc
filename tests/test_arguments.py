"""Checks of arguments: each returns what is right, and says what is wrong."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest

from supervisor.arguments import (
    check_async,
    check_choice,
    check_count,
    check_factor,
    check_name,
    check_seconds,
    check_share,
    check_window,
    check_window_calls,
    is_async,
    shown,
)
from supervisor.errors import describe


async def fetch(key: str = "") -> str:
    return key


async def stream() -> AsyncIterator[str]:
    yield ""


def plain() -> None: ...


class Service:
    """Its instances are async callables; the class itself is not."""

    async def fetch(self) -> None: ...

    async def __call__(self) -> None: ...


class PlainService:
    """Its instances are callables, but not async ones."""

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a", id="shortest"),
        pytest.param("a" * 255, id="longest"),
        pytest.param("api:fetchUser", id="operation key"),
        pytest.param("Service.<locals>.<lambda>", id="qualname"),
        pytest.param("my service", id="inner space"),
        pytest.param("größe 数", id="not ASCII"),
    ],
)
def test_a_name_of_printable_characters_is_returned(name: str) -> None:
    """Any 1 to 255 printable characters are a name."""
    assert check_name(name) is name


@pytest.mark.parametrize(
    ("name", "error", "shown"),
    [
        pytest.param("", ValueError, "''", id="empty"),
        pytest.param(" ", ValueError, "' '", id="blank"),
        pytest.param("a" * 256, ValueError, repr("a" * 256), id="too long"),
        pytest.param("a\nb", ValueError, r"'a\nb'", id="line feed"),
        pytest.param("a\0", ValueError, r"'a\x00'", id="NUL"),
        pytest.param(None, TypeError, "None", id="None"),
        pytest.param(7, TypeError, "7", id="number"),
        pytest.param(b"api", TypeError, "b'api'", id="bytes"),
        pytest.param(["api"], TypeError, "['api']", id="list"),
    ],
)
def test_what_cannot_be_a_name_is_refused(name: Any, error: type[Exception], shown: str) -> None:
    """The error says that a name is wrong, and shows what was given."""
    with pytest.raises(error, match=rf"circuit's name must .* got {re.escape(shown)}$"):
        check_name(name)


def test_an_endless_name_is_not_repeated_in_full() -> None:
    """The error about a name of a million characters is itself a short one."""
    with pytest.raises(ValueError, match="1 to 255") as caught:
        check_name("x" * 1_000_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("value", "at_least"), [(1, 1), (2, 1), (10**30, 1), (0, 0)], ids=["1", "2", "huge", "0 from 0"]
)
def test_a_count_in_its_range_is_returned(value: int, at_least: int) -> None:
    """Any whole number from the limit on is a count."""
    assert check_count("field", value, at_least) == value


@pytest.mark.parametrize(
    ("value", "at_least", "error", "text"),
    [
        pytest.param(0, 1, ValueError, "field must be at least 1, got 0", id="zero"),
        pytest.param(-3, 1, ValueError, "field must be at least 1, got -3", id="negative"),
        pytest.param(-1, 0, ValueError, "field must be at least 0, got -1", id="below 0"),
        pytest.param(2.0, 1, TypeError, "field must be a whole number, got 2.0", id="float"),
        pytest.param("2", 1, TypeError, "field must be a whole number, got '2'", id="str"),
        pytest.param(True, 1, TypeError, "field must be a whole number, got True", id="bool"),
        pytest.param(None, 1, TypeError, "field must be a whole number, got None", id="None"),
        pytest.param(math.nan, 1, TypeError, "field must be a whole number, got nan", id="NaN"),
    ],
)
def test_what_is_no_count_is_refused(
    value: Any, at_least: int, error: type[Exception], text: str
) -> None:
    """The error names the field, the value and the range."""
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        check_count("field", value, at_least)


@pytest.mark.parametrize("value", [1, 0.5, 1e-9, 10**300], ids=["whole", "half", "tiny", "huge"])
def test_seconds_are_returned_as_a_float(value: float) -> None:
    """Any finite number above 0 is a time, and becomes a float."""
    seconds = check_seconds("field", value)
    assert type(seconds) is float
    assert seconds == float(value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(0, ValueError, id="zero"),
        pytest.param(0.0, ValueError, id="zero point zero"),
        pytest.param(-0.1, ValueError, id="negative"),
        pytest.param(math.nan, ValueError, id="NaN"),
        pytest.param(math.inf, ValueError, id="inf"),
        pytest.param(-math.inf, ValueError, id="minus inf"),
        pytest.param("1", TypeError, id="str"),
        pytest.param(True, TypeError, id="bool"),
        pytest.param(None, TypeError, id="None"),
        pytest.param(1j, TypeError, id="complex"),
    ],
)
def test_what_is_no_time_is_refused(value: Any, error: type[Exception]) -> None:
    """The error names the field, the value and the range."""
    with pytest.raises(error, match=rf"^field must be .*seconds.*, got {re.escape(repr(value))}$"):
        check_seconds("field", value)


@pytest.mark.parametrize(
    "func",
    [
        pytest.param(fetch, id="function"),
        pytest.param(Service().fetch, id="method"),
        pytest.param(Service(), id="async __call__"),
        pytest.param(functools.partial(fetch, "key"), id="partial"),
        pytest.param(functools.partial(functools.partial(fetch), "key"), id="partial of partial"),
        pytest.param(functools.partial(Service()), id="partial of async __call__"),
        pytest.param(AsyncMock(), id="AsyncMock"),
    ],
)
def test_what_gives_a_coroutine_is_async(func: Callable[..., Any]) -> None:
    """Whatever is sure to give a coroutine passes for an async function."""
    assert is_async(func)
    check_async("the decorator", func)


@pytest.mark.parametrize(
    "func",
    [
        pytest.param(plain, id="function"),
        pytest.param(lambda: fetch("key"), id="lambda"),
        pytest.param(functools.partial(plain), id="partial"),
        pytest.param(PlainService(), id="plain __call__"),
        pytest.param(Service, id="class of async callables"),
        pytest.param(stream, id="async generator"),
        pytest.param(None, id="None"),
        pytest.param("fetch", id="str"),
    ],
)
def test_what_may_give_no_coroutine_is_refused(func: Any) -> None:
    """The error says which decorator it was, what it needs and what it got."""
    assert not is_async(func)
    with pytest.raises(TypeError, match=r"^the decorator needs an async function .*got ") as caught:
        check_async("the decorator", func)
    assert repr(func) in str(caught.value)


def test_a_class_is_sent_to_its_methods() -> None:
    """Of which some are async, and others not."""
    with pytest.raises(TypeError, match=r"; guard its methods, each by itself$"):
        check_async("the decorator", Service)


def test_an_async_generator_is_sent_to_its_own_decorator() -> None:
    """Who decorates an async generator is told what to use instead; others are not."""
    with pytest.raises(TypeError, match=r"@breaker\.streaming"):
        check_async("the decorator", stream)
    with pytest.raises(TypeError) as caught:
        check_async("the decorator", plain)
    assert "acquire" not in str(caught.value)


@pytest.mark.parametrize("value", [0.001, 1, 1e9, 10**9], ids=["least", "one", "most", "whole"])
def test_the_seconds_of_a_window_are_returned_as_a_float(value: float) -> None:
    """A millisecond to 1e9 seconds, which a clock can divide into ten."""
    seconds = check_window("field", value)
    assert type(seconds) is float
    assert seconds == value


@pytest.mark.parametrize("value", [0.0009, 1e-300, 1.1e9, 10**12])
def test_a_window_of_too_few_or_too_many_seconds_is_refused(value: float) -> None:
    """The error names both limits."""
    text = f"field must be at least 0.001 and at most 1e+09 (seconds), got {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        check_window("field", value)


def test_what_is_no_time_is_no_window() -> None:
    """It is refused by the same errors."""
    with pytest.raises(
        ValueError, match=r"^field must be more than 0 and finite \(seconds\), got 0$"
    ):
        check_window("field", 0)
    with pytest.raises(TypeError, match=r"^field must be a number of seconds, got '60'$"):
        check_window("field", "60")


@pytest.mark.parametrize("value", [1, 1_000_000])
def test_the_calls_of_a_window_are_returned(value: int) -> None:
    """1 to 1,000,000, of a byte each."""
    assert check_window_calls("field", value) == value


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0, ValueError, "field must be at least 1, got 0"),
        (1_000_001, ValueError, "field must be at most 1000000, got 1000001"),
        (10.0, TypeError, "field must be a whole number, got 10.0"),
    ],
)
def test_a_window_of_no_or_too_many_calls_is_refused(
    value: Any, error: type[Exception], text: str
) -> None:
    """The error names the limit."""
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        check_window_calls("field", value)


@pytest.mark.parametrize(
    ("value", "zero"),
    [(5e-324, False), (0.5, False), (1, False), (0, True), (0.0, True), (1, True)],
)
def test_a_share_is_returned_as_a_float(value: float, zero: bool) -> None:
    """At most 1, and more than 0, or 0 where that is allowed."""
    share = check_share("field", value, zero)
    assert type(share) is float
    assert share == value


@pytest.mark.parametrize(
    ("value", "zero", "error", "text"),
    [
        (0, False, ValueError, "more than 0 and at most 1, got 0"),
        (-0.1, False, ValueError, "more than 0 and at most 1, got -0.1"),
        (-0.1, True, ValueError, "0 or more and at most 1, got -0.1"),
        (1.1, True, ValueError, "0 or more and at most 1, got 1.1"),
        (50, False, ValueError, "more than 0 and at most 1, got 50"),
        (math.nan, True, ValueError, "0 or more and at most 1, got nan"),
        (math.inf, False, ValueError, "more than 0 and at most 1, got inf"),
        ("50%", False, TypeError, "a number, got '50%'"),
        (True, False, TypeError, "a number, got True"),
        (None, True, TypeError, "a number, got None"),
    ],
)
def test_what_is_no_share_is_refused(
    value: Any, zero: bool, error: type[Exception], text: str
) -> None:
    """The error names the field, the value and the range."""
    with pytest.raises(error, match=f"^field must be {re.escape(text)}$"):
        check_share("field", value, zero)


@pytest.mark.parametrize("value", [1, 1.0, 1.5, 10**300], ids=["1", "1.0", "1.5", "huge"])
def test_a_factor_is_returned_as_a_float(value: float) -> None:
    """Any finite number from 1 on."""
    factor = check_factor("field", value)
    assert type(factor) is float
    assert factor == float(value)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.99, ValueError, "at least 1 and finite, got 0.99"),
        (0, ValueError, "at least 1 and finite, got 0"),
        (math.inf, ValueError, "at least 1 and finite, got inf"),
        (math.nan, ValueError, "at least 1 and finite, got nan"),
        ("2", TypeError, "a number, got '2'"),
        (False, TypeError, "a number, got False"),
    ],
)
def test_what_is_no_factor_is_refused(value: Any, error: type[Exception], text: str) -> None:
    """The error names the field, the value and the range."""
    with pytest.raises(error, match=f"^field must be {re.escape(text)}$"):
        check_factor("field", value)


def test_a_choice_is_one_of_some_words() -> None:
    """The error names them."""
    check_choice("field", "allow", ("allow", "refuse"))
    for value, text in (("both", "'both'"), (None, "None"), (["allow"], "['allow']")):
        with pytest.raises(
            ValueError, match=r"^field must be one of allow, refuse; got "
        ) as caught:
            check_choice("field", value, ("allow", "refuse"))
        assert str(caught.value).endswith(text)


def test_a_time_beyond_floats_is_refused() -> None:
    """The error shows as much of it as fits."""
    with pytest.raises(ValueError, match=r"^field must be .*seconds.*, got 10{299}\.\.\.$"):
        check_seconds("field", 10**400)


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    """Its own `__repr__` must not take the place of the error."""

    class Hidden:
        def __repr__(self) -> str:
            raise KeyError

    with pytest.raises(TypeError, match=r"^field must be .*, got <Hidden object>$"):
        check_count("field", Hidden())


class Counted:
    """Counts how many of its kind have been asked for their text."""

    asked = 0

    def __repr__(self) -> str:
        Counted.asked += 1
        return "x"


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Counted() for _ in range(10_000)],
        lambda: tuple(Counted() for _ in range(10_000)),
        lambda: {number: Counted() for number in range(10_000)},
        lambda: {Counted() for _ in range(10_000)},
        lambda: frozenset(Counted() for _ in range(10_000)),
        lambda: [[Counted() for _ in range(50)] for _ in range(200)],
    ],
)
def test_what_is_shown_of_a_large_value_costs_little(make: Callable[[], Any]) -> None:
    """No part of it is asked for its text that would be cut off anyway."""
    Counted.asked = 0
    text = shown(make())
    assert text.endswith("...")
    assert len(text) == 303
    assert Counted.asked <= 103
    assert len(describe(ValueError(make()))) == 200
    assert len(describe(KeyError(make()))) == 200
    assert len(describe(ValueError(make(), make()))) == 200


@pytest.mark.parametrize(
    "value",
    [
        [1, (2,), [], {}, set(), frozenset()],
        {"b": "x", "a": 1},
        {"one"},
        frozenset({1}),
        b"bytes",
        bytearray(b"bytes"),
        "quoted'",
        {1: {2: {3: [4, [5, [6, [7, [8]]]]]}}},
        [[1] * 30] * 2,
        ValueError("x"),
        1.5,
        None,
    ],
)
def test_what_is_shown_of_a_small_value_is_its_whole_text(value: object) -> None:
    """As `repr` gives it, and as an error gives it whose argument it is."""
    assert shown(value) == repr(value)
    assert describe(ValueError(value)) == f"ValueError: {value}"[:200]


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda text: text.decode()])
def test_a_long_text_is_cut_before_it_is_quoted(kind: Callable[[bytes], Any]) -> None:
    """Quoting it takes as long as it is."""
    long = kind(b"x" * 10_000_000)
    assert len(shown(long)) == 303
    assert len(describe(ValueError(long))) == 200


def test_a_count_has_a_bound() -> None:
    """So that what is computed from several has a place among floats."""
    assert check_count("field", 10**100) == 10**100
    with pytest.raises(ValueError, match=r"^field must be at most 1e100, got 10000000000"):
        check_count("field", 10**100 + 1)


@pytest.mark.parametrize("method", [staticmethod, classmethod])
def test_what_cannot_decorate_a_method_of_a_class_says_what_to_do(method: Any) -> None:
    """Where the decorators do not do it themselves, as in a guard of tools."""

    async def function() -> None: ...

    with pytest.raises(TypeError, match=r"; decorate the function in it$"):
        check_async("a guard", method(function))
