"""The deadlines that a task runs in."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
import sniffio

from supervisor import deadline
from supervisor.loop import deadline_here

pytestmark = pytest.mark.anyio


# ruff: noqa: ASYNC100  (nothing is awaited: what is round this code is asked for)


async def test_it_limits_the_time_of_its_block() -> None:
    """As `anyio.fail_after` does."""
    with pytest.raises(TimeoutError), deadline(5):
        await anyio.sleep(6)
    assert anyio.current_time() == 5
    with deadline(5):
        await anyio.sleep(4)
    assert anyio.current_time() == 9


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, "5", None, True])
async def test_what_is_no_time(seconds: Any) -> None:
    """It is refused by name and value, before the block is entered."""
    with pytest.raises((TypeError, ValueError), match="seconds must be") as caught:
        deadline(seconds)
    assert repr(seconds) in str(caught.value)


async def test_it_is_no_decorator() -> None:
    """As one, it would end before an async function begins to run."""
    limit: Any = deadline(5)
    with pytest.raises(TypeError, match="not callable"):
        limit(anyio.sleep)


async def test_only_what_has_been_asked_for() -> None:
    """Other limits cancel, and nothing more: code in them may expect to be left in silence."""
    assert deadline_here() == math.inf
    with anyio.fail_after(5), anyio.move_on_after(3):
        assert deadline_here() == math.inf
    if sniffio.current_async_library() == "trio":
        import trio

        with trio.move_on_after(5):
            assert deadline_here() == math.inf
    else:
        async with asyncio.timeout(5):
            assert deadline_here() == math.inf


async def test_the_first_one_counts() -> None:
    """Of those that are round this very code; one may still be moved."""
    await anyio.sleep(1)
    with deadline(5) as outer, deadline(3) as inner, deadline(9), anyio.move_on_after(1):
        assert deadline_here() == 4
        inner.deadline = 3
        assert deadline_here() == 3
        inner.deadline = math.inf
        assert deadline_here() == 6
        outer.deadline = math.inf
        assert deadline_here() == 10
    assert deadline_here() == math.inf


async def test_one_that_cannot_cancel() -> None:
    """Is none: what is behind a shield, or is no part of the block, may take longer."""
    found: list[float] = []

    async def look() -> None:
        found.append(deadline_here())
        with deadline(20):
            found.append(deadline_here())
        await anyio.sleep(6)
        with deadline(20):
            found.append(deadline_here())

    async with anyio.create_task_group() as tasks:
        with deadline(5):
            with anyio.CancelScope(shield=True):
                assert deadline_here() == math.inf
            tasks.start_soon(look)
            await anyio.sleep(1)
    assert found == [math.inf, 20, 26]


async def test_one_that_has_cancelled() -> None:
    """Tells so by the next wait, and not here."""
    with deadline(5) as scope:
        scope.cancel()
        assert deadline_here() == math.inf


async def test_tasks_of_the_block() -> None:
    """Are in it, however they have been started."""
    found: list[float] = []

    async def look() -> None:
        found.append(deadline_here())

    with deadline(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
    assert found == [5]


async def test_in_a_callback() -> None:
    """No task runs there that could be cancelled."""
    if sniffio.current_async_library() != "trio":
        found: list[float] = []
        with deadline(5):
            asyncio.get_running_loop().call_soon(lambda: found.append(deadline_here()))
            await anyio.sleep(1)
        assert found == [math.inf]


async def test_another_loop_in_a_worker_thread() -> None:
    """It has another clock, also if its thread has inherited what is known here."""

    async def look() -> float:
        with anyio.fail_after(1):
            return deadline_here()

    def run() -> None:
        found.append(anyio.run(look))
        found.append(threading.get_ident())

    found: list[float] = []
    with deadline(10**9):
        await anyio.to_thread.run_sync(run)
    assert found[0] == math.inf
    assert found[1] != threading.get_ident()
