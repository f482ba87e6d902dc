"""Policies: every field, what goes together, and policies made of others; kinds of failure."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, get_args

import pytest

from supervisor import Failure, Policy
from supervisor.policy import (
    FOR_CALLERS,
    KINDS,
    OPTIONAL,
    InitialState,
    fields_of,
    given_policy,
)


def shared_policy(**given: Any) -> Policy:
    """The policy of these fields."""
    return given_policy("a test", None, given)


def changed_policy(policy: Policy, **changes: Any) -> Policy:
    """A policy that differs in these fields."""
    return given_policy("a test", policy, changes)


def judge(error: object) -> bool:
    """A function that a policy may have."""
    return error is not None


class Hidden:
    """Cannot be shown, compared or hashed."""

    def __repr__(self) -> str:
        raise KeyError

    def __eq__(self, other: object) -> bool:
        raise KeyError

    def __bool__(self) -> bool:
        raise KeyError

    def __hash__(self) -> int:
        raise KeyError


COUNT = [
    (0, ValueError, "at least 1, got 0"),
    (-1, ValueError, "at least 1, got -1"),
    (1.5, TypeError, "a whole number, got 1.5"),
    ("1", TypeError, "a whole number, got '1'"),
    (True, TypeError, "a whole number, got True"),
    ([1], TypeError, "a whole number, got [1]"),
    (Hidden(), TypeError, "a whole number, got <Hidden object>"),
]
COUNT_OR_NONE = [
    (-1, ValueError, "at least 0, got -1"),
    *[wrong for wrong in COUNT if wrong[1] is TypeError],
]
CALLS = [*COUNT, (1_000_001, ValueError, "at most 1000000, got 1000001")]
SECONDS = [
    (0, ValueError, "more than 0 and finite (seconds), got 0"),
    (-0.5, ValueError, "more than 0 and finite (seconds), got -0.5"),
    (math.nan, ValueError, "more than 0 and finite (seconds), got nan"),
    (math.inf, ValueError, "more than 0 and finite (seconds), got inf"),
    ("1", TypeError, "a number of seconds, got '1'"),
    (True, TypeError, "a number of seconds, got True"),
    ({}, TypeError, "a number of seconds, got {}"),
    (Hidden(), TypeError, "a number of seconds, got <Hidden object>"),
]
WINDOW = [
    *SECONDS,
    (1e-4, ValueError, "at least 0.001 and at most 1e+09 (seconds), got 0.0001"),
    (2e9, ValueError, "at least 0.001 and at most 1e+09 (seconds), got 2000000000.0"),
]
NUMBER = [
    ("1", TypeError, "a number, got '1'"),
    (True, TypeError, "a number, got True"),
    ([0.5], TypeError, "a number, got [0.5]"),
    (Hidden(), TypeError, "a number, got <Hidden object>"),
]
SHARE = [
    *NUMBER,
    (0, ValueError, "more than 0 and at most 1, got 0"),
    (-0.1, ValueError, "more than 0 and at most 1, got -0.1"),
    (50, ValueError, "more than 0 and at most 1, got 50"),
    (math.nan, ValueError, "more than 0 and at most 1, got nan"),
]
SHARE_OR_NONE = [
    *NUMBER,
    (-0.1, ValueError, "0 or more and at most 1, got -0.1"),
    (1.1, ValueError, "0 or more and at most 1, got 1.1"),
    (math.nan, ValueError, "0 or more and at most 1, got nan"),
]
FEW = [*COUNT, (101, ValueError, "at most 100, got 101")]
SCHEDULE = [
    (5, TypeError, "several seconds, each more than 0 and finite, got 5"),
    ((), TypeError, "several seconds, each more than 0 and finite, got ()"),
    ((1, "5"), TypeError, "several seconds, each more than 0 and finite, got (1, '5')"),
    ([1, 0], ValueError, "several seconds, each more than 0 and finite, got [1, 0]"),
]
FACTOR = [
    *NUMBER,
    (0.5, ValueError, "at least 1 and finite, got 0.5"),
    (math.inf, ValueError, "at least 1 and finite, got inf"),
    (math.nan, ValueError, "at least 1 and finite, got nan"),
]
FUNCTION = [
    (0, TypeError, "a function, got 0"),
    ("judge", TypeError, "a function, got 'judge'"),
    ([], TypeError, "a function, got []"),
    (Hidden(), TypeError, "a function, got <Hidden object>"),
]
ERRORS = [
    *FUNCTION[:2],
    FUNCTION[3],
    (int, TypeError, "types of exceptions, got <class 'int'>"),
    ((judge, 3), TypeError, f"types of exceptions or functions, got ({judge!r}, 3)"),
    ([ValueError, int], TypeError, f"types of exceptions or functions, got {[ValueError, int]}"),
    (ValueError(), TypeError, "a function, got ValueError()"),
    (((OSError,),), TypeError, "types of exceptions or functions, got ((<class 'OSError'>,),)"),
]
FAILURES = [
    *ERRORS,
    ((), ValueError, "types of errors, at least one, or nothing would ever fail; got ()"),
    ([], ValueError, "types of errors, at least one, or nothing would ever fail; got []"),
]
TRUTH = [
    (1, TypeError, "True or False, got 1"),
    ("no", TypeError, "True or False, got 'no'"),
    (Hidden(), TypeError, "True or False, got <Hidden object>"),
]
REQUESTS = [
    (value, error, text.replace("at least 1 ", "at least 1.01 ")) for value, error, text in FACTOR
]
REQUESTS += [(each, ValueError, f"at least 1.01 and finite, got {each!r}") for each in (1, 1.0099)]
STATES = "closed, open, forced_open, forced_closed, disabled, metrics_only"
STATE = [
    ("half_open", ValueError, f"one of {STATES}, got 'half_open'"),
    (1, TypeError, f"one of {STATES}, got 1"),
    (Hidden(), TypeError, f"one of {STATES}, got <Hidden object>"),
]
WRONG: dict[str, list[Any]] = {
    "failure_threshold": COUNT,
    "recovery_timeout": SECONDS,
    "success_threshold": COUNT,
    "probe_timeout": SECONDS,
    "window_calls": CALLS,
    "window_seconds": WINDOW,
    "failure_rate": SHARE,
    "minimum_calls": COUNT,
    "failures_in_a_row": COUNT,
    "slow_call_duration": SECONDS,
    "slow_call_rate": SHARE,
    "warm_up": SECONDS,
    "failure_on": FAILURES,
    "ignore": ERRORS,
    "failure_on_result": FUNCTION,
    "failure_on_cancel": TRUTH,
    "classify": FUNCTION,
    "keep_failures": FEW,
    "recovery_schedule": SCHEDULE,
    "recovery_factor": FACTOR,
    "max_recovery_timeout": SECONDS,
    "recovery_jitter": SHARE_OR_NONE,
    "recovery_from": FUNCTION,
    "max_retry_after": SECONDS,
    "probes": COUNT,
    "probe_failure_rate": SHARE,
    "probes_at_once": COUNT,
    "half_open_timeout": SECONDS,
    "ramp": SECONDS,
    "ramp_start": SHARE,
    "throttle": REQUESTS,
    "throttle_seconds": WINDOW,
    "throttle_floor": SHARE,
    "retry_budget": SHARE,
    "retry_budget_seconds": WINDOW,
    "retry_budget_minimum": COUNT_OR_NONE,
    "timeout": SECONDS,
    "initial_state": STATE,
}
FLOATS = [SECONDS, WINDOW, SHARE, SHARE_OR_NONE, FACTOR, REQUESTS]
"""What is taken as a float, also if it is whole."""

NEEDED = {
    "window_calls": {"failure_threshold": 1},
    "failure_rate": {"window_seconds": 60},
    "slow_call_rate": {"window_seconds": 60, "slow_call_duration": 1},
    "recovery_factor": {"max_recovery_timeout": 60},
    "max_recovery_timeout": {"recovery_timeout": 1e-3},
    "failures_in_a_row": {"window_calls": 60},
    "probe_failure_rate": {"probes": 5},
    "probes_at_once": {"probes": 10**30, "probe_failure_rate": 0.5},
}
"""Fields without which another is not taken."""

LIMITS: list[tuple[list[Any], list[Any]]] = [
    (COUNT, [1, 10**30]),
    (COUNT_OR_NONE, [0, 10**30]),
    (CALLS, [1, 1_000_000]),
    (SECONDS, [1, 0.001, 1e300]),
    (WINDOW, [1, 0.001, 1e9]),
    (SHARE, [1, 5e-324, 0.5]),
    (SHARE_OR_NONE, [0, 1, 0.5]),
    (FEW, [1, 100]),
    (SCHEDULE, [(1,), (0.5, 5, 300.0)]),
    (FACTOR, [1, 1.5, 1e300]),
    (REQUESTS, [1.01, 2, 1e300]),
    (STATE, list(get_args(InitialState))),
    (FUNCTION, [judge, len]),
    (ERRORS, [ValueError, KeyboardInterrupt, (), (OSError, ValueError), judge, (judge, OSError)]),
    (FAILURES, [ValueError, KeyboardInterrupt, (OSError, ValueError), judge, (OSError, judge)]),
    (TRUTH, [True, False]),
]
"""What is taken where, at the ends of each range."""


def test_the_policy_of_the_issue_is_the_default() -> None:
    """3 failures open it for 30 s, 1 probe closes it, and a probe may take 60 s; of the other
    parts, none is there.
    """
    given = fields_of(Policy())
    assert given == {
        "failure_threshold": 3,
        "recovery_timeout": 30.0,
        "success_threshold": 1,
        "probe_timeout": 60.0,
        "minimum_calls": 10,
        "failure_on": Exception,
        "ignore": (),
        "failure_on_cancel": False,
        "recovery_factor": 1.0,
        "recovery_jitter": 0.0,
        "ramp_start": 0.1,
        "throttle_seconds": 120.0,
        "throttle_floor": 0.05,
        "retry_budget_seconds": 10.0,
        "retry_budget_minimum": 3,
        "initial_state": "closed",
        **dict.fromkeys(OPTIONAL),
    }


def test_every_field_is_checked() -> None:
    """Here, and in the policy itself."""
    fields = [field.name for field in dataclasses.fields(Policy)]
    assert list(WRONG) == list(KINDS) == fields
    assert set(fields) >= FOR_CALLERS


@pytest.mark.parametrize(
    ("field", "value", "error", "text"),
    [(field, *wrong) for field, all_wrong in WRONG.items() for wrong in all_wrong],
)
def test_a_field_out_of_its_range_is_refused(
    field: str, value: Any, error: type[Exception], text: str
) -> None:
    """The error names the field, the range and the value, however the policy is made."""
    for make in (Policy, shared_policy):
        with pytest.raises(error, match=f"^{field} must be {re.escape(text)}$"):
            make(**{field: value})
    with pytest.raises(error, match=f"^{field} must be {re.escape(text)}$"):
        changed_policy(Policy(), **{field: value})


@pytest.mark.parametrize("field", WRONG)
def test_a_field_is_taken_up_to_its_limits(field: str) -> None:
    """Numbers that need not be whole become floats."""
    good = next(good for wrong, good in LIMITS if wrong is WRONG[field])
    is_float = any(WRONG[field] is wrong for wrong in FLOATS)
    for value in good:
        taken = getattr(Policy(**{**NEEDED.get(field, {}), field: value}), field)
        assert taken == value
        assert type(taken) is (float if is_float else type(value))


@pytest.mark.parametrize("field", sorted(set(WRONG) - OPTIONAL))
def test_a_field_that_is_always_there_cannot_be_none(field: str) -> None:
    """None would look like a part that is not there."""
    with pytest.raises(TypeError, match=rf"^{field} must be .*, got None$"):
        Policy(**{field: None})


def test_types_of_errors_may_be_a_list() -> None:
    """It is kept as a tuple, which nobody can change later."""
    assert Policy(failure_on=[OSError, ValueError]).failure_on == (OSError, ValueError)  # type: ignore[arg-type]
    assert Policy(failure_on=[OSError, judge]).failure_on == (OSError, judge)  # type: ignore[arg-type]
    assert Policy(ignore=[]).ignore == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"window_calls": 100, "window_seconds": 60},
            "window_calls and window_seconds exclude each other, got 100 and 60.0",
        ),
        (
            {
                "recovery_schedule": (1, 5),
                "recovery_factor": 2,
                "max_recovery_timeout": 60,
            },
            "recovery_factor and recovery_schedule exclude each other, got 2.0 and (1.0, 5.0)",
        ),
        (
            {"recovery_schedule": (1, 90), "max_recovery_timeout": 60},
            "max_recovery_timeout=60.0 is less than recovery_schedule=(1.0, 90.0)",
        ),
        ({"failure_rate": 0.5}, "failure_rate=0.5 needs window_calls or window_seconds"),
        (
            {"slow_call_rate": 0.5, "slow_call_duration": 2},
            "slow_call_rate=0.5 needs window_calls or window_seconds",
        ),
        (
            {"slow_call_rate": 0.5, "window_seconds": 60},
            "slow_call_rate=0.5 needs slow_call_duration",
        ),
        ({"failures_in_a_row": 5}, "failures_in_a_row=5 needs window_calls or window_seconds"),
        ({"probe_failure_rate": 1}, "probe_failure_rate=1.0 needs probes"),
        ({"probes": 3, "probes_at_once": 1}, "probes_at_once=1 needs probe_failure_rate"),
        (
            {"probes": 3, "probe_failure_rate": 0.5, "probes_at_once": 4},
            "probes_at_once=4 is more than there can be by probes=3",
        ),
        (
            {"window_calls": 9, "failure_rate": 0.5},
            "minimum_calls=10 is more than a window of window_calls=9 can ever hold",
        ),
        (
            {"window_calls": 4, "slow_call_rate": 0.5, "slow_call_duration": 1, "minimum_calls": 5},
            "minimum_calls=5 is more than a window of window_calls=4 can ever hold",
        ),
        (
            {"window_calls": 2},
            "failure_threshold=3 is more than a window of window_calls=2 can ever hold",
        ),
        (
            {
                "window_calls": 10,
                "failure_threshold": 11,
                "slow_call_rate": 0.5,
                "slow_call_duration": 1,
            },
            "failure_threshold=11 is more than a window of window_calls=10 can ever hold",
        ),
        ({"recovery_factor": 2}, "recovery_factor=2.0 needs max_recovery_timeout"),
        (
            {"max_recovery_timeout": 20},
            "max_recovery_timeout=20.0 is less than recovery_timeout=30.0",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], text: str) -> None:
    """The error names both fields, and the values that were given."""
    for make in (Policy, shared_policy):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            make(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"window_calls": 3},
        {"window_calls": 1, "failure_rate": 0.5, "minimum_calls": 1},
        {"window_calls": 5, "failure_threshold": 5, "minimum_calls": 10},
        {"window_seconds": 1, "failure_threshold": 10**6, "minimum_calls": 10**6},
        {"slow_call_duration": 1},
        {"probes": 2},
        {"recovery_factor": 1},
        {"max_recovery_timeout": 30},
        {"ramp_start": 1},
        {"recovery_jitter": 1},
    ],
)
def test_what_goes_together_is_taken(given: dict[str, Any]) -> None:
    """At the limits of each rule; and fields of a part that is not there do not matter."""
    assert fields_of(Policy(**given)) == {**fields_of(Policy()), **given}


def test_policies_that_mean_the_same_are_equal() -> None:
    """Whole seconds and floats make one policy, in the order of the arguments of a breaker."""
    policy = Policy(5, 10, 2, 20)
    assert policy == Policy(
        failure_threshold=5, recovery_timeout=10.0, success_threshold=2, probe_timeout=20.0
    )
    assert hash(policy) == hash(Policy(5, 10.0, 2, 20.0))
    assert type(policy.recovery_timeout) is type(policy.probe_timeout) is float


def test_a_policy_cannot_be_changed() -> None:
    """A running circuit's policy is frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().failure_threshold = 1  # type: ignore[misc]


