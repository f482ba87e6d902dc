"""Calls that are only type-checked: signatures survive decoration, and mistakes are errors.

Never run; `mypy` and `pyright` check it with unused ignores reported, so every `type: ignore`
below is a mistake that they must find.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_type

from supervisor import (
    CircuitBreaker,
    CircuitStarted,
    CircuitState,
    Failure,
    FirstHealthy,
    GuardedStream,
    Notices,
    Outcome,
    Permit,
    Policy,
    StateChanged,
    Statistics,
    Supervisor,
    create_retry_decorator,
    current_supervisor,
    execute_with_retry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_api_call,
    with_arguments,
    with_circuit_breaker,
)
from supervisor.integrations.completeness import anthropic_messages
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


@retry_api_call(max_attempts=3)
def by_retry_in_threads(path: str, *, seconds: float = 1.0) -> bytes:
    """Retried in a worker thread."""
    return read(path, seconds=seconds)


class Client:
    """Methods keep their `self`."""

    @retry_api_call()
    def read(self, path: str) -> bytes:
        """Retried in a worker thread."""
        return read(path)

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

    assert_type(by_retry_in_threads("path", seconds=2.0), bytes)
    assert_type(Client().read("path"), bytes)
    by_retry_in_threads(1)  # type: ignore[arg-type]
    assert_type(breaker.sync.ask(breaker.statistics), Statistics)
    assert_type(breaker.sync.retry(read, "path"), bytes)


async def words(text: str, *, most: int = 9) -> AsyncIterator[str]:
    """Some stream to guard."""
    for word in text.split()[:most]:
        yield word


async def client(text: str) -> AsyncIterator[str]:
    """Some function that returns a stream."""
    return words(text)


@asynccontextmanager
async def connection(text: str) -> AsyncGenerator[AsyncIterator[str], None]:
    """Some block that has a stream."""
    yield words(text)


@breaker.streaming
async def by_streaming(text: str) -> AsyncIterator[str]:
    """Guarded as a stream."""
    yield text


@retry_api_call(deadline=5)
async def by_retry_of_streams(text: str, *, most: int = 9) -> AsyncIterator[bytes]:
    """Opened again as long as no item has come."""
    yield text.encode()


@breaker.waiting(5.0).streaming(verdict="first_item", complete=anthropic_messages)
async def by_waiting(text: str, *, most: int = 9) -> AsyncIterator[bytes]:
    """Guarded as a stream, with options."""
    yield text.encode()


async def streams() -> None:
    """What streams give, and what they do not take."""
    assert_type(breaker.stream(words, "a b", most=1), GuardedStream[str])
    assert_type(breaker.stream(client, "a b"), GuardedStream[str])
    assert_type(breaker.stream(connection, "a b"), GuardedStream[str])
    assert_type(breaker.stream(words, "a b", verdict="end"), GuardedStream[str])
    assert_type(breaker.stream(words, "a b", complete=lambda item: item), GuardedStream[str])
    async with breaker.waiting(5.0).stream(words, "a b") as items:
        async for item in items:
            assert_type(item, str)
        await items.aclose()
    async for item in by_streaming("a"):
        assert_type(item, str)
    assert_type(by_waiting("a", most=1), AsyncGenerator[bytes, None])
    by_streaming(1)  # type: ignore[arg-type]
    assert_type(by_retry_of_streams("a", most=1), AsyncGenerator[bytes, None])
    by_retry_of_streams(1)  # type: ignore[arg-type]
    breaker.stream(words, 1)  # type: ignore[call-overload]
    breaker.stream(words, "a b", verdict="start")  # type: ignore[call-arg]
    breaker.stream(fetch, "url")  # type: ignore[call-overload]
    breaker.streaming(fetch)  # type: ignore[arg-type]


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


def told_at_once(change: StateChanged) -> None: ...


async def told_slowly(change: StateChanged) -> bool:
    return change.metrics_only


async def told_of_all(event: CircuitStarted) -> None: ...


async def notices() -> None:
    """Functions that are told of changes of state may be plain or async, and return anything."""
    async with Supervisor(on_change=told_slowly) as supervisor:
        assert_type(supervisor.on_change(told_at_once), Notices)
        supervisor.on_change(lambda change: change.circuit, circuit="x").end()
        supervisor.on_change(told_of_all)  # type: ignore[arg-type]
    assert_type(current_supervisor(), Supervisor)
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


@with_circuit_breaker
async def by_its_own_name(url: str) -> bytes:
    """Guarded without parentheses."""
    return await fetch(url)


@retry_api_call(policy=careful, guard="attempt", classify=lambda _: None)
async def by_retry_and_policy(url: str) -> bytes:
    """Retried, and guarded as told here."""
    return await fetch(url)


@with_arguments
def is_ours(about: object, url: str = "") -> bool:
    """Is given the arguments of the call."""
    return url.startswith("https://ours.example/")


@with_arguments
def kind_of(about: object, url: str = "") -> Failure | Outcome | None:
    """Tells failures apart by the arguments."""
    return Failure(url) if isinstance(about, Exception) else None


CircuitBreaker("x", ignore=is_ours, failure_on=(OSError, is_ours), failure_on_result=is_ours)
CircuitBreaker("x", classify=kind_of)
CircuitBreaker("x", classify=is_ours)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
with_circuit_breaker("x", window_calls="ten")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
retry_api_call(failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
create_retry_decorator("api", slow_call_duration="1 s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def policies(supervisor: Supervisor) -> None:
    """A supervisor, and the functions by name."""
    assert_type(supervisor.circuit("x", policy=careful, failure_threshold=3), CircuitBreaker)
    supervisor.circuit("x", failure_treshold=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await get_circuit_breaker("x", policy=careful, throttle=2), CircuitBreaker)
    await get_circuit_breaker("x", throttle="twice")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await execute_with_retry(fetch, "url", policy=careful), bytes)


@breaker.sync
def by_sync(path: str, *, seconds: float = 1.0) -> bytes:
    """Guarded in a worker thread."""
    return read(path, seconds=seconds)


async def ask(model: str, prompt: str, *, seconds: float = 1.0) -> bytes:
    """Some function that is told which circuit has admitted it."""
    return f"{model} {prompt} {seconds}".encode()


async def words_of(model: str, prompt: str) -> AsyncIterator[str]:
    """Some stream that is told which circuit has admitted it."""
    yield f"{model} {prompt}"


async def others() -> None:
    """What plain functions and the first of several circuits take and give."""
    assert_type(by_sync("path", seconds=2.0), bytes)
    assert_type(breaker.sync.call(read, "path", seconds=2.0), bytes)
    by_sync(1)  # type: ignore[arg-type]
    models = FirstHealthy("gpt", breaker, wait=5)
    assert_type(await models.call(ask, "why?", seconds=2.0), bytes)
    async with models.stream(words_of, "why?", verdict="first_item") as words:
        assert_type([word async for word in words], list[str])
    models.stream(words_of, verdict="?")  # type: ignore[arg-type]
    models.stream(len)  # type: ignore[arg-type]
    FirstHealthy({"gpt": 3, "claude": 1})
    FirstHealthy(1)  # type: ignore[arg-type]
    await models.call(ask, 1)  # type: ignore[arg-type]
    await models.call(read, "why?")  # type: ignore[arg-type, call-arg]
