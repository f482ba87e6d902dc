"""The table of a run, and the goals."""

# ruff: noqa: RUF001  (the sign for times, and the dash between numbers, are meant)

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.fleet.experiments import ON_TRIO, Experiments, Found, Plan, Results
from benchmarks.fleet.sharers import INTERLOCK, LOCAL, OURS, SHARERS
from benchmarks.goals import Verdict
from benchmarks.report import goal_table, packages, table_of

LEASE: Final = 5.0
"""Seconds that a probe's token is good for, by default."""

PEERS: Final = ("interlock-cb", "nopanic-redis", "pybreaker", "coredis", "redis")

NONE: Final = "–"


def percentile(values: Sequence[float | None], part: float) -> float | None:
    """Return a value that was measured; what did not come in time is the longest of all."""
    if not values:
        return None
    ranked = sorted(math.inf if value is None else value for value in values)
    return ranked[math.ceil(len(ranked) * part) - 1]


def fleet_table(results: Results, plan: Plan) -> str:
    """Return what each contestant has shown."""
    heads = [
        "contestant",
        "siblings know, p50 / p99 ms",
        "dead calls per outage",
        "of them after the first refusal",
        "closed again after, s",
        "commands per call (with scripts')",
        "closed success, CPU µs",
        "after the probe's kill, s",
        "call with the store down, s: first / later",
    ]
    return table_of(heads, [_row(name, found, plan) for name, found in results.items()])


def _row(name: str, found: Found, plan: Plan) -> list[str]:
    sharer = SHARERS[OURS if name == ON_TRIO else name]
    told = "asks at each call" if sharer.asks else _pair(found.told, 1e3, ".1f")
    sent = NONE if found.sent is None else f"{found.sent:.3f} ({found.executed:.3f})"
    kill = [f"not in {plan.patience:g}" if s is None else f"{s:.1f}" for s in found.after_kill]
    down = NONE
    if found.down:
        first, *later = found.down
        down = f"{_seconds(first)} / {_seconds(statistics.median(later))}"
    return [
        name,
        told,
        _spread(found.dead, ".0f"),
        _spread(found.late_calls, ".0f"),
        _spread(found.recovered, ".1f"),
        sent,
        f"{statistics.median(found.cost) * 1e6:.2f}" if found.cost else NONE,
        ", ".join(dict.fromkeys(kill)) or NONE,
        down,
    ]


def _seconds(seconds: float) -> str:
    return "< 0.001" if seconds < 0.001 else f"{seconds:.3f}"


def _pair(values: Sequence[float | None], factor: float, form: str) -> str:
    median, p99 = (percentile(values, part) for part in (0.5, 0.99))
    if median is None or p99 is None:
        return NONE
    return f"{format(median * factor, form)} / {format(p99 * factor, form)}"


def _spread(values: Sequence[float | None], form: str) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return "not in time" if values else NONE
    text = format(statistics.median(there), form)
    if len(there) > 1:
        text += f" ({format(min(there), form)}–{format(max(there), form)})"
    return text if len(there) == len(values) else f"{text}, or not in time"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to hold of ours.

    Attributes:
        limit: the most that may be seen.
        look: finds what is seen; None if it was not measured.
    """

    case: str
    unit: str
    limit: float
    look: Callable[[Results, str], float | None]


def _propagation(results: Results, name: str) -> float | None:
    p99 = percentile(results[name].told, 0.99)
    return None if p99 is None else p99 * 1e3


def _beside_interlock(results: Results, name: str) -> float | None:
    theirs = INTERLOCK in results and percentile(results[INTERLOCK].told, 0.99)
    ours = percentile(results[name].told, 0.99)
    return None if not theirs or ours is None else ours / theirs


def _after_kill(results: Results, name: str) -> float | None:
    return percentile(results[name].after_kill, 1.0)


def _down(results: Results, name: str) -> float | None:
    ratios = results[name].down_ratios
    return statistics.median(ratios) if ratios else None


GOALS: Final = (
    Goal("siblings know, p99", "× interlock-cb's", 1 / 30, _beside_interlock),
    Goal("siblings know, p99", "ms", 30.0, _propagation),
    Goal("commands", "per call", 0.02, lambda results, name: results[name].sent),
    Goal("recovery after a probe's kill", "s: lease + 1", LEASE + 1.0, _after_kill),
    Goal("call with the store down", "× not shared", 1.1, _down),
)


def verdicts(results: Results) -> list[Verdict]:
    """Compare every goal with what was seen, on both kinds of event loop."""
    found: list[Verdict] = []
    for goal in GOALS:
        for backend, name in (("asyncio", OURS), ("trio", ON_TRIO)):
            if name in results:
                seen = goal.look(results, name)
                holds = None if seen is None else seen <= goal.limit
                text = f"≤ {goal.limit:.3g} {goal.unit}"
                found.append(Verdict(backend, goal.case, text, seen, holds))  # type: ignore[arg-type]
    return found


def markdown(experiments: Experiments, plan: Plan, server: str, left_out: Sequence[str]) -> str:
    """Return all that a run has shown."""
    results = experiments.results
    versions = ", ".join(f"{name} {number}" for name, number in packages(PEERS).items())
    late = [percentile(experiments.late, part) or 0.0 for part in (0.5, 0.99)]
    setting = (
        f"{plan.processes} processes on asyncio, and for ours as many on trio, {plan.rate:g} calls"
        f" per second each; {server}; {versions}. A process that slept for 2 ms was late by"
        f" {late[0] * 1e3:.1f} ms, p99 {late[1] * 1e3:.1f} ms."
    )
    lines = [
        setting,
        fleet_table(results, plan),
        goal_table(verdicts(results)),
    ]
    if LOCAL in results and results[LOCAL].cost and results[OURS].cost:
        ratio = statistics.median(results[OURS].cost) / statistics.median(results[LOCAL].cost)
        lines.insert(2, f"A closed success costs {ratio:.2f} × that of one that is not shared.")
    problems = [
        f"{name}: {problem}" for name, found in results.items() for problem in found.problems
    ]
    return "\n\n".join([*lines, *left_out, *problems]) + "\n"
