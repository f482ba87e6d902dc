"""When a circuit opens, how long it stays open, and what closes it again."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.checks import check_count, check_seconds


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens, how long it stays open, and what closes it again.

    Args:
        failure_threshold: consecutive failures that open the circuit, 1 or more.
        recovery_timeout: seconds that it stays open, more than 0.
        success_threshold: successful probes that close it again, 1 or more.
        probe_timeout: seconds, more than 0, after which a probe that is still running
            counts as failed, so that it cannot hold the circuit half-open for ever.

    Raises:
        TypeError: an argument is not a number of the right kind.
        ValueError: an argument is out of its range, NaN or infinite.
    """

    failure_threshold: int = 3
    recovery_timeout: float = 30.0
    success_threshold: int = 1
    probe_timeout: float = 60.0

    def __post_init__(self) -> None:
        check_count("failure_threshold", self.failure_threshold)
        check_count("success_threshold", self.success_threshold)
        # Settings and callers pass whole seconds too: one type travels on from here.
        for field in ("recovery_timeout", "probe_timeout"):
            object.__setattr__(self, field, check_seconds(field, getattr(self, field)))
