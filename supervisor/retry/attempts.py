"""Retry loops: tenacity does all the retrying, a circuit guards the loop or each attempt."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Literal, ParamSpec, TypeVar, assert_never

import anyio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    stop_after_attempt,
    stop_any,
    wait_exponential,
    wait_random_exponential,
)
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from supervisor.arguments import shown
from supervisor.errors import CircuitBreakerOpenError
from supervisor.instrumentation import log_retry
from supervisor.machine import CircuitState
from supervisor.registry import BreakerByName

P = ParamSpec("P")
R = TypeVar("R")
AsyncFunction = Callable[P, Coroutine[Any, Any, R]]
Guard = Literal["loop", "attempt"]
NewLoop = Callable[[], AsyncRetrying]

TRANSIENT_EXCEPTIONS: Final = (ConnectionError, TimeoutError, OSError)
"""What is worth another try, subclasses included."""

EARLY_WAKE: Final = 0.001
"""Seconds by which a clock may wake a sleeper too soon; an attempt would be wasted on it."""


def is_retryable_error(exc: BaseException) -> bool:
    """Return whether the retry decorators try again after `exc`."""
    return isinstance(exc, TRANSIENT_EXCEPTIONS)


def retried(
    func: Callable[P, Awaitable[R]],
    breaker: BreakerByName,
    attempts: int,
    backoff: wait_base,
    guard: Guard | None,
    wait_for_recovery: bool = False,
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return `func` with a retry loop round it, and the circuit round that loop or in it."""
    attempt = _coroutine_function(func)
    # Each call has a loop of its own: one that several calls share mixes up their attempts.
    # Making one is cheaper than copying one, which is what tenacity's own decorators do.
    new_loop = partial(
        AsyncRetrying,
        sleep=anyio.sleep,
        before=_nothing,
        before_sleep=partial(_log_before_sleep, breaker.name),
        retry_error_callback=_raise_last_error,
        **_strategies(breaker, attempts, backoff, guard, wait_for_recovery),
    )
    match guard:
        case "loop":
            return _guarded_loop(attempt, breaker, new_loop)
        case "attempt":
            return _guarded_attempts(attempt, breaker, new_loop)
        case None:
            return _unguarded(attempt, new_loop)
        case _:
            assert_never(guard)


def _strategies(
    breaker: BreakerByName,
    attempts: int,
    backoff: wait_base,
    guard: Guard | None,
    wait_for_recovery: bool,
) -> dict[str, Any]:
    """Return when a loop stops, how long it waits, and after what it tries again."""
    stop = stop_after_attempt(attempts)
    if guard == "attempt" and wait_for_recovery:
        wait, retry = _until_recovery(breaker, backoff), _is_worth_waiting(breaker.name)
        return {"stop": stop, "wait": wait, "retry": retry}
    if guard == "attempt":
        return {
            "stop": stop_any(stop, _StopWhenOpen(breaker)),
            "wait": backoff,
            "retry": _is_transient,
        }
    return {"stop": stop, "wait": backoff, "retry": _is_transient}


def _unguarded(attempt: AsyncFunction[P, R], new_loop: NewLoop) -> AsyncFunction[P, R]:
    def run(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Any]:
        return new_loop()(partial(attempt, *args, **kwargs))

    return run


def _guarded_attempts(
    attempt: AsyncFunction[P, R], breaker: BreakerByName, new_loop: NewLoop
) -> AsyncFunction[P, R]:
    def run(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Any]:
        made = partial(attempt, *args, **kwargs)

        async def first() -> Any:
            return await breaker.get().call(made)

        async def again() -> Any:
            return await breaker.get().retry(made)

        return _Attempts(first, again).make_all(new_loop())

    return run


def _guarded_loop(
    attempt: AsyncFunction[P, R], breaker: BreakerByName, new_loop: NewLoop
) -> AsyncFunction[P, R]:
    def run(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Any]:
        own, made = breaker.get(), partial(attempt, *args, **kwargs)
        if not own.limits_retries:
            return own.call(new_loop(), made)

        async def again() -> Any:
            await own.spend_retry()
            return await made()

        return own.call(_Attempts(made, again).make_all, new_loop())

    return run


