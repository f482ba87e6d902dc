"""The contestants: ways to share a circuit through a server, as far as they are installed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.contestants.interface import Guard, Setup
from supervisor import CircuitBreakerOpenError, RedisSharing, Supervisor

Make = Callable[[Setup], Guard]
"""Returns a guard by a circuit, which all who give it the same name share."""


@dataclass(frozen=True, slots=True)
class Sharer:
    """One way to share a circuit.

    Attributes:
        connect: connects with the server at a URL for the length of a block.
        refusal: returns what a refused call raises.
        needs: the modules without which it is left out.
        sends: the commands that its client sends; all others run within scripts on the server.
            None: it uses no scripts.
        asks: whether it asks the server at each call.
    """

    connect: Callable[[str], AbstractAsyncContextManager[Make]]
    refusal: Callable[[], type[Exception]]
    needs: tuple[str, ...] = ()
    sends: frozenset[str] | None = None
    asks: bool = False


@asynccontextmanager
async def _ours(sharing: RedisSharing | None) -> AsyncGenerator[Make]:
    async with Supervisor(sharing=sharing) as supervisor:

        def make(setup: Setup) -> Guard:
            return supervisor.circuit(
                setup.name,
                failure_threshold=setup.failure_threshold,
                recovery_timeout=setup.recovery_timeout,
                success_threshold=setup.success_threshold,
            ).call

        yield make


def _place(url: str) -> dict[str, Any]:
    """Return where a server is: as the peers' own examples make their clients."""
    parts = urlsplit(url)
    return {"host": parts.hostname, "port": parts.port}


@asynccontextmanager
async def _interlock(url: str) -> AsyncGenerator[Make]:
    import interlock  # noqa: PLC0415  (it need not be there)
    import redis.asyncio  # noqa: PLC0415
    from interlock.integrations.redis import AsyncRedisStorage  # noqa: PLC0415

    async with redis.asyncio.Redis(**_place(url)) as client, AsyncExitStack() as breakers:
        storage = AsyncRedisStorage(client)

        def make(setup: Setup) -> Guard:
            config = interlock.Config(
                failure_rate_threshold=1.0,
                minimum_number_of_calls=setup.failure_threshold,
                window_size=min(setup.failure_threshold, 100),
                wait_duration_in_open=setup.recovery_timeout,
                permitted_calls_in_half_open=setup.success_threshold,
                max_concurrent_probes=setup.success_threshold,
                slow_call_duration_threshold=float("inf"),
            )
            breaker = interlock.CircuitBreaker(name=setup.name, config=config, storage=storage)
            breakers.push_async_callback(breaker.aclose)
            return breaker.call_async

        yield make


@asynccontextmanager
async def _nopanic(url: str) -> AsyncGenerator[Make]:
    import redis.asyncio  # noqa: PLC0415
    from nopanic_redis import redis_circuit_breaker  # noqa: PLC0415

    async with redis.asyncio.Redis(**_place(url)) as client:

        def make(setup: Setup) -> Guard:
            breaker = redis_circuit_breaker(
                client,
                name=setup.name,
                failure_threshold=0.5,  # its default; the fleet's successes count, too
                min_calls=setup.failure_threshold,
                reset_timeout=setup.recovery_timeout,
                half_open_max_calls=setup.success_threshold,
            )

            async def guard(function: Guard) -> object:
                return await breaker(function)()

            return guard

        yield make


@asynccontextmanager
async def _pybreaker(url: str) -> AsyncGenerator[Make]:
    import pybreaker  # noqa: PLC0415
    import redis  # noqa: PLC0415

    with redis.Redis(**_place(url)) as client:

        def make(setup: Setup) -> Guard:
            storage = pybreaker.CircuitRedisStorage(
                pybreaker.STATE_CLOSED, client, namespace=setup.name
            )
            return pybreaker.CircuitBreaker(
                setup.failure_threshold,
                setup.recovery_timeout,
                setup.success_threshold,
                state_storage=storage,
                throw_new_error_on_trip=False,
            ).call_async

        yield make


def _named(module: str, name: str) -> Callable[[], type[Exception]]:
    def find() -> type[Exception]:
        found: type[Exception] = getattr(import_module(module), name)
        return found

    return find


OURS: Final = "shared"
LOCAL: Final = "not shared"
INTERLOCK: Final = "interlock-cb"

SHARERS: Final[Mapping[str, Sharer]] = {
    OURS: Sharer(
        lambda url: _ours(RedisSharing(url, space="bench")),
        lambda: CircuitBreakerOpenError,
        needs=("coredis",),
        sends=frozenset({"evalsha", "script|load", "xread", "hello", "client|setinfo"}),
    ),
    LOCAL: Sharer(lambda _: _ours(None), lambda: CircuitBreakerOpenError),
    INTERLOCK: Sharer(
        _interlock,
        _named("interlock", "CircuitOpenError"),
        needs=("interlock", "redis"),
        sends=frozenset({"eval", "hgetall", "client|setinfo"}),
    ),
    "nopanic-redis": Sharer(
        _nopanic,
        _named("nopanic", "CircuitOpen"),
        needs=("nopanic_redis", "redis"),
        sends=frozenset({"evalsha", "script|load", "client|setinfo"}),
        asks=True,
    ),
    "pybreaker": Sharer(
        _pybreaker,
        _named("pybreaker", "CircuitBreakerError"),
        needs=("pybreaker", "tornado", "redis"),
        asks=True,
    ),
}
"""Ours first, in both ways; then peers."""


def missing(name: str) -> str | None:
    """Return what a contestant lacks here, if anything."""
    for module in SHARERS[name].needs:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            return str(error.name)
    return None
