"""Settings: where they come from, what they may be, and what is said about the rest."""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints
from unittest.mock import patch

import pytest

from supervisor import (
    CircuitBreakerSettings,
    CircuitOverrides,
    Policy,
    RetrySettings,
    SettingsError,
    app_settings,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
    with_circuit_breaker,
)
from supervisor.policy.outcomes import Outcome
from supervisor.policy.policy import OPTIONAL
from supervisor.settings.notation import is_none, spelt

WHOLE = "a whole number"
POSITIVE = "at least 1"
NUMBER = "a number of seconds"
SECONDS = "more than 0 and finite (seconds)"
BOOLEAN = "true or false"
CIRCUITS = "settings of single circuits, as BINDU_CB_CIRCUITS__<NAME>__<FIELD>"
RANGES = (WHOLE, POSITIVE, NUMBER, SECONDS, BOOLEAN)

RETRY_DEFAULTS = {
    "worker_max_attempts": 3,
    "worker_min_wait": 1.0,
    "worker_max_wait": 10.0,
    "storage_max_attempts": 5,
    "storage_min_wait": 0.5,
    "storage_max_wait": 5.0,
    "scheduler_max_attempts": 3,
    "scheduler_min_wait": 1.0,
    "scheduler_max_wait": 8.0,
    "api_max_attempts": 4,
    "api_min_wait": 1.0,
    "api_max_wait": 15.0,
    "client_errors": True,
}

Given = Callable[[str, str], None]


@pytest.fixture(params=["environment", ".env"])
def given(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Given:
    """Set a variable: in the environment, and again in a `.env` file."""

    def in_file(variable: str, value: str) -> None:
        with Path(".env").open("a", encoding="utf-8") as file:
            file.write(f"{variable}={value}\n")

    return monkeypatch.setenv if request.param == "environment" else in_file


async def fetch() -> None: ...


def test_circuits_are_disabled_by_default() -> None:
    """Without any variable, circuits are off, and have the defaults of a policy."""
    assert app_settings.circuit_breaker.model_dump() == {
        "enabled": False,
        "keep": None,
        "logs": "loguru",
        "names": "short",
        "show_failures": False,
        "sharing_url": None,
        "sharing_space": "default",
        **asdict(Policy()),
        "circuits": {},
        "file": None,
    }


def test_retries_have_the_defaults_of_the_issue() -> None:
    """Without any variable, attempts and waits are those of the issue."""
    assert app_settings.retry.model_dump() == RETRY_DEFAULTS


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        pytest.param("BINDU_CB_ENABLED", "true", "enabled", True, id="enabled"),
        pytest.param("BINDU_CB_ENABLED", "1", "enabled", True, id="enabled by 1"),
        pytest.param("BINDU_CB_ENABLED", "off", "enabled", False, id="off"),
        pytest.param("BINDU_CB_FAILURE_THRESHOLD", "7", "failure_threshold", 7, id="failures"),
        pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "0.25", "recovery_timeout", 0.25, id="recovery"),
        pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "90", "recovery_timeout", 90.0, id="whole"),
        pytest.param("BINDU_CB_SUCCESS_THRESHOLD", "2", "success_threshold", 2, id="successes"),
        pytest.param("BINDU_CB_PROBE_TIMEOUT", "5.5", "probe_timeout", 5.5, id="probe"),
        pytest.param("bindu_cb_failure_threshold", "7", "failure_threshold", 7, id="lower case"),
    ],
)
def test_a_variable_sets_a_field_of_circuits(
    given: Given, variable: str, text: str, field: str, value: object
) -> None:
    """Each field is read from its variable, and no other field changes."""
    given(variable, text)
    defaults = CircuitBreakerSettings.model_construct().model_dump()
    assert app_settings.circuit_breaker.model_dump() == {**defaults, field: value}


@pytest.mark.parametrize("field", [name for name in RETRY_DEFAULTS if name != "client_errors"])
def test_a_variable_sets_a_field_of_retries(given: Given, field: str) -> None:
    """Each field is read from its variable, and no other field changes."""
    given(f"BINDU_RETRY_{field.upper()}", "2")
    assert app_settings.retry.model_dump() == {**RETRY_DEFAULTS, field: 2}


@pytest.mark.parametrize(("text", "value"), [("false", False), ("off", False), ("1", True)])
def test_a_variable_switches_the_errors_of_clients(given: Given, text: str, value: bool) -> None:
    """It is true or false, as that of circuits."""
    given("BINDU_RETRY_CLIENT_ERRORS", text)
    assert app_settings.retry.model_dump() == {**RETRY_DEFAULTS, "client_errors": value}


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real variable is preferred to one in `.env`; the file's others still hold."""
    Path(".env").write_text("BINDU_CB_FAILURE_THRESHOLD=5\nBINDU_CB_SUCCESS_THRESHOLD=6\n")
    monkeypatch.setenv("BINDU_CB_FAILURE_THRESHOLD", "7")
    settings = app_settings.circuit_breaker
    assert (settings.failure_threshold, settings.success_threshold) == (7, 6)


def test_what_belongs_to_others_is_left_alone(given: Given) -> None:
    """Other programs' variables, and the other group's, are no concern of a group."""
    given("OTHER_ENABLED", "maybe")
    given("BINDU_LOG_LEVEL", "DEBUG")
    given("BINDU_CB_ENABLED", "true")
    given("BINDU_RETRY_API_MAX_ATTEMPTS", "9")
    assert app_settings.circuit_breaker.enabled is True
    assert app_settings.retry.api_max_attempts == 9


BAD_VALUES = [
    pytest.param("BINDU_RETRY_CLIENT_ERRORS", "maybe", BOOLEAN, id="client errors: maybe"),
    pytest.param("BINDU_CB_ENABLED", "maybe", BOOLEAN, id="enabled: maybe"),
    pytest.param("BINDU_CB_ENABLED", "2", BOOLEAN, id="enabled: 2"),
    pytest.param("BINDU_CB_ENABLED", "", BOOLEAN, id="enabled: empty"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "0", POSITIVE, id="threshold: zero"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "-1", POSITIVE, id="threshold: negative"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "2.5", WHOLE, id="threshold: fraction"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "nan", WHOLE, id="threshold: NaN"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "inf", WHOLE, id="threshold: inf"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "three", WHOLE, id="threshold: word"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "", WHOLE, id="threshold: empty"),
    pytest.param("BINDU_CB_SUCCESS_THRESHOLD", "0", POSITIVE, id="successes: zero"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "0", SECONDS, id="timeout: zero"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "-0.5", SECONDS, id="timeout: negative"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "nan", SECONDS, id="timeout: NaN"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "inf", SECONDS, id="timeout: inf"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "-inf", SECONDS, id="timeout: minus inf"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "30s", NUMBER, id="timeout: unit"),
    pytest.param("BINDU_CB_PROBE_TIMEOUT", "0", SECONDS, id="probe: zero"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__FAILURE_THRESHOLD", "0", POSITIVE, id="override: zero"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__SUCCESS_THRESHOLD", "x", WHOLE, id="override: word"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__RECOVERY_TIMEOUT", "nan", SECONDS, id="override: NaN"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__PROBE_TIMEOUT", "inf", SECONDS, id="override: inf"),
    pytest.param("BINDU_RETRY_WORKER_MAX_ATTEMPTS", "0", POSITIVE, id="attempts: zero"),
    pytest.param("BINDU_RETRY_API_MAX_ATTEMPTS", "1.5", WHOLE, id="attempts: fraction"),
    pytest.param("BINDU_RETRY_STORAGE_MIN_WAIT", "0", SECONDS, id="wait: zero"),
    pytest.param("BINDU_RETRY_STORAGE_MIN_WAIT", "-1", SECONDS, id="wait: negative"),
    pytest.param("BINDU_RETRY_SCHEDULER_MAX_WAIT", "nan", SECONDS, id="wait: NaN"),
    pytest.param("BINDU_RETRY_SCHEDULER_MAX_WAIT", "inf", SECONDS, id="wait: inf"),
    pytest.param("BINDU_RETRY_SCHEDULER_MAX_WAIT", "soon", NUMBER, id="wait: word"),
]


