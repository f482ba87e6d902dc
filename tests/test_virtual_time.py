"""The virtual clocks that the other tests stand on."""

from __future__ import annotations

import time

import anyio
import pytest

pytestmark = pytest.mark.anyio


async def test_a_day_passes_at_once() -> None:
    """Sleeping for a day advances the loop's clock by a day, and takes no time."""
    started, real = anyio.current_time(), time.monotonic()
    await anyio.sleep(86_400)
    assert anyio.current_time() - started == pytest.approx(86_400)
    assert time.monotonic() - real < 60


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    """The clock jumps to the nearest timer, while work that is ready is done first."""
    woken: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await anyio.sleep(seconds)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        woken.append((seconds, anyio.current_time() - started))

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for seconds in (3.0, 1.0, 2.0):
            tasks.start_soon(sleeper, seconds)
    assert woken == [(1.0, pytest.approx(1)), (2.0, pytest.approx(2)), (3.0, pytest.approx(3))]


async def test_a_deadline_ends_a_wait_that_has_no_end() -> None:
    """A cancel scope's deadline comes although nothing else happens."""
    with anyio.move_on_after(3600) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
