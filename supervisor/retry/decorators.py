"""Retry decorators for the four types of operation, and retries without decorating."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, ParamSpec, TypeVar, Unpack, get_args

from supervisor.arguments import (
    check_async,
    check_choice,
    check_count,
    check_known,
    check_seconds,
    shown,
    unwrapped,
)
from supervisor.policy import KINDS, Policy, PolicyFields, check_given
from supervisor.registry import BreakerByName
from supervisor.retry.attempts import AsyncFunction, Guard, backoff, retried
from supervisor.settings import app_settings

P = ParamSpec("P")
R = TypeVar("R")
OperationType = Literal["worker", "storage", "scheduler", "api"]


class RetryOptions(PolicyFields, total=False):
    """How a circuit guards retries, and what it goes by; see `create_retry_decorator`."""

    guard: Guard
    wait_for_recovery: bool
    policy: Policy | None


def create_retry_decorator(
    operation_type: OperationType,
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    use_jitter: bool = True,
    *,
    guard: Guard = "loop",
    wait_for_recovery: bool = False,
    policy: Policy | None = None,
    **fields: Unpack[PolicyFields],
) -> Callable[[AsyncFunction[P, R]], AsyncFunction[P, R]]:
    """Return a decorator that retries an async function, and guards it while circuits are enabled.

    The circuit is named `operation_type:NAME`, with NAME the function's `__name__`. Waits
    start at `min_wait` and double up to `max_wait`.

    Args:
        operation_type: "worker", "storage", "scheduler" or "api".
        max_attempts: 1 or more; None: that of `app_settings.retry` at the time of the call.
        min_wait, max_wait: seconds, more than 0; None: likewise.
        use_jitter: draw each wait between `min_wait` and that, so that callers who failed
            together do not come back together; the first wait is `min_wait` all the same.
        guard: "loop": the circuit admits the whole retry loop, and counts it once. "attempt":
            it admits and counts every attempt, and the loop ends as soon as it is open.
        wait_for_recovery: with "attempt", sleep while the circuit is open instead of ending
            the loop; a refusal uses up one of the attempts.
        policy: what the circuit goes by if it has to be created; None: what
            `app_settings.circuit_breaker` says.
        fields: fields of `Policy`, which go before those of `policy`, or of the settings.

    Raises:
        SettingsError: a variable is misspelt or out of range.
        TypeError, ValueError: an argument is unknown, of the wrong type or out of range, or the
            decorated function is not async.
    """
    limits = _Limits(operation_type, max_attempts, min_wait, max_wait)
    check_choice("guard", guard, get_args(Guard))
    if wait_for_recovery and guard != "attempt":
        raise ValueError("wait_for_recovery=True needs guard='attempt'")
    check_given("create_retry_decorator", policy, fields, ("use_jitter", *_OPTIONS))

    def decorate(func: AsyncFunction[P, R]) -> AsyncFunction[P, R]:
        check_async("a retry decorator", func)
        name = f"{operation_type}:{_name_of(func)}"
        breaker = BreakerByName("create_retry_decorator", name, policy, fields)

        @functools.lru_cache(maxsize=2)  # with and without a circuit, until the settings change
        def loop(attempts: int, low: float, high: float, guarded: bool) -> AsyncFunction[P, R]:
            _check_waits(low, high, "; what is not given comes from app_settings.retry")
            waits = backoff(low, high, use_jitter)
            own_guard: Guard | None = guard if guarded else None
            return retried(func, breaker, attempts, waits, own_guard, wait_for_recovery)

        loop(*limits.now(), app_settings.circuit_breaker.enabled)  # reports bad settings here

        @functools.wraps(func)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            run = loop(*limits.now(), app_settings.circuit_breaker.enabled)
            return await run(*args, **kwargs)

        return wrapper

    return decorate


@dataclass(frozen=True, slots=True)
class _Limits:
    """How often and how long is retried, as far as it is given; the rest comes from settings."""

    operation_type: OperationType
    max_attempts: int | None
    min_wait: float | None
    max_wait: float | None

    def __post_init__(self) -> None:
        check_choice("operation_type", self.operation_type, get_args(OperationType))
        if self.max_attempts is not None:
            check_count("max_attempts", self.max_attempts)
        _check_waits(self.min_wait, self.max_wait)

    def now(self) -> tuple[int, float, float]:
        """Return attempts, shortest and longest wait by the settings that there are now."""
        settings, own = app_settings.retry, self.operation_type
        low = self.min_wait or getattr(settings, f"{own}_min_wait")
        high = self.max_wait or getattr(settings, f"{own}_max_wait")
        return self.max_attempts or getattr(settings, f"{own}_max_attempts"), low, high


# What each of the decorators below takes besides the fields of a policy.
_OPTIONS: Final = (
    "max_attempts",
    "min_wait",
    "max_wait",
    "guard",
    "wait_for_recovery",
    "policy",
)


def _known(caller: str, options: RetryOptions) -> RetryOptions:
    """Return the options of one of the decorators below.

    Raises:
        TypeError: there are others among them.
    """
    check_known(caller, options, (*_OPTIONS, *KINDS))
    return options


def retry_worker_operation(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> Callable[[AsyncFunction[P, R]], AsyncFunction[P, R]]:
    """Retry an operation of a worker, guarded by `worker:NAME`; see `create_retry_decorator`."""
    options = _known("retry_worker_operation", options)
    return create_retry_decorator("worker", max_attempts, min_wait, max_wait, **options)


def retry_storage_operation(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> Callable[[AsyncFunction[P, R]], AsyncFunction[P, R]]:
    """Retry an operation of a storage without jitter, guarded by `storage:NAME`; see
    `create_retry_decorator`.
    """
    options = _known("retry_storage_operation", options)
    return create_retry_decorator("storage", max_attempts, min_wait, max_wait, False, **options)


def retry_scheduler_operation(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> Callable[[AsyncFunction[P, R]], AsyncFunction[P, R]]:
    """Retry an operation of a scheduler, guarded by `scheduler:NAME`; see
    `create_retry_decorator`.
    """
    options = _known("retry_scheduler_operation", options)
    return create_retry_decorator("scheduler", max_attempts, min_wait, max_wait, **options)


def retry_api_call(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> Callable[[AsyncFunction[P, R]], AsyncFunction[P, R]]:
    """Retry a call of an external API, guarded by `api:NAME`; see `create_retry_decorator`."""
    options = _known("retry_api_call", options)
    return create_retry_decorator("api", max_attempts, min_wait, max_wait, **options)


async def execute_with_retry(
    func: Callable[..., Awaitable[R]],
    *args: Any,
    max_attempts: int = 3,
    min_wait: float = 1,
    max_wait: float = 10,
    operation_name: str | None = None,
    policy: Policy | None = None,
    **kwargs: Any,
) -> R:
    """Run `await func(*args, **kwargs)` with retries, without decorating it.

    While circuits are enabled, the circuit `operation_name` guards the whole loop, or else
    `adhoc:NAME` with NAME the function's `__name__`.

    Args:
        func: anything that returns an awaitable.
        max_attempts: 1 or more.
        min_wait, max_wait: seconds, more than 0, between which waits grow, with jitter.
        operation_name: the circuit's name, 1 to 255 printable characters.
        policy: what the circuit goes by if it has to be created; None: what
            `app_settings.circuit_breaker` says. An argument of that name for `func` itself can be
            given by `functools.partial`, as those for the four names above.

    Raises:
        CircuitBreakerOpenError: the circuit refused the call; `func` was not called.
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """
    if not callable(func):
        raise TypeError(f"execute_with_retry needs an async function, got {shown(func)}")
    check_count("max_attempts", max_attempts)
    check_seconds("min_wait", min_wait)  # None stands for no setting here
    check_seconds("max_wait", max_wait)
    _check_waits(min_wait, max_wait)
    name = f"adhoc:{_name_of(func)}" if operation_name is None else operation_name
    guard: Guard | None = "loop" if app_settings.circuit_breaker.enabled else None
    breaker = BreakerByName("execute_with_retry", name, policy, {})
    run = retried(func, breaker, max_attempts, backoff(min_wait, max_wait), guard)
    return await run(*args, **kwargs)


def _check_waits(min_wait: float | None, max_wait: float | None, hint: str = "") -> None:
    if min_wait is not None:
        check_seconds("min_wait", min_wait)
    if max_wait is not None:
        check_seconds("max_wait", max_wait)
    if min_wait is not None and max_wait is not None and min_wait > max_wait:
        raise ValueError(
            f"min_wait must not exceed max_wait, got {shown(min_wait)} and {shown(max_wait)}{hint}"
        )


def _name_of(func: object) -> str:
    func = unwrapped(func)
    return getattr(func, "__name__", type(func).__name__)
