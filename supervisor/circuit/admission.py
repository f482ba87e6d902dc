"""How a call is admitted or refused: at once by the lease, or by the actor on request."""

from __future__ import annotations

import math
import random
from typing import Final, assert_never

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.calls import Ticket
from supervisor.circuit.record import NOBODY, UNGUARDED, Answer, Asker, Circuit
from supervisor.errors import CircuitBreakerOpenError, CircuitStoppedError
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
_HALF_OPEN: Final = CircuitState.HALF_OPEN


async def admit(circuit: Circuit, retry: bool, wait: float | None, wait_for: WaitFor) -> Ticket:
    """Admit or refuse one call, which may be another attempt, or be ready to wait.

    Raises:
        CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError: see `ask`.
    """
    retry = retry and circuit.latest_policy.retry_budget is not None
    ticket = admit_at_once(circuit, must_ask=retry, may_refuse=wait is None)
    if ticket is not None:
        return ticket
    until = None if wait is None else circuit.loop.time() + wait
    return await ask(circuit, retry, until, wait_for)


def admit_at_once(
    circuit: Circuit, must_ask: bool = False, may_refuse: bool = True
) -> Ticket | None:
    """Admit or refuse one call where no turn of the actor is needed; None: `ask` must follow.

    Raises:
        CircuitBreakerOpenError: the call is refused.
        CircuitStoppedError: the circuit is stopped.
    """
    circuit.started += 1
    allowance = circuit.allowance
    if allowance is not None and allowance.slack > 0 and not must_ask:
        if allowance.admits_freely:
            return allowance.grant
        now = allowance.time()
        if now >= allowance.next_check:
            return _admit_after_check(circuit, allowance, now)
        if allowance.keeps_calls:
            calls = allowance.running_calls
            calls.last = call = calls.last + 1
            calls.under_lease[call] = now
            return call
        return allowance.grant
    if not circuit.running:
        return _granted(circuit, _answer_without_actor(circuit))
    if must_ask:
        return None
    if circuit.headroom > 0:
        return circuit.grant
    now = circuit.loop.time()
    if now >= circuit.refuse_until or not may_refuse:
        return None
    circuit.rejected += 1
    lease = circuit.lease
    wait = 0.0 if lease.state is _HALF_OPEN else circuit.refuse_until - now
    raise CircuitBreakerOpenError(circuit.name, wait, lease.state, lease.last_failure)


def _admit_after_check(circuit: Circuit, allowance: Allowance, now: float) -> Ticket | None:
    """Admit one call by what is left of the lease at this time, or let it ask."""
    circuit.tell_overdue(now)
    if allowance.slack <= 0 or now > allowance.expires:
        return None
    if not allowance.keeps_calls:
        return allowance.grant
    return _begin_call(circuit, allowance, allowance.grant, now)


def _begin_call(circuit: Circuit, allowance: Allowance, grant: Grant, now: float) -> int:
    """Keep a call while it runs, and see to it that the actor looks after it in time."""
    before = allowance.overdue_at
    call = allowance.begin_call(grant, now)
    if allowance.overdue_at < before:
        circuit.mailbox.ring()
    return call


async def ask(
    circuit: Circuit,
    retry: bool = False,
    wait_until: float | None = None,
    wait_for: WaitFor = "closed",
) -> Ticket:
    """Let the actor admit or refuse the call that `admit_at_once` could not answer.

    Raises:
        CircuitBreakerOpenError: the call is refused.
        CircuitCrashedError: the actor crashed on this very request.
        CircuitStoppedError: the circuit was stopped while the call waited.
    """
    permit = _next_permit(circuit)
    policy = circuit.latest_policy
    shares = policy.ramp is not None or policy.throttle is not None
    draw = random.random() if shares else 0.0  # noqa: S311  (nobody is to be kept from guessing)
    request = Acquire(permit, circuit.loop.time(), draw, retry, wait_until, wait_for)
    grant = _granted(circuit, await _answer_to(circuit, permit, request))
    allowance = circuit.allowance
    if allowance is None or grant is UNGUARDED or grant.policy.slow_call_duration is None:
        return grant
    return _begin_call(circuit, allowance, grant, circuit.loop.time())


async def spend_retry(circuit: Circuit) -> None:
    """Take one more attempt of a call that has been admitted from the retry budget.

    Raises:
        CircuitBreakerOpenError: it is spent.
        CircuitCrashedError, CircuitStoppedError: see `ask`.
    """
    if circuit.latest_policy.retry_budget is None:
        return
    if circuit.running:
        permit = _next_permit(circuit)
        answer = await _answer_to(circuit, permit, Retry(permit, circuit.loop.time()))
    else:
        answer = _answer_without_actor(circuit)
    if not isinstance(answer, Grant):
        raise _error_for(circuit, answer)


def answer_asker(circuit: Circuit, permit: int, answer: Answer) -> None:
    """Answer the asker of `permit`, if it has not been cancelled meanwhile."""
    asker = circuit.askers.pop(permit, None)
    if asker is not None:
        asker.answer = answer
        asker.answered.ring()


def answer_all(circuit: Circuit) -> None:
    """Answer everybody who asks, since the circuit has no actor any more."""
    for permit in list(circuit.askers):
        answer_asker(circuit, permit, _answer_without_actor(circuit))


def _next_permit(circuit: Circuit) -> int:
    circuit.last_permit += 1
    return circuit.last_permit


async def _answer_to(circuit: Circuit, permit: int, request: Acquire | Retry) -> Answer:
    if circuit.askers is NOBODY:
        circuit.askers = {}
    asker = circuit.askers[permit] = Asker(circuit.loop.new_bell())
    circuit.tell_overdue(request.at)  # what was due before it
    circuit.put(request)
    circuit.mailbox.ring()
    try:
        await asker.answered.wait()
    except BaseException:
        # Before, while or after it was answered: a permit that was granted goes back.
        circuit.askers.pop(permit, None)
        if isinstance(request, Acquire):
            circuit.put(Withdraw(permit, circuit.now()))
            circuit.call_actor()
        raise
    assert asker.answer is not None
    return asker.answer


def _granted(circuit: Circuit, answer: Answer) -> Grant:
    if answer is UNGUARDED:
        circuit.started -= 1
    if isinstance(answer, Grant):
        return answer
    circuit.rejected += 1
    raise _error_for(circuit, answer)


def _error_for(circuit: Circuit, answer: Refusal | Exception) -> Exception:
    if isinstance(answer, Refusal):
        return CircuitBreakerOpenError(
            circuit.name, answer.retry_after, answer.state, answer.last_failure, answer.reason
        )
    return answer


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
