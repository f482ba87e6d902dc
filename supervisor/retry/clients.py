"""What well-known clients raise when a server refuses, is lost, takes too long, or is busy.

Clients are known by the names of their modules and classes, so that none is imported. Of an
error's class and its bases, the first that stands in the table decides: a refused password is no
lost connection, though its class may be a child of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from supervisor.retry.hints import says_when, status_of

Verdict = Callable[[BaseException], bool]


@dataclass(frozen=True, slots=True)
class Client:
    """The errors of one client.

    Attributes:
        name: as it is installed.
        module: the module that they are in, or in modules of.
        lost: classes that are worth another try: refused, lost, timed out.
        asked: classes of which `verdict` decides, which `when` says in words.
        hopeless: classes that are not, though they are children of such.
    """

    name: str
    module: str
    lost: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    verdict: Verdict | None = None
    when: str = ""
    hopeless: tuple[str, ...] = ()

    def verdicts(self) -> Iterator[tuple[str, Verdict]]:
        """Return each class by name, and what decides of it."""
        for names, verdict in (
            (self.lost, _always),
            (self.asked, self.verdict),
            (self.hopeless, _never),
        ):
            for name in names:
                assert verdict is not None
                yield name, verdict


def verdict_on(error: BaseException) -> bool | None:
    """Return whether an error of a well-known client is worth another try; None: it is none."""
    verdict = _verdict_for(error)
    if verdict is None:
        return None
    with suppress(Exception):  # of the client's: it must not replace its own error
        return verdict(error)
    return False


def _verdict_for(error: BaseException) -> Verdict | None:
    for kind in type(error).__mro__:
        for module, verdict in _BY_CLASS.get(kind.__name__, ()):
            if f"{kind.__module__}.".startswith(f"{module}."):
                return verdict
    return None


def _always(error: BaseException) -> bool:  # noqa: ARG001
    return True


def _never(error: BaseException) -> bool:  # noqa: ARG001
    return False


def _is_busy(error: BaseException) -> bool:
    """Whether the server has said that it is busy: 429 alone may be a quota that is used up."""
    status = status_of(error)
    return status in (503, 529) or (status == 429 and says_when(error))


BUSY: Final = "503, 529, or 429 that says when"

LOST_STATES: Final = ("57P01", "57P02", "57P03", "53300")
"""Of Postgres: it shuts down, has crashed, cannot take connections now, or has too many."""


def _is_lost_state(error: BaseException) -> bool:
    state = str(error.sqlstate)  # type: ignore[attr-defined]
    return state.startswith("08") or state in LOST_STATES


def _has_no_connection(error: BaseException) -> bool:
    """Whether Postgres could not be asked: without a state, it has not answered."""
    return error.sqlstate is None or _is_lost_state(error)  # type: ignore[attr-defined]


STATES: Final = "SQLSTATE 08…, 57P01 to 57P03, or 53300"


def _is_unavailable(error: BaseException) -> bool:
    code: str = error.code().name  # type: ignore[attr-defined]
    if code == "RESOURCE_EXHAUSTED":
        return says_when(error)
    return code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def _by_driver(error: BaseException) -> bool:
    """Whether the error of the driver is worth it, which SQLAlchemy has wrapped."""
    driver = cast("BaseException", error.orig)  # type: ignore[attr-defined]
    own = driver.__cause__  # asyncpg's is wrapped twice
    return _is_worth_it(driver) or (own is not None and _is_worth_it(own))


def _by_origin(error: BaseException) -> bool:
    """Whether it has come of an error that is worth it, since the class does not tell."""
    seen = {id(error)}  # a chain may be a circle
    origin = error.__cause__ or error.__context__
    while origin is not None and id(origin) not in seen:
        # Another one of this kind would go the same way again, and twice as long each time.
        if _verdict_for(origin) is not _by_origin and _is_worth_it(origin):
            return True
        seen.add(id(origin))
        origin = origin.__cause__ or origin.__context__
    return False


def _is_worth_it(error: BaseException) -> bool:
    verdict = verdict_on(error)
    return isinstance(error, ConnectionError | TimeoutError) if verdict is None else verdict


_HTTPX: Final = ("NetworkError", "TimeoutException", "RemoteProtocolError")

CLIENTS: Final[tuple[Client, ...]] = (
    Client("httpx2", "httpx2", _HTTPX, ("HTTPStatusError",), _is_busy, BUSY),
    Client("httpx", "httpx", _HTTPX, ("HTTPStatusError",), _is_busy, BUSY),
    Client("openai", "openai", ("APIConnectionError",), ("APIStatusError",), _is_busy, BUSY),
    Client("anthropic", "anthropic", ("APIConnectionError",), ("APIStatusError",), _is_busy, BUSY),
    Client(
        "litellm",  # what it raises besides are children of openai's
        "litellm",
        asked=("InternalServerError",),
        verdict=_by_origin,
        when="if the error that it has come of is worth it",
    ),
    Client("google-genai", "google.genai", (), ("APIError",), _is_busy, BUSY),
    Client(
        "aiohttp",
        "aiohttp",
        ("ClientConnectionError", "ClientPayloadError"),
        ("ClientResponseError",),
        _is_busy,
        BUSY,
        ("ClientConnectorCertificateError", "ServerFingerprintMismatch"),
    ),
    Client(
        "grpcio",
        "grpc",
        asked=("AioRpcError",),
        verdict=_is_unavailable,
        when="UNAVAILABLE, DEADLINE_EXCEEDED, or RESOURCE_EXHAUSTED that says when",
    ),
    Client(
        "aiobotocore",
        "botocore",
        ("ConnectionError", "ConnectionClosedError", "ReadTimeoutError"),
        ("ClientError",),
        _is_busy,
        BUSY,
    ),
    Client(
        "psycopg",
        "psycopg",
        asked=("OperationalError",),
        verdict=_has_no_connection,
        when=f"{STATES}, or none",
    ),
    Client(
        "psycopg-pool", "psycopg_pool", ("PoolTimeout", "TooManyRequests"), hopeless=("PoolClosed",)
    ),
    Client(
        "SQLAlchemy",
        "sqlalchemy",
        ("TimeoutError",),
        ("DBAPIError",),
        _by_driver,
        "if the driver's error is worth it",
    ),
    Client("asyncpg", "asyncpg", (), ("PostgresError",), _is_lost_state, STATES),
    Client(
        "redis",
        "redis",
        ("ConnectionError", "TimeoutError"),
        hopeless=("AuthenticationError", "AuthorizationError", "ExternalAuthProviderError"),
    ),
    Client("coredis", "coredis", ("ConnectionError",), hopeless=("ProtocolError",)),
    Client("nats-py", "nats", ("NoServersError",)),
)


def _by_class() -> dict[str, list[tuple[str, Verdict]]]:
    found: dict[str, list[tuple[str, Verdict]]] = {}
    for client in CLIENTS:
        for name, verdict in client.verdicts():
            found.setdefault(name, []).append((client.module, verdict))
    return found


_BY_CLASS: Final = _by_class()
