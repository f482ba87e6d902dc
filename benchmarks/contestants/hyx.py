"""hyx: a decorator, the form its documentation begins with; no listeners.

Its block differs: there, a cancelled call counts as a success.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from hyx.circuitbreaker import consecutive_breaker
from hyx.circuitbreaker.exceptions import BreakerFailing

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard, Setup, decorating


def open_circuit(setup: Setup) -> AbstractAsyncContextManager[Guard]:
    """Guard by decorating the function."""
    breaker = consecutive_breaker(
        failure_threshold=setup.failure_threshold,
        recovery_time_secs=setup.recovery_timeout,
        recovery_threshold=setup.success_threshold,
    )
    return nullcontext(decorating(breaker))


CONTESTANT = Contestant("hyx", "peer", EVERYWHERE, open_circuit, (BreakerFailing,))
