"""Closed circuits that admit only a share of their calls: a throttle, and a ramp after closing."""

from __future__ import annotations

import math
from typing import Final

from supervisor.machine.ratios import ratio
from supervisor.machine.recent import Recent
from supervisor.machine.slack import UNLIMITED
from supervisor.policy import Policy

RAMP_STEPS: Final = 10
"""How often those who wait are asked anew while a ramp lasts."""


def ramp_share(policy: Policy, elapsed: float) -> float:
    """Return the share of calls that is admitted, so many seconds after the circuit has closed."""
    if policy.ramp is None or elapsed >= policy.ramp:
        return 1.0
    return policy.ramp_start + (1 - policy.ramp_start) * elapsed / policy.ramp


def seconds_to_unthrottle(policy: Policy) -> float:
    """Return about how long a throttle takes to admit all calls again, from its floor on, of a
    server that has recovered and is asked often; 0.0 without one.

    The share is `throttle` times its own mean over `throttle_seconds`, since refusals count as
    requests: it grows as exp(y * t / throttle_seconds), with (1 - exp(-y)) / y = 1 / throttle. With
    1 it would never grow, so that is refused.
    """
    if policy.throttle is None:
        return 0.0
    low, high = 0.0, policy.throttle
    for _ in range(60):  # halvings; y is less than `throttle`
        y = (low + high) / 2
        low, high = (y, high) if -math.expm1(-y) / y > 1 / policy.throttle else (low, y)
    return policy.throttle_seconds * (1 - math.log(policy.throttle_floor) / high)


class Throttle(Recent):
    """Client-side throttling as in Google's *Site Reliability Engineering*, chapter 21.

    Requests are calls that have succeeded or failed, and those that were refused a share;
    accepts are those that have succeeded. As many requests as are accepted, times `throttle`,
    pass freely. The failures among the recent calls are what was not accepted.
    """

    __slots__ = ()

    def share(self, policy: Policy) -> float:
        """Return the share of calls that is admitted."""
        excess, of = self._excess(policy)
        if excess <= 0:
            return 1.0
        requests = of * (self.recent.calls + 1)
        return max(policy.throttle_floor, (requests - excess) / requests)

    def slack(self, policy: Policy) -> int:
        """Return how many more failures there can be until the share is less than all."""
        excess, of = self._excess(policy)
        return min(max(1, 1 + -excess // of), UNLIMITED)

    def _excess(self, policy: Policy) -> tuple[int, int]:
        """Return how many requests are too many, in parts of one, and how many parts that has."""
        assert policy.throttle is not None
        parts, of = ratio(policy.throttle)
        accepts = self.recent.calls - self.recent.failures
        return self.recent.calls * of - accepts * parts, of
