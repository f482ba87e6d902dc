"""One call by each of the clients in the table, without its own retries."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Call = Callable[[int, float], Awaitable[Any]]
"""To a port of this machine, by a client that gives up after so many seconds."""

SHORT = 0.2
"""Seconds for clients that wait for the whole time whatever happens: psycopg's pool if nobody lets
it connect, nats if it is not greeted. What they raise in the end is the same each time.
"""

BACK_OFF = "psycopg_pool.base.AttemptWithBackoff.INITIAL_DELAY"
"""What tests prolong: the second until a pool of psycopg's connects again, in which a slow machine
does not get far.
"""


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def by_httpx2(port: int, seconds: float) -> None:
    httpx2 = pytest.importorskip("httpx2")
    async with httpx2.AsyncClient(timeout=seconds) as client:
        (await client.get(url(port))).raise_for_status()


async def by_httpx(port: int, seconds: float) -> None:
    httpx = pytest.importorskip("httpx")
    async with httpx.AsyncClient(timeout=seconds) as client:
        (await client.get(url(port))).raise_for_status()


async def by_openai(port: int, seconds: float) -> None:
    openai = pytest.importorskip("openai")
    async with openai.AsyncOpenAI(
        base_url=url(port), api_key="none", max_retries=0, timeout=seconds
    ) as client:
        await client.models.list()


async def by_anthropic(port: int, seconds: float) -> None:
    anthropic = pytest.importorskip("anthropic")
    async with anthropic.AsyncAnthropic(
        base_url=url(port), api_key="none", max_retries=0, timeout=seconds
    ) as client:
        await client.models.list()


def quiet_litellm() -> Any:
    """Import it, which would look for the prices of models on the internet, and prints a lot."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    litellm = pytest.importorskip("litellm")
    litellm.suppress_debug_info = True
    return litellm


async def by_litellm(port: int, seconds: float) -> None:
    await quiet_litellm().acompletion(
        model="openai/any",
        messages=[{"role": "user", "content": "hello"}],
        api_base=url(port),
        api_key="none",
        timeout=seconds,
        max_retries=0,
    )


async def by_genai(port: int, seconds: float) -> None:
    genai = pytest.importorskip("google.genai")
    once = genai.types.HttpRetryOptions(attempts=1)
    options = genai.types.HttpOptions(
        base_url=url(port), timeout=int(seconds * 1000), retry_options=once
    )
    async with genai.Client(api_key="none", http_options=options).aio as client:
        await client.models.generate_content(model="any", contents="hello")


async def by_aiohttp(port: int, seconds: float) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    timeout = aiohttp.ClientTimeout(seconds)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
        async with session.post(url(port)) as response:  # a GET is sent twice
            await response.read()


async def by_grpc(port: int, seconds: float) -> None:
    grpc = pytest.importorskip("grpc.aio")
    async with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary("/shop/price")(b"", timeout=seconds)


async def by_botocore(port: int, seconds: float) -> None:
    session = pytest.importorskip("aiobotocore.session").get_session()
    config = pytest.importorskip("botocore.config").Config(
        connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": 1}
    )
    async with session.create_client(
        "s3",
        region_name="any",
        endpoint_url=url(port),
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=config,
    ) as client:
        await client.list_buckets()


async def by_psycopg(port: int, seconds: float) -> None:
    psycopg = pytest.importorskip("psycopg")
    await psycopg.AsyncConnection.connect(
        host="127.0.0.1",
        port=port,
        user="any",
        dbname="any",
        connect_timeout=max(2, int(seconds)),  # it takes no less than 2
    )


async def by_psycopg_pool(port: int, seconds: float) -> None:
    psycopg_pool = pytest.importorskip("psycopg_pool")
    where = f"host=127.0.0.1 port={port} user=any dbname=any connect_timeout=2"
    async with psycopg_pool.AsyncConnectionPool(where, open=False, min_size=1) as pool:
        async with pool.connection(timeout=min(seconds, SHORT)):
            pass


async def by_sqlalchemy(port: int, seconds: float, driver: str = "psycopg") -> None:
    """It has no timeout that all drivers know."""
    pytest.importorskip(driver)
    asyncio = pytest.importorskip("sqlalchemy.ext.asyncio")
    engine = asyncio.create_async_engine(f"postgresql+{driver}://any@127.0.0.1:{port}/any")
    try:
        async with engine.connect():
            pass
    finally:
        await engine.dispose()


async def by_asyncpg(port: int, seconds: float) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    await asyncpg.connect(f"postgres://any@127.0.0.1:{port}/any", timeout=seconds, ssl=False)


async def by_redis(port: int, seconds: float) -> None:
    redis = pytest.importorskip("redis.asyncio")
    retry = pytest.importorskip("redis.asyncio.retry").Retry(
        pytest.importorskip("redis.backoff").NoBackoff(), 0
    )
    async with redis.Redis(
        host="127.0.0.1",
        port=port,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=retry,
    ) as client:
        await client.get("tea")


async def by_coredis(port: int, seconds: float) -> None:
    coredis = pytest.importorskip("coredis")
    limits = {"connect_timeout": seconds, "stream_timeout": seconds}
    async with coredis.Redis("127.0.0.1", port, **limits) as redis:
        await redis.get("tea")


async def by_nats(port: int, seconds: float) -> None:
    nats = pytest.importorskip("nats")

    async def ignore(error: Exception) -> None:
        """What is logged otherwise."""

    await nats.connect(
        f"nats://127.0.0.1:{port}",
        connect_timeout=min(seconds, SHORT),
        max_reconnect_attempts=1,
        reconnect_time_wait=0.01,
        error_cb=ignore,
    )