def test_a_policy_made_of_another_differs_in_some_fields() -> None:
    """All others are those of the first, which stays as it is; and it is checked as a whole."""
    policy = Policy(5, window_calls=20, failure_on=OSError)
    changed = changed_policy(policy, failure_rate=0.5, failure_threshold=30)
    assert fields_of(changed) == {
        **fields_of(policy),
        "failure_rate": 0.5,
        "failure_threshold": 30,
    }
    assert policy == Policy(5, window_calls=20, failure_on=OSError)
    assert changed_policy(policy) == policy
    with pytest.raises(ValueError, match=r"^failure_rate=0.5 needs window_calls"):
        changed_policy(changed, window_calls=None)
    with pytest.raises(TypeError, match="colour"):
        changed_policy(policy, colour="red")


def test_circuits_with_the_same_numbers_share_a_policy() -> None:
    """It is made once; and equal to one that is made otherwise."""
    policy = shared_policy(failure_threshold=5, window_calls=10, failure_rate=None)
    assert policy is shared_policy(failure_threshold=5, window_calls=10, failure_rate=None)
    assert policy == Policy(5, window_calls=10)
    assert shared_policy(recovery_timeout=1) == shared_policy(recovery_timeout=1.0)


def test_what_equals_a_number_is_not_taken_for_it() -> None:
    """True is not 1, even if there is a policy with 1 already; nor is 1.0 a count."""
    shared_policy(failure_threshold=1)
    for value in (True, 1.0):
        with pytest.raises(TypeError, match=rf"^failure_threshold must be .*, got {value}$"):
            shared_policy(failure_threshold=value)
    shared_policy(failure_on_cancel=True)
    with pytest.raises(TypeError, match=r"^failure_on_cancel must be True or False, got 1$"):
        shared_policy(failure_on_cancel=1)


