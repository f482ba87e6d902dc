"""The soak test itself: it runs, and it would report what it is there to find."""

from __future__ import annotations

import random

import pytest

from supervisor import Supervisor
from supervisor.circuit import settlement, turn
from supervisor.circuit.allowance import Allowance
from supervisor.circuit.askers import Answer
from supervisor.circuit.calls import Ticket
from supervisor.circuit.record import Circuit
from supervisor.machine.machine import Machine
from supervisor.machine.messages import Withdraw
from supervisor.policy import KINDS, Policy
from tests.proofs import soak
from tests.support.worlds import by_call, fail, succeed

pytestmark = pytest.mark.anyio

SMALL = soak.Plan(seconds=8, tasks=40, circuits=40, rate=200, doubt=1e-3)  # in virtual time


async def test_it_finds_nothing() -> None:
    """A small one goes through everything it is to go through, without a violation."""
    result = await soak.soak(SMALL)
    assert result.violations == []
    counted = result.counted
    calls = SMALL.rate * SMALL.seconds
    assert 0.5 * calls < counted["calls"] < 1.5 * calls
    assert counted["checks"] == SMALL.circuits * (SMALL.seconds + 1)
    for what in ("succeeded", "failed", "cancelled", "rejected", "opened", "restarts", "stopped"):
        assert counted[what] > 3, what
    assert counted["doubtful"] < 0.02 * counted["succeeded"]
    assert result.most_tasks > 40
    assert "calls per second" in result.table()


async def test_it_finds_a_lost_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """If cancelled askers were forgotten, they would be missed."""

    def forget(self: Machine, request: Withdraw) -> None:
        pass

    monkeypatch.setattr(Machine, "_withdraw", forget)
    assert any("in flight" in violation for violation in (await soak.soak(SMALL)).violations)


async def test_it_finds_a_success_lost_by_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What callers keep back by a policy that asks for more is missed, too."""

    def forget(_circuit: Circuit, allowance: Allowance, ticket: Ticket) -> bool:
        return allowance.time_in_run(ticket) is not None

    monkeypatch.setattr(settlement, "_add_to_run", forget)
    assert any("succeeded" in violation for violation in (await soak.soak(SMALL)).violations)


async def test_it_finds_an_asker_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """If askers were not answered, they would not end, or be found in the circuit."""
    answer = turn.answer_asker

    def forgetful(circuit: Circuit, permit: int, given: Answer) -> None:
        if permit <= 3:
            answer(circuit, permit, given)

    monkeypatch.setattr(turn, "answer_asker", forgetful)
    found = (await soak.soak(SMALL)).violations
    assert any("callers did not end" in violation for violation in found)


async def test_a_wrong_figure_is_a_violation() -> None:
    """Each figure is compared with what the callers have counted."""
    async with Supervisor() as supervisor:
        world = soak.World(SMALL, supervisor)
        line = world.lines[0]
        line.policy = Policy()
        breaker = supervisor.circuit(line.name, policy=line.policy)
        assert line.violations() == []
        await by_call(breaker, succeed)
        assert line.violations() == [f"{line.name}: succeeded 1, for callers 0"]
        line.calls["succeeded"] += 1
        assert line.violations() == []
        with pytest.raises(ConnectionError):
            await by_call(breaker, fail)
        permit = await breaker.acquire()
        assert line.violations() == [
            f"{line.name}: failed 1, for callers 0",
            f"{line.name}: in flight 1, for callers 0",
        ]
        world.close_accounts()
        assert world.result.violations[-1] == f"{line.name}: 1 still in flight"
        permit.ignore()
        assert f"{line.name}: ignored 1, for callers 0" in line.violations()


def test_every_field_of_a_policy_is_drawn() -> None:
    """Over a thousand circuits, each field is often another than by default."""
    plain = Policy()
    drawn = [soak.drawn_policy(random.Random(number)) for number in range(1000)]
    for name in KINDS:
        assert sum(getattr(policy, name) != getattr(plain, name) for policy in drawn) > 50, name


def test_the_slope() -> None:
    """It is that of the straight line which fits best, after the warm-up."""
    assert soak.slope([(0, 5), (1, 7), (2, 9)]) == pytest.approx(2)
    assert soak.slope([(0, 0), (1, 3), (2, 0)]) == pytest.approx(0)
    assert soak.slope([(3, 1)]) == 0
    assert soak.after_warm_up([(x, 0) for x in range(10)])[0] == (2, 0)


def test_memory_that_grows_is_a_violation() -> None:
    """Growth beyond what is allowed after the warm-up is too much; during it, anything goes."""

    def violations(*memory: float) -> list[str]:
        return soak.Result(samples=list(enumerate(memory))).memory_violations()

    assert violations(20, 200, 201, 199, 200, 200, 199, 201, 200, 200) == []
    assert violations(*range(200, 240)) == ["memory grew by 31.0 MiB, 16.0 are allowed"]
    assert soak.Result(samples=[(x, 200 + x) for x in range(40)], room=20).memory_violations() == []
    assert violations(*[2000] * 10) == ["2000 MiB of memory, 1536 are allowed"]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_the_command(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes real time, prints a table, and ends with 0."""
    options = ["--minutes", "0.01", "--backend", backend, "--tasks", "20", "--circuits", "20"]
    assert soak.main(options) == 0
    printed = capsys.readouterr().out
    assert "slope after warm-up" in printed
    assert printed.endswith("0 violations\n")


def test_the_command_reports_violations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints them, and ends with 1."""

    async def found(plan: soak.Plan) -> soak.Result:
        return soak.Result(samples=[(0, 1), (1, 1)], violations=["api:0: gone"])

    monkeypatch.setattr(soak, "soak", found)
    assert soak.main([]) == 1
    assert "VIOLATED: api:0: gone\n1 violations\n" in capsys.readouterr().out
