"""TODO"""

from supervisor.settings.notation import Setting, read_switch, spelt, written
from supervisor.settings.settings import (
    CircuitBreakerSettings,
    CircuitOverrides,
    RetrySettings,
    SettingsError,
    app_settings,
)

__all__ = [
    "CircuitBreakerSettings",
    "CircuitOverrides",
    "RetrySettings",
    "Setting",
    "SettingsError",
    "app_settings",
    "read_switch",
    "spelt",
    "written",
]
