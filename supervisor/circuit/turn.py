"""A turn of the actor's: what it applies, answers and publishes, and what a crash leaves behind.

Nobody but the actor takes turns; or somebody on its behalf, in one go. User code never runs in one.
"""

from __future__ import annotations

import math

from supervisor.circuit.askers import NOBODY, Answer
from supervisor.circuit.beginning import BEFORE_FIRST_TURN, first_lease
from supervisor.circuit.observers import TurnObserver
from supervisor.circuit.record import NOT_AT_ONCE, Circuit, Emit
from supervisor.errors import CircuitCrashedError, shown_to_others
from supervisor.loop import NOWHERE
from supervisor.machine import (
    Acquire,
    Grant,
    Machine,
    Message,
    Refusal,
    Retry,
    replay,
)


def take_turn(circuit: Circuit, emit: Emit, now: float, is_actors: bool = True) -> None:
    """Apply all messages, let time pass up to `now`, and publish the next lease.

    If a message makes the machine raise, that message is dropped, its asker, if it has one,
    gets an error, and the machine is put back to where it was before it. The lease stays: it
    already allows for every message that was put since it was published.

    Whatever comes in the middle sees the circuit as it was, and all its messages, until one
    statement changes both. If the turn is cut short before, it has not been taken; nor is one that
    crashes and is not the actor's, which comes to the same message.
    """
    hand_out(circuit, emit)  # what a turn has left that was cut short
    if is_actors:
        circuit.tell_overdue(now, is_turn=True)
    messages, machine, lease = circuit.messages(), circuit.machine, circuit.lease
    if circuit.home is NOWHERE and not messages and _begin(circuit, now):
        return
    before, taken = machine, 0
    if messages or circuit.allowance is not None or machine.deadline <= now:
        before = circuit.machine = machine.copy()
    else:
        messages = []  # nothing changes but the time, and a copy would take room for ever
    answers: list[tuple[int, Grant | Refusal]] = []
    try:
        for message in messages:  # those that come meanwhile, too
            answer = machine.apply(message)
            taken += 1
            if answer is not None and isinstance(message, Acquire | Retry):
                answers.append((message.permit, answer))
        machine.advance(now)
    except RecursionError:
        raise  # whose fault that is, the message does not know
    except Exception as crash:
        if not is_actors:
            raise
        machine = replay(before, messages[:taken])
        _answer_poison(circuit, messages[taken : taken + 1], crash)
        machine.released = (*answers, *machine.released)
        _finish(circuit, machine, taken, slice(taken + 1), None)
        hand_out(circuit, emit)
        raise
    if circuit.lease is not lease:
        return  # somebody else has taken a turn in the middle of this one
    machine.released = (*answers, *machine.released)
    _finish(circuit, machine, taken, slice(taken), now)
    publish(circuit)
    hand_out(circuit, emit)


def take_turn_at_once(circuit: Circuit, now: float) -> bool:
    """Take a turn on behalf of the actor, if it sleeps, and return whether it may sleep on.

    What is due is left to it: whoever should have said something before may not have had a turn to.
    So is a crash, which comes to it as well. A machine that is shared hears of its fleet between
    turns of the actor's alone.
    """
    emit, deadline = circuit.emit, deadline_of(circuit)
    if emit is None or circuit.machine.is_shared or deadline <= now:
        return False
    circuit.emit = None  # nobody takes a turn in the middle of this one
    try:
        take_turn(circuit, emit, now, is_actors=False)
    except Exception:  # the actor meets it, too; or it has not gone as deep
        return False
    if circuit.running:
        circuit.emit = emit
    return deadline_of(circuit) >= deadline and not circuit.mailbox.messages


