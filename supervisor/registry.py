"""Circuits by name, created from the settings: the functions that existing code imports."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from supervisor.arguments import check_async, check_name, unwrapped
from supervisor.guard import CircuitBreaker, current
from supervisor.loop import loop_time
from supervisor.policy import Policy, fields_of
from supervisor.settings import app_settings
from supervisor.supervision import current_supervisor, supervisors_here

P = ParamSpec("P")
R = TypeVar("R")


def circuit_breaker(name: str, **given: float) -> CircuitBreaker:
    """Return the event loop's breaker of that name.

    If it does not exist yet, it is created by what is given, and otherwise by the settings.
    """
    supervisor = current_supervisor()
    breaker = supervisor.get(name)
    if breaker is None:
        policy = fields_of(app_settings.circuit_breaker.policy(check_name(name)))
        breaker = supervisor.circuit(name, **{**policy, **given})
    return breaker


class BreakerByName:
    """The breaker that `circuit_breaker(name)` returns, remembered as long as it is the same one:
    finding the running event loop's supervisor costs more than a guarded call.
    """

    __slots__ = ("_found", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        # One value, for threads' sake; weak, or a decorated function would keep an ended loop.
        self._found: tuple[object, weakref.ref[CircuitBreaker]] | None = None

    def get(self) -> CircuitBreaker:
        """Return the event loop's breaker of that name."""
        epoch = current.epoch()
        if self._found is not None:
            found_in, reference = self._found
            breaker = reference()
            if found_in is epoch and breaker is not None and breaker.has_actor_here():
                return breaker
        breaker = circuit_breaker(self.name)
        self._found = (current.epoch(), weakref.ref(breaker))
        return breaker


async def get_circuit_breaker(
    name: str,
    failure_threshold: int | None = None,
    recovery_timeout: float | None = None,
    success_threshold: int | None = None,
) -> CircuitBreaker:
    """Return the breaker of that name: the same one for every asker on this event loop.

    The arguments count only when it has to be created; those left out come from
    `app_settings.circuit_breaker`.

    Args:
        name: 1 to 255 printable characters.
        failure_threshold: consecutive failures that open the circuit, 1 or more.
        recovery_timeout: seconds that it stays open, more than 0.
        success_threshold: successful probes that close it again, 1 or more.

    Raises:
        SettingsError: a `BINDU_CB_*` variable is misspelt or out of range.
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """
    arguments = {
        "failure_threshold": failure_threshold,
        "recovery_timeout": recovery_timeout,
        "success_threshold": success_threshold,
    }
    given: dict[str, Any] = {
        field: value for field, value in arguments.items() if value is not None
    }
    Policy(**given)  # bad ones are refused also where they do not count
    return circuit_breaker(check_name(name), **given)


def get_circuit_breaker_sync(name: str) -> CircuitBreaker | None:
    """Return the breaker of that name, or None if this event loop has no such circuit.

    Where no event loop runs, those are looked at that this thread has paused.
    """
    supervisors = supervisors_here()
    if loop_time() is not None:
        supervisors = supervisors[-1:]  # the event loop's current one
    return next((supervisor[name] for supervisor in supervisors if name in supervisor), None)


def reset_all_circuit_breakers() -> None:
    """Close every circuit of the running event loop, and forget its failures.

    Where no event loop runs, that is every circuit of the loops that this thread has paused.
    """
    for supervisor in supervisors_here():
        for name in supervisor:
            supervisor[name].reset()


def clear_circuit_breaker_registry() -> None:
    """Stop and forget every circuit of the running event loop, or of this thread's paused ones.

    Each actor ends at its event loop's next turn.
    """
    for supervisor in supervisors_here():
        for name in list(supervisor):
            supervisor.stop(name)


def with_circuit_breaker(
    operation_name: str | None = None,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Guard an async function by the circuit `operation_name`, or else its `__qualname__`.

    While `app_settings.circuit_breaker.enabled` is false, calls go straight to the function.

    Raises:
        SettingsError: a `BINDU_CB_*` variable is misspelt or out of range.
        TypeError, ValueError: the name cannot be a circuit's, or the function is not async.
    """
    if operation_name is not None:
        check_name(operation_name)

    def decorate(func: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        check_async("with_circuit_breaker", func)
        named = unwrapped(func)
        own_name = getattr(named, "__qualname__", type(named).__qualname__)
        breaker = BreakerByName(check_name(operation_name or own_name))
        _ = app_settings.circuit_breaker  # reports a misspelt variable here, not at some call

        @functools.wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if not app_settings.circuit_breaker.enabled:
                return await func(*args, **kwargs)
            if "fallback" in kwargs:  # is the function's own here
                return await breaker.get().call(partial(func, *args, **kwargs))
            result: R = await breaker.get().call(func, *args, **kwargs)
            return result

        return guarded

    return decorate