def group_of(variable: str) -> object:
    """Ask for the group that the variable belongs to."""
    return app_settings.retry if "RETRY" in variable else app_settings.circuit_breaker


@pytest.mark.parametrize(("variable", "value", "allowed"), BAD_VALUES)
def test_a_value_out_of_range_is_an_error(
    given: Given, variable: str, value: str, allowed: str
) -> None:
    """The error is one line that names the variable, the allowed range and the value."""
    given(variable, value)
    with pytest.raises(SettingsError) as caught:
        group_of(variable)
    assert str(caught.value) == f"{variable} must be {allowed}, got {value!r}"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("operation_type", ["worker", "storage", "scheduler", "api"])
def test_waits_that_exclude_each_other_are_an_error(given: Given, operation_type: str) -> None:
    """The error names both variables and both values."""
    given(f"BINDU_RETRY_{operation_type.upper()}_MIN_WAIT", "20")
    low, high = (f"BINDU_RETRY_{operation_type.upper()}_{end}_WAIT" for end in ("MIN", "MAX"))
    longest = RETRY_DEFAULTS[f"{operation_type}_max_wait"]
    with pytest.raises(SettingsError, match=rf"^{low} .*{high}, got 20.0 and {longest}$"):
        _ = app_settings.retry


def test_all_bad_values_are_reported_at_once(given: Given) -> None:
    """Who has made two mistakes need not start twice to learn of them."""
    given("BINDU_CB_FAILURE_THRESHOLD", "0")
    given("BINDU_CB_PROBE_TIMEOUT", "-1")
    with pytest.raises(SettingsError, match=r"BINDU_CB_FAILURE_THRESHOLD .*BINDU_CB_PROBE_TIMEOUT"):
        _ = app_settings.circuit_breaker


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        pytest.param(
            "BINDU_CB_FAILURE_TRESHOLD", "did you mean BINDU_CB_FAILURE_THRESHOLD", id="letter"
        ),
        pytest.param("BINDU_CB_ENABLE", "did you mean BINDU_CB_ENABLED", id="ending"),
        pytest.param("bindu_cb_enable", "did you mean BINDU_CB_ENABLED", id="lower case"),
        pytest.param(
            "BINDU_CB_ZZZZZZZZZZZZ",
            "BINDU_CB_ENABLED, BINDU_CB_KEEP, BINDU_CB_LOGS, BINDU_CB_NAMES, BINDU_CB_SHOW_FAIL",
            id="nothing near",
        ),
        pytest.param("BINDU_CB_ENABLED__X", "did you mean BINDU_CB_ENABLED", id="no sub-field"),
        pytest.param(
            "BINDU_RETRY_WORKER_ATTEMPTS", "did you mean BINDU_RETRY_WORKER_MAX_ATT", id="retry"
        ),
        pytest.param("BINDU_RETRY_JOB_MIN_WAIT", "BINDU_RETRY_", id="operation type"),
        pytest.param("BINDU_RETRY_CIRCUITS__X__FAILURE_THRESHOLD", "BINDU_RETRY_", id="group"),
    ],
)
def test_a_mistyped_variable_is_an_error(given: Given, variable: str, hint: str) -> None:
    """Nothing is ignored in silence: the error names the variable, and those that exist."""
    given(variable, "1")
    with pytest.raises(SettingsError, match=rf"^unknown .*{variable.upper()}\b.*; .*{hint}"):
        group_of(variable.upper())


@pytest.mark.parametrize(
    "variable",
    [
        pytest.param("BINDU_CB_CIRCUITS__OPENAI__RECOVERY_TIMEOT", id="letter in the field"),
        pytest.param("BINDU_CB_CIRCUITS__OPENAI__ENABLED", id="a field of all circuits only"),
        pytest.param("BINDU_CB_CIRCUITS__OPENAI__MAX_ATTEMPTS", id="a field of retries"),
        pytest.param("BINDU_CB_CIRCUITS", id="all in one"),
        pytest.param("BINDU_CB_CIRCUITS__OPENAI", id="no field"),
        pytest.param("BINDU_CB_CIRCUITS__OPENAI__", id="empty field"),
        pytest.param("BINDU_CB_CIRCUITS____FAILURE_THRESHOLD", id="no name"),
        pytest.param("BINDU_CB_CIRCUITS__MY__API__FAILURE_THRESHOLD", id="two underscores in name"),
        pytest.param("BINDU_CB_CIRCUITS__API_X___FAILURE_THRESHOLD", id="underscore too many"),
        pytest.param("BINDU_CB_CIRCUITS__API_X__FAILURE_THRESHOLD__Y", id="something behind"),
        pytest.param("BINDU_CB_CIRCUIT__OPENAI__FAILURE_THRESHOLD", id="singular"),
    ],
)
def test_a_mistyped_override_is_an_error(given: Given, variable: str) -> None:
    """The error names the variable and how an override is spelt, not the global setting."""
    given(variable, "1")
    with pytest.raises(SettingsError, match=rf"^unknown .*{variable}\b") as caught:
        _ = app_settings.circuit_breaker
    assert "BINDU_CB_CIRCUITS__<NAME>__<FIELD>" in str(caught.value)
    assert "RECOVERY_TIMEOUT" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        pytest.param("openai", "OPENAI", id="plain"),
        pytest.param("OpenAI", "OPENAI", id="mixed case"),
        pytest.param("api:fetchUser", "API_FETCHUSER", id="colon"),
        pytest.param("storage:save_task", "STORAGE_SAVE_TASK", id="underscore"),
        pytest.param("my-service.v2/users", "MY_SERVICE_V2_USERS", id="other signs"),
        pytest.param("Service.<locals>.fetch", "SERVICE_LOCALS_FETCH", id="a run of signs"),
        pytest.param("adhoc:<lambda>", "ADHOC_LAMBDA", id="signs at the end"),
        pytest.param("worker:__call__", "WORKER_CALL", id="dunder"),
        pytest.param("2nd", "2ND", id="digit"),
    ],
)
def test_the_spelling_of_a_name(given: Given, name: str, spelt: str) -> None:
    """A variable has capitals, and one `_` for whatever is not a letter or digit."""
    given(f"BINDU_CB_CIRCUITS__{spelt}__FAILURE_THRESHOLD", "9")
    assert app_settings.circuit_breaker.policy(name).failure_threshold == 9
    assert app_settings.circuit_breaker.policy("another").failure_threshold == 3