def _coroutine_function(func: Callable[P, Awaitable[R]]) -> AsyncFunction[P, R]:
    """Return `func` in the one form that tenacity is sure to recognise as async."""

    @functools.wraps(func)
    async def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        awaitable = func(*args, **kwargs)
        if not inspect.isawaitable(awaitable):
            raise TypeError(
                f"an async function is needed, but {shown(func)} returned {shown(awaitable)}"
            )
        return await awaitable

    return func if inspect.iscoroutinefunction(func) else attempt


class _Attempts:
    """The attempts of one call, as far as the budget of retries allows.

    Args:
        first: makes an attempt that is no retry.
        again: makes one that is taken from the budget.
    """

    __slots__ = ("_again", "_first", "_last_error", "_refusal")

    def __init__(
        self, first: Callable[[], Awaitable[Any]], again: Callable[[], Awaitable[Any]]
    ) -> None:
        self._first = first
        self._again = again
        self._last_error: Exception | None = None
        self._refusal: CircuitBreakerOpenError | None = None  # by the budget

    async def make_all(self, loop: AsyncRetrying) -> Any:
        """Make attempts until one succeeds, or the loop or the budget is at its end.

        Raises:
            Exception: that of the last attempt.
        """
        try:
            return await loop(self._make)
        except CircuitBreakerOpenError as error:
            if error is not self._refusal or self._last_error is None:
                raise
            self._last_error.add_note(f"not tried again, since {error}")
            raise self._last_error from None

    async def _make(self) -> Any:
        try:
            return await (self._first() if self._last_error is None else self._again())
        except CircuitBreakerOpenError as error:
            if error.reason == "retry_budget":
                self._refusal = error
            raise
        except Exception as error:
            self._last_error = error
            raise


# Tenacity wraps each strategy that is no async function in one, again at every attempt. The two
# that run also when an attempt succeeds are async, therefore: that takes 2 of 17 µs away.


async def _nothing(state: RetryCallState) -> None:
    """What is to be done before an attempt."""


def _log_before_sleep(circuit: str, state: RetryCallState) -> None:
    log_retry(circuit, state.attempt_number, state.upcoming_sleep, _last_error(state))


async def _is_transient(state: RetryCallState) -> bool:
    error = _last_error(state)
    if error is None:
        return False
    if is_retryable_error(error):
        return True
    raise error  # tenacity would, unless `bool(error)` is false


def _last_error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _raise_last_error(state: RetryCallState) -> None:
    error = _last_error(state)
    assert error is not None
    raise error


def _is_worth_waiting(circuit: str) -> Callable[[RetryCallState], Awaitable[bool]]:
    """Return whether to retry: also after a refusal, but for one without an end."""

    async def is_worth_waiting(state: RetryCallState) -> bool:
        error = _last_error(state)
        if isinstance(error, CircuitBreakerOpenError) and error.operation_name == circuit:
            return math.isfinite(error.retry_after) and error.reason != "retry_budget"
        return await _is_transient(state)

    return is_worth_waiting


class _StopWhenOpen(stop_base):
    """End a retry loop once its circuit refuses calls."""

    def __init__(self, breaker: BreakerByName) -> None:
        self.breaker = breaker

    def __call__(self, retry_state: RetryCallState) -> bool:  # noqa: ARG002
        return self.breaker.get().state is CircuitState.OPEN


def _until_recovery(
    breaker: BreakerByName, backoff: wait_base
) -> Callable[[RetryCallState], float]:
    def wait(state: RetryCallState) -> float:
        retry_after = breaker.get().retry_after
        return max(backoff(state), retry_after + EARLY_WAKE if retry_after else 0.0)

    return wait


def backoff(min_wait: float, max_wait: float, use_jitter: bool = True) -> wait_base:
    """Return waits in seconds: `min_wait`, and then twice the one before, up to `max_wait`.

    With jitter, each is drawn between `min_wait` and that, by tenacity's own strategy.
    """
    strategy = wait_random_exponential if use_jitter else wait_exponential
    return strategy(multiplier=min_wait, min=min_wait, max=max_wait)
