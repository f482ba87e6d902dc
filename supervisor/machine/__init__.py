"""One circuit's state machine: pure and synchronous, so that it can be trusted.

May know policies and nothing else: no clock, no I/O, no task, no logging. Time is an argument.

    messages      what goes in and what comes out, as frozen records
    machine       states, periods, grants; what may be told at any time
    windows       what is remembered of ended calls; slack, how many more it takes
    tripping      when a closed circuit opens; recovery, for how long
    probing       how a half-open circuit comes back
    throttling    what share of its calls a closed one admits; retry_budget, how many retries
    calls         what an ended or an overdue call reports
"""

from supervisor.machine.calls import is_slow, overdue, settled, slow_from
from supervisor.machine.machine import Machine, replay
from supervisor.machine.messages import (
    NO_PROBE,
    UNCOUNTED,
    Acquire,
    Change,
    CircuitState,
    Force,
    Grant,
    Lease,
    Message,
    Overdue,
    Reason,
    Reconfigure,
    Reconfigured,
    Refusal,
    Reset,
    Retry,
    Settle,
    Transition,
    WaitFor,
    Withdraw,
)
from supervisor.machine.tripping import Kinds, Trip
from supervisor.machine.windows import (
    BUCKETS,
    CallWindow,
    Tally,
    TimeWindow,
    bucket_of,
    last_time,
)

__all__ = [
    "BUCKETS",
    "NO_PROBE",
    "UNCOUNTED",
    "Acquire",
    "CallWindow",
    "Change",
    "CircuitState",
    "Force",
    "Grant",
    "Kinds",
    "Lease",
    "Machine",
    "Message",
    "Overdue",
    "Reason",
    "Reconfigure",
    "Reconfigured",
    "Refusal",
    "Reset",
    "Retry",
    "Settle",
    "Tally",
    "TimeWindow",
    "Transition",
    "Trip",
    "WaitFor",
    "Withdraw",
    "bucket_of",
    "is_slow",
    "last_time",
    "overdue",
    "replay",
    "settled",
    "slow_from",
]
