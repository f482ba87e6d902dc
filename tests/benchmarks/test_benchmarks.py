"""The benchmark suite's machinery, on a few calls; how fast anything is, is not tested."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import OUTPUT, is_full, measured
from benchmarks.cases import CASES, IMPORTS
from benchmarks.charts import draw
from benchmarks.cliffs import CURVES, point
from benchmarks.contestants import PEERS, contestants
from benchmarks.goals import GOALS, Results, verdicts
from benchmarks.measure import BACKENDS, Backend, Bench, Measurement, Plan, Spread, quiet, rows
from benchmarks.report import ORIGIN, Run, write

TINY = Plan(rounds=2, turn=1e-6, circuits=5, callers=20, herds=1, every_way=False)
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
CASES_BY_NAME = {case.name: case for case in CASES}


def bench(backend: Backend, *names: str) -> Bench:
    chosen = {name: one for name, one in contestants().items() if name in names}
    return Bench(
        backend, TINY, {name: one for name, one in chosen.items() if backend in one.backends}
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name",
    ["success", "failure", "mixed", "parts", "reject", "tasks-10", "circuits-10", "retry"],
)
def test_every_contestant_takes_every_turn(backend: Backend, name: str) -> None:
    """A case gives each contestant as many figures as there are rounds, and has no problems."""
    case = CASES_BY_NAME[name]
    with quiet():
        found = bench(backend, "bare", "inline", "lock", "call").run(case.measure)
    assert [each.problem for each in found] == [None] * len(found)
    assert {len(each.seconds) for each in found} == {TINY.rounds}
    assert {"call"} < {each.contestant for each in found}


@pytest.mark.parametrize("backend", BACKENDS)
def test_imports(backend: Backend) -> None:
    """Every round has a process for each; none on other backends, where it would be the same."""
    found = bench(backend).run(CASES_BY_NAME["import"].measure)
    rounds = [len(each.seconds) for each in found]
    assert rounds == ([TINY.rounds] * len(IMPORTS) if backend == "asyncio" else [])


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_caller_reaches_the_backend(backend: Backend) -> None:
    """The case of the half-open circuit counts whom ours lets through."""
    with quiet():
        found = bench(backend, "bare", "call").run(CASES_BY_NAME["half-open"].measure)
    assert [(each.contestant, each.figures["reached"]) for each in found] == [("call", 1)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_curves(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each curve starts at 1, and ends where a goal looks for it; goals name points that exist."""
    small = {
        name: replace(curve, sizes=tuple(range(3, 3 + len(curve.sizes))))
        for name, curve in CURVES.items()
    }
    points = {point(name) for name in CURVES}
    assert {goal.case for goal in GOALS if ": " in goal.case} <= points
    monkeypatch.setattr("benchmarks.cliffs.CURVES", small)
    monkeypatch.setattr("benchmarks.cliffs.DEAF", 0.01)
    found = bench(backend, "bare", "call").run(CASES_BY_NAME["cliffs"].measure)
    assert [each.problem for each in found] == [None] * len(found)
    here = [name for name, curve in small.items() if curve.on_trio or backend != "trio"]
    assert [each.contestant for each in found] == [
        point(name, n) for name in here for n in (3, small[name].sizes[-1])
    ]
    assert all(each.figures["growth"] == 1 for each in found if each.contestant.endswith(": 3"))


def test_a_problem_stays_its_own() -> None:
    """A contestant that fails is reported, and does not stop the others."""
    problem = Measurement("lock", problem="RuntimeError: broken")
    lock, call, bare = rows(
        "asyncio", "success", [problem, given("call", 3), given("bare", 1)], False
    )
    assert (lock.problem, lock.overhead, lock.ratios) == ("RuntimeError: broken", None, {})
    assert call.overhead == Spread(2, 2, 2)
    assert call.ratios == {}
    assert bare.overhead is None


def test_ratios() -> None:
    """Overheads are taken round by round; ratios are those of their medians."""
    found = [given("bare", 1, 2, 9), given("lock", 5, 6, 13), given("call", 2, 3, 13)]
    bare, lock, call = rows("asyncio", "success", found, whole=False)
    assert bare.cost == Spread(2, 1.5, 5.5)
    assert lock.overhead == Spread(4, 4, 4)
    assert call.overhead == Spread(1, 1, 2.5)
    assert (lock.ratios, call.ratios) == ({"lock": 1}, {"lock": 0.25})


def test_whole_costs() -> None:
    """Where whole costs are compared, nothing is taken off them."""
    lock, call = rows("asyncio", "reject", [given("lock", 4), given("call", 1)], whole=True)
    assert (lock.overhead, call.ratios) == (Spread(4, 4, 4), {"lock": 0.25})


def test_goals() -> None:
    """A goal holds up to its limit; what was not measured neither holds nor is missed."""
    found = rows(
        "asyncio", "success", [given("bare", 1), given("lock", 11), given("call", 4.5)], False
    )
    success, thousand, *_ = verdicts(Results(found), ["asyncio"])
    assert (success.seen, success.holds) == (0.35, True)
    assert (thousand.seen, thousand.holds) == (None, None)


def test_everything_is_written(tmp_path: Path) -> None:
    """A run leaves JSON, tables and charts."""
    names = ("bare", "inline", "lock", "call")
    cases = [CASES_BY_NAME[name] for name in ("success", "tasks-1", "tasks-10", "circuits-1")]
    chosen = {name: one for name, one in contestants().items() if name in names}
    with quiet():
        found = measured(TINY, ["asyncio"], chosen, cases)
    run = Run(TINY, ["asyncio"], cases, found, verdicts(Results(found), ["asyncio"]), {}, 1.0)
    assert [file.name for file in write(run, tmp_path)] == ["results.json", "results.md"]
    draw(
        [*found, *rows("asyncio", "tasks-1000", [given("bare", 1), given("call", 2)], False)],
        ["asyncio"],
        tmp_path,
    )
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert len(content["rows"]) == len(cases) * len(names)
    assert "| call " in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert (tmp_path / "overhead-asyncio.png").stat().st_size > 0


def test_a_short_run_keeps_the_tables_of_a_full_one(tmp_path: Path) -> None:
    """Only a run that has left out nothing writes the file that is kept with the sources."""
    own = {name: one for name, one in contestants().items() if one.kind != "peer"}
    everybody = {**own, **dict.fromkeys(PEERS, own["lock"])}
    assert is_full(BACKENDS, everybody, CASES)
    assert not is_full(BACKENDS, own, CASES)
    assert not is_full(BACKENDS, everybody, CASES[1:])
    assert not is_full(BACKENDS[1:], everybody, CASES)
    run = Run(TINY, ["asyncio"], [], [], [], {}, 1.0, full=True)
    assert [file.name for file in write(run, tmp_path)] == ["results.json", "full-run.md"]


def test_the_kept_tables_are_those_of_a_run() -> None:
    """The tables that stand with the sources are as this program writes them."""
    text = (OUTPUT / "full-run.md").read_text(encoding="utf-8")
    assert text.startswith(f"# Raw tables of a run\n\n{ORIGIN}\n\n")
    titles = {f"## {case.title}: {backend}" for case in CASES for backend in BACKENDS}
    sections = {line for line in text.splitlines() if line.startswith("## ")}
    assert sections - titles == {"## Behaviour", "## Goals"}
    widths = [{len(row) for row in table.splitlines()} for table in TABLE.findall(text)]
    assert {len(each) for each in widths} == {1}  # columns are aligned


def given(name: str, *seconds: float) -> Measurement:
    return Measurement(name, list(seconds), calls=1)
