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
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    wait_exponential,
    wait_random_exponential,
)
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from supervisor.errors import CircuitBreakerOpenError
from supervisor.logs import log_retry
from supervisor.messages import CircuitState
from supervisor.registry import circuit_breaker

P = ParamSpec("P")
R = TypeVar("R")
AsyncFunction = Callable[P, Coroutine[Any, Any, R]]
Guard = Literal["loop", "attempt"]

TRANSIENT_EXCEPTIONS: Final = (ConnectionError, TimeoutError, OSError)
"""What is worth another try, subclasses included."""

EARLY_WAKE: Final = 0.001
"""Seconds by which a clock may wake a sleeper too soon; an attempt would be wasted on it."""


def is_retryable_error(exc: BaseException) -> bool:
    """Return whether the retry decorators try again after `exc`."""
    return isinstance(exc, TRANSIENT_EXCEPTIONS)


def retried(
    func: Callable[P, Awaitable[R]],
    circuit: str,
    attempts: int,
    backoff: wait_base,
    guard: Guard | None,
    wait_for_recovery: bool = False,
) -> AsyncFunction[P, R]:
    """Return `func` with a retry loop round it, and the circuit round that loop or in it."""

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log_retry(circuit, state.attempt_number, state.upcoming_sleep, error)

    attempt = _coroutine_function(func)
    loop = AsyncRetrying(
        sleep=anyio.sleep,
        stop=stop_after_attempt(attempts),
        wait=backoff,
        retry=retry_if_exception(is_retryable_error),
        before_sleep=before_sleep,
        reraise=True,
    )
    match guard:
        case None:
            return loop.wraps(attempt)
        case "loop":
            return _guarded(loop.wraps(attempt), circuit)
        case "attempt" if wait_for_recovery:
            patient = loop.copy(
                wait=_until_recovery(circuit, backoff),
                retry=retry_if_exception(partial(_is_worth_waiting, circuit)),
            )
            return patient.wraps(_guarded(attempt, circuit))
        case "attempt":
            brief = loop.copy(stop=stop_any(stop_after_attempt(attempts), _StopWhenOpen(circuit)))
            return brief.wraps(_guarded(attempt, circuit))
        case _:
            assert_never(guard)


def _coroutine_function(func: Callable[P, Awaitable[R]]) -> AsyncFunction[P, R]:
    """Return `func` in the one form that tenacity is sure to recognise as async."""

    @functools.wraps(func)
    async def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        awaitable = func(*args, **kwargs)
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"an async function is needed, but {func!r} returned {awaitable!r}")
        return await awaitable

    return func if inspect.iscoroutinefunction(func) else attempt


def _guarded(func: AsyncFunction[P, R], circuit: str) -> AsyncFunction[P, R]:
    @functools.wraps(func)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        return await circuit_breaker(circuit).call(func, *args, **kwargs)

    return guarded


class _StopWhenOpen(stop_base):
    """End a retry loop once its circuit refuses calls."""

    def __init__(self, circuit: str) -> None:
        self.circuit = circuit

    def __call__(self, retry_state: RetryCallState) -> bool:  # noqa: ARG002
        return circuit_breaker(self.circuit).state is CircuitState.OPEN


def _is_worth_waiting(circuit: str, error: BaseException) -> bool:
    """Return whether to retry: also after a refusal, but for one without an end."""
    if isinstance(error, CircuitBreakerOpenError) and error.operation_name == circuit:
        return math.isfinite(error.retry_after)
    return is_retryable_error(error)


def _until_recovery(circuit: str, backoff: wait_base) -> Callable[[RetryCallState], float]:
    def wait(state: RetryCallState) -> float:
        retry_after = circuit_breaker(circuit).retry_after
        return max(backoff(state), retry_after + EARLY_WAKE if retry_after else 0.0)

    return wait


def backoff(min_wait: float, max_wait: float, use_jitter: bool = True) -> wait_base:
    """Return waits in seconds: `min_wait`, and then twice the one before, up to `max_wait`.

    With jitter, each is drawn between `min_wait` and that, by tenacity's own strategy.
    """
    strategy = wait_random_exponential if use_jitter else wait_exponential
    return strategy(multiplier=min_wait, min=min_wait, max=max_wait)
