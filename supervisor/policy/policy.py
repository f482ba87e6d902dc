"""What a circuit is told: when it opens, what counts, for how long, and how it comes back.

A policy is put together from independent parts, of which only the first is there by default:

    when it opens    failure_threshold; a window with window_calls or window_seconds, and in it
                     failure_rate or slow_call_rate with minimum_calls, failures_in_a_row;
                     slow_call_duration; warm_up
    what counts      failure_on, ignore, failure_on_result, failure_on_cancel, classify; timeout;
                     keep_failures
    for how long     recovery_timeout; recovery_schedule; recovery_factor, max_recovery_timeout,
                     recovery_jitter, recovery_from, max_retry_after
    how it returns   success_threshold, probe_timeout; probes, probe_failure_rate,
                     probes_at_once, half_open_timeout; ramp, ramp_start
    what load it     throttle, throttle_seconds, throttle_floor; retry_budget,
    lets through     retry_budget_seconds, retry_budget_minimum
    where it begins  initial_state

Each field is defined here and nowhere else: its type brings its check, its unit and its range.
What else has such fields is generated from them; see `make generated`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self, get_args, get_type_hints

from supervisor.arguments import check_known
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
    Kind,
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
from supervisor.policy.rules import RULES


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
    """Failures that open the circuit: in a row, or in the window if there is one. (Nygard,
    *Release It!*, chapter 5)"""

    recovery_timeout: Seconds = 30.0
    """Seconds that the circuit stays open."""

    success_threshold: Count = 1
    """Successful probes that close the circuit."""

    probe_timeout: Seconds = 60.0
    """A probe that still runs after this time counts as failed; it is not cancelled."""

    # When it opens

    window_calls: WindowCalls | None = None
    """Look at the last so many calls; each takes one byte. (resilience4j: COUNT_BASED)"""

    window_seconds: WindowSeconds | None = None
    """Look at the calls that ended in so many of the last seconds, in steps of a tenth. (Hystrix's
    rolling buckets; resilience4j: TIME_BASED)"""

    failure_rate: Share | None = None
    """Share of the calls in the window that must fail; replaces `failure_threshold`.
    (resilience4j: failureRateThreshold; Polly: FailureRatio)"""

    minimum_calls: Count = 10
    """Calls that must be in the window before a rate is looked at. (resilience4j:
    minimumNumberOfCalls; Polly: MinimumThroughput)"""

    failures_in_a_row: Count | None = None
    """Failures in a row that open the circuit as well, whatever else is in the window. (fluxgate:
    FailureStreak)"""

    slow_call_duration: Seconds | None = None
    """Seconds after which a running call is slow, also if it never ends. Without a
    `slow_call_rate`, a slow call is a failure. (resilience4j: slowCallDurationThreshold)"""

    slow_call_rate: Share | None = None
    """Share of the calls in the window that must be slow; without it, a slow call is a failure.
    (resilience4j: slowCallRateThreshold)"""

    warm_up: Seconds | None = None
    """Time after the circuit has begun, or was closed by hand, in which failures count but do not
    open it; only a server that asks to wait does. (opossum: allowWarmUp)"""

    # What counts

    failure_on: Failures = Exception
    """Errors that are failures; any other `Exception` is a success, because the server has
    answered. Of a group, itself, then each of its errors. (resilience4j: recordExceptions)"""

    ignore: SomeErrors = ()
    """Errors that count as nothing; looked at before `failure_on`. (resilience4j:
    ignoreExceptions)"""

    failure_on_result: JudgeOfResults | None = None
    """Says whether a result that was returned is a failure. (Polly: ShouldHandle)"""

    failure_on_cancel: Flag = False
    """Whether a cancelled call is a failure; by default it counts as nothing."""

    classify: JudgeOfBoth | None = None
    """Says what an error or a result counts as: a `Failure`, an `Outcome`, or None to let the
    other fields decide."""

    keep_failures: Few | None = None
    """Failures that `Statistics.recent_failures` tells of: the last so many, when and why."""

    # For how long it is open

    recovery_schedule: Schedule | None = None
    """Seconds that the circuit stays open at first, after one failed recovery, after two, and so
    on; the last ones from then on. Replaces `recovery_timeout`. (cockatiel: IterableBackoff)"""

    recovery_factor: Factor = 1.0
    """Factor by which `recovery_timeout` grows with each failed recovery. Above 1 it needs a
    `max_recovery_timeout`. (exponential back-off)"""

    max_recovery_timeout: Seconds | None = None
    """Longest time to which `recovery_timeout` grows; a server's `retry_after` may be longer."""

    recovery_jitter: ShareFromZero = 0.0
    """Share by which the time in OPEN is made longer or shorter at random."""

    recovery_from: JudgeOfTime | None = None
    """Gets the error that is a failure, and returns the seconds to stay open, or None for
    `recovery_timeout`."""

    max_retry_after: TimeLimit | None = None
    """Longest time that a hint may ask for: by `recovery_from`, or by a `Failure`."""

    # How it returns

    probes: Count | None = None
    """Probes that may run at once; None: as many as successes are still needed. With a
    `probe_failure_rate`, the probes that are looked at. (gobreaker: MaxRequests)"""

    probe_failure_rate: Share | None = None
    """Share of `probes` that must fail to open the circuit again; replaces `success_threshold`.
    (resilience4j: permittedNumberOfCallsInHalfOpenState)"""

    probes_at_once: Count | None = None
    """With a `probe_failure_rate`, probes that may run at once; None: all that are looked at.
    (interlock: max_concurrent_probes)"""

    half_open_timeout: Seconds | None = None
    """Time after the first probe in which the probes must decide, or the circuit opens again.
    (resilience4j: maxWaitDurationInHalfOpenState)"""

    ramp: Seconds | None = None
    """Time after closing in which only a growing share of the calls is admitted. (Envoy's slow
    start)"""

    ramp_start: Share = 0.1
    """Share of the calls that is admitted when the ramp begins."""

    # What load it lets through

    throttle: Requests | None = None
    """Requests that may be sent for each one that succeeds, the K of Google's *Site Reliability
    Engineering*, chapter 21. Beyond that, a call is refused with the probability max(0, (requests
    - K * accepts) / (requests + 1)). The nearer to 1, the longer it takes to come back."""

    throttle_seconds: WindowSeconds = 120.0
    """Time for which the throttle remembers requests, in steps of a tenth."""

    throttle_floor: Share = 0.05
    """Share of the calls that the throttle always admits."""

    retry_budget: Share | None = None
    """Retries that are allowed for each call of the last `retry_budget_seconds`. (Finagle's
    RetryBudget)"""

    retry_budget_seconds: WindowSeconds = 10.0
    """Time for which the budget remembers calls and retries, in steps of a tenth."""

    retry_budget_minimum: CountFromZero = 3
    """Retries that are always allowed within `retry_budget_seconds`."""

    # What counts, too: how long a call may run

    timeout: TimeLimit | None = None
    """Seconds after which a call is cancelled; it then fails with `CallTimeoutError`. (Hystrix: a
    call that is too late is a failure like any other)"""

    # Where it begins

    initial_state: State = "closed"
    """The state that a circuit begins in, each time that it is started: one that is set by hand
    lasts until it is released."""

    def __new__(cls, *_: Any, **given: Any) -> Self:
        """Refuse unknown fields; the error of `__init__` would tell less."""
        check_known(cls.__name__, given, cls.__dataclass_fields__)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for field, kind in KINDS.items():
            value = getattr(self, field)
            if value is not None or field not in OPTIONAL:
                # Settings and callers pass whole seconds too: one type travels on from here.
                object.__setattr__(self, field, kind.check(field, value))
        for rule in RULES:
            if (wrong := rule(self)) is not None:
                raise ValueError(wrong)


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
