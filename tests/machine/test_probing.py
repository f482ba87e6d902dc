"""What a half-open circuit knows of its probes: places, verdicts and limits of time."""

from __future__ import annotations

import math
from typing import Any

import pytest

from supervisor.machine.probing import Probing
from supervisor.policy.policy import Policy


def with_probes(policy: Policy, running: int = 0, successes: int = 0, failures: int = 0) -> Probing:
    probing = Probing()
    for permit in range(1, running + 1):
        begin(probing, permit, policy, at=0.0)
    probing.successes, probing.failures = successes, failures
    return probing


def begin(probing: Probing, permit: int, policy: Policy, at: float) -> None:
    """Admit a probe in a turn that ends then."""
    probing.admit(permit, policy)
    probing.begin(at)


SAMPLE: dict[str, Any] = {"probes": 5, "probe_failure_rate": 0.5}


class TestPlaces:
    """How many more may run."""

    @pytest.mark.parametrize(
        ("given", "running", "successes", "failures", "places"),
        [
            pytest.param({}, 0, 0, 0, 1, id="one by default"),
            pytest.param({}, 1, 0, 0, 0, id="it runs"),
            pytest.param({"success_threshold": 3}, 0, 0, 0, 3, id="as many as are needed"),
            pytest.param({"success_threshold": 3}, 1, 1, 0, 1, id="less what there is"),
            pytest.param({"success_threshold": 3, "probes": 2}, 0, 0, 0, 2, id="probes"),
            pytest.param({"success_threshold": 3, "probes": 2}, 1, 2, 0, 1, id="not the successes"),
            pytest.param({"success_threshold": 1, "probes": 5}, 2, 0, 0, 3, id="more than needed"),
            pytest.param({"probes": 5, "probe_failure_rate": 0.5}, 0, 0, 0, 5, id="a sample"),
            pytest.param({"probes": 5, "probe_failure_rate": 0.5}, 1, 1, 1, 2, id="less outcomes"),
            pytest.param({"probes": 5, "probe_failure_rate": 0.5}, 2, 2, 1, 0, id="all are there"),
            pytest.param({**SAMPLE, "probes_at_once": 2}, 0, 0, 0, 2, id="so many at once"),
            pytest.param({**SAMPLE, "probes_at_once": 2}, 1, 1, 1, 1, id="less those that run"),
            pytest.param({**SAMPLE, "probes_at_once": 2}, 2, 1, 0, 0, id="as many as may run"),
            pytest.param({**SAMPLE, "probes_at_once": 2}, 0, 2, 2, 1, id="no more than are left"),
        ],
    )
    def test_of_a_policy(
        self, given: dict[str, Any], running: int, successes: int, failures: int, places: int
    ) -> None:
        """By `success_threshold`, `probes`, or as a sample of `probes`."""
        policy = Policy(**given)
        assert with_probes(policy, running, successes, failures).places(policy) == places

    @pytest.mark.parametrize(
        "given",
        [
            {"success_threshold": 1},
            {"probes": 1},
            {"probes": 2, "probe_failure_rate": 0.9},
        ],
    )
    def test_after_another_policy_has_come(self, given: dict[str, Any]) -> None:
        """One at least if none is running, or no verdict would ever come; never less than none."""
        policy = Policy(**given)
        assert with_probes(policy, 0, successes=5, failures=1).places(policy) == 1
        assert with_probes(policy, 4, successes=5, failures=1).places(policy) == 0


