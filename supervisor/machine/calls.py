"""What an ended or an overdue call reports: one rule, for circuits and for simulations.

A call is slow from `slow_call_duration` on, whether it still runs then or has ended. A slow call
fails, whatever it returns, unless a `slow_call_rate` looks at slow calls for themselves. One that
was overdue has been counted as slow already, so its end says which call it is instead.
"""

from __future__ import annotations

import math

from supervisor.machine.messages import NO_PROBE, Grant, Overdue, Settle
from supervisor.policy import PLAIN_FAILURE, Failure, Judgement, Outcome


def slow_from(grant: Grant, began: float) -> float:
    """Return the time from which a call that is still running is overdue; infinite if never.

    A probe never is, since it has a limit of its own, the `probe_timeout`; nor is a call that
    counts for nothing.
    """
    limit = grant.policy.slow_call_duration
    return math.inf if limit is None or grant.probe != NO_PROBE else began + limit


def is_slow(grant: Grant, began: float, at: float) -> bool:
    """Return whether a call that began then is slow at a time, running or ended, probe or not."""
    limit = grant.policy.slow_call_duration
    return limit is not None and at >= began + limit  # the same sum as that of `slow_from`


def overdue(grant: Grant, call: int, began: float) -> Overdue:
    """Return what a call that is still running reports at the time from which it is slow."""
    policy = grant.policy
    after = policy.slow_call_duration
    assert after is not None
    return Overdue(grant.period, call, began + after, after, failed=policy.slow_call_rate is None)


def settled(
    grant: Grant,
    judgement: Judgement,
    at: float | None,
    failure: str | None = None,
    *,
    began: float | None = None,
    told: int = 0,
) -> Settle:
    """Return what an ended call reports.

    Args:
        grant: what it was admitted by.
        judgement: what it counts as by its error or result.
        at: when it ended; None if that is not known, or plays no part.
        failure: the error, as text.
        began: when it began, if its policy looks at that.
        told: its number, if it has been reported as overdue; else 0.
    """
    slow = told > 0 or (began is not None and at is not None and is_slow(grant, began, at))
    if slow and judgement is Outcome.SUCCEEDED:
        failure = "was slow" if began is None or at is None else f"took {at - began:g} s"
        if grant.policy.slow_call_rate is None:
            judgement = PLAIN_FAILURE
    outcome, of_kind = _outcome_of(judgement)
    return Settle(
        grant.period,
        grant.probe,
        outcome,
        at,
        failure,
        of_kind=of_kind,
        slow=slow and not told and outcome.counts,
        retry=grant.retry,
        call=told,
    )


def _outcome_of(judgement: Judgement) -> tuple[Outcome, Failure]:
    if isinstance(judgement, Failure):
        return Outcome.FAILED, judgement
    return judgement, PLAIN_FAILURE
