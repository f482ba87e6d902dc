"""The task that owns a circuit's machine: the only place where its state ever changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

from supervisor.circuit.askers import Pause
from supervisor.circuit.asking import answer_without_actor
from supervisor.circuit.record import Circuit, Emit
from supervisor.circuit.turn import (
    answer_asker,
    deadline_of,
    hand_out,
    publish,
    take_turn,
)
from supervisor.loop import is_cancellation
from supervisor.machine import Withdraw

Mend = Callable[[Circuit, BaseException], None]
"""Is told of a crash of an actor, which goes on after it."""


async def run_actor(circuit: Circuit, emit: Emit, mend: Mend) -> None:
    """Take a turn whenever there is mail or the machine's deadline has come, until it is stopped.

    Every idle circuit keeps this frame, and no other one.

    Args:
        circuit: the one whose machine it owns.
        emit: is called with all that the machine tells, in order; it must not wait and not fail.
        mend: is called with an exception, or an interrupt, that has come in a turn, and which
            leaves the circuit ready for the next one. It may let the actor pause before, or end.
    """
    while circuit.running:
        try:
            circuit.emit = None  # awake
            if isinstance(circuit.instead, Pause):
                await _wait_out(circuit, circuit.instead)
                continue
            circuit.mailbox.wake()
            take_turn(circuit, emit, circuit.loop.clock.time())
            deadline = deadline_of(circuit)
            bell = circuit.loop.new_bell()
            circuit.emit = emit
            if deadline == math.inf:
                await circuit.mailbox.wait(bell)
            else:
                with circuit.loop.alarm(deadline, bell):
                    await circuit.mailbox.wait(bell)
        except BaseException as crash:
            if isinstance(crash, GeneratorExit) or is_cancellation(crash):
                raise
            mend(circuit, crash)


def pause(circuit: Circuit, until: float) -> None:
    """Let the actor, which has crashed, take no turn before that time.

    Who asks it and would not wait so long is refused. All else goes on: calls run by a lease of
    what the machine knows, reports and orders are kept.
    """
    circuit.instead = Pause(until, circuit.loop.new_bell())
    with suppress(Exception):  # if that is what has crashed, they have to ask
        publish(circuit)
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
    hand_out(circuit, emit)  # what there was before the first turn, if there was none yet
    circuit.mailbox.ring()  # the actor sleeps until a time that may have changed