def test_an_override_inherits_what_it_leaves_out(given: Given) -> None:
    """A field that an override leaves out has the global value, not the default."""
    given("BINDU_CB_FAILURE_THRESHOLD", "5")
    given("BINDU_CB_SUCCESS_THRESHOLD", "2")
    given("BINDU_CB_CIRCUITS__API_FETCHUSER__RECOVERY_TIMEOUT", "2.5")
    given("BINDU_CB_CIRCUITS__API_FETCHUSER__SUCCESS_THRESHOLD", "4")
    settings = app_settings.circuit_breaker
    assert settings.policy("api:fetchUser") == Policy(5, 2.5, 4, 60.0)
    assert settings.policy("api:fetchUsers") == Policy(5, 30.0, 2, 60.0)
    settings.failure_threshold = 6
    assert settings.policy("api:fetchUser").failure_threshold == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failure_threshold", 9),
        ("recovery_timeout", 9.5),
        ("success_threshold", 9),
        ("probe_timeout", 9.5),
    ],
)
def test_every_field_can_be_overridden(given: Given, field: str, value: float) -> None:
    """Each field of a policy has an override, which changes no other field."""
    given(f"BINDU_CB_CIRCUITS__OPENAI__{field.upper()}", str(value))
    assert app_settings.circuit_breaker.policy("openai") == Policy(**{field: value})  # type: ignore[arg-type]


def test_environment_and_file_share_a_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One circuit's overrides may be split between the environment and `.env`."""
    Path(".env").write_text(
        "BINDU_CB_CIRCUITS__OPENAI__FAILURE_THRESHOLD=5\n"
        "BINDU_CB_CIRCUITS__OPENAI__SUCCESS_THRESHOLD=6\n"
    )
    monkeypatch.setenv("BINDU_CB_CIRCUITS__OPENAI__FAILURE_THRESHOLD", "7")
    assert app_settings.circuit_breaker.policy("openai") == Policy(7, 30.0, 6)


def test_an_override_by_a_name_without_a_spelling() -> None:
    """A name that has no letters or digits of ASCII can be given from code, and only itself."""
    app_settings.circuit_breaker.circuits = {"数据": CircuitOverrides(failure_threshold=9)}
    assert app_settings.circuit_breaker.policy("数据").failure_threshold == 9
    assert app_settings.circuit_breaker.policy("缓存").failure_threshold == 3


@pytest.mark.parametrize(
    "override",
    [
        pytest.param({"failure_threshold": 9}, id="dict"),
        pytest.param(CircuitOverrides(failure_threshold=9), id="CircuitOverrides"),
    ],
)
@pytest.mark.parametrize(
    "key", ["api:fetchUser", "API_FETCHUSER", "api_fetchuser"], ids=["name", "spelt", "lower case"]
)
def test_overrides_from_code(key: str, override: Any) -> None:
    """Code may give overrides too, by the circuit's own name or as variables spell it."""
    app_settings.circuit_breaker.circuits = {key: override}
    for settings in (
        app_settings.circuit_breaker,
        CircuitBreakerSettings(circuits={key: override}),
    ):
        assert settings.policy("api:fetchUser") == Policy(9)
        assert settings.policy("api:other") == Policy()


@pytest.mark.parametrize("override", [{"probe_timeout": 5}, CircuitOverrides(probe_timeout=5)])
def test_code_and_variables_share_a_circuit(given: Given, override: Any) -> None:
    """What code says of a circuit leaves alone what variables say of its other fields."""
    given("BINDU_CB_CIRCUITS__OPENAI__FAILURE_THRESHOLD", "9")
    given("BINDU_CB_CIRCUITS__OPENAI__PROBE_TIMEOUT", "9")
    settings = CircuitBreakerSettings(circuits={"openai": override})
    assert settings.policy("openai") == Policy(9, probe_timeout=5.0)


def test_an_override_is_added_from_code() -> None:
    """An override that is put into the dict by the circuit's own name holds as well."""
    app_settings.circuit_breaker.circuits["api:fetchUser"] = CircuitOverrides(failure_threshold=9)
    assert app_settings.circuit_breaker.policy("api:fetchUser").failure_threshold == 9


def test_an_override_is_changed_from_code() -> None:
    """A field of an override may be assigned, and is checked like any other."""
    app_settings.circuit_breaker.circuits = {"openai": {"failure_threshold": 9}}
    override = app_settings.circuit_breaker.circuits["openai"]
    override.failure_threshold = 8
    assert app_settings.circuit_breaker.policy("openai").failure_threshold == 8
    with pytest.raises(ValueError, match="failure_threshold"):
        override.failure_threshold = 0
    assert app_settings.circuit_breaker.policy("openai").failure_threshold == 8
    override.failure_threshold = None
    assert app_settings.circuit_breaker.policy("openai").failure_threshold == 3


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        pytest.param(
            {"x": {"failure_threshold": 0}}, f"__FAILURE_THRESHOLD must be {POSITIVE}, got 0"
        ),
        pytest.param(
            {"x": {"recovery_timeout": -1}}, f"__RECOVERY_TIMEOUT must be {SECONDS}, got -1"
        ),
        pytest.param({"x": 5}, f" must be {CIRCUITS}, got 5"),
    ],
    ids=["threshold", "timeout", "no fields"],
)
def test_overrides_from_code_are_checked(overrides: Any, text: str) -> None:
    """The error names circuit, field, range and value; the overrides stay as they were."""
    app_settings.circuit_breaker.circuits = {"x": {"failure_threshold": 9}}
    with pytest.raises(SettingsError, match=f"^BINDU_CB_CIRCUITS__X{re.escape(text)}$"):
        CircuitBreakerSettings(circuits=overrides)
    with pytest.raises(SettingsError, match=f"^BINDU_CB_CIRCUITS__X{re.escape(text)}$"):
        app_settings.circuit_breaker.circuits = overrides
    assert app_settings.circuit_breaker.policy("x").failure_threshold == 9


@pytest.mark.parametrize("field", ["reset_timeout", "max_attempts", "enabled", "name"])
def test_overrides_of_an_unknown_field_are_an_error(field: str) -> None:
    """The error says that there is no such field, not that its value were out of range."""
    with pytest.raises(SettingsError, match=rf"(?i){field}") as caught:
        app_settings.circuit_breaker.circuits = {"x": {field: 5}}  # type: ignore[dict-item]
    assert not any(allowed in str(caught.value) for allowed in RANGES)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("enabled", "maybe", BOOLEAN),
        ("enabled", None, BOOLEAN),
        ("failure_threshold", 0, POSITIVE),
        ("failure_threshold", -1, POSITIVE),
        ("failure_threshold", 2.5, WHOLE),
        ("failure_threshold", None, WHOLE),
        ("success_threshold", 0, POSITIVE),
        ("recovery_timeout", 0, SECONDS),
        ("recovery_timeout", float("nan"), SECONDS),
        ("recovery_timeout", float("inf"), SECONDS),
        ("recovery_timeout", "soon", NUMBER),
        ("probe_timeout", -1.0, SECONDS),
        ("circuits", None, CIRCUITS),
        ("file", "circuits.toml", "given when the settings are made"),
    ],
)
def test_an_assignment_is_checked(field: str, value: Any, allowed: str) -> None:
    """A bad assignment raises the same error as a variable, and leaves the old value."""
    settings = app_settings.circuit_breaker
    before = settings.model_dump()
    text = f"BINDU_CB_{field.upper()} must be {allowed}, got {value!r}"
    with pytest.raises(SettingsError, match=f"^{re.escape(text)}$"):
        setattr(settings, field, value)
    assert settings.model_dump() == before


def test_an_assignment_to_retries_is_checked() -> None:
    """A bad assignment to the other group names its variable, and leaves the old value."""
    text = f"BINDU_RETRY_API_MIN_WAIT must be {SECONDS}, got 0"
    with pytest.raises(SettingsError, match=f"^{re.escape(text)}$"):
        app_settings.retry.api_min_wait = 0
    assert app_settings.retry.api_min_wait == 1.0


def test_an_assignment_to_no_setting_is_an_error() -> None:
    """A field that does not exist cannot be set by mistake."""
    with pytest.raises(ValueError, match=r"^unknown .*FAILURE_TRESHOLD"):
        app_settings.circuit_breaker.failure_treshold = 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("group", [CircuitBreakerSettings, RetrySettings])
