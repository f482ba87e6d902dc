"""All settings, read when they are first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from supervisor.settings.unset import UNSET, Unset, may_be_set

if TYPE_CHECKING:
    from supervisor.settings.circuits import CircuitBreakerSettings
    from supervisor.settings.retries import RetrySettings


class AppSettings:
    """All settings. A group is read from the environment when it is first asked for, so that
    importing the package cannot fail, and may be changed or replaced at any time.
    """

    def __reduce__(self) -> str:
        return "app_settings"  # functions that are sent elsewhere go by the settings there

    @cached_property
    def circuit_breaker(self) -> CircuitBreakerSettings:
        """Settings of circuits."""
        from supervisor.settings.circuits import CircuitBreakerSettings  # noqa: PLC0415  (takes long)

        return CircuitBreakerSettings()

    @property
    def knows_circuits(self) -> bool:
        """Whether those of circuits have been read, or given."""
        return "circuit_breaker" in vars(self)

    @property
    def of_running_circuits(self) -> CircuitBreakerSettings | Unset:
        """What running circuits ask for of them, which are read only if there are any.

        Raises:
            SettingsError: a `BINDU_CB_*` variable is misspelt or out of range.
        """
        return self.circuit_breaker if self.knows_circuits or self._may_be_set else UNSET

    @cached_property
    def _may_be_set(self) -> bool:
        return may_be_set()

    @cached_property
    def retry(self) -> RetrySettings:
        """Settings of the retry decorators."""
        from supervisor.settings.retries import RetrySettings  # noqa: PLC0415  (likewise)

        return RetrySettings()


app_settings = AppSettings()
