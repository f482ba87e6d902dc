"""What people tell a circuit by hand: states, and who keeps it in them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import count
from types import TracebackType
from typing import Final, Self

from supervisor.arguments import check_seconds
from supervisor.circuit import Circuit, force, reset
from supervisor.guard.entered import entered_here
from supervisor.guard.joining import BY_NAME, Binding, find_to_change, supervisor_of
from supervisor.machine import CircuitState
from supervisor.policy import check_flag

_holds: Final = count(1)
"""Numbers of those who keep circuits open: of the process, since circuits come and go."""


class ByHand(ABC):
    """One circuit by name, as people operate it."""

    __slots__ = ()

    _circuit: Circuit
    _binding: Binding

    def reset(self) -> None:
        """Close the circuit and forget its failures; calls in flight count no more.

        A state that was set by hand stays, until `release`.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop; or the circuit is
                kept, and no event loop is running.
        """
        reset(self._keep(find_to_change(self._binding, self._circuit)))

    def force_open(self, everywhere: bool = False, *, seconds: float | None = None) -> None:
        """Refuse every call until `release`, or for a time: isolate the dependency.

        (Polly: Isolate)

        Like the other states that are set by hand, it is the circuit's and shared by all its
        breakers, so the circuit must be there: ask a supervisor for it, or use it first.

        Args:
            everywhere: whether it is set for all that share the circuit, until it is released for
                all. What is set for this circuit alone goes before that.
            seconds: more than 0, after which probes find out, as after `recovery_timeout`
                (resilience4j: transitionToOpenStateFor); of a shared circuit, the fleet's state is
                taken up then. None: until somebody releases it. Said again, it counts anew.

        Raises:
            RuntimeError: the circuit is not running yet, or on another thread's event loop; or it
                is not shared, or the fleet cannot be reached now.
            TypeError, ValueError: an argument is of the wrong type or out of range, or `seconds`
                does not go with `everywhere`.
        """
        if seconds is not None and everywhere:
            raise ValueError("seconds does not go with everywhere: a fleet has no end of its own")
        self._force(CircuitState.FORCED_OPEN, everywhere, seconds=_length(seconds))

    def isolate(self, seconds: float | None = None) -> Isolation:
        """Refuse every call until whoever asks for this, and all others who have, let it go.

        For several owners, none of whom may let calls through while another one does not want them
        (cockatiel: isolate). Who has called `force_open` is one of them. `release`, and every other
        state that is set by hand, ends it for all.

        Args:
            seconds: more than 0, after which this owner lets go anyway. If that is the last one,
                probes find out, as after `force_open(seconds=...)`. None: never.

        Returns:
            What lets it go: its `release()`, or the end of a block `with breaker.isolate():`.

        Raises:
            RuntimeError: see `force_open`.
            TypeError, ValueError: `seconds` is of the wrong type or out of range.
        """
        hold = next(_holds)
        circuit = self._force(CircuitState.FORCED_OPEN, hold=hold, seconds=_length(seconds))
        return Isolation(partial(_let_go, circuit, hold))

    def half_open(self) -> None:
        """Let the next calls be probes, whatever the state, rather than after some time.

        A state that was set by hand ends by that. A shared circuit decides alone on these probes.
        (resilience4j: transitionToHalfOpenState)

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.HALF_OPEN)

    def force_close(self, everywhere: bool = False) -> None:
        """Admit every call until `release`, and count outcomes without ever opening for them.

        Raises:
            RuntimeError, TypeError: see `force_open`.
        """
        self._force(CircuitState.FORCED_CLOSED, everywhere)

    def disable(self, everywhere: bool = False) -> None:
        """Admit every call until `release`, and let no outcome count (resilience4j: DISABLED).

        Raises:
            RuntimeError, TypeError: see `force_open`.
        """
        self._force(CircuitState.DISABLED, everywhere)

    def only_measure(self, everywhere: bool = False) -> None:
        """Admit every call until `release`, and count what it would have refused.

        (resilience4j: METRICS_ONLY)

        What it would have done shows in `statistics()`, as `would_be` and `would_have_refused`,
        and in `StateChanged` events, as `metrics_only`.

        Raises:
            RuntimeError, TypeError: see `force_open`.
        """
        self._force(CircuitState.METRICS_ONLY, everywhere)

    def release(self, everywhere: bool = False) -> None:
        """Leave a state that was set by hand: the circuit is CLOSED, with nothing remembered. If it
        is shared, it is in the fleet's state again; released `everywhere`, all are CLOSED.

        Raises:
            RuntimeError, TypeError: see `force_open`.
        """
        self._force(CircuitState.CLOSED, everywhere)

    def _force(
        self,
        state: CircuitState,
        everywhere: bool = False,
        hold: int = 0,
        seconds: float = math.inf,
    ) -> Circuit:
        check_flag("everywhere", everywhere)  # a number of seconds is none
        circuit = self._keep(find_to_change(self._binding, self._circuit))
        if not circuit.running:
            raise RuntimeError(_why_it_cannot_be_set(circuit))
        if everywhere:
            supervisor_of(circuit).force_everywhere(circuit, state)
        else:
            force(circuit, state, hold=hold, seconds=seconds)
        return circuit

    @abstractmethod
    def _keep(self, circuit: Circuit) -> Circuit:
        """Use that circuit from now on, if it runs."""


class Isolation:
    """One owner of an isolated circuit; `breaker.isolate()` returns it.

    As a block, `with breaker.isolate(): ...`, it is released at the end.
    """

    __slots__ = ("_let_go",)

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go = let_go

    def release(self) -> None:
        """Keep the circuit open no more; if nobody else does, it is CLOSED, and remembers nothing.

        It does nothing if it has been called before, if the circuit has been released for all
        meanwhile, or if it has ended.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _let_go(circuit: Circuit, hold: int) -> None:
    """Let the owner of that number keep a circuit open no more, wherever it goes on by now."""
    circuits = [circuit]
    if circuit.stopped:  # nobody else has this number, so all that may have followed are told
        found = (each.find(circuit.name) for each in entered_here())
        circuits = [*filter(None, found)] or [find_to_change(BY_NAME, circuit)]
    for each in circuits:
        force(each, CircuitState.CLOSED, hold=hold)


def _why_it_cannot_be_set(circuit: Circuit) -> str:
    """Return why no state can be set, and what to do first."""
    if circuit.instead is not None:
        return (
            f"circuit {circuit.name!r} has no actor any more, which has crashed too often, or ended"
            " with its event loop, so it has no state that could be set; stop it, as"
            " `supervisor.stop(name)`, and ask for a new one"
        )
    return (
        f"circuit {circuit.name!r} is not running here, so it has no state that could be set; ask"
        " a supervisor for it, as `supervisor.circuit(name)`, let one adopt this breaker, as"
        " `supervisor.adopt(breaker)`, or use it first"
    )


def _length(seconds: float | None) -> float:
    return math.inf if seconds is None else check_seconds("seconds", seconds)
