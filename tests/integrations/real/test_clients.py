"""What well-known clients raise is what the table says: each with the real package.

They have clocks and sockets of their own, so that these tests take real time: `make
test-integrations`.
"""

from __future__ import annotations

import gc
import warnings
from functools import partial
from typing import Any

import pytest

from supervisor import is_retryable_error, retry_api_call
from supervisor.retry.clients import CLIENTS
from supervisor.retry.hints import hint_of
from tests.integrations.real import calls
from tests.integrations.real.servers import failing
from tests.support.retries import Dependency

pytestmark = [
    pytest.mark.anyio,
    # What the packages warn of, or leave unclosed, is theirs.
    pytest.mark.filterwarnings("ignore"),
]

SOON, LATE = 0.2, 30.0
"""Seconds after which the clients give up: soon only what never comes, even on a slow machine."""

NETWORK = ("refused", "lost", "hang")
HTTP = (*NETWORK, "503", "429")

ROWS: dict[str, tuple[calls.Call, tuple[str, ...]]] = {
    "httpx2": (calls.by_httpx2, (*HTTP, "cut")),
    "httpx": (calls.by_httpx, (*HTTP, "cut")),
    "openai": (calls.by_openai, HTTP),
    "anthropic": (calls.by_anthropic, (*HTTP, "529")),
    "litellm": (calls.by_litellm, HTTP),
    "google-genai": (calls.by_genai, HTTP),
    "aiohttp": (calls.by_aiohttp, (*HTTP, "cut")),
    "grpcio": (calls.by_grpc, NETWORK),
    "aiobotocore": (calls.by_botocore, HTTP),
    "psycopg": (calls.by_psycopg, NETWORK),
    "psycopg-pool": (calls.by_psycopg_pool, NETWORK),
    "SQLAlchemy": (calls.by_sqlalchemy, ("refused", "lost")),
    "asyncpg": (calls.by_asyncpg, NETWORK),
    "redis": (calls.by_redis, (*NETWORK, "reply -LOADING busy")),
    "coredis": (calls.by_coredis, NETWORK),
    "nats-py": (calls.by_nats, NETWORK),
}
EACH_FAULT = pytest.mark.parametrize(
    ("call", "fault"),
    [
        pytest.param(call, fault, id=f"{name} {fault}")
        for name, (call, faults) in ROWS.items()
        for fault in faults
    ],
)
EACH_HTTP = pytest.mark.parametrize(
    "call",
    [pytest.param(call, id=name) for name, (call, faults) in ROWS.items() if "429" in faults],
)


@pytest.fixture
def anyio_backend() -> Any:
    """All of these clients run on asyncio, and on real time."""
    return "asyncio"


@pytest.fixture(autouse=True)
def collected() -> Any:
    """What a client has left is not the next test's; what its package has brought is passed over
    from then on, since to look through it takes longer than most tests.
    """
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
    gc.freeze()


async def error_of(call: calls.Call, fault: str, greeting: bytes = b"") -> Exception:
    async with failing(fault, greeting) as port:
        with pytest.raises(Exception) as caught:  # noqa: PT011  (which one is the question)
            await call(port, SOON if fault == "hang" else LATE)
    return caught.value


@EACH_FAULT
async def test_what_a_client_raises_is_worth_another_try(call: calls.Call, fault: str) -> None:
    """And a retry decorator makes one, no sooner than the server has asked for."""
    error = await error_of(call, fault)
    assert is_retryable_error(error), repr(error)
    assert hint_of(error) == (7 if fault == "429" else None)
    dependency = Dependency(error, "done")
    if fault != "429":
        assert await retry_api_call(min_wait=0.001)(dependency.fetch)() == "done"
        return
    with pytest.raises(type(error)):
        await retry_api_call(min_wait=0.001, max_wait=6.9)(dependency.fetch)()


@EACH_HTTP
async def test_an_invitation_to_come_back_at_once_is_taken(call: calls.Call) -> None:
    """After a wait of our own, since 0 is none."""
    error = await error_of(call, "429 at once")
    assert is_retryable_error(error), repr(error)
    assert hint_of(error) is None


@EACH_HTTP
@pytest.mark.parametrize("fault", ["400", "404", "429 without a hint"])
async def test_what_another_try_cannot_mend_is_not(call: calls.Call, fault: str) -> None:
    """A mistake of the caller's, or a quota that is used up."""
    error = await error_of(call, fault)
    assert not is_retryable_error(error), repr(error)


def test_every_row_of_the_table_is_tried() -> None:
    """With the real package."""
    assert list(ROWS) == [client.name for client in CLIENTS]


async def test_the_driver_may_be_asyncpg() -> None:
    """SQLAlchemy wraps its errors twice."""
    for fault in ("refused", "lost"):
        assert is_retryable_error(
            await error_of(partial(calls.by_sqlalchemy, driver="asyncpg"), fault)
        )


class Connection:
    """What a driver gives to a pool."""

    def close(self) -> None:
        """Do nothing."""

    rollback = close


async def test_a_pool_of_sqlalchemys_that_is_full() -> None:
    """It gives up after a while."""
    pool = pytest.importorskip("sqlalchemy.pool").QueuePool(
        Connection, pool_size=1, max_overflow=0, timeout=0.01
    )
    connection = pool.connect()
    with pytest.raises(Exception, match="QueuePool limit") as caught:
        pool.connect()
    assert is_retryable_error(caught.value)
    connection.close()


async def test_a_pool_of_psycopgs_that_is_closed_or_full() -> None:
    """What is closed does not come back."""
    psycopg_pool = pytest.importorskip("psycopg_pool")
    pool = psycopg_pool.AsyncConnectionPool("", open=False)
    with pytest.raises(psycopg_pool.PoolClosed) as caught:
        await pool.getconn()
    assert not is_retryable_error(caught.value)
    assert is_retryable_error(psycopg_pool.TooManyRequests())


async def test_a_password_that_redis_refuses() -> None:
    """It will refuse it again."""
    error = await error_of(calls.by_redis, "reply -NOAUTH no password")
    assert not is_retryable_error(error), repr(error)


async def test_grpcs_retry_info() -> None:
    """As a server sends it that has the package for it."""
    grpc = pytest.importorskip("grpc")
    details = pytest.importorskip("google.rpc.error_details_pb2")
    rpc_status = pytest.importorskip("grpc_status.rpc_status")
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")

    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="busy")
    info = details.RetryInfo()
    info.retry_delay.FromMilliseconds(2500)
    status.details.add().Pack(details.Help())
    status.details.add().Pack(info)

    async def busy(request: bytes, context: Any) -> bytes:
        await context.abort_with_status(rpc_status.to_status(status))
        return b""

    handler = grpc.method_handlers_generic_handler(
        "shop", {"price": grpc.unary_unary_rpc_method_handler(busy)}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/shop/price")(b"")
    finally:
        await server.stop(None)
    assert is_retryable_error(caught.value)
    assert hint_of(caught.value) == 2.5
