"""Settings of circuits: `BINDU_CB_*`, a TOML file, or code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_settings import PydanticBaseSettingsSource, SettingsConfigDict

from supervisor.arguments import shown
from supervisor.policy import KINDS, OPTIONAL, Policy, given_policy
from supervisor.settings.fields import FieldsOfAll, FieldsOfOne
from supervisor.settings.notation import is_none, read_field, read_switch, spelt, toml_key
from supervisor.settings.provenance import Layer, Origin, Setting, Traced, is_table, value_of
from supervisor.settings.sources import Given, SettingsError, SettingsGroup, nearest

FIELDS: Final = tuple(KINDS)
WINDOWS: Final = ("window_calls", "window_seconds")


class CircuitOverrides(Traced, FieldsOfOne):
    """Settings of one circuit: any field of `Policy`.

    A field that is left out is inherited from the global settings. None is the same, but for
    fields that are None in a `Policy` to say that a part of it is not there.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    @field_validator("*", mode="plain")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        value = value_of(value)
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


class _Switched(SettingsGroup):
    """What is first among the settings of circuits."""

    enabled: bool = False

    @field_validator("enabled", mode="plain")
    @classmethod
    def _read_enabled(cls, value: object) -> bool:
        return read_switch(value_of(value))


class CircuitBreakerSettings(Traced, FieldsOfAll, _Switched):  # pyright: ignore[reportIncompatibleVariableOverride]  (`model_config` of both kinds of model)
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

    circuits: dict[str, CircuitOverrides] = Field(default_factory=dict[str, CircuitOverrides])
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

    @field_validator(*FIELDS, mode="plain", check_fields=False)
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        return read_field(info.field_name, value_of(value))

    @field_validator("file", mode="plain")
    @classmethod
    def _read_file(cls, value: object) -> Path | None:
        file = value_of(value)
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
        return tuple(Given(cls, layer) for layer in layers)

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
            return nearest(key, FIELDS if table else ("enabled", *FIELDS, "circuits"))
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
            return given_policy(
                "CircuitBreakerSettings",
                None,
                {field: setting.value for field, setting in given.items()},
            )
        except ValueError as error:
            named = re.findall(r"\w+", str(error))
            origins = [str(setting.origin) for field, setting in given.items() if field in named]
            raise ValueError(f"{error} ({', '.join(origins)})") from None


def _told(values: Mapping[str, Any], origin: Callable[..., Origin]) -> dict[str, Any]:
    """Return what code or a file gives, each value with its origin."""

    def own(name: str, values: object) -> object:
        if isinstance(values, CircuitOverrides):
            values = {field: getattr(values, field) for field in values.model_fields_set}
        if not is_table(values):
            return Setting(values, origin("circuits", name))
        return {
            field: Setting(value, origin("circuits", name, field))
            for field, value in values.items()
        }

    told: dict[str, Any] = {key: Setting(value, origin(key)) for key, value in values.items()}
    circuits = values.get("circuits")
    if is_table(circuits):
        told["circuits"] = {name: own(name, values) for name, values in circuits.items()}
    return told


def _called(name: str | None) -> str:
    return "all circuits" if name is None else f"circuit {shown(name)}"
