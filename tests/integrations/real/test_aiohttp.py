"""The middleware for aiohttp against servers on this machine that fail: in virtual time.

No test depends on how fast it runs, as in `test_loopback`: `make test-integrations`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import pickle
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreakerOpenError,
    CircuitState,
    Statistics,
    Supervisor,
    is_retryable_error,
)
from supervisor.testing import Backend
from tests.docs.documents import DOCS, examples_of
from tests.integrations.real.servers import HINT, WHOLE, HttpServer, in_virtual_time, serving
from tests.support.worlds import counted, until

aiohttp: Any = pytest.importorskip("aiohttp")
ours: Any = importlib.import_module("supervisor.integrations.aiohttp")

pytestmark = pytest.mark.anyio

PAGE = DOCS / "how-to/guard-aiohttp.md"

SOON = 5.0
"""Seconds after which a client gives up what never comes."""

FOREVER = 1e6


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Aiohttp runs on asyncio."""
    backend: Backend = request.param
    return in_virtual_time(backend)


class Calls:
    """A server, a client whose circuit opens at the first failure, and what is known of both."""

    def __init__(self, server: HttpServer, supervisor: Supervisor, client: Any) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}/"
        self.client = client
        self.supervisor = supervisor

    @property
    def figures(self) -> Statistics:
        """What the circuit has counted."""
        return self.supervisor.statistics()[f"http:127.0.0.1:{self.server.port}"]

    def counted(self) -> str:
        """What one request has come to."""
        return counted(self.figures)

    async def read(self, method: str = "POST", url: str | None = None, **options: Any) -> bytes:
        """Make a request, and read its whole body."""
        async with self.client.request(method, url or self.url, **options) as response:
            body: bytes = await response.read()
            return body

    async def refusal(self) -> Any:
        """Make one more request, which must not reach the server, and return the refusal."""
        before = self.server.requests
        with pytest.raises((CircuitBreakerOpenError, ours.CircuitOpenError)) as refusal:
            await self.read()
        assert self.server.requests == before
        return refusal.value


@asynccontextmanager
async def calls_to(
    fault: str, body: bytes = WHOLE, limit: int = 100, limits: Any = None, **options: Any
) -> AsyncIterator[Calls]:
    """Yield what calls a server with that fault, by a client with these timeouts."""
    options = {"failure_threshold": 1, "recovery_timeout": FOREVER, **options}
    async with serving(fault, body) as server, Supervisor() as supervisor:
        async with aiohttp.ClientSession(
            middlewares=[ours.CircuitMiddleware(**options)],
            connector=aiohttp.TCPConnector(limit=limit),
            timeout=aiohttp.ClientTimeout(**(limits or {})),
        ) as client:
            yield Calls(server, supervisor, client)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The URL of a server that never takes a connection: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        where = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(where)
        yield f"http://127.0.0.1:{where[1]}/"


# What requests count as


@pytest.mark.parametrize(
    ("fault", "limits", "error"),
    [
        ("refused", {}, "ClientConnectorError"),
        ("lost", {}, "ServerDisconnectedError"),
        ("hang", {"sock_read": SOON}, "SocketTimeoutError"),
        ("hang", {"total": SOON}, "TimeoutError"),
        ("cut", {}, "ClientPayloadError"),
        ("headers", {"sock_read": SOON}, "SocketTimeoutError"),
        ("stalls", {"sock_read": SOON}, "SocketTimeoutError"),
        ("stalls", {"total": SOON}, "TimeoutError"),
    ],
)
async def test_what_the_client_raises_is_a_failure(
    fault: str, limits: dict[str, float], error: str
) -> None:
    """It comes out as it is, and the next request is not sent."""
    async with calls_to(fault, limits=limits) as calls:
        with pytest.raises(getattr(aiohttp, error, TimeoutError)) as raised:
            await calls.read()
        assert type(raised.value).__name__ == error or fault == "refused"
        assert calls.counted() == "failed"
        refusal = await calls.refusal()
        assert type(raised.value).__name__ in refusal.last_failure


@pytest.mark.parametrize("limit", ["total", "connect", "sock_connect"])
async def test_a_server_that_takes_no_connection(limit: str) -> None:
    """Is a failure, though aiohttp cancels its own request when the whole time is over; also if the
    pool has one place.
    """
    with black_hole() as url:
        async with calls_to("200", limit=1) as calls:
            with pytest.raises(TimeoutError) as raised:
                await calls.read(url=url, timeout=aiohttp.ClientTimeout(**{limit: SOON}))
            assert not isinstance(raised.value, ours.PoolTimeoutError)
            (figures,) = calls.supervisor.statistics().values()
            assert (figures.started, figures.failed) == (1, 1)


