"""Who is told what a call has met, by the task or thread that meets it: tracing, which has to know
whose call it was. What an actor tells comes later, and of nobody's call.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Protocol

from supervisor.circuit.reading import project
from supervisor.circuit.record import Circuit
from supervisor.machine import CircuitState, Settle


class Witness(Protocol):
    """Is told of calls that are refused, or open a circuit, before their caller goes on.

    It must not wait. What it raises is dropped.
    """

    def refused(self, circuit: str, state: CircuitState, reason: str) -> None:
        """Learn that a circuit in that state does not admit this call."""
        ...

    def opened(self, circuit: str, from_state: CircuitState) -> None:
        """Learn that the end of this call opens a circuit that was in that state."""
        ...


WITNESSES: Final[list[Witness]] = []
"""All that there are, of the whole process. Whoever has something to tell looks first whether there
are any; a success under the lease has nothing to tell.
"""


def add_witness(witness: Witness) -> None:
    """Tell a witness everything from now on; once, however often it is added."""
    if witness not in WITNESSES:
        WITNESSES.append(witness)


def remove_witness(witness: Witness) -> None:
    """Tell a witness nothing more, if it has been told anything."""
    if witness in WITNESSES:
        WITNESSES.remove(witness)


def tell_refusal(circuit: Circuit, reason: str) -> None:
    """Tell of a call that is refused; also whoever wants to know of the circuit's next refusal."""
    if circuit.on_refusal is not None:
        circuit.on_refusal(circuit)
    for witness in WITNESSES:
        with suppress(Exception):
            witness.refused(circuit.name, circuit.lease.state, reason)


def tell_opening(circuit: Circuit, report: Settle) -> None:
    """Tell of a report that opens the circuit, as it will by all that has been reported before."""
    with suppress(Exception):
        machine = project(circuit)
        before = machine.state
        machine.apply(report)
        if machine.state is CircuitState.OPEN is not before:
            for witness in WITNESSES:
                with suppress(Exception):
                    witness.opened(circuit.name, before)
