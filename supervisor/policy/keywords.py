"""The fields of a policy as keywords, so that type checkers know them.

Written by `make generated`; do not edit.
"""

from __future__ import annotations

from typing import TypedDict

from supervisor.policy.kinds import (
    Count,
    CountOrNone,
    Factor,
    Flag,
    JudgeOfBoth,
    JudgeOfResults,
    JudgeOfTime,
    Seconds,
    Share,
    ShareOrNone,
    SomeErrors,
    TimeLimit,
    WindowCalls,
    WindowSeconds,
)


class FurtherFields(TypedDict, total=False):
    """The fields of a policy that are given by name only; see `Policy`."""

    probe_timeout: Seconds
    """Time after which a probe that is still running counts as failed, so that it cannot hold the
    circuit half-open for ever."""

    window_calls: WindowCalls | None
    """Look at so many of the last calls, of a byte each. (resilience4j: COUNT_BASED)"""

    window_seconds: WindowSeconds | None
    """Look at the calls that ended in so many of the last seconds, in steps of a tenth of that.
    (Hystrix's rolling buckets; resilience4j: TIME_BASED)"""

    failure_rate: Share | None
    """Share of the calls in the window that have to fail for it to open. (resilience4j:
    failureRateThreshold; Polly: FailureRatio)"""

    minimum_calls: Count
    """Calls in the window without which no rate is looked at. (resilience4j:
    minimumNumberOfCalls; Polly: MinimumThroughput)"""

    slow_call_duration: Seconds | None
    """Time from which a call is slow, as soon as it has run so long and not only when it ends. A
    slow call counts as a failure, unless there is a `slow_call_rate`. (resilience4j:
    slowCallDurationThreshold)"""

    slow_call_rate: Share | None
    """Share of the calls in the window that have to be slow for it to open. (resilience4j:
    slowCallRateThreshold)"""

    failure_on: SomeErrors
    """The errors that are failures; others count as successes, since the dependency has answered.
    Of an exception group, each error is looked at. (resilience4j: recordExceptions; PEP 654)"""

    ignore: SomeErrors
    """The errors that count as nothing; goes before `failure_on`. (resilience4j:
    ignoreExceptions)"""

    failure_on_result: JudgeOfResults | None
    """Whether what a call has returned is a failure. (Polly: ShouldHandle)"""

    failure_on_cancel: Flag
    """Whether a cancelled call is a failure; else it counts as nothing."""

    classify: JudgeOfBoth | None
    """Gets the error, or else the result, of a call, and returns a `Failure` of some kind, or an
    `Outcome`, or None if the other fields are to decide."""

    recovery_factor: Factor
    """What the time in the open state grows by with each failed recovery. Above 1 it needs a
    `max_recovery_timeout`. (exponential back-off)"""

    max_recovery_timeout: Seconds | None
    """Time up to which it grows; a server's own request for more is respected."""

    recovery_jitter: ShareOrNone
    """Share by which that time is made shorter or longer at random, so that many circuits do not
    probe a server at once."""

    recovery_from: JudgeOfTime | None
    """Gets the error that has opened the circuit, and returns the seconds that it stays open, or
    None for `recovery_timeout`."""

    probes: Count | None
    """Probes that may run at once; None: as many as successes are still needed. With a
    `probe_failure_rate`: the probes that are looked at. (gobreaker: MaxRequests)"""

    probe_failure_rate: Share | None
    """Share of `probes` that have to fail for it to open again, instead of one. (resilience4j:
    permittedNumberOfCallsInHalfOpenState)"""

    half_open_timeout: Seconds | None
    """Time after its first probe in which it has to come to a verdict, or else it opens again.
    (resilience4j: maxWaitDurationInHalfOpenState)"""

    ramp: Seconds | None
    """Time after closing in which only a growing share of calls is admitted. (Envoy's slow
    start)"""

    ramp_start: Share
    """That share at the beginning. It grows linearly up to 1."""

    throttle: Factor | None
    """The K of the client-side throttling in Google's *Site Reliability Engineering*, chapter 21:
    a call is refused with the probability max(0, (requests - K * accepts) / (requests + 1)) while
    the circuit is closed."""

    throttle_seconds: WindowSeconds
    """How long requests and accepts are remembered, in steps of a tenth."""

    throttle_floor: Share
    """Share of the calls that is admitted all the same."""

    retry_budget: Share | None
    """Share of the calls in the last `retry_budget_seconds` that may be retried. (Finagle's
    RetryBudget)"""

    retry_budget_seconds: WindowSeconds
    """How long calls and retries are remembered, in steps of a tenth."""

    retry_budget_minimum: CountOrNone
    """Retries that are always allowed in that time."""

    timeout: TimeLimit | None
    """Time after which a call is cancelled, and fails with `CallTimeoutError`. (Hystrix: a call
    that is too late is a failure like any other)"""


class PolicyFields(FurtherFields, total=False):
    """All fields of a policy; see `Policy`."""

    failure_threshold: Count
    """Failures that open the circuit: in a row, or within the window if there is one. With a
    `failure_rate` it does not count. (Nygard, *Release It!*, chapter 5)"""

    recovery_timeout: Seconds
    """How long it stays open."""

    success_threshold: Count
    """Successful probes that close it again. With a `probe_failure_rate` it does not count."""
