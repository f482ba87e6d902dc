"""Web frameworks: each has its place for a supervisor, refusals and circuits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError
from supervisor.integrations.asgi import (
    CircuitsApp,
    Readiness,
    RefusalMiddleware,
    Reply,
    SupervisorMiddleware,
    problem_of,
)
from tests.integrations.asgi.driver import Client, serving
from tests.support.worlds import fail_times

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])

payments = CircuitBreaker("payments", failure_threshold=1, recovery_timeout=20.0)


async def fail() -> None:
    raise ConnectionError("the payment server is down")


async def grouped() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(payments.call, fail)


async def items() -> AsyncIterator[bytes]:
    await payments.call(fail)
    yield b"some"


def reply_to(error: BaseException) -> Reply:
    """What a framework's own handler of errors takes apart."""
    reply = problem_of(error)
    assert reply is not None
    return reply


async def check(client: Client, *paths: str, mounted: bool = True) -> None:
    """A refusal is answered by 503; circuits are shown, by names with slashes too."""
    names = ["a b/ü?", "http://127.0.0.1:80"]
    for name in names:
        client.supervisor.circuit(name)
    await fail_times(payments, 1)
    for path in paths:
        exchange = await client.ask(path)
        assert exchange.status == 503, (path, exchange.error)
        assert exchange.headers["retry-after"] == "20"
        assert exchange.json["circuit"] == "payments"
    if mounted:
        shown = await client.ask("/circuits/")
        assert [each["name"] for each in shown.json["circuits"]] == [*names, "payments"]
        for name in names:
            sent = f"/circuits/{quote(name, safe='')}".encode()
            named = await client.ask(f"/circuits/{name}", raw_path=sent)
            assert named.json["circuit"]["name"] == name
        assert (await client.ask("/ready")).json["open"] == ["payments"]
        reader = client.begin("/circuits/events")
        await reader.said("Began")
        reader.leave()
        await reader.ended.wait()


async def test_starlette() -> None:
    """Both middlewares, a mount, a route; also within a middleware that runs a task group."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Mount, Route

    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
        yield {"own": "kept"}
        told.append("own end")

    async def plain(request: Request) -> Response:
        assert request.state.own == "kept"
        assert "payments" in request.state.supervisor
        await payments.call(fail)
        return PlainTextResponse("paid")

    async def in_a_group(request: Request) -> Response:
        await grouped()
        return PlainTextResponse("paid")

    async def streamed(request: Request) -> Response:
        return StreamingResponse(items())

    async def timed(request: Request, go_on: Any) -> Response:
        response: Response = await go_on(request)
        return response

    # Around it, since it ends a stream that breaks as if that were whole, and raises only then.
    for around in ([], [Middleware(BaseHTTPMiddleware, dispatch=timed)]):
        app = Starlette(
            routes=[
                Route("/plain", plain),
                Route("/grouped", in_a_group),
                Route("/streamed", streamed),
                Route("/ready", Readiness("payments")),
                Mount("/circuits", CircuitsApp()),
            ],
            middleware=[Middleware(SupervisorMiddleware), *around, Middleware(RefusalMiddleware)],
            lifespan=lifespan,
        )
        async with serving(app, supervised=False) as client:
            await check(client, "/plain", "/grouped", "/streamed")
    assert told == ["own end"] * 2


async def test_fastapi() -> None:
    """The same, and a dependency that is refused."""
    from fastapi import Depends, FastAPI
    from fastapi.responses import StreamingResponse
    from starlette.routing import Route

    app = FastAPI()
    app.add_middleware(RefusalMiddleware)
    app.add_middleware(SupervisorMiddleware)
    app.mount("/circuits", CircuitsApp())
    app.router.routes.append(Route("/ready", Readiness("payments")))

    async def paid() -> None:
        await payments.call(fail)

    @app.get("/plain")
    async def plain() -> None:
        await payments.call(fail)

    @app.get("/grouped")
    async def in_a_group() -> None:
        await grouped()

    @app.get("/dependent", dependencies=[Depends(paid)])
    async def dependent() -> None:
        pass

    @app.get("/streamed")
    async def streamed() -> StreamingResponse:
        return StreamingResponse(items())

    async with serving(app, supervised=False) as client:
        await check(client, "/plain", "/grouped", "/dependent", "/streamed")


@on_asyncio
async def test_litestar() -> None:
    """It answers errors itself, so that it is told how; the supervisor goes around it."""
    from litestar import Litestar, Request, Response, asgi, get

    @get("/plain")
    async def plain() -> None:
        await payments.call(fail)

    @get("/grouped")
    async def in_a_group() -> None:
        await grouped()

    def refused(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        reply = reply_to(error)
        return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))

    app = Litestar(
        [
            plain,
            in_a_group,
            asgi("/circuits", is_mount=True, copy_scope=True)(CircuitsApp().__call__),
            asgi("/ready", copy_scope=True)(Readiness("payments").__call__),
        ],
        exception_handlers={CircuitBreakerOpenError: refused, ExceptionGroup: refused},
        logging_config=None,
    )
    async with serving(app) as client:
        await check(client, "/plain", "/grouped")


@on_asyncio
async def test_quart() -> None:
    """It answers errors itself, too."""
    from quart import Quart, Response

    app = Quart("site")

    @app.get("/plain")
    async def plain() -> str:
        await payments.call(fail)
        return "paid"

    @app.get("/grouped")
    async def in_a_group() -> str:
        await grouped()
        return "paid"

    @app.errorhandler(CircuitBreakerOpenError)
    @app.errorhandler(ExceptionGroup)
    async def refused(error: Exception) -> Response:
        reply = reply_to(error)
        return Response(reply.body, reply.status, dict(reply.headers))

    async with serving(app) as client:
        await check(client, "/plain", "/grouped", mounted=False)


class Refused:
    """A middleware of Django's."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Any) -> None:
        from asgiref.sync import markcoroutinefunction

        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: Any) -> Any:
        return await self.get_response(request)

    async def process_exception(self, _: Any, error: Exception) -> Any:
        from django.http import HttpResponse

        reply = reply_to(error)
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))


@on_asyncio
async def test_django() -> None:
    """It has no lifespan, and answers errors itself."""
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    async def plain(request: HttpRequest) -> HttpResponse:
        await payments.call(fail)
        return HttpResponse("paid")

    async def in_a_group(request: HttpRequest) -> HttpResponse:
        await grouped()
        return HttpResponse("paid")

    urls = type("urls", (), {"urlpatterns": [path("plain", plain), path("grouped", in_a_group)]})
    settings.configure(
        ROOT_URLCONF=urls,
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[f"{__name__}.Refused"],
        SECRET_KEY="none",
    )
    django.setup()
    async with serving(get_asgi_application()) as client:
        await check(client, "/plain", "/grouped", mounted=False)
