"""resilix: a decorator; one successful probe closes, and as many may run at once as you say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import resilix

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup, decorating


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by decorating the function."""
    breaker = resilix.CircuitBreaker(
        failures=setup.failure_threshold,
        reset_timeout=setup.recovery_timeout,
        half_open_max=setup.success_threshold,
        on_state_change=listener,
    )
    return nullcontext(decorating(breaker))


CONTESTANT = Contestant("resilix", "peer", EVERYWHERE, open_circuit, (resilix.CircuitOpenError,))