def test_policies_with_functions_are_made_anew() -> None:
    """Nothing keeps a function alive that no circuit uses any more."""
    first, second = (shared_policy(failure_threshold=2, classify=judge) for _ in range(2))
    assert first == second
    assert first is not second


def test_a_mistyped_field_is_refused() -> None:
    """The error names it."""
    with pytest.raises(TypeError, match="failure_treshold"):
        shared_policy(failure_treshold=3)


def test_a_failure_is_plain_by_default() -> None:
    """It counts as one, of no kind, and the policy decides on all else."""
    assert dataclasses.asdict(Failure()) == {
        "kind": None,
        "weight": 1,
        "threshold": None,
        "recovery_timeout": None,
        "retry_after": None,
    }


def test_a_failure_has_its_times_as_floats() -> None:
    """Whole seconds are taken, too."""
    failure = Failure("rate limit", 0, 1, recovery_timeout=5, retry_after=7)
    assert failure == Failure("rate limit", 0, 1, 5.0, 7.0)
    assert type(failure.recovery_timeout) is type(failure.retry_after) is float


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"kind": 429}, TypeError, "a failure's kind must be a string, got 429"),
        (
            {"kind": ""},
            ValueError,
            "a failure's kind must have 1 to 255 printable characters, got ''",
        ),
        (
            {"kind": "a\nb"},
            ValueError,
            r"a failure's kind must have 1 to 255 printable characters, got 'a\nb'",
        ),
        ({"weight": -1}, ValueError, "weight must be at least 0, got -1"),
        ({"weight": 0.5}, TypeError, "weight must be a whole number, got 0.5"),
        ({"weight": None}, TypeError, "weight must be a whole number, got None"),
        ({"kind": "x", "threshold": 0}, ValueError, "threshold must be at least 1, got 0"),
        (
            {"kind": "x", "threshold": True},
            TypeError,
            "threshold must be a whole number, got True",
        ),
        (
            {"threshold": 2},
            ValueError,
            "threshold needs a kind, of which failures are counted",
        ),
    ],
)
def test_a_failure_is_checked(given: dict[str, Any], error: type[Exception], text: str) -> None:
    """The error names the argument, the range and the value."""
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        Failure(**given)
