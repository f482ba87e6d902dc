"""Policies and retries from `BINDU_*` variables, `.env`, a TOML file, or code; and why.

May know policies, and nothing of circuits that run. What needs pydantic is imported when it is
first asked for.

    app          all settings, read when they are first asked for; unset, what holds without any
    circuits     those of circuits; overrides, those of single ones; fields, a policy's fields
    families     which of them are meant for a circuit: by its name, or by a pattern
    switches     what is switched for all circuits at once
    one_file     what one file says of circuits, whatever else is set
    retries      those of the retry decorators
    sources      where they are read from, and what is said of mistakes; error, what is raised
    files        how files are read
    provenance   where each value comes from
    notation     how values are written as text; readers, numbers and words among them; writing, how
                 they are shown
"""

from typing import TYPE_CHECKING

from supervisor.lazily import lazy
from supervisor.settings.app import AppSettings, app_settings
from supervisor.settings.error import SettingsError
from supervisor.settings.families import is_pattern, regex_of, whole_names
from supervisor.settings.notation import (
    Keep,
    Logs,
    check_keep,
    check_space,
    read_switch,
    spelt,
)
from supervisor.settings.unset import Unset

if TYPE_CHECKING:
    from supervisor.settings.circuits import CircuitBreakerSettings
    from supervisor.settings.one_file import SettingsOfFile
    from supervisor.settings.overrides import CircuitOverrides
    from supervisor.settings.provenance import Layer, Origin, Setting
    from supervisor.settings.retries import RetrySettings
    from supervisor.settings.switches import SWITCHES
    from supervisor.settings.writing import written
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "supervisor.settings.circuits": ("CircuitBreakerSettings",),
            "supervisor.settings.one_file": ("SettingsOfFile",),
            "supervisor.settings.overrides": ("CircuitOverrides",),
            "supervisor.settings.provenance": ("Layer", "Origin", "Setting"),
            "supervisor.settings.retries": ("RetrySettings",),
            "supervisor.settings.switches": ("SWITCHES",),
            "supervisor.settings.writing": ("written",),
        },
    )

__all__ = [
    "SWITCHES",
    "AppSettings",
    "CircuitBreakerSettings",
    "CircuitOverrides",
    "Keep",
    "Layer",
    "Logs",
    "Origin",
    "RetrySettings",
    "Setting",
    "SettingsError",
    "SettingsOfFile",
    "Unset",
    "app_settings",
    "check_keep",
    "check_space",
    "is_pattern",
    "read_switch",
    "regex_of",
    "spelt",
    "whole_names",
    "written",
]
