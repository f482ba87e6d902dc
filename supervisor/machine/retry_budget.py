"""How many retries there may be: a share of the calls, and a few more."""

from __future__ import annotations

from supervisor.machine.ratios import ratio
from supervisor.machine.recent import Recent
from supervisor.policy import Policy


class RetryBudget(Recent):
    """Retries may be a share of the calls of late, and a few more: Finagle's RetryBudget.

    The failures among the recent calls are the retries.
    """

    __slots__ = ()

    def deposit(self, at: float, calls: int) -> None:
        """Count calls that were no retries."""
        self.recent.add(at, calls, failed=False, slow=False)

    def spend(self, policy: Policy, at: float) -> bool:
        """Count a retry, and return true, if there may be one more."""
        assert policy.retry_budget is not None
        self.recent.advance(at)
        retries, calls = self.recent.failures, self.recent.calls - self.recent.failures
        parts, of = ratio(policy.retry_budget)
        if (retries + 1 - policy.retry_budget_minimum) * of > parts * calls:
            return False
        self.recent.add(at, 1, failed=True, slow=False)
        return True
