"""What a circuit has counted, for any thread, without a question to its event loop.

Callers count calls, and the actor counts how they have ended; in between, a report waits to be
sent, and then in the mailbox. Whoever moves it changes both sides by one statement that calls
nothing, within which CPython lets no other thread run. So a reading is of one moment if nothing was
moved from its beginning to its end: the actor has counted nothing, the messages are the same, and
so is the machine, since a turn puts a copy in its place while it lasts. Else it is made anew; a
reading is quicker than a turn.

Without the global interpreter lock, such a statement is more than one step: a report that has left
one side and not reached the other is then missing from a reading, for that instant.
"""

from __future__ import annotations

from operator import attrgetter

from supervisor.circuit.reading import drawn_from, ended_by
from supervisor.circuit.record import Circuit
from supervisor.circuit.statistics import Statistics
from supervisor.machine import REFUSING

_settled = attrgetter("succeeded", "failed", "ignored", "cancelled")


def figures_of(circuit: Circuit, now: float) -> Statistics:
    """Return a circuit's figures, wherever this runs.

    A call whose report is being made is in flight: see `Circuit.ending`.

    Args:
        circuit: any one.
        now: the time of its event loop in seconds.
    """
    while True:
        machine, messages = circuit.machine, tuple(circuit.mailbox.messages)
        settled, rejected = _settled(machine), circuit.rejected
        succeeded, failed, ignored, cancelled = settled
        unsent = circuit.unsent_successes + circuit.unsent_failures
        succeeded += circuit.unsent_successes
        failed += circuit.unsent_failures
        if messages:
            told = ended_by(messages)
            succeeded, failed = succeeded + told["succeeded"], failed + told["failed"]
            ignored, cancelled = ignored + told["ignored"], cancelled + told["cancelled"]
        counts = circuit.started, succeeded, failed, ignored, cancelled, rejected
        is_late = machine.would_be in REFUSING and now > machine.until
        age = max(0.0, now - machine.latest) if messages or unsent or is_late else 0.0
        tally = machine.trip.tally
        if now > tally.expires:
            tally = tally.copy()
            tally.advance(now)  # without what is too old by now
        figures = drawn_from(circuit, machine, counts, now, tally, age)
        if (
            circuit.machine is machine
            and _settled(machine) == settled
            and circuit.rejected == rejected
            and tuple(circuit.mailbox.messages) == messages
        ):
            return figures
