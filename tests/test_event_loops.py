"""One event loop, one set of circuits: loops one after another, at once, and ending early."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitStoppedError,
    Supervisor,
    get_circuit_breaker,
    get_circuit_breaker_sync,
)
from tests.worlds import Down, fail, fail_times, succeed

Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def run(anyio_backend: tuple[str, dict[str, Any]]) -> Run:
    """Run an async function in an event loop of its own, and look for what it leaves behind."""
    backend, options = anyio_backend
    del options["clock" if backend == "trio" else "loop_factory"]

    def run_once(main: Callable[[], Awaitable[Any]]) -> Any:
        result = anyio.run(main, backend=backend, backend_options=options)
        gc.collect()  # an unfinished coroutine or task would warn now, and warnings are errors
        return result

    return run_once


def test_nothing_survives_into_the_next_loop(run: Run) -> None:
    """A breaker that was open in one loop is closed, and at zero, in the next one."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        assert (breaker.state, breaker.failure_count) == ("closed", 0)
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN
        assert breaker.statistics().started == 1

    for _ in range(5):
        run(main)


def test_a_decorated_function_serves_many_loops(run: Run) -> None:
    """A module's decorated function can be used in every loop that comes."""

    @CircuitBreaker("x", failure_threshold=2)
    async def function() -> str:
        return await fail()

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(Down):
                await function()
        with pytest.raises(CircuitBreakerOpenError):
            await function()

    for _ in range(3):
        run(main)


def test_after_its_loop_a_breaker_shows_its_last_figures(run: Run) -> None:
    """What was counted can be read after the run, until the breaker is used again."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        await breaker.call(succeed)
        await fail_times(breaker, 1)

    run(main)
    now = breaker.statistics()
    assert (now.running, now.state, now.succeeded, now.failed) == (False, "open", 1, 1)
    breaker.reset()
    assert breaker.state is CircuitState.OPEN


def test_the_registry_is_per_loop(run: Run) -> None:
    """Each loop has its own circuit of a name, and none is left outside."""

    async def main() -> CircuitBreaker:
        breaker = await get_circuit_breaker("x")
        assert get_circuit_breaker_sync("x") is breaker
        return breaker

    first, second = run(main), run(main)
    assert first is not second
    assert get_circuit_breaker_sync("x") is None


def test_a_supervisors_breaker_ends_with_its_loop(run: Run) -> None:
    """A breaker that a supervisor made is stopped for ever when its loop has ended."""
    breakers: list[CircuitBreaker] = []

    async def make() -> None:
        breakers.append(await get_circuit_breaker("x"))
        await breakers[0].call(succeed)

    async def use() -> None:
        with pytest.raises(CircuitStoppedError, match="'x' has been stopped"):
            await breakers[0].call(succeed)

    run(make)
    run(use)


@pytest.mark.parametrize("ticks", range(6))
def test_a_loop_that_ends_at_once(run: Run, ticks: int) -> None:
    """However early a loop ends after the first use, nothing is left and nothing warns."""
    breaker = CircuitBreaker("x")
    made: list[CircuitBreaker] = []

    async def main() -> None:
        made.append(await get_circuit_breaker("y"))
        asking = breaker.call(succeed)
        if sniffio.current_async_library() == "asyncio":
            made_task = asyncio.ensure_future(asking)
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            del made_task
        else:
            with anyio.move_on_after(0):
                await asking
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()

    async def again() -> None:
        assert await breaker.call(succeed) == "fine"
        with pytest.raises(CircuitStoppedError):
            await made[0].call(succeed)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main)
        run(again)


def test_a_circuit_whose_actor_never_ran() -> None:
    """A circuit created in the last moment of its loop is refused in the next."""
    made: list[CircuitBreaker] = []
    made_last: list[asyncio.Future[None]] = []

    async def make() -> None:
        made.append(await get_circuit_breaker("x"))

    async def main() -> None:
        made_last.append(asyncio.ensure_future(make()))

    async def again() -> None:
        with pytest.raises(CircuitStoppedError, match="another event loop"):
            await made[0].call(succeed)
        assert await CircuitBreaker("x").call(succeed) == "fine"

    asyncio.run(main())
    asyncio.run(again())
    gc.collect()


def test_a_cancelled_run_leaves_nothing(run: Run) -> None:
    """A run that fails while calls are in flight ends without a word from the circuits."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        async with Supervisor(), anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(breaker.call, anyio.sleep_forever)
            await anyio.sleep(0.001)
            raise ValueError("the end")

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(ValueError, match="the end")
    now = breaker.statistics()
    assert (now.cancelled, now.failed, now.in_flight) == (10, 0, 0)


def test_tasks_that_asyncio_cancels_at_the_end_are_answered() -> None:
    """A task that guards its clean-up while `asyncio.run` cancels everything does not hang."""
    answers: list[str] = []
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.01)

    async def worker() -> None:
        try:
            await fail_times(breaker, 1)
            await asyncio.sleep(3600)
        finally:
            for _ in range(3):
                await asyncio.sleep(0.01)
                try:
                    answers.append(await breaker.call(succeed))
                except CircuitStoppedError:
                    answers.append("stopped")

    async def main() -> None:
        async with asyncio.timeout(10), Supervisor():
            task = asyncio.create_task(worker())
            await asyncio.sleep(0.001)
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
            await asyncio.wait([task])

    asyncio.run(main())
    assert len(answers) == 3
