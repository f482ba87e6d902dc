"""How a call is admitted or refused: at once by the lease, or by the actor on request."""

from __future__ import annotations

import math
import random
from typing import Final, assert_never

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.askers import NOBODY, Answer, Asker, error_for, reason_of
from supervisor.circuit.calls import Ticket
from supervisor.circuit.nesting import as_part, is_inside
from supervisor.circuit.observing import is_observed, observed, tell_refused, tell_withdrawn
from supervisor.circuit.record import UNGUARDED, Circuit
from supervisor.circuit.witnesses import WITNESSES, tell_refusal
from supervisor.errors import CircuitStoppedError, new_refusal
from supervisor.loop import deadline_here
from supervisor.machine import (
    Acquire,
    CircuitState,
    Grant,
    Refusal,
    Retry,
    WaitFor,
    Withdraw,
)

# Python 3.11 takes 50 ns to look up a member in its class.
_OPEN: Final = CircuitState.OPEN
_HALF_OPEN: Final = CircuitState.HALF_OPEN

REFUSED_AT_ONCE: Final = 512
"""Calls of which one at least asks the actor. A caller who makes another call after each refusal
would never let the event loop run: no timer, no cancellation, no other task.
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
        CircuitStoppedError: the circuit is stopped.
    """
    # Counted where it is decided: whatever is raised up to there, there was no call.
    allowance = circuit.allowance
    if allowance is not None and allowance.slack > 0 and not must_ask:
        ticket = _admit_under_lease(circuit, allowance)
        if ticket is not None:
            circuit.started += 1
        return ticket
    if not circuit.running:
        return _admit_without_actor(circuit)
    if must_ask:
        return None
    if circuit.headroom > 0:
        circuit.started += 1
        return circuit.grant
    now = circuit.loop.clock.time()
    if now >= circuit.refuse_until or not may_refuse or circuit.started % REFUSED_AT_ONCE == 0:
        return None
    if is_inside(circuit):
        return as_part(circuit)
    lease = circuit.lease
    if lease.state is _OPEN and (allowance is None or allowance.observer is None):
        # Most refusals: the same as `_refuse`, without the call.
        circuit.started, circuit.rejected = circuit.started + 1, circuit.rejected + 1
        if circuit.on_refusal is not None or WITNESSES:
            tell_refusal(circuit, "open")
    else:
        _refuse(circuit, lease.state.value)
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
        return _begin_call(circuit, allowance, allowance.grant, now)
    if allowance.keeps_calls:
        calls = allowance.running_calls
        calls.last = call = calls.last + 1
        calls.under_lease[call] = now
        return call
    return allowance.grant


def _admit_without_actor(circuit: Circuit) -> Ticket:
    answer = _answer_without_actor(circuit)
    if isinstance(answer, Grant):
        return answer  # its call is not counted
    _refuse(circuit, reason_of(answer))
    try:
        raise error_for(circuit.name, answer)
    finally:
        del answer  # an error would be kept by the frame that it keeps


def _begin_call(
    circuit: Circuit,
    allowance: Allowance,
    grant: Grant,
    now: float,
    request: Acquire | None = None,
) -> Ticket:
    """Keep a call while it runs if need be, and see to it that the actor looks after it in time.

    It has asked by `request`; None: now.
    """
    if grant.policy.slow_call_duration is None:
        return grant if allowance.observer is None else observed(grant, grant, now, request)
    calls = allowance.running_calls
    calls.last = call = calls.last + 1
    try:
        if allowance.begin_call(call, grant, now):
            circuit.mailbox.ring()
        return call if allowance.observer is None else observed(grant, call, now, request)
    except BaseException:
        calls.forget(call)
        raise


async def ask(
    circuit: Circuit,
    retry: bool = False,
    wait_until: float | None = None,
    wait_for: WaitFor = "closed",
    deadline: float = math.inf,
) -> Ticket:
    """Let the actor admit or refuse the call that `admit_at_once` could not answer.

    Raises:
        CircuitBreakerOpenError: the call is refused.
        CircuitCrashedError: the actor crashed on this very request.
        CircuitStoppedError: the circuit was stopped while the call waited.
    """
    if is_inside(circuit):
        if retry:
            await spend_retry(circuit)
        return as_part(circuit)
    policy = circuit.latest_policy
    shares = policy.ramp is not None or policy.throttle is not None
    draw = random.random() if shares else 0.0  # noqa: S311  (nobody is to be kept from guessing)
    permit = _next_permit(circuit)
    request = Acquire(permit, circuit.time(), draw, retry, wait_until, wait_for, deadline)
    return await _ask_actor(circuit, request)


