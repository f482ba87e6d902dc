"""aiobreaker: the call that opens the circuit raises a refusal in the place of its own error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from typing import Any

import aiobreaker

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup


class _Listener(aiobreaker.CircuitBreakerListener):
    def __init__(self, listener: Callable[..., Any]) -> None:
        self.before_call = self.failure = self.success = self.state_change = listener


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by `call_async`; one probe closes."""
    breaker = aiobreaker.CircuitBreaker(
        setup.failure_threshold,
        timedelta(seconds=setup.recovery_timeout),
        listeners=[_Listener(listener)] if listener else None,
        name=setup.name,
    )
    return nullcontext(breaker.call_async)


CONTESTANT = Contestant(
    "aiobreaker", "peer", EVERYWHERE, open_circuit, (aiobreaker.CircuitBreakerError,)
)
