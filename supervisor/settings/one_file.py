"""Settings of one file alone: what a command is to look at, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource, SettingsConfigDict

from supervisor.settings.circuits import CircuitBreakerSettings
from supervisor.settings.provenance import Layer, Origin, Setting


class SettingsOfFile(CircuitBreakerSettings):
    """Settings that a TOML file gives, whatever variables and `.env` say.

    Raises:
        SettingsError: see `CircuitBreakerSettings`.
    """

    model_config = SettingsConfigDict(env_file=None)

    def __init__(self, file: Path) -> None:
        super().__init__(file=str(file))

    @classmethod
    def _variables(cls, source: PydanticBaseSettingsSource) -> Iterable[Setting]:
        return ()

    @classmethod
    def _file_of(cls, layers: Iterable[dict[str, Any]]) -> Setting | None:
        """Return the file, whatever it is called; no variable is to blame for it."""
        (given,) = (layer["file"].value for layer in layers if "file" in layer)
        return Setting(given, Origin(Layer.CODE, "a file of policies"))
