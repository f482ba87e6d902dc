"""The figures of many circuits may be collected while others have their turns."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from supervisor import CircuitCrashedError, Supervisor
from tests.support.worlds import crash, fail_times, settle_down, succeed

pytestmark = pytest.mark.anyio

MANY = 500
LAST = f"c{MANY - 1}"


async def with_circuits(supervisor: Supervisor) -> None:
    """Start that many circuits, each of which has been called once."""
    for number in range(MANY):
        await supervisor.circuit(f"c{number}").call(succeed)


async def test_others_have_their_turns_while_figures_are_collected() -> None:
    """Each circuit's are as of its own moment: the last ones tell of calls that were made since the
    first ones were read.
    """
    turns: list[int] = []
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        await with_circuits(supervisor)

        async def tick() -> None:
            while True:
                await supervisor["c0"].call(succeed)
                await supervisor[LAST].call(succeed)
                turns.append(supervisor[LAST].statistics().succeeded)
                await checkpoint()

        tasks.start_soon(tick)
        collected = await supervisor.collect_statistics()
        seen = len(turns)
        tasks.cancel_scope.cancel()
    assert list(collected) == [f"c{number}" for number in range(MANY)]
    assert seen >= 9
    assert collected[LAST].succeeded - collected["c0"].succeeded >= seen - 2
    assert collected[LAST].succeeded in (turns[seen - 1], turns[seen - 1] - 1)
    assert collected["c1"].succeeded == 1


async def test_collected_figures_are_those_that_are_read_at_once() -> None:
    """Of closed circuits and open ones, with what waits in their mailboxes; of none, there are
    none.
    """
    async with Supervisor() as supervisor:
        assert await supervisor.collect_statistics() == {}
        await with_circuits(supervisor)
        await fail_times(supervisor["c1"], 2)
        await fail_times(supervisor.circuit("open", failure_threshold=1), 1)
        await supervisor.circuit("window", window_calls=10).call(succeed)
        assert await supervisor.collect_statistics() == supervisor.statistics()


async def test_who_waits_for_the_first_circuit_lets_it_come() -> None:
    """Where there is nothing to collect, others have a turn all the same."""
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:

        async def begin() -> None:
            supervisor.circuit("first")

        tasks.start_soon(begin)
        for _ in range(5):
            collected = await supervisor.collect_statistics()
        assert list(collected) == ["first"]


async def test_circuits_come_and_go_while_figures_are_collected() -> None:
    """One that has ended meanwhile is left out, whatever has its name now; none is added."""
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        await with_circuits(supervisor)

        async def change() -> None:
            supervisor.stop(LAST)
            supervisor.stop(f"c{MANY - 2}")
            supervisor.circuit(LAST)
            supervisor.circuit("new")

        tasks.start_soon(change)
        collected = await supervisor.collect_statistics()
    assert list(collected) == [f"c{number}" for number in range(MANY - 2)]


async def test_the_block_is_left_while_figures_are_collected() -> None:
    """Then there is nothing more to read."""
    collected = None

    async def collect() -> None:
        nonlocal collected
        collected = await supervisor.collect_statistics()

    async with anyio.create_task_group() as tasks:
        async with Supervisor() as supervisor:
            await with_circuits(supervisor)
            tasks.start_soon(collect)
            await checkpoint()
    assert collected is not None
    assert len(collected) < MANY


async def test_a_supervisor_has_ended_once_its_block_has_been_left() -> None:
    """Or while it is, since it has given a circuit up."""
    supervisor = Supervisor(max_restarts=0)
    assert not supervisor.ended
    with pytest.raises(CircuitCrashedError):
        async with supervisor:
            await supervisor.circuit("x").call(succeed)
            crash(supervisor, "x")
            assert not supervisor.ended
            try:
                await settle_down()
            finally:
                assert supervisor.ended
    async with Supervisor() as another:
        assert not another.ended
    assert another.ended
