"""How many retries there may be: a share of the calls, and a few more."""

from __future__ import annotations

from supervisor.machine.windows import TimeWindow, take_over
from supervisor.policy import Policy


class RetryBudget:
    """Retries may be a share of the calls of late, and a few more: Finagle's RetryBudget."""

    recent: TimeWindow

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