def test_a_keyword_for_no_setting_is_an_error(group: Callable[..., object]) -> None:
    """A group made in code ignores a mistyped keyword as little as a mistyped variable."""
    with pytest.raises((ValueError, TypeError), match=r"(?i)max_attemps"):
        group(max_attemps=5)


def test_a_group_takes_the_options_of_pydantic() -> None:
    """What pydantic-settings takes when a group is made, such as another file, still works."""
    Path(".env").write_text("BINDU_CB_FAILURE_THRESHOLD=5\n")
    Path("other.env").write_text("BINDU_CB_FAILURE_THRESHOLD=6\n")
    assert CircuitBreakerSettings(_env_file=None).failure_threshold == 3
    assert CircuitBreakerSettings(_env_file="other.env").failure_threshold == 6


def test_settings_made_in_code() -> None:
    """A group can be made and put in place by code; its arguments win over variables."""
    app_settings.circuit_breaker = CircuitBreakerSettings(enabled=True, failure_threshold=7)
    app_settings.retry = RetrySettings(api_max_attempts=8)
    assert app_settings.circuit_breaker.policy("any").failure_threshold == 7
    assert app_settings.retry.api_max_attempts == 8
    with pytest.raises(
        SettingsError, match=f"^BINDU_CB_FAILURE_THRESHOLD must be {POSITIVE}, got 0$"
    ):
        CircuitBreakerSettings(failure_threshold=0)


@pytest.mark.parametrize("read_before", [True, False], ids=["read before", "first read"])
def test_a_patch_is_undone(read_before: bool) -> None:
    """`unittest.mock.patch.object` changes a setting for a while, as existing code does."""
    if read_before:
        assert app_settings.circuit_breaker.enabled is False
    with patch.object(app_settings.circuit_breaker, "enabled", True):
        assert app_settings.circuit_breaker.enabled is True
    assert app_settings.circuit_breaker.enabled is False


def test_a_patch_of_a_whole_group_is_undone() -> None:
    """A whole group can be patched for a while, too."""
    with patch.object(app_settings, "retry", RetrySettings(api_max_attempts=1)):
        assert app_settings.retry.api_max_attempts == 1
    assert app_settings.retry.api_max_attempts == 4


def test_a_group_is_one_object() -> None:
    """A group is read once: a change made through it is seen by everybody."""
    app_settings.circuit_breaker.failure_threshold = 9
    assert app_settings.circuit_breaker.failure_threshold == 9
    assert app_settings.circuit_breaker is app_settings.circuit_breaker
    assert app_settings.retry is app_settings.retry


def test_an_error_does_not_outlive_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the environment is mended, the settings can be read."""
    monkeypatch.setenv("BINDU_CB_ENABLED", "maybe")
    for _ in range(2):
        with pytest.raises(SettingsError):
            _ = app_settings.circuit_breaker
    monkeypatch.setenv("BINDU_CB_ENABLED", "yes")
    assert app_settings.circuit_breaker.enabled is True


DECORATORS = [
    pytest.param(with_circuit_breaker, id="with_circuit_breaker"),
    pytest.param(retry_worker_operation, id="worker"),
    pytest.param(retry_storage_operation, id="storage"),
    pytest.param(retry_scheduler_operation, id="scheduler"),
    pytest.param(retry_api_call, id="api"),
]


@pytest.mark.parametrize("decorator", DECORATORS)
def test_bad_settings_are_reported_when_decorating(
    given: Given, decorator: Callable[[], Callable[[object], object]]
) -> None:
    """A mistyped variable is found at start-up, not at the first call."""
    given("BINDU_CB_FAILURE_TRESHOLD", "5")
    with pytest.raises(SettingsError, match="BINDU_CB_FAILURE_TRESHOLD"):
        decorator()(fetch)


@pytest.mark.parametrize("decorator", DECORATORS[1:])
def test_bad_retry_settings_are_reported_when_decorating(
    given: Given, decorator: Callable[[], Callable[[object], object]]
) -> None:
    """The same holds for the variables of the retry decorators."""
    given("BINDU_RETRY_WORKER_MIN_WAITS", "5")
    with pytest.raises(SettingsError, match="BINDU_RETRY_WORKER_MIN_WAITS"):
        decorator()(fetch)


def test_bad_retry_settings_do_not_concern_circuits(given: Given) -> None:
    """Who uses no retries is not held up by their variables."""
    given("BINDU_RETRY_WORKER_MIN_WAIT", "0")
    assert with_circuit_breaker()(fetch)


def test_the_import_survives_a_bad_environment() -> None:
    """`import supervisor` never fails, so that programs can report the error as they like."""
    program = (
        "import supervisor\n"
        "try:\n"
        "    supervisor.app_settings.circuit_breaker\n"
        "except supervisor.SettingsError as error:\n"
        "    print(error)\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(root), "BINDU_CB_ENABLE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "BINDU_CB_ENABLE=" in run.stdout


@pytest.mark.parametrize("field", ["failure_threshold", "recovery_timeout"])
def test_a_bool_is_no_number(field: str) -> None:
    """True is refused where a number is asked for, and the old value stays."""
    settings = app_settings.circuit_breaker
    before = getattr(settings, field)
    with pytest.raises(SettingsError, match=rf"{field.upper()} must be .*, got True"):
        setattr(settings, field, True)
    assert getattr(settings, field) == before


# Every field, from every source


class Flaky(Exception):
    """An error of the tests' own."""


def is_flaky(error: BaseException) -> bool:
    return isinstance(error, Flaky)


def is_bad(result: object) -> bool:
    return result is None


def judge(it: object) -> Outcome | None:
    return Outcome.IGNORED if isinstance(it, Flaky) else None


def seconds_of(error: BaseException) -> float | None:
    return 5.0 if is_flaky(error) else None


HERE = "tests.settings.test_settings"

FIELDS: dict[str, tuple[str, object]] = {
    "failure_threshold": ("7", 7),
    "recovery_timeout": ("2.5", 2.5),
    "success_threshold": ("2", 2),
    "probe_timeout": ("5", 5.0),
    "window_calls": ("20", 20),
    "window_seconds": ("60", 60.0),
    "failure_rate": ("0.5", 0.5),
    "minimum_calls": ("5", 5),
    "failures_in_a_row": ("4", 4),
    "slow_call_duration": ("1.5", 1.5),
    "slow_call_rate": ("1", 1.0),
    "warm_up": ("30", 30.0),
    "failure_on": ("ConnectionError, asyncio.TimeoutError", (ConnectionError, TimeoutError)),
    "ignore": (f"{HERE}:is_flaky", is_flaky),
    "failure_on_result": (f"{HERE}.is_bad", is_bad),
    "failure_on_cancel": ("yes", True),
    "classify": (f"{HERE}.judge", judge),
    "keep_failures": ("5", 5),
    "recovery_schedule": ("1, 5,30", (1.0, 5.0, 30.0)),
    "recovery_factor": ("2", 2.0),
    "max_recovery_timeout": ("300", 300.0),
    "recovery_jitter": ("0", 0.0),
    "recovery_from": (f"{HERE}:seconds_of", seconds_of),
    "max_retry_after": ("90", 90.0),
    "probes": ("4", 4),
    "probe_failure_rate": ("0.25", 0.25),
    "probes_at_once": ("2", 2),
    "half_open_timeout": ("9", 9.0),
    "ramp": ("30", 30.0),
    "ramp_start": ("0.2", 0.2),
    "throttle": ("1.1", 1.1),
    "throttle_seconds": ("90", 90.0),
    "throttle_floor": ("0.01", 0.01),
    "retry_budget": ("0.1", 0.1),
    "retry_budget_seconds": ("20", 20.0),
    "retry_budget_minimum": ("0", 0),
    "timeout": ("3", 3.0),
    "initial_state": (" Metrics_Only", "metrics_only"),
}
"""Each field as text, and what that means."""

