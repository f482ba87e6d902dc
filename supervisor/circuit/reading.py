"""What a circuit reads as: exact, with every outcome that has been reported so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.askers import Pause
from supervisor.circuit.record import AT_REST, Circuit
from supervisor.circuit.statistics import Draft, RecentFailure, Statistics, Window
from supervisor.machine import (
    CircuitState,
    InARow,
    Machine,
    Message,
    Origin,
    Settle,
    Tally,
    Withdraw,
    replay,
)

# Python 3.11 takes 50 ns to look up a member in its class.
_CLOSED: Final = CircuitState.CLOSED
_HERE: Final[Origin] = "here"


def project(circuit: Circuit) -> Machine:
    """Return the machine as it will be when the actor has taken all that is in its mailbox."""
    circuit.check_thread()
    now = circuit.now()
    if now is not None:
        circuit.tell_overdue(now)
    machine = _with_all_messages(circuit)
    if now is not None:
        machine.pass_time(now)
    return machine


def _with_all_messages(circuit: Circuit) -> Machine:
    """Return a copy of the machine that has taken all messages, but to which no time has passed.

    What one read has made of many messages is kept for the next one, so that many reads of many
    messages take no longer than the messages do.
    """
    messages = circuit.messages()
    if len(messages) <= AT_REST:
        return replay(circuit.machine, messages)
    known = next((each for each in circuit.observers if isinstance(each, _Projection)), None)
    if known is None or known.lease is not circuit.lease:
        known = _Projection(circuit)
        circuit.observers = (*circuit.observers, known)
    taken, machine = known.taken, known.machine
    new = messages[taken:]
    if new:
        machine = replay(machine, new)
        known.taken, known.machine = taken + len(new), machine
    return machine.copy()


class _Projection:
    """What a circuit's machine will be when it has taken some of its messages.

    It observes the actor, which has been woken for so many messages: the next turn ends it.
    """

    __slots__ = ("_circuit", "lease", "machine", "taken")

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self.lease = circuit.lease
        self.machine = circuit.machine
        self.taken = 0

    def turn_taken(self, messages: Sequence[Message], machine: Machine, at: float | None) -> None:  # noqa: ARG002
        """Be forgotten, whatever the turn has taken."""
        others = (each for each in self._circuit.observers if not isinstance(each, _Projection))
        self._circuit.observers = tuple(others)


def in_flight(circuit: Circuit, machine: Machine) -> int:
    """Return how many calls run, or wait to be admitted, by a projection of its machine."""
    settled = machine.succeeded + machine.failed + machine.ignored + machine.cancelled
    return circuit.started - circuit.rejected - settled - circuit.ending


def has_calls(circuit: Circuit) -> bool:
    """Whether a call surely runs, or waits to be admitted, told without a copy of its machine."""
    machine = circuit.machine
    running = circuit.started - circuit.rejected - machine.succeeded - machine.failed
    running -= machine.ignored + machine.cancelled
    running -= circuit.unsent_successes + circuit.unsent_failures + circuit.ending
    messages = circuit.mailbox.messages
    return running > (ended_by(messages).total() if messages and running > 0 else 0)


def ended_by(messages: Iterable[Message]) -> Counter[str]:
    """Return how many calls ended in which way by messages that the actor has not taken."""
    ended: Counter[str] = Counter()
    for message in messages:
        if isinstance(message, Settle):
            ended[message.outcome.value] += message.times
        elif isinstance(message, Withdraw) and not message.refused:
            ended["cancelled"] += 1
    return ended


def statistics_of(circuit: Circuit) -> Statistics:
    """Return the figures as of now, reports in the mailbox included."""
    circuit.check_thread()
    return _statistics_at(circuit, circuit.now())


def statistics_of_all(circuits: Mapping[str, Circuit]) -> dict[str, Statistics]:
    """Return the figures of all circuits of one event loop as of now, by name."""
    running = next((circuit for circuit in circuits.values() if circuit.running), None)
    now = None
    if running is not None:
        running.check_thread()
        now = running.loop.time_here()  # that of no circuit: each may be due a little early
    return {
        name: _statistics_at(circuit, now if circuit.running else None)
        for name, circuit in circuits.items()
    }


def _statistics_at(circuit: Circuit, now: float | None) -> Statistics:
    machine = circuit.machine
    at_rest = _is_at_rest(circuit, machine, now)
    if not at_rest:
        machine = project(circuit)
    unsent = circuit.unsent_successes if at_rest else 0
    # Read in one go, so that nothing ends in between.
    counts = (
        circuit.started,
        machine.succeeded + unsent,
        machine.failed,
        machine.ignored,
        machine.cancelled + circuit.ending,
        circuit.rejected,
    )
    return drawn_from(circuit, machine, counts, now, machine.trip.tally)


Counts = tuple[int, int, int, int, int, int]
"""Calls: started, succeeded, failed, ignored, cancelled, rejected."""


def drawn_from(
    circuit: Circuit,
    machine: Machine,
    counts: Counts,
    now: float | None,
    tally: Tally,
    age: float = 0.0,
) -> Statistics:
    """Return the figures of a circuit by a projection of its machine, and what has been counted."""
    started, *settled, rejected = counts
    state, retry_after, origin = machine.would_be, 0.0, _HERE
    if state is not _CLOSED or machine.metrics_only or machine.is_shared:
        state, origin = machine.state, machine.origin_of_state
        retry_after = machine.retry_after(max(now or 0.0, machine.latest))
    record = Draft(
        circuit.name,
        state,
        machine.would_be,
        circuit.running,
        tally.failures,
        retry_after,
        *counts,
        machine.would_have_refused,
        machine.waiting.size if circuit.running else 0,
        max(0, started - rejected - sum(settled)),
        machine.stale,
        machine.times_opened,
        circuit.restarts,
        machine.last_failure,
        machine.is_shared,
        origin,
        _refusals(rejected, circuit.refusals) if rejected else {},
        None if isinstance(tally, InARow) else _window(machine, tally),
        age,
        circuit.loop.clock_zero,
        _recent(circuit.allowance, machine.policy.keep_failures),
        0.0 if circuit.instead is None else _pause_left(circuit, now),
    )
    record.__class__ = Statistics
    statistics: Statistics = record
    return statistics


def _recent(allowance: Allowance | None, kept: int | None) -> tuple[RecentFailure, ...]:
    """Return the last failures, as many as the latest policy says: its turn may be to come."""
    if allowance is None or kept is None:
        return ()
    return (allowance.failures or ())[-kept:]


def _pause_left(circuit: Circuit, now: float | None) -> float:
    pause = circuit.instead
    return max(0.0, pause.until - now) if isinstance(pause, Pause) and now is not None else 0.0


def _window(machine: Machine, tally: Tally) -> Window:
    return Window(tally.calls, tally.failures, tally.slow, machine.trip.counts_successes)


def _refusals(rejected: int, but_open: dict[str, int]) -> Mapping[str, int]:
    others = but_open.copy()
    return {"open": rejected - sum(others.values()), **others}


def _is_at_rest(circuit: Circuit, machine: Machine, now: float | None) -> bool:
    """Whether its machine reads as it is, but for successes: no copy has to be made of it."""
    if circuit.unsent_failures or circuit.mailbox.messages:
        return False
    tally = machine.trip.tally
    if circuit.unsent_successes and (
        tally.failures
        or not isinstance(tally, InARow)
        or circuit.lease.grant.period != machine.period
    ):
        return False  # it ends a row of failures, is in the window, or comes too late
    if now is not None and now > tally.expires:
        return False
    changes = machine.would_be is not _CLOSED or machine.ramp_step or machine.waiting.size
    if now is None or (circuit.allowance is None and not changes):
        return True
    allowance = circuit.allowance
    is_due = now >= machine.deadline - circuit.loop.early_by
    return not is_due and (allowance is None or now < allowance.overdue_at)
