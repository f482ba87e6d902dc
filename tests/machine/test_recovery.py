"""How long a circuit stays open: growth, its limit, jitter, and what a dependency asks for."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.machine.recovery import seconds_open
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure
from supervisor.policy.policy import Policy


def seconds(
    failed_recoveries: int = 0, failure: Failure = PLAIN_FAILURE, seed: str = "1", **policy: Any
) -> float:
    return seconds_open(Policy(**policy), failure, failed_recoveries, seed)


SEEDS = [str(number) for number in range(2000)]


def test_always_the_same_by_default() -> None:
    """`recovery_timeout`, however often the circuit has tried."""
    assert [seconds(n, recovery_timeout=7) for n in (0, 1, 1000)] == [7.0] * 3


def test_it_grows_with_each_failed_recovery() -> None:
    """By `recovery_factor`, up to `max_recovery_timeout`."""
    policy = {"recovery_timeout": 10, "recovery_factor": 2, "max_recovery_timeout": 100}
    assert [seconds(n, **policy) for n in range(6)] == [10.0, 20.0, 40.0, 80.0, 100.0, 100.0]


def test_it_goes_by_a_schedule() -> None:
    """In the place of `recovery_timeout`; the last time counts from then on."""
    policy = {"recovery_schedule": (1, 5, 30)}
    assert [seconds(n, **policy) for n in (0, 1, 2, 3, 10**6)] == [1.0, 5.0, 30.0, 30.0, 30.0]
    busy = Failure("busy", recovery_timeout=7)
    assert [seconds(n, busy, **policy) for n in (0, 2)] == [7.0, 7.0]
    drawn = seconds(1, recovery_jitter=0.5, max_recovery_timeout=30, **policy)
    assert drawn != 5.0
    assert 2.5 <= drawn <= 7.5


def test_it_grows_beyond_no_float() -> None:
    """Neither a huge factor nor a huge number of recoveries is too much."""
    policy = {"recovery_factor": 1e300, "max_recovery_timeout": 1e300}
    assert seconds(10**6, **policy) == 1e300
    slow = {"recovery_factor": 1 + 2**-52, "max_recovery_timeout": 1e300}
    assert 30.0 < seconds(1000, **slow) < 30.1


def test_a_maximum_without_growth() -> None:
    """It limits only what jitter or a failure of some kind makes longer."""
    assert seconds(9, recovery_timeout=10, max_recovery_timeout=20) == 10.0


class TestJitter:
    """A share of the time, shorter or longer, at random."""

    def drawn(self, **policy: Any) -> list[float]:
        return [seconds(seed=seed, recovery_timeout=10, **policy) for seed in SEEDS]

    def test_it_stays_within_its_bounds(self) -> None:
        """And comes near to both, evenly."""
        drawn = self.drawn(recovery_jitter=0.2)
        assert 8.0 <= min(drawn) < 8.05
        assert 11.95 < max(drawn) < 12.0
        assert sum(drawn) / len(drawn) == pytest.approx(10.0, abs=0.1)

    def test_a_whole_one(self) -> None:
        """From none at all to twice as long."""
        drawn = self.drawn(recovery_jitter=1)
        assert 0.0 <= min(drawn) < 0.1
        assert 19.9 < max(drawn) < 20.0

    def test_it_goes_beyond_no_maximum(self) -> None:
        """Half of the draws are cut off there."""
        drawn = self.drawn(recovery_jitter=0.5, max_recovery_timeout=10)
        assert max(drawn) == 10.0
        assert drawn.count(10.0) == pytest.approx(len(drawn) / 2, rel=0.1)
        assert 5.0 <= min(drawn) < 5.1

    def test_it_is_of_the_time_that_has_grown(self) -> None:
        """Not of the time that it has grown from."""
        policy = {"recovery_factor": 2, "max_recovery_timeout": 1000, "recovery_jitter": 0.5}
        drawn = [seconds(3, seed=seed, recovery_timeout=10, **policy) for seed in SEEDS]
        assert 40.0 <= min(drawn) < max(drawn) < 120.0

    def test_the_same_seed_gives_the_same_time(self) -> None:
        """So a copy of a circuit, or one that is played again, agrees with it."""
        assert self.drawn(recovery_jitter=0.3) == self.drawn(recovery_jitter=0.3)
        assert len(set(self.drawn(recovery_jitter=0.3))) == len(SEEDS)


class TestKinds:
    """What the failure says that has opened the circuit."""

    def test_a_time_of_its_own(self) -> None:
        """It takes the place of the policy's, and grows like that."""
        failure = Failure(recovery_timeout=3)
        policy = {"recovery_factor": 2, "max_recovery_timeout": 40}
        assert seconds(failure=failure) == 3.0
        assert [seconds(n, failure, **policy) for n in range(6)] == [3, 6, 12, 24, 40, 40]

    def test_a_time_of_its_own_has_the_same_maximum(self) -> None:
        """It alone can be above it from the beginning."""
        assert seconds(failure=Failure(recovery_timeout=90), max_recovery_timeout=40) == 40.0
        assert seconds(failure=Failure(recovery_timeout=90)) == 90.0

    def test_what_the_dependency_asks_for_is_respected(self) -> None:
        """Beyond the maximum, and whatever jitter makes of the rest."""
        failure = Failure(retry_after=100)
        assert seconds(failure=failure) == 100.0
        assert seconds(failure=failure, max_recovery_timeout=40) == 100.0
        times = [seconds(0, failure, str(n), recovery_jitter=1) for n in range(100)]
        assert times == [100.0] * 100

    def test_what_the_dependency_asks_for_makes_nothing_shorter(self) -> None:
        """The policy's own time may be longer."""
        assert seconds(failure=Failure(retry_after=5)) == 30.0
        assert seconds(failure=Failure(retry_after=5, recovery_timeout=2)) == 5.0
