"""Calls of which somebody wants to know each: how they are admitted, and what is told of them.

Only a circuit with an observer pays for any of this. What is told has happened already, so whoever
is told can change nothing.
"""

from __future__ import annotations

from supervisor.circuit.calls import Observed, Ticket
from supervisor.circuit.observers import CallObserver
from supervisor.circuit.record import Circuit
from supervisor.machine import NO_PROBE, UNCOUNTED, Acquire, Grant, Retry
from supervisor.policy import Judgement, Outcome


def is_observed(circuit: Circuit) -> bool:
    """Whether somebody wants to know of its calls."""
    return _observer_of(circuit) is not None


def observed(grant: Grant, ticket: Ticket, now: float, request: Acquire | None) -> Observed:
    """Return what admits a call that begins now, and has asked by `request`, or now."""
    asked = now if request is None else request.at
    return Observed(
        grant.period,
        grant.policy,
        grant.probe,
        grant.retry,
        ticket=ticket,
        asked=asked,
        began=now,
        wait=_wait_of(request),
    )


def tell_refused(circuit: Circuit, reason: str, request: Acquire | None) -> None:
    """Tell of a call that is refused, and has asked by `request`, or now, if there is a now."""
    observer = _observer_of(circuit)
    asked = circuit.loop.time_here() if request is None else request.at
    if observer is not None and asked is not None:
        retry = request is not None and request.retry
        observer.call_refused(asked, reason, retry, _wait_of(request))


def tell_withdrawn(circuit: Circuit, request: Acquire | Retry) -> None:
    """Tell of a call that was cancelled before it began: it has waited until now, and no longer."""
    observer, now = _observer_of(circuit), circuit.now()
    if observer is not None and now is not None and isinstance(request, Acquire):
        asked = request.at
        wait = None if request.wait_until is None or now <= asked else now - asked
        observer.call_ended(asked, now, now, Outcome.CANCELLED, request.retry, wait, probe=False)


def tell_ended(circuit: Circuit, call: Observed, judgement: Judgement) -> None:
    """Tell what a call counts as, unless it ends when its event loop has, which knows the time."""
    observer, now = _observer_of(circuit), circuit.now()
    if observer is not None and now is not None:
        probe = call.probe not in (NO_PROBE, UNCOUNTED)
        observer.call_ended(call.asked, call.began, now, judgement, call.retry, call.wait, probe)


def _observer_of(circuit: Circuit) -> CallObserver | None:
    return None if circuit.allowance is None else circuit.allowance.observer


def _wait_of(request: Acquire | None) -> float | None:
    """Return for how many seconds somebody would wait who asks by that."""
    if request is None or request.wait_until is None:
        return None
    return request.wait_until - request.at
