"""What goes on: a bar for each process on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import anyio
import pytest
from rich.console import Console

from supervisor.commands.demo.fleet.passes import Scene
from supervisor.commands.demo.fleet.view import watch
from tests.commands.demo.fleet.diaries import PLAN, diaries
from tests.commands.demo.test_view import Terminal

pytestmark = pytest.mark.anyio


async def seen(file: io.StringIO, shared: bool, at: float, seconds: float) -> str:
    """What is printed within these seconds of a pass that began `at` seconds ago."""
    scene = Scene(PLAN, shared, diaries(), anyio.current_time() - at)
    console = Console(file=file, width=80, _environ={"TERM": "xterm"})
    with anyio.move_on_after(seconds):
        await watch(console, scene)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


async def test_a_row_for_each_process() -> None:
    """With what its circuit was up to now, and what has come of its calls."""
    text = await seen(Terminal(), True, 5.0, 0.05)
    assert "Pass 2 of 2, with sharing: 8 agents in 2 processes, the server is dead" in text
    assert re.search(r"process +━{40} +failed +probes +rejected", text)
    assert re.search(r"1, asyncio +█{20} +2 +2 +1 *\n", text)
    assert re.search(r"2, trio +█{20} +2 +1 +1 *\n", text)


async def test_it_is_live() -> None:
    """It is drawn again several times a second."""
    text = await seen(Terminal(), False, 0.0, 2.05)
    assert "Pass 1 of 2, without sharing" in text
    assert text.count("process ") >= 8


async def test_plain_lines() -> None:
    """Where there is no terminal, each second gets one line."""
    text = await seen(io.StringIO(), False, 5.5, 2.5)
    calls = "3 succeeded, 4 failed, 2 rejected"
    assert text.splitlines() == [
        f"without sharing, 6 s: server dead; {calls}; open in 2 of 2 processes",
        f"without sharing, 8 s: server healthy; {calls}; open in 0 of 2 processes",
    ]
