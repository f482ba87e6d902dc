"""Whoever sleeps until a circuit recovers is admitted, though clocks wake him a little too early.

In real time: virtual clocks wake nobody too early. On Windows, asyncio's clock has ticks of 15.6 ms
and wakes a sleeper up to a tick before his time; uvloop sleeps for whole milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import anyio
import pytest
import trio
import uvloop

from supervisor import CircuitBreakerOpenError, Supervisor
from tests.support.worlds import fail_times, is_refused, settle_down, succeed

TICK = 1 / 64
CIRCUITS = 40


class CoarseLoop(asyncio.SelectorEventLoop):
    """One whose clock has the ticks of Windows."""

    def __init__(self) -> None:
        super().__init__()
        self._clock_resolution = TICK

    def time(self) -> float:
        return time.monotonic() // TICK * TICK


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
    "coarse": CoarseLoop,
}


async def come_back(supervisor: Supervisor, number: int, states: list[str]) -> None:
    """Be refused, sleep for as long as that says, and call again."""
    breaker = supervisor.circuit(
        f"x{number}", failure_threshold=1, recovery_timeout=0.05 + number * 0.00137
    )
    await fail_times(breaker, 1)
    with pytest.raises(CircuitBreakerOpenError) as refusal:
        await breaker.call(succeed)
    await anyio.sleep(refusal.value.retry_after)
    states.append(breaker.state.value)
    assert await breaker.call(succeed) == "fine"


async def all_come_back() -> None:
    states: list[str] = []
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        for number in range(CIRCUITS):
            tasks.start_soon(come_back, supervisor, number, states)
    assert states == ["half_open"] * CIRCUITS  # a read says what a call meets


async def come_too_early() -> None:
    """Earlier than a clock can be wrong, everybody is refused."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=0.2)
        await fail_times(breaker, 1)
        while breaker.retry_after > 2 * TICK:
            assert await is_refused(breaker)
            await anyio.sleep(0.01)
        assert breaker.statistics().times_opened == 1


@pytest.mark.parametrize("main", [all_come_back, come_too_early])
@pytest.mark.parametrize("loop", LOOPS)
def test_on_asyncio(loop: str, main: Callable[[], object]) -> None:
    """By the loop's own resolution, or a millisecond if it does not say."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())  # type: ignore[arg-type]


@pytest.mark.parametrize("main", [all_come_back, come_too_early])
def test_on_trio(main: Callable[[], object]) -> None:
    """It wakes nobody too early."""
    trio.run(main)  # type: ignore[arg-type]


class SteppedLoop(asyncio.SelectorEventLoop):
    """One whose clock stands still until it is told to go on."""

    now = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._clock_resolution = TICK

    def time(self) -> float:
        return self.now


def test_all_that_is_read_agrees() -> None:
    """What one circuit is early by, no other one is."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        async with Supervisor() as supervisor:
            first = supervisor.circuit("first", failure_threshold=1, recovery_timeout=1)
            second = supervisor.circuit("second", failure_threshold=1, recovery_timeout=1 + TICK)
            for breaker in (first, second):
                await fail_times(breaker, 1)
            await settle_down()
            loop.now = 1 - TICK / 2
            figures = supervisor.statistics()
            assert figures == {each.name: each.statistics() for each in (first, second)}
            assert (first.state, second.state) == ("half_open", "open")
            assert (first.retry_after, second.retry_after) == (0, 1.5 * TICK)

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        runner.run(main())
