"""Settings from `BINDU_CB_*` and `BINDU_RETRY_*` variables, `.env`, a TOML file, or code."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self, TypeGuard

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from supervisor.arguments import shown
from supervisor.policy import OPTIONAL, Errors, Failure, Outcome, Policy, shared_policy
from supervisor.settings.notation import (
    Layer,
    Origin,
    Setting,
    is_none,
    read_count,
    read_field,
    read_seconds,
    read_switch,
    spelt,
    toml_key,
)

Count = Annotated[int, PlainValidator(read_count)]
Seconds = Annotated[float, PlainValidator(read_seconds)]

FIELDS: Final = tuple(field.name for field in dataclasses.fields(Policy))
WINDOWS: Final = ("window_calls", "window_seconds")


class SettingsError(ValueError):
    """A variable is misspelt, or a value is out of range; the text names both."""


def _value(given: object) -> object:
    return given.value if isinstance(given, Setting) else given


@dataclasses.dataclass(slots=True)
class _Origins:
    """Where a model's values come from, which is nothing that models are compared by."""

    of: dict[str, Origin] = dataclasses.field(default_factory=dict[str, Origin], compare=False)


class _Traced(BaseModel):
    """A model that takes settings for values, and remembers where they come from."""

    _origins: _Origins = PrivateAttr(default_factory=_Origins)

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(values)
        if _is_table(values):  # and not an assignment
            given = {name: it for name, it in values.items() if isinstance(it, Setting)}
            made._origins.of.update({name: it.origin for name, it in given.items()})
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self._origins.of.pop(name, None)

    def setting(self, field: str) -> Setting:
        """Return the value of a field, and where it comes from."""
        origin = Origin(Layer.DEFAULT)
        if field in self.model_fields_set:
            origin = self._origins.of.get(field, Origin(Layer.CODE))
        return Setting(getattr(self, field), origin)

    def given(self) -> dict[str, Setting]:
        """Return the fields of a policy that do not have their default."""
        return {field: self.setting(field) for field in FIELDS if field in self.model_fields_set}


class CircuitOverrides(_Traced):
    """Settings of one circuit: any field of `Policy`.

    A field that is left out is inherited from the global settings. None is the same, but for
    fields that are None in a `Policy` to say that a part of it is not there.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    failure_threshold: int | None = None
    recovery_timeout: float | None = None
    success_threshold: int | None = None
    probe_timeout: float | None = None
    window_calls: int | None = None
    window_seconds: float | None = None
    failure_rate: float | None = None
    minimum_calls: int | None = None
    slow_call_duration: float | None = None
    slow_call_rate: float | None = None
    failure_on: Errors | None = None
    ignore: Errors | None = None
    failure_on_result: Callable[[Any], bool] | None = None
    failure_on_cancel: bool | None = None
    classify: Callable[[Any], Failure | Outcome | None] | None = None
    recovery_factor: float | None = None
    max_recovery_timeout: float | None = None
    recovery_jitter: float | None = None
    recovery_from: Callable[[BaseException], float | None] | None = None
    probes: int | None = None
    probe_failure_rate: float | None = None
    half_open_timeout: float | None = None
    ramp: float | None = None
    ramp_start: float | None = None
    throttle: float | None = None
    throttle_seconds: float | None = None
    throttle_floor: float | None = None
    retry_budget: float | None = None
    retry_budget_seconds: float | None = None
    retry_budget_minimum: int | None = None
    timeout: float | None = None

    @field_validator("*", mode="plain")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        value = _value(value)
        return None if value is None else read_field(info.field_name, value)

    def given(self) -> dict[str, Setting]:
        """Return the fields that are not inherited."""
        return {
            field: setting
            for field, setting in super().given().items()
            if setting.value is not None or field in OPTIONAL
        }


OVERRIDE: Final = re.compile(
    rf"BINDU_CB_CIRCUITS__[A-Z0-9]+(_[A-Z0-9]+)*__({'|'.join(FIELDS)})", re.IGNORECASE
)


_OPTIONS: Final = frozenset(inspect.signature(BaseSettings.__init__).parameters)
"""Arguments of pydantic-settings' own, such as `_env_file`."""