def publish(circuit: Circuit) -> None:
    """Replace the lease; a turn does at its end, and the actor before a pause.

    The old one is withdrawn first, and what was reported under it put into the mailbox. If there
    is mail by then, nobody knows what may be done at once before another turn.
    """
    allowance = circuit.allowance
    circuit.headroom, circuit.refuse_until, circuit.grant = 0, -math.inf, NOT_AT_ONCE
    if allowance is not None:
        allowance.withdraw()
    circuit.messages()
    lease = circuit.machine.lease(shown_to_others)
    if circuit.home is NOWHERE and circuit.running:
        lease = first_lease(lease)
    circuit.home = circuit.loop if circuit.running else NOWHERE
    circuit.lease = lease
    grant, headroom, refuse_until = lease.grant, lease.slack, lease.refuse_until
    if refuse_until > -math.inf:
        refuse_until -= circuit.loop.early_by
    if allowance is not None:
        allowance.renew(lease, circuit.machine.policy)
        headroom = allowance.headroom
        if headroom == 0:
            grant = NOT_AT_ONCE
    if not circuit.mailbox.messages:
        circuit.headroom, circuit.refuse_until, circuit.grant = headroom, refuse_until, grant
    elif allowance is not None:
        allowance.slack = 0


def hand_out(circuit: Circuit, emit: Emit) -> None:
    """Give the answers and tell the changes that turns have come to; some perhaps once more."""
    machine = circuit.machine
    for permit, answer in machine.released:
        answer_asker(circuit, permit, answer)
    machine.released = ()
    while machine.transitions:
        emit(circuit, machine.transitions[0])
        del machine.transitions[0]


def deadline_of(circuit: Circuit) -> float:
    """Return when its actor has something to do, if it has no mail before; may be infinite."""
    if circuit.allowance is None:
        return circuit.machine.deadline
    return min(circuit.machine.deadline, circuit.allowance.overdue_at)


def answer_asker(circuit: Circuit, permit: int, answer: Answer) -> None:
    """Answer the asker of `permit`, if it has not been cancelled or answered meanwhile."""
    asker = circuit.askers.get(permit)
    if asker is not None:
        if asker.answer is None:
            asker.answer = answer
        if asker.answered is not None:
            asker.answered.ring()  # perhaps again, if the first ring was cut short
        forget_asker(circuit, permit)


def forget_asker(circuit: Circuit, permit: int) -> None:
    """Know no more of whoever has asked for a permit."""
    circuit.askers.pop(permit, None)
    if not circuit.askers:
        circuit.askers = NOBODY  # a dictionary keeps the room that it has had


def _begin(circuit: Circuit, now: float) -> bool:
    """Publish the lease of a new circuit, if that is known already, and return whether it was."""
    lease = circuit.lease
    if lease is BEFORE_FIRST_TURN or circuit.allowance is not None:
        return False
    circuit.machine.latest = now
    circuit.home, circuit.headroom = circuit.loop, lease.slack
    return True


def _finish(circuit: Circuit, machine: Machine, taken: int, gone: slice, at: float | None) -> None:
    """Let a turn that has taken so many messages count, and tell whoever looks on."""
    messages = circuit.mailbox.messages
    untold = list(circuit.observers)
    try:
        _tell(untold, messages[:taken], machine, at)
    except BaseException:  # an interrupt comes once; whoever has been told has been told all
        _tell(untold, messages[:taken], machine, at)
        raise
    finally:
        circuit.machine, messages[gone] = machine, ()


def _tell(
    untold: list[TurnObserver], messages: list[Message], machine: Machine, at: float | None
) -> None:
    while untold:
        untold[-1].turn_taken(messages, machine, at=at)
        untold.pop()


def _answer_poison(circuit: Circuit, poison: list[Message], crash: Exception) -> None:
    """Answer whoever has asked what has crashed; there is nothing, if it was time."""
    for message in poison:
        if isinstance(message, Acquire | Retry):
            error = CircuitCrashedError(
                f"the actor of circuit {circuit.name!r} crashed on this request"
            )
            error.__cause__ = crash
            answer_asker(circuit, message.permit, error)
