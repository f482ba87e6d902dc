"""What tests ask of circuits: what they went through, and to be out of the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, Final
from unittest import mock

import anyio.lowlevel

from supervisor import CircuitBreaker, CircuitState, Supervisor, app_settings
from supervisor.events import Event, StateChanged
from supervisor.registry import (
    clear_circuit_breaker_registry,
    forget_kept_circuits,
    reset_all_circuit_breakers,
)
from supervisor.settings import AppSettings, CircuitBreakerSettings, RetrySettings

ROUNDS: Final = 5
"""Turns of the event loop after which every actor has had one: two would do."""

BUFFER: Final = 1_000_000
"""Events between two looks at them: more than any test has."""


class Transitions:
    """The changes of state of a supervisor's circuits from now on.

    Args:
        supervisor: one that has not been entered yet, or whose event loop runs here.

    Raises:
        RuntimeError: this is not the supervisor's event loop.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._events = supervisor.events(BUFFER)
        self._seen: list[StateChanged] = []
        self._names: set[str] = set()

    async def all(self) -> list[StateChanged]:
        """Return all changes so far, in order, after every actor has had its turn."""
        for _ in range(ROUNDS):
            await anyio.lowlevel.checkpoint()
        # A closed stream ends where one that goes on would wait.
        events, self._events = self._events, self._supervisor.events(BUFFER)
        events.close()
        async for event in events:
            assert isinstance(
                event, Event
            )  # none is missed: tests have fewer than there is room for
            self._names.add(event.circuit)
            if isinstance(event, StateChanged):
                self._seen.append(event)
        return list(self._seen)

    async def of(self, name: str) -> list[CircuitState]:
        """Return the states that the circuit of that name has been in, from the first one on.

        What a circuit would have done only, while its state is set by hand, is left out.

        Raises:
            LookupError: there has been no circuit of that name.
        """
        states: list[CircuitState] = []
        for change in await self.all():
            if change.circuit == name and not change.metrics_only:
                # They differ where a circuit ended and another one of its name began.
                if not states or states[-1] is not change.from_state:
                    states.append(change.from_state)
                states.append(change.to_state)
        if states:
            return states
        if name in self._supervisor:
            return [self._supervisor[name].state]
        if name in self._names:
            return [CircuitState.CLOSED]
        there = ", ".join(sorted({*self._names, *self._supervisor})) or "none"
        raise LookupError(f"there has been no circuit {name!r}, but {there}")


def clear_circuits() -> None:
    """Close, stop and forget all circuits of the running event loop, or of this thread's paused
    ones, and what is kept of those of others in this process.

    A breaker that was got by name, or from a supervisor, is refused from then on.
    """
    reset_all_circuit_breakers()  # a breaker shows until its next call what its circuit was like
    clear_circuit_breaker_registry()


@contextmanager
def disabled_circuits() -> Generator[None]:
    """Let every circuit that starts admit all calls and count nothing, until the block is left.

    Circuits that run already are left alone. Those of other threads' event loops are disabled,
    too, and stay so. What has been kept in this process of circuits is forgotten afterwards.
    """
    disabled: list[CircuitBreaker] = []

    def disabling(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def start(supervisor: Supervisor, name: str, *args: Any, **kwargs: Any) -> Any:
            there = name in supervisor
            result = method(supervisor, name, *args, **kwargs)
            if not there:
                # One that is not running, since its event loop is ending, admits all calls.
                with suppress(RuntimeError):
                    supervisor[name].disable()
                    disabled.append(supervisor[name])
            return result

        return start

    # The two by which all circuits start: by name, and as breakers join a supervisor.
    try:
        with (
            mock.patch.object(Supervisor, "circuit", disabling(Supervisor.circuit)),
            mock.patch.object(Supervisor, "join", disabling(Supervisor.join)),
        ):
            yield
    finally:
        for breaker in disabled:
            with suppress(RuntimeError):  # its event loop has ended, or is another thread's
                breaker.release()
        forget_kept_circuits()


@contextmanager
def default_settings() -> Generator[AppSettings]:
    """Let `app_settings` have the defaults, until the block is left; it may be changed inside.

    Variables of the environment and the file `.env` count for nothing meanwhile.
    """
    groups = vars(app_settings)
    before = dict(groups)
    variables = {name: value for name, value in os.environ.items() if _is_setting(name)}
    try:
        for name in variables:
            del os.environ[name]
        app_settings.circuit_breaker = CircuitBreakerSettings(_env_file=None)
        app_settings.retry = RetrySettings(_env_file=None)
        yield app_settings
    finally:
        os.environ.update(variables)
        groups.clear()
        groups.update(before)


def _is_setting(variable: str) -> bool:
    return variable.upper().startswith(("BINDU_CB_", "BINDU_RETRY_"))
