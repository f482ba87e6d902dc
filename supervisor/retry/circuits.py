"""Which circuit guards a retried function: a given one, or one of a given or generated name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from supervisor.arguments import check_name, shown
from supervisor.guard import CircuitBreaker
from supervisor.machine import CircuitState
from supervisor.policy import Policy
from supervisor.registry import BreakerByName, BreakerOfFunction


class CircuitOfLoop(Protocol):
    """A circuit by name, which may have to be created yet."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def get(self) -> CircuitBreaker:
        """Return its breaker on the running event loop."""
        ...


class Guarding(Protocol):
    """What guards attempts: a breaker, or one as worker threads use it."""

    @property
    def state(self) -> CircuitState:
        """Its circuit's state."""
        ...

    @property
    def retry_after(self) -> float:
        """Seconds until its circuit may admit a refused call."""
        ...

    @property
    def limits_retries(self) -> bool:
        """Whether there is a budget of retries."""
        ...

    @property
    def call(self) -> Callable[..., Any]:
        """Makes a guarded call."""
        ...

    @property
    def retry(self) -> Callable[..., Any]:
        """Makes one that is taken from the budget."""
        ...

    @property
    def spend_retry(self) -> Callable[[], Any]:
        """Takes an attempt of a call that is under way from the budget."""
        ...


class CircuitOfAttempts(Protocol):
    """A circuit by name, as those find it who make the attempts."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def get(self) -> Guarding:
        """Return what guards by it."""
        ...


class GivenBreaker:
    """The circuit of a breaker that the user has made."""

    __slots__ = ("_breaker", "name")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self.name = breaker.name

    def get(self) -> CircuitBreaker:
        """Return it."""
        return self._breaker


def check_circuit(
    name: object,
    breaker: object,
    policy: Policy | None,
    fields: Mapping[str, Any],
) -> None:
    """Refuse what cannot tell which circuit is meant, and by what it goes.

    Raises:
        TypeError, ValueError: the name or the breaker is none; or the breaker goes with a name or
            a policy, since it has its own.
    """
    if name is not None:
        check_name(name)
    if breaker is None:
        return
    if not isinstance(breaker, CircuitBreaker):
        raise TypeError(f"breaker must be a CircuitBreaker, got {shown(breaker)}")
    given = {"name": name, "policy": policy, **fields}
    for field, value in given.items():
        if value is not None:
            raise ValueError(
                f"{field}={shown(value)} and breaker={shown(breaker)} exclude each other: a"
                " breaker has its own name and policy"
            )


def circuit_of(
    caller: str,
    prefix: str,
    func: Callable[..., object],
    name: str | None,
    breaker: CircuitBreaker | None,
    policy: Policy | None,
    fields: Mapping[str, Any],
) -> CircuitOfLoop:
    """Return the circuit that guards `func`, by arguments that have been checked."""
    if breaker is not None:
        return GivenBreaker(breaker)
    if name is not None:
        return BreakerByName(caller, name, policy, fields)
    return BreakerOfFunction(caller, func, f"{prefix}:", "__name__", policy, fields)
