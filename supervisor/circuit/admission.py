"""How a call is admitted or refused: at once by the lease, or by the actor on request."""

from __future__ import annotations

from typing import Final

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.asking import ask, begin_call, refuse
from supervisor.circuit.calls import Ticket
from supervisor.circuit.nesting import as_part, innermost_begun, is_inside
from supervisor.circuit.observing import is_observed
from supervisor.circuit.record import WITHOUT_ACTOR, Circuit
from supervisor.circuit.witnesses import WITNESSES, tell_refusal
from supervisor.errors import new_refusal
from supervisor.loop import deadline_here, forget_who_was_here, times_here_before
from supervisor.machine import CircuitState, WaitFor

# Python 3.11 takes 50 ns to look up a member in its class.
_OPEN: Final = CircuitState.OPEN
_HALF_OPEN: Final = CircuitState.HALF_OPEN

LOOKS_EVERY: Final = 64
"""Refused calls of which one looks who makes them: see the loop's `fairness`."""

LOOKS_IN_A_ROW: Final = 4
"""Looks at one and the same task after which it asks the actor, so that others have their turns; or
one, if somebody waits for the actor already.
"""


async def admit(circuit: Circuit, retry: bool, wait: float | None, wait_for: WaitFor) -> Ticket:
    """Admit or refuse one call, which may be another attempt, or be ready to wait.

    Raises:
        CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError: see `ask`.
    """
    if wait is None and not retry:
        ticket = admit_at_once(circuit)
        return await ask(circuit) if ticket is None else ticket
    told = is_observed(circuit)  # of what the request says, so that there has to be one
    retry = retry and (told or circuit.latest_policy.retry_budget is not None)
    ticket = admit_at_once(circuit, must_ask=retry or told, may_refuse=wait is None)
    if ticket is not None:
        return ticket
    if wait is None:
        return await ask(circuit, retry)
    until, deadline = circuit.loop.clock.time() + wait, deadline_here()
    return await ask(circuit, retry, until, wait_for, deadline)


def admit_at_once(
    circuit: Circuit, must_ask: bool = False, may_refuse: bool = True
) -> Ticket | None:
    """Admit or refuse one call where no turn of the actor is needed; None: `ask` must follow.

    Raises:
        CircuitBreakerOpenError: the call is refused.
    """
    # Counted where it is decided: whatever is raised up to there, there was no call.
    allowance = circuit.allowance
    if allowance is not None and allowance.slack > 0 and not must_ask:
        ticket = _admit_under_lease(circuit, allowance)
        if ticket is not None:
            circuit.started += 1
        return ticket
    if not circuit.running:
        return WITHOUT_ACTOR if circuit.instead == "allow" else None  # not counted, or refused
    if must_ask:
        return None
    if circuit.headroom > 0:
        circuit.started += 1
        return circuit.grant
    now = circuit.loop.clock.time()
    goes_on = circuit.started % LOOKS_EVERY == 0 and _goes_on(circuit)
    if goes_on or not may_refuse or now >= circuit.refuse_until:
        return None
    if innermost_begun() is not None and is_inside(circuit):
        return as_part(circuit)
    lease = circuit.lease
    if lease.state is _OPEN and (allowance is None or allowance.observer is None):
        # Most refusals: the same as `refuse`, without the call.
        circuit.started, circuit.rejected = circuit.started + 1, circuit.rejected + 1
        if circuit.on_refusal is not None or WITNESSES:
            tell_refusal(circuit, "open")
    else:
        refuse(circuit, lease.state.value)
    wait = 0.0 if lease.state is _HALF_OPEN else lease.refuse_until - now
    raise new_refusal(circuit.name, wait, lease.state, lease.last_failure, None)


def _admit_under_lease(circuit: Circuit, allowance: Allowance) -> Ticket | None:
    """Admit one call by what is left of the lease at this time, or let it ask."""
    if allowance.admits_freely:
        return allowance.grant
    now = allowance.clock.time()
    if now >= allowance.next_check:
        circuit.tell_overdue(now)
        if allowance.slack <= 0 or now > allowance.expires:
            return None
        return begin_call(circuit, allowance, allowance.grant, now)
    if allowance.keeps_calls:
        calls = allowance.running_calls
        calls.last = call = calls.last + 1
        calls.under_lease[call] = now
        return call
    return allowance.grant


def _goes_on(circuit: Circuit) -> bool:
    """Whether one task makes all calls, and should leave others their turns by now."""
    goes_on = times_here_before() >= (1 if circuit.askers else LOOKS_IN_A_ROW)
    if goes_on:
        forget_who_was_here()
    return goes_on
