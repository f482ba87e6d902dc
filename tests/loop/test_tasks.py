"""Tasks of a supervisor are its own, whatever the application makes of tasks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, Supervisor
from supervisor.testing import loop_factory
from tests.support.worlds import fail_times, is_refused, succeed


def two_arguments(loop: Any, work: Any) -> asyncio.Task[Any]:
    """What a task factory had to take up to Python 3.10."""
    return asyncio.Task(work, loop=loop)


def with_context(loop: Any, work: Any, context: Any = None) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, context=context)


def any_keywords(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, **options)


FACTORIES: list[Callable[..., Any]] = [two_arguments, with_context, any_keywords]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)

every_factory = pytest.mark.parametrize("factory", FACTORIES)
every_loop = pytest.mark.parametrize(
    "new_loop", [loop_factory("asyncio"), loop_factory("uvloop")], ids=["asyncio", "uvloop"]
)


@every_loop
@every_factory
def test_calls_under_any_task_factory(factory: Any, new_loop: Any) -> None:
    """Circuits start, open, recover and stop, without and with a supervisor."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        alone = CircuitBreaker("x", failure_threshold=2, recovery_timeout=5)
        await see_it_recover(alone)
        async with Supervisor() as supervisor:
            await see_it_recover(supervisor.circuit("x", alone.policy))
        asyncio.get_running_loop().set_task_factory(None)  # uvloop's end gives it a context

    async def see_it_recover(breaker: CircuitBreaker) -> None:
        await fail_times(breaker, 2)
        assert await is_refused(breaker)
        await anyio.sleep(5)
        assert await breaker.call(succeed) == "fine"
        assert breaker.state == "closed"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@every_loop
@every_factory
@pytest.mark.parametrize("circuits", [1, 2])
def test_idle_circuits_are_retired_under_any_task_factory(
    factory: Any, new_loop: Any, circuits: int
) -> None:
    """The task that looks for them is known before it has begun."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        async with Supervisor(idle_timeout=2) as supervisor:
            for number in range(circuits):
                await supervisor.circuit(f"x{number}").call(succeed)
            await anyio.sleep(10)
            assert list(supervisor) == []
        asyncio.get_running_loop().set_task_factory(None)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
