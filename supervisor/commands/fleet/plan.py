"""What the user asked for."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.machine import CircuitState

HISTORY = 10
"""Changes of the past that are shown by default."""


class FleetError(ValueError):
    """What was asked for cannot be done; the text says what, and why."""


@dataclass(frozen=True, slots=True)
class Order:
    """A state that a circuit is to be in for all; CLOSED releases it."""

    circuit: str
    state: CircuitState


@dataclass(frozen=True, slots=True)
class Plan:
    """What to show of which fleet.

    Attributes:
        server: where its store is, for people.
        space: who shares with whom there.
        history: how many changes of the past.
        follow: whether to go on with those to come.
        as_json: whether it is for programs.
        order: what to do, in the place of all that.
    """

    server: str
    space: str
    history: int = HISTORY
    follow: bool = False
    as_json: bool = False
    order: Order | None = None

    def __str__(self) -> str:
        return f"space {self.space!r} of {self.server}"
