"""The demo's view of what goes on: tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import anyio
import pytest
from rich.console import Console

from supervisor import Supervisor
from supervisor.commands.demo.passes import Scene, create_circuits
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.view import watch
from supervisor.commands.demo.workers import Call, Journal

pytestmark = pytest.mark.anyio

PLAN = Plan(workers=7, seconds=100.0)


class Terminal(io.StringIO):
    """A file that says it is one."""

    def isatty(self) -> bool:
        return True


def scene(guarded: bool, supervisor: Supervisor, at: float = 0.0) -> Scene:
    """A pass that began `at` seconds ago, with two calls behind it."""
    journal = Journal(anyio.current_time() - at)
    journal.add(Call("complete_chat", 0.1, "succeeded", 0.01, requests=1))
    journal.add(Call("store_memory", 0.2, "failed", 0.01, requests=1234))
    return Scene(PLAN, guarded, journal, supervisor)


async def seen(file: io.StringIO, of: Scene, seconds: float) -> str:
    """What is printed within these seconds, without colours."""
    console = Console(file=file, width=80, _environ={"TERM": "xterm"})
    with anyio.move_on_after(seconds):
        await watch(console, of)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


async def open_circuit(supervisor: Supervisor, name: str) -> None:
    """Let a circuit's calls fail until it is open."""
    while supervisor[name].state != "open":
        with await supervisor[name].acquire() as permit:
            permit.fail()


async def test_a_table_of_circuits() -> None:
    """On a terminal, each circuit has a row as in `top`, and none is cut off."""
    async with Supervisor() as supervisor:
        create_circuits(supervisor, PLAN)
        await open_circuit(supervisor, "api:store_memory")
        text = await seen(Terminal(), scene(True, supervisor), 0.05)
    assert "Pass 2 of 2, with circuits: 7 agents on asyncio, the server is healthy" in text
    assert "api:store_memory: open for 0 s after 5 failures, next probe in 5 s" in text
    assert re.search(r"circuit +state +for +next probe +calls/s +failures +refused/s", text)
    assert re.search(r"api:complete_chat +closed +0 s *\n", text)
    assert re.search(r"api:store_memory +open +0 s +in 5 s +5 *\n", text)
    assert "…" not in text


async def test_times_of_circuits_go_on() -> None:
    """Since their states were first seen; what happens per second is counted over a second."""
    async with Supervisor() as supervisor:
        create_circuits(supervisor, PLAN)
        async with anyio.create_task_group() as tasks:

            async def see() -> None:
                file = Terminal()
                text = await seen(file, scene(True, supervisor), 3.3)
                last = text[text.rindex("Pass 2") :]
                assert re.search(r"api:complete_chat +closed +3 s", last)
                assert re.search(r"api:store_memory +open +0 s +in 4 s +5\.0 +5 +0\.0", last)

            tasks.start_soon(see)
            await anyio.sleep(2.4)
            await open_circuit(supervisor, "api:store_memory")


async def test_a_table_of_operations() -> None:
    """Without circuits, it has a row per operation with what became of its calls."""
    async with Supervisor() as supervisor:
        text = await seen(Terminal(), scene(False, supervisor, at=50.0), 0.05)
    assert "Pass 1 of 2, without circuits: 7 agents on asyncio, the server is dead" in text
    assert re.search(r"operation +circuit +succeeded +failed +requests", text)
    assert re.search(r"api:complete_chat +none +1 +0 +1 *\n", text)
    assert re.search(r"api:store_memory +none +0 +1 +1,234 *\n", text)


async def test_the_table_is_live() -> None:
    """It is drawn again several times a second."""
    async with Supervisor() as supervisor:
        text = await seen(Terminal(), scene(False, supervisor), 2.05)
    assert text.count("operation") >= 8


async def test_a_terminal_that_cannot_move_its_cursor() -> None:
    """It gets plain lines, too."""
    async with Supervisor() as supervisor:
        file = Terminal()
        console = Console(file=file, width=80, _environ={"TERM": "dumb"})
        with anyio.move_on_after(1.5):
            await watch(console, scene(False, supervisor))
    assert file.getvalue().startswith("without circuits, 1 s: server healthy")


async def test_plain_lines() -> None:
    """Where there is no terminal, each second gets one line, however long, and no colours."""
    async with Supervisor() as supervisor:
        create_circuits(supervisor, PLAN)
        file = io.StringIO()
        await seen(file, scene(True, supervisor, at=28.0), 3.5)
    states = "; api:complete_chat closed; api:search_tool closed; api:store_memory closed"
    assert file.getvalue().splitlines() == [
        f"with circuits, 29 s: server healthy; 1 succeeded, 1 failed, 0 rejected{states}",
        f"with circuits, 30 s: server dead; 1 succeeded, 1 failed, 0 rejected{states}",
        f"with circuits, 31 s: server dead; 1 succeeded, 1 failed, 0 rejected{states}",
    ]


async def test_plain_lines_without_circuits() -> None:
    """They name no circuit, and no rejections, which there cannot be."""
    async with Supervisor() as supervisor:
        text = await seen(io.StringIO(), scene(False, supervisor), 1.5)
    assert text == "without circuits, 1 s: server healthy; 1 succeeded, 1 failed\n"
