"""keel-circuit-breaker: circuits by key in one breaker; no listeners, one probe closes."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import keel_circuit_breaker

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup


class _Silence:
    def info(self, event: str, **fields: Any) -> None:
        """Log nothing."""

    def warning(self, event: str, **fields: Any) -> None:
        """Log nothing."""


def open_circuit(setup: Setup) -> AbstractAsyncContextManager[Guard]:
    """Guard by `call`, which wants the key between the function and its arguments."""
    key = setup.name
    breaker = keel_circuit_breaker.CircuitBreaker(
        setup.failure_threshold, setup.recovery_timeout, _Silence()
    )
    call = breaker.call

    def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return call(func, key, *args, **kwargs)

    return nullcontext(guard)


CONTESTANT = Contestant(
    "keel-circuit-breaker",
    "peer",
    EVERYWHERE,
    open_circuit,
    (keel_circuit_breaker.CircuitOpenError,),
)
