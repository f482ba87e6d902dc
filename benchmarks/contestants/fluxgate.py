"""fluxgate: a streak of failures opens; half-open, the first failure opens and a success closes.

Its concurrency limit makes further callers of a half-open circuit wait, not fail.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import fluxgate
from fluxgate.permits import All
from fluxgate.retries import Cooldown
from fluxgate.trippers import FailureStreak, HalfOpened

from benchmarks.contestants.interface import ASYNCIO, Contestant, Guard, Setup


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by `call`."""
    breaker = fluxgate.AsyncCircuitBreaker(
        tripper=FailureStreak(setup.failure_threshold) | (HalfOpened() & FailureStreak(1)),
        retry=Cooldown(setup.recovery_timeout),
        permit=All(),
        max_half_open_calls=setup.success_threshold,
        listeners=[listener] if listener else (),
    )
    return nullcontext(breaker.call)


CONTESTANT = Contestant(
    "fluxgate", "peer", ASYNCIO, open_circuit, (fluxgate.CallNotPermittedError,)
)
