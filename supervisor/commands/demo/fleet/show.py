"""Store, server, passes, table and picture, one after the other."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import anyio
import httpx
from rich.console import Console

from supervisor.commands.demo.fleet.figures import FleetFigures
from supervisor.commands.demo.fleet.passes import FleetPass, run_pass
from supervisor.commands.demo.fleet.picture import draw
from supervisor.commands.demo.fleet.report import report
from supervisor.commands.demo.fleet.store import (
    check_reached,
    find_program,
    sharing_by,
    store_process,
)
from supervisor.commands.demo.fleet.view import watch
from supervisor.commands.demo.passes import Remote
from supervisor.commands.demo.plan import DemoError, Plan
from supervisor.commands.demo.process import server_process
from supervisor.commands.terminal import Terminal


def show(plan: Plan) -> None:
    """Run the demo of a fleet, print its table, and save its picture.

    Raises:
        UnusableError: there is no store, or no client of it.
        DemoError: a process has not started, or is gone.
        OSError: the picture cannot be written.
    """
    console = Terminal()
    program = find_program() if plan.store is None else None
    with ExitStack() as stack:
        store = plan.store if program is None else stack.enter_context(store_process(program))
        assert store is not None
        anyio.run(check_reached, sharing_by(store, "demo"))
        url = stack.enter_context(server_process())
        alone, shared = anyio.run(run_passes, plan, store, Remote.at(url), console)
    console.print(report(plan, FleetFigures.of(alone), FleetFigures.of(shared)))
    draw(plan, alone, shared)
    print(f"Picture: {plan.output.resolve()}")


async def run_passes(
    plan: Plan, store: str, remote: Remote, console: Console
) -> tuple[FleetPass, FleetPass]:
    """Run the pass of processes that are each by itself, and then the one with sharing.

    Raises:
        DemoError: the server, or a process, is gone.
    """
    watching = partial(watch, console)
    try:
        alone = await run_pass(plan, None, remote, watching)
        return alone, await run_pass(plan, store, remote, watching)
    except httpx.HTTPError as error:
        raise DemoError(f"the demo's server is gone: {error!r}") from error
