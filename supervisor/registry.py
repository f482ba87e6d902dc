"""Circuits by name, created from the settings: the functions that existing code imports."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar, Unpack

from supervisor.arguments import check_async, check_name, unwrapped
from supervisor.guard import CircuitBreaker, epoch
from supervisor.loop import loop_time
from supervisor.policy import FurtherFields, Policy, PolicyFields, check_given, given_policy
from supervisor.settings import WINDOWS, app_settings
from supervisor.supervision import current_supervisor, supervisors_here

P = ParamSpec("P")
R = TypeVar("R")


OWN_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "get_circuit_breaker": ("name", "policy"),
    "with_circuit_breaker": ("operation_name", "policy"),
}
"""What else these functions take by name."""


class BreakerByName:
    """The event loop's breaker of a name, created if need be by the settings and what is given.

    It is remembered as long as it is the same one: finding the running event loop's supervisor
    costs more than a guarded call.

    Args:
        caller: what the user has called, for errors.
        name: the circuit's name.
        policy: what it goes by if it has to be created; None: what the settings say.
        fields: fields of `Policy`, which go before those.

    Raises:
        TypeError, ValueError: something that is given is unknown, of the wrong type or out of
            range.
    """

    __slots__ = ("_caller", "_fields", "_found", "_policy", "name")

    def __init__(
        self, caller: str, name: str, policy: Policy | None, fields: Mapping[str, Any]
    ) -> None:
        # Bad ones are refused also where they do not count.
        check_given(caller, policy, fields, OWN_NAMES.get(caller, ()))
        self.name = check_name(name)
        self._caller = caller
        self._policy = policy
        self._fields = fields
        # One value, for threads' sake; weak, or a decorated function would keep an ended loop.
        self._found: tuple[object, weakref.ref[CircuitBreaker]] | None = None

    def get(self) -> CircuitBreaker:
        """Return the event loop's breaker of that name."""
        if self._found is not None:
            found_in, reference = self._found
            breaker = reference()
            if found_in is epoch() and breaker is not None and breaker.has_actor_here():
                return breaker
        breaker = self._find()
        self._found = (epoch(), weakref.ref(breaker))
        return breaker

    def _find(self) -> CircuitBreaker:
        supervisor = current_supervisor()
        breaker = supervisor.get(self.name)
        if breaker is None:
            breaker = supervisor.circuit(self.name, self._policy_asked_for())
        return breaker

    def _policy_asked_for(self) -> Policy:
        if self._policy is not None:
            return given_policy(self._caller, self._policy, self._fields)
        settings = app_settings.circuit_breaker.policy(self.name)
        # A window takes the place of one of the other kind, as among the settings.
        displaced = {
            other: None
            for window, other in (WINDOWS, WINDOWS[::-1])
            if self._fields.get(window) is not None
        }
        return given_policy(self._caller, settings, {**displaced, **self._fields})


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
    return BreakerByName("get_circuit_breaker", name, policy, {**given, **fields}).get()


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
    *,
    policy: Policy | None = None,
    **fields: Unpack[PolicyFields],
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Guard an async function by the circuit `operation_name`, or else its `__qualname__`.

    While `app_settings.circuit_breaker.enabled` is false, calls go straight to the function.

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
    if operation_name is not None:
        check_name(operation_name)

    def decorate(func: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        check_async("with_circuit_breaker", func)
        named = unwrapped(func)
        own_name = getattr(named, "__qualname__", type(named).__qualname__)
        name = operation_name or own_name
        breaker = BreakerByName("with_circuit_breaker", name, policy, fields)
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
