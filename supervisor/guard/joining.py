"""Which circuit a breaker uses: that of its supervisor, or the one of its name where it runs."""

from __future__ import annotations

from typing import Final, Protocol

from supervisor.circuit import Circuit
from supervisor.errors import CircuitStoppedError
from supervisor.guard import entered
from supervisor.guard.entered import AnySupervisor
from supervisor.loop import loop_time


class Binding(Protocol):
    """How a breaker finds its circuit; `before` is the one that it has used last."""

    def join(self, before: Circuit) -> Circuit:
        """Return the circuit to call, on the running event loop, started if need be."""
        ...

    def find(self, before: Circuit) -> Circuit:
        """Return the circuit to read: like `join`, but nothing is started by reading.

        The figures of a circuit that was retired are gone: the next call begins a new one.
        """
        ...


class _Owned:
    """That of a supervisor's breaker: this very circuit, or its successor if it is retired."""

    def join(self, before: Circuit) -> Circuit:
        if not before.loop.is_current():
            raise CircuitStoppedError(
                f"circuit {before.name!r} belongs to another event loop, which has ended or runs"
                " elsewhere; ask a supervisor of the running one for a circuit by name"
            )
        supervisor = _retired_by(before) if before.stopped else None
        if supervisor is None:
            return before  # if it is stopped, it refuses all calls, and says why
        return supervisor.join(before.name, before.latest_policy)

    def find(self, before: Circuit) -> Circuit:
        retired = before.retired_by is not None
        if not retired or loop_time() is None or not before.loop.is_current():
            return before
        return _successor(self, before) or Circuit(before.name, before.latest_policy)


class _ByName:
    """That of all other breakers: the circuit of the name, wherever it is called."""

    def join(self, before: Circuit) -> Circuit:
        here = before.loop.is_current()
        if here and not before.stopped:
            return before  # its actor is about to start, or has been given up
        supervisor = _retired_by(before)
        if supervisor is None:
            supervisor = entered.entered_last()
            left = before.block_left or before.retired_by is not None
            if here and left and (supervisor is None or supervisor.is_default):
                return before  # it refuses all calls, and says why
        if supervisor is None:
            supervisor = entered.start_default()
        return supervisor.join(before.name, before.latest_policy)

    def find(self, before: Circuit) -> Circuit:
        if loop_time() is None:
            return before
        here = before.loop.is_current()
        if here and not before.stopped:
            return before
        if here and before.retired_by is None:
            return _successor(self, before) or before
        return _successor(self, before) or Circuit(before.name, before.latest_policy)


OWNED: Final[Binding] = _Owned()
BY_NAME: Final[Binding] = _ByName()


def _successor(binding: Binding, before: Circuit) -> Circuit | None:
    """Return the circuit that a call would use, if it is there already."""
    supervisor = _retired_by(before)
    if supervisor is None:  # and not merely without any circuits
        supervisor = entered.entered_last()
    if supervisor is None or supervisor.find(before.name) is None:
        return None
    return binding.join(before)


def _retired_by(circuit: Circuit) -> AnySupervisor | None:
    """Return the supervisor that has retired `circuit`, while its block lasts, or None."""
    return next((each for each in entered.entered_here() if each is circuit.retired_by), None)
