"""Settings of circuits: `BINDU_CB_*`, a TOML file, or code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import PydanticBaseSettingsSource, SettingsConfigDict

from supervisor.arguments import check_name, shown
from supervisor.policy import WINDOWS, Policy, given_policy
from supervisor.settings.error import SettingsError
from supervisor.settings.families import is_pattern, keys_of, patterns_of
from supervisor.settings.fields import FieldsOfAll
from supervisor.settings.files import ENCODING, read_toml, why
from supervisor.settings.notation import import_field, is_named, is_none, read_field
from supervisor.settings.overrides import FIELDS, OVERRIDE, CircuitOverrides, told
from supervisor.settings.provenance import Layer, Origin, Setting, Traced, value_of
from supervisor.settings.sources import Given, nearest
from supervisor.settings.switches import SWITCHES, Switches
from supervisor.settings.unset import DOTENV, PREFIX
from supervisor.settings.writing import toml_key


class CircuitBreakerSettings(Traced, FieldsOfAll, Switches):  # pyright: ignore[reportIncompatibleVariableOverride]  (`model_config` of both kinds of model)
    """Settings of circuits, `BINDU_CB_*`; beside these, any field of `Policy`.

    Functions and types may be given by dotted names, `package.module:name`, which are imported
    when a policy is first needed, unless they have been already.

    Attributes:
        enabled: whether the decorators guard calls at all.
        keep: where circuits outlive their event loop, if nobody has entered a `Supervisor`:
            "process", in this process; None, nowhere.
        logs: the library that log lines go to: "loguru", or "logging", the standard library's.
        names: what circuits are called that are named after functions: "short", by the function's
            name alone; or "qualified", by its module and qualified name.
        show_failures: whether refusals show the texts of failures, and not only their types: one
            caller's error may hold what another must not see. Logs, figures and events always do.
        sharing_url: where circuits are shared if nobody has entered a `Supervisor`, as
            `RedisSharing` takes it; None: nowhere. It may hold a password, and is never shown.
        sharing_space: who shares with whom there, as `RedisSharing` takes it.
        circuits: settings of single circuits, by name. In a variable the name is spelt with
            capitals, and one `_` for whatever is not A to Z or 0 to 9: the circuit
            `api:fetchUser` reads `BINDU_CB_CIRCUITS__API_FETCHUSER__RECOVERY_TIMEOUT`. In code and
            in a file, `tenant:*` is a family of circuits; `*` stands for any text. What a circuit's
            own settings leave out comes from the longest pattern that it matches, and so on.
        file: a TOML file with settings that neither variables nor code give.

    Raises:
        SettingsError: a variable or key is misspelt, a value is out of range, the file cannot be
            read, or values do not go together.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=DOTENV,
        env_file_encoding=ENCODING,
        extra="forbid",
        validate_assignment=True,
    )
    prefix = PREFIX

    circuits: dict[str, CircuitOverrides] = Field(default_factory=dict[str, CircuitOverrides])
    file: Path | None = Field(None, frozen=True)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        conflicts: dict[str, str] = {}
        for name in (None, *self.circuits):
            try:
                if name is not None:
                    check_name(name)
                _policy_of(self._given_to(name))
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
        layers = [told(code(), cls._in_code), cls._tables(environment), cls._tables(dotenv)]
        file = cls._file_of(layers)
        if file is not None:
            layers.append(cls._from_file(file))
        return tuple(Given(cls, layer) for layer in layers)

    @classmethod
    def _file_of(cls, layers: Iterable[dict[str, Any]]) -> Setting | None:
        """Return where further settings are, if anything says so."""
        found = (layer["file"] for layer in layers if "file" in layer)
        file: Setting | None = next(found, None)
        if file is None or is_none(file.value):
            return None
        if file.origin.layer is not Layer.CODE:
            return file
        value = str(file.value) if isinstance(file.value, Path) else file.value
        return Setting(value, Origin(Layer.CODE, "a file of settings"))  # no variable is to blame

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
            content = read_toml(file.value)
        except (OSError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{file.origin.blamed} must be a TOML file that can be read,"
                f" got {shown(file.value)} ({why(error)})"
            ) from None

        def in_file(*path: str) -> Origin:
            return Origin(Layer.FILE, toml_key(*path), str(file.value))

        if "file" in content:  # else it would be taken for the setting of that name
            raise cls._unknown(in_file("file"), content["file"])
        return told(content, in_file)

    @classmethod
    def _is_known(cls, variable: str) -> bool:
        if variable == "BINDU_CB_CIRCUITS":
            return False
        return super()._is_known(variable) or OVERRIDE.fullmatch(variable) is not None

    @classmethod
    def _hint(cls, origin: Origin) -> str:
        if origin.layer is Layer.FILE:
            table, _, key = origin.name.rpartition(".")
            return nearest(key, FIELDS if table else (*SWITCHES, *FIELDS, "circuits"))
        if is_pattern(origin.name):
            return (
                "no variable is for a family of circuits: let BINDU_CB_FILE name a TOML file, which"
                ' has it as [circuits."tenant:*"], or give it in code'
            )
        if origin.name.startswith("BINDU_CB_CIRC"):
            return (
                "a single circuit's settings are BINDU_CB_CIRCUITS__<NAME>__<FIELD>, with NAME in"
                " capitals and digits, one _ for whatever else is in it, and FIELD one of "
                + ", ".join(FIELDS).upper()
            )
        return super()._hint(origin)

    def policy(self, name: str | None = None) -> Policy:
        """Return the policy that a new circuit of that name gets.

        Args:
            name: the circuit, or a pattern of names; None: any that has no settings of its own.

        Raises:
            SettingsError: values do not go together, or something cannot be imported.
        """
        given = {field: _imported(field, it) for field, it in self._given_to(name).items()}
        try:
            return _policy_of(given)
        except ValueError as error:
            raise SettingsError(f"{_called(name)}: {error}") from None

    def explain(self, name: str | None = None) -> dict[str, Setting]:
        """Return each field of the policy that a new circuit gets, and where it comes from.

        Args:
            name: the circuit, or a pattern of names; None: any that has no settings of its own.
        """
        given = self._given_to(name)
        return {field: given.get(field) or self.setting(field) for field in FIELDS}

    def _given_to(self, name: str | None) -> dict[str, Setting]:
        given = self.given()
        if name is None:
            return given
        for pattern in patterns_of(name, self.circuits):
            given = _over(given, self.circuits[pattern].given())
        own: dict[str, Setting] = {}
        for key in keys_of(name, self.circuits):
            for field, setting in self.circuits[key].given().items():
                if field not in own or setting.origin.layer >= own[field].origin.layer:
                    own[field] = setting
        return _over(given, own)


