"""Circuits by name, created from the settings: the functions that existing code imports."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar, Unpack, cast, overload

from supervisor.arguments import (
    check_async,
    check_name,
    decorate_within,
    is_method_of_class,
)
from supervisor.errors import TooManyCircuitsError
from supervisor.guard import CircuitBreaker
from supervisor.instrumentation import tell_of_disabled
from supervisor.loop import let_others_go_first, read_settings, running_loop
from supervisor.policy import FurtherFields, Policy, PolicyFields, check_given
from supervisor.registry.by_name import OWN_NAMES, BreakerByName, BreakerOfFunction
from supervisor.settings import app_settings
from supervisor.supervision import (
    current_supervisor,
    forget_kept,
    supervisors_here,
    tell_other_threads,
)

P = ParamSpec("P")
R = TypeVar("R")


async def get_circuit_breaker(
    name: str,
    failure_threshold: int | None = None,
    recovery_timeout: float | None = None,
    success_threshold: int | None = None,
    *,
    policy: Policy | None = None,
    **fields: Unpack[FurtherFields],
) -> CircuitBreaker:
    """Return the breaker of that name: the same one for every asker on this event loop.

    What else is given counts only when the circuit has to be created.

    Args:
        name: 1 to 255 printable characters.
        failure_threshold: consecutive failures that open the circuit, 1 or more.
        recovery_timeout: seconds that it stays open, more than 0.
        success_threshold: successful probes that close it again, 1 or more.
        policy: what the circuit goes by; None: what `app_settings.circuit_breaker` says.
        fields: any other field of `Policy`. Fields that are given go before those of `policy`, or
            of the settings; the three above count as given unless they are None.

    Raises:
        SettingsError: a `BINDU_CB_*` variable is misspelt or out of range.
        TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
    """
    arguments = {
        "failure_threshold": failure_threshold,
        "recovery_timeout": recovery_timeout,
        "success_threshold": success_threshold,
    }
    given = {field: value for field, value in arguments.items() if value is not None}
    await read_settings()
    if not given and not fields and policy is None and type(name) is str:
        breaker = current_supervisor().get(name)  # what is asked for most often, at every call
        if breaker is not None:
            return breaker
    asked = BreakerByName("get_circuit_breaker", name, policy, {**given, **fields})
    try:
        return asked.find()
    except TooManyCircuitsError:
        await let_others_go_first()  # who asks again at once is to leave them their turns
        raise


def get_circuit_breaker_sync(name: str) -> CircuitBreaker | None:
    """Return the breaker of that name, or None if this event loop has no such circuit.

    Where no event loop runs, those are looked at that this thread has paused.
    """
    supervisors = supervisors_here()
    if running_loop() is not None:
        supervisors = supervisors[-1:]  # the event loop's current one
    return next((supervisor[name] for supervisor in supervisors if name in supervisor), None)


def reset_all_circuit_breakers() -> None:
    """Close every circuit of the running event loop, and forget its failures.

    Where no event loop runs, that is every circuit of the loops that this thread has paused; and,
    at their next turn, of the one that has started this thread, or else of those of other threads.
    """
    _reset_all_here()
    tell_other_threads(_reset_all_here)


def _reset_all_here() -> None:
    for supervisor in supervisors_here():
        for name in supervisor:
            supervisor[name].reset()


def clear_circuit_breaker_registry() -> None:
    """Stop and forget every circuit of the running event loop, or of this thread's paused ones,
    and what is kept of those of others in this process; from a thread without an event loop, also
    those of other threads, as by `reset_all_circuit_breakers`.

    Each actor ends at its event loop's next turn.
    """
    _stop_all_here()
    tell_other_threads(_stop_all_here)
    forget_kept_circuits()


def _stop_all_here() -> None:
    for supervisor in supervisors_here():
        for name in list(supervisor):
            supervisor.stop(name)


def forget_kept_circuits() -> None:
    """Forget what has been kept in this process of circuits whose event loops have ended.

    Nor will anything be kept of what circuits know that run now.
    """
    forget_kept()


@overload
def with_circuit_breaker(
    operation_name: Callable[P, Coroutine[Any, Any, R]], /
) -> Callable[P, Coroutine[Any, Any, R]]: ...


@overload
def with_circuit_breaker(
    operation_name: str | None = None,
    *,
    policy: Policy | None = None,
    **fields: Unpack[PolicyFields],
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]: ...


def with_circuit_breaker(
    operation_name: object = None,
    *,
    policy: Policy | None = None,
    **fields: Unpack[PolicyFields],
) -> Any:
    """Guard an async function by the circuit `operation_name`, or else its `__qualname__`.

    Without arguments, the parentheses may be left out: `@with_circuit_breaker`. While
    `app_settings.circuit_breaker.enabled` is false, calls go straight to the function.

    Args:
        operation_name: 1 to 255 printable characters.
        policy: what the circuit goes by if it has to be created; None: what
            `app_settings.circuit_breaker` says.
        fields: fields of `Policy`, which go before those of `policy`, or of the settings.

    Raises:
        SettingsError: a `BINDU_CB_*` variable is misspelt or out of range.
        TypeError, ValueError: the name cannot be a circuit's, the function is not async, or
            another argument is unknown, of the wrong type or out of range.
    """
    check_given("with_circuit_breaker", policy, fields, OWN_NAMES["with_circuit_breaker"])
    bare = callable(operation_name) or is_method_of_class(operation_name)
    given_name = None if bare or operation_name is None else check_name(operation_name)

    def decorate(func: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        if is_method_of_class(func):
            return decorate_within(func, decorate)
        check_async("with_circuit_breaker", func)
        _ = app_settings.circuit_breaker  # reports a misspelt variable here, not at some call
        caller, own_name = "with_circuit_breaker", "__qualname__"
        if given_name is not None:
            breaker = BreakerByName(caller, given_name, policy, fields)
        else:
            breaker = BreakerOfFunction(caller, func, "", own_name, policy, fields)

        @functools.wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if not app_settings.knows_circuits:  # nobody has decorated it here: it was sent
                await read_settings()
            if not app_settings.circuit_breaker.enabled:
                tell_of_disabled(func)
                return await func(*args, **kwargs)
            if "fallback" in kwargs:  # is the function's own here
                return await breaker.get().call(partial(func, *args, **kwargs))
            result: R = await breaker.get().call(func, *args, **kwargs)
            return result

        return guarded

    return decorate(cast("Any", operation_name)) if bare else decorate
