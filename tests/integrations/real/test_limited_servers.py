"""Workers and a limited server: one 429 teaches all of them. Counted by the server.

In virtual time, so that nobody waits for the limit; sockets on this machine are waited for.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import httpx
import pytest

from supervisor import Policy, Supervisor, retry_api_call
from supervisor.testing import Backend
from tests.integrations.real.servers import LIMITED, in_virtual_time, serving
from tests.support.worlds import BACKENDS

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore"),  # what the packages warn of is theirs
]

WORKERS = 8
MODELS = b'{"object": "list", "data": [], "has_more": false}'
ONE = Policy(failure_threshold=1)
CLIENTS = {"openai": "AsyncOpenAI", "anthropic": "AsyncAnthropic"}

Client = AbstractAsyncContextManager[Any]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    backend: Backend = request.param
    return in_virtual_time(backend)


async def told(
    new_client: Callable[[str], Client],
    send: Callable[[Any], Awaitable[object]],
    together: bool = False,
) -> int:
    """Return how often the server says 429 to workers; in the end, all are answered.

    They ask together; or the others begin, one after the other, when the first has been told.
    """
    async with serving("limited", MODELS) as server, Supervisor():
        began, answered = anyio.current_time(), 0
        server.together = WORKERS if together else 1

        async def work(number: int) -> None:
            nonlocal answered
            if number and not together:
                await server.has_told.wait()
                await anyio.sleep(number * 0.01)
            await send(client)
            assert anyio.current_time() - began >= LIMITED
            answered += 1

        async with new_client(f"http://127.0.0.1:{server.port}") as client:
            async with anyio.create_task_group() as workers:
                for number in range(WORKERS):
                    workers.start_soon(work, number)
        assert answered == WORKERS
        assert server.requests == WORKERS + server.told
        return server.told


async def list_models(client: Any) -> None:
    await client.models.list()


@pytest.mark.parametrize("sdk", CLIENTS)
async def test_each_is_told_by_itself(sdk: str) -> None:
    """By the SDK's own retries."""
    package: Any = pytest.importorskip(sdk)

    def new(url: str) -> Any:
        return getattr(package, CLIENTS[sdk])(base_url=url, api_key="none")

    assert await told(new, list_models) == WORKERS


@pytest.mark.parametrize(("together", "expected"), [(False, 1), (True, WORKERS)])
@pytest.mark.parametrize("sdk", CLIENTS)
async def test_one_teaches_all(sdk: str, together: bool, expected: int) -> None:
    """If they wait for the circuit; but not those that have asked by then."""
    pytest.importorskip(sdk)
    ours: Any = importlib.import_module(f"supervisor.integrations.{sdk}")

    def new(url: str) -> Any:
        return ours.client(policy=ONE, wait=30, max_retries=2, base_url=url, api_key="none")

    assert await told(new, list_models, together) == expected


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
async def test_by_a_transport_and_a_retry_decorator(package: str) -> None:
    """In the place of the SDK's own retries."""
    library: Any = importlib.import_module(package)
    ours: Any = importlib.import_module(f"supervisor.integrations.{package}")

    def new(url: str) -> Any:
        return library.AsyncClient(
            base_url=url, transport=ours.CircuitTransport(policy=ONE, wait=30)
        )

    @retry_api_call(max_attempts=2)
    async def get(client: httpx.AsyncClient) -> None:
        (await client.get("/")).raise_for_status()

    assert await told(new, get) == 1


def session(url: str, **options: Any) -> Any:
    """Return one of aiohttp's, which runs on asyncio."""
    aiohttp: Any = pytest.importorskip("aiohttp")
    ours: Any = importlib.import_module("supervisor.integrations.aiohttp")
    return aiohttp.ClientSession(
        url, middlewares=[ours.CircuitMiddleware(policy=ONE, wait=30)], **options
    )


on_asyncio = pytest.mark.parametrize("anyio_backend", [in_virtual_time("asyncio")], ids=["asyncio"])


@on_asyncio
async def test_by_a_middleware_and_a_retry_decorator() -> None:
    """The same for aiohttp."""

    @retry_api_call(max_attempts=2)
    async def get(client: Any) -> None:
        async with client.get("/", raise_for_status=True) as response:
            await response.read()

    assert await told(session, get) == 1


@on_asyncio
async def test_the_whole_time_of_a_request() -> None:
    """Goes on while a request of aiohttp's waits for its circuit."""
    aiohttp: Any = pytest.importorskip("aiohttp")
    async with serving("limited") as server, Supervisor():
        timeout = aiohttp.ClientTimeout(total=1)
        async with session(f"http://127.0.0.1:{server.port}", timeout=timeout) as client:
            await client.get("/")
            began = anyio.current_time()
            with pytest.raises(TimeoutError):
                await client.get("/")
            assert anyio.current_time() - began == pytest.approx(1, abs=0.1)
            assert server.requests == 1
