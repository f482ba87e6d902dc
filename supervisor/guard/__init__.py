"""What callers hold: breakers, permits and blocks, and how each finds its circuit.

May know circuits and event loops; of supervisors only how to ask one for a circuit.

    breaker   guards calls: by call, decorator, block, permit, or from a thread
    handle    the same circuit, to be read and told what to do; joining, which circuit that is
    waiting   for calls that are ready to wait; running, what there may be to a call that runs
    permit    a call that is settled by hand; block, `async with`; timeouts, by which either ends
    threads   calls from worker threads
    entered   which supervisors there are on an event loop
"""

from supervisor.guard.breaker import CircuitBreaker
from supervisor.guard.entered import (
    enter,
    entered_here,
    entered_last,
    epoch,
    leave,
    start_default_by,
)
from supervisor.guard.permit import Permit
from supervisor.guard.waiting import WaitingBreaker

__all__ = [
    "CircuitBreaker",
    "Permit",
    "WaitingBreaker",
    "enter",
    "entered_here",
    "entered_last",
    "epoch",
    "leave",
    "start_default_by",
]
