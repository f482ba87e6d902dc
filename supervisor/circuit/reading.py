"""What a circuit reads as: exact, with every outcome that has been reported so far."""

from __future__ import annotations

from typing import Final

from supervisor.circuit.record import Circuit
from supervisor.circuit.statistics import Statistics
from supervisor.machine import Machine, replay

CHEAP_TO_READ: Final = 32
"""Messages that a read may replay again and again before it asks the actor to take them."""


def project(circuit: Circuit) -> Machine:
    """Return the machine as it will be when the actor has taken all that is in its mailbox."""
    circuit.check_thread()
    now = circuit.now()
    if now is not None:
        circuit.tell_overdue(now)
    messages = circuit.messages()
    machine = replay(circuit.machine, messages)
    if now is not None:
        machine.advance(now)
        if len(messages) > CHEAP_TO_READ:
            circuit.mailbox.ring()
    return machine


def in_flight(circuit: Circuit, machine: Machine) -> int:
    """Return how many calls run, or wait to be admitted, by a projection of its machine."""
    settled = machine.succeeded + machine.failed + machine.ignored + machine.cancelled
    return circuit.started - circuit.rejected - settled


def statistics_of(circuit: Circuit) -> Statistics:
    """Return the figures as of now, reports in the mailbox included."""
    machine = project(circuit)
    return Statistics(
        name=circuit.name,
        state=machine.state,
        would_be=machine.would_be,
        running=circuit.running,
        failure_count=machine.failure_count,
        retry_after=machine.retry_after(machine.latest),
        started=circuit.started,
        succeeded=machine.succeeded,
        failed=machine.failed,
        ignored=machine.ignored,
        cancelled=machine.cancelled,
        rejected=circuit.rejected,
        would_have_refused=machine.would_have_refused,
        waiting=len(machine.waiting) if circuit.running else 0,
        in_flight=in_flight(circuit, machine),
        stale=machine.stale,
        times_opened=machine.times_opened,
        restarts=circuit.restarts,
        last_failure=machine.last_failure,
    )
