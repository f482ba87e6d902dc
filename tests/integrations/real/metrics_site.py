"""A web application of several workers, each of which writes its figures, as the documents say."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from prometheus_client import CollectorRegistry, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Supervisor
from supervisor.instrumentation.prometheus import CircuitCollector, CircuitWriter

payments = CircuitBreaker("payments", failure_threshold=1000)


async def write_figures() -> None:
    """Write every few moments; what the last one has brought, too."""
    writer = CircuitWriter(CircuitCollector())
    try:
        while True:
            await anyio.to_thread.run_sync(writer.write)
            await anyio.sleep(0.1)
    finally:
        writer.write()


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    async with Supervisor(), anyio.create_task_group() as tasks:
        tasks.start_soon(write_figures)
        yield
        tasks.cancel_scope.cancel()


async def call(request: Request) -> PlainTextResponse:
    """Make a call that ends as it is asked for, and say in which process."""

    async def work() -> None:
        if request.path_params["outcome"] == "failed":
            raise ConnectionError("the payment server is down")

    outcome = "succeeded"
    try:
        await payments.call(work)
    except ConnectionError:
        outcome = "failed"
    except CircuitBreakerOpenError:
        outcome = "refused"
    return PlainTextResponse(f"{os.getpid()} {outcome}")


async def force_open(_: Request) -> PlainTextResponse:
    payments.force_open()
    return PlainTextResponse(str(os.getpid()))


def metrics() -> Any:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return make_asgi_app(registry)


app = Starlette(
    routes=[
        Route("/call/{outcome}", call),
        Route("/open", force_open),
        Mount("/metrics", metrics()),
    ],
    lifespan=lifespan,
)
