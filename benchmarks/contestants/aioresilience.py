"""aioresilience: an asyncio.Lock round each admission and each report.

It runs on trio only because nobody ever waits for that lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import aioresilience

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup

logging.getLogger("aioresilience").setLevel(logging.CRITICAL + 1)


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by `call`."""
    config = aioresilience.CircuitConfig(
        failure_threshold=setup.failure_threshold,
        recovery_timeout=setup.recovery_timeout,
        success_threshold=setup.success_threshold,
        half_open_max_calls=setup.success_threshold,
    )
    breaker = aioresilience.CircuitBreaker(setup.name, config)
    if listener:
        breaker.events.add_handler("*", listener)
    return nullcontext(breaker.call)


CONTESTANT = Contestant(
    "aioresilience", "peer", EVERYWHERE, open_circuit, (aioresilience.CircuitBreakerOpenError,)
)
