"""How a call asks the actor to be admitted, and waits for its answer."""

from __future__ import annotations

import math
import random
from typing import Final, assert_never

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.askers import NOBODY, Answer, Asker, Pause, error_for, reason_of
from supervisor.circuit.calls import Ticket
from supervisor.circuit.nesting import as_part, is_inside
from supervisor.circuit.observing import observed, tell_refused, tell_withdrawn
from supervisor.circuit.record import WITHOUT_ACTOR, Circuit
from supervisor.circuit.turn import answer_asker, forget_asker, take_turn_at_once
from supervisor.circuit.witnesses import WITNESSES, tell_refusal
from supervisor.errors import CircuitBreakerOpenError, CircuitStoppedError
from supervisor.loop import let_others_go_first
from supervisor.machine import (
    NO_PROBE,
    Acquire,
    CircuitState,
    Grant,
    Refusal,
    Retry,
    WaitFor,
    Withdraw,
)

ANSWERED_AT_ONCE: Final = 32
"""Requests of a circuit of which at least one waits for its actor, so that who asks again and again
leaves others their turns.
"""


async def ask(
    circuit: Circuit,
    retry: bool = False,
    wait_until: float | None = None,
    wait_for: WaitFor = "closed",
    deadline: float = math.inf,
) -> Ticket:
    """Let the actor admit or refuse the call that `admit_at_once` could not answer.

    Where there is none to ask, it is decided at once; but a task that comes again and again lets
    others have their turns before it goes on.

    Raises:
        CircuitBreakerOpenError: the call is refused; also if the actor pauses after a crash, and
            the call would not wait so long.
        CircuitCrashedError: the actor crashed on this very request.
        CircuitStoppedError: the circuit was stopped while the call waited.
    """
    request: Acquire | None = None
    if circuit.running:
        if is_inside(circuit):
            if retry:
                await spend_retry(circuit)
            return as_part(circuit)
        policy = circuit.latest_policy
        shares = policy.ramp is not None or policy.throttle is not None
        draw = random.random() if shares else 0.0  # noqa: S311  (nobody is to be kept from guessing)
        permit = _next_permit(circuit)
        request = Acquire(permit, circuit.time(), draw, retry, wait_until, wait_for, deadline)
        pause = circuit.instead
        if not isinstance(pause, Pause) or _patience(request) > pause.until:
            return await _wait_for_answer(circuit, request)
    try:
        return admit_without_actor(circuit, request)
    except (CircuitBreakerOpenError, CircuitStoppedError):
        await let_others_go_first()
        raise


async def spend_retry(circuit: Circuit) -> None:
    """Take one more attempt of a call that has been admitted from the retry budget.

    Raises:
        CircuitBreakerOpenError: it is spent.
        CircuitCrashedError, CircuitStoppedError: see `ask`.
    """
    if circuit.latest_policy.retry_budget is None:
        return
    if circuit.running and not isinstance(circuit.instead, Pause):
        await _wait_for_answer(circuit, Retry(_next_permit(circuit), circuit.time()))
        return
    answer = answer_without_actor(circuit)
    if not isinstance(answer, Grant):
        await let_others_go_first()
        try:
            raise error_for(circuit.name, answer)
        finally:
            del answer  # an error would be kept by the frame that it keeps


def answer_all(circuit: Circuit) -> None:
    """Answer everybody who asks, since the circuit has no actor any more."""
    for permit in list(circuit.askers):
        answer_asker(circuit, permit, answer_without_actor(circuit))


