"""A refusal, wherever it comes from, is answered by 503 if nothing has been sent yet."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitState,
    CircuitStoppedError,
    FirstHealthy,
    NoneHealthyError,
    Supervisor,
    TooManyCircuitsError,
)
from supervisor.integrations.asgi import RefusalMiddleware, Reply, problem_of
from tests.integrations.asgi.driver import Exchange, serving
from tests.support.worlds import fail_times, succeed

pytestmark = pytest.mark.anyio

Send = Callable[[dict[str, Any]], Awaitable[None]]

START = {"type": "http.response.start", "status": 200, "headers": []}


class Site:
    """An application whose pages are functions that are given `send`."""

    def __init__(self) -> None:
        self.payments = CircuitBreaker("payments", failure_threshold=1, recovery_timeout=20.5)
        self.mail = CircuitBreaker("mail", failure_threshold=1, recovery_timeout=30.0)

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        await receive()
        await getattr(self, scope["path"].strip("/"))(send)

    async def plainly(self, send: Send) -> None:
        await self.payments.call(succeed)
        await send(START)
        await send({"type": "http.response.body", "body": b"paid"})

    async def in_groups(self, _: Send) -> None:
        async with anyio.create_task_group() as outer:
            async with anyio.create_task_group() as inner:
                inner.start_soon(self.payments.call, succeed)
            outer.start_soon(self.mail.call, succeed)

    async def beside_an_error(self, _: Send) -> None:
        async def break_down() -> None:
            raise OSError("a disk is full")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(break_down)
            await self.payments.call(succeed)

    async def in_its_first_item(self, send: Send) -> None:
        await send(START)
        await self.payments.call(succeed)

    async def in_its_second_item(self, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await self.payments.call(succeed)

    async def after_a_hint(self, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        await self.payments.call(succeed)

    async def without_a_body(self, send: Send) -> None:
        await send(START)

    async def accepted(self, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await self.payments.call(succeed)

    async def closed(self, send: Send) -> None:
        await send({"type": "websocket.close"})
        await self.payments.call(succeed)

    async def broken(self, _: Send) -> None:
        raise OSError("a disk is full")


async def asked(path: str, *, opened: bool = True, **options: Any) -> tuple[Site, Exchange]:
    """What a page has come to while its circuit is open."""
    site = Site()
    async with serving(RefusalMiddleware(site)) as client:
        if opened:
            await fail_times(site.payments, 1)
        exchange = await client.ask(path, **options)
    return site, exchange


async def test_a_refusal_is_answered_by_503_and_when_to_come_back() -> None:
    """In whole seconds, rounded up; the text of the failure is nobody else's business."""
    _, exchange = await asked("/plainly")
    assert exchange.error is None
    assert exchange.status == 503
    assert exchange.json == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "circuit 'payments' is open; retry after 20.5 s",
        "circuit": "payments",
        "reason": "open",
        "retry_after": 21,
    }
    assert exchange.headers == {
        "content-type": "application/problem+json",
        "content-length": str(len(exchange.body)),
        "retry-after": "21",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
    }


async def test_what_is_not_refused_comes_through_unchanged() -> None:
    """Also an early hint, and a response that has no body."""
    _, exchange = await asked("/plainly", opened=False)
    assert exchange.sent == [START, {"type": "http.response.body", "body": b"paid"}]
    _, exchange = await asked("/without_a_body")
    assert exchange.sent == [START]
    _, exchange = await asked("/broken")
    assert isinstance(exchange.error, OSError)
    assert exchange.sent == []


async def test_a_head_request_is_answered_without_a_body() -> None:
    """Its headers are those of a GET."""
    _, exchange = await asked("/plainly", method="HEAD")
    assert (exchange.status, exchange.body) == (503, b"")
    assert int(exchange.headers["content-length"]) > 0


async def test_a_refusal_in_nested_groups_is_one() -> None:
    """A task group's error is a group, which no framework looks into."""
    _, exchange = await asked("/in_groups")
    assert exchange.json["circuit"] == "payments"


async def test_a_real_error_beside_a_refusal_is_not_hidden() -> None:
    """The group goes on as it is, for the server's log."""
    _, exchange = await asked("/beside_an_error")
    assert exchange.sent == []
    assert isinstance(exchange.error, ExceptionGroup)
    assert exchange.error.subgroup(OSError) is not None


@pytest.mark.parametrize("path", ["/in_its_first_item", "/after_a_hint"])
async def test_a_stream_that_is_refused_before_its_first_part_is_answered(path: str) -> None:
    """The start of its response was held back."""
    _, exchange = await asked(path)
    assert (exchange.status, exchange.error) == (503, None)


