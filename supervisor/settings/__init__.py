"""Policies and retries from `BINDU_*` variables, `.env`, a TOML file, or code; and why.

May know policies, and nothing of circuits that run.

    app          all settings, read when they are first asked for
    circuits     those of circuits; overrides, those of single ones; fields, a policy's fields
    switches     what is switched for all circuits at once
    one_file     the same, of a file alone
    retries      those of the retry decorators
    families     which of them are meant for a circuit: by its name, or by a pattern
    sources      where they are read from, and what is said of mistakes; files, how files are read
    provenance   where each value comes from
    notation     how values are written as text; readers, numbers and words among them
"""

from supervisor.settings.app import AppSettings, app_settings
from supervisor.settings.circuits import WINDOWS, CircuitBreakerSettings
from supervisor.settings.families import is_pattern, whole_names
from supervisor.settings.notation import Keep, Logs, check_keep, read_switch, spelt, written
from supervisor.settings.one_file import SettingsOfFile
from supervisor.settings.overrides import CircuitOverrides
from supervisor.settings.provenance import Layer, Origin, Setting
from supervisor.settings.retries import RetrySettings
from supervisor.settings.sources import SettingsError
from supervisor.settings.switches import SWITCHES

__all__ = [
    "SWITCHES",
    "WINDOWS",
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
    "app_settings",
    "check_keep",
    "is_pattern",
    "read_switch",
    "spelt",
    "whole_names",
    "written",
]
