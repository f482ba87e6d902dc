"""What docs/how-to/guard-databases.md says of databases' clients, each with the real package."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from supervisor import CircuitBreaker, is_retryable_error
from tests.docs.documents import DOCS, examples_of
from tests.integrations.real.calls import BACK_OFF
from tests.integrations.real.servers import REAL_TIME, failing
from tests.support.worlds import until

asyncpg: Any = pytest.importorskip("asyncpg")
psycopg: Any = pytest.importorskip("psycopg")
psycopg_pool: Any = pytest.importorskip("psycopg_pool")

pytestmark = pytest.mark.anyio

PAGE: Final[Path] = DOCS / "how-to" / "guard-databases.md"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Neither psycopg nor asyncpg runs on trio."""
    return REAL_TIME[request.param]


def message(kind: bytes, body: bytes) -> bytes:
    """A message of PostgreSQL's protocol, which tells its own length."""
    return kind + (len(body) + 4).to_bytes(4, "big") + body


READY: Final = {state: message(b"Z", state) for state in (b"I", b"T")}
GREETING: Final = (
    message(b"R", bytes(4))
    + message(b"S", b"server_version\x0016.0\x00")
    + message(b"K", bytes(8))
    + READY[b"I"]
)


@asynccontextmanager
async def losing() -> AsyncIterator[int]:
    """The port of a PostgreSQL that begins transactions, and closes its side at what comes next."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(length - 4)
        writer.write(GREETING)
        await reader.readexactly(1)
        length = int.from_bytes(await reader.readexactly(4), "big")
        assert (await reader.readexactly(length - 4)).startswith(b"BEGIN")
        writer.write(message(b"C", b"BEGIN\x00") + READY[b"T"])
        await reader.readexactly(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def in_a_transaction(port: int, transaction: Callable[[Any], Any]) -> Exception:
    """Lose the connection in a transaction, and return what comes out of it."""
    connection = await asyncpg.connect(f"postgres://any@127.0.0.1:{port}/any", ssl=False)
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one is the question)
        async with transaction(connection):
            await connection.execute("select 1")
    return caught.value


async def test_a_transaction_hides_the_lost_connection() -> None:
    """Behind the error of its own rollback, of which nobody can tell what has happened."""
    async with losing() as port:
        error = await in_a_transaction(port, lambda connection: connection.transaction())
    assert isinstance(error, asyncpg.InterfaceError)
    assert "Transaction.__aexit__()" in str(error)
    assert not is_retryable_error(error)
    lost = error.__context__
    assert isinstance(lost, asyncpg.ConnectionDoesNotExistError)
    assert is_retryable_error(lost)


class Open:
    """A connection that is there, and is used wrong."""

    def is_closed(self) -> bool:
        return False

    def transaction(self) -> Any:
        raise asyncpg.InterfaceError("a mistake")


async def test_the_pages_transaction_tells() -> None:
    """As a `ConnectionError`; a mistake in the use of asyncpg stays one."""
    (source,) = (each.source for each in examples_of(PAGE) if "def transaction(" in each.source)
    names: dict[str, Any] = {}
    exec(source, names)
    async with losing() as port:
        error = await in_a_transaction(port, names["transaction"])
    assert type(error) is ConnectionError
    assert is_retryable_error(error)
    with pytest.raises(asyncpg.InterfaceError, match="a mistake"):
        async with names["transaction"](Open()):
            pass


async def test_a_lost_connection_of_psycopgs() -> None:
    """Comes out of its transaction."""
    async with losing() as port:
        where = f"host=127.0.0.1 port={port} user=any dbname=any sslmode=disable"
        connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
        with pytest.raises(psycopg.OperationalError) as caught:
            async with connection.transaction():
                await connection.execute("select 1")
        assert is_retryable_error(caught.value)
        await connection.close()


NONE_IN_TIME: Final = "couldn't get a connection"


async def attempts_of(
    pool: Any, breaker: CircuitBreaker, callers: int, told: str = NONE_IN_TIME
) -> int:
    """Let so many callers ask for a connection that does not come, and count the attempts."""

    async def ask() -> None:
        async with pool.connection():
            raise AssertionError("nobody is there")

    for _ in range(callers):
        with pytest.raises(psycopg.OperationalError, match=told):  # a PoolTimeout is one
            await breaker.call(ask)
    return int(pool.get_stats()["connections_num"])


@asynccontextmanager
async def pool_of(kind: str, port: int, seconds: float = 0.1, **options: Any) -> AsyncIterator[Any]:
    """Yield a pool whose callers wait for so many seconds: all of them, if it only backs off."""
    logging.getLogger("psycopg.pool").setLevel("CRITICAL")
    where = f"host=127.0.0.1 port={port} user=any dbname=any"
    async with getattr(psycopg_pool, kind)(where, open=False, timeout=seconds, **options) as pool:
        yield pool


async def test_a_pool_that_backs_off_ignores_new_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default: they wait for an attempt that is a second away, and later minutes."""
    monkeypatch.setattr(BACK_OFF, 300.0)
    breaker = CircuitBreaker("x", failure_threshold=99, failure_on=is_retryable_error)
    async with failing("refused") as port, pool_of("AsyncConnectionPool", port, min_size=1) as pool:
        assert pool.reconnect_timeout == 300
        assert await attempts_of(pool, breaker, 5) == 1
    assert breaker.failure_count == 5


async def test_a_pool_that_has_given_up_connects_for_the_next_caller() -> None:
    """A probe is such a caller."""
    breaker = CircuitBreaker("x", failure_threshold=99, failure_on=is_retryable_error)
    options = {"min_size": 1, "reconnect_timeout": 0.1}
    async with failing("refused") as port, pool_of("AsyncConnectionPool", port, **options) as pool:
        await attempts_of(pool, breaker, 1)
        await until(lambda: not pool.get_stats()["pool_size"])
        before = await attempts_of(pool, breaker, 0)
        await attempts_of(pool, breaker, 1)
        await until(lambda: pool.get_stats()["connections_num"] > before)


async def test_a_pool_of_none_never_backs_off() -> None:
    """Each caller connects, and is told what has happened."""
    breaker = CircuitBreaker("x", failure_threshold=99, failure_on=is_retryable_error)
    async with failing("refused") as port, pool_of("AsyncNullConnectionPool", port, 30) as pool:
        assert await attempts_of(pool, breaker, 5, "Connection refused") == 5
