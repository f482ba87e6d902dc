"""httpware: a middleware between a client and its transport; no listeners, but log lines.

What it guards is what sends a request, with no arguments of its own, and it counts errors of the
network only. So a function is made for each call that has the arguments in it, and raises such an
error where the guarded function fails; that is a part of what it costs here.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cache
from typing import Any

import httpware
import httpx2

from benchmarks.contestants.interface import ASYNCIO, Contestant, Guard, Setup

REQUEST = httpx2.Request("GET", "http://backend.example/")


@cache
def _of_the_network(kind: type[Exception]) -> type[Exception]:
    """Return a kind of errors that are both: what the function raises, and what is counted."""
    return type(kind.__name__, (httpware.NetworkError, kind), {})


def open_circuit(setup: Setup) -> AbstractAsyncContextManager[Guard]:
    """Guard as a client does, which calls its first middleware with what comes after it."""
    breaker = httpware.AsyncCircuitBreaker(
        failure_threshold=setup.failure_threshold,
        reset_timeout=setup.recovery_timeout,
        success_threshold=setup.success_threshold,
    )

    def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        async def send(_request: httpx2.Request) -> Any:
            try:
                return await func(*args, **kwargs)
            except Exception as error:
                raise _of_the_network(type(error)) from error

        return breaker(REQUEST, send)

    return nullcontext(guard)


CONTESTANT = Contestant("httpware", "peer", ASYNCIO, open_circuit, (httpware.CircuitOpenError,))
