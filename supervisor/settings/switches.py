"""What is switched for all circuits at once: no fields of a policy."""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr, field_validator

from supervisor.settings.notation import (
    Keep,
    Logs,
    Names,
    is_none,
    read_keep,
    read_logs,
    read_names,
    read_space,
    read_switch,
)
from supervisor.settings.provenance import value_of
from supervisor.settings.sources import SettingsGroup
from supervisor.settings.unset import UNSET


class Switches(SettingsGroup):
    """What is first among the settings of circuits; see `CircuitBreakerSettings`."""

    enabled: bool = False
    keep: Keep | None = UNSET.keep
    logs: Logs = UNSET.logs
    names: Names = "short"
    show_failures: bool = UNSET.show_failures
    sharing_url: SecretStr | None = None
    sharing_space: str = "default"

    @field_validator("names", mode="plain")
    @classmethod
    def _read_names(cls, value: object) -> Names:
        return read_names(value_of(value))

    @field_validator("logs", mode="plain")
    @classmethod
    def _read_logs(cls, value: object) -> Logs:
        return read_logs(value_of(value))

    @field_validator("keep", mode="plain")
    @classmethod
    def _read_keep(cls, value: object) -> Keep | None:
        return read_keep(value_of(value))

    @field_validator("enabled", "show_failures", mode="plain")
    @classmethod
    def _read_switch(cls, value: object) -> bool:
        return read_switch(value_of(value))

    @field_validator("sharing_url", mode="plain")
    @classmethod
    def _read_sharing_url(cls, value: object) -> SecretStr | None:
        given = value_of(value)
        if isinstance(given, SecretStr):
            return given
        if is_none(given) or given == "":
            return None
        if not isinstance(given, str):
            raise ValueError("must be a URL, or none; what it is, is not shown")
        return SecretStr(given)

    @field_validator("sharing_space", mode="plain")
    @classmethod
    def _read_sharing_space(cls, value: object) -> str:
        return read_space(value_of(value))


SWITCHES: Final = tuple(Switches.model_fields)