async def test_after_the_first_part_the_refusal_goes_on() -> None:
    """So that the server breaks the connection off, and nobody takes it for a whole answer."""
    _, exchange = await asked("/in_its_second_item")
    assert isinstance(exchange.error, CircuitBreakerOpenError)
    assert (exchange.status, exchange.body, exchange.is_whole) == (200, b"some", False)


async def test_a_websocket_is_refused_before_it_is_accepted() -> None:
    """By the same answer where the server can send it, or by "try again later"."""
    socket = {"type": "websocket"}
    _, exchange = await asked("/plainly", **socket, extensions={"websocket.http.response": {}})
    assert exchange.sent[0]["type"] == "websocket.http.response.start"
    assert (exchange.status, exchange.headers["retry-after"]) == (503, "21")
    assert exchange.json["circuit"] == "payments"
    close = {"type": "websocket.close", "code": 1013, "reason": "try again later"}
    for extensions in ({"extensions": None}, {"extensions": {}}, {}):
        _, exchange = await asked("/plainly", **socket, **extensions)
        assert exchange.sent == [close]
    _, exchange = await asked("/accepted", **socket, extensions={"websocket.http.response": {}})
    assert exchange.sent == [{"type": "websocket.accept"}, close]
    assert exchange.error is None


async def test_errors_of_websockets_go_on() -> None:
    """And so does a refusal once the socket has been closed."""
    _, exchange = await asked("/broken", type="websocket")
    assert isinstance(exchange.error, OSError)
    _, exchange = await asked("/closed", type="websocket")
    assert isinstance(exchange.error, CircuitBreakerOpenError)
    assert exchange.sent == [{"type": "websocket.close"}]


async def test_none_of_several_is_a_refusal_if_each_has_refused() -> None:
    """The first one back counts. If a call has failed, that is an error like any other."""
    site = Site()
    async with Supervisor():
        models = FirstHealthy(site.payments, site.mail)

        async def ask(model: str) -> str:
            raise OSError(f"{model} is down")

        for is_refusal in (False, True):
            with pytest.raises(NoneHealthyError) as raised:
                await models.call(ask)
            reply = problem_of(raised.value)
            assert (reply is not None) == is_refusal
        assert reply is not None
        assert reply.headers["retry-after"] == "21"
        assert b'"circuits": ["payments", "mail"]' in reply.body


def refusal(name: str, seconds: float, state: CircuitState = CircuitState.OPEN) -> Exception:
    return CircuitBreakerOpenError(name, seconds, state, "OSError: secret")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (refusal("a", 0.0, CircuitState.HALF_OPEN), "1"),
        (refusal("a", 0.2), "1"),
        (refusal("a", 30.0), "30"),
        (refusal("a", 30.000000001), "30"),
        (refusal("a", 30.001), "31"),
        (refusal("a", math.inf, CircuitState.FORCED_OPEN), None),
        (CircuitStoppedError("its block was left"), None),
        (TooManyCircuitsError("there are 5"), None),
        (ExceptionGroup("", [refusal("a", 3), refusal("b", 7), refusal("c", 5)]), "7"),
        (ExceptionGroup("", [refusal("a", 3), TooManyCircuitsError("there are 5")]), None),
    ],
    ids=range(10),
)
async def test_when_to_come_back(error: Exception, seconds: str | None) -> None:
    """At least a second later; all of several have to be back; nobody knows of an infinite time."""
    reply = problem_of(error)
    assert reply is not None
    assert reply.status == 503
    assert reply.headers.get("retry-after") == seconds
    assert b"secret" not in reply.body
    assert (b'"retry_after": null' in reply.body) == (seconds is None)


def test_what_is_no_refusal() -> None:
    """The end of a program within a group, a crash, and what merely comes of a refusal."""
    of_a_refusal = OSError("gave up")
    of_a_refusal.__cause__ = refusal("a", 3)
    for error in (
        BaseExceptionGroup("", [refusal("a", 3), KeyboardInterrupt()]),
        CircuitCrashedError("on this very request"),
        of_a_refusal,
    ):
        assert problem_of(error) is None


def test_a_framework_that_keeps_errors_to_itself_may_send_the_same() -> None:
    """Status, headers and body are there to be taken."""
    reply = problem_of(refusal("a", 3))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.headers["retry-after"]) == (503, "3")


def test_what_is_no_application_is_refused() -> None:
    """At once, and not at the first request."""
    with pytest.raises(TypeError, match="app must be an ASGI application, got 'site:app'"):
        RefusalMiddleware("site:app")  # type: ignore[arg-type]
