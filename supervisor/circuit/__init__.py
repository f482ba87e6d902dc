"""One circuit: the record that its callers and its actor share, and everybody who uses it.

May know the machine, the policy and the event loop; knows no supervisor and no other circuit.

    record       what is shared, and the way to the actor
    admission    a call is admitted, refused, or asks the actor
    settlement   a call ends, and the actor is told; judging, what it counts as by its policy
    orders       what it is told to do by hand, or by its supervisor
    reading      what it reads as, statistics included
    allowance    what callers look at if a policy asks for more; calls, those that are running
    actor        the task that owns the machine; mailbox, its queue; observers, who looks on
"""

from supervisor.circuit.actor import catch_up, run_actor
from supervisor.circuit.admission import admit, admit_at_once, ask, spend_retry
from supervisor.circuit.calls import Ticket
from supervisor.circuit.judging import settle_error, settle_result
from supervisor.circuit.orders import force, give_up, reconfigure, reset, stop
from supervisor.circuit.reading import in_flight, project, statistics_of
from supervisor.circuit.record import Circuit, GivenUp
from supervisor.circuit.settlement import NO_RESULT, end, fail, settle, settle_block, succeed
from supervisor.circuit.statistics import Statistics

__all__ = [
    "NO_RESULT",
    "Circuit",
    "GivenUp",
    "Statistics",
    "Ticket",
    "admit",
    "admit_at_once",
    "ask",
    "catch_up",
    "end",
    "fail",
    "force",
    "give_up",
    "in_flight",
    "project",
    "reconfigure",
    "reset",
    "run_actor",
    "settle",
    "settle_block",
    "settle_error",
    "settle_result",
    "spend_retry",
    "statistics_of",
    "stop",
    "succeed",
]
