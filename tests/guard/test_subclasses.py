"""Subclasses of `CircuitBreaker` with other defaults."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from supervisor import CircuitBreaker, Policy, Supervisor, app_settings
from tests.support.worlds import fail_times, succeed

pytestmark = pytest.mark.anyio


class Backend(CircuitBreaker, failure_threshold=5, recovery_timeout=60):
    """Has two fields that are not as by default."""


class SlowBackend(Backend, recovery_timeout=120, slow_call_duration=2):
    """Has one of them from there, and two of its own."""


class Named(SlowBackend):
    """Says nothing about policies."""


class Careful(Backend, policy=Policy(failure_threshold=1), probe_timeout=5):
    """Has nothing from there."""


async def test_breakers_go_by_the_defaults_of_their_class() -> None:
    """What a breaker is given itself goes before them, and the default policy stays as it is."""
    assert Backend("a").policy == Policy(failure_threshold=5, recovery_timeout=60)
    assert Backend("b", 2).policy == Policy(failure_threshold=2, recovery_timeout=60)
    assert Backend("c", probes=3).policy == Policy(
        failure_threshold=5, recovery_timeout=60, probes=3
    )
    assert CircuitBreaker("d").policy == Policy()
    assert CircuitBreaker.default_policy is None


async def test_subclasses_of_subclasses() -> None:
    """They go on from there."""
    slow = Policy(failure_threshold=5, recovery_timeout=120, slow_call_duration=2)
    assert SlowBackend("a").policy == Named("b").policy == slow
    assert Careful("c").policy == Policy(failure_threshold=1, probe_timeout=5)


async def test_a_whole_policy_goes_before() -> None:
    """That of the settings, too."""
    assert Backend("a", policy=Policy(probes=2)).policy == Policy(probes=2)
    app_settings.circuit_breaker.failure_threshold = 7
    assert Backend.from_settings("b").failure_threshold == 7


async def test_they_guard_as_any_breaker() -> None:
    """By the circuit of their name, wherever that is asked for, and copied as well."""
    async with Supervisor() as supervisor:
        backend = Backend("x")
        assert await backend.call(succeed) == "fine"
        await fail_times(backend, 5)
        assert supervisor["x"].state == "open"
        for twin in (copy.copy(backend), pickle.loads(pickle.dumps(backend))):
            assert type(twin) is Backend
            assert twin.state == "open"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be at least 1, got 0"),
        ({"failure_treshold": 3}, "failure_treshold"),
        ({"failure_rate": 0.5}, "needs window_calls or window_seconds"),
        ({"policy": 5}, "policy must be a Policy, got 5"),
    ],
)
async def test_bad_defaults(fields: dict[str, Any], complaint: str) -> None:
    """The class is refused, not its first breaker."""
    with pytest.raises((TypeError, ValueError), match=complaint):
        type("Bad", (CircuitBreaker,), {}, **fields)
