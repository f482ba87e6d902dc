"""Small pieces that many tests are made of."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    EventStream,
    StateChanged,
    Statistics,
    Supervisor,
)
from supervisor.circuit.record import Circuit
from supervisor.testing import Backend

BACKENDS: tuple[Backend, ...] = get_args(Backend)


class Down(ConnectionError):
    """What a dependency that is down raises."""


async def succeed() -> str:
    return "fine"


async def take(seconds: float) -> str:
    """Take so long, and succeed."""
    await anyio.sleep(seconds)
    return "fine"


async def fail() -> str:
    raise Down("down")


async def fail_times(breaker: CircuitBreaker, times: int) -> None:
    """Make that many failing calls."""
    for _ in range(times):
        with pytest.raises(Down):
            await breaker.call(fail)


async def is_refused(breaker: CircuitBreaker) -> bool:
    """Whether a call that would succeed is refused."""
    try:
        await breaker.call(succeed)
    except CircuitBreakerOpenError:
        return True
    return False


def counted(figures: Statistics) -> str:
    """What a circuit's only call has come to."""
    assert (figures.started, figures.in_flight) == (1, 0)
    outcomes = ("succeeded", "failed", "ignored", "cancelled")
    (outcome,) = (each for each in outcomes if getattr(figures, each))
    return outcome


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what comes of itself, or in a thread: for a minute at most, of real time."""
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends, "it has not come"
        await anyio.sleep(0.001)


class Dependency:
    """A dependency whose calls last until they are let go, and which counts them."""

    def __init__(self) -> None:
        self.calls = self.running = self.most_running = 0
        self._go = anyio.Event()
        self._error: Exception | None = None

    async def call(self) -> str:
        self.calls += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self._go.wait()
        finally:
            self.running -= 1
        if self._error is not None:
            raise self._error
        return "fine"

    def let_go(self, error: Exception | None = None) -> None:
        """End all calls, now and later, with this error or with success."""
        self._error = error
        self._go.set()


@asynccontextmanager
async def half_open(name: str = "dependency", **policy: Any) -> AsyncIterator[CircuitBreaker]:
    """A supervisor with one circuit, which has opened and has become half-open."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit(name, **{"failure_threshold": 1, **policy})
        await fail_times(breaker, 1)
        await anyio.sleep(breaker.recovery_timeout)
        assert breaker.state == "half_open"
        yield breaker


def crash(supervisor: Supervisor, name: str) -> None:
    """Put a message that no machine understands into the circuit's mailbox."""
    circuit = supervisor.find(name)
    assert circuit is not None
    poison(circuit)
    circuit.mailbox.ring()


def poison(circuit: Circuit) -> None:
    circuit.mailbox.messages.append("poison")  # type: ignore[arg-type]


async def crash_on_order(supervisor: Supervisor, name: str = "x") -> None:
    """Let an actor crash on a message that comes as orders do: from then on, calls have to ask."""
    circuit = supervisor.find(name)
    assert circuit is not None
    circuit.put("poison")  # type: ignore[arg-type]
    circuit.call_actor()
    await settle_down()


async def settle_down() -> None:
    """Let every task do what it can do at once."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


def collect_garbage() -> None:
    """Free all that nobody holds: what is freed may let go of more.

    PyPy's collector does not tell whether it has freed anything.
    """
    for _ in range(1 if sys.implementation.name == "cpython" else 3):
        while gc.collect():
            pass


async def changes_in(stream: EventStream) -> list[StateChanged]:
    """Close the stream, and return the changes of state that have been delivered by now."""
    await settle_down()
    stream.close()
    return [event async for event in stream if isinstance(event, StateChanged)]


Guarded = Callable[[CircuitBreaker, Callable[[], Awaitable[str]]], Awaitable[str]]


async def by_call(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    return await breaker.call(function)


async def by_block(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    async with breaker:
        return await function()


async def by_decorator(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    @breaker
    async def guarded() -> str:
        return await function()

    return await guarded()


async def by_permit(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    with await breaker.acquire():
        return await function()


async def by_retry(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    return await breaker.retry(function)


async def by_thread(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    """Run a function that awaits nothing in a worker thread, which takes no virtual time."""

    def plain() -> str:
        try:
            function().__await__().send(None)
        except StopIteration as returned:
            result: str = returned.value
            return result
        raise AssertionError("it awaits something")

    return await anyio.to_thread.run_sync(breaker.call_from_thread, plain)


every_way = pytest.mark.parametrize("guarded", [by_call, by_block, by_decorator, by_permit])
every_way_and_thread = pytest.mark.parametrize(
    "guarded", [by_call, by_block, by_decorator, by_permit, by_thread]
)


def tasks_here() -> int:
    """How many tasks the event loop has, system tasks of trio's included."""
    import sniffio

    if sniffio.current_async_library() == "asyncio":
        import asyncio

        return len(asyncio.all_tasks())
    import trio

    return len(list(_walk(trio.lowlevel.current_root_task())))


def _walk(task: Any) -> Iterator[object]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _walk(child)