@pytest.mark.parametrize("limit", ["total", "connect"])
async def test_a_pool_without_a_free_connection(limit: str) -> None:
    """The server has not seen the request that finds none."""
    async with calls_to("stalls", limit=1) as calls:
        async with calls.client.get(calls.url):
            with pytest.raises(ours.PoolTimeoutError) as raised:
                await calls.read(timeout=aiohttp.ClientTimeout(**{limit: SOON}))
            assert is_retryable_error(raised.value)
            assert calls.server.requests == 1
            assert (calls.figures.ignored, calls.figures.in_flight) == (1, 1)


@pytest.mark.parametrize("status", ["429", "503"])
async def test_a_server_that_is_busy(status: str) -> None:
    """Its answer is read as it is, and its hint is how long the circuit is open."""
    async with calls_to(status) as calls:
        async with calls.client.get(calls.url) as response:
            assert calls.counted() == "failed"
            assert (str(response.status), await response.read()) == (status, WHOLE)
        refusal = await calls.refusal()
        assert refusal.last_failure == "FailedResponse"
        assert 0 < round(refusal.retry_after, 3) <= HINT


@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}], ids=["plain", "timed"])
async def test_a_policy_that_raises(options: dict[str, float]) -> None:
    """Its error comes out, and the response is closed."""

    def broken(error: BaseException) -> None:
        raise LookupError

    async with calls_to("503", BODY, classify=broken, **options) as calls:
        with pytest.raises(LookupError):
            await calls.read()
        assert calls.figures.in_flight == 0


@pytest.mark.parametrize("status", ["200", "404"])
@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}], ids=["plain", "timed"])
async def test_a_server_that_answers(status: str, options: dict[str, float]) -> None:
    """Whatever it says; the connection is used again."""
    async with calls_to(status, **options) as calls:
        for _ in range(2):
            assert await calls.read() == WHOLE
        assert (calls.server.requests, calls.server.connections) == (2, 1)
        assert (calls.figures.started, calls.figures.succeeded) == (2, 2)


@pytest.mark.parametrize("fault", ["hang", "headers", "stalls"])
async def test_whoever_is_cancelled(fault: str) -> None:
    """Says nothing of the server, whose answer has not come, or not all of it."""
    async with calls_to(fault) as calls:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.read)
            await calls.server.asked.wait()
            tasks.cancel_scope.cancel()
        assert calls.counted() == "cancelled"


@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}], ids=["plain", "timed"])
@pytest.mark.parametrize(("fault", "outcome"), [("headers", "nothing"), ("stalls", "succeeded")])
async def test_a_reader_that_leaves(fault: str, outcome: str, options: Any) -> None:
    """Was served, if a part of the body has come; headers alone say nothing."""
    async with calls_to(fault, **options) as calls:
        async with calls.client.get(calls.url) as response:
            if fault == "stalls":
                assert await response.content.readany() == WHOLE
        assert calls.counted().replace("cancelled", "nothing").replace("ignored", "nothing") == (
            outcome
        )


@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}], ids=["plain", "timed"])
@pytest.mark.parametrize("fault", ["200", "late"])
async def test_a_small_body_that_nobody_reads(fault: str, options: dict[str, float]) -> None:
    """Has come whole, with the headers or soon after them: aiohttp needs nobody for that."""
    async with calls_to(fault, **options) as calls:
        async with calls.client.get(calls.url) as response:
            await until(lambda: not calls.figures.in_flight)
            assert calls.counted() == "succeeded"
            assert await response.read() == WHOLE


async def test_a_get_is_sent_twice() -> None:
    """By aiohttp itself, if the connection is lost; the circuit is asked both times."""
    async with calls_to("lost", failure_threshold=5) as calls:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await calls.read("GET")
        assert (calls.figures.failed, calls.server.requests) == (2, 2)
    async with calls_to("lost") as calls:
        with pytest.raises(CircuitBreakerOpenError):
            await calls.read("GET")
        assert (calls.figures.failed, calls.server.requests) == (1, 1)


async def test_redirects() -> None:
    """Each is a request to the server that it goes to."""
    async with serving("200") as end:
        async with calls_to(f"to http://localhost:{end.port}/") as calls:
            assert await calls.read() == WHOLE
            figures = calls.supervisor.statistics()
            assert list(figures) == [
                f"http:127.0.0.1:{calls.server.port}",
                f"http:localhost:{end.port}",
            ]
            assert [each.succeeded for each in figures.values()] == [1, 1]


# Reading


async def by_lines(content: Any) -> bytes:
    return b"".join([line async for line in content])


async def by_parts(content: Any) -> bytes:
    return b"".join([part async for part in content.iter_any()])


async def by_size(content: Any) -> bytes:
    return b"".join([part async for part in content.iter_chunked(1000)])


async def by_chunks(content: Any) -> bytes:
    return b"".join([part async for part, _ in content.iter_chunks()])


