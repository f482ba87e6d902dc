"""circuitbreaker: a decorator, since its `call_async` does not refuse; no listeners.

Whole seconds are all that it can tell of the time that is left, and one probe closes it.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

import circuitbreaker

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup, decorating


def open_circuit(setup: Setup) -> AbstractAsyncContextManager[Guard]:
    """Guard by decorating the function."""
    breaker = circuitbreaker.CircuitBreaker(
        setup.failure_threshold, setup.recovery_timeout, name=setup.name
    )
    return nullcontext(decorating(breaker))


CONTESTANT = Contestant(
    "circuitbreaker", "peer", EVERYWHERE, open_circuit, (circuitbreaker.CircuitBreakerError,)
)
