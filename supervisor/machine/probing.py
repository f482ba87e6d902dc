"""What a half-open circuit knows of its probes."""

from __future__ import annotations

import math

from supervisor.policy import Policy


class Probing:
    """The probes of one half-open period.

    One failure opens the circuit, `success_threshold` successes close it; or, with a
    `probe_failure_rate`, the share of failures among `probes` decides, as soon as it is certain.
    """

    running: dict[int, tuple[float, float]]  # permit -> when it counts as failed, seconds given
    successes: int
    failures: int
    verdict_by: float
    verdict_within: float

    def __init__(self) -> None:
        self.running = {}
        self.successes = 0
        self.failures = 0
        self.verdict_by = math.inf
        self.verdict_within = math.inf

    @property
    def deadline(self) -> float:
        """When something has to be done about them, if none of them ends before."""
        return min([self.verdict_by, *(end for end, _ in self.running.values())])

    def places(self, policy: Policy) -> int:
        """Return how many more may run now."""
        if policy.probe_failure_rate is not None:
            places = _sample(policy) - self.successes - self.failures - len(self.running)
        elif policy.probes is not None:
            places = policy.probes - len(self.running)
        else:
            places = policy.success_threshold - self.successes - len(self.running)
        # Another policy may have come, by which there have been enough already.
        return max(0 if self.running else 1, places)

    def begin(self, permit: int, policy: Policy, at: float) -> None:
        """Let a probe run."""
        self.running[permit] = (at + policy.probe_timeout, policy.probe_timeout)
        if policy.half_open_timeout is not None and self.verdict_by == math.inf:
            self.verdict_by = at + policy.half_open_timeout
            self.verdict_within = policy.half_open_timeout

    def end(self, permit: int) -> bool:
        """Take a probe out that runs no more, and return whether it did."""
        return self.running.pop(permit, None) is not None

    def end_overdue(self, at: float) -> float | None:
        """Take a probe out that has run for too long, and return the seconds that it was given."""
        for permit, (end, seconds) in self.running.items():
            if end <= at:
                del self.running[permit]
                return seconds
        return None

    def is_lost(self, policy: Policy) -> bool:
        """Whether so many have failed that the circuit is to open again."""
        if policy.probe_failure_rate is None:
            return self.failures > 0
        return self.failures / _sample(policy) >= policy.probe_failure_rate

    def is_won(self, policy: Policy) -> bool:
        """Whether so many have succeeded that the circuit is to close."""
        if policy.probe_failure_rate is None:
            return self.successes >= policy.success_threshold
        most = _sample(policy) - self.successes  # failures that there can still be
        return most / _sample(policy) < policy.probe_failure_rate

    def copy(self) -> Probing:
        """Return another one that knows the same."""
        twin = Probing()
        twin.__dict__.update(self.__dict__)
        twin.running = self.running.copy()
        return twin


def _sample(policy: Policy) -> int:
    assert policy.probes is not None
    return policy.probes
