"""Transports for httpx and httpx2 against servers on this machine that fail: in virtual time.

No test depends on how fast it runs: see `in_virtual_time`.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreakerOpenError, CircuitState, Statistics, Supervisor
from supervisor.testing import Backend
from tests.integrations.real.servers import HINT, WHOLE, HttpServer, in_virtual_time, serving
from tests.support.worlds import BACKENDS

pytestmark = pytest.mark.anyio

SOON = 5.0
"""Seconds after which a client gives up what never comes."""

FOREVER = 1e6


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    backend: Backend = request.param
    return in_virtual_time(backend)


@pytest.fixture(params=["httpx", "httpx2"])
def package(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


class Calls:
    """A server, a client whose circuit opens at the first failure, and what is known of both."""

    def __init__(
        self,
        package: Any,
        server: HttpServer,
        supervisor: Supervisor,
        recovery_timeout: float,
        limits: dict[str, float],
    ) -> None:
        ours: Any = importlib.import_module(f"supervisor.integrations.{package.__name__}")
        # A connection that is kept grows old by the clock of the machine.
        limits_of_pool = package.Limits(max_connections=1, keepalive_expiry=None)
        inner = package.AsyncHTTPTransport(limits=limits_of_pool)
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}/"
        self.client = package.AsyncClient(
            transport=ours.CircuitTransport(
                inner, failure_threshold=1, recovery_timeout=recovery_timeout
            ),
            timeout=package.Timeout(None, **limits),
        )
        self._supervisor = supervisor

    @property
    def figures(self) -> Statistics:
        """What the circuit has counted."""
        return self._supervisor.statistics()[f"http:127.0.0.1:{self.server.port}"]

    async def refusal(self) -> CircuitBreakerOpenError:
        """Make one more request, which must not reach the server, and return the refusal."""
        before = self.server.requests
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            await self.client.get(self.url)
        assert self.server.requests == before
        return refusal.value


@asynccontextmanager
async def calls_to(
    package: Any, fault: str, recovery_timeout: float = FOREVER, **limits: float
) -> AsyncIterator[Calls]:
    """Yield what calls a server with that fault, by a client with these timeouts."""
    async with serving(fault) as server, Supervisor() as supervisor:
        calls = Calls(package, server, supervisor, recovery_timeout, limits)
        async with calls.client:
            yield calls


@pytest.mark.parametrize(
    ("fault", "limits", "error"),
    [
        ("refused", {}, "ConnectError"),
        ("lost", {}, "RemoteProtocolError"),
        ("hang", {"read": SOON}, "ReadTimeout"),
        ("cut", {}, "RemoteProtocolError"),
        ("stalls", {"read": SOON}, "ReadTimeout"),
    ],
)
async def test_what_the_client_raises_is_a_failure(
    package: Any, fault: str, limits: dict[str, float], error: str
) -> None:
    """It comes out as it is, and the next request is not sent."""
    async with calls_to(package, fault, **limits) as calls:
        with pytest.raises(getattr(package, error)):
            await calls.client.get(calls.url)
        assert calls.server.requests == (0 if fault == "refused" else 1)
        assert (calls.figures.started, calls.figures.failed) == (1, 1)
        assert error in str((await calls.refusal()).last_failure)


@pytest.mark.parametrize("status", ["429", "503"])
async def test_a_server_that_is_busy(package: Any, status: str) -> None:
    """Its answer is read as it is, and its hint is how long the circuit is open."""
    async with calls_to(package, status) as calls:
        response = await calls.client.get(calls.url)
        assert (str(response.status_code), response.content) == (status, WHOLE)
        assert (calls.server.requests, calls.figures.failed) == (1, 1)
        refusal = await calls.refusal()
        assert refusal.last_failure == "FailedResponse"
        assert 0 < round(refusal.retry_after, 3) <= HINT


@pytest.mark.parametrize("status", ["200", "404"])
async def test_a_server_that_answers(package: Any, status: str) -> None:
    """Whatever it says; the connection is used again."""
    async with calls_to(package, status) as calls:
        for _ in range(2):
            assert (await calls.client.get(calls.url)).content == WHOLE
        assert (calls.server.requests, calls.server.connections) == (2, 1)
        assert (calls.figures.started, calls.figures.succeeded) == (2, 2)


@pytest.mark.parametrize("fault", ["hang", "stalls"])
async def test_whoever_is_cancelled(package: Any, fault: str) -> None:
    """Says nothing of the server, whose answer has not come, or not all of it."""
    async with calls_to(package, fault) as calls:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.client.get, calls.url)
            await calls.server.asked.wait()
            tasks.cancel_scope.cancel()
        assert calls.server.requests == 1
        assert (calls.figures.started, calls.figures.cancelled) == (1, 1)


async def test_a_pool_without_a_free_connection(package: Any) -> None:
    """The server has not seen the request that finds none."""
    async with calls_to(package, "stalls", pool=SOON) as calls:
        async with calls.client.stream("GET", calls.url):
            with pytest.raises(package.PoolTimeout):
                await calls.client.get(calls.url)
            assert calls.server.requests == 1
            assert (calls.figures.ignored, calls.figures.in_flight) == (1, 1)
        assert (calls.figures.started, calls.figures.ignored) == (2, 2)


# On trio, what the package itself has not closed is closed by the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_reader_that_leaves(package: Any) -> None:
    """Was served, if a part of the body has come."""
    async with calls_to(package, "stalls") as calls:
        async with calls.client.stream("GET", calls.url) as response:
            async with aclosing(response.aiter_raw()) as parts:
                assert WHOLE.startswith(await anext(parts))
        assert (calls.figures.started, calls.figures.succeeded) == (1, 1)


@pytest.mark.parametrize("fault", ["200", "503", "cut", "lost"])
async def test_a_probe(package: Any, fault: str) -> None:
    """Is a request like others: by what becomes of it, its circuit closes, or opens again."""
    async with calls_to(package, "lost", recovery_timeout=SOON) as calls:
        with pytest.raises(package.RemoteProtocolError):
            await calls.client.get(calls.url)
        await anyio.sleep(2 * SOON)
        assert calls.figures.state is CircuitState.HALF_OPEN
        calls.server.fault = fault
        with contextlib.suppress(package.RemoteProtocolError):
            assert (await calls.client.get(calls.url)).content == WHOLE
        assert calls.server.requests == 2
        assert (calls.figures.succeeded, calls.figures.failed) == (
            (1, 1) if fault == "200" else (0, 2)
        )