NEEDS: dict[str, tuple[str, ...]] = {
    "failure_rate": ("window_calls",),
    "slow_call_rate": ("window_seconds", "slow_call_duration"),
    "failures_in_a_row": ("window_calls",),
    "probe_failure_rate": ("probes",),
    "probes_at_once": ("probes", "probe_failure_rate"),
    "recovery_factor": ("max_recovery_timeout",),
}

LEFT_OUT = ("window_seconds", "recovery_schedule")
"""Fields that do not go with all others."""

FOR_NONE = dict.fromkeys(sorted(OPTIONAL), "none") | {"ignore": "NONE"}


def nothing_of(field: str) -> object:
    """What a field is in code if it says that there is nothing."""
    return None if field in OPTIONAL else ()


Texts = dict[str, str]
Source = Callable[[Texts, str], CircuitBreakerSettings]


def in_toml(value: object) -> str:
    """Write numbers as numbers, as one would."""
    text = str(value)
    return text if text.replace(".", "").isdigit() else json.dumps(text)


@pytest.fixture(params=["environment", ".env", "file", "code", "text in code"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Give fields, for all circuits or for the one of a name, and read the settings."""

    def put(texts: Texts, circuit: str = "") -> CircuitBreakerSettings:
        prefix = f"BINDU_CB_CIRCUITS__{spelt(circuit)}__" if circuit else "BINDU_CB_"
        variables = {(prefix + field).upper(): text for field, text in texts.items()}
        match request.param:
            case "environment":
                for variable, text in variables.items():
                    monkeypatch.setenv(variable, text)
            case ".env":
                Path(".env").write_text("\n".join(map("=".join, variables.items())))
            case "file":
                monkeypatch.setenv("BINDU_CB_FILE", "circuits.toml")
                lines = [f"{field} = {in_toml(text)}" for field, text in texts.items()]
                table = [f"[circuits.{json.dumps(circuit)}]"] if circuit else []
                Path("circuits.toml").write_text("\n".join(table + lines))
            case _:
                given: dict[str, Any] = dict(texts)
                if request.param == "code":
                    given = {
                        field: nothing_of(field) if is_none(text) else FIELDS[field][1]
                        for field, text in texts.items()
                    }
                return CircuitBreakerSettings(
                    **({"circuits": {circuit: given}} if circuit else given)
                )
        return CircuitBreakerSettings()

    return put


def test_every_field_of_a_policy_is_a_setting() -> None:
    """Settings have the fields of a policy, by the same names, of the same types and defaults."""
    types = get_type_hints(Policy)
    defaults = {field.name: field.default for field in fields(Policy)}
    of_all, of_one = CircuitBreakerSettings.model_fields, CircuitOverrides.model_fields
    assert {name: of_all[name].default for name in types} == defaults
    of_settings = get_type_hints(CircuitBreakerSettings)
    assert {name: of_settings[name] for name in types} == types
    assert of_all.keys() - types.keys() == {
        "enabled",
        "keep",
        "logs",
        "names",
        "show_failures",
        "sharing_url",
        "sharing_space",
        "circuits",
        "file",
    }
    of_overrides = get_type_hints(CircuitOverrides)
    assert {name: of_overrides[name] for name in of_one} == {
        name: kind | None for name, kind in types.items()
    }
    assert not any(field.default for field in of_one.values())
    assert list(FIELDS) == list(types)


@pytest.mark.parametrize("circuit", ["", "api:fetchUser"], ids=["all circuits", "one circuit"])
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_from_every_source(source: Source, field: str, circuit: str) -> None:
    """Variables, `.env`, TOML and code make the same policy of the same field."""
    given = [field, *NEEDS.get(field, ())]
    settings = source({name: FIELDS[name][0] for name in given}, circuit)
    expected = Policy(**{name: FIELDS[name][1] for name in given})  # type: ignore[arg-type]
    assert settings.policy("api:fetchUser") == expected
    assert settings.policy("other") == (Policy() if circuit else expected)


@pytest.mark.parametrize("circuit", ["", "x"], ids=["all circuits", "one circuit"])
@pytest.mark.parametrize("field", FOR_NONE)
def test_a_part_is_switched_off(source: Source, field: str, circuit: str) -> None:
    """The word none, however it is spelt, is for what is not there; in code, None is as good."""
    settings = source({field: FOR_NONE[field]}, circuit)
    assert getattr(settings.policy("x"), field) == nothing_of(field)


def test_something_must_fail(source: Source) -> None:
    """No word switches all failures off."""
    with pytest.raises(SettingsError, match="at least one, or nothing would ever fail"):
        source({"failure_on": "none"}, "").policy("x")


@pytest.mark.parametrize("field", sorted(OPTIONAL))
def test_a_part_is_switched_off_for_one_circuit(source: Source, field: str) -> None:
    """What all circuits have, one can do without, and what one says of None it does not inherit."""
    app = CircuitBreakerSettings(
        **{name: FIELDS[name][0] for name in (field, *NEEDS.get(field, ()))}
    )
    assert getattr(app.policy("x"), field) == FIELDS[field][1]
    own = source({field: "none"}, "x").circuits
    app.circuits = own
    assert getattr(app.policy("x"), field) is None
    assert getattr(app.policy("y"), field) == FIELDS[field][1]


@pytest.mark.parametrize("field", sorted(FIELDS.keys() - OPTIONAL))
def test_none_is_inherited_otherwise(field: str) -> None:
    """In code, None for what always has a value is that of all circuits."""
    given = {name: FIELDS[name][0] for name in (field, *NEEDS.get(field, ()))}
    settings = CircuitBreakerSettings(circuits={"x": {field: None}}, **given)
    assert getattr(settings.policy("x"), field) == FIELDS[field][1]


@pytest.mark.parametrize(
    ("own", "others"), [("window_calls", "window_seconds"), ("window_seconds", "window_calls")]
)
def test_a_window_of_ones_own(source: Source, own: str, others: str) -> None:
    """A circuit's own window takes the place of the other kind, which all circuits have."""
    settings = source({own: FIELDS[own][0]}, "x")
    setattr(settings, others, FIELDS[others][1])
    assert settings.policy("x") == Policy(**{own: FIELDS[own][1]})  # type: ignore[arg-type]
    assert settings.policy("y") == Policy(**{others: FIELDS[others][1]})  # type: ignore[arg-type]
    assert settings.explain("x")[others] == replace(settings.explain("x")[own], value=None)
    setattr(settings.circuits["x"], own, None)
    assert settings.policy("x") == settings.policy("y")


def test_policies_are_shared() -> None:
    """Circuits with the same settings share the memory of one policy."""
    settings = CircuitBreakerSettings(failure_threshold=7, circuits={"x": {"probe_timeout": 5}})
    assert settings.policy("a") is settings.policy("b")
    assert settings.policy("x") == Policy(7, probe_timeout=5.0)


# Who goes before whom


THRESHOLD = "failure_threshold"

SOURCES = {
    "file": ("{key} in circuits.toml", 11),
    ".env": ("{variable} in .env", 12),
    "environment": ("{variable}", 13),
    "code": ("code", 14),
}
"""Where a threshold is given, what that is called, and which one it is there."""

LAYERS = [layers for count in range(1, 5) for layers in itertools.combinations(SOURCES, count)]


@pytest.mark.parametrize("layers", LAYERS, ids="+".join)
@pytest.mark.parametrize("circuit", ["", "api:x"], ids=["all circuits", "one circuit"])
def test_precedence_and_provenance(
    monkeypatch: pytest.MonkeyPatch, layers: tuple[str, ...], circuit: str
) -> None:
    """Code goes before the environment, `.env`, the file and the defaults, field by field, also
    if a circuit's name is spelt differently; and the winner is told.
    """
    texts = {layer: str(SOURCES[layer][1]) for layer in layers}
    variable = ("BINDU_CB_CIRCUITS__API_X__" if circuit else "BINDU_CB_") + THRESHOLD.upper()
    key = f'circuits."{circuit}".{THRESHOLD}' if circuit else THRESHOLD
    toml = [f'[circuits."{circuit}"]'] if circuit else []
    toml += ["success_threshold = 2"]
    toml += [f"{THRESHOLD} = {texts['file']}"] if "file" in texts else []
    Path("circuits.toml").write_text("\n".join(toml))
    Path(".env").write_text(
        "BINDU_CB_FILE=circuits.toml\n"
        + (f"{variable}={texts['.env']}\n" if ".env" in texts else "")
    )
    if "environment" in texts:
        monkeypatch.setenv(variable, texts["environment"])
    code: dict[str, Any] = {THRESHOLD: texts["code"]} if "code" in texts else {}
    settings = CircuitBreakerSettings(**({"circuits": {"API.x": code}} if circuit else code))

    where, value = SOURCES[layers[-1]]
    told = settings.explain("api:x")
    assert settings.policy("api:x") == Policy(value, success_threshold=2)
    assert (told[THRESHOLD].value, str(told[THRESHOLD].origin)) == (
        value,
        where.format(key=key, variable=variable),
    )
    assert str(told["success_threshold"].origin) == (
        key.replace(THRESHOLD, "success_threshold") + " in circuits.toml"
    )
    assert str(told["recovery_timeout"].origin) == "default"
    assert (settings.explain("other") == settings.explain() == told) is (not circuit)


def test_provenance_of_every_field(source: Source) -> None:
    """Each field's source is told, and says who gave it."""
    given = {field: text for field, (text, _) in FIELDS.items() if field not in LEFT_OUT}
    told = source(given, "").explain("x")
    assert list(told) == list(FIELDS)
    for field, setting in told.items():
        assert setting.given is (field in given)
        if setting.given:
            assert setting.value == FIELDS[field][1]
            assert str(setting.origin) in (
                f"BINDU_CB_{field.upper()}",
                f"BINDU_CB_{field.upper()} in .env",
                f"{field} in circuits.toml",
                "code",
            )


def test_what_code_changes_is_from_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """An assignment, to all circuits or to one, is the source from then on."""
    monkeypatch.setenv("BINDU_CB_FAILURE_THRESHOLD", "5")
    monkeypatch.setenv("BINDU_CB_CIRCUITS__X__PROBE_TIMEOUT", "5")
    settings = app_settings.circuit_breaker

    def sources(name: str) -> list[str]:
        told = settings.explain(name)
        return [str(told[field].origin) for field in ("failure_threshold", "probe_timeout")]

    one = "BINDU_CB_CIRCUITS__X__PROBE_TIMEOUT"
    assert sources("x") == ["BINDU_CB_FAILURE_THRESHOLD", one]
    assert sources("y") == ["BINDU_CB_FAILURE_THRESHOLD", "default"]
    with pytest.raises(SettingsError):
        settings.failure_threshold = 0
    assert sources("x") == ["BINDU_CB_FAILURE_THRESHOLD", one]
    settings.failure_threshold = 6
    assert sources("x") == ["code", one]
    settings.circuits["x"].probe_timeout = 6
    assert sources("x") == ["code", "code"]
    settings.circuits["y"] = CircuitOverrides(probe_timeout=7)
    assert sources("y") == ["code", "code"]
    assert str(settings.setting("enabled").origin) == "default"


def test_the_very_name_goes_first() -> None:
    """In one place, a circuit's own name goes before another that is spelt the same."""
    Path("circuits.toml").write_text(
        "circuits.'api:x' = {failure_threshold = 5}\n"
        "circuits.API_X = {failure_threshold = 6, success_threshold = 2}\n"
    )
    settings = CircuitBreakerSettings(file="circuits.toml")
    assert settings.policy("api:x") == Policy(5, success_threshold=2)
    assert settings.policy("API_X") == Policy(6, success_threshold=2)
    assert str(settings.explain("api:x")["success_threshold"].origin) == (
        "circuits.API_X.success_threshold in circuits.toml"
    )


def test_settings_are_equal_by_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a value comes from makes no difference when settings are compared, or copied."""
    monkeypatch.setenv("BINDU_CB_FAILURE_THRESHOLD", "5")
    settings = app_settings.circuit_breaker
    monkeypatch.delenv("BINDU_CB_FAILURE_THRESHOLD")
    assert settings == CircuitBreakerSettings(failure_threshold=5)
    assert settings != CircuitBreakerSettings(failure_threshold=6)
    assert copy.deepcopy(settings).explain() == settings.explain()


# Files


def test_a_file_has_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TOML file can switch circuits on, set all and single ones, and use TOML's own types."""
    Path("circuits.toml").write_text(
        "enabled = true\n"
        "recovery_timeout = 10\n"
        "failure_on = ['ConnectionError', 'tests.settings.test_settings:Flaky']\n"
        "[circuits.search]\n"
        "failure_threshold = 2\n"
        "[circuits.'api:fetchUser']\n"
        "failure_on_cancel = true\n"
        "ignore = []\n"
        "[circuits.empty]\n"
    )
    monkeypatch.setenv("BINDU_CB_FILE", "circuits.toml")
    settings = app_settings.circuit_breaker
    assert settings.enabled
    assert str(settings.setting("enabled").origin) == "enabled in circuits.toml"
    assert settings.file == Path("circuits.toml")
    errors = (ConnectionError, Flaky)
    assert settings.policy("search") == Policy(2, 10.0, failure_on=errors)
    assert settings.policy("api:fetchUser") == Policy(
        recovery_timeout=10.0, failure_on=errors, failure_on_cancel=True
    )
    assert settings.policy("empty") == settings.policy("other")


@pytest.mark.parametrize("file", [None, "none"])
def test_code_can_do_without_the_file(monkeypatch: pytest.MonkeyPatch, file: str | None) -> None:
    """A file that a variable names is not read if code says that there is none."""
    monkeypatch.setenv("BINDU_CB_FILE", "missing.toml")
    settings = CircuitBreakerSettings(file=file)
    assert settings.file is None
    assert settings.policy("x") == Policy()


BAD_FILES = [
    pytest.param(
        "failure_threshold = 0",
        f"failure_threshold in circuits.toml must be {POSITIVE}, got 0",
        id="range",
    ),
    pytest.param("enabled = 2", f"enabled in circuits.toml must be {BOOLEAN}, got 2", id="enabled"),
    pytest.param(
        "failure_threshold = 2.0",
        f"failure_threshold in circuits.toml must be {WHOLE}, got 2.0",
        id="type",
    ),
    pytest.param(
        "failure_treshold = 5",
        "unknown setting failure_treshold=5 in circuits.toml; did you mean failure_threshold?",
        id="letter",
    ),
    pytest.param(
        "enable = true",
        "unknown setting enable=True in circuits.toml; did you mean enabled?",
        id="ending",
    ),
    pytest.param(
        "Recovery_Timeout = 5",
        "unknown setting Recovery_Timeout=5 in circuits.toml; did you mean recovery_timeout?",
        id="capitals",
    ),
    pytest.param(
        "'a b' = 5",
        'unknown setting "a b"=5 in circuits.toml; there are enabled, keep, logs, names, show_fail',
        id="no key",
    ),
    pytest.param(
        "file = 'b'", "unknown setting file='b' in circuits.toml; there are ena", id="file"
    ),
    pytest.param(
        "[search]\nramp = 5", "unknown setting search={'ramp': 5} in circuits.toml", id="table"
    ),
    pytest.param(
        "[circuits.'api:x']\nramp = 0",
        f'circuits."api:x".ramp in circuits.toml must be {SECONDS}, got 0',
        id="range, one circuit",
    ),
    pytest.param(
        "circuits.x.rampe = 5",
        "unknown setting circuits.x.rampe=5 in circuits.toml; did you mean ramp?",
        id="letter, one circuit",
    ),
    pytest.param(
        "circuits.x.enabled = true",
        "unknown setting circuits.x.enabled=True in circuits.toml; there are failure_threshold, ",
        id="a field of all circuits only",
    ),
    pytest.param(
        "circuits = 5", f"circuits in circuits.toml must be {CIRCUITS}, got 5", id="no circuits"
    ),
    pytest.param(
        "circuits.x = 5", f"circuits.x in circuits.toml must be {CIRCUITS}, got 5", id="no table"
    ),
    pytest.param(
        "classify = ['os.getcwd']",
        "classify in circuits.toml must be a function, got ['os.getcwd']",
        id="list",
    ),
    pytest.param(
        "x = ", "BINDU_CB_FILE must be a TOML file that can be read, got 'circuits.toml' (", id="-"
    ),
    pytest.param(
        "x = '\xff'",
        "BINDU_CB_FILE must be a TOML file that can be read, got 'circuits.toml' (",
        id="UTF-8",
    ),
]


@pytest.mark.parametrize(("content", "text"), BAD_FILES)
def test_a_mistake_in_a_file(given: Given, content: str, text: str) -> None:
    """The error names the file, the key and the value."""
    Path("circuits.toml").write_text(content, encoding="latin-1")
    given("BINDU_CB_FILE", "circuits.toml")
    with pytest.raises(SettingsError) as caught:
        _ = app_settings.circuit_breaker
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("file", ["missing.toml", ".", "", "a\0b", 5], ids=repr)
def test_a_file_that_cannot_be_read(file: Any) -> None:
    """The error names the file that code gave, not the variable, and says what is wrong."""
    text = f"a file of settings must be a TOML file that can be read, got {file!r} ("
    with pytest.raises(SettingsError, match=f"^{re.escape(text)}.+\\)$"):
        CircuitBreakerSettings(file=file)


@pytest.mark.parametrize("text", ["1,5,30", " 1, 5 , 30 ", "[1, 5, 30]", "[1.0,5e0,30]"])
def test_several_numbers(given: Given, text: str) -> None:
    """They have commas between them; who knows pydantic-settings writes them as JSON."""
    given("BINDU_CB_RECOVERY_SCHEDULE", text)
    assert app_settings.circuit_breaker.recovery_schedule == (1.0, 5.0, 30.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('["ConnectionError", "asyncio:TimeoutError"]', (ConnectionError, TimeoutError)),
        ('[ "OSError" ]', OSError),
    ],
)
def test_several_names(given: Given, text: str, named: object) -> None:
    """They may be JSON as well."""
    given("BINDU_CB_FAILURE_ON", text)
    assert app_settings.circuit_breaker.policy("x").failure_on == named


@pytest.mark.parametrize("text", ["", "OSError,", ",OSError", "[]", '[""]'])
def test_a_name_that_is_missing(given: Given, text: str) -> None:
    """The error does not speak of what stands in no text."""
    given("BINDU_CB_FAILURE_ON", text)
    wrong = f"^BINDU_CB_FAILURE_ON.* must be dotted names, with .*, got {re.escape(repr(text))}$"
    with pytest.raises(SettingsError, match=wrong):
        app_settings.circuit_breaker.policy("x")


@pytest.mark.parametrize("text", ["", "1 5", "[]", "[1, 5", "1, 5]", "[[1], 5]", "1;5", "1,,5"])
def test_what_is_not_several_numbers(given: Given, text: str) -> None:
    """The error names the variable and what it says."""
    given("BINDU_CB_RECOVERY_SCHEDULE", text)
    with pytest.raises(SettingsError, match="BINDU_CB_RECOVERY_SCHEDULE must be") as caught:
        _ = app_settings.circuit_breaker
    assert repr(text) in str(caught.value)


def test_all_mistakes_in_all_sources_are_reported_at_once(given: Given) -> None:
    """Mistakes in variables and in the file, for all circuits and for one, are one error."""
    Path("circuits.toml").write_text("ramp = 0\nrampe = 5\n[circuits.x]\nprobes = 0\n")
    given("BINDU_CB_FILE", "circuits.toml")
    given("BINDU_CB_CIRCUITS__X__THROTTLE", "0.5")
    with pytest.raises(SettingsError) as caught:
        CircuitBreakerSettings(timeout=0)
    assert sorted(str(caught.value).split("; ")) == [
        "BINDU_CB_CIRCUITS__X__THROTTLE must be at least 1.01 and finite, got '0.5'",
        f"BINDU_CB_TIMEOUT must be {SECONDS}, got 0",
        "circuits.x.probes in circuits.toml must be at least 1, got 0",
        "did you mean ramp?",
        f"ramp in circuits.toml must be {SECONDS}, got 0",
        "unknown setting rampe=5 in circuits.toml",
    ]


# What the values may be


BAD = {
    "window_calls": ("0", POSITIVE),
    "window_seconds": ("0", SECONDS),
    "failure_rate": ("1.5", "more than 0 and at most 1"),
    "minimum_calls": ("none", WHOLE),
    "failures_in_a_row": ("0", POSITIVE),
    "slow_call_duration": ("long", NUMBER),
    "slow_call_rate": ("0", "more than 0 and at most 1"),
    "warm_up": ("0", SECONDS),
    "failure_on": ("int", "types of exceptions"),
    "ignore": ("os.sep,OSError", "types of exceptions or functions"),
    "failure_on_result": ("builtins:__name__", "a function"),
    "failure_on_cancel": ("maybe", "True or False"),
    "classify": ("os.sep", "a function"),
    "keep_failures": ("101", "at most 100"),
    "recovery_schedule": ("1,0", "several seconds, each more than 0"),
    "recovery_factor": ("0.5", "at least 1 and finite"),
    "max_recovery_timeout": ("inf", SECONDS),
    "recovery_jitter": ("-0.1", "0 or more and at most 1"),
    "recovery_from": ("abs,abs", "a function"),
    "max_retry_after": ("0", SECONDS),
    "probes": ("1.5", WHOLE),
    "probe_failure_rate": ("nan", "more than 0 and at most 1"),
    "probes_at_once": ("0.5", WHOLE),
    "half_open_timeout": ("-1", SECONDS),
    "ramp": ("", NUMBER),
    "ramp_start": ("2", "more than 0 and at most 1"),
    "throttle": ("inf", "at least 1.01 and finite"),
    "throttle_seconds": ("none", NUMBER),
    "throttle_floor": ("0", "more than 0 and at most 1"),
    "retry_budget": ("1e9", "more than 0 and at most 1"),
    "retry_budget_seconds": ("1 h", NUMBER),
    "retry_budget_minimum": ("-1", "at least 0"),
    "timeout": ("0", SECONDS),
    "initial_state": ("half_open", "one of closed, open, forced_open, "),
}


@pytest.mark.parametrize("prefix", ["BINDU_CB_", "BINDU_CB_CIRCUITS__X__"])
@pytest.mark.parametrize("field", BAD)
def test_fields_are_checked_as_those_of_a_policy(given: Given, field: str, prefix: str) -> None:
    """The range is a policy's own, and the value is shown as it was written."""
    text, allowed = BAD[field]
    given(prefix + field.upper(), text)
    with pytest.raises(SettingsError) as caught:
        _ = app_settings.circuit_breaker
    assert str(caught.value).startswith(f"{prefix}{field.upper()} must be {allowed}")
    assert str(caught.value).endswith(f", got {text!r}")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("no_such_package.Error", "No module named 'no_such_package'", id="package"),
        pytest.param("no_such_package:Error", "No module named 'no_such_package'", id="colon"),
        pytest.param("asyncio.NoSuchError", "no attribute 'NoSuchError'", id="attribute"),
        pytest.param("asyncio:Lock.nothing", "no attribute 'nothing'", id="attribute of a class"),
        pytest.param("NoSuchError", "no attribute 'NoSuchError'", id="no builtin"),
        pytest.param("broken.Error", "RuntimeError('broken on purpose')", id="module raises"),
        pytest.param("leaving.Error", "SystemExit(3)", id="module exits"),
        pytest.param("OSError,no_such.Error", "(no_such.Error: ModuleNotFound", id="second"),
    ],
)
def test_a_name_that_cannot_be_imported(
    given: Given, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    """The error names variable and value, what happened, and what to do."""
    Path("broken.py").write_text("raise RuntimeError('broken on purpose')")
    Path("leaving.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(".")
    given("BINDU_CB_IGNORE", name)
    with pytest.raises(SettingsError) as caught:
        app_settings.circuit_breaker.policy("x")
    text = str(caught.value)
    assert text.startswith("BINDU_CB_IGNORE must be what can be imported, as package.module:name")
    assert f"got {name!r} (" in text
    assert why in text
    assert text.endswith(": correct it, or install what is missing")


def test_names_in_code() -> None:
    """Code may mix names and objects, and bring the objects themselves."""
    settings = CircuitBreakerSettings(
        failure_on=["OSError", Flaky],
        ignore=KeyError,
        classify=judge,
        recovery_from=f"{HERE}.judge",
    )
    assert settings.policy("x") == Policy(
        failure_on=(OSError, Flaky),
        ignore=KeyError,
        classify=judge,
        recovery_from=judge,  # type: ignore[arg-type]
    )


def test_names_are_short_or_qualified(given: Given) -> None:
    """The word may be in any case; anything else is refused."""
    given("BINDU_CB_NAMES", " Qualified ")
    assert app_settings.circuit_breaker.names == "qualified"
    for wrong in ("long", None):
        text = rf"^BINDU_CB_NAMES must be one of short, qualified; got {wrong!r}$"
        with pytest.raises(SettingsError, match=text):
            app_settings.circuit_breaker.names = wrong  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "allowed"), [(2, BOOLEAN), (None, BOOLEAN), ([], BOOLEAN)], ids=repr
)
def test_enabled_is_yes_or_no(value: Any, allowed: str) -> None:
    """Anything that does not plainly mean true or false is refused."""
    assert CircuitBreakerSettings(enabled=1).enabled is True
    assert CircuitBreakerSettings(enabled="OFF").enabled is False
    with pytest.raises(SettingsError, match=f"^BINDU_CB_ENABLED must be {allowed}, got "):
        CircuitBreakerSettings(enabled=value)


