"""What circuits and a store tell each other, put into the words of the other one.

Circuits know the time of their event loop, and the store its own; a circuit gives each question a
number, and a step has a name and a token.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from supervisor.machine import (
    Adopt,
    Asked,
    CircuitState,
    Decide,
    Failed,
    Forced,
    FromFleet,
    Opened,
    Probed,
    Take,
    Wait,
)
from supervisor.sharing.clocks import StoreClock
from supervisor.sharing.failures import Together
from supervisor.sharing.store import (
    NEVER,
    Answer,
    Asking,
    Counting,
    Epoch,
    Forcing,
    Opening,
    Record,
    Settling,
    Step,
)

Asks = Opened | Asked | Probed | Forced
"""What a circuit tells that is a step for itself."""


def step_of(circuit: str, told: Asks, now: float, token: str, lease: float) -> Step:
    """Return what the store is asked for.

    Args:
        circuit: the circuit's name.
        told: what the circuit tells.
        now: the event loop's time.
        token: for a probe, if one is asked for.
        lease: seconds that it is good for.
    """
    match told:
        case Opened(view, until, failed, hinted, failure):
            return Opening(circuit, Epoch(*view), until - now, failed, hinted, failure)
        case Asked(_, view, needed, at_once, failed, failure):
            view = Epoch(*view)
            return Asking(circuit, view, token, lease, needed, at_once, failed, failure)
        case Probed(_, own, epoch, verdict, needed, seconds, failed, failure):
            epoch = Epoch(*epoch)
            return Settling(circuit, epoch, own, verdict, needed, seconds, failed, failure)
        case Forced(_, view, state):
            return Forcing(circuit, state, Epoch(*view))
        case _:
            assert_never(told)


def counting_of(circuit: str, failures: int, last: Failed, together: Together) -> Counting:
    """Return what the store is asked for when so many calls have failed here.

    Args:
        circuit: the circuit's name.
        failures: how many.
        last: the last ones.
        together: when those of all members open it.
    """
    threshold, within = together
    return Counting(
        circuit, Epoch(*last.view), failures, within, threshold, last.seconds, 0, last.failure
    )


def number_of(told: Asks) -> int:
    """Return the number that its answer is to have; 0 if nobody waits for one."""
    return 0 if isinstance(told, Opened) else told.number


def without_failure(step: Step) -> Step:
    """Return a step that says nothing of what has failed: such a text may hold secrets."""
    texts = Opening | Asking | Settling | Counting
    return replace(step, failure=None) if isinstance(step, texts) else step


class Reader:
    """Puts into words for circuits what a store says.

    Args:
        owner: the member that reads.
        clock: that of the store.
        lease: seconds that a token is good for.
    """

    def __init__(self, owner: str, clock: StoreClock, lease: float) -> None:
        self._owner = owner
        self._clock = clock
        self._lease = lease

    def adopt(self, record: Record, now: float, number: int = 0) -> Adopt:
        """Return how a circuit stands."""
        open_for = record.seconds if record.state is CircuitState.OPEN else 0.0
        return Adopt(
            record.state,
            record.epoch,
            self._clock.here(record.until, now, open_for),
            record.failed_recoveries,
            record.failure,
            now,
            "here" if record.owner == self._owner else "fleet",
            number,
        )

    def rejoin(self, record: Record | None, now: float, known: Epoch, lost: bool) -> Adopt:
        """Return how a circuit stands after news were missed.

        Args:
            record: None: the store knows nothing of it.
            now: the event loop's time.
            known: what the circuit knew of.
            lost: whether the store has lost something.
        """
        if record is None:
            record = Record(CircuitState.CLOSED, NEVER if lost else known, 0.0, 0.0, 0, None, "")
        return replace(self.adopt(record, now), rejoined=True, lost=lost)

    def answer(self, answer: Answer, now: float, number: int, token: str) -> FromFleet | None:
        """Return what has become of a step; None if nobody needs to know."""
        record = answer.record
        match answer.outcome:
            case "leased" if record is not None:
                until = self._clock.here(answer.until, now, self._lease)
                return Take(token, record.epoch, until, now, number)
            case "busy":
                return Wait(self._clock.here(answer.until, now, self._lease), now, number)
            case "told" | "fenced" if record is not None:
                return self.adopt(record, now, number)
            case _:
                return Decide(now, number) if number else None
