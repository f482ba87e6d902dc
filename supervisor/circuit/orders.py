"""What a circuit is told to do: by hand through its actor, or by its supervisor at its end."""

from __future__ import annotations

from supervisor.circuit.admission import answer_all
from supervisor.circuit.allowance import Allowance
from supervisor.circuit.record import NOT_AT_ONCE, Circuit, GivenUp
from supervisor.machine import CircuitState, Force, Message, Reconfigure, Reset
from supervisor.policy import Policy


def reset(circuit: Circuit) -> None:
    """Forget its failures, if it is running, and close it unless its state is set by hand."""
    _order(circuit, Reset(circuit.now()))


def force(circuit: Circuit, state: CircuitState) -> None:
    """Enter a state by hand, or leave one for CLOSED, if it is running."""
    _order(circuit, Force(state, circuit.now()))


def reconfigure(circuit: Circuit, policy: Policy) -> None:
    """Go by another policy, if it is running."""
    circuit.check_thread()
    if circuit.allowance is None:
        circuit.allowance = Allowance(circuit.lease, circuit.policy, circuit.loop.time)
    _order(circuit, Reconfigure(policy, circuit.now()))
    circuit.allowance.expect(policy)
    circuit.grant = NOT_AT_ONCE


def give_up(circuit: Circuit, then: GivenUp) -> None:
    """Go on without an actor: let every call pass unguarded, or refuse every call."""
    circuit.given_up = then
    _end(circuit)


def stop(circuit: Circuit) -> None:
    """Take no more calls, and let the actor end."""
    circuit.given_up = None
    _end(circuit)


def _order(circuit: Circuit, message: Message) -> None:
    circuit.check_thread()
    if circuit.running:
        now = circuit.now()
        if now is not None:
            circuit.tell_overdue(now)  # what was due before it
        circuit.put(message)
        circuit.call_actor()


def _end(circuit: Circuit) -> None:
    circuit.running = False
    circuit.thread = 0
    circuit.call_actor()
    answer_all(circuit)