def begin_call(
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
        if allowance.begin_call(call, grant, now) or grant.probe > NO_PROBE:
            circuit.mailbox.ring()  # in time; and of a probe, to see that others have turns
        return call if allowance.observer is None else observed(grant, call, now, request)
    except BaseException:
        calls.forget(call)
        raise


def refuse(circuit: Circuit, reason: str, starts: int = 1, request: Acquire | None = None) -> None:
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


def admit_without_actor(circuit: Circuit, request: Acquire | None = None) -> Ticket:
    """Admit or refuse a call where no actor decides; it has asked by `request`; None: now.

    Raises:
        CircuitBreakerOpenError, CircuitStoppedError: it is refused.
    """
    answer = answer_without_actor(circuit)
    if isinstance(answer, Grant):
        return answer  # its call is not counted
    refuse(circuit, reason_of(answer), request=request)
    try:
        raise error_for(circuit.name, answer)
    finally:
        del answer  # an error would be kept by the frame that it keeps


def answer_without_actor(circuit: Circuit) -> Answer:
    """Return what whoever asks is told where no actor decides."""
    match circuit.instead:
        case Pause(until=until):
            lease, left = circuit.lease, max(0.0, until - circuit.time())
            return Refusal(lease.state, left, lease.last_failure, "restarting")
        case "allow":
            return WITHOUT_ACTOR
        case "refuse":
            return Refusal(CircuitState.OPEN, math.inf, circuit.machine.last_failure)
        case None:
            return CircuitStoppedError(
                f"circuit {circuit.name!r} has been stopped, or its supervisor's block was left;"
                " ask a running supervisor for a new one by name"
            )
        case _:
            assert_never(circuit.instead)


def _next_permit(circuit: Circuit) -> int:
    circuit.last_permit += 1
    return circuit.last_permit


async def _wait_for_answer(circuit: Circuit, request: Acquire | Retry) -> Ticket:
    """Wait for the actor's answer, and return or raise it."""
    permit, asks_for_call = request.permit, isinstance(request, Acquire)
    started = asked = 0
    try:
        asker = Asker(_patience(request))
        if circuit.askers is NOBODY:
            circuit.askers = {}
        circuit.askers[permit] = asker
        circuit.tell_overdue(request.at)  # what was due before it
        started, circuit.started = asks_for_call, circuit.started + asks_for_call
        circuit.put(request)
        asked = asks_for_call
        if not (_would_only_wait(circuit, request) or _asks_at_once(circuit, request)):
            circuit.mailbox.ring()
        if asker.answer is None:
            asker.answered = circuit.loop.new_bell()
            await asker.answered.wait()
        forget_asker(circuit, permit)
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
            forget_asker(circuit, permit)
        raise
    if isinstance(request, Acquire):
        refuse(circuit, reason_of(answer), starts=0, request=request)
    try:
        raise error_for(circuit.name, answer)
    finally:
        del answer, asker  # an error would be kept by the frame that it keeps


def _patience(request: Acquire | Retry) -> float:
    """Return up to which time an asker would wait for an actor that pauses."""
    if isinstance(request, Retry) or request.wait_until is None:
        return -math.inf
    return min(request.wait_until, request.deadline)


def _would_only_wait(circuit: Circuit, request: Acquire | Retry) -> bool:
    """Whether there is nothing to answer yet, by the lease, to whoever is ready to wait: a turn for
    each of thousands who come would take the event loop more time than all they do.
    """
    return (
        isinstance(request, Acquire)
        and request.at < circuit.refuse_until
        and circuit.machine.would_only_wait(request)
    )


def _asks_at_once(circuit: Circuit, request: Acquire | Retry) -> bool:
    """Take the turn that answers it, unless others are to have theirs before; return whether the
    actor may sleep on.
    """
    others_first = request.permit % ANSWERED_AT_ONCE == 0 or request.at < circuit.refuse_until
    return not others_first and take_turn_at_once(circuit, request.at)


def _accept(circuit: Circuit, grant: Grant, request: Acquire) -> Ticket:
    if circuit.allowance is not None and grant is not WITHOUT_ACTOR:
        return begin_call(circuit, circuit.allowance, grant, circuit.loop.clock.time(), request)
    circuit.started -= grant is WITHOUT_ACTOR  # its call is not counted
    return grant


def _give_back(circuit: Circuit, request: Acquire | Retry) -> None:
    forget_asker(circuit, request.permit)
    circuit.call_actor()
    circuit.put(Withdraw(request.permit, circuit.now()), ended=1)
    tell_withdrawn(circuit, request)
