"""Retry decorators for the four types of operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, Unpack, get_args

from supervisor.arguments import (
    check_choice,
    check_known,
    decorate_within,
    is_method_of_class,
    shown,
)
from supervisor.guard import CircuitBreaker
from supervisor.instrumentation import tell_of_disabled
from supervisor.policy import KINDS, Policy, PolicyFields, check_given
from supervisor.retry.circuits import CircuitOfLoop, check_circuit, circuit_of
from supervisor.retry.functions import Kind, RetryDecorator, kind_of
from supervisor.retry.limits import Limits, OperationType, check_waits
from supervisor.retry.strategies import Guard, Rules, backoff
from supervisor.retry.worth import RetryOn, worth_by
from supervisor.settings import app_settings

R = TypeVar("R")


class RetryOptions(PolicyFields, total=False):
    """How a circuit guards retries, and what it goes by; see `create_retry_decorator`."""

    guard: Guard
    wait_for_recovery: bool
    retry_on: RetryOn | None
    deadline: float | None
    name: str | None
    breaker: CircuitBreaker | None
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
    retry_on: RetryOn | None = None,
    deadline: float | None = None,
    name: str | None = None,
    breaker: CircuitBreaker | None = None,
    policy: Policy | None = None,
    **fields: Unpack[PolicyFields],
) -> RetryDecorator:
    """Return a decorator that retries a function, and guards it while circuits are enabled.

    The function may be async; or plain, to be called in worker threads; or an async generator
    function, whose stream is opened again as long as no item has come.

    The circuit is named `operation_type:NAME`, with NAME the function's `__name__`, unless there
    is a `name` or a `breaker`. Waits start at `min_wait` and double up to `max_wait`. They are
    longer if the server asks for that; if it asks for more than `max_wait`, there is no other
    attempt.

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
        retry_on: what is tried again: types of `Exception`, plain functions of an error, or a
            list of these; of a group, each error must be meant. None: see `is_retryable_error`.
        deadline: seconds, more than 0, for all attempts and waits of a call. What cannot begin
            before is not begun, and the last error comes out; an attempt that runs at that time
            is cancelled, and fails with `CallTimeoutError`, but for one in a worker thread, which
            nothing can end. Of a stream, the first item has to come by then. None: no limit but
            a `supervisor.deadline` that the call runs in: what cannot begin before it is not
            begun, either.
        name: the circuit's name, 1 to 255 printable characters.
        breaker: guards the calls, also while circuits are disabled; it has its own name and
            policy.
        policy: what the circuit goes by if it has to be created; None: what
            `app_settings.circuit_breaker` says.
        fields: fields of `Policy`, which go before those of `policy`, or of the settings.

    Raises:
        SettingsError: a variable is misspelt or out of range.
        TypeError, ValueError: an argument is unknown, of the wrong type or out of range, two of
            them exclude each other, or what is decorated is no such function.
    """
    limits = Limits(operation_type, max_attempts, min_wait, max_wait, deadline)
    check_choice("guard", guard, get_args(Guard))
    if wait_for_recovery and guard != "attempt":
        raise ValueError("wait_for_recovery=True needs guard='attempt'")
    check_given("create_retry_decorator", policy, fields, ("use_jitter", *_OPTIONS))
    check_circuit(name, breaker, policy, fields)
    worth, always = worth_by(retry_on), breaker is not None

    def rules(attempts: int, low: float, high: float, guarded: bool) -> Rules:
        check_waits(low, high, "; what is not given comes from app_settings.retry")
        waits, own = backoff(low, high, use_jitter), guard if guarded else None
        return Rules(attempts, waits, high, worth, own, wait_for_recovery, deadline)

    def decorate(func: Any) -> Any:
        if is_method_of_class(func):
            return decorate_within(func, decorate)
        kind, who = kind_of(func), (operation_type, func, name, breaker, policy, fields)
        circuit = circuit_of("create_retry_decorator", *who)
        return _decorated(func, kind, circuit, limits, rules, always)

    return decorate


def _decorated(
    func: Callable[..., Any],
    kind: Kind,
    circuit: CircuitOfLoop,
    limits: Limits,
    rules: Callable[[int, float, float, bool], Rules],
    always: bool,
) -> Callable[..., Any]:
    """Return `func` with a loop by the settings of the moment, guarded if they say so, or always.

    Raises:
        SettingsError, ValueError: they cannot be right.
    """
    loops = _Loops()

    def now() -> Callable[..., Any]:
        guarded = always or app_settings.circuit_breaker.enabled
        if not guarded:
            tell_of_disabled(func)
        return made(*limits.now(), guarded)

    def made(*by: Any) -> Callable[..., Any]:
        loop = loops.get(by)
        if loop is None:
            if len(loops) == _Loops.MOST:
                loops.clear()
            loop = loops[by] = kind.retried(func, circuit, rules(*by))
        return loop

    made(*limits.now(), always or app_settings.circuit_breaker.enabled)  # reports bad settings here
    return kind.decorated(func, now)


class _Loops(dict[tuple[int, float, float, bool], Callable[..., Any]]):
    """What runs a function, with and without a circuit, until the settings change."""

    MOST: Final = 2

    def __reduce__(self) -> tuple[type[_Loops], tuple[()]]:
        return _Loops, ()  # a function that is sent elsewhere makes its own there


# What each of the decorators below takes besides the fields of a policy.
_OPTIONS: Final = (
    "max_attempts",
    "min_wait",
    "max_wait",
    "guard",
    "wait_for_recovery",
    "retry_on",
    "deadline",
    "name",
    "breaker",
    "policy",
)


def _known(caller: str, first: object, options: RetryOptions) -> RetryOptions:
    """Return the options of one of the decorators below; `first` is its first argument.

    Raises:
        TypeError: there are others among them, or it has been given a function to decorate.
    """
    if callable(first) or is_method_of_class(first):
        raise TypeError(
            f"{caller} needs parentheses, got {shown(first)}; write `@{caller}()` above a function"
        )
    check_known(caller, options, (*_OPTIONS, *KINDS))
    return options


def retry_worker_operation(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> RetryDecorator:
    """Retry an operation of a worker, guarded by `worker:NAME`; see `create_retry_decorator`."""
    options = _known("retry_worker_operation", max_attempts, options)
    return create_retry_decorator("worker", max_attempts, min_wait, max_wait, **options)


def retry_storage_operation(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> RetryDecorator:
    """Retry an operation of a storage without jitter, guarded by `storage:NAME`; see
    `create_retry_decorator`.
    """
    options = _known("retry_storage_operation", max_attempts, options)
    return create_retry_decorator("storage", max_attempts, min_wait, max_wait, False, **options)


def retry_scheduler_operation(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> RetryDecorator:
    """Retry an operation of a scheduler, guarded by `scheduler:NAME`; see
    `create_retry_decorator`.
    """
    options = _known("retry_scheduler_operation", max_attempts, options)
    return create_retry_decorator("scheduler", max_attempts, min_wait, max_wait, **options)


def retry_api_call(
    max_attempts: int | None = None,
    min_wait: float | None = None,
    max_wait: float | None = None,
    **options: Unpack[RetryOptions],
) -> RetryDecorator:
    """Retry a call of an external API, guarded by `api:NAME`; see `create_retry_decorator`."""
    options = _known("retry_api_call", max_attempts, options)
    return create_retry_decorator("api", max_attempts, min_wait, max_wait, **options)
