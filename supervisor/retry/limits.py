"""How often a loop tries, and how long it waits: what is given, or what the settings say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from supervisor.arguments import check_choice, check_count, check_seconds, shown
from supervisor.settings import app_settings

OperationType = Literal["worker", "storage", "scheduler", "api"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How often and how long is retried, as far as it is given; the rest comes from settings."""

    operation_type: OperationType
    max_attempts: int | None
    min_wait: float | None
    max_wait: float | None
    deadline: float | None

    def __post_init__(self) -> None:
        check_choice("operation_type", self.operation_type, get_args(OperationType))
        if self.max_attempts is not None:
            check_count("max_attempts", self.max_attempts)
        check_waits(self.min_wait, self.max_wait)
        check_deadline(self.deadline)

    def now(self) -> tuple[int, float, float]:
        """Return attempts, shortest and longest wait by the settings that there are now."""
        settings, own = app_settings.retry, self.operation_type
        low = self.min_wait or getattr(settings, f"{own}_min_wait")
        high = self.max_wait or getattr(settings, f"{own}_max_wait")
        return self.max_attempts or getattr(settings, f"{own}_max_attempts"), low, high


def check_deadline(deadline: float | None) -> None:
    """Refuse what is no number of seconds for a loop, if it is given."""
    if deadline is not None:
        check_seconds("deadline", deadline)


def check_waits(min_wait: float | None, max_wait: float | None, hint: str = "") -> None:
    """Refuse waits, as far as they are given, that are none or exclude each other."""
    if min_wait is not None:
        check_seconds("min_wait", min_wait)
    if max_wait is not None:
        check_seconds("max_wait", max_wait)
    if min_wait is not None and max_wait is not None and min_wait > max_wait:
        raise ValueError(
            f"min_wait must not exceed max_wait, got {shown(min_wait)} and {shown(max_wait)}{hint}"
        )
