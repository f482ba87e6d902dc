"""A server of ASGI 3 without any sockets: it runs lifespans and requests on the event loop here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from supervisor import Supervisor
from supervisor.integrations.asgi import SupervisorMiddleware

Message = dict[str, Any]
Scope = dict[str, Any]


class Exchange:
    """One HTTP request or WebSocket, and all that the application has said to it.

    Attributes:
        sent: its messages.
        error: what has come out of it.
        ended: set when it has returned.
    """

    def __init__(self, app: Any, scope: Scope, body: Sequence[bytes | None] = ()) -> None:
        self._app = app
        self.scope = scope
        self._body = list(body)
        self.sent: list[Message] = []
        self.error: BaseException | None = None
        self.ended = anyio.Event()
        self._left = anyio.Event()
        self._is_asked = False
        self.send_error: Exception | None = None
        self.holding: anyio.Event | None = None  # a reader that takes nothing until it is set
        self._said = anyio.Event()

    async def run(self) -> None:
        try:
            await self._app(self.scope, self._receive, self._send)
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()
            self._said.set()

    def leave(self) -> None:
        """Let the client go away."""
        self._left.set()

    async def said(self, text: str) -> None:
        """Wait until that is part of the body."""
        while text not in self.text and not self.ended.is_set():
            self._said = anyio.Event()
            await self._said.wait()
        assert text in self.text

    async def _receive(self) -> Message:
        kind = self.scope["type"]
        if self._body:
            part = self._body.pop(0)
            self._is_asked = not self._body
            if part is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part, "more_body": bool(self._body)}
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request"} if kind == "http" else {"type": "websocket.connect"}
        await self._left.wait()
        return {"type": f"{kind}.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.send_error is not None:
            raise self.send_error
        if self.holding is not None:
            await self.holding.wait()
        self.sent.append(message)
        self._said.set()

    @property
    def status(self) -> int:
        (start,) = (each for each in self.sent if each["type"].endswith("response.start"))
        status: int = start["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        (start,) = (each for each in self.sent if each["type"].endswith("response.start"))
        pairs = [(name.decode(), value.decode()) for name, value in start["headers"]]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    @property
    def body(self) -> bytes:
        bodies = (each for each in self.sent if each["type"].endswith("response.body"))
        return b"".join(each.get("body", b"") for each in bodies)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def is_whole(self) -> bool:
        last = self.sent[-1] if self.sent else {}
        whole = last.get("type", "").endswith("response.body")
        return whole and not last.get("more_body", False)

    @property
    def json(self) -> Any:
        assert self.is_whole

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.body, parse_constant=refuse)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What has come by server-sent events."""
        lines = self.text.splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    @property
    def ids(self) -> list[str]:
        return [line[4:] for line in self.text.splitlines() if line.startswith("id: ")]


class Client:
    """Sends requests to an application that has started.

    Attributes:
        state: what its lifespan hands on.
        supervisor: that of its state.
    """

    def __init__(self, app: Any, state: Scope, tasks: anyio.abc.TaskGroup) -> None:
        self._app = app
        self.state = state
        self._tasks = tasks

    @property
    def supervisor(self) -> Supervisor:
        supervisor: Supervisor = self.state["supervisor"]
        return supervisor

    def begin(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        root_path: str = "",
        body: Sequence[bytes | None] = (),
        **scope: Any,
    ) -> Exchange:
        """Send a request, its body in these parts, and do not wait for its end; at None, leave."""
        exchange = Exchange(
            self._app,
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "root_path": root_path,
                "headers": [(name.encode(), value.encode()) for name, value in headers],
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 80),
                "state": self.state.copy(),
                **scope,
            },
            body,
        )
        self._tasks.start_soon(exchange.run)
        return exchange

    async def ask(self, path: str, **options: Any) -> Exchange:
        """Send a request, and return what it has come to."""
        exchange = self.begin(path, **options)
        await exchange.ended.wait()
        return exchange

    async def connect(self, path: str, **options: Any) -> Exchange:
        """Open a WebSocket, and return what it has come to."""
        return await self.ask(path, type="websocket", scheme="ws", subprotocols=[], **options)


class Lifespan:
    """One lifespan of an application.

    Attributes:
        sent: what the application has said.
        error: what has come out of it.
        state: what it hands on.
    """

    def __init__(self, app: Any, state: Mapping[str, Any] | None = None) -> None:
        self._app = app
        self.sent: list[Message] = []
        self.error: BaseException | None = None
        self.state: Scope = dict(state or {})
        self.ended = anyio.Event()
        self.started = anyio.Event()
        self._shutdown = anyio.Event()
        self._heard = 0
        self.refuses: set[str] = set()  # messages that the server raises an error for

    async def run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            self.error = error
        finally:
            self.started.set()
            self.ended.set()

    async def end(self) -> None:
        """Ask it to end, and wait until it has."""
        self._shutdown.set()
        await self.ended.wait()

    @property
    def said(self) -> list[str]:
        return [message["type"].removeprefix("lifespan.") for message in self.sent]

    async def _receive(self) -> Message:
        self._heard += 1
        if self._heard == 1:
            return {"type": "lifespan.startup"}
        await self._shutdown.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self.started.set()
        if message["type"] in self.refuses:
            raise ConnectionAbortedError(message["type"])


@asynccontextmanager
async def serving(app: Any, *, supervised: bool = True) -> AsyncIterator[Client]:
    """Start an application, within a supervisor if it has none of its own; and end it."""
    if supervised:
        app = SupervisorMiddleware(app)
    lifespan = Lifespan(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lifespan.run)
        await lifespan.started.wait()
        assert lifespan.said == ["startup.complete"], lifespan.error
        yield Client(app, lifespan.state, tasks)
        await lifespan.end()
        assert lifespan.said == ["startup.complete", "shutdown.complete"]
        assert lifespan.error is None
