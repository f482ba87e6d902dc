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
        return _circuits()

    @property
    def knows_circuits(self) -> bool:
        """Whether those of circuits have been read, or given."""
        return "circuit_breaker" in vars(self)

    @property
    def knows_retries(self) -> bool:
        """Whether those of the retry decorators have been."""
        return "retry" in vars(self)

    @property
    def knows_all(self) -> bool:
        """Whether all have been."""
        known = vars(self)
        return "retry" in known and "circuit_breaker" in known

    @property
    def knows_running_circuits(self) -> bool:
        """Whether `of_running_circuits` says what it does without reading any files."""
        return self.knows_circuits or not self._may_be_set

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

    def read(self, retries: bool = False) -> None:
        """Read those of circuits, unless they are known, and those of the retry decorators.

        Raises:
            SettingsError: a variable is misspelt or out of range.
        """
        known = vars(self)
        if not self.knows_circuits:
            known.setdefault("circuit_breaker", _circuits())  # another thread may have been faster
        if retries and not self.knows_retries:
            known.setdefault("retry", _retries())

    def read_of_running_circuits(self) -> None:
        """Read what running circuits ask for, unless it is known.

        Raises:
            SettingsError: a `BINDU_CB_*` variable is misspelt or out of range.
        """
        if self._may_be_set:
            self.read()

    @cached_property
    def retry(self) -> RetrySettings:
        """Settings of the retry decorators."""
        return _retries()


def _circuits() -> CircuitBreakerSettings:
    from supervisor.settings.circuits import CircuitBreakerSettings  # noqa: PLC0415  (takes long)

    return CircuitBreakerSettings()


def _retries() -> RetrySettings:
    from supervisor.settings.retries import RetrySettings  # noqa: PLC0415  (likewise)

    return RetrySettings()


app_settings = AppSettings()
