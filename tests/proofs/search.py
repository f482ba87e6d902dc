"""A search for a history that refutes a proof."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

STEPS = 60
"""Steps of one history."""


def search(histories: Callable[[], RuleBasedStateMachine], examples: int, effort: int) -> None:
    """Try that many histories, times `effort`: always the same ones if that is 1."""
    for _ in range(effort):  # searches that know nothing of each other: a long one gets slow
        run_state_machine_as_test(
            histories,  # type: ignore[arg-type]  # a class, or anything that returns an instance
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                derandomize=effort == 1,
                database=None,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