class _Settings(BaseSettings):
    """What both groups share: errors in the user's terms, and nothing ignored in silence."""

    prefix: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if name not in type(self).model_fields and name not in _OPTIONS:
                raise self._unknown(self._in_code(name), value)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self._translated(error) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise self._unknown(self._in_code(name), value)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise self._translated(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        for source in (env_settings, dotenv_settings):
            for setting in cls._variables(source):
                if not cls._is_known(setting.origin.name):
                    raise cls._unknown(setting.origin, setting.value)
        return cls._sources(init_settings, env_settings, dotenv_settings)

    @classmethod
    def _sources(
        cls,
        code: PydanticBaseSettingsSource,
        environment: PydanticBaseSettingsSource,
        dotenv: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return code, environment, dotenv

    @classmethod
    def _variables(cls, source: PydanticBaseSettingsSource) -> Iterable[Setting]:
        """Return the variables that begin as this group's do."""
        assert isinstance(source, EnvSettingsSource)
        layer, file = Layer.ENVIRONMENT, ""
        if isinstance(source, DotEnvSettingsSource):
            layer, files = Layer.DOTENV, source.env_file
            file = " or ".join(map(str, files if isinstance(files, list | tuple) else [files]))
        for name, value in source.env_vars.items():
            if name.upper().startswith(cls.prefix):
                yield Setting(value or "", Origin(layer, name.upper(), file))

    @classmethod
    def _variable(cls, *path: object) -> str:
        return cls.prefix + "__".join(map(str, path)).upper()

    @classmethod
    def _in_code(cls, *path: object) -> Origin:
        return Origin(Layer.CODE, cls._variable(*path))  # errors name the variable all the same

    @classmethod
    def _is_known(cls, variable: str) -> bool:
        return variable in map(cls._variable, cls.model_fields)

    @classmethod
    def _unknown(cls, origin: Origin, value: object) -> SettingsError:
        place = origin.blamed.removeprefix(origin.name)
        return SettingsError(
            f"unknown setting {origin.name}={shown(value)}{place}; {cls._hint(origin)}"
        )

    @classmethod
    def _hint(cls, origin: Origin) -> str:
        return _nearest(origin.name, map(cls._variable, cls.model_fields))

    @classmethod
    def _translated(cls, error: ValidationError) -> SettingsError:
        return SettingsError("; ".join(map(cls._problem, error.errors())))

    @classmethod
    def _problem(cls, problem: ErrorDetails) -> str:
        given = problem["input"]
        if not isinstance(given, Setting):
            given = Setting(given, cls._in_code(*problem["loc"]))
        match problem:
            case {"type": "value_error", "ctx": {"error": message}}:
                return f"{given.origin.blamed} {message}"
            case {"type": "extra_forbidden"}:
                return str(cls._unknown(given.origin, given.value))
            case {"type": "frozen_field"}:
                return (
                    f"{given.origin.blamed} must be given when the settings are made,"
                    f" got {shown(given.value)}"
                )
            case _:
                return (
                    f"{given.origin.blamed} must be settings of single circuits, as"
                    f" BINDU_CB_CIRCUITS__<NAME>__<FIELD>, got {shown(given.value)}"
                )


class CircuitBreakerSettings(_Traced, _Settings):
    """Settings of circuits, `BINDU_CB_*`; beside these, any field of `Policy`.

    Functions and types may be given by dotted names, `package.module:name`, which are imported.

    Attributes:
        enabled: whether the decorators guard calls at all.
        circuits: settings of single circuits, by name. In a variable the name is spelt with
            capitals, and one `_` for whatever is not A to Z or 0 to 9: the circuit
            `api:fetchUser` reads `BINDU_CB_CIRCUITS__API_FETCHUSER__RECOVERY_TIMEOUT`.
        file: a TOML file with settings that neither variables nor code give.

    Raises:
        SettingsError: a variable or key is misspelt, a value is out of range, the file cannot be
            read, or values do not go together.
    """

    model_config = SettingsConfigDict(
        env_prefix="BINDU_CB_", env_file=".env", extra="forbid", validate_assignment=True
    )
    prefix = "BINDU_CB_"

    enabled: bool = False
    failure_threshold: int = 3
    recovery_timeout: float = 30.0
    success_threshold: int = 1
    probe_timeout: float = 60.0
    window_calls: int | None = None
    window_seconds: float | None = None
    failure_rate: float | None = None
    minimum_calls: int = 10
    slow_call_duration: float | None = None
    slow_call_rate: float | None = None
    failure_on: Errors = Exception
    ignore: Errors = ()
    failure_on_result: Callable[[Any], bool] | None = None
    failure_on_cancel: bool = False
    classify: Callable[[Any], Failure | Outcome | None] | None = None
    recovery_factor: float = 1.0
    max_recovery_timeout: float | None = None
    recovery_jitter: float = 0.0
    recovery_from: Callable[[BaseException], float | None] | None = None
    probes: int | None = None
    probe_failure_rate: float | None = None
    half_open_timeout: float | None = None
    ramp: float | None = None
    ramp_start: float = 0.1
    throttle: float | None = None
    throttle_seconds: float = 120.0
    throttle_floor: float = 0.05
    retry_budget: float | None = None
    retry_budget_seconds: float = 10.0
    retry_budget_minimum: int = 3
    timeout: float | None = None
    circuits: dict[str, CircuitOverrides] = {}
    file: Path | None = Field(None, frozen=True)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        conflicts: dict[str, str] = {}
        for name in (None, *self.circuits):
            try:
                self._policy(name)
            except ValueError as error:  # what a circuit inherits is told only once
                conflicts.setdefault(str(error), _called(name))
        if conflicts:
            raise SettingsError("; ".join(f"{who}: {what}" for what, who in conflicts.items()))

    @field_validator(*FIELDS, mode="plain")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        return read_field(info.field_name, _value(value))

    @field_validator("enabled", mode="plain")
    @classmethod
    def _read_enabled(cls, value: object) -> bool:
        return read_switch(_value(value))

    @field_validator("file", mode="plain")
    @classmethod
    def _read_file(cls, value: object) -> Path | None:
        file = _value(value)
        return None if is_none(file) else Path(str(file))

    @classmethod
    def _sources(
        cls,
        code: PydanticBaseSettingsSource,
        environment: PydanticBaseSettingsSource,
        dotenv: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        layers = [_told(code(), cls._in_code), cls._tables(environment), cls._tables(dotenv)]
        file = next((layer["file"] for layer in layers if "file" in layer), None)
        if file is not None and not is_none(file.value):
            layers.append(cls._from_file(file))
        return tuple(_Given(cls, layer) for layer in layers)

    @classmethod
    def _tables(cls, source: PydanticBaseSettingsSource) -> dict[str, Any]:
        """Return variables as nested tables, as a TOML file has them."""
        tables: dict[str, Any] = {}
        for setting in cls._variables(source):
            *path, last = setting.origin.name.removeprefix(cls.prefix).lower().split("__")
            table = tables
            for key in path:
                table = table.setdefault(key, {})
            table[last] = setting
        return tables

    @classmethod
    def _from_file(cls, file: Setting) -> dict[str, Any]:
        try:
            with Path(file.value).open("rb") as toml:
                content = tomllib.load(toml)
        except (OSError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{file.origin.blamed} must be a TOML file that can be read,"
                f" got {shown(file.value)} ({error})"
            ) from None

        def in_file(*path: str) -> Origin:
            return Origin(Layer.FILE, toml_key(*path), str(file.value))

        if "file" in content:  # else it would be taken for the setting of that name
            raise cls._unknown(in_file("file"), content["file"])
        return _told(content, in_file)

    @classmethod
    def _is_known(cls, variable: str) -> bool:
        if variable == "BINDU_CB_CIRCUITS":
            return False
        return super()._is_known(variable) or OVERRIDE.fullmatch(variable) is not None

    @classmethod
    def _hint(cls, origin: Origin) -> str:
        if origin.layer is Layer.FILE:
            table, _, key = origin.name.rpartition(".")
            return _nearest(key, FIELDS if table else ("enabled", *FIELDS, "circuits"))
        if origin.name.startswith("BINDU_CB_CIRC"):
            return (
                "a single circuit's settings are BINDU_CB_CIRCUITS__<NAME>__<FIELD>, with NAME in"
                " capitals and digits, one _ for whatever else is in it, and FIELD one of "
                + ", ".join(FIELDS).upper()
            )
        return super()._hint(origin)

    def policy(self, name: str) -> Policy:
        """Return the policy that a new circuit of that name gets.

        Raises:
            SettingsError: values do not go together.
        """
        try:
            return self._policy(name)
        except ValueError as error:
            raise SettingsError(f"{_called(name)}: {error}") from None

    def explain(self, name: str | None = None) -> dict[str, Setting]:
        """Return each field of the policy that a new circuit gets, and where it comes from.

        Args:
            name: the circuit; None: any that has no settings of its own.
        """
        given = self._given_to(name)
        return {field: given.get(field) or self.setting(field) for field in FIELDS}

    def _given_to(self, name: str | None) -> dict[str, Setting]:
        settings = self.given()
        own: dict[str, Setting] = {}
        # Of settings that come from the same place, those under the very name go first.
        for spelling, overrides in sorted(self.circuits.items(), key=lambda own: own[0] == name):
            if name is not None and (spelling == name or spelt(spelling) == spelt(name) != ""):
                for field, setting in overrides.given().items():
                    if field not in own or setting.origin.layer >= own[field].origin.layer:
                        own[field] = setting
        for window, other in (WINDOWS, WINDOWS[::-1]):
            if window in own and own[window].value is not None and other in settings:
                settings[other] = Setting(None, own[window].origin)
        return settings | own

    def _policy(self, name: str | None) -> Policy:
        given = self._given_to(name)
        try:
            return shared_policy(**{field: setting.value for field, setting in given.items()})
        except ValueError as error:
            named = re.findall(r"\w+", str(error))
            origins = [str(setting.origin) for field, setting in given.items() if field in named]
            raise ValueError(f"{error} ({', '.join(origins)})") from None


class _Given(InitSettingsSource):
    """Settings as they are given, by pydantic-settings' leave."""

    def __init__(self, settings_cls: type[BaseSettings], given: dict[str, Any]) -> None:
        super().__init__(settings_cls, {})
        self.given = given

    def __call__(self) -> dict[str, Any]:
        return self.given


def _is_table(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _told(values: Mapping[str, Any], origin: Callable[..., Origin]) -> dict[str, Any]:
    """Return what code or a file gives, each value with its origin."""

    def own(name: str, values: object) -> object:
        if isinstance(values, CircuitOverrides):
            values = {field: getattr(values, field) for field in values.model_fields_set}
        if not _is_table(values):
            return Setting(values, origin("circuits", name))
        return {
            field: Setting(value, origin("circuits", name, field))
            for field, value in values.items()
        }

    told: dict[str, Any] = {key: Setting(value, origin(key)) for key, value in values.items()}
    circuits = values.get("circuits")
    if _is_table(circuits):
        told["circuits"] = {name: own(name, values) for name, values in circuits.items()}
    return told


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    likely = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean {likely[0]}?" if likely else f"there are {', '.join(known)}"


def _called(name: str | None) -> str:
    return "all circuits" if name is None else f"circuit {shown(name)}"


class RetrySettings(_Settings):
    """Settings of the retry decorators, `BINDU_RETRY_*`; waits are seconds, more than 0.

    Raises:
        SettingsError: a variable is misspelt, or a value is out of range.
    """

    model_config = SettingsConfigDict(
        env_prefix="BINDU_RETRY_", env_file=".env", extra="ignore", validate_assignment=True
    )
    prefix = "BINDU_RETRY_"

    worker_max_attempts: Count = 3
    worker_min_wait: Seconds = 1.0
    worker_max_wait: Seconds = 10.0
    storage_max_attempts: Count = 5
    storage_min_wait: Seconds = 0.5
    storage_max_wait: Seconds = 5.0
    scheduler_max_attempts: Count = 3
    scheduler_min_wait: Seconds = 1.0
    scheduler_max_wait: Seconds = 8.0
    api_max_attempts: Count = 4
    api_min_wait: Seconds = 1.0
    api_max_wait: Seconds = 15.0

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for operation in ("worker", "storage", "scheduler", "api"):
            low, high = (getattr(self, f"{operation}_{end}_wait") for end in ("min", "max"))
            if low > high:
                raise SettingsError(
                    f"{self._variable(f'{operation}_min_wait')} must not exceed"
                    f" {self._variable(f'{operation}_max_wait')}, got {low!r} and {high!r}"
                )


class AppSettings:
    """All settings. A group is read from the environment when it is first asked for, so that
    importing the package cannot fail, and may be changed or replaced at any time.
    """

    @cached_property
    def circuit_breaker(self) -> CircuitBreakerSettings:
        """Settings of circuits."""
        return CircuitBreakerSettings()

    @cached_property
    def retry(self) -> RetrySettings:
        """Settings of the retry decorators."""
        return RetrySettings()


app_settings = AppSettings()
