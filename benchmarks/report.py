"""The results of a run as JSON, and as tables in Markdown."""

# ruff: noqa: RUF001  (the sign for times, and the dash between numbers, are meant)

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from benchmarks.cases import Case
from benchmarks.goals import Verdict, tally
from benchmarks.measure import BARE, Backend, Plan, Row

PACKAGES: Final = ("circuit-supervisor", "anyio", "trio", "uvloop", "tenacity")

FIGURES: Final[Mapping[str, tuple[str, float, str]]] = {
    "reached": ("reached the backend", 1, ",.0f"),
    "hot": ("one hot, µs", 1e6, ".3f"),
    "bytes": ("bytes", 1, ",.0f"),
    "idle_cpu": ("CPU ms per s, all idle", 1e3, ".2f"),
    "median": ("median ms", 1e3, ".3f"),
    "longest": ("longest ms", 1e3, ".3f"),
    "growth": ("× the first of its curve", 1, ".2f"),
}
"""What other figures are called, what they are multiplied by, and how they are written."""

ORIGIN: Final = (
    "Written by `python -m benchmarks`. What was measured, and what these numbers do not say, is in"
    " `docs/benchmarks.md`."
)

Behaviours = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Run:
    """A run, and all that came of it.

    Args:
        full: everything was measured: all cases, contestants and backends, in full length.
    """

    plan: Plan
    backends: Sequence[Backend]
    cases: Sequence[Case]
    rows: Sequence[Row]
    verdicts: Sequence[Verdict]
    behaviours: Behaviours
    seconds: float
    full: bool = False


def write(run: Run, folder: Path) -> list[Path]:
    """Write the results into that folder, as JSON and as tables, and return the files.

    The tables of a full run have a file of their own, which is kept with the sources: a short run
    must not take its place.
    """
    content = {
        "when": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": packages(),
        "seconds": round(run.seconds, 1),
        "plan": asdict(run.plan),
        "rows": [asdict(row) for row in run.rows],
        "goals": [asdict(verdict) for verdict in run.verdicts],
        "behaviours": run.behaviours,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    files = [folder / "results.json", folder / ("full-run.md" if run.full else "results.md")]
    files[0].write_text(text + "\n", encoding="utf-8")
    files[1].write_text(markdown(run), encoding="utf-8")
    return files


def machine() -> str:
    """Return what kind of machine this is, and nothing that tells which."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{platform.system()} {platform.machine()}, {cores} cores, {python}"


def packages(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of what is measured, or measured with."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def markdown(run: Run) -> str:
    """Return all tables."""
    when = datetime.now(UTC).date().isoformat()
    versions = ", ".join(f"{name} {number}" for name, number in packages().items())
    method = (
        f"{when}; {machine()}; {versions}. {run.plan.rounds} rounds, {run.seconds:.0f} s in all."
        " Overhead is the guarded call minus the bare one in thread CPU time: median and, in"
        " brackets, quartiles."
    )
    parts = ["# Raw tables of a run", ORIGIN, method]
    for case in run.cases:
        for backend in run.backends:
            rows = [row for row in run.rows if (row.case, row.backend) == (case.name, backend)]
            if rows:
                parts += [f"## {case.title}: {backend}", table(rows, case.whole)]
    if run.behaviours:
        parts += ["## Behaviour", behaviour_table(run.behaviours)]
    parts += ["## Goals", goal_table(run.verdicts)]
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row], whole: bool) -> str:
    """Return the rows of one case on one backend, the cheapest first."""
    ratios = list(dict.fromkeys(name for row in rows for name in row.ratios))
    figures = [name for name in FIGURES if any(name in row.figures for row in rows)]
    heads = [
        "contestant",
        "µs" if whole else "overhead, µs per call",
        *(f"× {name}" for name in ratios),
        *(FIGURES[name][0] for name in figures),
    ]
    ordered = list(rows)
    if "growth" not in figures:  # curves stay together
        ordered.sort(key=lambda row: row.overhead.median if row.overhead else 0.0)
    return table_of(heads, [list(_cells(row, ratios, figures)) for row in ordered])


def _cells(row: Row, ratios: Sequence[str], figures: Sequence[str]) -> Iterator[str]:
    yield row.contestant
    spread = row.overhead or row.cost
    if spread is None:
        yield row.problem or ""
    else:
        low, middle, high = (x * 1e6 for x in (spread.lower, spread.median, spread.upper))
        what = "bare call: " if row.contestant == BARE and row.overhead is None else ""
        yield f"{what}{middle:.3f} ({low:.3f}–{high:.3f})"
    for name in ratios:
        yield f"{row.ratios[name]:.2f}" if name in row.ratios else ""
    for name in figures:
        _, factor, form = FIGURES[name]
        yield format(row.figures[name] * factor, form) if name in row.figures else ""


def behaviour_table(behaviours: Behaviours) -> str:
    """Return what each contestant does, a column per question."""
    questions = list(dict.fromkeys(question for each in behaviours.values() for question in each))
    rows = [
        [name, *(answers.get(question, "") for question in questions)]
        for name, answers in behaviours.items()
    ]
    return table_of(["contestant", *questions], rows)


def goal_table(found: Sequence[Verdict]) -> str:
    """Return which goals hold."""
    rows = [
        [
            verdict.case,
            verdict.backend,
            verdict.goal,
            "not measured" if verdict.seen is None else _number(verdict.seen),
            {True: "yes", False: "**no**", None: "–"}[verdict.holds],
        ]
        for verdict in found
    ]
    counts = ", ".join(f"{count} {what}" for what, count in tally(found).items())
    return table_of(["case", "backend", "goal", "seen", "holds"], rows) + f"\n\n{counts}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3f}"


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that can be read in plain text, too: its columns are aligned."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]

    def written(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.ljust(width) for cell, width in others)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([written(heads), rule, *map(written, rows)])
