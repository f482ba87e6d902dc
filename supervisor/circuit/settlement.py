"""How a call ends, and what the actor is told of it.

What cannot change anything travels later and together with others; see `Circuit.messages`. A
report ends with the statement that counts it: if anything is raised, but by the policy's own
functions, it has not been made.

Whoever calls one of these functions but `settle` and `settle_counted` adds the call to
`Circuit.ending` first.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Final

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.calls import Observed, OfOneCall, Part, Ticket
from supervisor.circuit.judging import DOUBTFUL_ERRORS, settle_error, settle_result
from supervisor.circuit.nesting import (
    OF_A_RESULT,
    OuterCall,
    counted_inside,
    failed_last,
    is_among,
    remember_error,
    remember_result,
)
from supervisor.circuit.observing import tell_ended
from supervisor.circuit.record import WITHOUT_ACTOR, Circuit
from supervisor.circuit.witnesses import WITNESSES, tell_opening
from supervisor.machine import NO_PROBE, UNCOUNTED, Grant, Settle, settled
from supervisor.policy import PLAIN_FAILURE, Failure, Judgement, Outcome, Policy

NO_RESULT: Final = object()
"""The result of a block, which no function of a policy's is asked about."""

# Python 3.11 takes 50 ns to look up a member in its class.
_SUCCEEDED: Final = Outcome.SUCCEEDED


def succeed(
    circuit: Circuit,
    ticket: Ticket,
    result: object = None,
    began: int = sys.maxsize,
    known: OuterCall | None = None,
    policy: Policy | None = None,
) -> Judgement:
    """Report that a call has returned, and return what that counts as; see `end_once`.

    What a function of the policy's raises that judges results comes through.
    """
    # Each kind of allowance has its own shortest path: one for all is a third dearer, or more.
    allowance = circuit.allowance
    if allowance is None:
        at_once = ticket is circuit.grant
    elif allowance.judges_results and result is not NO_RESULT:
        return _succeed_once(circuit, ticket, result, began, known, policy)
    elif allowance.keeps_calls:
        running, now = allowance.running_calls.under_lease, allowance.clock.time()
        at_once = (
            ticket in running
            and not allowance.any_outcome
            and now <= allowance.run_ends
            and now < allowance.overdue_at
        )
        if at_once:
            del running[ticket]  # type: ignore[arg-type]
    else:
        at_once = allowance.clock.time() <= allowance.run_ends and ticket is allowance.run_grant
    if at_once:
        circuit.unsent_successes, circuit.ending = circuit.unsent_successes + 1, circuit.ending - 1
    else:
        report(circuit, ticket, _SUCCEEDED)
    return _SUCCEEDED


def fail(circuit: Circuit, ticket: Ticket) -> None:
    """Report that a call has failed, nobody knows by what; see `end_once`."""
    if ticket is circuit.grant and circuit.headroom > 1:
        if circuit.unsent_successes:
            circuit.messages()
        circuit.headroom -= 1  # before the last look at it: others may take theirs meanwhile
        if circuit.headroom >= 1 and ticket is circuit.grant:
            count, ending = circuit.unsent_failures + 1, circuit.ending - 1
            circuit.unsent_failures, circuit.ending = count, ending
            return
    report(circuit, ticket, PLAIN_FAILURE)


def _end(
    circuit: Circuit,
    ticket: Ticket,
    error: BaseException,
    surely: bool,
    policy: Policy | None,
    counted: bool = False,
) -> Judgement:
    """Report that a call has raised something, and return what that counts as; see `end_once`."""
    judge = policy or circuit.grant_of(ticket).policy
    counts = partial(_report_counted if counted else report, circuit, ticket)
    return settle_error(judge, error, counts, surely)


def end_once(
    circuit: Circuit,
    ticket: Ticket,
    error: BaseException,
    began: int,
    known: OuterCall | None = None,
    surely: bool = False,
    policy: Policy | None = None,
) -> Judgement:
    """Report that a call has raised something, and return what that counts as.

    A failure that a call inside it has been counted for is not counted again. `began` is the
    circuit's number of started calls at its beginning. It is judged by `policy`, or else by the one
    that has admitted it. What a function raises that judges errors comes through.
    """
    # No call inside it has failed if none has begun since.
    if known is not None or (circuit.started != began and failed_last()):
        counted = counted_inside(circuit, began, known)
        if counted and is_among(counted, error):
            return _end(circuit, ticket, error, surely, policy, counted=True)
    # Also if a function that is asked about it raises.
    judgement: Judgement = PLAIN_FAILURE if isinstance(error, Exception) else Outcome.CANCELLED
    try:
        # The same as in `fail`: to call it would cost as much.
        if (
            ticket is circuit.grant
            and circuit.headroom > 1
            and judgement is PLAIN_FAILURE
            and (surely or not issubclass(type(error), DOUBTFUL_ERRORS))
        ):
            if circuit.unsent_successes:
                circuit.messages()
            circuit.headroom -= 1
            if circuit.headroom >= 1 and ticket is circuit.grant:
                count, ending = circuit.unsent_failures + 1, circuit.ending - 1
                circuit.unsent_failures, circuit.ending = count, ending
                return judgement
        judgement = _end(circuit, ticket, error, surely, policy)
    finally:
        if isinstance(judgement, Failure) and type(ticket) is not Part:
            remember_error(circuit, began, error)
    return judgement


