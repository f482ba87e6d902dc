"""The goals that this package has set itself, as data, and whether a run's results meet them."""

# ruff: noqa: RUF001  (the sign for times, and the dash between numbers, are meant)

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.cases import DECORATED, GUARDED_ATTEMPTS, SLOW_CALLS, WINDOWS
from benchmarks.cliffs import CURVES, point
from benchmarks.measure import BACKENDS, Backend, Row
from benchmarks.turns import ASKS, CHANGE_OF_LOOPS, LEASES

LOOPS: Final[tuple[Backend, ...]] = ("asyncio", "uvloop")


class Results:
    """The rows of a run, to be looked up."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = {(row.backend, row.case, row.contestant): row for row in rows}

    def overhead(self, backend: Backend, case: str, contestant: str) -> float | None:
        """Return a median overhead in seconds, or None if it has not been measured."""
        row = self.rows.get((backend, case, contestant))
        return row.overhead.median if row and row.overhead else None

    def figure(self, backend: Backend, case: str, contestant: str, name: str) -> float | None:
        """Return another figure, or None if it has not been measured."""
        row = self.rows.get((backend, case, contestant))
        return row.figures.get(name) if row else None


Look = Callable[[Results, Backend], float | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to hold, on some backends.

    Attributes:
        case: what it is about.
        unit: what the limit is counted in.
        look: finds in the results what is compared with the limit.
        limit: the most it may be.
        exact: whether it may not be less, either.
    """

    case: str
    unit: str
    look: Look
    limit: float
    backends: tuple[Backend, ...] = BACKENDS
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of one goal on one backend; None: it was not measured."""

    backend: Backend
    case: str
    goal: str
    seen: float | None
    holds: bool | None


def times(case: str, contestant: str, *others: str, baseline: str | None = None) -> Look:
    """Compare an overhead with the sum of others', or with its own in another case."""

    def look(results: Results, backend: Backend) -> float | None:
        own = results.overhead(backend, case, contestant)
        sums = [results.overhead(backend, baseline or case, other) for other in others]
        known = [value for value in sums if value is not None]
        if own is None or len(known) < len(sums) or sum(known) <= 0:
            return None
        return own / sum(known)

    return look


def figure(case: str, contestant: str, name: str) -> Look:
    """Look at another figure than an overhead."""
    return lambda results, backend: results.figure(backend, case, contestant, name)


def microseconds(case: str, contestant: str) -> Look:
    """Look at an overhead as it is: a figure of this machine."""

    def look(results: Results, backend: Backend) -> float | None:
        own = results.overhead(backend, case, contestant)
        return None if own is None else own * 1e6

    return look


def hot(case: str, contestant: str, baseline: str) -> Look:
    """Compare the overhead of the one circuit that is called with that of a circuit alone."""

    def look(results: Results, backend: Backend) -> float | None:
        own = results.figure(backend, case, contestant, "hot")
        alone = results.overhead(backend, baseline, contestant)
        return None if own is None or not alone else own / alone

    return look


def among_many(curve: str, other: str | None = None) -> Look:
    """Compare the last point of a curve with that of another one, or else with its first."""
    if other is None:
        return figure("cliffs", point(curve), "growth")
    return times("cliffs", point(curve), point(other))


def _both(case: str, about: str, limit: float, contestant: str = "call") -> tuple[Goal, Goal]:
    """Return the goal in comparison with the lock: asyncio's, and anyio's on trio."""
    return (
        Goal(about, "× lock", times(case, contestant, "lock"), limit, LOOPS),
        Goal(about, "× anyio-lock", times(case, contestant, "anyio-lock"), limit, ("trio",)),
    )


def _where(curve: str) -> tuple[Backend, ...]:
    return BACKENDS if CURVES[curve].on_trio else LOOPS


RETRY: Final = "retry, circuits"

DECORATOR: Final = 0.22 if sys.version_info < (3, 14) else 0.28
"""Later versions of Python have made the lock cheaper."""

LINEAR: Final = (
    "failures in one turn, each read",
    "clean-up as the loop ends",
    "probes",
    "kinds, plain failure",
    "waiters, newcomer",
)
"""Curves whose last point is to be at most twice their first."""

IN_MICROSECONDS: Final = {
    "new name at a full cap": 50.0,
    "waiters, read": 20.0,
    "collected figures, wait of others": 10_000.0,
    "refusals, wait of others": 10_000.0,
}
"""The most that the last point of a curve may be."""

