"""One circuit's state machine: pure and synchronous, so that it can be trusted.

May know policies and nothing else: no clock, no I/O, no task, no logging. Time is an argument.

    messages      what goes in and what comes out, as frozen records
    machine       states, periods, grants; what may be told at any time
    ordered       who waits, and who keeps it open, in order
    windows       what is remembered of ended calls; slack, how many more it takes
    time_windows  the same of the last seconds
    recent        the same as of another time, or by another policy
    kinds         what is remembered of kinds of failure that have thresholds of their own
    tripping      when a closed circuit opens; rows, also by failures in a row
    recovery      for how long it is open
    probing       how a half-open circuit comes back
    ratios        shares, counted exactly
    throttling    what share of its calls a closed one admits; retry_budget, how many retries
    calls         what an ended or an overdue call reports
    states        the states, and who brings them about
    fleet         what a shared circuit and its fleet tell each other; terms, what it knows of that
    shared        the machine of a shared circuit; leasing, how that one probes
"""

from supervisor.machine.calls import is_slow, overdue, settled, slow_from
from supervisor.machine.fleet import (
    Adopt,
    AskAgain,
    Asked,
    Decide,
    Failed,
    Forced,
    FromFleet,
    Opened,
    Probed,
    Take,
    ToFleet,
    Verdict,
    Wait,
)
from supervisor.machine.kinds import Kinds
from supervisor.machine.machine import Machine, replay
from supervisor.machine.messages import (
    ANY_PERIOD,
    NO_PROBE,
    UNCOUNTED,
    Acquire,
    Change,
    Force,
    Grant,
    Lease,
    Message,
    Overdue,
    Reason,
    Reconfigure,
    Reconfigured,
    Refusal,
    Renew,
    Reset,
    Retry,
    Settle,
    Told,
    Transition,
    WaitFor,
    Withdraw,
)
from supervisor.machine.ordered import Ordered, OrderedMap, Times
from supervisor.machine.probing import Probing, is_late
from supervisor.machine.rows import RowTrip
from supervisor.machine.shared import SharedMachine
from supervisor.machine.states import BY_HAND, REFUSING, CircuitState, Origin
from supervisor.machine.throttling import seconds_to_unthrottle
from supervisor.machine.time_windows import BUCKETS, TimeWindow, bucket_of, last_time
from supervisor.machine.tripping import Trip
from supervisor.machine.windows import CallWindow, InARow, Tally

__all__ = [
    "ANY_PERIOD",
    "BUCKETS",
    "BY_HAND",
    "NO_PROBE",
    "REFUSING",
    "UNCOUNTED",
    "Acquire",
    "Adopt",
    "AskAgain",
    "Asked",
    "CallWindow",
    "Change",
    "CircuitState",
    "Decide",
    "Failed",
    "Force",
    "Forced",
    "FromFleet",
    "Grant",
    "InARow",
    "Kinds",
    "Lease",
    "Machine",
    "Message",
    "Opened",
    "Ordered",
    "OrderedMap",
    "Origin",
    "Overdue",
    "Probed",
    "Probing",
    "Reason",
    "Reconfigure",
    "Reconfigured",
    "Refusal",
    "Renew",
    "Reset",
    "Retry",
    "RowTrip",
    "Settle",
    "SharedMachine",
    "Take",
    "Tally",
    "TimeWindow",
    "Times",
    "ToFleet",
    "Told",
    "Transition",
    "Trip",
    "Verdict",
    "Wait",
    "WaitFor",
    "Withdraw",
    "bucket_of",
    "is_late",
    "is_slow",
    "last_time",
    "overdue",
    "replay",
    "seconds_to_unthrottle",
    "settled",
    "slow_from",
]