# What goes together


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (
            {"failure_rate": "0.5"},
            "failure_rate=0.5 needs window_calls or window_seconds (FAILURE_RATE)",
        ),
        (
            {"window_calls": "20", "window_seconds": "60"},
            (
                "window_calls and window_seconds exclude each other, got 20 and 60.0"
                " (WINDOW_CALLS, WINDOW_SECONDS)"
            ),
        ),
        (
            {"recovery_timeout": "90", "max_recovery_timeout": "60"},
            (
                "max_recovery_timeout=60.0 is less than recovery_timeout=90.0"
                " (RECOVERY_TIMEOUT, MAX_RECOVERY_TIMEOUT)"
            ),
        ),
    ],
    ids=["rate", "windows", "maximum"],
)
def test_values_that_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, texts: Texts, problem: str
) -> None:
    """They are found when the settings are read: the error names who has them, and from where."""

    def told(prefix: str) -> str:
        return re.sub(r"[A-Z_]{8,}", lambda name: prefix + name[0], problem)

    for field, text in texts.items():
        monkeypatch.setenv(f"BINDU_CB_CIRCUITS__API_X__{field.upper()}", text)
    with pytest.raises(SettingsError) as caught:
        _ = app_settings.circuit_breaker
    assert str(caught.value) == f"circuit 'api_x': {told('BINDU_CB_CIRCUITS__API_X__')}"
    for field, text in texts.items():
        monkeypatch.setenv(f"BINDU_CB_{field.upper()}", text)
    with pytest.raises(SettingsError) as caught:
        _ = app_settings.circuit_breaker
    assert str(caught.value) == (
        f"all circuits: {told('BINDU_CB_')}; circuit 'api_x': {told('BINDU_CB_CIRCUITS__API_X__')}"
    )