async def by_reads(content: Any) -> bytes:
    first: bytes = await content.read(1)
    return first + b"".join([part async for part in content.iter_chunked(1000)])


READS: dict[str, Callable[[Any], Awaitable[bytes]]] = {
    "lines": by_lines,
    "parts": by_parts,
    "size": by_size,
    "chunks": by_chunks,
    "reads": by_reads,
    "all": lambda content: content.read(),
    "exactly": lambda content: content.readexactly(len(BODY)),
    "until": lambda content: content.readuntil(b"!"),
    "line": lambda content: content.readline(),
}
BODY = b"x" * 200_000 + b"!"
"""More than comes with the headers."""


@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}], ids=["plain", "timed"])
@pytest.mark.parametrize("name", READS)
async def test_each_way_to_read(name: str, options: dict[str, float]) -> None:
    """Gives what the server has sent; one that breaks off is a failure."""
    async with calls_to("200", BODY, **options) as calls:
        async with calls.client.get(calls.url) as response:
            assert await READS[name](response.content) == BODY
            assert response.content.at_eof()
        assert calls.counted() == "succeeded"
    async with calls_to("cut", BODY[:-1], **options) as calls:
        async with calls.client.get(calls.url) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await READS[name](response.content)
                await response.content.read()
        assert calls.counted() == "failed"


async def test_content_that_is_sent_on() -> None:
    """It is still one of aiohttp's own: its type says how it is sent."""
    async with calls_to("200", BODY) as calls, serving("200") as other:
        async with calls.client.get(calls.url) as response:
            assert isinstance(response.content, aiohttp.StreamReader)
            url = f"http://127.0.0.1:{other.port}/"
            assert await calls.read(url=url, data=response.content, chunked=None) == WHOLE
        assert calls.counted() == "succeeded"


@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}], ids=["plain", "timed"])
async def test_one_response_in_two_tasks(options: dict[str, float]) -> None:
    """Whoever closes it ends it; what the other one then gets says nothing of the server."""
    async with calls_to("stalls", **options) as calls:
        async with anyio.create_task_group() as tasks:
            response = await calls.client.get(calls.url)

            async def read() -> None:
                with pytest.raises(aiohttp.ClientConnectionError):
                    await response.read()

            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            response.close()
        assert calls.counted() == "succeeded"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}], ids=["plain", "timed"])
async def test_a_response_that_nobody_closes(options: dict[str, float]) -> None:
    """Is counted when its connection ends and it is collected."""
    async with calls_to("cut", **options) as calls:
        await calls.client.get(calls.url)
        await until(lambda: gc.collect() >= 0 and not calls.figures.in_flight)
        assert calls.counted() != "failed"


@asynccontextmanager
async def greeting(close: Callable[[Any, Any], Awaitable[object]]) -> AsyncIterator[int]:
    """The port of a server whose WebSockets say hello, and are closed by that function."""
    web: Any = importlib.import_module("aiohttp.web")

    async def greet(request: Any) -> Any:
        talking = web.WebSocketResponse()
        await talking.prepare(request)
        await talking.send_str("hello")
        await close(request, talking)
        return talking

    app = web.Application()
    app.router.add_get("/", greet)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def end(request: object, talking: Any) -> None:
    await talking.close()


async def fail(request: object, talking: Any) -> None:
    await talking.close(code=1011)


async def lose(request: Any, talking: object) -> None:
    request.transport.close()  # without a closing frame


async def test_a_websocket() -> None:
    """Counts when it is there."""
    async with greeting(end) as port, calls_to("200") as calls:
        async with calls.client.ws_connect(f"ws://127.0.0.1:{port}/") as talking:
            assert await talking.receive_str() == "hello"
            ((name, figures),) = calls.supervisor.statistics().items()
            assert (name, figures.succeeded) == (f"ws:127.0.0.1:{port}", 1)


@pytest.mark.parametrize("close", [end, fail, lose])
async def test_a_websocket_ends_as_if_all_were_well(
    close: Callable[[Any, Any], Awaitable[object]],
) -> None:
    """However it ends, as aiohttp iterates; the page's stream is a failure if it has broken."""
    (source,) = (each.source for each in examples_of(PAGE) if "def messages(" in each.source)
    names: dict[str, Any] = {}
    exec(source, names)
    async with greeting(close) as port, aiohttp.ClientSession() as client, Supervisor():
        url = f"ws://127.0.0.1:{port}/"
        async with client.ws_connect(url) as talking:
            assert [message.data async for message in talking] == ["hello"]
        with contextlib.nullcontext() if close is end else pytest.raises(ConnectionError):
            assert [message.data async for message in names["messages"](client, url)] == ["hello"]
        assert counted(names["prices"].statistics()) == ("succeeded" if close is end else "failed")


# Time


