"""This package, in all the forms in which it guards a call.

Each opening is a circuit of the event loop's current supervisor, or of the default one if nobody
has entered one, and is stopped at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import sniffio

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup, decorating
from supervisor import CircuitBreaker, CircuitBreakerOpenError, Supervisor
from supervisor.supervision import current_supervisor

_serial = count()


@asynccontextmanager
async def _circuit(setup: Setup) -> AsyncIterator[CircuitBreaker]:
    supervisor = current_supervisor()
    breaker = supervisor.circuit(
        f"{setup.name}-{next(_serial)}",
        failure_threshold=setup.failure_threshold,
        recovery_timeout=setup.recovery_timeout,
        success_threshold=setup.success_threshold,
    )
    try:
        yield breaker
    finally:
        with suppress(KeyError):  # the supervisor has ended, and its circuits with it
            supervisor.stop(breaker.name)


@asynccontextmanager
async def call(setup: Setup, listener: Callable[..., Any] | None = None) -> AsyncIterator[Guard]:
    """Guard by `CircuitBreaker.call`; a listener reads the events in a task of its own."""
    if listener is None:
        async with _circuit(setup) as breaker:
            yield breaker.call
        return

    async def listen() -> None:
        async for event in events:
            listener(event)

    assert sniffio.current_async_library() == "asyncio"
    async with Supervisor() as supervisor, _circuit(setup) as breaker:
        events = supervisor.events()
        task = asyncio.create_task(listen())
        yield breaker.call
    await asyncio.wait([task])
    task.exception()


@asynccontextmanager
async def decorator(setup: Setup) -> AsyncIterator[Guard]:
    """Guard by decorating the function."""
    async with _circuit(setup) as breaker:
        yield decorating(breaker)


@asynccontextmanager
async def context_manager(setup: Setup) -> AsyncIterator[Guard]:
    """Guard by a block; the coroutine around it, which users have anyway, is measured, too."""
    async with _circuit(setup) as breaker:

        async def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Any:
            async with breaker:
                return await func(*args, **kwargs)

        yield guard


@asynccontextmanager
async def permit(setup: Setup) -> AsyncIterator[Guard]:
    """Guard by a permit that is settled by its block; see `context_manager`."""
    async with _circuit(setup) as breaker:

        async def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Any:
            with await breaker.acquire():
                return await func(*args, **kwargs)

        yield guard


_REFUSALS = (CircuitBreakerOpenError,)

CONTESTANTS = (
    Contestant("call", "ours", EVERYWHERE, call, _REFUSALS),
    Contestant("decorator", "ours", EVERYWHERE, decorator, _REFUSALS),
    Contestant("context-manager", "ours", EVERYWHERE, context_manager, _REFUSALS),
    Contestant("permit", "ours", EVERYWHERE, permit, _REFUSALS),
)
