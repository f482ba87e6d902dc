"""Traces that are made up, and divided into equal parts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from supervisor.commands.simulate.course import Period
from supervisor.commands.simulate.scenarios import SCENARIOS, Load, generate
from supervisor.commands.simulate.slices import MOST, Slices, longest_median, medians
from supervisor.machine.states import CircuitState
from supervisor.policy.outcomes import Outcome
from supervisor.recording import (
    Call,
    TraceError,
    read_trace,
    trace_of,
    write_trace,
)

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FILE = Path("trace.csv")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario(scenario: str) -> None:
    """The same seed gives the same calls, which can be written and read; another gives others."""
    load = Load(rate=5.0, length=60.0, retries=2, wait=4.0)
    trace = generate(scenario, 7, load)
    assert trace == generate(scenario, 7, load)
    assert trace.calls != generate(scenario, 8, load).calls
    assert 0 <= trace.begin < trace.end <= 60.0
    write_trace(trace, FILE)
    assert read_trace(FILE).calls == trace.calls
    outcomes = {call.outcome for call in trace.calls}
    assert outcomes == {Outcome.SUCCEEDED, Outcome.FAILED}
    assert all(call.wait == 4.0 for call in trace.calls)


def failing(scenario: str, begin: float, end: float, seed: int = 0) -> float:
    """The share of failures among the calls of that time, of 100 s."""
    trace = generate(scenario, seed, Load(rate=50.0, length=100.0))
    calls = [call for call in trace.calls if begin <= call.at < end]
    return sum(call.outcome is Outcome.FAILED for call in calls) / len(calls)


@pytest.mark.parametrize(
    ("scenario", "begin", "end", "least", "most"),
    [
        ("outage", 0, 30, 0.0, 0.05),
        ("outage", 30, 70, 1.0, 1.0),
        ("outage", 70, 100, 0.0, 0.05),
        ("brownout", 0, 20, 0.0, 0.05),
        ("brownout", 45, 55, 0.5, 0.75),
        ("flapping", 20, 26, 1.0, 1.0),
        ("flapping", 26, 32, 0.0, 0.05),
        ("flapping", 68, 74, 1.0, 1.0),
        ("flapping", 74, 100, 0.0, 0.05),
        ("slow", 0, 30, 0.0, 0.05),
        ("slow", 45, 55, 0.3, 0.6),
        ("hang", 0, 100, 0.0, 0.05),
        ("rate-limit", 15, 27, 1.0, 1.0),
        ("rate-limit", 28, 45, 0.0, 0.05),
        ("rate-limit", 75, 87, 1.0, 1.0),
        ("recovery-under-load", 20, 40, 1.0, 1.0),
        ("recovery-under-load", 40, 50, 0.3, 0.6),
        ("recovery-under-load", 80, 100, 0.0, 0.05),
    ],
)
def test_what_happens_when(
    scenario: str, begin: float, end: float, least: float, most: float
) -> None:
    """Each scenario fails its calls when its name says so."""
    assert least <= failing(scenario, begin, end) <= most


def test_what_else_happens() -> None:
    """Slow calls are slow, hanging ones never end, and a server with limits says for how long."""
    load = Load(rate=20.0, length=100.0)
    slow = generate("slow", 0, load).calls
    assert max(call.duration for call in slow if call.at < 20) < 0.5
    assert min(call.duration for call in slow if 48 < call.at < 52) > 1.0
    hanging = [call.at for call in generate("hang", 0, load).calls if call.hangs]
    assert 30 <= min(hanging) < max(hanging) < 60
    limits = [call for call in generate("rate-limit", 0, load).calls if call.failure.kind]
    assert {call.failure.kind for call in limits} == {"rate limit"}
    for call in limits:
        over = min(end for end in (27.0, 57.0, 87.0) if end > call.at)
        assert call.failure.retry_after is not None
        assert over <= call.at + call.failure.retry_after < over + 1


def test_retries() -> None:
    """Each call that has failed is tried again, later and later."""
    without = generate("outage", 0, Load(rate=2.0, length=100.0)).calls
    calls = generate("outage", 0, Load(rate=2.0, length=100.0, retries=2)).calls
    retries = [call for call in calls if call.retry]
    assert not any(call.retry for call in without)
    assert [call.at for call in calls if not call.retry] == [call.at for call in without]
    first = sum(call.outcome is Outcome.FAILED for call in without)
    assert first < len(retries) <= 2 * first


def test_no_calls() -> None:
    """A trace without any cannot be played."""
    with pytest.raises(TraceError, match="outage, seed 0: there are no calls in it"):
        generate("outage", 0, Load(rate=0.001, length=0.1))
    with pytest.raises(KeyError):
        generate("luck", 0, Load())


def call(at: float, duration: float = 0.0) -> Call:
    return Call(at, Outcome.SUCCEEDED, duration)


@pytest.mark.parametrize(
    ("begin", "end", "slices"),
    [
        (0, 0, Slices(0.0, 0.001, 1)),
        (0, 0.06, Slices(0.0, 0.001, 60)),
        (0, 0.061, Slices(0.0, 0.002, 31)),
        (0, 1, Slices(0.0, 0.02, 50)),
        (0.3, 60, Slices(0.0, 1.0, 60)),
        (0.3, 60.1, Slices(0.0, 2.0, 31)),
        (7, 119.9, Slices(6.0, 2.0, 57)),
        (1e9 + 3, 1e9 + 250, Slices(1e9, 5.0, 50)),
        (0, 1e10, Slices(0.0, 2e8, 50)),
    ],
)
def test_slices(begin: float, end: float, slices: Slices) -> None:
    """They are of a round width, begin at multiples of it, and hold the whole trace."""
    found = Slices.of(trace_of("some", [call(begin), call(end)]))
    assert (found.count, found.width) == (slices.count, pytest.approx(slices.width))
    assert found.begin == pytest.approx(slices.begin)
    assert found.count <= MOST
    assert found.at(begin) == 0 or begin == end
    assert found.at(end) == found.count - 1


def test_counts_in_slices() -> None:
    """A time on an edge is in the slice that begins there, and the end in the last one."""
    slices = Slices(0.0, 0.1, 4)
    assert slices.edges == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert slices.count_of([0.0, 0.05, 0.1, 0.3, 0.35, 0.4]) == [2, 1, 0, 3]
    assert slices.calls([call(0.2), call(0.1)]) == [[], [call(0.1)], [call(0.2)], []]


def test_states_in_slices() -> None:
    """The rarest that there is in a slice is shown, however short; an edge belongs to one."""
    slices = Slices(10.0, 1.0, 8)
    periods = [
        Period(CLOSED, 10.5, 12.0),
        Period(OPEN, 12.0, 13.5),
        Period(HALF_OPEN, 13.5, 13.5),
        Period(OPEN, 13.5, 15.0),
        Period(HALF_OPEN, 15.0, 15.25),
        Period(CLOSED, 15.25, 17.9),
        Period(OPEN, 17.9, 18.0),
    ]
    assert slices.states(periods) == [
        *(CLOSED, CLOSED, OPEN, HALF_OPEN),
        *(OPEN, HALF_OPEN, CLOSED, OPEN),
    ]


def test_medians() -> None:
    """Each is one of the durations; of no calls there is none, and some are infinite."""
    parts = [[call(0, 1.0), call(0, 3.0), call(0, 2.0)], [], [call(0, math.inf)]]
    assert medians(parts) == [2.0, None, math.inf]
    assert longest_median([2.0, None, math.inf, 1.0]) == 2.0
    assert longest_median([None, math.inf]) == 0.0
