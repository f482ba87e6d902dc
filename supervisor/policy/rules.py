"""What the fields of a policy need of each other: each rule returns what is wrong, or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from supervisor.arguments import shown


def _one_window(policy: Any) -> str | None:
    if policy.window_calls is None or policy.window_seconds is None:
        return None
    return (
        "window_calls and window_seconds exclude each other, got"
        f" {shown(policy.window_calls)} and {shown(policy.window_seconds)}"
    )


def _needs(field: str, needed: str, *any_of: str) -> Callable[[Any], str | None]:
    """Return the rule that `field` needs one of some fields, called `needed`."""

    def rule(policy: Any) -> str | None:
        value = getattr(policy, field)
        if value is None or any(getattr(policy, other) is not None for other in any_of):
            return None
        return f"{field}={shown(value)} needs {needed}"

    return rule


def _minimum_fits(policy: Any) -> str | None:
    rates = policy.failure_rate is not None or policy.slow_call_rate is not None
    if not rates or policy.window_calls is None or policy.window_calls >= policy.minimum_calls:
        return None
    return (
        f"minimum_calls={shown(policy.minimum_calls)} is more than a window of"
        f" window_calls={shown(policy.window_calls)} can ever hold"
    )


def _threshold_fits(policy: Any) -> str | None:
    if policy.window_calls is None or policy.failure_rate is not None:
        return None
    if policy.failure_threshold <= policy.window_calls:
        return None
    return (
        f"failure_threshold={shown(policy.failure_threshold)} is more than a window of"
        f" window_calls={shown(policy.window_calls)} can ever hold"
    )


def _sample_fits(policy: Any) -> str | None:
    if policy.probes_at_once is None or policy.probes_at_once <= policy.probes:
        return None
    return (
        f"probes_at_once={shown(policy.probes_at_once)} is more than there can be by"
        f" probes={shown(policy.probes)}"
    )


def _growth_ends(policy: Any) -> str | None:
    if policy.recovery_factor == 1 or policy.max_recovery_timeout is not None:
        return None
    return f"recovery_factor={shown(policy.recovery_factor)} needs max_recovery_timeout"


def _growth_is_one(policy: Any) -> str | None:
    if policy.recovery_factor == 1 or policy.recovery_schedule is None:
        return None
    return (
        "recovery_factor and recovery_schedule exclude each other, got"
        f" {shown(policy.recovery_factor)} and {shown(policy.recovery_schedule)}"
    )


def _maximum_fits(policy: Any) -> str | None:
    maximum, schedule = policy.max_recovery_timeout, policy.recovery_schedule
    if maximum is None or maximum >= max(schedule or (policy.recovery_timeout,)):
        return None
    field = "recovery_timeout" if schedule is None else "recovery_schedule"
    longer = shown(getattr(policy, field))
    return f"max_recovery_timeout={shown(maximum)} is less than {field}={longer}"


WINDOWS: Final = ("window_calls", "window_seconds")

RULES: Final[tuple[Callable[[Any], str | None], ...]] = (
    _one_window,
    _needs("failure_rate", "window_calls or window_seconds", *WINDOWS),
    _needs("slow_call_rate", "window_calls or window_seconds", *WINDOWS),
    _needs("slow_call_rate", "slow_call_duration", "slow_call_duration"),
    _needs("failures_in_a_row", "window_calls or window_seconds", *WINDOWS),
    _needs("probe_failure_rate", "probes", "probes"),
    _needs("probes_at_once", "probe_failure_rate", "probe_failure_rate"),
    _minimum_fits,
    _threshold_fits,
    _sample_fits,
    _growth_ends,
    _growth_is_one,
    _maximum_fits,
)
"""Each takes a policy, whose fields have been checked one by one."""
