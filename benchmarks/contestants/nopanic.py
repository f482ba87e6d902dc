"""nopanic: a window of 30 s, in which all calls have to fail; no consecutive policy of its own.

It opens when as many calls as the threshold says have failed and none has succeeded within it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import nopanic

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup


def open_circuit(
    setup: Setup, listener: Callable[..., Any] | None = None
) -> AbstractAsyncContextManager[Guard]:
    """Guard by `acall`."""
    breaker = nopanic.CircuitBreaker(
        failure_threshold=1.0,
        min_calls=setup.failure_threshold,
        reset_timeout=setup.recovery_timeout,
        half_open_max_calls=setup.success_threshold,
        name=setup.name,
        on_state_change=listener,
    )
    return nullcontext(breaker.acall)


CONTESTANT = Contestant("nopanic", "peer", EVERYWHERE, open_circuit, (nopanic.CircuitOpen,))