async def spend_retry(circuit: Circuit) -> None:
    """Take one more attempt of a call that has been admitted from the retry budget.

    Raises:
        CircuitBreakerOpenError: it is spent.
        CircuitCrashedError, CircuitStoppedError: see `ask`.
    """
    if circuit.latest_policy.retry_budget is None:
        return
    if circuit.running:
        await _ask_actor(circuit, Retry(_next_permit(circuit), circuit.time()))
        return
    answer = _answer_without_actor(circuit)
    if not isinstance(answer, Grant):
        try:
            raise error_for(circuit.name, answer)
        finally:
            del answer  # an error would be kept by the frame that it keeps


def answer_asker(circuit: Circuit, permit: int, answer: Answer) -> None:
    """Answer the asker of `permit`, if it has not been cancelled or answered meanwhile."""
    asker = circuit.askers.get(permit)
    if asker is not None:
        if asker.answer is None:
            asker.answer = answer
        asker.answered.ring()  # perhaps again, if the first ring was cut short
        _forget_asker(circuit, permit)


def answer_all(circuit: Circuit) -> None:
    """Answer everybody who asks, since the circuit has no actor any more."""
    for permit in list(circuit.askers):
        answer_asker(circuit, permit, _answer_without_actor(circuit))


def _next_permit(circuit: Circuit) -> int:
    circuit.last_permit += 1
    return circuit.last_permit


async def _ask_actor(circuit: Circuit, request: Acquire | Retry) -> Ticket:
    """Wait for the actor's answer, and return or raise it."""
    permit, asks_for_call = request.permit, isinstance(request, Acquire)
    started = asked = 0
    try:
        asker = Asker(circuit.loop.new_bell())
        if circuit.askers is NOBODY:
            circuit.askers = {}
        circuit.askers[permit] = asker
        circuit.tell_overdue(request.at)  # what was due before it
        circuit.mailbox.ring()
        started, circuit.started = asks_for_call, circuit.started + asks_for_call
        circuit.put(request)
        asked = asks_for_call
        await asker.answered.wait()
        _forget_asker(circuit, permit)
        answer = asker.answer
        assert answer is not None
        if isinstance(answer, Grant):
            return _accept(circuit, answer, request) if isinstance(request, Acquire) else answer
    except BaseException:
        if asked:  # before, while or after it was answered: a permit that was granted goes back
            circuit.ending += 1
            _give_back(circuit, request)
        else:
            circuit.started -= started
            _forget_asker(circuit, permit)
        raise
    if isinstance(request, Acquire):
        _refuse(circuit, reason_of(answer), starts=0, request=request)
    try:
        raise error_for(circuit.name, answer)
    finally:
        del answer, asker  # an error would be kept by the frame that it keeps


def _accept(circuit: Circuit, grant: Grant, request: Acquire) -> Ticket:
    if circuit.allowance is not None and grant is not UNGUARDED:
        return _begin_call(circuit, circuit.allowance, grant, circuit.loop.clock.time(), request)
    circuit.started -= grant is UNGUARDED  # its call is not counted
    return grant


def _give_back(circuit: Circuit, request: Acquire | Retry) -> None:
    _forget_asker(circuit, request.permit)
    circuit.call_actor()
    circuit.put(Withdraw(request.permit, circuit.now()), ended=1)
    tell_withdrawn(circuit, request)


def _forget_asker(circuit: Circuit, permit: int) -> None:
    circuit.askers.pop(permit, None)
    if not circuit.askers:
        circuit.askers = NOBODY  # a dictionary keeps the room that it has had


def _refuse(circuit: Circuit, reason: str, starts: int = 1, request: Acquire | None = None) -> None:
    """Count a call that is refused; it has been counted as started before if it does not now."""
    if reason == "open":
        circuit.started, circuit.rejected = circuit.started + starts, circuit.rejected + 1
    else:
        circuit.refusals = circuit.refusals or {}  # `NO_REASONS` is that of all circuits
        refusals, before = circuit.refusals, circuit.refusals.get(reason, 0)
        started, rejected = circuit.started + starts, circuit.rejected + 1
        circuit.started, circuit.rejected, refusals[reason] = started, rejected, before + 1
    tell_refused(circuit, reason, request)
    if circuit.on_refusal is not None or WITNESSES:
        tell_refusal(circuit, reason)


def _answer_without_actor(circuit: Circuit) -> Answer:
    match circuit.given_up:
        case "allow":
            return UNGUARDED
        case "refuse":
            return Refusal(CircuitState.OPEN, math.inf, circuit.machine.last_failure)
        case None:
            return CircuitStoppedError(
                f"circuit {circuit.name!r} has been stopped, or its supervisor's block was left;"
                " ask a running supervisor for a new one by name"
            )
        case _:
            assert_never(circuit.given_up)
