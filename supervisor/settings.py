"""Settings from `BINDU_CB_*` and `BINDU_RETRY_*` variables, from `.env`, or from code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

import pydantic_settings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from supervisor.policy import Policy


def spelt(name: str) -> str:
    """Return a circuit's name as variables spell it, but in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


SpeltName = Annotated[str, AfterValidator(spelt)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

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


class _Settings(BaseSettings):
    """What both groups share: errors in the user's terms, and no variable ignored in silence."""

    prefix: ClassVar[str]
    variable_pattern: ClassVar[str] = r"(?!)"  # of further names that are allowed: none

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self._translated(error) from None
        except pydantic_settings.SettingsError as error:
            raise SettingsError(str(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
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
            cls._check_names(source.env_vars)
        return init_settings, env_settings, dotenv_settings

    @classmethod
    def _check_names(cls, variables: Iterable[str]) -> None:
        prefix = cls.prefix
        known = [prefix + field.upper() for field in cls.model_fields]
        for name in map(str.upper, variables):
            if not name.startswith(prefix) or name in known:
                continue
            if re.fullmatch(cls.variable_pattern, name):
                continue
            likely = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {likely[0]}?" if likely else f"known are {', '.join(known)}"
            raise SettingsError(f"unknown variable {name}: {hint}")

    @classmethod
    def _translated(cls, error: ValidationError) -> SettingsError:
        prefix = cls.prefix
        lines: list[str] = []
        for problem in error.errors():
            path = [str(part) for part in problem["loc"]]
            variable = prefix + "__".join(path).upper()
            allowed = ALLOWED.get(path[-1].rsplit("_", 1)[-1], problem["msg"])
            lines.append(f"{variable} must be {allowed}, got {problem['input']!r}")
        return SettingsError("; ".join(lines))


class CircuitOverrides(BaseModel):
    """Settings of one circuit; a field that is None is inherited from the global settings."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    failure_threshold: Count | None = None
    recovery_timeout: Seconds | None = None
    success_threshold: Count | None = None
    probe_timeout: Seconds | None = None


class CircuitBreakerSettings(_Settings):
    """Settings of circuits, `BINDU_CB_*`.

    Attributes:
        enabled: whether the decorators guard calls at all.
        failure_threshold: consecutive failures that open a circuit, 1 or more.
        recovery_timeout: seconds that it stays open, more than 0.
        success_threshold: successful probes that close it again, 1 or more.
        probe_timeout: seconds after which a running probe counts as failed, more than 0.
        circuits: settings of single circuits, by name. In a variable the name is spelt with
            capitals, and one `_` for whatever is not a letter or digit: the circuit
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
    variable_pattern = (
        rf"BINDU_CB_CIRCUITS__[A-Z0-9]+(_[A-Z0-9]+)*__"
        rf"({'|'.join(CircuitOverrides.model_fields).upper()})"
    )

    enabled: bool = False
    failure_threshold: Count = 3
    recovery_timeout: Seconds = 30.0
    success_threshold: Count = 1
    probe_timeout: Seconds = 60.0
    circuits: dict[SpeltName, CircuitOverrides] = {}

    def policy(self, name: str) -> Policy:
        """Return the policy that a new circuit of that name gets."""
        own = self.circuits.get(spelt(name), CircuitOverrides())
        values = {field: getattr(own, field) for field in CircuitOverrides.model_fields}
        return Policy(
            **{
                field: getattr(self, field) if value is None else value
                for field, value in values.items()
            }
        )


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
