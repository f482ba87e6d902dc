"""What a policy says in one sentence, and what is risky about its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from supervisor.machine import seconds_to_unthrottle
from supervisor.policy import Policy
from supervisor.settings import RetrySettings

BY_CHANCE: Final = 2
"""Failures in a row that come by chance where many calls are made."""

SHORT_PROBE: Final = 1.0
"""Seconds that many a healthy call takes."""

SLOW_THROTTLE: Final = 5.0
"""How many times `throttle_seconds` it may take until a throttle admits all again."""

OPERATIONS: Final = ("worker", "storage", "scheduler", "api")


def explained(policy: Policy) -> str:
    """Return what a circuit of that policy does, in one sentence."""
    initial = policy.initial_state
    by_hand = "" if initial in ("closed", "open") else ", until it is released"
    begins = "" if initial == "closed" else f"Begins {initial}{by_hand}. "
    warm_up = "" if policy.warm_up is None else f" (not in the first {_seconds(policy.warm_up)})"
    return f"{begins}Opens {_when(policy)}{warm_up}, for {_times_open(policy)}; {_back(policy)}."


def _when(policy: Policy) -> str:
    if policy.window_calls is not None:
        window = f"the last {policy.window_calls:,} calls"
    elif policy.window_seconds is not None:
        window = f"the last {_seconds(policy.window_seconds)}"
    else:
        return f"after {_times(policy.failure_threshold, 'failure')} in a row"
    reasons = [f"after {_times(policy.failure_threshold, 'failure')}"]
    if policy.failure_rate is not None:
        reasons = [f"when {_percent(policy.failure_rate)} of the calls have failed"]
    if policy.slow_call_rate is not None:
        reasons.append(f"when {_percent(policy.slow_call_rate)} of them were slow")
    rates = policy.failure_rate is not None or policy.slow_call_rate is not None
    least = f", {policy.minimum_calls:,} at least" if rates else ""
    row = policy.failures_in_a_row
    row_too = "" if row is None else f"; or after {_times(row, 'failure')} in a row"
    return f"{' or '.join(reasons)} in {window}{least}{row_too}"


def _times_open(policy: Policy) -> str:
    if policy.recovery_schedule is not None:
        return ", then ".join(map(_seconds, policy.recovery_schedule))
    seconds = _seconds(policy.recovery_timeout)
    if policy.recovery_factor == 1 or policy.max_recovery_timeout is None:
        return seconds
    return f"{seconds} (growing to {_seconds(policy.max_recovery_timeout)})"


def _shortest_open(policy: Policy) -> tuple[str, float]:
    """Return for how long it is open at least, and the field that says so."""
    if policy.recovery_schedule is None:
        return "recovery_timeout", policy.recovery_timeout
    return "recovery_schedule", min(policy.recovery_schedule)


def _back(policy: Policy) -> str:
    if policy.probe_failure_rate is not None:
        limit = policy.probes_at_once
        at_once = "" if limit is None else f", {limit:,} at once"
        return (
            f"closes unless {_percent(policy.probe_failure_rate)} of"
            f" {_times(policy.probes or 1, 'probe')} fail{at_once}"
        )
    one = policy.success_threshold == 1
    return (
        f"{_times(policy.success_threshold, 'successful probe')} {'closes' if one else 'close'} it"
    )


def risks(policy: Policy) -> list[str]:
    """Return what may work against whoever has such a policy, each with a hint."""
    return [*_of_opening(policy), *_of_recovery(policy), *_of_hints(policy)]


def _of_opening(policy: Policy) -> Iterator[str]:
    windowed = policy.window_calls is not None or policy.window_seconds is not None
    threshold, row = policy.failure_threshold, policy.failures_in_a_row
    if not windowed and threshold <= BY_CHANCE:
        yield (
            f"failure_threshold={threshold} without a window: under heavy traffic so few failures"
            " in a row come by chance; use a window with failure_rate, or a higher threshold"
        )
    if row is not None and row <= BY_CHANCE:
        yield (
            f"failures_in_a_row={row}: under heavy traffic so few failures in a row come by"
            " chance; use a higher number"
        )
    by_number = policy.window_calls is not None and policy.failure_rate is None
    if row is not None and by_number and row >= threshold:
        yield (
            f"failures_in_a_row={row} never decides: failure_threshold={threshold} failures among"
            " the last calls come first; use failure_rate, or a lower number"
        )
    if policy.window_seconds is not None and policy.failure_rate is None:
        yield (
            f"failure_threshold={threshold} in a window of seconds: under heavy traffic a small"
            " share of failures opens the circuit; use failure_rate"
        )
    field, shortest = _shortest_open(policy)
    if policy.timeout is not None and shortest < policy.timeout:
        yield (
            f"{field}={shortest:g} is less than timeout={policy.timeout:g}:"
            " probes begin while calls from before still run; make it longer"
        )


def _of_recovery(policy: Policy) -> Iterator[str]:
    usual = policy.timeout or policy.slow_call_duration or SHORT_PROBE
    if policy.probe_timeout < usual:
        yield (
            f"probe_timeout={policy.probe_timeout:g} is less than {usual:g} s, which usual calls"
            " may take: then no probe ever succeeds; make it longer"
        )
    needed, within = _probes_needed(policy), policy.half_open_timeout
    if within is not None and within < usual:
        yield (
            f"half_open_timeout={within:g} is less than {usual:g} s, which usual calls may take:"
            " then no probe ever succeeds; make it longer"
        )
    elif within is not None and needed > 1:
        yield (
            f"half_open_timeout={within:g} is for {needed:,} probes: with fewer than"
            f" {_number(needed / within)} calls a second, or slower ones, the circuit never closes;"
            " make it longer, or leave it out"
        )
    seconds = seconds_to_unthrottle(policy)
    if seconds > SLOW_THROTTLE * policy.throttle_seconds:
        yield (
            f"throttle={policy.throttle:g} counts refusals as requests: it admits all calls of a"
            f" healthy server only after about {_seconds(seconds)}; use 1.5 or more"
        )


def _probes_needed(policy: Policy) -> int:
    if policy.probe_failure_rate is not None:
        return policy.probes or 1
    return policy.success_threshold


def _of_hints(policy: Policy) -> Iterator[str]:
    tells = [name for name in ("recovery_from", "classify") if getattr(policy, name) is not None]
    if tells and policy.max_retry_after is None:
        yield (
            f"{' and '.join(tells)} without max_retry_after: a server may ask for any time; give"
            " the longest one that you can bear"
        )


def risks_of_retries(retries: RetrySettings, policy: Policy) -> list[str]:
    """Return what is risky about retries of circuits that have such a policy."""
    field, shortest = _shortest_open(policy)
    longest = {name: getattr(retries, f"{name}_max_wait") for name in OPERATIONS}
    return [
        f"{name}_max_wait={wait:g} is more than {field}={shortest:g}: a"
        " retry waits longer than the circuit is open; make one shorter or the other longer"
        for name, wait in longest.items()
        if wait > shortest
    ]


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"


def _seconds(seconds: float) -> str:
    return f"{_number(seconds)} s"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
