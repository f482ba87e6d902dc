"""What is special about a stream: a call whose answer comes in parts.

Its first item is an answer, so that the time of the call is over then. Each item shows that a
probe is alive. And a probe may fail after it has been counted as succeeded.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from supervisor.circuit.judging import settle_error
from supervisor.circuit.nesting import OuterCall, counted_inside, is_among, remember_error
from supervisor.circuit.record import Circuit
from supervisor.circuit.settlement import report
from supervisor.machine import ANY_PERIOD, NO_PROBE, UNCOUNTED, Grant, Renew
from supervisor.policy import Failure, Judgement

RENEWALS: Final = 100
"""Times in its `probe_timeout` at most that a probe is reported to be alive."""


def end_of_time(circuit: Circuit, call: int) -> tuple[Grant, dict[int, Any]] | None:
    """Return by what a call is settled whose time is to count no longer, and where it has to be
    taken out for that; None: it is slow already, which has been reported, or is now; or its circuit
    has come to an end, and nobody counts.

    Whoever asks does both at once, so that nothing comes in between.
    """
    allowance, now = circuit.allowance, circuit.now()
    assert allowance is not None
    if now is None:
        return None
    circuit.tell_overdue(now)
    calls = allowance.running_calls
    grant = calls.grant_if_fast(call, now)
    if grant is None:
        circuit.tell_slow(allowance, call)
        return None
    return grant, calls.others


class Pulse:
    """Tells that a probe is alive, as often as that may matter."""

    __slots__ = ("_circuit", "_grant", "_next")

    def __init__(self, circuit: Circuit, grant: Grant) -> None:
        self._circuit = circuit
        self._grant = grant
        self._next = 0.0

    @classmethod
    def of(cls, circuit: Circuit, grant: Grant) -> Pulse | None:
        """Return that of a call, if it is a probe."""
        return None if grant.probe in (NO_PROBE, UNCOUNTED) else cls(circuit, grant)

    def beat(self) -> None:
        """Let the `probe_timeout` begin anew, to the hundredth of it."""
        circuit, grant = self._circuit, self._grant
        now = circuit.now()
        if now is not None and now >= self._next:
            circuit.put(Renew(grant.probe, grant.period, now))
            self._next = now + grant.policy.probe_timeout / RENEWALS


def fail_later(
    circuit: Circuit, probe: Grant, error: BaseException, began: int, known: OuterCall
) -> None:
    """Report that a probe's stream has raised something, after it has been counted as succeeded.

    A failure is another call of the present period, which has started and failed; unless it has
    been counted for a call inside the stream. Anything else is nothing.
    """
    inside = is_among(counted_inside(circuit, began, known), error)
    # As a retry, it brings no other retry into the budget.
    later = None if inside else Grant(ANY_PERIOD, probe.policy, retry=True)
    judgement = settle_error(probe.policy, error, partial(_report_later, circuit, later))
    if isinstance(judgement, Failure) and not inside:
        remember_error(circuit, began, error)


def _report_later(
    circuit: Circuit, grant: Grant | None, judgement: Judgement, failure: str | None = None
) -> None:
    if grant is not None and isinstance(judgement, Failure):
        circuit.started, circuit.ending = circuit.started + 1, circuit.ending + 1
        report(circuit, grant, judgement, failure)
