"""Steps at random, by members that may be late, mistaken or forgetful, under a clock that jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from supervisor import CircuitState
from supervisor.sharing.store import (
    NEVER,
    Asking,
    Counting,
    Epoch,
    Forcing,
    Opening,
    Renewing,
    Settling,
    Step,
)

QUARTER: Final = 0.25
LONGEST: Final = 60.0
MOST_AT_ONCE: Final = 2
TOGETHER: Final = 3
"""Failures that open a circuit."""


@dataclass(frozen=True)
class Drawn:
    """One step of a history; its epoch is one that is known by then, or a later one.

    Attributes:
        later: seconds since the step before.
        back: how many known epochs before the latest; -1: one that nobody has heard of.
    """

    later: float
    owner: str
    kind: str
    circuit: str
    back: int
    token: str
    seconds: float
    verdict: Any
    needed: int
    at_once: int
    hinted: bool
    failure: str | None
    state: CircuitState

    def step(self, known: list[Epoch]) -> Step:
        """Return the step, given all epochs that were told, in order."""
        epochs = [NEVER, *known]
        epoch = epochs[max(len(epochs) - 1 - self.back, 0)] if self.back >= 0 else _beyond(epochs)
        match self.kind:
            case "opening":
                return Opening(self.circuit, epoch, self.seconds, 1, self.hinted, self.failure)
            case "asking":
                return Asking(
                    self.circuit,
                    epoch,
                    self.token,
                    self.seconds,
                    self.needed,
                    self.at_once,
                    2,
                    self.failure,
                )
            case "settling":
                return Settling(
                    self.circuit,
                    epoch,
                    self.token,
                    self.verdict,
                    self.needed,
                    self.seconds,
                    3,
                    self.failure,
                )
            case "renewing":
                return Renewing(self.circuit, epoch, self.token, self.seconds)
            case "counting":
                return Counting(
                    self.circuit,
                    epoch,
                    self.needed - 1,
                    self.seconds,
                    TOGETHER,
                    self.seconds,
                    0,
                    self.failure,
                )
            case _:
                return Forcing(self.circuit, self.state, epoch)


def _beyond(epochs: list[Epoch]) -> Epoch:
    return epochs[-1]._replace(number=epochs[-1].number + 3)


TIMES = st.one_of(
    st.sampled_from([0.0, 0.001, QUARTER, 1.0, 5.0]),
    st.integers(0, 240).map(lambda quarters: quarters * QUARTER),
    st.sampled_from([-3600.0, 3600.0, 90_000.0, -0.01]),
)
KINDS = ["opening", "asking", "asking", "asking", "settling", "settling", "settling", "renewing"]
KINDS += ["counting", "counting"]
STEPS = st.builds(
    Drawn,
    later=TIMES,
    owner=st.sampled_from("abc"),
    kind=st.sampled_from([*KINDS, *KINDS, "forcing"]),
    circuit=st.sampled_from(["db", "db", "db", 'h"ü{}']),
    back=st.sampled_from([0, 0, 0, 0, 1, 2, -1]),
    token=st.sampled_from("xyz"),
    seconds=st.integers(1, 240).map(lambda quarters: quarters * QUARTER),
    verdict=st.sampled_from(["succeeded", "failed", "given back"]),
    needed=st.integers(1, 3),
    at_once=st.integers(1, MOST_AT_ONCE),
    hinted=st.booleans(),
    failure=st.sampled_from([None, "", "down\n\x00\"'", "ä" * 600]),
    state=st.sampled_from(
        [CircuitState.CLOSED, CircuitState.FORCED_OPEN, CircuitState.METRICS_ONLY]
    ),
)

HISTORIES = st.lists(STEPS, min_size=30, max_size=60)
