"""Server, passes, table and picture, one after the other."""

from __future__ import annotations

from functools import partial

import anyio
import httpx
from rich.console import Console

from supervisor.commands.demo.figures import Figures
from supervisor.commands.demo.page import shown_circuits
from supervisor.commands.demo.passes import Pass, Remote, run_pass
from supervisor.commands.demo.picture import draw
from supervisor.commands.demo.plan import DemoError, Plan
from supervisor.commands.demo.process import server_process
from supervisor.commands.demo.report import report
from supervisor.commands.demo.view import watch
from supervisor.commands.terminal import Terminal
from supervisor.supervision import Supervisor


def show(plan: Plan) -> None:
    """Run the demo, print its table, and save its picture.

    Raises:
        DemoError: the server has not started, or is gone.
        OSError: the picture cannot be written.
    """
    console = Terminal()
    with server_process() as url:
        without, guarded = anyio.run(
            shown_passes, plan, Remote.at(url), console, backend=plan.backend
        )
    figures = (Figures.of(measured, plan.recovery_window) for measured in (without, guarded))
    console.print(report(plan, *figures))
    draw(plan, without, guarded)
    print(f"Timeline: {plan.output.resolve()}")


async def shown_passes(plan: Plan, remote: Remote, console: Console) -> tuple[Pass, Pass]:
    """Run both passes, with a page of the circuits for browsers meanwhile.

    Raises:
        DemoError: the server is gone.
    """
    async with shown_circuits() as (supervisor, url):
        console.out(f"Circuits, live: {url}", highlight=False)
        return await run_passes(plan, remote, console, supervisor)


async def run_passes(
    plan: Plan, remote: Remote, console: Console, supervisor: Supervisor
) -> tuple[Pass, Pass]:
    """Run the pass without circuits, and then the one with them.

    Raises:
        DemoError: the server is gone.
    """
    watching = partial(watch, console)
    try:
        without = await run_pass(plan, False, remote, supervisor, watching)
        return without, await run_pass(plan, True, remote, supervisor, watching)
    except httpx.HTTPError as error:
        raise DemoError(f"the demo's server is gone: {error!r}") from error
