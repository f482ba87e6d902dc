"""grit-toolkit: a decorator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import grit

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup, decorating


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by decorating the function."""
    breaker = grit.breaker(
        fails=setup.failure_threshold,
        reset_after=setup.recovery_timeout,
        name=setup.name,
        success_threshold=setup.success_threshold,
    )
    if listener:
        breaker.on_change(listener)
    return nullcontext(decorating(breaker))


CONTESTANT = Contestant(
    "grit-toolkit", "peer", EVERYWHERE, open_circuit, (grit.exceptions.BreakerOpen,)
)
