"""How a call ends, and what the actor is told of it.

What cannot change anything travels later and together with others; see `Circuit.messages`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.calls import Ticket
from supervisor.circuit.judging import settle_error, settle_result
from supervisor.circuit.record import UNGUARDED, Circuit
from supervisor.machine import NO_PROBE, UNCOUNTED, Grant, Settle, settled
from supervisor.policy import PLAIN_FAILURE, Judgement, Outcome

NO_RESULT: Final = object()
"""The result of a block, which no function of a policy's is asked about."""

# Python 3.11 takes 50 ns to look up a member in its class.
_SUCCEEDED: Final = Outcome.SUCCEEDED


def succeed(circuit: Circuit, ticket: Ticket, result: object = None) -> Judgement:
    """Report that a call has returned, and return what that counts as.

    What a function of the policy's raises that judges results comes through.
    """
    # Each kind of allowance has its own shortest path: one for all is a third dearer, or more.
    allowance = circuit.allowance
    if allowance is None:
        if ticket is circuit.grant:
            circuit.unsent_successes += 1
        else:
            settle(circuit, ticket, _SUCCEEDED)
    elif allowance.judges_results and result is not NO_RESULT:
        return settle_result(circuit.policy_of(ticket), result, partial(settle, circuit, ticket))
    elif allowance.keeps_calls:
        running = allowance.running_calls.under_lease
        if ticket in running and not allowance.any_outcome:
            now = allowance.time()
            if now <= allowance.run_ends and now < allowance.overdue_at:
                del running[ticket]  # pyright: ignore[reportArgumentType]  (it is in there)
                circuit.unsent_successes += 1
                return _SUCCEEDED
        settle(circuit, ticket, _SUCCEEDED)
    elif ticket is allowance.run_grant and allowance.time() <= allowance.run_ends:
        circuit.unsent_successes += 1
    else:
        settle(circuit, ticket, _SUCCEEDED)
    return _SUCCEEDED


def fail(
    circuit: Circuit, ticket: Ticket, error: BaseException | None, surely: bool = False
) -> Judgement:
    """Report that a call has raised an `Exception`, and return what that counts as; see `end`.

    If it failed `surely`, the policy decides only on the kind of failure.
    """
    if ticket is circuit.grant and circuit.headroom > 1:
        circuit.headroom -= 1
        if circuit.unsent_successes:
            circuit.messages()
        circuit.unsent_failures += 1
        return PLAIN_FAILURE
    if error is None:
        settle(circuit, ticket, PLAIN_FAILURE)
        return PLAIN_FAILURE
    return end(circuit, ticket, error, surely)


def end(circuit: Circuit, ticket: Ticket, error: BaseException, surely: bool = False) -> Judgement:
    """Report that a call has raised something, and return what that counts as.

    What a function of the policy's raises that judges errors comes through.
    """
    return settle_error(circuit.policy_of(ticket), error, partial(settle, circuit, ticket), surely)


def settle_block(circuit: Circuit, ticket: Ticket, error: BaseException | None) -> None:
    """Report how a block ended: it has no result, and may have raised something."""
    if error is None:
        succeed(circuit, ticket, NO_RESULT)
    elif isinstance(error, Exception):
        fail(circuit, ticket, error)
    else:
        end(circuit, ticket, error)


def settle(
    circuit: Circuit, ticket: Ticket, judgement: Judgement, failure: str | None = None
) -> None:
    """Report what a call counts as, with its time."""
    allowance = circuit.allowance
    if ticket is UNGUARDED or (
        judgement is _SUCCEEDED and allowance and _add_to_run(circuit, allowance, ticket)
    ):
        return
    now = circuit.now()
    if now is not None:
        circuit.tell_overdue(now)  # what was due before it, and perhaps this very call
    if isinstance(ticket, Grant):
        report = settled(ticket, judgement, now, failure)
    else:
        assert allowance is not None
        grant, began, told = allowance.running_calls.end(ticket)
        report = settled(grant, judgement, now, failure, began=began, told=told)
    circuit.put(report)
    if report.period >= circuit.lease.period and _could_change_state(circuit, report):
        circuit.call_actor()


def _could_change_state(circuit: Circuit, report: Settle) -> bool:
    """Whether the actor has to hear of it now, since the lease does not allow for it."""
    if report.probe != NO_PROBE:
        return report.probe != UNCOUNTED
    allowance = circuit.allowance
    if allowance is None or not allowance.failures_one_by_one:
        return report.outcome is Outcome.FAILED
    return not allowance.covers(report)


def _add_to_run(circuit: Circuit, allowance: Allowance, ticket: Ticket) -> bool:
    """Count a success with those before it, and return true, if nothing depends on it."""
    now = allowance.time_in_run(ticket)
    if now is None:
        return False
    if now > allowance.run_ends:
        circuit.messages()
        allowance.begin_run(now)
    circuit.unsent_successes += 1
    if not isinstance(ticket, Grant):
        del allowance.running_calls.under_lease[ticket]
    return True
