"""A crashed actor is started again, unless that happens too often.

Intensity and period are those of Erlang's supervisors: so many crashes of one circuit's actor are
mended within so many seconds. It may pause before, for twice as long each time, as Pekko's
`BackoffSupervisor` lets one; without that one's random part, since nobody is asked for anything at
the end of a pause.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, Protocol

import anyio

from supervisor.arguments import check_seconds
from supervisor.circuit import Circuit, GivenUp, give_up, pause, run_actor
from supervisor.errors import CircuitCrashedError, describe
from supervisor.events import CircuitGivenUp, CircuitRestarted
from supervisor.loop import EventLoop, raise_later
from supervisor.supervision.publishing import Publisher, latest_time_of

_DOUBLINGS: Final = 64
"""Times at most that a pause grows: what is longer ends in no other way."""

Block = AbstractContextManager[object]
"""What a supervisor's block is entered as."""


OTHER_TASK: Final = (
    "a Supervisor's block must be left by the task that has entered it, and inner blocks before; or"
    " on asyncio by any task, if it has on_give_up='allow' or 'refuse'. Each cell of a notebook is"
    " a task, and each half of a fixture may be one. Its circuits have ended"
)


def block_for(on_give_up: Literal["escalate"] | GivenUp) -> Block:
    """Return a scope that can cancel the block; or on asyncio, unless it has to, what any task may
    leave, since frameworks and fixtures do not always enter and leave in the same one.
    """
    is_bound = on_give_up == "escalate" or EventLoop.here().asyncio_loop is None
    return anyio.CancelScope() if is_bound else nullcontext()


class RestartLimits(Protocol):
    """How much is mended, and what follows then; see `Supervisor`."""

    max_restarts: int
    restart_period: float
    on_give_up: Literal["escalate"] | GivenUp
    restart_pause: float | None
    max_restart_pause: float | None


def check_pauses(
    restart_pause: float | None, max_restart_pause: float | None
) -> tuple[float | None, float | None]:
    """Return both if they are pauses; see `Supervisor`.

    Raises:
        TypeError, ValueError: one is of the wrong type or out of range.
    """
    shortest = None if restart_pause is None else check_seconds("restart_pause", restart_pause)
    if max_restart_pause is None:
        return shortest, None
    longest = check_seconds("max_restart_pause", max_restart_pause)
    if shortest is None:
        raise ValueError(f"max_restart_pause needs a restart_pause, got {longest:g}")
    if longest < shortest:
        raise ValueError(
            f"max_restart_pause must be at least restart_pause, {shortest:g}, got {longest:g}"
        )
    return shortest, longest


class Restarts:
    """Keeps the actors of one supervisor running.

    Args:
        limits: those of the moment.
        publisher: is told.
        forget: keeps nothing of a circuit that is given up, since that may be what crashes.
        escalate: ends the supervisor with an error.
    """

    def __init__(
        self,
        limits: RestartLimits,
        publisher: Publisher,
        forget: Callable[[Circuit], None],
        escalate: Callable[[CircuitCrashedError], None],
    ) -> None:
        self._limits = limits
        self._publisher = publisher
        self._emit = publisher.publish_change  # both bound once, not once per circuit
        self._mend = self._mend_crash
        self._forget = forget
        self._escalate = escalate
        self._crashes: dict[str, deque[float]] = {}  # times, of circuits that have crashed

    def keep_running(self, circuit: Circuit) -> Coroutine[object, object, None]:
        """Run the circuit's actor, again and again if it crashes, until it is stopped."""
        return run_actor(circuit, self._emit, self._mend)

    def forget(self, circuit: Circuit) -> None:
        """Drop what is known of a circuit."""
        self._crashes.pop(circuit.name, None)

    def _mend_crash(self, circuit: Circuit, crash: BaseException) -> None:
        """Let the actor go on, or give it up if it has crashed too often.

        What is no `Exception` is a signal handler's, and handed on if that can be, or else comes
        through: it is no crash, but for an interrupt that trio has kept from its own task.
        """
        if not isinstance(crash, Exception):
            if raise_later(circuit.loop, crash):
                return
            if not isinstance(crash, KeyboardInterrupt):
                raise crash
        now = latest_time_of(circuit)
        crashes = self._crashes.setdefault(circuit.name, deque())
        crashes.append(now)
        while now - crashes[0] >= self._limits.restart_period:
            crashes.popleft()
        if len(crashes) <= self._limits.max_restarts:
            circuit.restarts += 1
            seconds = self._pause_after(len(crashes))
            if seconds:
                pause(circuit, now + seconds)
            self._publisher.publish(CircuitRestarted, circuit, error=describe(crash), pause=seconds)
        else:
            self._give_up(circuit, crash)

    def _pause_after(self, crashes: int) -> float:
        """Return for how long to pause after so many crashes within the period."""
        shortest, longest = self._limits.restart_pause, self._limits.max_restart_pause
        if shortest is None:
            return 0.0
        return min(shortest * 2.0 ** min(crashes - 1, _DOUBLINGS), longest or math.inf)

    def _give_up(self, circuit: Circuit, crash: BaseException) -> None:
        then = self._limits.on_give_up
        self._forget(circuit)
        text = describe(crash)
        self._publisher.publish(CircuitGivenUp, circuit, verdict=then, error=text)
        self._publisher.tell_outer(circuit, verdict=then, error=text)
        if then != "escalate":
            give_up(circuit, then)
            return
        error = CircuitCrashedError(
            f"the actor of circuit {circuit.name!r} crashed more than"
            f" {self._limits.max_restarts} times within {self._limits.restart_period:g} s"
        )
        error.__cause__ = crash
        self._escalate(error)
