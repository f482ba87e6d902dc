"""What the tests of `top` are made of."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from rich.console import Console

from supervisor import Supervisor
from supervisor.commands.top.plan import Plan
from supervisor.commands.top.process import Process
from supervisor.commands.top.reading import Circuit, Reading, Row, rows_of
from supervisor.commands.top.source import Source, new_client
from supervisor.integrations.asgi import CircuitsApp, SupervisorMiddleware
from supervisor.sharing import Sharing
from tests.integrations.asgi.driver import Client, serving
from tests.support.worlds import fail_times, settle_down

URL = "http://server/circuits/"
PLAN = Plan((URL,))


async def open_circuit(client: Client, name: str = "payments") -> None:
    """Open the circuit of that name, which is started for that."""
    breaker = client.supervisor.circuit(name, failure_threshold=2, recovery_timeout=20.0)
    await fail_times(breaker, 2)
    await settle_down()


def circuit(name: str = "payments", state: str = "closed", **figures: Any) -> Circuit:
    """A circuit of which nothing else is to be said."""
    nothing = {
        "would_be": state,
        "running": True,
        "failure_count": 0,
        "retry_after": 0.0,
        "started": 0,
        "rejected": 0,
        "waiting": 0,
        "in_flight": 0,
        "times_opened": 0,
        "restarts": 0,
        "refusals": {},
    }
    return Circuit.model_validate({"name": name, "state": state, **nothing, **figures})


def reading(*circuits: Circuit, now: float = 100.0, run: str = "a", process: int = 7) -> Reading:
    return Reading(process=process, run=run, now=now, circuits=circuits)


def rows(*circuits: Circuit, process: str = "7@server") -> list[Row]:
    """They as they are read at 0.0, which is 100.0 by their process's clock."""
    return rows_of(process, None, reading(*circuits), at=0.0)


class Net(httpx.AsyncBaseTransport):
    """Where the hosts of URLs are: ASGI applications that have started, or functions."""

    def __init__(self, **hosts: Client | Callable[[httpx.Request], Any]) -> None:
        self.hosts = hosts
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        host = self.hosts[request.url.host]
        if not isinstance(host, Client):
            return await httpx.MockTransport(host).handle_async_request(request)
        headers = list(request.headers.items())
        answer = await host.ask(request.url.path, root_path="/circuits", headers=headers)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


@asynccontextmanager
async def process_at(net: Net, url: str = URL, plan: Plan = PLAN) -> AsyncIterator[Process]:
    """A process that is watched."""
    async with new_client(plan, net) as client:
        yield Process(Source(httpx.URL(url), client), plan)


@asynccontextmanager
async def server(sharing: Sharing | None = None) -> AsyncIterator[Client]:
    """An application that has started, and shows its circuits, which it may share."""
    app = SupervisorMiddleware(CircuitsApp(), make=lambda: Supervisor(sharing=sharing))
    async with serving(app, supervised=False) as client:
        yield client


class Terminal(io.StringIO):
    """A file that says it is one; what is written later, is seen."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


class Pipe(Terminal):
    """A file that is none."""

    def isatty(self) -> bool:
        return False


def console_of(file: Terminal, width: int = 100, height: int = 24, term: str = "xterm") -> Console:
    return Console(file=file, width=width, height=height, _environ={"TERM": term})


def plain(text: str) -> str:
    """A text without colours and moves of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
