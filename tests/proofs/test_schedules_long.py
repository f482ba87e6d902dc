"""The promise under many more schedules; and that this search finds a lease that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from supervisor.circuit import Circuit
from supervisor.machine import Machine
from supervisor.messages import Lease
from tests.test_schedules import refusals_in

SEEDS = 200

backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@backends
def test_what_is_seen_is_what_has_happened(
    backend: str, effort: int, figures: Counter[str]
) -> None:
    """Every read and every admission agrees with the specification, in every order tried."""
    seeds = SEEDS * effort
    assert refusals_in(backend, range(seeds)) > seeds
    figures[f"schedules, {backend}"] += seeds


def too_much_slack(lease: Lease) -> Lease:
    return replace(lease, slack=lease.slack + 1) if lease.slack else lease


def refuses_too_long(lease: Lease) -> Lease:
    return replace(lease, refuse_until=lease.refuse_until + 2**-10)


@backends
@pytest.mark.parametrize("broken", [too_much_slack, refuses_too_long])
def test_a_wrong_lease_is_found(
    backend: str, broken: Callable[[Lease], Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease with one too much slack, or that refuses a moment too long, is seen by someone."""
    lease = Machine.lease
    monkeypatch.setattr(Machine, "lease", lambda machine: broken(lease(machine)))
    assert disagrees(backend)


@backends
def test_a_lease_that_is_not_voided_is_found(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that uses up the slack must stop callers before the actor's next turn."""
    monkeypatch.setattr(Circuit, "_void_lease", lambda _: None)
    assert disagrees(backend)


def disagrees(backend: str) -> bool:
    """Whether what is seen in one of the orders is not what has happened."""
    found = False
    try:
        refusals_in(backend, range(SEEDS))
    except* AssertionError:  # of some of the tasks
        found = True
    return found
