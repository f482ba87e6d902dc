"""What is seen, and when: a live table, lines, or the table once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import anyio
import httpx
from rich.console import Console
from rich.live import Live

from supervisor.commands.terminal import Terminal
from supervisor.commands.top.changes import news_of
from supervisor.commands.top.plan import Plan
from supervisor.commands.top.process import Process
from supervisor.commands.top.reading import Row
from supervisor.commands.top.screen import is_live, screen_of, sentence
from supervisor.commands.top.source import Source, addresses_of, new_client
from supervisor.commands.top.table import encodable

REDRAW: Final = 0.5
"""Seconds after which a live table is drawn again, so that its times go on between readings."""


WIDEST: Final = 1000
"""Columns of what is no terminal."""


def show(plan: Plan) -> int:
    """Show circuits, and return the exit status.

    Raises:
        TopError: an address, or what the environment says of proxies, is of no use.
    """
    return anyio.run(watch, plan, Terminal())


async def watch(
    plan: Plan, console: Console, transport: httpx.AsyncBaseTransport | None = None
) -> int:
    """Show circuits once, or until this is cancelled; return the exit status.

    Args:
        plan: what to watch, and how.
        console: where to show it.
        transport: how to reach the processes; None: by the network.

    Raises:
        TopError: as `show`.
    """
    addresses, status = addresses_of(plan), 0
    async with new_client(plan, transport) as client:
        processes = [Process(Source(url, client), plan) for url in addresses]
        if plan.once:
            status = await show_once(plan, console, processes)
        elif is_live(console):
            await show_live(plan, console, processes)
        else:
            await print_changes(plan, console, processes)
    return status


async def show_once(plan: Plan, console: Console, processes: Sequence[Process]) -> int:
    """Print the table, after two readings: the second is for what happens per second."""
    await _read_all(processes)
    await anyio.sleep(plan.interval)
    await _read_all(processes)
    if not is_live(console):
        console.width = WIDEST
    console.print(screen_of(plan, processes, anyio.current_time(), console, whole=True))
    return 1 if any(process.problem for process in processes) else 0


async def _read_all(processes: Sequence[Process]) -> None:
    async with anyio.create_task_group() as tasks:
        for process in processes:
            tasks.start_soon(process.read)


async def show_live(plan: Plan, console: Console, processes: Sequence[Process]) -> None:
    """Show a table that changes, until this is cancelled."""

    async def follow(process: Process) -> None:
        while True:
            await process.read()
            await anyio.sleep(plan.interval)

    async with anyio.create_task_group() as tasks:
        for process in processes:
            tasks.start_soon(follow, process)
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                now = anyio.current_time()
                live.update(screen_of(plan, processes, now, console, whole=False), refresh=True)
                await anyio.sleep(min(REDRAW, plan.interval))


async def print_changes(plan: Plan, console: Console, processes: Sequence[Process]) -> None:
    """Print how things stand, and then a line for each change, until this is cancelled."""

    def say(line: str) -> None:
        clock = time.strftime("%H:%M:%S")
        print(clock, encodable(line, console.encoding), file=console.file, flush=True)

    async def follow(process: Process) -> None:
        known: Sequence[Row] = ()
        problem = ""
        while True:
            for line in news_of(process, known, problem, anyio.current_time()):
                say(f"{process.name}: {line}" if len(processes) > 1 else line)
            problem = process.problem
            known = known if problem else process.rows
            await anyio.sleep(plan.interval)
            await process.read()

    await _read_all(processes)
    say(sentence(plan, processes, anyio.current_time()))
    async with anyio.create_task_group() as tasks:
        for process in processes:
            tasks.start_soon(follow, process)
