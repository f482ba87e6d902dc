"""A call with all that there may be to it: another attempt, a wait, a time limit, a fallback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final

from supervisor.arguments import is_async
from supervisor.circuit import Circuit, Ticket, admit, end, fail, settle, succeed
from supervisor.errors import CircuitBreakerOpenError, FailedResultError
from supervisor.guard.timeouts import limited
from supervisor.machine import WaitFor
from supervisor.policy import Failure, Outcome

RAISE: Final = object()
"""The fallback of calls that have none."""


async def make_call(
    circuit: Circuit,
    func: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fallback: object = RAISE,
    *,
    retry: bool = False,
    wait: float | None = None,
    wait_for: WaitFor = "closed",
) -> Any:
    """Make a call with all that there is to choose."""
    try:
        ticket = await admit(circuit, retry, wait, wait_for)
    except CircuitBreakerOpenError as refusal:
        return await _fall_back(fallback, refusal)
    return await run_guarded(circuit, ticket, func, args, kwargs, fallback)


async def run_guarded(
    circuit: Circuit,
    ticket: Ticket,
    func: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fallback: object = RAISE,
) -> Any:
    """Make a call that has been admitted, with all that there may be to it."""
    awaitable: Awaitable[Any] | None = None
    try:
        awaitable = func(*args, **kwargs)
        result = await limited(awaitable, circuit.policy_of(ticket).timeout)
    except Exception as error:
        if type(error) is TypeError and is_misuse(func, awaitable, error):
            settle(circuit, ticket, Outcome.IGNORED)
            error.add_note("CircuitBreaker.call needs an async function (`async def`)")
            raise
        if not isinstance(fail(circuit, ticket, error), Failure):
            raise
        return await _fall_back(fallback, error)
    except BaseException as error:
        end(circuit, ticket, error)
        raise
    if isinstance(succeed(circuit, ticket, result), Failure) and fallback is not RAISE:
        return await _fall_back(fallback, FailedResultError(circuit.name, result))
    return result


async def _fall_back(fallback: object, error: Exception) -> Any:
    """Return what stands in for a result.

    Raises:
        Exception: the error itself, if nothing does.
    """
    if fallback is RAISE:
        raise error
    if not callable(fallback):
        return fallback
    answer: object = fallback(error)
    return await answer if isawaitable(answer) else answer


def is_misuse(func: object, returned: object, error: TypeError) -> bool:
    """Whether `func` is no async function, and was not called right, or returned no awaitable."""
    if is_async(func):
        return False
    if returned is None:
        return error.__traceback__ is not None and error.__traceback__.tb_next is None
    return not isawaitable(returned)