class TestVerdicts:
    """Whether the circuit is to open again, or to close."""

    @pytest.mark.parametrize(
        ("threshold", "successes", "failures", "lost", "won"),
        [
            (2, 0, 0, False, False),
            (2, 1, 0, False, False),
            (2, 2, 0, False, True),
            (2, 1, 1, True, False),
        ],
    )
    def test_by_number(
        self, threshold: int, successes: int, failures: int, lost: bool, won: bool
    ) -> None:
        """One failure is enough to lose."""
        policy = Policy(success_threshold=threshold)
        probing = with_probes(policy, 0, successes, failures)
        assert (probing.is_lost(policy), probing.is_won(policy)) == (lost, won)

    @pytest.mark.parametrize("probes", range(1, 8))
    @pytest.mark.parametrize("rate", [0.01, 0.1, 0.3, 1 / 3, 0.5, 0.6, 2 / 3, 0.7, 0.99, 1.0])
    def test_by_share(self, probes: int, rate: float) -> None:
        """As soon as it is certain; and with all of them, one way or the other."""
        policy = Policy(probes=probes, probe_failure_rate=rate)
        enough = min(failures for failures in range(1, probes + 1) if failures / probes >= rate)
        for successes in range(probes + 1):
            for failures in range(probes + 1 - successes):
                probing = with_probes(policy, 0, successes, failures)
                assert probing.is_lost(policy) is (failures >= enough)
                assert probing.is_won(policy) is (probes - successes < enough)
                if successes + failures == probes:
                    assert probing.is_lost(policy) is not probing.is_won(policy)

    def test_the_success_threshold_does_not_count_beside_a_share(self) -> None:
        """Nor does the first failure."""
        policy = Policy(success_threshold=1, probes=10, probe_failure_rate=0.5)
        probing = with_probes(policy, 0, successes=3, failures=3)
        assert not probing.is_lost(policy)
        assert not probing.is_won(policy)


class TestTime:
    """When something has to be done about them."""

    def test_nothing_runs(self) -> None:
        """There is nothing to be done."""
        probing = Probing()
        assert probing.deadline == math.inf
        assert probing.end_overdue(1e9) is None

    def test_each_has_its_own_limit(self) -> None:
        """That of the policy by which it was granted; the first is the deadline."""
        probing = Probing()
        begin(probing, 1, Policy(probe_timeout=20), at=5.0)
        begin(probing, 2, Policy(probe_timeout=10), at=6.0)
        assert probing.deadline == 16.0
        assert probing.end_overdue(15.9) is None
        assert probing.end_overdue(16.0) == (2, 10.0)
        assert probing.deadline == 25.0
        assert (probing.end(2), probing.end(1), probing.end(1)) == (False, True, False)
        assert probing.deadline == math.inf

    def test_the_verdict_has_a_limit(self) -> None:
        """From the first probe on, which does not move when others follow."""
        policy = Policy(half_open_timeout=30, probes=3)
        probing = Probing()
        assert probing.verdict_by == math.inf
        begin(probing, 1, policy, at=5.0)
        begin(probing, 2, policy, at=8.0)
        probing.end(1)
        probing.end(2)
        begin(probing, 3, policy, at=9.0)
        assert (probing.deadline, probing.verdict_by, probing.verdict_within) == (35.0, 35.0, 30.0)
        assert probing.end_overdue(35.0) is None

    def test_it_begins_with_the_end_of_the_turn(self) -> None:
        """Until then it has a place, and no deadline; one that has ended by then never gets one."""
        policy = Policy(half_open_timeout=30, probe_timeout=20, success_threshold=2)
        probing = Probing()
        for permit in (1, 2):
            probing.admit(permit, policy)
        assert (probing.deadline, probing.places(policy)) == (math.inf, 0)
        probing.end(1)
        probing.begin(7.0)
        assert (probing.deadline, probing.verdict_by, list(probing.running)) == (27.0, 37.0, [2])
        probing.begin(8.0)
        assert (probing.deadline, probing.verdict_by) == (27.0, 37.0)

    def test_what_comes_too_late_is_put_off_once(self) -> None:
        """For as long as the turn is late, and at most for the whole time; each by itself."""
        probing = Probing()
        begin(probing, 1, Policy(probe_timeout=10), at=0.0)
        begin(probing, 2, Policy(probe_timeout=10), at=7.0)
        probing.put_off(10.0)  # just in time
        assert probing.deadline == 10.0
        probing.put_off(12.0)
        assert probing.deadline == 14.0
        probing.put_off(60.0)
        assert probing.end_overdue(60.0) == (1, 10.0)
        assert probing.deadline == 70.0  # of the second one, which is late for the first time
        probing.put_off(99.0)
        assert probing.end_overdue(99.0) == (2, 10.0)

    def test_what_has_ended_is_not_put_off(self) -> None:
        """Although it stands behind others that are, until then."""
        probing = Probing()
        for permit, at in ((1, 0.0), (2, 1.0), (3, 2.0)):
            begin(probing, permit, Policy(probe_timeout=10), at)
        probing.end(2)
        probing.put_off(20.0)
        assert probing.ends == [(28.0, 3), (30.0, 1)]

    def test_the_verdict_of_time_is_put_off_once(self) -> None:
        """Likewise."""
        probing = Probing()
        begin(probing, 1, Policy(probe_timeout=99, half_open_timeout=30), at=0.0)
        for now, verdict_by in ((30.0, 30.0), (40.0, 50.0), (60.0, 50.0)):
            probing.put_off(now)
            assert probing.verdict_by == verdict_by
        begin(probing := Probing(), 1, Policy(probe_timeout=99, half_open_timeout=30), at=0.0)
        probing.put_off(65.0)
        assert probing.verdict_by == 95.0

    def test_the_first_limit_is_the_deadline(self) -> None:
        """Be it a probe's or the verdict's."""
        probing = Probing()
        begin(probing, 1, Policy(half_open_timeout=30, probe_timeout=20), at=0.0)
        assert (probing.deadline, probing.verdict_by) == (20.0, 30.0)


