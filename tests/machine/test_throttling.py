"""What admits only a share: the ramp, the throttle and the budget of retries."""

from __future__ import annotations

import pytest

from supervisor.machine.retry_budget import RetryBudget
from supervisor.machine.slack import UNLIMITED
from supervisor.machine.throttling import Throttle, ramp_share
from supervisor.policy.policy import Policy


class TestRamp:
    """The share that grows after a circuit has closed."""

    @pytest.mark.parametrize(
        ("elapsed", "share"),
        [(0.0, 0.2), (10.0, 0.4), (20.0, 0.6), (30.0, 0.8), (39.0, 0.98), (40.0, 1.0), (1e9, 1.0)],
    )
    def test_it_grows_in_a_line(self, elapsed: float, share: float) -> None:
        """From `ramp_start` to all calls, and stays there."""
        policy = Policy(ramp=40, ramp_start=0.2)
        assert ramp_share(policy, elapsed) == pytest.approx(share)

    def test_all_of_them(self) -> None:
        """Without a ramp, or with one that begins with all."""
        assert ramp_share(Policy(), 0.0) == 1.0
        assert ramp_share(Policy(ramp=40, ramp_start=1), 0.0) == 1.0


def throttle(policy: Policy, accepts: int, failures: int, at: float = 0.0) -> Throttle:
    throttle = Throttle(policy.throttle_seconds)
    throttle.recent.add(at, accepts, failed=False, slow=False)
    throttle.recent.add(at, failures, failed=True, slow=False)
    return throttle


class TestThrottle:
    """1 - max(0, (requests - K * accepts) / (requests + 1)), and at least the floor."""

    @pytest.mark.parametrize(
        ("k", "requests", "accepts", "refused"),
        [
            (2, 0, 0, 0),
            (2, 100, 100, 0),
            (2, 100, 50, 0),
            (2, 101, 50, 1 / 102),
            (2, 100, 40, 20 / 101),
            (2, 100, 10, 80 / 101),
            (1.01, 100, 90, 9.1 / 101),
            (1.5, 100, 40, 40 / 101),
            (2, 1, 0, 1 / 2),
            (2, 19, 0, 19 / 20),
            (2, 100, 1, 0.95),
            (2, 1_000_000, 0, 0.95),
        ],
    )
    def test_its_share(self, k: float, requests: int, accepts: int, refused: float) -> None:
        """The formula, worked out by hand; by default, one call of twenty passes all the same."""
        policy = Policy(throttle=k)
        share = throttle(policy, accepts, requests - accepts).share(policy)
        assert share == pytest.approx(1 - refused, rel=1e-12)

    @pytest.mark.parametrize("floor", [1e-6, 0.5, 1.0])
    def test_its_floor(self, floor: float) -> None:
        """So much is always admitted."""
        policy = Policy(throttle=1.01, throttle_floor=floor)
        assert throttle(policy, 0, 10**9).share(policy) == pytest.approx(floor)

    @pytest.mark.parametrize("k", [1.01, 1.1, 1.5, 2, 10])
    @pytest.mark.parametrize("accepts", [0, 1, 7, 100])
    def test_its_slack_is_exact(self, k: float, accepts: int) -> None:
        """One failure fewer, and it still admits all."""
        policy = Policy(throttle=k)
        recent = throttle(policy, accepts, 0)
        slack = recent.slack(policy)
        recent.recent.add(0.0, slack - 1, failed=True, slow=False)
        assert recent.share(policy) == 1.0
        assert recent.slack(policy) == 1
        recent.recent.add(0.0, 1, failed=True, slow=False)
        assert recent.share(policy) < 1.0

    def test_its_slack_may_have_no_limit(self) -> None:
        """With a K that no number of calls will ever reach."""
        policy = Policy(throttle=1e300)
        assert throttle(policy, 1, 0).slack(policy) == UNLIMITED

    def test_it_forgets(self) -> None:
        """What is older than `throttle_seconds`, in steps of a tenth."""
        policy = Policy(throttle=2, throttle_seconds=100)
        recent = throttle(policy, 10, 90, at=5.0)
        recent.recent.advance(99.9)
        assert recent.share(policy) < 1.0
        recent.recent.advance(100.0)
        assert recent.share(policy) == 1.0

    def test_a_copy_is_independent(self) -> None:
        """What one is told the other does not know."""
        policy = Policy(throttle=2)
        original = throttle(policy, 50, 50)
        copy = original.copy()
        original.recent.add(0.0, 10_000, failed=True, slow=False)
        assert copy.share(policy) == 1.0
        copy.recent.clear()
        assert original.share(policy) == 0.05

    def test_another_policy_finds_what_it_remembers(self) -> None:
        """But for what was too old for the one before."""
        policy = Policy(throttle=2, throttle_seconds=10)
        for seconds in (10.0, 1000.0):
            recent = throttle(policy, 10, 90, at=5.0)
            other = Policy(throttle=2, throttle_seconds=seconds)
            assert recent.reconfigured(seconds, 6.0).share(other) == recent.share(policy)
            assert recent.reconfigured(seconds, 50.0).share(other) == 1.0


