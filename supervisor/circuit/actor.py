"""The task that owns a circuit's machine: the only place where its state ever changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from supervisor.circuit.askers import Pause
from supervisor.circuit.asking import answer_asker, answer_without_actor
from supervisor.circuit.observers import TurnObserver
from supervisor.circuit.record import NOT_AT_ONCE, Circuit
from supervisor.errors import CircuitCrashedError, shown_to_others
from supervisor.loop import NOWHERE
from supervisor.machine import (
    Acquire,
    Grant,
    Machine,
    Message,
    Refusal,
    Retry,
    Told,
    Withdraw,
    replay,
)

Emit = Callable[[Circuit, Told], None]


async def run_actor(circuit: Circuit, emit: Emit) -> None:
    """Take a turn whenever there is mail or the machine's deadline has come, until it is stopped.

    `emit` is called with all that the machine tells, in order; it must not wait and not fail.
    If it is to pause before, it does. An exception leaves the circuit ready for this to be called
    again.
    """
    if isinstance(circuit.instead, Pause):
        await _wait_out(circuit, circuit.instead)
    while circuit.running:
        circuit.mailbox.wake()
        take_turn(circuit, emit, circuit.loop.clock.time())
        deadline = _deadline(circuit)
        bell = circuit.loop.new_bell()
        if deadline == math.inf:
            await circuit.mailbox.wait(bell)
        else:
            with circuit.loop.alarm(deadline, bell):
                await circuit.mailbox.wait(bell)


def pause(circuit: Circuit, until: float) -> None:
    """Let the actor, which has crashed, take no turn before that time.

    Who asks it and would not wait so long is refused. All else goes on: calls run by a lease of
    what the machine knows, reports and orders are kept.
    """
    circuit.instead = Pause(until, circuit.loop.new_bell())
    with suppress(Exception):  # if that is what has crashed, they have to ask
        _publish(circuit)
    for permit, asker in list(circuit.askers.items()):
        if asker.patience <= until:
            circuit.put(Withdraw(permit, circuit.now(), refused=True))
            answer_asker(circuit, permit, answer_without_actor(circuit))


async def _wait_out(circuit: Circuit, pause: Pause) -> None:
    with circuit.loop.alarm(pause.until, pause.over):
        await pause.over.wait()
    if circuit.instead is pause:
        circuit.instead = None


def catch_up(circuit: Circuit, emit: Emit) -> None:
    """Apply what is in the mailbox at once, on behalf of the actor."""
    now = circuit.now()
    while circuit.messages():
        try:
            take_turn(circuit, emit, circuit.machine.latest if now is None else now)
        except RecursionError:
            raise
        except Exception:  # noqa: S112  (each one drops the message that raised it)
            continue
    _hand_out(circuit, emit)  # what there was before the first turn, if there was none yet
    circuit.mailbox.ring()  # the actor sleeps until a time that may have changed


def take_turn(circuit: Circuit, emit: Emit, now: float) -> None:
    """Apply all messages, let time pass up to `now`, and publish the next lease.

    If a message makes the machine raise, that message is dropped, its asker, if it has one,
    gets an error, and the machine is put back to where it was before it. The lease stays: it
    already allows for every message that was put since it was published.

    Whatever comes in the middle sees the circuit as it was, and all its messages, until one
    statement changes both. If the turn is cut short before, it has not been taken.
    """
    _hand_out(circuit, emit)  # what a turn has left that was cut short
    circuit.tell_overdue(now, is_turn=True)
    messages, machine, lease = circuit.messages(), circuit.machine, circuit.lease
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
        machine = replay(before, messages[:taken])
        _answer_poison(circuit, messages[taken : taken + 1], crash)
        machine.released = (*answers, *machine.released)
        _finish(circuit, machine, taken, slice(taken + 1), None)
        _hand_out(circuit, emit)
        raise
    if circuit.lease is not lease:
        return  # somebody else has taken a turn in the middle of this one
    machine.released = (*answers, *machine.released)
    _finish(circuit, machine, taken, slice(taken), now)
    _publish(circuit)
    _hand_out(circuit, emit)


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


def _hand_out(circuit: Circuit, emit: Emit) -> None:
    """Give the answers and tell the changes that turns have come to; some perhaps once more."""
    machine = circuit.machine
    for permit, answer in machine.released:
        answer_asker(circuit, permit, answer)
    machine.released = ()
    while machine.transitions:
        emit(circuit, machine.transitions[0])
        del machine.transitions[0]


def _answer_poison(circuit: Circuit, poison: list[Message], crash: Exception) -> None:
    """Answer whoever has asked what has crashed; there is nothing, if it was time."""
    for message in poison:
        if isinstance(message, Acquire | Retry):
            error = CircuitCrashedError(
                f"the actor of circuit {circuit.name!r} crashed on this request"
            )
            error.__cause__ = crash
            answer_asker(circuit, message.permit, error)


def _publish(circuit: Circuit) -> None:
    """Replace the lease; only the actor does, at the end of a turn, or before a pause.

    The old one is withdrawn first, and what was reported under it put into the mailbox. If there
    is mail by then, nobody knows what may be done at once before another turn.
    """
    allowance = circuit.allowance
    circuit.headroom, circuit.refuse_until, circuit.grant = 0, -math.inf, NOT_AT_ONCE
    if allowance is not None:
        allowance.withdraw()
    circuit.messages()
    lease = circuit.machine.lease()
    if lease.last_failure is not None:
        lease = replace(lease, last_failure=shown_to_others(lease.last_failure))
    circuit.home = circuit.loop if circuit.running else NOWHERE
    circuit.lease = lease
    grant, headroom, refuse_until = (
        lease.grant,
        lease.slack,
        lease.refuse_until - circuit.loop.early_by,
    )
    if allowance is not None:
        allowance.renew(lease, circuit.machine.policy)
        headroom = allowance.headroom
        if headroom == 0:
            grant = NOT_AT_ONCE
    if not circuit.mailbox.messages:
        circuit.headroom, circuit.refuse_until, circuit.grant = headroom, refuse_until, grant
    elif allowance is not None:
        allowance.slack = 0


def _deadline(circuit: Circuit) -> float:
    """Return when the actor has something to do, if it has no mail before; may be infinite."""
    if circuit.allowance is None:
        return circuit.machine.deadline
    return min(circuit.machine.deadline, circuit.allowance.overdue_at)
