"""What a circuit is told: when it opens, what counts, for how long, and how it comes back.

A policy is put together from independent parts, of which only the first is there by default:

    when it opens    failure_threshold; a window with window_calls or window_seconds, and in it
                     failure_rate or slow_call_rate with minimum_calls; slow_call_duration
    what counts      failure_on, ignore, failure_on_result, failure_on_cancel, classify; timeout
    for how long     recovery_timeout; recovery_factor, max_recovery_timeout, recovery_jitter,
                     recovery_from
    how it returns   success_threshold, probe_timeout; probes, probe_failure_rate,
                     half_open_timeout; ramp, ramp_start
    beside all that  throttle, throttle_seconds, throttle_floor; retry_budget,
                     retry_budget_seconds, retry_budget_minimum
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

from supervisor.arguments import (
    check_count,
    check_factor,
    check_seconds,
    check_share,
    check_window,
    check_window_calls,
    shown,
)
from supervisor.policy.outcomes import Failure, Outcome

Errors = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Which errors are meant: of a type, or of one of several types, or those it returns true for."""

Classifier = Callable[[Any], "Failure | Outcome | None"]
"""What an error that was raised, or a result that was returned, counts as; None: by the rest."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens, what counts, how long it stays open, and what closes it again.

    Every part is described with its formula and a picture in docs/POLICIES.md. Times are
    seconds, and more than 0 unless it says otherwise. Shares are more than 0 and at most 1.

    Args:
        failure_threshold: failures that open the circuit, 1 or more: in a row, or within the
            window if there is one. With a `failure_rate` it does not count. (Nygard, *Release
            It!*, chapter 5)
        recovery_timeout: seconds that it stays open.
        success_threshold: successful probes that close it again, 1 or more. With a
            `probe_failure_rate` it does not count.
        probe_timeout: seconds after which a probe that is still running counts as failed, so
            that it cannot hold the circuit half-open for ever.
        window_calls: look at the last so many calls, 1 to 1,000,000, of a byte each.
            (resilience4j: COUNT_BASED)
        window_seconds: look at the calls that ended in the last so many seconds, in steps of a
            tenth of it; 0.001 to 1e9, as every window in seconds. (Hystrix's rolling buckets;
            resilience4j: TIME_BASED)
        failure_rate: share of the calls in the window that have to fail for it to open.
            (resilience4j: failureRateThreshold; Polly: FailureRatio)
        minimum_calls: calls in the window without which no rate is looked at, 1 or more.
            (resilience4j: minimumNumberOfCalls; Polly: MinimumThroughput)
        slow_call_duration: seconds from which a call is slow, as soon as it has run so long and
            not only when it ends. A slow call counts as a failure, unless there is a
            `slow_call_rate`. (resilience4j: slowCallDurationThreshold)
        slow_call_rate: share of the calls in the window that have to be slow for it to open.
            (resilience4j: slowCallRateThreshold)
        failure_on: the errors that are failures; others count as successes, since the
            dependency has answered. Of an exception group, each error is looked at.
            (resilience4j: recordExceptions; PEP 654)
        ignore: the errors that count as nothing; goes before `failure_on`. (resilience4j:
            ignoreExceptions)
        failure_on_result: whether what a call has returned is a failure. (Polly: ShouldHandle)
        failure_on_cancel: whether a cancelled call is a failure; else it counts as nothing.
        classify: gets the error, or else the result, of a call, and returns a `Failure` of some
            kind, or an `Outcome`, or None if the other fields are to decide.
        recovery_factor: by which the time in the open state grows with each failed recovery, 1
            or more. Above 1 it needs a `max_recovery_timeout`. (exponential back-off)
        max_recovery_timeout: seconds up to which it grows; a server's own request for more is
            respected.
        recovery_jitter: share by which that time is made shorter or longer at random, 0 or more
            and at most 1, so that many circuits do not probe a server at once.
        recovery_from: gets the error that has opened the circuit, and returns the seconds that it
            stays open, or None for `recovery_timeout`.
        probes: probes that may run at once, 1 or more; None: as many as successes are still
            needed. With a `probe_failure_rate`: the probes that are looked at. (gobreaker:
            MaxRequests)
        probe_failure_rate: share of `probes` that have to fail for it to open again, instead of
            one. (resilience4j: permittedNumberOfCallsInHalfOpenState)
        half_open_timeout: seconds after its first probe in which it has to come to a verdict,
            or else it opens again. (resilience4j: maxWaitDurationInHalfOpenState)
        ramp: seconds after closing in which only a growing share of calls is admitted. (Envoy's
            slow start)
        ramp_start: that share at the beginning. It grows linearly up to 1.
        throttle: the K of the client-side throttling in Google's *Site Reliability Engineering*,
            chapter 21, 1 or more: a call is refused with the probability
            max(0, (requests - K * accepts) / (requests + 1)) while the circuit is closed.
        throttle_seconds: how long requests and accepts are remembered, in steps of a tenth.
        throttle_floor: share of the calls that is admitted all the same.
        retry_budget: share of the calls in the last `retry_budget_seconds` that may be retried.
            (Finagle's RetryBudget)
        retry_budget_seconds: how long calls and retries are remembered, in steps of a tenth.
        retry_budget_minimum: retries that are always allowed in that time, 0 or more.
        timeout: seconds after which a call is cancelled, and fails with `CallTimeoutError`.
            (Hystrix: a call that is too late is a failure like any other)

    Raises:
        TypeError: an argument is not of the right kind.
        ValueError: an argument is out of its range, or does not go with another one.
    """

    failure_threshold: int = 3
    recovery_timeout: float = 30.0
    success_threshold: int = 1
    probe_timeout: float = 60.0
    window_calls: int | None = None
    window_seconds: float | None = None
    failure_rate: float | None = None
    minimum_calls: int = 10
    slow_call_duration: float | None = None
    slow_call_rate: float | None = None
    failure_on: Errors = Exception
    ignore: Errors = ()
    failure_on_result: Callable[[Any], bool] | None = None
    failure_on_cancel: bool = False
    classify: Classifier | None = None
    recovery_factor: float = 1.0
    max_recovery_timeout: float | None = None
    recovery_jitter: float = 0.0
    recovery_from: Callable[[BaseException], float | None] | None = None
    probes: int | None = None
    probe_failure_rate: float | None = None
    half_open_timeout: float | None = None
    ramp: float | None = None
    ramp_start: float = 0.1
    throttle: float | None = None
    throttle_seconds: float = 120.0
    throttle_floor: float = 0.05
    retry_budget: float | None = None
    retry_budget_seconds: float = 10.0
    retry_budget_minimum: int = 3
    timeout: float | None = None

    def __post_init__(self) -> None:
        for field, check in CHECKS.items():
            value = getattr(self, field)
            if value is not None or field not in OPTIONAL:
                # Settings and callers pass whole seconds too: one type travels on from here.
                object.__setattr__(self, field, check(field, value))
        self._check_together()

    def _check_together(self) -> None:
        if self.window_calls is not None and self.window_seconds is not None:
            raise ValueError(
                "window_calls and window_seconds exclude each other, got"
                f" {shown(self.window_calls)} and {shown(self.window_seconds)}"
            )
        window = self.window_calls is not None or self.window_seconds is not None
        for field, needed, there in (
            ("failure_rate", "window_calls or window_seconds", window),
            ("slow_call_rate", "window_calls or window_seconds", window),
            ("slow_call_rate", "slow_call_duration", self.slow_call_duration is not None),
            ("probe_failure_rate", "probes", self.probes is not None),
        ):
            if getattr(self, field) is not None and not there:
                raise ValueError(f"{field}={shown(getattr(self, field))} needs {needed}")
        if (
            self.window_calls is not None
            and self.window_calls < self.minimum_calls
            and (self.failure_rate is not None or self.slow_call_rate is not None)
        ):
            raise ValueError(
                f"minimum_calls={shown(self.minimum_calls)} is more than a window of"
                f" window_calls={shown(self.window_calls)} can ever hold"
            )
        if self.window_calls is not None and self.failure_rate is None:
            self._check_threshold(self.window_calls)
        if self.recovery_factor > 1 and self.max_recovery_timeout is None:
            raise ValueError(
                f"recovery_factor={shown(self.recovery_factor)} needs max_recovery_timeout"
            )
        if self.max_recovery_timeout is not None:
            self._check_maximum(self.max_recovery_timeout)

    def _check_threshold(self, window_calls: int) -> None:
        if self.failure_threshold > window_calls:
            raise ValueError(
                f"failure_threshold={shown(self.failure_threshold)} is more than a window of"
                f" window_calls={shown(window_calls)} can ever hold"
            )

    def _check_maximum(self, maximum: float) -> None:
        if maximum < self.recovery_timeout:
            raise ValueError(
                f"max_recovery_timeout={shown(maximum)} is less than"
                f" recovery_timeout={shown(self.recovery_timeout)}"
            )