class TestRetryBudget:
    """retries <= minimum + share * calls, of late."""

    def spent(self, policy: Policy, calls: int, at: float = 0.0) -> int:
        """How many retries there may be after so many calls."""
        budget = RetryBudget(policy.retry_budget_seconds)
        budget.deposit(0.0, calls)
        return sum(budget.spend(policy, at) for _ in range(1000))

    @pytest.mark.parametrize(
        ("share", "minimum", "calls", "retries"),
        [
            (0.2, 3, 0, 3),
            (0.2, 0, 0, 0),
            (0.2, 0, 4, 0),
            (0.2, 0, 5, 1),
            (0.2, 3, 100, 23),
            (1.0, 0, 7, 7),
            (0.5, 10, 3, 11),
        ],
    )
    def test_its_size(self, share: float, minimum: int, calls: int, retries: int) -> None:
        """A share of the calls, and some more."""
        policy = Policy(retry_budget=share, retry_budget_minimum=minimum)
        assert self.spent(policy, calls) == retries

    def test_it_forgets(self) -> None:
        """Calls as well as retries that are too old; in steps of a tenth."""
        policy = Policy(retry_budget=0.5, retry_budget_minimum=1, retry_budget_seconds=100)
        assert self.spent(policy, 10, at=99.0) == 6
        assert self.spent(policy, 10, at=100.0) == 1
        budget = RetryBudget(policy.retry_budget_seconds)
        assert [budget.spend(policy, at) for at in (0.0, 50.0, 99.0, 100.0)] == [
            True,
            False,
            False,
            True,
        ]

    def test_a_refused_retry_takes_nothing(self) -> None:
        """However often it is asked for."""
        policy = Policy(retry_budget=0.5, retry_budget_minimum=0)
        budget = RetryBudget(policy.retry_budget_seconds)
        assert not any(budget.spend(policy, 0.0) for _ in range(100))
        budget.deposit(0.0, 2)
        assert budget.spend(policy, 0.0)

    def test_a_copy_is_independent(self) -> None:
        """What one spends the other still has."""
        policy = Policy(retry_budget=0.5, retry_budget_minimum=1)
        original = RetryBudget(policy.retry_budget_seconds)
        copy = original.copy()
        assert original.spend(policy, 0.0)
        assert not original.spend(policy, 0.0)
        assert copy.spend(policy, 0.0)

    def test_another_policy_finds_what_it_remembers(self) -> None:
        """The retries, too; but for what was too old for the one before."""
        policy = Policy(retry_budget=0.5, retry_budget_minimum=0)
        other = Policy(retry_budget=0.75, retry_budget_minimum=0, retry_budget_seconds=1000)
        budget = RetryBudget(policy.retry_budget_seconds)
        budget.deposit(0.0, 4)
        assert [budget.spend(policy, 1.0) for _ in range(3)] == [True, True, False]
        new = budget.reconfigured(other.retry_budget_seconds, 1.0)
        assert [new.spend(other, 1.0) for _ in range(2)] == [True, False]
        assert not budget.reconfigured(other.retry_budget_seconds, 50.0).spend(other, 50.0)
