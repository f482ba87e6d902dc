"""The clients of openai and anthropic that are guarded: the real packages, and servers that fail.

In virtual time, as in `test_loopback`: `make test-integrations`.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from supervisor import (
    CircuitBreakerOpenError,
    CircuitState,
    Policy,
    PolicyConflictError,
    Supervisor,
    is_retryable_error,
)
from supervisor.testing import Backend
from tests.integrations.real.servers import HINT, HttpServer, in_virtual_time, serving
from tests.support.worlds import BACKENDS

pytestmark = [
    pytest.mark.anyio,
    # What the packages warn of, or leave unclosed, is theirs.
    pytest.mark.filterwarnings("ignore"),
]

MODELS = b'{"object": "list", "data": [], "has_more": false}'
ITEM = b'event: message_stop\ndata: {"type": "message_stop", "choices": []}\n\n'


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    backend: Backend = request.param
    return in_virtual_time(backend)


class Sdk:
    """One of the two packages, our module for it, and a request whose answer is a stream."""

    def __init__(self, name: str) -> None:
        self.package: Any = pytest.importorskip(name)
        self.ours: Any = importlib.import_module(f"supervisor.integrations.{name}")
        self.error: Any = getattr(
            self.package, {"openai": "OpenAIError", "anthropic": "AnthropicError"}[name]
        )

    def client(self, server: HttpServer, **options: Any) -> Any:
        """Return a guarded client of that server's, whose circuit opens at the first failure."""
        return self.ours.client(
            policy=Policy(failure_threshold=1),
            base_url=f"http://127.0.0.1:{server.port}",
            api_key="none",
            **options,
        )

    async def stream(self, client: Any) -> Any:
        """Ask for an answer in parts."""
        create = client.messages if self.package.__name__ == "anthropic" else client.completions
        return await create.create(**_QUESTIONS[self.package.__name__], stream=True)


_QUESTIONS: dict[str, dict[str, Any]] = {
    "openai": {"model": "any", "prompt": "hello"},
    "anthropic": {
        "model": "any",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "hello"}],
    },
}


@pytest.fixture(params=["openai", "anthropic"])
def sdk(request: pytest.FixtureRequest) -> Sdk:
    return Sdk(request.param)


@asynccontextmanager
async def calls_to(
    sdk: Sdk, fault: str, body: bytes = MODELS, **options: Any
) -> AsyncIterator[tuple[HttpServer, Supervisor, Any]]:
    """Yield a server, the supervisor of the circuits, and a client."""
    async with serving(fault, body) as server, Supervisor() as supervisor:
        async with sdk.client(server, **options) as client:
            yield server, supervisor, client


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refused", "APIConnectionError"),
        ("lost", "APIConnectionError"),
        ("429", "RateLimitError"),
        ("503", "APIStatusError"),
    ],
)
async def test_what_fails_opens_the_circuit(sdk: Sdk, fault: str, error: str) -> None:
    """After one request; and a refusal is ours and theirs at once, however often it is asked."""
    async with calls_to(sdk, fault) as (server, supervisor, client):
        with pytest.raises(getattr(sdk.package, error)):
            await client.models.list()
        assert server.requests == (0 if fault == "refused" else 1)
        (figures,) = supervisor.statistics().values()
        assert (figures.failed, figures.rejected) == (1, 0)
        assert figures.state is CircuitState.OPEN
        for retries in (0, 2):
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await client.with_options(max_retries=retries).models.list()
            assert isinstance(refusal.value, sdk.error)
            assert isinstance(refusal.value, sdk.ours.CircuitOpenError)
        assert 0 < round(refusal.value.retry_after, 3) <= (HINT if fault.isdigit() else 30)
        assert not is_retryable_error(refusal.value)
        assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)
        (figures,) = supervisor.statistics().values()
        assert (figures.started, figures.rejected) == (3, 2)
        assert server.requests == (0 if fault == "refused" else 1)


