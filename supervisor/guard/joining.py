"""Which circuit a breaker uses: that of its supervisor, or the one of its name where it runs."""

from __future__ import annotations

from typing import Final, Protocol
from weakref import ref

from supervisor.circuit import CANCELLED, Circuit
from supervisor.errors import CircuitStoppedError
from supervisor.guard import entered
from supervisor.guard.entered import AnySupervisor
from supervisor.loop import running_loop


class Binding(Protocol):
    """How a breaker finds its circuit; `before` is the one that it has used last."""

    def join(self, before: Circuit) -> Circuit:
        """Return the circuit to call, on the running event loop, started if need be."""
        ...

    def rejoin(self, before: Circuit) -> Circuit | None:
        """Return the same as `join` at once if that is easily told, or None: as where one breaker
        is used on several event loops in turn.
        """
        ...

    def find(self, before: Circuit) -> Circuit:
        """Return the circuit to read: like `join`, but nothing is started by reading.

        The figures of a circuit that was retired are gone: the next call begins a new one.
        """
        ...


class _Owned:
    """That of a supervisor's breaker: this very circuit, or its successor if it is retired."""

    def join(self, before: Circuit) -> Circuit:
        if not before.loop.runs_here():
            raise CircuitStoppedError(
                f"circuit {before.name!r} belongs to another event loop, which has ended or runs"
                " elsewhere; ask a supervisor of the running one for a circuit by name"
            )
        supervisor = _retired_by(before) if before.stopped else None
        if supervisor is None:
            return before  # if it is stopped, it refuses all calls, and says why
        return supervisor.join(before.name, before.latest_policy)

    def rejoin(self, before: Circuit) -> Circuit | None:  # noqa: ARG002
        return None

    def find(self, before: Circuit) -> Circuit:
        retired = _is_retired(before)
        if not retired or running_loop() is None or not before.loop.runs_here():
            return before
        return _successor(self, before) or Circuit(before.name, before.latest_policy)


class _ByName:
    """That of all other breakers: the circuit of the name, wherever it is called."""

    def join(self, before: Circuit) -> Circuit:
        here = before.loop.runs_here()
        if here and not before.stopped:
            return before  # its actor is about to start, or has been given up
        supervisor = _retired_by(before)
        if supervisor is None:
            if here and _is_over(before):
                return before  # it refuses all calls, and says why
            supervisor = entered.entered_last()
        if supervisor is None:
            supervisor = entered.start_default()
        return supervisor.join(before.name, before.latest_policy)

    def rejoin(self, before: Circuit) -> Circuit | None:
        for reference in entered.current_of_thread():
            supervisor = reference()
            new = None if supervisor is None else supervisor.find(before.name)
            if (
                new is not None
                and (home := new.home).where() == home.place
                and home.turn in home.turns
                and home.asyncio_loop not in (None, before.loop.asyncio_loop)
                and new.latest_policy is before.latest_policy
            ):
                return new
        return None

    def find(self, before: Circuit) -> Circuit:
        if running_loop() is None:
            return before if _may_go_on(before) else _kept(before) or before
        here = before.loop.runs_here()
        if here and not before.stopped:
            return before
        if here and before.block_left and before.retired_by is None and _is_over(before):
            return before
        new = _successor(self, before) or _kept(before)
        return new or Circuit(before.name, before.latest_policy)


OWNED: Final[Binding] = _Owned()
BY_NAME: Final[Binding] = _ByName()


def find_to_change(binding: Binding, before: Circuit) -> Circuit:
    """Return the circuit to change by hand: that to read, but one that is kept goes on for that.

    Raises:
        CircuitStoppedError, anyio.NoEventLoopError: it is kept, and cannot go on here.
    """
    found = binding.find(before)
    is_kept = not found.running and _kept(found) is not None
    return binding.join(before) if is_kept else found


def supervisor_of(circuit: Circuit) -> AnySupervisor:
    """Return the supervisor of a circuit that runs here."""
    return next(each for each in entered.entered_here() if each.find(circuit.name) is circuit)


def _successor(binding: Binding, before: Circuit) -> Circuit | None:
    """Return the circuit that a call would use, if it is there already."""
    supervisor = _retired_by(before)
    if supervisor is None:  # and not merely without any circuits
        supervisor = entered.entered_last()
    if supervisor is None or supervisor.find(before.name) is None:
        return None
    return binding.join(before)


def _kept(before: Circuit) -> Circuit | None:
    return entered.stand_in(before.name, before.latest_policy)


def _is_over(circuit: Circuit) -> bool:
    """Whether a stopped circuit has no successor where it runs, since its supervisor's block was
    left, and none round that has been entered.
    """
    supervisor = entered.entered_last()
    left = circuit.block_left or _is_retired(circuit)
    return left and (supervisor is None or supervisor.is_default)


def _may_go_on(circuit: Circuit) -> bool:
    return circuit.running and not circuit.loop.is_closed()


def _is_retired(circuit: Circuit) -> bool:
    return circuit.retired_by is not None and circuit.retired_by is not CANCELLED


def _retired_by(circuit: Circuit) -> AnySupervisor | None:
    """Return the supervisor that has retired `circuit`, while its block lasts, or None."""
    if circuit.retired_by is None:
        return None
    return next((each for each in entered.entered_here() if ref(each) == circuit.retired_by), None)
