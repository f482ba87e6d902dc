"""The page of the circuits, on a free port of this machine, by the demo's own event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any, Final

import anycorn
import anyio

from supervisor.commands.demo.process import HOST
from supervisor.supervision import Supervisor

LEFT: Final = 0.2
"""Seconds that who looks at the page gets at the end, until the connection is broken off."""


@asynccontextmanager
async def shown_circuits() -> AsyncGenerator[tuple[Supervisor, str]]:
    """Run a supervisor during the block, and show its circuits; give both it and their URL."""
    supervisor = Supervisor()
    web: Any = import_module("supervisor.integrations.asgi")
    app = web.SupervisorMiddleware(web.CircuitsApp(), make=lambda: supervisor)
    config = anycorn.Config()
    config.bind = [f"{HOST}:0"]
    config.errorlog = None
    config.graceful_timeout = LEFT
    over = anyio.Event()
    server: Any = anycorn  # whose types of applications are many
    serve = partial(server.serve, app, config, shutdown_trigger=over.wait)
    async with anyio.create_task_group() as tasks:
        urls = await tasks.start(serve)
        yield supervisor, urls[0]
        over.set()
