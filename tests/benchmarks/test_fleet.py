"""The benchmark of shared circuits: its processes, and what becomes of their figures."""

# ruff: noqa: RUF001  (the sign for times, and the dash between numbers, are meant)

from __future__ import annotations

import sys
import time

import pytest

from benchmarks.fleet.__main__ import main
from benchmarks.fleet.crew import ProblemError, crew
from benchmarks.fleet.experiments import ON_TRIO, QUICK, Experiments
from benchmarks.fleet.report import LEASE, markdown, percentile, verdicts
from benchmarks.fleet.server import running
from benchmarks.fleet.sharers import INTERLOCK, LOCAL, OURS, SHARERS, missing
from supervisor.sharing import MemorySharing
from tests.commands.demo.test_process import PATIENCE
from tests.support.generated import ROOT


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes find the benchmarks."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_processes_do_what_they_are_told(backend: str) -> None:
    """A contestant that shares nothing needs no server."""
    with crew(backend, 2) as both, both.connected(LOCAL, ""):
        circuit = {"who": LOCAL, "name": "x"}
        first, second = ([child] for child in both.children)
        assert both.ask("steady", **circuit, began=time.monotonic(), seconds=0.1, rate=50.0) != [
            0,
            0,
        ]
        assert all(cost > 0 for cost in both.ask("cost", **circuit, calls=10))
        both.tell(second, "watch", **circuit, within=0.05)
        assert both.hear(second) == ["watching"]
        before = time.monotonic()
        (opened,) = both.ask("trip", first, **circuit)
        assert before < opened < time.monotonic()
        (watched,) = both.hear(second)  # it shares nothing
        assert watched["at"] is None
        seek = {**circuit, "recovery": 600.0}
        assert both.ask("seek", first, **seek, within=0.01, admitted=True) == [None]
        assert both.ask("seek", second, **seek, within=0.01, admitted=False) == [None]
        (refused,) = both.ask("seek", first, **seek, within=60.0, admitted=False)
        (admitted,) = both.ask("seek", second, **seek, within=60.0, admitted=True)
        assert opened < refused < admitted
        (seen,) = both.ask("waits", second, **circuit, calls=3)
        assert len(seen) == 3
        began = time.monotonic()
        schedule = {"began": began, "back": began + 0.05, "seconds": 0.3, "rate": 100.0}
        for told in both.ask("outage", who=LOCAL, name="y", **schedule):
            assert len(told["refused"]) <= 1
            assert all(at < schedule["back"] for at in told["dead"])


def test_a_probe_is_held() -> None:
    """The process says when it is the probe, and can be killed then."""
    with crew("asyncio", 1) as one:
        one.ask("connect", who=LOCAL, url="")
        one.ask("trip", who=LOCAL, name="x", recovery=0.05)
        assert one.ask("hold", who=LOCAL, name="x", recovery=0.05) == ["holding"]
        one.children[0].kill()
        with pytest.raises(ProblemError, match="a process has ended"):
            one.hear(one.children)


def test_what_cannot_be_done_is_told() -> None:
    """By the name of the error."""
    with crew("asyncio", 1) as one, pytest.raises(ProblemError, match="KeyError: 'nobody'"):
        one.ask("connect", who="nobody", url="")


def test_a_process_ends_in_the_midst() -> None:
    """When nobody is there any more to whom it could tell something."""
    with crew("trio", 1) as one, one.connected(LOCAL, ""):
        one.tell(one.children, "watch", who=LOCAL, name="x", within=600.0)
        assert one.hear(one.children) == ["watching"]
        (child,) = one.children
        assert child.stdin
        child.stdin.close()
        assert child.wait(PATIENCE) == 0
        one.children = []


def test_no_server() -> None:
    """A program that ends at once is none."""
    with pytest.raises(RuntimeError, match=r"^/bin/false has not started$"), running("/bin/false"):
        pytest.fail("there is no server")


def found() -> Experiments:
    """Figures as they could be."""
    experiments = Experiments(QUICK, [OURS, ON_TRIO, INTERLOCK, "pybreaker"], "x", {}, "")
    ours, on_trio, interlock, asking = experiments.results.values()
    ours.told, interlock.told = [0.005] * 99 + [0.02], [0.3] * 98 + [0.5, None]
    on_trio.told, on_trio.down_ratios = [0.04], [1.0, 1.2, 1.3]
    ours.dead, ours.late_calls, ours.recovered = [8, 9, 12], [1, 2, 3], [0.5, None, 1.0]
    ours.sent, ours.executed = 0.01, 0.05
    ours.cost, interlock.cost = [4e-7], [7e-6]
    ours.after_kill, interlock.after_kill = [4.9, 5.0], [None]
    ours.down, ours.down_ratios = [0.0001, 0.25, 0.25], [1.0]
    asking.problems.append("outage: RuntimeError: broken")
    experiments.late += [0.001] * 9 + [0.01]
    return experiments


def test_goals() -> None:
    """They are compared on both loops, and what was not measured neither holds nor is missed."""
    seen = {
        (verdict.case, verdict.goal, verdict.backend): (verdict.seen, verdict.holds)
        for verdict in verdicts(found().results)
    }
    know = "siblings know, p99"
    assert seen[know, "≤ 30 ms", "asyncio"] == (5.0, True)
    assert seen[know, "≤ 30 ms", "trio"] == (40.0, False)
    assert seen[know, "≤ 0.0333 × interlock-cb's", "asyncio"] == (0.01, True)
    assert seen["commands", "≤ 0.02 per call", "asyncio"] == (0.01, True)
    assert seen["commands", "≤ 0.02 per call", "trio"] == (None, None)
    kill = "recovery after a probe's kill"
    assert seen[kill, "≤ 6 s: lease + 1", "asyncio"] == (5.0, True)
    down = "call with the store down"
    assert seen[down, "≤ 1.1 × not shared", "trio"] == (1.2, False)
    assert MemorySharing().lease == LEASE


def test_the_table() -> None:
    """A row for each contestant; what never came is said to be so."""
    text = markdown(found(), QUICK, "redis-server", ["Left out: nopanic-redis."])
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    ours = [cell.strip() for cell in rows[OURS].split("|")[2:-1]]
    assert ours == [
        "5.0 / 5.0",
        "9 (8–12)",
        "2 (1–3)",
        "0.8 (0.5–1.0), or not in time",
        "0.010 (0.050)",
        "0.40",
        "4.9, 5.0",
        "< 0.001 / 0.250",
    ]
    assert "not in 15" in rows[INTERLOCK]
    assert "asks at each call" in rows["pybreaker"]
    assert "late by 1.0 ms, p99 10.0 ms" in text
    assert "Left out: nopanic-redis." in text
    assert text.endswith("pybreaker: outage: RuntimeError: broken\n")


def test_percentiles() -> None:
    """Values that were measured; what did not come is the longest of all."""
    assert percentile([], 0.5) is None
    assert percentile([3.0, None, 1.0], 0.5) == 3.0
    assert percentile([3.0, None], 0.99) == float("inf")


def test_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who is not installed is left out; without a server, or a client, there is nothing to run."""
    monkeypatch.setitem(sys.modules, "interlock", None)
    assert missing(INTERLOCK) == "interlock"
    assert missing(LOCAL) is None
    monkeypatch.setitem(sys.modules, "coredis", None)
    assert main(["--quick"]) == 2
    assert capsys.readouterr().err == "needs coredis: pip install it\n"
    assert set(SHARERS) == {OURS, LOCAL, INTERLOCK, "nopanic-redis", "pybreaker"}
