"""purgatory: a block; one probe closes. Its refusal is the state object itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import purgatory
from purgatory.domain.model import OpenedState  # exported nowhere else, named in its docs

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup


@asynccontextmanager
async def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AsyncIterator[Guard]:
    """Guard by a block of a breaker that was looked up once, which is its cheapest form."""
    factory = purgatory.AsyncCircuitBreakerFactory(setup.failure_threshold, setup.recovery_timeout)
    breaker = await factory.get_breaker(setup.name)
    if listener:
        factory.add_listener(listener)  # now, since the creation would call it, too

    async def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Any:
        async with breaker:
            return await func(*args, **kwargs)

    yield guard


CONTESTANT = Contestant("purgatory", "peer", EVERYWHERE, open_circuit, (OpenedState,))
