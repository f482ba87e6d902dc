"""Settings from `BINDU_CB_*` and `BINDU_RETRY_*` variables, from `.env`, or from code."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from supervisor.checks import shown
from supervisor.policy import Policy


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a bool is no number")
    return value


Count = Annotated[int, Field(ge=1), BeforeValidator(_no_bool)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_bool)]

ALLOWED: Mapping[str, str] = {
    "enabled": "true or false",
    "threshold": "a whole number of at least 1",
    "attempts": "a whole number of at least 1",
    "timeout": "a finite number of seconds above 0",
    "wait": "a finite number of seconds above 0",
    "circuits": "settings of single circuits, as BINDU_CB_CIRCUITS__<NAME>__<FIELD>",
}
"""What a setting may be, by the last word of its name."""


class SettingsError(ValueError):
    """A variable is misspelt, or a value is out of range; the text names both."""


class CircuitOverrides(BaseModel):
    """Settings of one circuit; a field that is None is inherited from the global settings."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    failure_threshold: Count | None = None
    recovery_timeout: Seconds | None = None
    success_threshold: Count | None = None
    probe_timeout: Seconds | None = None


OVERRIDE: Final = re.compile(
    rf"BINDU_CB_CIRCUITS__[A-Z0-9]+(_[A-Z0-9]+)*__({'|'.join(CircuitOverrides.model_fields)})",
    re.IGNORECASE,
)


_OPTIONS: Final = frozenset(inspect.signature(BaseSettings.__init__).parameters)
"""Arguments of pydantic-settings' own, such as `_env_file`."""


class _Settings(BaseSettings):
    """What both groups share: errors in the user's terms, and nothing ignored in silence."""

    prefix: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if name not in type(self).model_fields and name not in _OPTIONS:
                raise self._unknown(self._variable(name), value)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self._translated(error) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise self._unknown(self._variable(name), value)
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
            assert isinstance(source, EnvSettingsSource)
            for variable, value in source.env_vars.items():
                if variable.upper().startswith(cls.prefix) and not cls._is_known(variable.upper()):
                    raise cls._unknown(variable.upper(), value)
        return init_settings, env_settings, dotenv_settings

    @classmethod
    def _variable(cls, *path: object) -> str:
        return cls.prefix + "__".join(map(str, path)).upper()

    @classmethod
    def _is_known(cls, variable: str) -> bool:
        return variable in map(cls._variable, cls.model_fields)

    @classmethod
    def _unknown(cls, variable: str, value: object) -> SettingsError:
        known = list(map(cls._variable, cls.model_fields))
        likely = difflib.get_close_matches(variable, known, n=1, cutoff=0.8)
        hint = f"did you mean {likely[0]}?" if likely else f"there are {', '.join(known)}"
        if variable.startswith("BINDU_CB_CIRC"):
            hint = (
                "a single circuit's settings are BINDU_CB_CIRCUITS__<NAME>__<FIELD>, with NAME in"
                " capitals and digits, one _ for whatever else is in it, and FIELD one of "
                + ", ".join(CircuitOverrides.model_fields).upper()
            )
        return SettingsError(f"unknown setting {variable}={shown(value)}; {hint}")

    @classmethod
    def _translated(cls, error: ValidationError) -> SettingsError:
        return SettingsError("; ".join(str(cls._problem(problem)) for problem in error.errors()))

    @classmethod
    def _problem(cls, problem: ErrorDetails) -> SettingsError:
        variable, value = cls._variable(*problem["loc"]), problem["input"]
        if problem["type"] == "extra_forbidden":
            return cls._unknown(variable, value)
        kind = str(problem["loc"][-1]).rsplit("_", 1)[-1]
        return SettingsError(
            f"{variable} must be {ALLOWED.get(kind, ALLOWED['circuits'])}, got {shown(value)}"
        )


class CircuitBreakerSettings(_Settings):
    """Settings of circuits, `BINDU_CB_*`.

    Attributes:
        enabled: whether the decorators guard calls at all.
        failure_threshold: consecutive failures that open a circuit, 1 or more.
        recovery_timeout: seconds that it stays open, more than 0.
        success_threshold: successful probes that close it again, 1 or more.
        probe_timeout: seconds after which a running probe counts as failed, more than 0.
        circuits: settings of single circuits, by name. In a variable the name is spelt with
            capitals, and one `_` for whatever is not A to Z or 0 to 9: the circuit
            `api:fetchUser` reads `BINDU_CB_CIRCUITS__API_FETCHUSER__RECOVERY_TIMEOUT`.

    Raises:
        SettingsError: a variable is misspelt, or a value is out of range.
    """

    model_config = SettingsConfigDict(
        env_prefix="BINDU_CB_",
        env_file=".env",
        env_nested_delimiter="__",
        extra="ignore",
        validate_assignment=True,
    )
    prefix = "BINDU_CB_"

    enabled: bool = False
    failure_threshold: Count = 3
    recovery_timeout: Seconds = 30.0
    success_threshold: Count = 1
    probe_timeout: Seconds = 60.0
    circuits: dict[str, CircuitOverrides] = {}

    @classmethod
    def _is_known(cls, variable: str) -> bool:
        if variable == "BINDU_CB_CIRCUITS":
            return False
        return super()._is_known(variable) or OVERRIDE.fullmatch(variable) is not None

    def policy(self, name: str) -> Policy:
        """Return the policy that a new circuit of that name gets."""
        own = {
            field: value
            for spelling, overrides in sorted(self.circuits.items(), key=lambda own: own[0] == name)
            if spelling == name or spelt(spelling) == spelt(name) != ""
            for field, value in overrides
            if value is not None
        }
        fields = CircuitOverrides.model_fields
        return Policy(**{field: own.get(field, getattr(self, field)) for field in fields})


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


def spelt(name: str) -> str:
    """Return a circuit's name as variables spell it, but in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
