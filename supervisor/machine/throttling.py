"""Closed circuits that admit only a share of their calls: a throttle, and a ramp after closing."""

from __future__ import annotations

from typing import Final

from supervisor.machine.slack import fewest
from supervisor.machine.windows import TimeWindow, take_over
from supervisor.policy import Policy

RAMP_STEPS: Final = 10
"""How often those who wait are asked anew while a ramp lasts."""


def ramp_share(policy: Policy, elapsed: float) -> float:
    """Return the share of calls that is admitted, so many seconds after the circuit has closed."""
    if policy.ramp is None or elapsed >= policy.ramp:
        return 1.0
    return policy.ramp_start + (1 - policy.ramp_start) * elapsed / policy.ramp


class Throttle:
    """Client-side throttling as in Google's *Site Reliability Engineering*, chapter 21.

    Requests are calls that have succeeded or failed, and those that were refused a share;
    accepts are those that have succeeded. As many requests as are accepted, times `throttle`,
    pass freely.
    """

    recent: TimeWindow

    __slots__ = ("recent",)

    def __init__(self, policy: Policy) -> None:
        self.recent = TimeWindow(policy.throttle_seconds)  # its failures are what was not accepted

    def share(self, policy: Policy) -> float:
        """Return the share of calls that is admitted."""
        excess = self._excess(policy, more=0)
        return 1.0 if excess <= 0 else max(policy.throttle_floor, self._rest(excess))

    def slack(self, policy: Policy) -> int:
        """Return how many more failures there can be until the share is less than all."""
        return fewest(lambda more: self._excess(policy, more) > 0)

    def copy(self) -> Throttle:
        """Return another one that remembers the same."""
        twin = Throttle.__new__(Throttle)
        twin.recent = self.recent.copy()
        return twin

    def reconfigured(self, policy: Policy, latest: float) -> Throttle:
        """Return one of another policy that remembers the same."""
        twin = Throttle(policy)
        take_over(twin.recent, self.recent, latest)
        return twin

    def _excess(self, policy: Policy, more: int) -> float:
        assert policy.throttle is not None
        accepts = self.recent.calls - self.recent.failures
        return self.recent.calls + more - policy.throttle * accepts

    def _rest(self, excess: float) -> float:
        return 1 - excess / (self.recent.calls + 1)
