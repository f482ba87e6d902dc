"""The policies of the soak, one for each circuit, and what they make of the ends of its calls.

The judgement is a second one: it shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from supervisor import CallTimeoutError, Failure, Outcome
from supervisor.policy import Policy
from tests.proofs.drawn_policies import OWN_STEPS, Chance, policy_fields, some
from tests.support.worlds import Down

PACE: Final = 0.4
"""By how much quicker the soak is than what else plays such policies."""


class Busy(Down):
    """What a dependency raises that could do more, a little later."""


class Mistaken(Exception):
    """What a dependency raises that has been asked for nonsense."""


POOR: Final = "poor"
"""A result that some policies take for a failure."""

CLASSIFIED: Final[Mapping[object, Failure | Outcome]] = {
    Busy: Failure("busy", weight=2, threshold=3, retry_after=0.3),
    Mistaken: Outcome.IGNORED,
    POOR: Failure("poor", weight=0, threshold=4, recovery_timeout=0.2),
}


def classify(ended_with: object) -> Failure | Outcome | None:
    """Tell some ends of calls from others."""
    return CLASSIFIED.get(POOR if ended_with == POOR else type(ended_with))


def is_busy(error: BaseException) -> bool:
    return isinstance(error, Busy)


def is_poor(result: object) -> bool:
    return result == POOR


def quick_if_busy(error: BaseException) -> float | None:
    return 0.1 if isinstance(error, Busy) else None


def drawn_policy(chance: Chance) -> Policy:
    """Draw any policy."""
    fields = policy_fields(chance)
    fields |= {field: fields[field] * PACE for field in OWN_STEPS if field in fields}
    functions = some(
        chance,
        failure_on=(OSError, (Busy, TimeoutError), is_busy),
        ignore=(Mistaken, (Mistaken, TimeoutError), is_busy),
        failure_on_result=(is_poor,),
        classify=(classify,),
        recovery_from=(quick_if_busy,),
        max_retry_after=(0.05, 0.2),
        initial_state=("open",),
    )
    return Policy(**fields, **functions)


def judged(policy: Policy, error: BaseException | None, result: object = None) -> str:
    """Return what a call counts as that has ended with an error, or a result; as a block, or by a
    permit, it has none.
    """
    ended_with = result if error is None else error
    if policy.classify is not None:
        told = CLASSIFIED.get(POOR if ended_with == POOR else type(ended_with))
        if told is not None:
            return told.value if isinstance(told, Outcome) else "failed"
    if error is None:
        return "failed" if policy.failure_on_result and result == POOR else "succeeded"
    if means(policy.ignore, error):
        return "ignored"
    if isinstance(error, CallTimeoutError) or means(policy.failure_on, error):
        return "failed"
    return "succeeded"


def means(errors: Any, error: BaseException) -> bool:
    """Whether a policy's types, or its function, mean that error."""
    return isinstance(error, Busy) if errors is is_busy else isinstance(error, errors)


def is_too_slow(policy: Policy, seconds: float, doubt: float) -> bool | None:
    """Whether a success that took so long is a failure; None: less than `doubt` seconds more or
    less decide.
    """
    limit = policy.slow_call_duration
    if limit is None or policy.slow_call_rate is not None:
        return False
    return None if abs(seconds - limit) < doubt else seconds > limit
