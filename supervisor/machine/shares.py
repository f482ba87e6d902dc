"""Parts of a policy that admit a share: a throttle and a ramp of calls, a budget of retries."""

from __future__ import annotations

from supervisor.machine.windows import TimeWindow, fewest, take_over
from supervisor.policy import Policy

RAMP_STEPS = 10
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


class RetryBudget:
    """Retries may be a share of the calls of late, and a few more: Finagle's RetryBudget."""

    __slots__ = ("recent",)

    def __init__(self, policy: Policy) -> None:
        self.recent = TimeWindow(policy.retry_budget_seconds)  # its failures are the retries

    def deposit(self, at: float, calls: int) -> None:
        """Count calls that were no retries."""
        self.recent.add(at, calls, failed=False, slow=False)

    def spend(self, policy: Policy, at: float) -> bool:
        """Count a retry, and return true, if there may be one more."""
        assert policy.retry_budget is not None
        self.recent.advance(at)
        retries, calls = self.recent.failures, self.recent.calls - self.recent.failures
        if retries + 1 > policy.retry_budget_minimum + policy.retry_budget * calls:
            return False
        self.recent.add(at, 1, failed=True, slow=False)
        return True

    def copy(self) -> RetryBudget:
        """Return another one that remembers the same."""
        twin = RetryBudget.__new__(RetryBudget)
        twin.recent = self.recent.copy()
        return twin

    def reconfigured(self, policy: Policy, latest: float) -> RetryBudget:
        """Return one of another policy that remembers the same."""
        twin = RetryBudget(policy)
        take_over(twin.recent, self.recent, latest)
        return twin
