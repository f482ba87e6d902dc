"""Callers who ask the actor, and wait for its answer; or who need not, while it pauses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from supervisor.errors import CircuitBreakerOpenError, CircuitStoppedError, shown_to_others
from supervisor.loop import Bell
from supervisor.machine import Grant, Refusal

Answer = Grant | Refusal | Exception


@dataclass(frozen=True, slots=True)
class Pause:
    """Between a crash of an actor and its next turn.

    Attributes:
        until: when it ends.
        over: is rung if it ends sooner.
    """

    until: float
    over: Bell


class Asker:
    """A caller who asks the actor.

    Attributes:
        answered: what it sleeps on; None as long as it does not.
        patience: the time up to which it would wait if the actor pauses.
    """

    __slots__ = ("answer", "answered", "patience")

    def __init__(self, patience: float = -math.inf) -> None:
        self.answered: Bell | None = None
        self.answer: Answer | None = None
        self.patience = patience


NOBODY: Final[dict[int, Asker]] = {}
"""Who asks where nobody has asked yet: shared, and never changed."""


def error_for(circuit: str, answer: Refusal | Exception) -> Exception:
    """Return what is raised at an asker who is not admitted."""
    if isinstance(answer, Refusal):
        last = shown_to_others(answer.last_failure)
        return CircuitBreakerOpenError(
            circuit, answer.retry_after, answer.state, last, answer.reason
        )
    return answer


def reason_of(answer: Refusal | Exception) -> str:
    """Return why an asker is not admitted, in a word."""
    if isinstance(answer, Refusal):
        return answer.reason
    return "stopped" if isinstance(answer, CircuitStoppedError) else "crashed"
