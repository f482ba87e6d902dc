"""What calls end with in the random histories, and what counts as what: policies' functions, and a
second definition of what they come to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import trio

from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import Policy
from tests.support.worlds import Down


class Sorted(Down):
    """An error that says itself what it counts as."""

    def __init__(self, judgement: Failure | Outcome) -> None:
        super().__init__("sorted")
        self.judgement = judgement


class Mistaken(Exception):
    """What a dependency raises that was asked for nonsense."""


Judgement = Failure | Outcome

MOODS: list[Mapping[object, Judgement]] = [
    {},
    {Down: Outcome.IGNORED, "fine": Failure("fine")},
    {Down: Failure("moody", weight=2), Mistaken: Outcome.SUCCEEDED},
    {Mistaken: Outcome.FAILED, "fine": Outcome.IGNORED},
]
"""What a classifier says, by the type of an error or by the result."""


class Moody:
    """A classifier that says now this and now that; an error that says it itself is right."""

    def __init__(self, mood: int) -> None:
        self.mood = mood

    def __call__(self, what: object) -> Judgement | None:
        if isinstance(what, Sorted):
            return what.judgement
        return MOODS[self.mood].get(type(what) if isinstance(what, Exception) else what)


def is_plain(error: BaseException) -> bool:
    return type(error) is Down


def of_those(error: BaseException) -> float | None:
    """Say how long to stay open: for long after a cancellation."""
    if not isinstance(error, Exception):
        return 16.0
    return 2.0 if type(error) is Down else None


WHAT_COUNTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "failure_on": st.sampled_from([Mistaken, (Down, KeyError), is_plain, (Sorted, is_plain)]),
        "ignore": st.sampled_from([Mistaken, (Mistaken, KeyError), (Sorted,), is_plain]),
        "failure_on_cancel": st.just(True),
        "recovery_from": st.just(of_those),
        "keep_failures": st.sampled_from([1, 3]),
    },
)


def cancellation(backend: str) -> BaseException:
    """Return what a task is cancelled by there."""
    if backend == "trio":
        return trio.Cancelled._create(source="explicit")
    return asyncio.CancelledError()


def judged(policy: Policy, ended_with: object) -> tuple[str, Failure]:
    """Return the outcome of what has raised an error, or returned a result that is looked at."""
    judgement = _judged(policy, ended_with)
    if isinstance(judgement, Outcome):
        return str(judgement.value), PLAIN_FAILURE
    open_for = None
    if policy.recovery_from is not None and isinstance(ended_with, BaseException):
        open_for = of_those(ended_with)
    if open_for is not None and judgement.recovery_timeout is None:
        judgement = replace(judgement, recovery_timeout=open_for)
    return "failed", judgement


def _judged(policy: Policy, ended_with: object) -> Judgement:
    cancelled = isinstance(ended_with, BaseException) and not isinstance(ended_with, Exception)
    if policy.classify is not None and not cancelled:
        told = policy.classify(ended_with)
        if told is not None:
            return PLAIN_FAILURE if told is Outcome.FAILED else told
    if not isinstance(ended_with, BaseException):
        return Outcome.SUCCEEDED
    if cancelled:
        return PLAIN_FAILURE if policy.failure_on_cancel else Outcome.CANCELLED
    if _means(policy.ignore, ended_with):
        return Outcome.IGNORED
    return PLAIN_FAILURE if _means(policy.failure_on, ended_with) else Outcome.SUCCEEDED


def _means(errors: Any, error: BaseException) -> bool:
    parts = errors if isinstance(errors, tuple) else (errors,)
    return any(is_plain(error) if each is is_plain else isinstance(error, each) for each in parts)
