"""A search for a history that refutes a proof."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.support.seeds import Seeds

STEPS = 60
"""Steps of one history."""


def search(histories: Callable[[], RuleBasedStateMachine], examples: int, seeds: Seeds) -> None:
    """Try that many histories for each seed."""
    for seed in seeds(1):  # searches that know nothing of each other: a long one gets slow

        def seeded() -> RuleBasedStateMachine:
            return histories()

        run_state_machine_as_test(
            hypothesis.seed(seed)(seeded),
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                database=None,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def on_backend(examples: int, backend: str) -> int:
    """Return how many of so many histories to try there.

    On uvloop it is the code of asyncio that runs, by other timers: a third of them shows that.
    """
    return examples // 3 if backend == "uvloop" else examples
