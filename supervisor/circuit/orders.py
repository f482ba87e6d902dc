"""What a circuit is told to do: by hand through its actor, or by its supervisor at its end."""

from __future__ import annotations

import math

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.askers import Pause
from supervisor.circuit.asking import answer_all
from supervisor.circuit.beginning import BEFORE_FIRST_TURN, seed_for
from supervisor.circuit.observers import NO_OBSERVERS, CallObserver
from supervisor.circuit.reading import project
from supervisor.circuit.record import NOT_AT_ONCE, Circuit, GivenUp
from supervisor.loop import NOWHERE
from supervisor.machine import CircuitState, Force, Message, Reconfigure, Reset
from supervisor.policy import Policy


def reset(circuit: Circuit) -> None:
    """Forget its failures, if it is running, and close it unless its state is set by hand."""
    order(circuit, Reset(circuit.now()))


def force(
    circuit: Circuit,
    state: CircuitState,
    everywhere: bool = False,
    hold: int = 0,
    seconds: float = math.inf,
) -> None:
    """Enter a state by hand, or leave one for CLOSED, if it is running; see `Force`."""
    order(circuit, Force(state, circuit.now(), everywhere, hold, seconds))


def reconfigure(circuit: Circuit, policy: Policy) -> None:
    """Go by another policy, if it is running."""
    circuit.check_thread()
    allowance = _allowance_of(circuit)
    order(circuit, Reconfigure(policy, circuit.now(), seed_for(policy)))
    allowance.expect(policy)
    circuit.grant = NOT_AT_ONCE


def observe_calls(circuit: Circuit, observer: CallObserver | None) -> None:
    """Tell an observer of each call that begins from now on, in the place of any other one."""
    circuit.check_thread()
    _allowance_of(circuit).observer = observer
    circuit.call_actor()  # the next lease allows for it


def give_up(circuit: Circuit, then: GivenUp) -> None:
    """Go on without an actor: let every call pass unguarded, or refuse every call."""
    _end(circuit, then)


def outlive_actor(circuit: Circuit) -> None:
    """Go on without an actor while the event loop ends: calls pass, unless it is open."""
    give_up(circuit, "refuse" if project(circuit).state is CircuitState.OPEN else "allow")


def stop(circuit: Circuit) -> None:
    """Take no more calls, and let the actor end."""
    _end(circuit, None)


def let_go(circuit: Circuit) -> None:
    """Stop it, since its event loop has been closed without a word, and refer to nobody there."""
    stop(circuit)
    circuit.observers, circuit.on_refusal = NO_OBSERVERS, None


def _allowance_of(circuit: Circuit) -> Allowance:
    """Return that of a circuit, which may go by more than its first policy from now on."""
    if circuit.allowance is None:
        origin = circuit.machine.origin
        clock = circuit.loop.clock if circuit.running else circuit.loop
        lease = BEFORE_FIRST_TURN if circuit.home is NOWHERE else circuit.lease
        circuit.allowance = Allowance(lease, circuit.policy, clock, origin)
    return circuit.allowance


def order(circuit: Circuit, message: Message) -> None:
    """Tell its actor something that may change what callers may do, if it is running."""
    circuit.check_thread()
    if circuit.running:
        now = circuit.now()
        if now is not None:
            circuit.tell_overdue(now)  # what was due before it
        circuit.put(message)
        circuit.call_actor()


def _end(circuit: Circuit, instead: GivenUp | None) -> None:
    if isinstance(circuit.instead, Pause):
        circuit.instead.over.ring()
    circuit.running, circuit.instead = False, instead
    circuit.home, circuit.emit = NOWHERE, None
    if circuit.allowance is not None:
        circuit.allowance.clock = circuit.loop  # which may be forgotten, and not its clock
    circuit.call_actor()
    answer_all(circuit)
