"""Calls that are only type-checked: signatures survive decoration, and mistakes are errors.

Never run; `mypy` and `pyright` check it with unused ignores reported, so every `type: ignore`
below is a mistake that they must find.
"""

from __future__ import annotations

from typing import assert_type

from supervisor import (
    CircuitBreaker,
    CircuitState,
    Permit,
    Policy,
    Statistics,
    Supervisor,
    create_retry_decorator,
    execute_with_retry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_api_call,
    with_circuit_breaker,
)
from supervisor.testing import run_in_virtual_time, virtual_time


async def fetch(url: str, *, seconds: float = 1.0) -> bytes:
    """Some function to guard."""
    return f"{url} {seconds}".encode()


def read(path: str, *, seconds: float = 1.0) -> bytes:
    """Some plain function to guard in a worker thread."""
    return f"{path} {seconds}".encode()


breaker = CircuitBreaker("x", failure_threshold=5)


@breaker
async def by_breaker(url: str, *, seconds: float = 1.0) -> bytes:
    """Guarded by a breaker."""
    return await fetch(url, seconds=seconds)


@with_circuit_breaker("x")
async def by_name(url: str) -> bytes:
    """Guarded by name."""
    return await fetch(url)


@retry_api_call(max_attempts=3)
async def by_retry(url: str) -> bytes:
    """Retried."""
    return await fetch(url)


class Client:
    """Methods keep their `self`."""

    @retry_api_call()
    @breaker
    async def get(self, url: str) -> bytes:
        """Guarded twice."""
        return await fetch(url)


def calls_from_a_thread() -> None:
    """What a worker thread may call, and what it may not."""
    assert_type(breaker.call_from_thread(read, "path", seconds=2.0), bytes)
    breaker.call_from_thread(read, 1)  # type: ignore[arg-type]
    breaker.call_from_thread(read, "path", second=2.0)  # type: ignore[call-arg]


def tests() -> None:
    """What tests may call, and what they may not."""
    assert_type(run_in_virtual_time(by_name, "url", backend="uvloop"), bytes)
    run_in_virtual_time(by_name, 1)  # type: ignore[arg-type]
    virtual_time("twisted")  # type: ignore[arg-type]


async def calls() -> None:
    """What must be accepted, and what must not."""
    assert_type(await breaker.call(fetch, "url", seconds=2.0), bytes)
    assert_type(await by_breaker("url", seconds=2.0), bytes)
    assert_type(await by_name("url"), bytes)
    assert_type(await by_retry("url"), bytes)
    assert_type(await Client().get("url"), bytes)
    assert_type(await execute_with_retry(fetch, "url", max_attempts=2), bytes)
    assert_type(await breaker.acquire(), Permit)
    assert_type(breaker.state, CircuitState)
    assert_type(breaker.statistics(), Statistics)
    assert_type(await get_circuit_breaker("x"), CircuitBreaker)
    assert_type(get_circuit_breaker_sync("x"), CircuitBreaker | None)
    async with Supervisor(on_give_up="allow") as supervisor:
        assert_type(supervisor["x"], CircuitBreaker)
        assert_type(supervisor.statistics(), dict[str, Statistics])

    assert_type(await breaker.waiting(1.0).call(fetch, "url"), bytes)
    assert_type(await breaker.retry(fetch, "url"), bytes)
    await breaker.call(fetch, 1)  # type: ignore[call-overload]
    await by_breaker()  # type: ignore[call-arg]
    await by_name(url=b"")  # type: ignore[arg-type]
    await by_retry("url", "more")  # type: ignore[call-arg]
    Supervisor(on_give_up="explode")  # type: ignore[arg-type]
    breaker(len)  # type: ignore[arg-type]


# Policies, by their fields, as a whole, and both

careful = Policy(window_calls=20, failure_rate=0.5)
CircuitBreaker("x", 5, 10.0, 1, probe_timeout=5, window_calls=20, failure_rate=0.5)
CircuitBreaker("x", policy=careful, recovery_timeout=60)
CircuitBreaker("x", failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
CircuitBreaker("x", window_calls="ten")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CircuitBreaker("x", policy="careful")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
breaker.reconfigure(careful, timeout=2.5)
breaker.reconfigure(failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@with_circuit_breaker("x", policy=careful, ignore=(KeyError, IndexError))
async def by_name_and_policy(url: str) -> bytes:
    """Guarded by name, as told here."""
    return await fetch(url)


@retry_api_call(policy=careful, guard="attempt", classify=lambda _: None)
async def by_retry_and_policy(url: str) -> bytes:
    """Retried, and guarded as told here."""
    return await fetch(url)


with_circuit_breaker("x", window_calls="ten")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
retry_api_call(failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
create_retry_decorator("api", slow_call_duration="1 s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def policies(supervisor: Supervisor) -> None:
    """A supervisor, and the functions by name."""
    assert_type(supervisor.circuit("x", policy=careful, failure_threshold=3), CircuitBreaker)
    supervisor.circuit("x", failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await get_circuit_breaker("x", policy=careful, throttle=2), CircuitBreaker)
    await get_circuit_breaker("x", throttle="twice")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await execute_with_retry(fetch, "url", policy=careful), bytes)
