"""What a circuit is told: when it opens, what counts, for how long, and how it comes back.

A policy is put together from independent parts, of which only the first is there by default:

    when it opens    failure_threshold; a window with window_calls or window_seconds, and in it
                     failure_rate or slow_call_rate with minimum_calls; slow_call_duration
    what counts      failure_on, ignore, failure_on_result, failure_on_cancel, classify; timeout
    for how long     recovery_timeout; recovery_factor, max_recovery_timeout, recovery_jitter,
                     recovery_from
    how it returns   success_threshold, probe_timeout; probes, probe_failure_rate,
                     half_open_timeout; ramp, ramp_start
    what load it     throttle, throttle_seconds, throttle_floor; retry_budget,
    lets through     retry_budget_seconds, retry_budget_minimum

Each field is defined here and nowhere else: its type brings its check, its unit and its range.
What else has such fields is generated from them; see `make generated`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, get_args, get_type_hints

from supervisor.policy.kinds import (
    Count,
    CountOrNone,
    Factor,
    Flag,
    JudgeOfBoth,
    JudgeOfResults,
    JudgeOfTime,
    Kind,
    Seconds,
    Share,
    ShareOrNone,
    SomeErrors,
    TimeLimit,
    WindowCalls,
    WindowSeconds,
)
from supervisor.policy.rules import check_together


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens, what counts, how long it stays open, and what closes it again.

    Times are seconds. A field that is None by default is a part that is not there.

    Raises:
        TypeError: an argument is not of the right kind.
        ValueError: an argument is out of its range, or does not go with another one.
    """

    # When it opens, and how it returns: what every circuit has

    failure_threshold: Count = 3
    """Failures that open the circuit: in a row, or within the window if there is one. With a
    `failure_rate` it does not count. (Nygard, *Release It!*, chapter 5)"""

    recovery_timeout: Seconds = 30.0
    """How long it stays open."""

    success_threshold: Count = 1
    """Successful probes that close it again. With a `probe_failure_rate` it does not count."""

    probe_timeout: Seconds = 60.0
    """Time after which a probe that is still running counts as failed, so that it cannot hold the
    circuit half-open for ever."""

    # When it opens

    window_calls: WindowCalls | None = None
    """Look at so many of the last calls, of a byte each. (resilience4j: COUNT_BASED)"""

    window_seconds: WindowSeconds | None = None
    """Look at the calls that ended in so many of the last seconds, in steps of a tenth of that.
    (Hystrix's rolling buckets; resilience4j: TIME_BASED)"""

    failure_rate: Share | None = None
    """Share of the calls in the window that have to fail for it to open. (resilience4j:
    failureRateThreshold; Polly: FailureRatio)"""

    minimum_calls: Count = 10
    """Calls in the window without which no rate is looked at. (resilience4j: minimumNumberOfCalls;
    Polly: MinimumThroughput)"""

    slow_call_duration: Seconds | None = None
    """Time from which a call is slow, as soon as it has run so long and not only when it ends. A
    slow call counts as a failure, unless there is a `slow_call_rate`. (resilience4j:
    slowCallDurationThreshold)"""

    slow_call_rate: Share | None = None
    """Share of the calls in the window that have to be slow for it to open. (resilience4j:
    slowCallRateThreshold)"""

    # What counts

    failure_on: SomeErrors = Exception
    """The errors that are failures; others count as successes, since the dependency has answered.
    Of an exception group, each error is looked at. (resilience4j: recordExceptions; PEP 654)"""

    ignore: SomeErrors = ()
    """The errors that count as nothing; goes before `failure_on`. (resilience4j:
    ignoreExceptions)"""

    failure_on_result: JudgeOfResults | None = None
    """Whether what a call has returned is a failure. (Polly: ShouldHandle)"""

    failure_on_cancel: Flag = False
    """Whether a cancelled call is a failure; else it counts as nothing."""

    classify: JudgeOfBoth | None = None
    """Gets the error, or else the result, of a call, and returns a `Failure` of some kind, or an
    `Outcome`, or None if the other fields are to decide."""

    # For how long it is open

    recovery_factor: Factor = 1.0
    """What the time in the open state grows by with each failed recovery. Above 1 it needs a
    `max_recovery_timeout`. (exponential back-off)"""

    max_recovery_timeout: Seconds | None = None
    """Time up to which it grows; a server's own request for more is respected."""

    recovery_jitter: ShareOrNone = 0.0
    """Share by which that time is made shorter or longer at random, so that many circuits do not
    probe a server at once."""

    recovery_from: JudgeOfTime | None = None
    """Gets the error that has opened the circuit, and returns the seconds that it stays open, or
    None for `recovery_timeout`."""

    # How it returns

    probes: Count | None = None
    """Probes that may run at once; None: as many as successes are still needed. With a
    `probe_failure_rate`: the probes that are looked at. (gobreaker: MaxRequests)"""

    probe_failure_rate: Share | None = None
    """Share of `probes` that have to fail for it to open again, instead of one. (resilience4j:
    permittedNumberOfCallsInHalfOpenState)"""

    half_open_timeout: Seconds | None = None
    """Time after its first probe in which it has to come to a verdict, or else it opens again.
    (resilience4j: maxWaitDurationInHalfOpenState)"""

    ramp: Seconds | None = None
    """Time after closing in which only a growing share of calls is admitted. (Envoy's slow
    start)"""

    ramp_start: Share = 0.1
    """That share at the beginning. It grows linearly up to 1."""

    # What load it lets through

    throttle: Factor | None = None
    """The K of the client-side throttling in Google's *Site Reliability Engineering*, chapter 21: a
    call is refused with the probability max(0, (requests - K * accepts) / (requests + 1)) while
    the circuit is closed."""

    throttle_seconds: WindowSeconds = 120.0
    """How long requests and accepts are remembered, in steps of a tenth."""

    throttle_floor: Share = 0.05
    """Share of the calls that is admitted all the same."""

    retry_budget: Share | None = None
    """Share of the calls in the last `retry_budget_seconds` that may be retried. (Finagle's
    RetryBudget)"""

    retry_budget_seconds: WindowSeconds = 10.0
    """How long calls and retries are remembered, in steps of a tenth."""

    retry_budget_minimum: CountOrNone = 3
    """Retries that are always allowed in that time."""

    timeout: TimeLimit | None = None
    """Time after which a call is cancelled, and fails with `CallTimeoutError`. (Hystrix: a call
    that is too late is a failure like any other)"""

    def __post_init__(self) -> None:
        for field, kind in KINDS.items():
            value = getattr(self, field)
            if value is not None or field not in OPTIONAL:
                # Settings and callers pass whole seconds too: one type travels on from here.
                object.__setattr__(self, field, kind.check(field, value))
        check_together(self)


def _annotated(hint: Any) -> tuple[type, Kind]:
    """Return the type of a field, and its kind."""
    metadata = getattr(hint, "__metadata__", None)
    if metadata is None:  # it or None
        return _annotated(get_args(hint)[0])
    return hint.__origin__, metadata[0]


_HINTS: Final[Mapping[str, tuple[Any, Kind]]] = {
    name: _annotated(hint) for name, hint in get_type_hints(Policy, include_extras=True).items()
}

TYPES: Final[Mapping[str, Any]] = {name: of for name, (of, _) in _HINTS.items()}
"""The type of each field, but for None."""

KINDS: Final[Mapping[str, Kind]] = {name: kind for name, (_, kind) in _HINTS.items()}
"""What each field may be, but for None."""

OPTIONAL: Final = frozenset(field.name for field in fields(Policy) if field.default is None)
"""Fields that may be None: parts of a policy that are not there."""

FOR_CALLERS: Final = frozenset(name for name, kind in KINDS.items() if kind.for_callers)
"""Fields that decide what is reported, and which no machine looks at."""


def fields_of(policy: Policy) -> dict[str, Any]:
    """Return the fields of a policy, as they are."""
    return {name: getattr(policy, name) for name in KINDS}
