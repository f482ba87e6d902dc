"""The table of well-known clients, by classes of the same names: it imports none of them.

That the clients raise these is tested with the real ones, in `tests/integrations/real`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import is_retryable_error
from supervisor.retry.clients import CLIENTS, verdict_on
from tests.support.clients import stand_in

HINT = {"headers": {"Retry-After": "7"}}
NO_HINT: dict[str, Any] = {"headers": {}}


def answer(status: int, **headers: str) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, headers=headers)


def of_aws(status: int, **headers: str) -> dict[str, Any]:
    return {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}}


def coded(name: str, *metadata: tuple[str, object]) -> dict[str, Any]:
    """What an error of gRPC's has."""
    return {
        "code": lambda: SimpleNamespace(name=name),
        "trailing_metadata": lambda: metadata,
    }


def from_origin(error: BaseException, origin: BaseException) -> BaseException:
    error.__context__ = origin
    return error


RETRY_INFO = (
    b"\x08\x08\x12\x04busy"  # code, message
    b"\x1a\x32\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x06\x0a\x04\x08\x05\x10\x00"
)


def from_cause(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def in_a_circle(*errors: BaseException) -> BaseException:
    for error, cause in zip(errors, (*errors[1:], errors[0]), strict=True):
        error.__cause__ = cause
    return errors[0]


REFUSED = stand_in("psycopg", "OperationalError", sqlstate=None)

WORTH_IT = [
    *(
        stand_in(module, *names)
        for module in ("httpx", "httpx2")
        for names in (
            ("NetworkError",),
            ("ConnectError", "NetworkError"),
            ("TimeoutException",),
            ("PoolTimeout", "TimeoutException"),
            ("RemoteProtocolError",),
        )
    ),
    stand_in("httpx", "HTTPStatusError", response=answer(503)),
    stand_in(
        "httpx2",
        "HTTPStatusError",
        response=answer(429, retry_after_ms="70", **{"retry-after": "7"}),
    ),
    stand_in("openai", "APITimeoutError", "APIConnectionError"),
    stand_in("openai", "InternalServerError", "APIStatusError", status_code=503),
    stand_in(
        "openai", "APIStatusError", status_code=429, response=answer(429, **{"retry-after": "7"})
    ),
    stand_in("openai", "APIStatusError", response=answer(429, **{"retry-after": "0"})),
    stand_in(
        "anthropic",
        "APIStatusError",
        response=answer(429, **{"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ),
    stand_in("anthropic", "APIConnectionError"),
    stand_in("anthropic", "OverloadedError", "APIStatusError", status_code=529),
    from_origin(stand_in("litellm.exceptions", "InternalServerError", status_code=500), REFUSED),
    from_origin(
        stand_in("litellm.exceptions", "InternalServerError"),
        from_origin(KeyError(), ConnectionError()),
    ),
    stand_in("google.genai.errors", "ServerError", "APIError", code=503, status="UNAVAILABLE"),
    stand_in(
        "google.genai.errors",
        "ClientError",
        "APIError",
        code=429,
        details={
            "error": {
                "details": [
                    {"@type": "type.googleapis.com/google.rpc.Help"},
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5.5s"},
                ]
            }
        },
    ),
    stand_in("aiohttp.client_exceptions", "ServerDisconnectedError", "ClientConnectionError"),
    stand_in("aiohttp.client_exceptions", "ClientPayloadError"),
    stand_in("aiohttp.client_exceptions", "ClientResponseError", status=503, **NO_HINT),
    stand_in("aiohttp.client_exceptions", "ClientResponseError", status=429, **HINT),
    stand_in("grpc.aio._call", "AioRpcError", **coded("UNAVAILABLE")),
    stand_in("grpc.aio._call", "AioRpcError", **coded("DEADLINE_EXCEEDED")),
    stand_in(
        "grpc.aio._call",
        "AioRpcError",
        **coded("RESOURCE_EXHAUSTED", ("a", "b"), ("grpc-status-details-bin", RETRY_INFO)),
    ),
    stand_in("botocore.exceptions", "EndpointConnectionError", "ConnectionError"),
    stand_in("botocore.exceptions", "ConnectionClosedError"),
    stand_in("botocore.exceptions", "ReadTimeoutError"),
    stand_in("botocore.exceptions", "ClientError", response=of_aws(503)),
    stand_in("botocore.exceptions", "ClientError", response=of_aws(429, **{"retry-after": "7"})),
    REFUSED,
    stand_in("psycopg.errors", "AdminShutdown", "psycopg:OperationalError", sqlstate="57P01"),
    stand_in("psycopg", "OperationalError", sqlstate="08006"),
    stand_in("psycopg_pool", "PoolTimeout", "psycopg:OperationalError", sqlstate=None),
    stand_in("psycopg_pool", "TooManyRequests", "psycopg:OperationalError", sqlstate=None),
    stand_in("sqlalchemy.exc", "OperationalError", "DBAPIError", orig=REFUSED),
    stand_in("sqlalchemy.exc", "DBAPIError", orig=ConnectionResetError()),
    stand_in(
        "sqlalchemy.exc",
        "DBAPIError",
        orig=from_cause(
            stand_in("sqlalchemy.dialects.postgresql.asyncpg", "Error"),
            stand_in(
                "asyncpg.exceptions",
                "ConnectionDoesNotExistError",
                "PostgresError",
                sqlstate="08003",
            ),
        ),
    ),
    stand_in("sqlalchemy.exc", "TimeoutError"),
    stand_in("asyncpg.exceptions", "CannotConnectNowError", "PostgresError", sqlstate="57P03"),
    stand_in("asyncpg.exceptions", "TooManyConnectionsError", "PostgresError", sqlstate="53300"),
    stand_in("redis.exceptions", "BusyLoadingError", "ConnectionError"),
    stand_in("redis.exceptions", "TimeoutError"),
    stand_in("coredis.exceptions", "ConnectionError"),
    stand_in("nats.errors", "NoServersError"),
]

NOT_WORTH_IT = [
    stand_in("httpx", "LocalProtocolError"),
    stand_in("httpx", "HTTPStatusError", response=answer(429)),
    stand_in("httpx", "HTTPStatusError", response=answer(429, **{"retry-after": "-1"})),
    stand_in("httpx", "HTTPStatusError", response=answer(429, **{"retry-after": "soon"})),
    stand_in("httpx", "HTTPStatusError", response=answer(500)),
    stand_in("httpx", "HTTPStatusError"),
    stand_in("openai", "BadRequestError", "APIStatusError", status_code=400),
    stand_in("openai", "APIStatusError", status_code="503"),
    stand_in("anthropic", "APIStatusError", status_code=True),
    stand_in("litellm.exceptions", "InternalServerError", status_code=500),
    from_origin(stand_in("litellm.exceptions", "InternalServerError"), ValueError()),
    in_a_circle(*(stand_in("litellm.exceptions", "InternalServerError") for _ in range(3))),
    stand_in("google.genai.errors", "APIError", code=429, details={"error": {"details": ["?"]}}),
    stand_in("aiohttp.client_exceptions", "ClientResponseError", status=200, **HINT),
    stand_in(
        "aiohttp.client_exceptions",
        "ClientConnectorCertificateError",
        "ClientConnectionError",
        base=OSError,
    ),
    stand_in("aiohttp", "ServerFingerprintMismatch", "ClientConnectionError"),
    stand_in("grpc.aio._call", "AioRpcError", **coded("RESOURCE_EXHAUSTED")),
    stand_in("grpc.aio._call", "AioRpcError", **coded("INTERNAL")),
    stand_in("grpc.aio._call", "AioRpcError", code=None),
    stand_in("botocore.exceptions", "ClientError", response=of_aws(400)),
    stand_in("psycopg.errors", "LockNotAvailable", "psycopg:OperationalError", sqlstate="55P03"),
    stand_in("psycopg_pool", "PoolClosed", "psycopg:OperationalError", sqlstate=None),
    stand_in("sqlalchemy.exc", "DBAPIError", orig=KeyError()),
    stand_in("sqlalchemy.exc", "DBAPIError", orig=from_origin(KeyError(), ConnectionError())),
    stand_in("asyncpg.exceptions", "UndefinedTableError", "PostgresError", sqlstate="42P01"),
    stand_in("redis.exceptions", "AuthenticationError", "ConnectionError"),
    stand_in("redis.exceptions", "AuthorizationError", "ConnectionError"),
    stand_in("redis.exceptions", "ExternalAuthProviderError", "ConnectionError"),
    stand_in("coredis.exceptions", "ProtocolError", "ConnectionError"),
    stand_in("nats.errors", "AuthorizationError"),
]


def called(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__name__}"


@pytest.mark.parametrize("error", WORTH_IT, ids=called)
def test_what_clients_raise_is_worth_another_try(error: BaseException) -> None:
    """Refused, lost, too slow, or busy."""
    assert is_retryable_error(error)


@pytest.mark.parametrize("error", NOT_WORTH_IT, ids=called)
def test_what_another_try_cannot_mend_is_not(error: BaseException) -> None:
    """The caller's own mistakes, used-up quotas, and wrong passwords."""
    assert not is_retryable_error(error)


@pytest.mark.parametrize(("origin", "expected"), [(TimeoutError(), True), (ValueError(), False)])
def test_origins_are_looked_at_once_each(origin: BaseException, expected: bool) -> None:
    """However many there are, and of whatever kind: not twice as often for each one more."""
    error = origin
    for _ in range(5_000):
        error = from_cause(stand_in("litellm.exceptions", "InternalServerError"), error)
    assert is_retryable_error(error) is expected


def test_every_row_is_tried() -> None:
    """Each class of the table is among them."""
    tried = {
        (client.module, kind.__name__)
        for error in (*WORTH_IT, *NOT_WORTH_IT)
        for kind in type(error).__mro__
        for client in CLIENTS
        if kind.__module__.split(".")[0] == client.module.split(".")[0]
    }
    rows = {(client.module, name) for client in CLIENTS for name, _ in client.verdicts()}
    assert rows <= tried


def test_other_modules_are_other_clients() -> None:
    """Whatever their classes and modules are called."""
    assert verdict_on(stand_in("httpxyz", "NetworkError")) is None
    assert verdict_on(stand_in("mine.httpx", "NetworkError")) is None
    assert not is_retryable_error(stand_in("httpxyz", "NetworkError"))


def test_a_child_of_the_users_is_known() -> None:
    """By its base."""
    assert is_retryable_error(
        stand_in("mine", "ShopIsDown", "httpx:ConnectError", "httpx:NetworkError")
    )
