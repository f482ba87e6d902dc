"""How settings are written; how they are read is tested with the settings."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from supervisor import CircuitBreakerOpenError, CircuitBreakerSettings
from supervisor.settings.writing import toml_key, written


class Errors:
    """Has a type inside."""

    class Minor(Exception):
        """An error of the tests' own."""


def judge(it: object) -> None: ...


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        ((), "none"),
        ([], "none"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (30.0, "30.0"),
        (1e-9, "1e-09"),
        (OSError, "OSError"),
        ((KeyError, asyncio.TimeoutError), "KeyError,TimeoutError"),
        (CircuitBreakerOpenError, "supervisor.errors.CircuitBreakerOpenError"),
        (json.JSONDecodeError, "json.decoder.JSONDecodeError"),
        (Errors.Minor, "tests.settings.test_notation:Errors.Minor"),
        (judge, "tests.settings.test_notation.judge"),
    ],
)
def test_values_are_written_as_they_are_read(value: Any, text: str) -> None:
    """What is written can be put into a variable, and means the same there."""
    assert written(value) == text
    match value:
        case bool():
            assert CircuitBreakerSettings(enabled=text).enabled is value
        case int():
            assert CircuitBreakerSettings(failure_threshold=text).failure_threshold == value
        case float():
            assert CircuitBreakerSettings(recovery_timeout=text).recovery_timeout == value
        case None:
            assert CircuitBreakerSettings(ramp=text).ramp is None
        case _:
            read = CircuitBreakerSettings(ignore=text).ignore
            assert read == (tuple(value) if isinstance(value, list) else value)


def test_values_without_a_notation_are_shown() -> None:
    """What has no name that could be imported is shown as errors show it."""
    assert written(functools.partial(judge, 3)).startswith("functools.partial(<function judge")
    assert written(lambda: None).startswith("tests.settings.test_notation:test_values_without")
    assert written(Path("a")).endswith("Path('a')")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("ramp",), "ramp"),
        (("circuits", "api-2", "ramp"), "circuits.api-2.ramp"),
        (("circuits", "api:fetchUser", "ramp"), 'circuits."api:fetchUser".ramp'),
        (("circuits", 'a "b".c', "ramp"), 'circuits."a \\"b\\".c".ramp'),
        (("",), '""'),
        (("x" * 301,), f'"{"x" * 300}..."'),
    ],
)
def test_keys_are_quoted_where_toml_needs_it(path: tuple[str, ...], key: str) -> None:
    """A key in an error is written as in the file."""
    assert toml_key(*path) == key