def _policy_of(given: Mapping[str, Setting]) -> Policy:
    """Return a policy of what is given; what is to be imported yet is left out."""
    values = {field: it.value for field, it in given.items() if not is_named(it.value)}
    try:
        return given_policy("CircuitBreakerSettings", None, values)
    except ValueError as error:
        named = re.findall(r"\w+", str(error))
        origins = [str(setting.origin) for field, setting in given.items() if field in named]
        raise ValueError(f"{error} ({', '.join(origins)})") from None


def _imported(field: str, setting: Setting) -> Setting:
    if not is_named(setting.value):
        return setting
    try:
        return Setting(import_field(field, setting.value), setting.origin)
    except ValueError as error:
        raise SettingsError(f"{setting.origin.blamed} {error}") from None


def _over(inherited: dict[str, Setting], own: dict[str, Setting]) -> dict[str, Setting]:
    """Return what is given to a circuit, of which a window displaces one of the other kind."""
    displaced = {
        other: Setting(None, own[window].origin)
        for window, other in (WINDOWS, WINDOWS[::-1])
        if window in own and own[window].value is not None and other in inherited
    }
    return inherited | displaced | own


def _called(name: str | None) -> str:
    if name is None:
        return "all circuits"
    return f"{'circuits' if is_pattern(name) else 'circuit'} {shown(name)}"
