"""The breaker of a name on whatever event loop, created by the settings if need be."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping
from typing import Any, Final, ParamSpec, TypeVar, cast

from supervisor.arguments import check_name, unwrapped
from supervisor.errors import TooManyCircuitsError
from supervisor.guard import CircuitBreaker, epoch
from supervisor.instrumentation import place_of, warn_of_shared_name
from supervisor.policy import WINDOWS, Policy, check_given, given_policy
from supervisor.settings import app_settings
from supervisor.supervision import current_supervisor

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

    def __getstate__(self) -> tuple[None, dict[str, object]]:
        """A copy has found nothing yet."""
        slots = cast("tuple[None, dict[str, object]]", super().__getstate__())[1]
        return None, {**slots, "_found": None}

    def get(self) -> CircuitBreaker:
        """Return the event loop's breaker of that name."""
        if self._found is not None:
            found_in, reference = self._found
            breaker = reference()
            if found_in is epoch() and breaker is not None and breaker.has_actor_here():
                return breaker
        try:
            breaker = self.find()
        except TooManyCircuitsError:
            # One whose calls say so, and leave others their turns before.
            return CircuitBreaker(self.name, policy=self._policy_asked_for())
        self._found = (epoch(), weakref.ref(breaker))
        return breaker

    def find(self) -> CircuitBreaker:
        """Look for it anew, and start it if there is none.

        Raises:
            TooManyCircuitsError: there is no room for it.
        """
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


class BreakerOfFunction(BreakerByName):
    """The circuit that is named after a function; another function of that name shares it.

    Args:
        caller, policy, fields: see `BreakerByName`.
        func: the function.
        prefix: what comes before its name.
        short: the attribute that is its name, unless the settings ask for qualified ones.
    """

    __slots__ = ("_place", "_user")

    def __init__(
        self,
        caller: str,
        func: object,
        prefix: str,
        short: str,
        policy: Policy | None,
        fields: Mapping[str, Any],
    ) -> None:
        self._place = place_of(func)
        func = unwrapped(func)
        named = func if hasattr(func, "__name__") else type(func)
        self._user = f"{_text(named, '__module__')}.{_text(named, '__qualname__')}"
        qualified = app_settings.circuit_breaker.names == "qualified"
        own_name = self._user if qualified else _text(named, short)
        super().__init__(caller, prefix + own_name, policy, fields)
        if app_settings.circuit_breaker.enabled:
            self._tell_who_shares()

    def find(self) -> CircuitBreaker:
        """Look for it anew, and tell who shares it: circuits may have been enabled only now."""
        self._tell_who_shares()
        return super().find()

    def _tell_who_shares(self) -> None:
        users = _users_of(self.name)
        if not users:
            users.append(self._user)
        elif users == [users[0]] != [self._user]:
            first = users[0]
            users.append(self._user)  # so that it is said once
            warn_of_shared_name(self.name, first, self._user, self._place)


@functools.lru_cache(maxsize=1024)
def _users_of(name: str) -> list[str]:  # noqa: ARG001
    """Return the functions that are known to use a generated name, two at most."""
    return []


def _text(named: Any, attribute: str) -> str:
    return str(getattr(named, attribute, ""))
