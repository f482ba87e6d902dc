"""The task that owns a circuit's machine: the only place where its state ever changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import anyio

from supervisor.circuit.admission import answer_asker
from supervisor.circuit.record import NOT_AT_ONCE, Circuit
from supervisor.errors import CircuitCrashedError
from supervisor.machine import Acquire, Change, Lease, Message, Retry, replay

Emit = Callable[[Circuit, Change], None]


async def run_actor(circuit: Circuit, emit: Emit) -> None:
    """Take a turn whenever there is mail or the machine's deadline has come, until it is stopped.

    `emit` is called with every change, in order; it must not wait and not fail.
    An exception leaves the circuit ready for this to be called again.
    """
    while circuit.running:
        take_turn(circuit, emit, circuit.loop.time())
        deadline = _deadline(circuit)
        if deadline == math.inf:  # spares an idle circuit the cancel scope
            await circuit.mailbox.wait(circuit.loop.new_bell())
        else:
            with anyio.CancelScope(deadline=deadline):
                await circuit.mailbox.wait(circuit.loop.new_bell())


def catch_up(circuit: Circuit, emit: Emit) -> None:
    """Apply what is in the mailbox at once, on behalf of the actor."""
    now = circuit.now()
    while circuit.messages():
        with suppress(Exception):  # each one drops the message that raised it
            take_turn(circuit, emit, circuit.machine.latest if now is None else now)
    circuit.mailbox.ring()  # the actor sleeps until a time that may have changed


def take_turn(circuit: Circuit, emit: Emit, now: float) -> None:
    """Apply all messages, let time pass up to `now`, and publish the next lease.

    If a message makes the machine raise, that message is dropped, its asker, if it has one,
    gets an error, and the machine is put back to where it was before it. The lease stays: it
    already allows for every message that was put since it was published.
    """
    circuit.tell_overdue(now)
    messages = circuit.messages()
    before = circuit.machine.copy() if messages else circuit.machine  # time is no poison
    taken = 0
    try:
        for message in messages:
            answer = circuit.machine.apply(message)
            taken += 1
            if answer is not None and isinstance(message, Acquire | Retry):
                answer_asker(circuit, message.permit, answer)
        circuit.machine.advance(now)
    except Exception as crash:
        circuit.machine = replay(before, messages[:taken])
        _drop_poison(circuit, messages, taken, crash)
        raise
    else:
        for observer in circuit.observers:
            observer.turn_taken(messages, circuit.machine, at=now)
        messages.clear()
        _publish(circuit, circuit.machine.lease())
    finally:
        for permit, late_answer in circuit.machine.released:
            answer_asker(circuit, permit, late_answer)
        circuit.machine.released = ()
        for transition in circuit.machine.transitions:
            emit(circuit, transition)
        circuit.machine.transitions.clear()


def _drop_poison(circuit: Circuit, messages: list[Message], taken: int, crash: Exception) -> None:
    """Forget what has been taken and what has crashed, and answer whoever has asked that."""
    for observer in circuit.observers:
        observer.turn_taken(messages[:taken], circuit.machine, at=None)
    poison = messages[taken : taken + 1]  # none, if it was time
    del messages[: taken + 1]
    for message in poison:
        if isinstance(message, Acquire | Retry):
            error = CircuitCrashedError(
                f"the actor of circuit {circuit.name!r} crashed on this request"
            )
            error.__cause__ = crash
            answer_asker(circuit, message.permit, error)


def _publish(circuit: Circuit, lease: Lease) -> None:
    """Replace the lease; only the actor does, at the end of a turn."""
    circuit.thread = circuit.loop.thread if circuit.running else 0
    circuit.lease = lease
    circuit.grant = lease.grant
    circuit.headroom = lease.slack
    circuit.refuse_until = lease.refuse_until
    if circuit.allowance is not None:
        circuit.allowance.renew(lease, circuit.machine.policy)
        circuit.headroom = circuit.allowance.headroom
        if circuit.headroom == 0:
            circuit.grant = NOT_AT_ONCE


def _deadline(circuit: Circuit) -> float:
    """Return when the actor has something to do, if it has no mail before; may be infinite."""
    if circuit.allowance is None:
        return circuit.machine.deadline
    return min(circuit.machine.deadline, circuit.allowance.overdue_at)
