"""What callers hold: breakers, permits and blocks, and how each finds its circuit.

May know circuits and event loops; of supervisors only how to ask one for a circuit.

    breaker   guards calls: by call, decorator, block, permit, or from a thread
    wrapper   what a decorated function becomes
    handle    a breaker's circuit, to be read; by_hand, to be told what to do; joining, which one
              that is; copies, of breakers
    waiting   guards calls that are ready to wait; falling_back, functions that something stands in
              for; running, what there may be to a call that runs; given, its arguments
    streaming guards streams; stream, one of them; verdict, what it counts as
    permit    a call that is settled by hand; block, `async with`; timeouts, by which either ends
    threads   calls from worker threads; synchronous, what is called there
    entered   which supervisors there are on an event loop
"""

from supervisor.guard.breaker import CircuitBreaker
from supervisor.guard.by_hand import Isolation
from supervisor.guard.entered import (
    enter,
    entered_here,
    entered_last,
    epoch,
    leave,
    loops_entered,
    stand_in_by,
    start_default_by,
)
from supervisor.guard.given import run_for
from supervisor.guard.permit import Permit
from supervisor.guard.stream import Complete, GuardedStream
from supervisor.guard.streaming import Opened, stream_again
from supervisor.guard.verdict import Verdict
from supervisor.guard.waiting import WaitingBreaker

__all__ = [
    "CircuitBreaker",
    "Complete",
    "GuardedStream",
    "Isolation",
    "Opened",
    "Permit",
    "Verdict",
    "WaitingBreaker",
    "enter",
    "entered_here",
    "entered_last",
    "epoch",
    "leave",
    "loops_entered",
    "run_for",
    "stand_in_by",
    "start_default_by",
    "stream_again",
]