class TestRenewal:
    """A probe that gives its answer in parts."""

    def test_its_time_begins_anew(self) -> None:
        """That of others does not; also if it has been put off before."""
        probing = with_probes(Policy(probes=2, probe_timeout=10), running=2)
        probing.renew(1, 4.0)
        assert probing.deadline == 10.0
        assert probing.end(2)
        assert probing.deadline == 14.0
        probing.put_off(15.0)
        assert probing.deadline == 16.0
        probing.renew(1, 15.5)
        assert probing.end_overdue(25.4) is None
        probing.put_off(26.0)
        assert probing.deadline == 26.5
        assert probing.end_overdue(26.5) == (1, 10.0)
        assert probing.deadline == math.inf

    def test_an_end_that_has_moved_is_no_end(self) -> None:
        """Wherever it stands among those of others."""
        probing = Probing()
        for permit, at in ((1, 0.0), (2, 1.0), (3, 2.0)):
            begin(probing, permit, Policy(probe_timeout=10), at)
        probing.renew(2, 1.0)  # at once: it ends when it did
        probing.renew(2, 25.0)
        probing.put_off(20.0)
        assert probing.ends == [(28.0, 3), (35.0, 2), (30.0, 1)]
        ends = [probing.end_overdue(at) for at in (28.0, 30.0, 34.0, 35.0)]
        assert ends == [(3, 10), (1, 10), None, (2, 10)]
        assert (probing.deadline, probing.running) == (math.inf, {})

    def test_one_that_does_not_run(self) -> None:
        """Or that has not begun: nothing changes."""
        probing = with_probes(Policy(probes=3, probe_timeout=10), running=1)
        probing.admit(2, Policy(probe_timeout=10))
        for permit in (2, 3):
            probing.renew(permit, 4.0)
        assert (probing.deadline, sorted(probing.running)) == (10.0, [1, 2])
        probing.begin(5.0)
        assert probing.end(1)
        assert probing.deadline == 15.0


def test_a_copy_is_independent() -> None:
    """What one is told the other does not know."""
    policy = Policy(half_open_timeout=30, success_threshold=3)
    original = with_probes(policy, 2)
    copy = original.copy()
    assert (copy.running, copy.deadline) == (original.running, 30.0)
    original.end(1)
    original.successes += 1
    begin(copy, 3, policy, at=1.0)
    assert (list(original.running), original.successes) == ([2], 1)
    assert (list(copy.running), copy.successes) == ([1, 2, 3], 0)
