"""The fields of a policy as settings, for all circuits and for one.

Written by `make generated`; do not edit.
"""

from __future__ import annotations

from pydantic import BaseModel

from supervisor.policy import (
    Count,
    CountFromZero,
    Factor,
    Failures,
    Few,
    Flag,
    JudgeOfBoth,
    JudgeOfResults,
    JudgeOfTime,
    Requests,
    Schedule,
    Seconds,
    Share,
    ShareFromZero,
    SomeErrors,
    State,
    TimeLimit,
    WindowCalls,
    WindowSeconds,
)


class FieldsOfAll(BaseModel):
    """What circuits have that have no settings of their own."""

    failure_threshold: Count = 3
    recovery_timeout: Seconds = 30.0
    success_threshold: Count = 1
    probe_timeout: Seconds = 60.0
    window_calls: WindowCalls | None = None
    window_seconds: WindowSeconds | None = None
    failure_rate: Share | None = None
    minimum_calls: Count = 10
    failures_in_a_row: Count | None = None
    slow_call_duration: Seconds | None = None
    slow_call_rate: Share | None = None
    warm_up: Seconds | None = None
    failure_on: Failures = Exception
    ignore: SomeErrors = ()
    failure_on_result: JudgeOfResults | None = None
    failure_on_cancel: Flag = False
    classify: JudgeOfBoth | None = None
    keep_failures: Few | None = None
    recovery_schedule: Schedule | None = None
    recovery_factor: Factor = 1.0
    max_recovery_timeout: Seconds | None = None
    recovery_jitter: ShareFromZero = 0.0
    recovery_from: JudgeOfTime | None = None
    max_retry_after: TimeLimit | None = None
    probes: Count | None = None
    probe_failure_rate: Share | None = None
    probes_at_once: Count | None = None
    half_open_timeout: Seconds | None = None
    ramp: Seconds | None = None
    ramp_start: Share = 0.1
    throttle: Requests | None = None
    throttle_seconds: WindowSeconds = 120.0
    throttle_floor: Share = 0.05
    retry_budget: Share | None = None
    retry_budget_seconds: WindowSeconds = 10.0
    retry_budget_minimum: CountFromZero = 3
    timeout: TimeLimit | None = None
    initial_state: State = "closed"


class FieldsOfOne(BaseModel):
    """What one circuit has; None: what all have, or the part is not there."""

    failure_threshold: Count | None = None
    recovery_timeout: Seconds | None = None
    success_threshold: Count | None = None
    probe_timeout: Seconds | None = None
    window_calls: WindowCalls | None = None
    window_seconds: WindowSeconds | None = None
    failure_rate: Share | None = None
    minimum_calls: Count | None = None
    failures_in_a_row: Count | None = None
    slow_call_duration: Seconds | None = None
    slow_call_rate: Share | None = None
    warm_up: Seconds | None = None
    failure_on: Failures | None = None
    ignore: SomeErrors | None = None
    failure_on_result: JudgeOfResults | None = None
    failure_on_cancel: Flag | None = None
    classify: JudgeOfBoth | None = None
    keep_failures: Few | None = None
    recovery_schedule: Schedule | None = None
    recovery_factor: Factor | None = None
    max_recovery_timeout: Seconds | None = None
    recovery_jitter: ShareFromZero | None = None
    recovery_from: JudgeOfTime | None = None
    max_retry_after: TimeLimit | None = None
    probes: Count | None = None
    probe_failure_rate: Share | None = None
    probes_at_once: Count | None = None
    half_open_timeout: Seconds | None = None
    ramp: Seconds | None = None
    ramp_start: Share | None = None
    throttle: Requests | None = None
    throttle_seconds: WindowSeconds | None = None
    throttle_floor: Share | None = None
    retry_budget: Share | None = None
    retry_budget_seconds: WindowSeconds | None = None
    retry_budget_minimum: CountFromZero | None = None
    timeout: TimeLimit | None = None
    initial_state: State | None = None