def test_what_a_circuit_inherits_has_to_go_with_its_own(given: Given) -> None:
    """A circuit's own values are checked with those that it inherits."""
    given("BINDU_CB_WINDOW_CALLS", "20")
    given("BINDU_CB_FAILURE_RATE", "0.5")
    given("BINDU_CB_CIRCUITS__X__WINDOW_CALLS", "none")
    given("BINDU_CB_CIRCUITS__Y__WINDOW_SECONDS", "60")
    with pytest.raises(SettingsError, match=r"^circuit 'x': failure_rate=0.5 needs window_[^;]*$"):
        _ = app_settings.circuit_breaker


def test_what_all_circuits_suffer_from_is_told_once() -> None:
    """A circuit that inherits a conflict does not repeat it."""
    with pytest.raises(SettingsError, match=r"^all circuits: failure_rate=0.5 needs [^;]*$"):
        CircuitBreakerSettings(failure_rate=0.5, circuits={"x": {"probe_timeout": 5}})


def test_assignments_may_come_in_any_order() -> None:
    """What goes together is looked at when a policy is asked for, not between assignments."""
    settings = app_settings.circuit_breaker
    settings.failure_rate = 0.5
    with pytest.raises(SettingsError, match=r"^circuit 'x': failure_rate=0.5 needs .* \(code\)$"):
        settings.policy("x")
    settings.window_calls = 20
    assert settings.policy("x") == Policy(window_calls=20, failure_rate=0.5)


def test_a_variable_without_a_value() -> None:
    """A line of `.env` that has no value is a mistake."""
    Path(".env").write_text("BINDU_CB_RAMP\n")
    with pytest.raises(SettingsError, match=r"^BINDU_CB_RAMP must be a number of seconds, got ''$"):
        _ = app_settings.circuit_breaker


def test_more_than_one_dotenv_file() -> None:
    """The source of a value that is in one of several files names them all."""
    Path("a.env").write_text("BINDU_CB_RAMP=5")
    settings = CircuitBreakerSettings(_env_file=("a.env", Path("b.env")))
    assert str(settings.explain()["ramp"].origin) == "BINDU_CB_RAMP in a.env or b.env"