GOALS: Final[tuple[Goal, ...]] = (
    Goal("closed success, 1 task", "× lock", times("success", "call", "lock"), 0.35, LOOPS),
    Goal(
        "closed success, 1 task",
        "× anyio-lock",
        times("success", "call", "anyio-lock"),
        0.04,
        ("trio",),
    ),
    Goal("closed success, 1 task", "× inline", times("success", "call", "inline"), 3.0, ("trio",)),
    *_both("tasks-1000", "closed success, 1,000 tasks", 0.48),
    *_both("tasks-10000", "closed success, 10,000 tasks", 0.48),
    *(
        Goal(f"success, {policy}", "× plain", times("policies", policy, "plain"), 2.0)
        for policy in (*WINDOWS, *SLOW_CALLS)
    ),
    *(
        Goal(f"success, {policy}", "× plain", times("policies", policy, "plain"), 1.25)
        for policy in DECORATED
    ),
    Goal("decorator", "× lock", times("success", "decorator", "lock"), DECORATOR, LOOPS),
    Goal("decorator", "× inline", times("success", "decorator", "inline"), 1.0),
    Goal("context manager", "× lock", times("success", "context-manager", "lock"), 0.70, LOOPS),
    Goal("permit", "× lock", times("success", "permit", "lock"), 0.95, LOOPS),
    *_both("failure", "closed failure", 0.50),
    *_both("reject", "open reject, whole cost", 0.95),
    Goal(
        "half-open, callers that reach the backend",
        "caller",
        figure("half-open", "call", "reached"),
        1,
        exact=True,
    ),
    *_both("creation", "creation of a circuit", 12.0),
    Goal("creation of a circuit", "µs", microseconds("creation", "call"), 20.0),
    Goal("size of a circuit", "bytes", figure("creation", "call", "bytes"), 2_000, LOOPS),
    Goal("size of a circuit", "bytes", figure("creation", "call", "bytes"), 2_750, ("trio",)),
    *(Goal(ask, "µs", microseconds("turns", ask), 20.0) for ask in ASKS),
    *(Goal(lease, "µs", microseconds("turns", lease), 6.0) for lease in LEASES),
    Goal(CHANGE_OF_LOOPS, "µs", microseconds("turns", CHANGE_OF_LOOPS), 0.8, LOOPS),
    Goal(
        "all circuits idle",
        "CPU seconds per second",
        figure("creation", "call", "idle_cpu"),
        0.002,
    ),
    Goal(
        "retry decorator, circuits enabled",
        "× (tenacity + call)",
        times("retry", f"{RETRY} enabled", "tenacity", "call"),
        0.15,
    ),
    Goal(
        'retry decorator, guard="attempt"',
        "× (tenacity + call)",
        times("retry", GUARDED_ATTEMPTS, "tenacity", "call"),
        0.15,
    ),
    Goal(
        "retry decorator, circuits disabled",
        "× tenacity",
        times("retry", f"{RETRY} disabled", "tenacity"),
        0.12,
    ),
    Goal(
        "import supervisor",
        "× import anyio",
        times("import", "import supervisor", "import anyio"),
        9.0,
        ("asyncio",),
    ),
    Goal(
        "1 → 10,000 circuits, one of them hot",
        "× 1 circuit",
        hot("circuits-10000", "call", "circuits-1"),
        1.20,
    ),
    Goal(
        "1 → 10,000 circuits, called in turn",
        "× 1 circuit",
        times("circuits-10000", "call", "call", baseline="circuits-1"),
        1.20,
    ),
    *(
        Goal(point(curve), "× the first of its curve", among_many(curve), 2.0, _where(curve))
        for curve in LINEAR
    ),
    Goal(
        point('retries, guard="attempt"'),
        '× guard="loop"',
        among_many('retries, guard="attempt"', 'retries, guard="loop"'),
        1.3,
    ),
    Goal(
        point("get_circuit_breaker"),
        "× Supervisor.circuit",
        among_many("get_circuit_breaker", "Supervisor.circuit"),
        2.0,
    ),
    *(
        Goal(point(curve), "µs", microseconds("cliffs", point(curve)), most)
        for curve, most in IN_MICROSECONDS.items()
    ),
)


def verdicts(results: Results, backends: Sequence[Backend]) -> list[Verdict]:
    """Compare every goal with what was seen, on every backend that it is about."""
    return [
        _verdict(goal, backend, goal.look(results, backend))
        for goal in GOALS
        for backend in backends
        if backend in goal.backends
    ]


def _verdict(goal: Goal, backend: Backend, seen: float | None) -> Verdict:
    text = f"{'exactly' if goal.exact else '≤'} {goal.limit:,g} {goal.unit}"
    holds = None
    if seen is not None:
        holds = seen == goal.limit if goal.exact else seen <= goal.limit
    return Verdict(backend, goal.case, text, seen, holds)


def tally(found: Sequence[Verdict]) -> Mapping[str, int]:
    """Return how many goals hold, are missed, and were not measured."""
    return {
        "hold": sum(verdict.holds is True for verdict in found),
        "missed": sum(verdict.holds is False for verdict in found),
        "not measured": sum(verdict.holds is None for verdict in found),
    }
