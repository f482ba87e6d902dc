"""A web application for real servers: by ASGI alone, with all that the integration has."""

from __future__ import annotations

import os
from typing import Any

import anyio

from supervisor import CircuitBreaker, Supervisor
from supervisor.integrations.asgi import (
    CircuitsApp,
    Liveness,
    Readiness,
    RefusalMiddleware,
    SupervisorMiddleware,
)

payments = CircuitBreaker("payments", failure_threshold=1, recovery_timeout=3600.0)
odd = CircuitBreaker("a b/ü?&#%20", failure_threshold=1)


async def fail() -> None:
    raise ConnectionError("the payment server is down")


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """Pages, each of which calls by the breaker that was made at import."""
    if scope["type"] == "lifespan":
        await receive()
        supervisor = scope["state"]["supervisor"]  # granian empties the state before the end
        (await odd.acquire()).succeed()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("own end:", *sorted(supervisor), flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    match scope["path"]:
        case "/grouped":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(payments.call, fail)
            return
        case "/first" | "/second" as path:
            await begin(send)
            if path == "/second":
                await send({"type": "http.response.body", "body": b"some", "more_body": True})
        case "/accepted":
            await receive()
            await send({"type": "websocket.accept"})
        case "/open":
            (await odd.acquire()).fail()
            await begin(send)
            await send({"type": "http.response.body", "body": b"opened"})
            return
        case _:
            pass
    await payments.call(fail)


async def begin(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


MOUNTED = {
    "/circuits": CircuitsApp(stream_seconds=0.5),
    "/live": Liveness(),
    "/ready": Readiness("payments"),
}


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    """Send requests where their paths belong."""
    for root, app in MOUNTED.items():
        if scope["type"] == "http" and scope["path"].startswith(root):
            await app({**scope, "root_path": scope.get("root_path", "") + root}, receive, send)
            return
    await pages(scope, receive, send)


supervised = SupervisorMiddleware(
    RefusalMiddleware(mounted),
    make=lambda: Supervisor(max_circuits=int(os.environ.get("MOST_CIRCUITS", "9"))),
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The whole, which tells of the end of its lifespan."""
    await supervised(scope, receive, send)
    if scope["type"] == "lifespan":
        print("the whole has ended", flush=True)
