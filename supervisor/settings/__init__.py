"""Policies and retries from `BINDU_*` variables, `.env`, a TOML file, or code; and why.

May know policies, and nothing of circuits that run.

    app          all settings, read when they are first asked for
    circuits     those of circuits; fields, the fields of a policy as settings
    retries      those of the retry decorators
    sources      where they are read from, and what is said of mistakes
    provenance   where each value comes from
    notation     how values are written as text
"""

from supervisor.settings.app import AppSettings, app_settings
from supervisor.settings.circuits import WINDOWS, CircuitBreakerSettings, CircuitOverrides
from supervisor.settings.notation import read_switch, spelt, written
from supervisor.settings.provenance import Layer, Origin, Setting
from supervisor.settings.retries import RetrySettings
from supervisor.settings.sources import SettingsError

__all__ = [
    "WINDOWS",
    "AppSettings",
    "CircuitBreakerSettings",
    "CircuitOverrides",
    "Layer",
    "Origin",
    "RetrySettings",
    "Setting",
    "SettingsError",
    "app_settings",
    "read_switch",
    "spelt",
    "written",
]
