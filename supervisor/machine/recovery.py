"""How long a circuit stays open."""

from __future__ import annotations

import random

from supervisor.policy import Failure, Policy


def seconds_open(policy: Policy, failure: Failure, failed_recoveries: int, seed: str) -> float:
    """Return how long a circuit stays open that has been opened by `failure`.

    The time grows by `recovery_factor` with each recovery that has failed since the circuit was
    closed, up to `max_recovery_timeout`, or goes by `recovery_schedule`. It is then made shorter or
    longer by up to `recovery_jitter`: exponential back-off with jitter, as Marc Brooker describes
    it. What the dependency itself has asked for is never shortened.

    Args:
        policy: the circuit's.
        failure: what has opened it.
        failed_recoveries: 0 for the first opening.
        seed: of the jitter; the same one gives the same time.
    """
    base, schedule = policy.recovery_timeout, policy.recovery_schedule
    if schedule is not None:
        base = schedule[min(failed_recoveries, len(schedule) - 1)]
    seconds = failure.recovery_timeout or base
    maximum = policy.max_recovery_timeout
    if maximum is not None:
        for _ in range(failed_recoveries if policy.recovery_factor > 1 else 0):
            if seconds >= maximum:
                break
            seconds *= policy.recovery_factor
        seconds = min(seconds, maximum)
    if policy.recovery_jitter:
        draw = random.Random(seed).random()  # noqa: S311  (nobody is to be kept from guessing it)
        seconds *= 1 + policy.recovery_jitter * (2 * draw - 1)
        if maximum is not None:
            seconds = min(seconds, maximum)
    return max(seconds, failure.retry_after or 0.0)
