"""What is kept of a circuit when its event loop has ended, and how another one goes on from it.

State, windows, times, figures and periods go on; the times by the clock of the process, since the
next loop has another clock. Calls and askers of the ended loop have gone: they count as cancelled,
so that the places of probes are free again, and what they still report goes nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from supervisor.circuit.allowance import Allowance, asks_for_more
from supervisor.circuit.beginning import seed_for
from supervisor.circuit.record import Circuit
from supervisor.loop import time_in_process
from supervisor.machine import (
    NO_PROBE,
    Change,
    CircuitState,
    Machine,
    Message,
    Reconfigure,
    Settle,
    replay,
)
from supervisor.policy import Outcome, Policy


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What a circuit was at a moment; it holds nothing of an event loop.

    Attributes:
        machine: what was; its times are those of the circuit's event loop.
        at: when that was, at `machine.latest`, in seconds of the process's clock.
        asked_for: the policy that the circuit began with, by which others ask for it.
        started, rejected, restarts, last_permit: those of the circuit.
        untold: what has changed and nobody has been told of; taken out by who tells it.
    """

    machine: Machine
    at: float
    asked_for: Policy
    started: int
    rejected: int
    restarts: int
    last_permit: int
    untold: list[Change]

    @property
    def period(self) -> int:
        """The period of the circuit: who has a later one knows of more changes of state."""
        return self.machine.period

    @property
    def forgettable_at(self) -> float:
        """When there is nothing to remember any more, in seconds of the process's clock; infinite
        while its state is set by hand, unless it begins in that or it is for a time.
        """
        until = self.at + self.machine.retry_after(self.machine.latest)
        match self.machine.state:
            case CircuitState.CLOSED | CircuitState.HALF_OPEN:
                return self.at
            case CircuitState.OPEN | CircuitState.FORCED_OPEN if until < math.inf:
                return until
            case state if state.value == self.machine.policy.initial_state:
                return self.at
            case _:
                return math.inf


def keep(circuit: Circuit, ahead: float, ended: float = -math.inf) -> Kept:
    """Return what is to be kept of a circuit, with all that has been reported to it.

    The circuit stays as it is: its event loop may have ended in another thread, or be garbage.

    Args:
        circuit: one whose callers have gone, or are given up.
        ahead: seconds by which the process's clock is ahead of its event loop's.
        ended: when the actor has ended, by the event loop's clock, if that is known. What has been
            reported since then has no time of its own.
    """
    before = circuit.machine.copy()
    before.latest = max(before.latest, ended)
    taken = replay(before, [*circuit.mailbox.messages, *_unsent(circuit)])
    machine = taken.without_callers()
    settled = machine.succeeded + machine.failed + machine.ignored
    machine.cancelled = circuit.started - circuit.rejected - settled
    first = None if circuit.allowance is None else circuit.allowance.first_policy
    told = (*circuit.machine.transitions, *taken.transitions)
    return Kept(
        machine,
        machine.latest + ahead,
        machine.policy if first is None else first,
        circuit.started,
        circuit.rejected,
        circuit.restarts,
        circuit.last_permit,
        [each for each in told if isinstance(each, Change)],
    )


def go_on_from(circuit: Circuit, kept: Kept) -> None:
    """Let a new circuit, whose actor has not had a turn, be what was kept of another one.

    If it is asked for by another policy than that one was, it is reconfigured.
    """
    by = _take_over(circuit, kept, circuit.loop.clock.time())
    circuit.machine.transitions = [
        replace(change, at=change.at + by) for change in _taken(kept.untold)
    ]


def read_as(circuit: Circuit, kept: Kept) -> None:
    """Let what stands in for a circuit that is yet to start read as that will."""
    now = circuit.loop.clock.time()
    _take_over(circuit, kept, now)
    circuit.machine.pass_time(now)


def _take_over(circuit: Circuit, kept: Kept, now: float) -> float:
    """Return by how many seconds the clock here is ahead of that of the ended event loop."""
    # In virtual time, a loop may have been ahead of the process: what it did is not to come yet.
    passed = max(0.0, time_in_process() - kept.at)
    by = now - passed - kept.machine.latest
    machine, asked = kept.machine.moved(by), circuit.policy
    if asked not in (kept.asked_for, machine.policy):
        machine.apply(Reconfigure(asked, seed=seed_for(asked)))
    circuit.begin_with(machine)
    circuit.started, circuit.rejected = kept.started, kept.rejected
    circuit.restarts, circuit.last_permit = kept.restarts, kept.last_permit
    if machine.policy != asked or asks_for_more(asked):
        circuit.allowance = Allowance(circuit.lease, asked, circuit.loop.clock, machine.origin)
        circuit.allowance.expect(machine.policy)
    return by


def _unsent(circuit: Circuit) -> Iterator[Message]:
    """Return the reports that have not been put into the mailbox yet, and leave them there."""
    period = circuit.lease.grant.period
    at = None if circuit.allowance is None else circuit.allowance.run_began
    if circuit.unsent_failures:
        yield Settle(period, NO_PROBE, Outcome.FAILED, times=circuit.unsent_failures)
    if circuit.unsent_successes:
        yield Settle(period, NO_PROBE, Outcome.SUCCEEDED, at, times=circuit.unsent_successes)


def _taken(untold: list[Change]) -> Iterator[Change]:
    """Take all out, one by one: another thread may be at it, too."""
    with suppress(IndexError):
        while untold:
            yield untold.pop(0)
