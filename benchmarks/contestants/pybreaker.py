"""pybreaker under tornado, whose coroutines its async half is made of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import pybreaker
import tornado  # noqa: F401  # without it, pybreaker has no async half

from benchmarks.contestants.interface import ASYNCIO, Contestant, Guard, Setup


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, listener: Callable[..., Any]) -> None:
        self.before_call = self.failure = self.success = self.state_change = listener


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by `call_async`, told to let the call that opens the circuit raise its own error."""
    breaker = pybreaker.CircuitBreaker(
        setup.failure_threshold,
        setup.recovery_timeout,
        setup.success_threshold,
        listeners=[_Listener(listener)] if listener else None,
        name=setup.name,
        throw_new_error_on_trip=False,
    )
    return nullcontext(breaker.call_async)


CONTESTANT = Contestant(
    "pybreaker", "peer", ASYNCIO, open_circuit, (pybreaker.CircuitBreakerError,)
)
