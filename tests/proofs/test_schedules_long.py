"""The promise under many more schedules; and that this search finds a lease that is wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from supervisor.circuit.allowance import Allowance
from supervisor.circuit.calls import Known
from supervisor.circuit.record import Circuit
from supervisor.machine.machine import Machine
from supervisor.machine.messages import Lease
from tests.behaviour.test_schedules import POLICIES, refusals_in
from tests.support.seeds import Seeds

SEEDS = 5
"""Histories of each policy."""

OF_A_WARM_UP = 15
"""The same of one under which half of them refuse nothing."""

ENOUGH = 400
"""Histories within which a fault has to be found."""

pytestmark = pytest.mark.usefixtures("seeded")

backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@backends
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_seen_is_what_has_happened(
    backend: str, policy: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """Every read and every admission agrees with the specification, in every order tried."""
    histories = OF_A_WARM_UP if "warm_up" in POLICIES[policy] else SEEDS
    assert refusals_in(backend, policy, seeds(histories)) > 0  # they are about something
    figures[f"schedules, {backend}"] += histories * seeds.effort


def too_much_slack(lease: Lease) -> Lease:
    return replace(lease, slack=lease.slack + 1) if lease.slack else lease


def refuses_too_long(lease: Lease) -> Lease:
    return replace(lease, refuse_until=lease.refuse_until + 2**-10)


def looks_at_failures_only(lease: Lease) -> Lease:
    return replace(lease, any_outcome=False)


def never_expires(lease: Lease) -> Lease:
    return replace(lease, expires=math.inf)


@backends
@pytest.mark.parametrize(
    ("policy", "broken"),
    [
        ("in a row", too_much_slack),
        ("in a row", refuses_too_long),
        ("last calls", too_much_slack),
        ("rate of calls", too_much_slack),
        ("rate of calls", looks_at_failures_only),
        ("rate in time", too_much_slack),
        ("rate in time", never_expires),
        ("slow calls", too_much_slack),
        ("rate of slow calls", too_much_slack),
        ("kinds", too_much_slack),
        ("throttle", too_much_slack),
    ],
)
def test_a_wrong_lease_is_found(
    backend: str, policy: str, broken: Callable[[Lease], Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that promises too much is seen by someone: one too much slack, a success that does
    not matter below the minimum of calls, a window that nothing leaves.
    """
    lease = Machine.lease
    monkeypatch.setattr(Machine, "lease", lambda *given: broken(lease(*given)))
    assert disagrees(backend, policy)


def nothing(*_: object) -> None:
    """In the place of something that is forgotten."""


def only_ring(circuit: Circuit) -> None:
    """Call the actor, but let callers go on by the lease that there is."""
    circuit.mailbox.ring()


def nobody_is_overdue(_circuit: Circuit, allowance: Allowance, call: int) -> None:
    """Take note of a call that is slow, but report nothing."""
    grant, began, _ = allowance.running_calls.others[call]
    allowance.running_calls.others[call] = (grant, began, Known.IS_SLOW)


@backends
@pytest.mark.parametrize(
    ("policy", "owner", "method", "faulty"),
    [
        pytest.param("in a row", Circuit, "call_actor", only_ring, id="a lease not voided"),
        pytest.param("rate in time", Circuit, "call_actor", only_ring, id="the same in time"),
        pytest.param("slow calls", Circuit, "tell_slow", nobody_is_overdue, id="nobody overdue"),
        pytest.param("in a row", Allowance, "expect", nothing, id="another policy not expected"),
    ],
)
def test_a_fault_of_callers_is_found(
    backend: str,
    policy: str,
    owner: type,
    method: str,
    faulty: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure that uses up the slack must stop callers before the actor's next turn, and so on:
    what callers do by themselves is as much a part of the promise.
    """
    monkeypatch.setattr(owner, method, faulty)
    assert disagrees(backend, policy)


def disagrees(backend: str, policy: str) -> bool:
    """Whether what is seen in one of the orders is not what has happened."""
    found = False
    try:
        refusals_in(backend, policy, range(ENOUGH))
    except* AssertionError:  # of some of the tasks
        found = True
    return found
