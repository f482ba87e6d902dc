"""The fields of a policy as keywords, so that type checkers know them.

Written by `make generated`; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypedDict

from supervisor.policy.kinds import (
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


class FurtherFields(TypedDict, total=False):
    """The fields of a policy that are given by name only; see `Policy`."""

    probe_timeout: Seconds
    """A probe that still runs after this time counts as failed; it is not cancelled."""

    window_calls: WindowCalls | None
    """Look at the last so many calls; each takes one byte. (resilience4j: COUNT_BASED)"""

    window_seconds: WindowSeconds | None
    """Look at the calls that ended in so many of the last seconds, in steps of a tenth.
    (Hystrix's rolling buckets; resilience4j: TIME_BASED)"""

    failure_rate: Share | None
    """Share of the calls in the window that must fail; replaces `failure_threshold`.
    (resilience4j: failureRateThreshold; Polly: FailureRatio)"""

    minimum_calls: Count
    """Calls that must be in the window before a rate is looked at. (resilience4j:
    minimumNumberOfCalls; Polly: MinimumThroughput)"""

    failures_in_a_row: Count | None
    """Failures in a row that open the circuit as well, whatever else is in the window. (fluxgate:
    FailureStreak)"""

    slow_call_duration: Seconds | None
    """Seconds after which a running call is slow, also if it never ends. Without a
    `slow_call_rate`, a slow call is a failure. (resilience4j: slowCallDurationThreshold)"""

    slow_call_rate: Share | None
    """Share of the calls in the window that must be slow; without it, a slow call is a failure.
    (resilience4j: slowCallRateThreshold)"""

    warm_up: Seconds | None
    """Time after the circuit has begun, or was closed by hand, in which failures count but do not
    open it; only a server that asks to wait does. (opossum: allowWarmUp)"""

    failure_on: Failures
    """Errors that are failures; any other `Exception` is a success, because the server has
    answered. Of a group, itself, then each of its errors. (resilience4j: recordExceptions)"""

    ignore: SomeErrors
    """Errors that count as nothing; looked at before `failure_on`. (resilience4j:
    ignoreExceptions)"""

    failure_on_result: JudgeOfResults | None
    """Says whether a result that was returned is a failure. (Polly: ShouldHandle)"""

    failure_on_cancel: Flag
    """Whether a cancelled call is a failure; by default it counts as nothing."""

    classify: JudgeOfBoth | None
    """Says what an error or a result counts as: a `Failure`, an `Outcome`, or None to let the
    other fields decide."""

    keep_failures: Few | None
    """Failures that `Statistics.recent_failures` tells of: the last so many, when and why."""

    recovery_schedule: Schedule | None
    """Seconds that the circuit stays open at first, after one failed recovery, after two, and so
    on; the last ones from then on. Replaces `recovery_timeout`. (cockatiel: IterableBackoff)"""

    recovery_factor: Factor
    """Factor by which `recovery_timeout` grows with each failed recovery. Above 1 it needs a
    `max_recovery_timeout`. (exponential back-off)"""

    max_recovery_timeout: Seconds | None
    """Longest time to which `recovery_timeout` grows; a server's `retry_after` may be longer."""

    recovery_jitter: ShareFromZero
    """Share by which the time in OPEN is made longer or shorter at random."""

    recovery_from: JudgeOfTime | None
    """Gets the error that is a failure, and returns the seconds to stay open, or None for
    `recovery_timeout`."""

    max_retry_after: TimeLimit | None
    """Longest time that a hint may ask for: by `recovery_from`, or by a `Failure`."""

    probes: Count | None
    """Probes that may run at once; None: as many as successes are still needed. With a
    `probe_failure_rate`, the probes that are looked at. (gobreaker: MaxRequests)"""

    probe_failure_rate: Share | None
    """Share of `probes` that must fail to open the circuit again; replaces `success_threshold`.
    (resilience4j: permittedNumberOfCallsInHalfOpenState)"""

    probes_at_once: Count | None
    """With a `probe_failure_rate`, probes that may run at once; None: all that are looked at.
    (interlock: max_concurrent_probes)"""

    half_open_timeout: Seconds | None
    """Time after the first probe in which the probes must decide, or the circuit opens again.
    (resilience4j: maxWaitDurationInHalfOpenState)"""

    ramp: Seconds | None
    """Time after closing in which only a growing share of the calls is admitted. (Envoy's slow
    start)"""

    ramp_start: Share
    """Share of the calls that is admitted when the ramp begins."""

    throttle: Requests | None
    """Requests that may be sent for each one that succeeds, the K of Google's *Site Reliability
    Engineering*, chapter 21. Beyond that, a call is refused with the probability max(0, (requests
    - K * accepts) / (requests + 1)). The nearer to 1, the longer it takes to come back."""

    throttle_seconds: WindowSeconds
    """Time for which the throttle remembers requests, in steps of a tenth."""

    throttle_floor: Share
    """Share of the calls that the throttle always admits."""

    retry_budget: Share | None
    """Retries that are allowed for each call of the last `retry_budget_seconds`. (Finagle's
    RetryBudget)"""

    retry_budget_seconds: WindowSeconds
    """Time for which the budget remembers calls and retries, in steps of a tenth."""

    retry_budget_minimum: CountFromZero
    """Retries that are always allowed within `retry_budget_seconds`."""

    timeout: TimeLimit | None
    """Seconds after which a call is cancelled; it then fails with `CallTimeoutError`. (Hystrix: a
    call that is too late is a failure like any other)"""

    initial_state: State
    """The state that a circuit begins in, each time that it is started: one that is set by hand
    lasts until it is released."""


class PolicyFields(FurtherFields, total=False):
    """All fields of a policy; see `Policy`."""

    failure_threshold: Count
    """Failures that open the circuit: in a row, or in the window if there is one. (Nygard,
    *Release It!*, chapter 5)"""

    recovery_timeout: Seconds
    """Seconds that the circuit stays open."""

    success_threshold: Count
    """Successful probes that close the circuit."""


MEANINGS: Final[Mapping[str, str]] = {
    "failure_threshold": "Failures that open the circuit: in a row, or in the window if there"
    " is one. (Nygard, *Release It!*, chapter 5)",
    "recovery_timeout": "Seconds that the circuit stays open.",
    "success_threshold": "Successful probes that close the circuit.",
    "probe_timeout": "A probe that still runs after this time counts as failed; it is not"
    " cancelled.",
    "window_calls": "Look at the last so many calls; each takes one byte. (resilience4j:"
    " COUNT_BASED)",
    "window_seconds": "Look at the calls that ended in so many of the last seconds, in"
    " steps of a tenth. (Hystrix's rolling buckets; resilience4j:"
    " TIME_BASED)",
    "failure_rate": "Share of the calls in the window that must fail; replaces"
    " `failure_threshold`. (resilience4j: failureRateThreshold; Polly:"
    " FailureRatio)",
    "minimum_calls": "Calls that must be in the window before a rate is looked at."
    " (resilience4j: minimumNumberOfCalls; Polly: MinimumThroughput)",
    "failures_in_a_row": "Failures in a row that open the circuit as well, whatever else is in"
    " the window. (fluxgate: FailureStreak)",
    "slow_call_duration": "Seconds after which a running call is slow, also if it never ends."
    " Without a `slow_call_rate`, a slow call is a failure. (resilience4j:"
    " slowCallDurationThreshold)",
    "slow_call_rate": "Share of the calls in the window that must be slow; without it, a"
    " slow call is a failure. (resilience4j: slowCallRateThreshold)",
    "warm_up": "Time after the circuit has begun, or was closed by hand, in which"
    " failures count but do not open it; only a server that asks to wait"
    " does. (opossum: allowWarmUp)",
    "failure_on": "Errors that are failures; any other `Exception` is a success,"
    " because the server has answered. Of a group, itself, then each of"
    " its errors. (resilience4j: recordExceptions)",
    "ignore": "Errors that count as nothing; looked at before `failure_on`."
    " (resilience4j: ignoreExceptions)",
    "failure_on_result": "Says whether a result that was returned is a failure. (Polly:"
    " ShouldHandle)",
    "failure_on_cancel": "Whether a cancelled call is a failure; by default it counts as nothing.",
    "classify": "Says what an error or a result counts as: a `Failure`, an `Outcome`,"
    " or None to let the other fields decide.",
    "keep_failures": "Failures that `Statistics.recent_failures` tells of: the last so"
    " many, when and why.",
    "recovery_schedule": "Seconds that the circuit stays open at first, after one failed"
    " recovery, after two, and so on; the last ones from then on. Replaces"
    " `recovery_timeout`. (cockatiel: IterableBackoff)",
    "recovery_factor": "Factor by which `recovery_timeout` grows with each failed recovery."
    " Above 1 it needs a `max_recovery_timeout`. (exponential back-off)",
    "max_recovery_timeout": "Longest time to which `recovery_timeout` grows; a server's"
    " `retry_after` may be longer.",
    "recovery_jitter": "Share by which the time in OPEN is made longer or shorter at random.",
    "recovery_from": "Gets the error that is a failure, and returns the seconds to stay"
    " open, or None for `recovery_timeout`.",
    "max_retry_after": "Longest time that a hint may ask for: by `recovery_from`, or by a"
    " `Failure`.",
    "probes": "Probes that may run at once; None: as many as successes are still"
    " needed. With a `probe_failure_rate`, the probes that are looked at."
    " (gobreaker: MaxRequests)",
    "probe_failure_rate": "Share of `probes` that must fail to open the circuit again; replaces"
    " `success_threshold`. (resilience4j:"
    " permittedNumberOfCallsInHalfOpenState)",
    "probes_at_once": "With a `probe_failure_rate`, probes that may run at once; None: all"
    " that are looked at. (interlock: max_concurrent_probes)",
    "half_open_timeout": "Time after the first probe in which the probes must decide, or the"
    " circuit opens again. (resilience4j: maxWaitDurationInHalfOpenState)",
    "ramp": "Time after closing in which only a growing share of the calls is"
    " admitted. (Envoy's slow start)",
    "ramp_start": "Share of the calls that is admitted when the ramp begins.",
    "throttle": "Requests that may be sent for each one that succeeds, the K of"
    " Google's *Site Reliability Engineering*, chapter 21. Beyond that, a"
    " call is refused with the probability max(0, (requests - K * accepts)"
    " / (requests + 1)). The nearer to 1, the longer it takes to come"
    " back.",
    "throttle_seconds": "Time for which the throttle remembers requests, in steps of a tenth.",
    "throttle_floor": "Share of the calls that the throttle always admits.",
    "retry_budget": "Retries that are allowed for each call of the last"
    " `retry_budget_seconds`. (Finagle's RetryBudget)",
    "retry_budget_seconds": "Time for which the budget remembers calls and retries, in steps of a"
    " tenth.",
    "retry_budget_minimum": "Retries that are always allowed within `retry_budget_seconds`.",
    "timeout": "Seconds after which a call is cancelled; it then fails with"
    " `CallTimeoutError`. (Hystrix: a call that is too late is a failure"
    " like any other)",
    "initial_state": "The state that a circuit begins in, each time that it is started:"
    " one that is set by hand lasts until it is released.",
}
"""The same at run time, when the docstrings of fields are lost."""
