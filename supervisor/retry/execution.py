"""Retries of one call, without decorating."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from supervisor.arguments import check_count, check_seconds, form_of, instead_of, shown
from supervisor.guard import CircuitBreaker
from supervisor.instrumentation import tell_of_disabled
from supervisor.loop import read_settings
from supervisor.policy import Policy
from supervisor.retry.circuits import check_circuit, circuit_of
from supervisor.retry.functions import retried_in_tasks
from supervisor.retry.limits import check_deadline, check_waits
from supervisor.retry.strategies import Guard, Rules, backoff
from supervisor.retry.worth import RetryOn, worth_by
from supervisor.settings import app_settings

R = TypeVar("R")

_LOOP: Final[Guard] = "loop"


async def execute_with_retry(
    func: Callable[..., Awaitable[R]],
    *args: Any,
    max_attempts: int = 3,
    min_wait: float = 1,
    max_wait: float = 10,
    operation_name: str | None = None,
    name: str | None = None,
    breaker: CircuitBreaker | None = None,
    retry_on: RetryOn | None = None,
    deadline: float | None = None,
    policy: Policy | None = None,
    **kwargs: Any,
) -> R:
    """Run `await func(*args, **kwargs)` with retries, without decorating it.

    While circuits are enabled, the circuit `name` guards the whole loop, or else `adhoc:NAME` with
    NAME the function's `__name__`; or `breaker` does, also while they are disabled.

    Args:
        func: anything that returns an awaitable.
        max_attempts: 1 or more.
        min_wait, max_wait: seconds, more than 0, between which waits grow, with jitter.
        operation_name, name: the circuit's name, 1 to 255 printable characters, by either keyword.
        breaker, retry_on, deadline: see `create_retry_decorator`.
        policy: what the circuit goes by if it has to be created; None: what
            `app_settings.circuit_breaker` says. An argument of that name for `func` itself can be
            given by `functools.partial`, as those for the other names above.

    Raises:
        CircuitBreakerOpenError: the circuit refused the call; `func` was not called.
        TypeError, ValueError: an argument is of the wrong type or out of range, or two of them
            exclude each other.
    """
    if not callable(func) or form_of(func) in ("generator", "async generator"):
        wrong = f"{shown(func)}{instead_of(func)}"
        raise TypeError(f"execute_with_retry needs an async function, got {wrong}")
    check_count("max_attempts", max_attempts)
    check_seconds("min_wait", min_wait)  # None stands for no setting here
    check_seconds("max_wait", max_wait)
    check_waits(min_wait, max_wait)
    check_deadline(deadline)
    if operation_name is not None:
        if name is not None:
            raise ValueError(
                f"operation_name={shown(operation_name)} and name={shown(name)} exclude each other"
            )
        name = operation_name
    check_circuit(name, breaker, policy, {})
    await read_settings(retries=retry_on is None)
    guarded = breaker is not None or app_settings.circuit_breaker.enabled
    if not guarded:
        tell_of_disabled(func)
    waits, guard = backoff(min_wait, max_wait), _LOOP if guarded else None
    rules = Rules(max_attempts, waits, max_wait, worth_by(retry_on), guard, deadline=deadline)
    circuit = circuit_of("execute_with_retry", "adhoc", func, name, breaker, policy, {})
    result: R = await retried_in_tasks(func, circuit, rules)(*args, **kwargs)
    return result