async def test_the_policys_own_timeout() -> None:
    """Limits each wait: for the response, and for each part of its body."""
    for fault in ("hang", "stalls"):
        async with calls_to(fault, timeout=SOON) as calls:
            with pytest.raises(CallTimeoutError):
                await calls.read()
            assert calls.counted() == "failed"


@pytest.mark.parametrize("fault", ["200", "503", "cut", "lost", "to /other"])
async def test_a_probe(fault: str) -> None:
    """Is a request like others: by what becomes of it, its circuit closes, or opens again."""
    async with calls_to("lost", recovery_timeout=SOON) as calls:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await calls.read()
        await anyio.sleep(2 * SOON)
        assert calls.figures.state is CircuitState.HALF_OPEN
        calls.server.fault = fault
        with contextlib.suppress(aiohttp.ClientError):
            await calls.read(allow_redirects=False)
        good = fault in ("200", "to /other")
        assert (calls.figures.succeeded, calls.figures.failed) == ((1, 1) if good else (0, 2))


@pytest.mark.parametrize(
    ("probe_timeout", "state"), [(15.0, CircuitState.CLOSED), (5.0, CircuitState.OPEN)]
)
async def test_a_probe_whose_parts_come_slowly(probe_timeout: float, state: CircuitState) -> None:
    """Is alive as long as none takes too long, also if it is read as a whole."""
    async with calls_to(
        "503", recovery_timeout=1, max_retry_after=1, probe_timeout=probe_timeout
    ) as calls:
        await calls.read()
        await anyio.sleep(1)
        calls.server.fault = "drips"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.read)
            await anyio.sleep(5.5)
            if state is CircuitState.CLOSED:
                await anyio.sleep(40)
                assert calls.figures.state is CircuitState.HALF_OPEN
                await anyio.sleep(20)
            assert calls.figures.state is state


async def test_a_slow_call() -> None:
    """Is slow if the first part of its body has not come by then; how long the rest takes does not
    matter.
    """
    for limit, outcome in ((9.0, "failed"), (11.0, "succeeded")):
        async with calls_to("drips", slow_call_duration=limit) as calls:
            assert await calls.read() == WHOLE
            assert calls.counted() == outcome


# Arguments


async def test_a_refusal_that_is_aiohttps() -> None:
    """It says how long, and has ours as its cause."""
    async with calls_to("503", on_refusal="transport_error") as calls:
        await calls.read()
        refusal = await calls.refusal()
        assert isinstance(refusal, aiohttp.ClientConnectionError)
        assert isinstance(refusal.__cause__, CircuitBreakerOpenError)
        assert 0 < round(refusal.retry_after, 3) <= HINT
        assert str(refusal) == str(refusal.__cause__)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://EXAMPLE.com:80/", "http:example.com"),
        ("https://user:secret@example.com:443/read", "https:example.com"),
        ("http://localhost:8080", "http:localhost:8080"),
        ("https://bücher.example", "https:xn--bcher-kva.example"),
        ("http://[::1]:8000/", "http:[::1]:8000"),
    ],
)
async def test_one_circuit_for_each_origin(url: str, name: str) -> None:
    """A scheme, a host, and a port if it is not the usual one."""

    async def answer(request: Any, handler: Any) -> Any:
        raise ConnectionError

    async with Supervisor() as supervisor:
        guards = [ours.CircuitMiddleware(), answer]
        async with aiohttp.ClientSession(middlewares=guards) as client:
            with pytest.raises(aiohttp.ClientOSError):
                await client.post(url)
        assert list(supervisor) == [name]


async def test_a_function_of_the_request() -> None:
    """Names its circuit; None leaves it unguarded."""
    async with calls_to("503", circuit=lambda request: request.headers.get("tenant")) as calls:
        await calls.read(headers={"tenant": "a"})
        for _ in range(2):
            await calls.read()
        assert {name: each.failed for name, each in calls.supervisor.statistics().items()} == {
            "a": 1
        }


async def test_other_statuses() -> None:
    """In the place of 429 and those from 500."""
    async with calls_to("404", failures={404}) as calls:
        await calls.read()
        assert calls.counted() == "failed"


def test_bad_arguments() -> None:
    """Are errors at once."""
    middleware = ours.CircuitMiddleware
    with pytest.raises(TypeError, match="circuit must be a plain function of a request, got 'a'"):
        middleware(circuit="a")
    with pytest.raises(ValueError, match="on_refusal must be one of error, transport_error; got"):
        middleware(on_refusal="response")
    with pytest.raises(ValueError, match="failures must be HTTP statuses"):
        middleware(failures=[7])
    with pytest.raises(ValueError, match="failure_threshold"):
        middleware(failure_threshold=0)


def test_a_refusal_travels() -> None:
    """Between processes."""
    error = ours.PoolTimeoutError("busy")
    assert str(pickle.loads(pickle.dumps(error))) == "busy"
