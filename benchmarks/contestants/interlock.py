"""interlock-cb: a window of calls, of which all have to fail; no consecutive policy of its own.

The window is as long as the threshold, so that one success in it keeps the circuit closed. It is
allocated in full, so it stays at 100 calls when the threshold is further away than that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import interlock

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup


class _Listener:
    def __init__(self, listener: Callable[..., Any]) -> None:
        self.on_state_change = self.on_call = self.on_rejected = self.on_reset = listener


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by `call_async`."""
    config = interlock.Config(
        failure_rate_threshold=1.0,
        minimum_number_of_calls=setup.failure_threshold,
        window_size=min(setup.failure_threshold, 100),
        wait_duration_in_open=setup.recovery_timeout,
        permitted_calls_in_half_open=setup.success_threshold,
        max_concurrent_probes=setup.success_threshold,
        slow_call_duration_threshold=float("inf"),
    )
    observer = _Listener(listener) if listener else None
    breaker = interlock.CircuitBreaker(name=setup.name, config=config, listener=observer)
    return nullcontext(breaker.call_async)


CONTESTANT = Contestant(
    "interlock-cb", "peer", EVERYWHERE, open_circuit, (interlock.CircuitOpenError,)
)
