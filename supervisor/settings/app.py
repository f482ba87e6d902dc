"""All settings, read when they are first asked for."""

from __future__ import annotations

from functools import cached_property

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
        return CircuitBreakerSettings()

    @property
    def knows_circuits(self) -> bool:
        """Whether those of circuits have been read, or given."""
        return "circuit_breaker" in vars(self)

    @property
    def knows_retries(self) -> bool:
        """Whether those of the retry decorators have been."""
        return "retry" in vars(self)

    def read(self, retries: bool = False) -> None:
        """Read those of circuits, unless they are known, and those of the retry decorators.

        Raises:
            SettingsError: a variable is misspelt or out of range.
        """
        known = vars(self)
        if not self.knows_circuits:
            read = CircuitBreakerSettings()
            known.setdefault("circuit_breaker", read)  # another thread may have been faster
        if retries and not self.knows_retries:
            known.setdefault("retry", RetrySettings())

    @cached_property
    def retry(self) -> RetrySettings:
        """Settings of the retry decorators."""
        return RetrySettings()


app_settings = AppSettings()
