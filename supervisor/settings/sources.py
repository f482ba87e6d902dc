"""Where settings are read from, and what is said of mistakes in them: in the user's terms."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from supervisor.arguments import shown
from supervisor.settings.error import SettingsError
from supervisor.settings.files import why
from supervisor.settings.provenance import Layer, Origin, Setting

_OPTIONS: Final = ("_env_file", "_env_file_encoding")
"""Arguments of pydantic-settings' own that mean something here."""

_REFUSED: Final = inspect.signature(BaseSettings.__init__).parameters.keys() - _OPTIONS
"""Others, such as `_env_prefix`, which would be ignored."""


class SettingsGroup(BaseSettings):
    """What both groups share: errors in the user's terms, and nothing ignored in silence."""

    prefix: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if name in _REFUSED:
                raise SettingsError(
                    f"{name}={shown(value)} cannot be given; there are {', '.join(_OPTIONS)}"
                )
            if name not in type(self).model_fields and name not in _OPTIONS:
                raise self._unknown(self._in_code(name), value)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self._translated(error) from None
        except (OSError, UnicodeError, LookupError) as error:  # it reads nothing else by itself
            files = _files(values.get("_env_file", self.model_config.get("env_file")))
            raise SettingsError(
                f"{files} must be a file that can be read, with a variable a line ({why(error)})"
            ) from None

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
        """Return what settings are read from, as pydantic-settings asks for it."""
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
            layer, file = Layer.DOTENV, _files(source.env_file)
        for name, value in source.env_vars.items():
            if layer is Layer.DOTENV and "\0" in name:
                raise SettingsError(f"{file} must be in UTF-8: save it as that")
            if name.upper().startswith(cls.prefix):
                yield Setting(value or "", Origin(layer, name.upper(), file))

    @classmethod
    def variable(cls, *path: object) -> str:
        """Return the variable that sets a field."""
        return cls.prefix + "__".join(map(str, path)).upper()

    @classmethod
    def _in_code(cls, *path: object) -> Origin:
        return Origin(Layer.CODE, cls.variable(*path))  # errors name the variable all the same

    @classmethod
    def _is_known(cls, variable: str) -> bool:
        return variable in map(cls.variable, cls.model_fields)

    @classmethod
    def _unknown(cls, origin: Origin, value: object) -> SettingsError:
        place = origin.blamed.removeprefix(origin.name)
        text = shown(value)
        if "://" in text:
            text = "..."  # a URL may hold a password
        return SettingsError(f"unknown setting {origin.name}={text}{place}; {cls._hint(origin)}")

    @classmethod
    def _hint(cls, origin: Origin) -> str:
        return nearest(origin.name, map(cls.variable, cls.model_fields))

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


def _files(given: object) -> str:
    """Return what errors and origins call a file with variables, or several."""
    return " or ".join(map(str, given if isinstance(given, list | tuple) else [given]))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


class Given(InitSettingsSource):
    """Settings as they are given, by pydantic-settings' leave."""

    def __init__(self, settings_cls: type[BaseSettings], given: dict[str, Any]) -> None:
        super().__init__(settings_cls, {})
        self.given = given

    def __call__(self) -> dict[str, Any]:
        """Return them, as pydantic-settings asks for them."""
        return self.given


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the name that was meant, or at all that there are."""
    known = list(known)
    likely = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean {likely[0]}?" if likely else f"there are {', '.join(known)}"
