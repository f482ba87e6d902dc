"""What is found out about a loop holds for its turn, and one look at all tasks serves many."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from supervisor import CircuitBreaker, app_settings, with_circuit_breaker
from supervisor.supervision import supervisors_here
from supervisor.testing import loop_factory
from tests.support.worlds import succeed

every_loop = pytest.mark.parametrize(
    "new_loop", [loop_factory("asyncio"), loop_factory("uvloop")], ids=["asyncio", "uvloop"]
)


@every_loop
@pytest.mark.parametrize("used_before", [False, True])
def test_many_clean_ups_take_one_look(
    monkeypatch: pytest.MonkeyPatch, new_loop: Any, used_before: bool
) -> None:
    """However many cancelled tasks make a guarded call as the loop ends, they look at all tasks
    once in a turn.
    """
    monkeypatch.setattr(app_settings.circuit_breaker, "enabled", True)
    by_name = with_circuit_breaker("x")(succeed)
    breaker, all_tasks, looks = CircuitBreaker("y"), asyncio.all_tasks, 0
    answers: list[tuple[str, str]] = []

    def counted(loop: Any = None) -> set[asyncio.Task[Any]]:
        nonlocal looks
        looks += 1
        return all_tasks(loop)

    async def worker() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            for _ in range(3):
                answers.append((await by_name(), await breaker.call(succeed)))
                await asyncio.sleep(0)

    async def main() -> None:
        if used_before:
            await by_name()
            await breaker.call(succeed)
        tasks.extend(asyncio.create_task(worker()) for _ in range(100))
        await asyncio.sleep(1)

    tasks: list[asyncio.Task[None]] = []
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
        monkeypatch.setattr(asyncio, "all_tasks", counted)
    assert answers == [("fine", "fine")] * 300
    assert looks <= 8  # the runner's own, and one or two in each turn


@every_loop
@pytest.mark.usefixtures("known_settings")
def test_whoever_goes_on_gets_a_supervisor(new_loop: Any) -> None:
    """What a cancelled task has found does not hold for one that is not, even in the same turn."""
    breaker = CircuitBreaker("x")
    started: list[int] = []

    async def clean_up() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await breaker.call(succeed)
            started.append(len(supervisors_here()))

    async def change_its_mind() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            task.uncancel()
            await breaker.call(succeed)
            started.append(len(supervisors_here()))

    async def main() -> None:
        works = [clean_up() for _ in range(3)]
        tasks.extend(asyncio.create_task(work) for work in (*works, change_its_mind(), clean_up()))
        await asyncio.sleep(1)

    async def rest() -> None:
        for task in tasks:
            task.cancel()
        own = asyncio.current_task()
        assert own is not None
        own.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await asyncio.wait(tasks)

    tasks: list[asyncio.Task[None]] = []
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
        runner.get_loop().run_until_complete(rest())
    assert started == [0, 0, 0, 1, 1]