async def test_what_succeeds(sdk: Sdk) -> None:
    """Counts as a success, by the circuit of the server's origin."""
    async with calls_to(sdk, "200") as (server, supervisor, client):
        assert (await client.models.list()).data == []
        ((name, figures),) = supervisor.statistics().items()
        assert name == f"http:127.0.0.1:{server.port}"
        assert (figures.started, figures.succeeded) == (1, 1)


async def test_a_stream(sdk: Sdk) -> None:
    """Is one call until its end."""
    async with calls_to(sdk, "200", ITEM) as (_, supervisor, client):
        stream = await sdk.stream(client)
        (figures,) = supervisor.statistics().values()
        assert figures.in_flight == 1
        async for _ in stream:
            pass
        (figures,) = supervisor.statistics().values()
        assert (figures.started, figures.succeeded) == (1, 1)


async def test_a_stream_that_breaks_off(sdk: Sdk) -> None:
    """Is a failure, though it had begun well."""
    async with calls_to(sdk, "cut", ITEM) as (server, supervisor, client):
        with pytest.raises((httpx2.TransportError, sdk.error)):
            async for _ in await sdk.stream(client):
                pass
        (figures,) = supervisor.statistics().values()
        assert (figures.failed, figures.state) == (1, CircuitState.OPEN)
        with pytest.raises(CircuitBreakerOpenError):
            await sdk.stream(client)
        assert server.requests == 1


async def test_its_timeout(sdk: Sdk) -> None:
    """What takes longer is a failure."""
    async with calls_to(sdk, "hang", timeout=httpx2.Timeout(None, read=5.0)) as (
        _,
        supervisor,
        client,
    ):
        with pytest.raises(sdk.package.APITimeoutError):
            await client.models.list()
        (figures,) = supervisor.statistics().values()
        assert (figures.failed, figures.state) == (1, CircuitState.OPEN)


async def test_its_own_retries(sdk: Sdk) -> None:
    """Are off by default; each of those that are switched on is admitted by itself, or refused."""
    assert sdk.ours.client(api_key="none").max_retries == 0
    async with calls_to(sdk, "lost", max_retries=2) as (server, _, client):
        with pytest.raises(CircuitBreakerOpenError):
            await client.models.list()
        assert server.requests == 1


async def test_what_it_is_made_of(sdk: Sdk) -> None:
    """The package's own defaults, and what is given for the transport."""
    paths: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        paths.append(request.url.path)
        return httpx2.Response(404 if "models" in request.url.path else 200)

    transport = httpx2.MockTransport(answer)
    given: dict[str, Any] = {"circuit": lambda _: "model", "failures": {404}}
    policy = Policy(failure_threshold=1)
    async with Supervisor() as supervisor:
        client = sdk.ours.client(transport, policy=policy, api_key="none", **given)
        async with client:
            with pytest.raises(sdk.package.NotFoundError):
                await client.models.list()
            assert supervisor.statistics()["model"].state is CircuitState.OPEN
            assert len(paths) == 1
            assert client.timeout == sdk.package.DEFAULT_TIMEOUT
        async with sdk.ours.client(transport, api_key="none", **given) as other:
            with pytest.raises((PolicyConflictError, sdk.package.APIConnectionError)):
                await other.models.list()


async def test_bad_arguments(sdk: Sdk) -> None:
    """Are errors at once."""
    name = sdk.package.__name__
    with pytest.raises(TypeError, match=f"^{name}.client makes the http_client itself; "):
        sdk.ours.client(api_key="none", http_client=httpx2.AsyncClient())
    with pytest.raises(ValueError, match="failures must be HTTP statuses"):
        sdk.ours.client(api_key="none", failures=[7])
    with pytest.raises(TypeError, match="policy"):
        sdk.ours.client(api_key="none", policy={})
    with pytest.raises(TypeError, match="failure_threshold"):
        sdk.ours.client(api_key="none", failure_threshold=1)