def _succeed_once(
    circuit: Circuit,
    ticket: Ticket,
    result: object,
    began: int,
    known: OuterCall | None,
    policy: Policy | None,
) -> Judgement:
    """Report what a result counts as, which may be a failure; see `end_once`."""
    inside = counted_inside(circuit, began, known)
    counted = any(each[2] is OF_A_RESULT for each in inside)
    counts = partial(_report_counted if counted else report, circuit, ticket)
    judgement = settle_result(policy or circuit.grant_of(ticket).policy, result, counts)
    if isinstance(judgement, Failure) and not counted and not isinstance(ticket, Part):
        remember_result(circuit, began)
    return judgement


def settle_counted(
    circuit: Circuit, ticket: Ticket, judgement: Judgement, failure: str | None = None
) -> None:
    """Report what a call counts as whose failure, if it is one, has been counted."""
    circuit.ending += 1
    _report_counted(circuit, ticket, judgement, failure)


def _report_counted(
    circuit: Circuit, ticket: Ticket, judgement: Judgement, failure: str | None = None
) -> None:
    if isinstance(judgement, Failure):
        report(circuit, ticket, Outcome.IGNORED)
    else:
        report(circuit, ticket, judgement, failure)


def settle_block(
    circuit: Circuit,
    ticket: Ticket,
    began: int,
    known: OuterCall | None,
    error: BaseException | None,
) -> None:
    """Report how a block ended: it has no result, and may have raised something."""
    if error is None:
        succeed(circuit, ticket, NO_RESULT, began)
    else:
        end_once(circuit, ticket, error, began, known)


def settle(
    circuit: Circuit, ticket: Ticket, judgement: Judgement, failure: str | None = None
) -> None:
    """Report what a call counts as."""
    circuit.ending += 1
    report(circuit, ticket, judgement, failure)


def report(
    circuit: Circuit, ticket: Ticket, judgement: Judgement, failure: str | None = None
) -> None:
    """Report what a call counts as, with its time, that is among those that end already.

    A part of another call reports nothing.
    """
    allowance = circuit.allowance
    if ticket is WITHOUT_ACTOR or isinstance(ticket, OfOneCall):
        if not isinstance(ticket, Observed):
            circuit.ending -= 1
            return
        tell_ended(circuit, ticket, judgement)
        ticket = ticket.ticket
    if judgement is _SUCCEEDED and allowance and _add_to_run(circuit, allowance, ticket):
        return
    now = circuit.now()
    if now is not None:
        circuit.tell_overdue(now)  # what was due before it, and perhaps this very call
    if isinstance(ticket, Grant):
        message = settled(ticket, judgement, now, failure)
    else:
        assert allowance is not None
        grant, began, told = allowance.running_calls.end(ticket, now)
        message = settled(grant, judgement, now, failure, began=began, told=told)
    if allowance is not None:
        allowance.remember(message)
    if message.period >= circuit.lease.period and _could_change_state(circuit, message):
        if WITNESSES:
            tell_opening(circuit, message)
        # Before it is there: nothing may be raised afterwards.
        if _only_counts(circuit, message):
            circuit.withdraw_lease()
        else:
            circuit.call_actor()
    circuit.put(message, ended=1)


def _could_change_state(circuit: Circuit, report: Settle) -> bool:
    """Whether the actor has to hear of it now, since the lease does not allow for it."""
    if report.probe != NO_PROBE:
        return report.probe != UNCOUNTED
    allowance = circuit.allowance
    if allowance is None or not allowance.failures_one_by_one:
        return report.outcome is Outcome.FAILED
    return not allowance.covers(report)


def _only_counts(circuit: Circuit, report: Settle) -> bool:
    """Whether it is time enough for the actor to hear of it when somebody asks, who may have the
    place of a probe that has ended.
    """
    machine = circuit.machine
    return (
        not circuit.askers
        and not machine.is_shared
        and machine.would_only_count(report, len(circuit.mailbox.messages))
    )


def _add_to_run(circuit: Circuit, allowance: Allowance, ticket: Ticket) -> bool:
    """Count a success with those before it, and return true, if nothing depends on it."""
    running = None if isinstance(ticket, Grant) else allowance.running_calls.under_lease
    now = allowance.time_in_run(ticket)
    while now is not None and now > allowance.run_ends:
        circuit.messages()
        allowance.begin_run(now)
        now = allowance.time_in_run(ticket)
    if now is None:
        return False
    allowance.slack -= allowance.any_outcome
    if running is not None:
        del running[ticket]  # type: ignore[arg-type]
    circuit.unsent_successes, circuit.ending = circuit.unsent_successes + 1, circuit.ending - 1
    return True