def _errors(field: str, value: object) -> object:
    types = tuple(value) if isinstance(value, list | tuple) else (value,)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in types):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return types if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple | type):
        raise TypeError(f"{field} must be types of exceptions, got {shown(value)}")  # pyright: ignore[reportUnknownArgumentType]
    return _function(field, value)


def _function(field: str, value: object) -> object:
    if not callable(value):
        raise TypeError(f"{field} must be a function, got {shown(value)}")
    return value


def _bool(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{field} must be True or False, got {shown(value)}")
    return value


_count_or_none = functools.partial(check_count, at_least=0)
_share_or_none = functools.partial(check_share, zero=True)

CHECKS: Final[dict[str, Callable[[str, object], object]]] = {
    "failure_threshold": check_count,
    "recovery_timeout": check_seconds,
    "success_threshold": check_count,
    "probe_timeout": check_seconds,
    "window_calls": check_window_calls,
    "window_seconds": check_window,
    "failure_rate": check_share,
    "minimum_calls": check_count,
    "slow_call_duration": check_seconds,
    "slow_call_rate": check_share,
    "failure_on": _errors,
    "ignore": _errors,
    "failure_on_result": _function,
    "failure_on_cancel": _bool,
    "classify": _function,
    "recovery_factor": check_factor,
    "max_recovery_timeout": check_seconds,
    "recovery_jitter": _share_or_none,
    "recovery_from": _function,
    "probes": check_count,
    "probe_failure_rate": check_share,
    "half_open_timeout": check_seconds,
    "ramp": check_seconds,
    "ramp_start": check_share,
    "throttle": check_factor,
    "throttle_seconds": check_window,
    "throttle_floor": check_share,
    "retry_budget": check_share,
    "retry_budget_seconds": check_window,
    "retry_budget_minimum": _count_or_none,
    "timeout": check_seconds,
}

OPTIONAL: Final = frozenset(field.name for field in fields(Policy) if field.default is None)
"""Fields that may be None: parts of a policy that are not there."""

FOR_CALLERS: Final = frozenset(
    {
        "failure_on",
        "ignore",
        "failure_on_result",
        "failure_on_cancel",
        "classify",
        "recovery_from",
        "timeout",
    }
)
"""Fields that decide what is reported, and which no machine looks at."""


@functools.lru_cache(maxsize=1024, typed=True)
def _shared(**given: Any) -> Policy:
    return Policy(**given)


def fields_of(policy: Policy) -> dict[str, Any]:
    """Return the fields of a policy, as they are."""
    return {field.name: getattr(policy, field.name) for field in fields(Policy)}


def changed_policy(policy: Policy, **changes: Any) -> Policy:
    """Return a policy that differs from `policy` in these fields.

    Raises:
        TypeError, ValueError: see `Policy`.
    """
    return Policy(**{**fields_of(policy), **changes})


def shared_policy(**given: Any) -> Policy:
    """Return a policy of these fields: the same one for many circuits, which share its memory.

    Raises:
        TypeError, ValueError: see `Policy`.
    """
    plain = all(type(value) in (int, float, type(None)) for value in given.values())
    return _shared(**given) if plain else Policy(**given)
