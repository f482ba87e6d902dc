"""How often clients ask a server by themselves: the table in docs/how-to/layers-of-retries.md.

In virtual time, since their waits are long; sockets on this machine are waited for.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from tests.docs.documents import DOCS
from tests.integrations.real.calls import quiet_litellm
from tests.integrations.real.servers import in_virtual_time, serving
from tests.support.worlds import BACKENDS

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore"),  # what the packages warn of, or leave unclosed, is theirs
]

ROW: Final = re.compile(r"^\| (.+?) \| (\d+) \| (\S+) \| ([\d to]+) \| .+? \| (\d+) \| (\S+) \|$")
SAID: Final = {
    row[1]: row.groups()[1:]
    for line in (DOCS / "how-to" / "layers-of-retries.md").read_text(encoding="utf-8").splitlines()
    if (row := ROW.match(line))
}
BUSY: Final = b'{"error": {"message": "busy", "status": "UNAVAILABLE", "code": 503}}'
QUESTION: Final = [{"role": "user", "content": "why?"}]
ONCE: Final = {"retries": {"total_max_attempts": 1}}

Call = Callable[[str], Awaitable[object]]


@dataclass
class Both:
    """A call by a client as it is, and with its own retries off, as far as they can be."""

    usual: Call
    off: Call
    on_trio: bool = False


def by_http(name: str) -> Call:
    async def call(url: str) -> None:
        package = pytest.importorskip(name)
        async with package.AsyncClient() as client:
            (await client.get(url)).raise_for_status()

    return call


def by_sdk(name: str, client: str, **options: Any) -> Call:
    async def call(url: str) -> None:
        new = getattr(pytest.importorskip(name), client)
        async with new(base_url=url, api_key="none", **options) as sdk:
            await sdk.models.list()

    return call


def by_pydantic_ai(**options: Any) -> Call:
    async def call(url: str) -> None:
        models = pytest.importorskip("pydantic_ai.models.openai")
        providers = pytest.importorskip("pydantic_ai.providers.openai")
        openai = pytest.importorskip("openai")
        async with openai.AsyncOpenAI(base_url=url, api_key="none", **options) as client:
            provider = providers.OpenAIProvider(openai_client=client)
            model = models.OpenAIChatModel("any", provider=provider)
            await pytest.importorskip("pydantic_ai").Agent(model).run("why?")

    return call


def by_langchain(**retries: Any) -> Call:
    async def call(url: str) -> None:
        new = pytest.importorskip("langchain_openai").ChatOpenAI
        # One of its own would outlive this event loop, and be closed on the next one.
        async with pytest.importorskip("openai").DefaultAsyncHttpxClient() as http:
            options = {"base_url": url, "api_key": "none", "http_async_client": http, **retries}
            await new(model="any", **options).ainvoke("why?")

    return call


def by_litellm(**options: Any) -> Call:
    async def call(url: str) -> None:
        litellm = quiet_litellm()
        await litellm.acompletion(
            model="openai/any", messages=QUESTION, api_base=url, api_key="none", **options
        )

    return call


def by_genai(**retries: Any) -> Call:
    async def call(url: str) -> None:
        genai = pytest.importorskip("google.genai")
        pytest.importorskip("aiohttp")
        given = genai.types.HttpRetryOptions(**retries) if retries else None
        options = genai.types.HttpOptions(base_url=url, retry_options=given)
        async with genai.Client(api_key="none", http_options=options).aio as client:
            await client.models.generate_content(model="any", contents="why?")

    return call


def by_aiohttp(method: str) -> Call:
    async def call(url: str) -> None:
        aiohttp = pytest.importorskip("aiohttp")
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            await session.request(method, url)

    return call


def by_aiobotocore(service: str, operation: str, **options: Any) -> Call:
    async def call(url: str) -> None:
        session = pytest.importorskip("aiobotocore.session").get_session()
        config = pytest.importorskip("botocore.config").Config(**options)
        keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        async with session.create_client(
            service, endpoint_url=url, region_name="any", config=config, **keys
        ) as client:
            await getattr(client, operation)()

    return call


def by_redis(off: bool) -> Call:
    async def call(url: str) -> None:
        redis = pytest.importorskip("redis.asyncio")
        none = pytest.importorskip("redis.backoff").NoBackoff()
        retry = pytest.importorskip("redis.asyncio.retry").Retry(none, 0)
        options = {"retry": retry} if off else {}
        # The name of this machine would be looked up in a thread, for which no time waits.
        async with redis.Redis(host="127.0.0.1", port=port_of(url), **options) as client:
            await client.get("tea")

    return call


def by_coredis(off: bool) -> Call:
    async def call(url: str) -> None:
        coredis = pytest.importorskip("coredis")
        none = pytest.importorskip("coredis.retry").NoRetryPolicy()
        options = {"retry_policy": none} if off else {}
        async with coredis.Redis("127.0.0.1", port_of(url), **options) as client:
            await client.get("tea")

    return call


def by_nats(**options: Any) -> Call:
    async def call(url: str) -> None:
        async def ignore(error: Exception) -> None:
            """What is logged otherwise."""

        nats = pytest.importorskip("nats")
        await nats.connect(f"nats://127.0.0.1:{port_of(url)}", error_cb=ignore, **options)

    return call


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


CALLS: Final = {
    "httpx, httpx2": Both(by_http("httpx"), by_http("httpx2"), on_trio=True),
    "openai": Both(
        by_sdk("openai", "AsyncOpenAI"),
        by_sdk("openai", "AsyncOpenAI", max_retries=0),
        on_trio=True,
    ),
    "anthropic": Both(
        by_sdk("anthropic", "AsyncAnthropic"),
        by_sdk("anthropic", "AsyncAnthropic", max_retries=0),
        on_trio=True,
    ),
    "pydantic-ai, by openai": Both(by_pydantic_ai(), by_pydantic_ai(max_retries=0)),
    "langchain-openai": Both(by_langchain(), by_langchain(max_retries=0)),
    "litellm": Both(by_litellm(), by_litellm(max_retries=0)),
    "litellm, `num_retries=2`": Both(by_litellm(num_retries=2), by_litellm(num_retries=0)),
    "google-genai, beside aiohttp": Both(by_genai(), by_genai(attempts=1)),
    "aiohttp, POST": Both(by_aiohttp("POST"), by_aiohttp("POST")),
    "aiohttp, GET": Both(by_aiohttp("GET"), by_aiohttp("GET")),
    "aiohttp, DELETE": Both(by_aiohttp("DELETE"), by_aiohttp("DELETE")),
    "aiobotocore, S3": Both(
        by_aiobotocore("s3", "list_buckets"), by_aiobotocore("s3", "list_buckets", **ONCE)
    ),
    "aiobotocore, DynamoDB": Both(
        by_aiobotocore("dynamodb", "list_tables"),
        by_aiobotocore("dynamodb", "list_tables", **ONCE),
    ),
    "redis": Both(by_redis(off=False), by_redis(off=True)),
    "coredis": Both(by_coredis(off=False), by_coredis(off=True)),
}


def cases() -> list[Any]:
    """Each row, on asyncio, or wherever the client runs."""
    return [
        pytest.param(in_virtual_time(backend), name, id=f"{name}-{backend}")
        for name, both in CALLS.items()
        for backend in (BACKENDS if both.on_trio else ["asyncio"])
    ]


@asynccontextmanager
async def losing() -> AsyncIterator[tuple[str, list[int]]]:
    """Yield the URL of a server that closes each connection once asked, and who has come."""
    came: list[int] = []

    async def lose(connection: SocketStream) -> None:
        async with connection:
            came.append(len(await connection.receive()))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, lose)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}", came
        tasks.cancel_scope.cancel()


async def lost(call: Call) -> int:
    """Return how many requests a server gets that is lost after each."""
    async with losing() as (url, came):
        with pytest.raises(Exception):  # noqa: B017, PT011  (its own)
            await call(url)
    return len(came)


async def busy(call: Call) -> int:
    """Return how many a server gets that answers each by 503."""
    async with serving("503", BUSY, hint=0) as server:
        with pytest.raises(Exception):  # noqa: B017, PT011
            await call(f"http://127.0.0.1:{server.port}")
    return server.requests


def test_the_table_is_complete() -> None:
    """Each row is measured."""
    assert list(SAID) == list(CALLS)


@pytest.mark.usefixtures("seeded")  # clients draw their waits by lot
@pytest.mark.parametrize(("anyio_backend", "name"), cases())
async def test_a_row(name: str) -> None:
    """It says what the server has counted, and how long the caller has waited."""
    often, often_busy, seconds, once, once_busy = SAID[name]
    both = CALLS[name]
    began = anyio.current_time()
    assert str(await lost(both.usual)) == often
    low, _, high = seconds.partition(" to ")
    took = anyio.current_time() - began
    assert float(low) - 1 <= took <= float(high or low) + 1
    assert str(await lost(both.off)) == once
    if often_busy.isdigit():
        assert str(await busy(both.usual)) == often_busy
        assert str(await busy(both.off)) == once_busy


@pytest.mark.parametrize("anyio_backend", [in_virtual_time("asyncio")], ids=["asyncio"])
async def test_what_nats_does() -> None:
    """It goes on though it must not reconnect, and `max_reconnect_attempts` bounds that."""
    tries = 0

    async def count(error: Exception) -> None:
        nonlocal tries
        tries += isinstance(error, ConnectionRefusedError)

    nats = pytest.importorskip("nats")
    for options, expected in (({}, 61), ({"max_reconnect_attempts": 1}, 2)):
        tries = 0
        async with serving("refused") as server:
            with pytest.raises(nats.errors.NoServersError):
                await nats.connect(
                    f"nats://127.0.0.1:{server.port}",
                    allow_reconnect=False,
                    error_cb=count,
                    **options,
                )
        assert tries == expected
