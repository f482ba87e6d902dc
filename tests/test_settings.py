"""Settings: where they come from, what they may be, and what is said about the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
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

WHOLE = "a whole number of at least 1"
SECONDS = "a finite number of seconds above 0"
BOOLEAN = "true or false"

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
    """Without any variable, circuits are off and have the issue's thresholds."""
    assert app_settings.circuit_breaker.model_dump() == {
        "enabled": False,
        "failure_threshold": 3,
        "recovery_timeout": 30.0,
        "success_threshold": 1,
        "probe_timeout": 60.0,
        "circuits": {},
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


@pytest.mark.parametrize("field", RETRY_DEFAULTS)
def test_a_variable_sets_a_field_of_retries(given: Given, field: str) -> None:
    """Each field is read from its variable, and no other field changes."""
    given(f"BINDU_RETRY_{field.upper()}", "2")
    assert app_settings.retry.model_dump() == {**RETRY_DEFAULTS, field: 2}


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
    pytest.param("BINDU_CB_ENABLED", "maybe", BOOLEAN, id="enabled: maybe"),
    pytest.param("BINDU_CB_ENABLED", "2", BOOLEAN, id="enabled: 2"),
    pytest.param("BINDU_CB_ENABLED", "", BOOLEAN, id="enabled: empty"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "0", WHOLE, id="threshold: zero"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "-1", WHOLE, id="threshold: negative"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "2.5", WHOLE, id="threshold: fraction"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "nan", WHOLE, id="threshold: NaN"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "inf", WHOLE, id="threshold: inf"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "three", WHOLE, id="threshold: word"),
    pytest.param("BINDU_CB_FAILURE_THRESHOLD", "", WHOLE, id="threshold: empty"),
    pytest.param("BINDU_CB_SUCCESS_THRESHOLD", "0", WHOLE, id="successes: zero"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "0", SECONDS, id="timeout: zero"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "-0.5", SECONDS, id="timeout: negative"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "nan", SECONDS, id="timeout: NaN"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "inf", SECONDS, id="timeout: inf"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "-inf", SECONDS, id="timeout: minus inf"),
    pytest.param("BINDU_CB_RECOVERY_TIMEOUT", "30s", SECONDS, id="timeout: unit"),
    pytest.param("BINDU_CB_PROBE_TIMEOUT", "0", SECONDS, id="probe: zero"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__FAILURE_THRESHOLD", "0", WHOLE, id="override: zero"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__SUCCESS_THRESHOLD", "x", WHOLE, id="override: word"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__RECOVERY_TIMEOUT", "nan", SECONDS, id="override: NaN"),
    pytest.param("BINDU_CB_CIRCUITS__API_X__PROBE_TIMEOUT", "inf", SECONDS, id="override: inf"),
    pytest.param("BINDU_RETRY_WORKER_MAX_ATTEMPTS", "0", WHOLE, id="attempts: zero"),
    pytest.param("BINDU_RETRY_API_MAX_ATTEMPTS", "1.5", WHOLE, id="attempts: fraction"),
    pytest.param("BINDU_RETRY_STORAGE_MIN_WAIT", "0", SECONDS, id="wait: zero"),
    pytest.param("BINDU_RETRY_STORAGE_MIN_WAIT", "-1", SECONDS, id="wait: negative"),
    pytest.param("BINDU_RETRY_SCHEDULER_MAX_WAIT", "nan", SECONDS, id="wait: NaN"),
    pytest.param("BINDU_RETRY_SCHEDULER_MAX_WAIT", "inf", SECONDS, id="wait: inf"),
    pytest.param("BINDU_RETRY_SCHEDULER_MAX_WAIT", "soon", SECONDS, id="wait: word"),
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
        pytest.param("BINDU_CB_ZZZZZZZZZZZZ", "BINDU_CB_ENABLED, BINDU_CB_FAIL", id="nothing near"),
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
    assert app_settings.circuit_breaker.policy("api:fetchUser") == Policy(9)
    assert app_settings.circuit_breaker.policy("api:other") == Policy()


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
        pytest.param({"x": {"failure_threshold": 0}}, f"FAILURE_THRESHOLD must be {WHOLE}, got 0"),
        pytest.param(
            {"x": {"recovery_timeout": -1}}, f"RECOVERY_TIMEOUT must be {SECONDS}, got -1"
        ),
        pytest.param({"x": 5}, "got 5"),
    ],
    ids=["threshold", "timeout", "no fields"],
)
def test_overrides_from_code_are_checked(overrides: Any, text: str) -> None:
    """The error names circuit, field, range and value; the overrides stay as they were."""
    app_settings.circuit_breaker.circuits = {"x": {"failure_threshold": 9}}
    with pytest.raises(SettingsError, match=rf"^BINDU_CB_CIRCUITS__X.*{text}"):
        app_settings.circuit_breaker.circuits = overrides
    assert app_settings.circuit_breaker.policy("x").failure_threshold == 9


@pytest.mark.parametrize("field", ["reset_timeout", "max_attempts", "enabled", "name"])
def test_overrides_of_an_unknown_field_are_an_error(field: str) -> None:
    """The error says that there is no such field, not that its value were out of range."""
    with pytest.raises(SettingsError, match=rf"(?i){field}") as caught:
        app_settings.circuit_breaker.circuits = {"x": {field: 5}}  # type: ignore[dict-item]
    assert not any(allowed in str(caught.value) for allowed in (WHOLE, SECONDS, BOOLEAN))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("enabled", "maybe", BOOLEAN),
        ("enabled", None, BOOLEAN),
        ("failure_threshold", 0, WHOLE),
        ("failure_threshold", -1, WHOLE),
        ("failure_threshold", 2.5, WHOLE),
        ("failure_threshold", None, WHOLE),
        ("success_threshold", 0, WHOLE),
        ("recovery_timeout", 0, SECONDS),
        ("recovery_timeout", float("nan"), SECONDS),
        ("recovery_timeout", float("inf"), SECONDS),
        ("recovery_timeout", "soon", SECONDS),
        ("probe_timeout", -1.0, SECONDS),
        ("circuits", None, "settings of single circuits"),
    ],
)
def test_an_assignment_is_checked(field: str, value: Any, allowed: str) -> None:
    """A bad assignment raises the same error as a variable, and leaves the old value."""
    settings = app_settings.circuit_breaker
    before = settings.model_dump()
    with pytest.raises(
        SettingsError, match=f"^BINDU_CB_{field.upper()} must be {allowed}"
    ) as caught:
        setattr(settings, field, value)
    assert f"got {value!r}" in str(caught.value)
    assert settings.model_dump() == before


def test_an_assignment_to_retries_is_checked() -> None:
    """A bad assignment to the other group names its variable, and leaves the old value."""
    with pytest.raises(SettingsError, match=f"^BINDU_RETRY_API_MIN_WAIT must be {SECONDS}, got 0$"):
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
    with pytest.raises(SettingsError, match=f"BINDU_CB_FAILURE_THRESHOLD must be {WHOLE}, got 0"):
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
    root = Path(__file__).parent.parent
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
