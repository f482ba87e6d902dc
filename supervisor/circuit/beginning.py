"""What circuits have in common that begin by the same policy: made once, and not for each."""

from __future__ import annotations

import math
import random
from typing import Final, TypeAlias

from supervisor.circuit.allowance import asks_for_more
from supervisor.machine import CircuitState, Grant, Lease, Machine
from supervisor.policy import Policy

BEFORE_FIRST_TURN: Final = Lease(
    CircuitState.CLOSED, 0, Grant(0, Policy()), slack=0, refuse_until=-math.inf, last_failure=None
)
"""Nobody is admitted, or refused, before the actor's first turn, where that has to tell."""

Beginning: TypeAlias = "tuple[Policy, bool, Lease]"
"""A policy, whether it asks for more than to count errors, and the lease to begin with."""


def seed_for(policy: Policy) -> int:
    """Draw the seed of a circuit's jitter, so that no two circuits are open for the same time."""
    return random.getrandbits(32) if policy.recovery_jitter else 0


def beginning_of(machine: Machine) -> Beginning:
    """Return how a circuit begins with that machine, which is new."""
    global _latest  # noqa: PLW0603
    latest, policy = _latest, machine.policy  # other threads' circuits replace it, too
    if latest[0] is not policy:
        more = asks_for_more(policy)
        plain = not more and machine.state is CircuitState.CLOSED
        latest = _latest = policy, more, machine.lease() if plain else BEFORE_FIRST_TURN
    return latest


def first_lease(lease: Lease) -> Lease:
    """Return the same lease as other circuits have had after their first turn, if it says the same.

    Later, each one is another one: by it whoever is interrupted knows that somebody else has taken
    a turn.
    """
    global _latest_lease  # noqa: PLW0603
    latest = _latest_lease  # likewise
    if lease.grant is not latest.grant or lease != latest:
        latest = _latest_lease = lease
    return latest


_latest_lease = BEFORE_FIRST_TURN
_latest: Beginning = (BEFORE_FIRST_TURN.grant.policy, False, BEFORE_FIRST_TURN)
