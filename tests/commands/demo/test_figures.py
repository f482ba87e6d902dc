"""The demo's figures: latencies, and the two times to recover."""

from __future__ import annotations

import pytest

from supervisor.commands.demo.figures import Latency, latency_of, time_to_recover, time_to_success
from supervisor.commands.demo.workers import Call, CallOutcome

BACK = 10.0
WINDOW = 1.0


def calls(*ends: tuple[float, CallOutcome]) -> list[Call]:
    """Calls that ended at these times, so."""
    return [Call("complete_chat", at, outcome, 0.01, requests=1) for at, outcome in ends]


def test_latencies_are_values_that_were_measured() -> None:
    """Median and 99th percentile by rank, in whatever order; of no calls, there is none."""
    assert latency_of([]) is None
    assert latency_of([0.5]) == Latency(0.5, 0.5)
    assert latency_of([3.0, 1.0, 2.0]) == Latency(2.0, 3.0)
    assert latency_of([float(number) for number in range(1000, 0, -1)]) == Latency(500.0, 990.0)


def test_time_to_the_first_success() -> None:
    """It is counted from the server's return, whatever fails before; or it never comes."""
    assert time_to_success(calls((10.2, "failed"), (10.5, "succeeded")), BACK) == 0.5
    assert time_to_success(calls((10.2, "rejected")), BACK) is None
    assert time_to_success([], BACK) is None


def test_recovered_at_once() -> None:
    """With nothing but successes, it is the time to the first of them."""
    assert time_to_recover(calls((10.25, "succeeded"), (10.5, "succeeded")), BACK, WINDOW) == 0.25


def test_recovered_when_rejections_end() -> None:
    """Successes among many that do not succeed are no recovery."""
    mixed = calls((10.1, "succeeded"), (10.2, "rejected"), (10.3, "failed"), (10.5, "succeeded"))
    assert time_to_recover(mixed, BACK, WINDOW) == 0.5


def test_a_straggler_does_not_matter() -> None:
    """One call in twenty may fail; two in twenty may not."""
    good: list[tuple[float, CallOutcome]] = [(10.0 + n / 40, "succeeded") for n in range(19)]
    assert time_to_recover(calls(*good, (10.9, "failed")), BACK, WINDOW) == 0.0
    two = calls(*good[:18], (10.8, "failed"), (10.9, "failed"), (12.0, "succeeded"))
    assert time_to_recover(two, BACK, WINDOW) == 2.0


def test_later_failures_do_not_matter() -> None:
    """Only those within the window do; one right at its end is outside."""
    ends = calls((10.0, "succeeded"), (11.0, "failed"))
    assert time_to_recover(ends, BACK, WINDOW) == 0.0


@pytest.mark.parametrize("outcome", ["failed", "rejected"])
def test_never_recovered(outcome: CallOutcome) -> None:
    """Without any success, or any call, there is no recovery."""
    assert time_to_recover(calls((10.5, outcome)), BACK, WINDOW) is None
    assert time_to_recover([], BACK, WINDOW) is None
