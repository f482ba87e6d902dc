"""A call with all that there may be to it: another attempt, a wait, a time limit, a fallback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isasyncgen, isawaitable
from typing import Any, Final

from supervisor.arguments import instead_of, is_async, shown
from supervisor.circuit import Circuit, OuterCall, Ticket, admit, ask, end_once, report, succeed
from supervisor.errors import CircuitBreakerOpenError, FailedResultError
from supervisor.guard.given import judge_of
from supervisor.guard.timeouts import CallLimit, limited
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
        if fallback is RAISE:
            raise
        return await _fall_back(fallback, refusal)
    return await run_guarded(circuit, ticket, func, args, kwargs, fallback)


async def run_guarded(
    circuit: Circuit,
    ticket: Ticket | None,
    func: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fallback: object = RAISE,
) -> Any:
    """Make a call with all that there may be to it, known to those that are made inside it.

    It has been admitted by `ticket`; None: it has to ask.
    """
    ticket = await ask(circuit) if ticket is None else ticket
    began = circuit.started
    try:
        known, limit = OuterCall(circuit), CallLimit.of(circuit, ticket)
        judge = judge_of(circuit, ticket, func, args, kwargs)
    except BaseException:  # it has not begun
        circuit.ending += 1
        report(circuit, ticket, Outcome.IGNORED)
        raise
    awaitable: Awaitable[Any] | None = None
    try:
        with known:
            awaitable = func(*args, **kwargs)
            result = await limited(awaitable, limit)
    except BaseException as error:
        known.circuit, circuit.ending = None, circuit.ending + 1  # also if `with` was interrupted
        if type(error) is TypeError and is_misuse(func, awaitable, error):
            report(circuit, ticket, Outcome.IGNORED)
            raise misused(func) from error
        judgement = end_once(circuit, ticket, error, began, known, policy=judge)
        if fallback is RAISE or not (
            isinstance(judgement, Failure) and isinstance(error, Exception)
        ):
            raise
        return await _fall_back(fallback, error)
    circuit.ending += 1
    if isasyncgen(result):
        raise _unread(circuit, ticket, func)
    judgement = succeed(circuit, ticket, result, began, known, judge)
    if isinstance(judgement, Failure) and fallback is not RAISE:
        return await _fall_back(fallback, FailedResultError(circuit.name, result))
    return result


def _unread(circuit: Circuit, ticket: Ticket, func: object) -> TypeError:
    """Report a call as ignored that has returned what is to be read first, and return its error."""
    report(circuit, ticket, Outcome.IGNORED)
    what = "has returned an async generator, of which nothing has run yet"
    return TypeError(f"{shown(func)} {what}{instead_of(func, 'async generator')}")


async def _fall_back(fallback: object, error: Exception) -> Any:
    """Return what stands in for a result."""
    if not callable(fallback):
        return fallback
    try:
        answer: object = fallback(error)
        return await answer if isawaitable(answer) else answer
    finally:
        del error  # it may be raised again, and would be kept by this frame, which it keeps


def misused(func: object) -> TypeError:
    """Return the error of a call of what is no async function."""
    needed = "CircuitBreaker.call needs an async function (`async def`)"
    return TypeError(f"{needed}, got {shown(func)}{instead_of(func)}")


def is_misuse(func: object, returned: object, error: TypeError) -> bool:
    """Whether `func` is no async function, and was not called right, or returned no awaitable."""
    if is_async(func):
        return False
    if returned is None:
        return error.__traceback__ is not None and error.__traceback__.tb_next is None
    return not isawaitable(returned)
