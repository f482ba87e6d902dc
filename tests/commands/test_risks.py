"""What a policy means in one sentence, and what is risky about it."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor import Policy, RetrySettings
from supervisor.commands.risks import explained, risks, risks_of_retries
from supervisor.machine import seconds_to_unthrottle

RATE = {"window_calls": 50, "failure_rate": 0.5}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Opens after 3 failures in a row, for 30 s; 1 successful probe closes it."),
        (
            {"failure_threshold": 1, "success_threshold": 2},
            "Opens after 1 failure in a row, for 30 s; 2 successful probes close it.",
        ),
        (
            {"window_seconds": 60, "failure_rate": 0.125, "minimum_calls": 20},
            (
                "Opens when 12.5 % of the calls have failed in the last 60 s, 20 at least, for 30"
                " s; 1 successful probe closes it."
            ),
        ),
        (
            {"window_calls": 1000, "slow_call_duration": 1, "slow_call_rate": 1},
            (
                "Opens after 3 failures or when 100 % of them were slow in the last 1,000 calls, 10"
                " at least, for 30 s; 1 successful probe closes it."
            ),
        ),
        (
            {"recovery_schedule": (1, 5, 30)},
            (
                "Opens after 3 failures in a row, for 1 s, then 5 s, then 30 s; 1 successful probe"
                " closes it."
            ),
        ),
        (
            {"recovery_factor": 2, "max_recovery_timeout": 300},
            (
                "Opens after 3 failures in a row, for 30 s (growing to 300 s); 1 successful probe"
                " closes it."
            ),
        ),
        (
            {"window_calls": 9999, "failure_rate": 0.9996, "recovery_timeout": 3600},
            (
                "Opens when 99.96 % of the calls have failed in the last 9,999 calls, 10 at least,"
                " for 3,600 s; 1 successful probe closes it."
            ),
        ),
        (
            {"probes": 5, "probe_failure_rate": 0.4},
            "Opens after 3 failures in a row, for 30 s; closes unless 40 % of 5 probes fail.",
        ),
        (
            {"probes": 5, "probe_failure_rate": 0.4, "probes_at_once": 2, "warm_up": 20},
            (
                "Opens after 3 failures in a row (not in the first 20 s), for 30 s; closes unless"
                " 40 % of 5 probes fail, 2 at once."
            ),
        ),
        (
            {"window_seconds": 60, "failure_rate": 0.5, "failures_in_a_row": 5},
            (
                "Opens when 50 % of the calls have failed in the last 60 s, 10 at least; or after 5"
                " failures in a row, for 30 s; 1 successful probe closes it."
            ),
        ),
    ],
)
def test_one_sentence(fields: dict[str, Any], sentence: str) -> None:
    """It says when the circuit opens, for how long, and what closes it."""
    assert explained(Policy(**fields)) == sentence


@pytest.mark.parametrize(
    "fields",
    [
        {},
        RATE,
        {"timeout": 30, "probe_timeout": 30},
        {"probe_timeout": 1},
        {"half_open_timeout": 5},
        {"throttle": 1.5},
        {"recovery_from": len, "max_retry_after": 60},
        {"failure_threshold": 2, "window_calls": 10},
        {"failure_threshold": 5, "window_calls": 10, "failures_in_a_row": 3},
        {**RATE, "failures_in_a_row": 5, "warm_up": 10},
    ],
    ids=str,
)
def test_nothing_to_warn_of(fields: dict[str, Any]) -> None:
    """The defaults, and what goes together."""
    assert risks(Policy(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"failure_threshold": 2}, "failure_threshold=2 without a window: under heavy traffic"),
        ({"window_seconds": 9}, "failure_threshold=3 in a window of seconds: under heavy traffic"),
        ({**RATE, "failures_in_a_row": 2}, "failures_in_a_row=2: under heavy traffic so few"),
        (
            {"window_calls": 10, "failures_in_a_row": 3},
            "failures_in_a_row=3 never decides: failure_threshold=3 failures among the last calls",
        ),
        ({"timeout": 31, **RATE}, "recovery_timeout=30 is less than timeout=31: probes begin"),
        (
            {"timeout": 6, "recovery_schedule": (5, 60), **RATE},
            "recovery_schedule=5 is less than timeout=6: probes begin",
        ),
        ({"probe_timeout": 0.5}, "probe_timeout=0.5 is less than 1 s, which usual calls may take"),
        ({"probe_timeout": 5, "timeout": 9}, "probe_timeout=5 is less than 9 s, which usual calls"),
        ({"probe_timeout": 5, "slow_call_duration": 9}, "probe_timeout=5 is less than 9 s, which"),
        ({"half_open_timeout": 0.5}, "half_open_timeout=0.5 is less than 1 s, which usual calls"),
        (
            {"half_open_timeout": 2, "success_threshold": 3},
            "half_open_timeout=2 is for 3 probes: with fewer than 1.5 calls a second",
        ),
        (
            {"half_open_timeout": 20, "probes": 5, "probe_failure_rate": 0.5},
            "half_open_timeout=20 is for 5 probes: with fewer than 0.25 calls a second",
        ),
        ({"throttle": 1.01}, "throttle=1.01 counts refusals as requests: it admits all calls of a"),
        ({"recovery_from": len}, "recovery_from without max_retry_after: a server may ask for any"),
        ({"classify": len}, "classify without max_retry_after: a server may ask for any time"),
    ],
    ids=str,
)
def test_a_warning(fields: dict[str, Any], text: str) -> None:
    """It names the field and its value, and ends with a hint."""
    (warning,) = risks(Policy(**fields))
    assert warning.startswith(text)
    assert "; " in warning


def test_the_time_that_a_throttle_takes() -> None:
    """It is told; the least one takes 151 times as long as it remembers."""
    assert seconds_to_unthrottle(Policy(throttle=1.01)) == pytest.approx(151 * 120, rel=0.01)
    (warning,) = risks(Policy(throttle=1.1))
    assert " healthy server only after about 1,975 s; use 1.5" in warning
    assert seconds_to_unthrottle(Policy()) == 0.0
    assert seconds_to_unthrottle(Policy(throttle=1e300)) == pytest.approx(120)
    assert seconds_to_unthrottle(Policy(throttle=1.5, throttle_floor=1)) == 120


def test_retries_that_outlast_the_circuit() -> None:
    """The circuit has recovered long before they ask again."""
    retries = RetrySettings(storage_max_wait=10, api_max_wait=9)
    waits = ["worker", "storage"]
    warnings = risks_of_retries(retries, Policy(recovery_timeout=9))
    assert [warning.partition("_max_wait=10 is more than")[0] for warning in warnings] == waits
