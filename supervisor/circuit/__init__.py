"""One circuit: the record that its callers and its actor share, and everybody who uses it.

May know the machine, the policy and the event loop; knows no supervisor and no other circuit.

    record       what is shared, and the way to the actor
    beginning    what circuits begin with that go by the same policy
    admission    a call is admitted or refused at once, by the lease
    asking       or it asks the actor; askers, those who wait for it
    settlement   a call ends, and the actor is told; judging, what it counts as by its policy
    streams      a call whose answer comes in parts
    nesting      which calls of the circuit a call is inside of
    orders       what it is told to do by hand, or by its supervisor
    keeping      what of it outlives its event loop
    reading      what it reads as, statistics included; figures, the same for any thread
    allowance    what callers look at if a policy asks for more; calls, those that are running
    observing    calls that somebody wants to know of each; observers, who looks on
    actor        the task that owns the machine; turn, what it does; mailbox, its queue
    witnesses    who is told of refusals and openings by the calls that meet them
"""

from supervisor.circuit.actor import catch_up, pause, run_actor
from supervisor.circuit.admission import admit, admit_at_once
from supervisor.circuit.asking import admit_without_actor, ask, spend_retry
from supervisor.circuit.calls import Observed, Part, Ticket
from supervisor.circuit.figures import figures_of
from supervisor.circuit.judging import settle_error, settle_result
from supervisor.circuit.keeping import Kept, go_on_from, keep, read_as
from supervisor.circuit.nesting import (
    OuterCall,
    go_inside,
    innermost,
    is_among,
    remember_error,
)
from supervisor.circuit.observers import CallObserver, SeveralObservers
from supervisor.circuit.orders import (
    force,
    give_up,
    let_go,
    observe_calls,
    order,
    outlive_actor,
    reconfigure,
    reset,
    stop,
)
from supervisor.circuit.reading import (
    has_calls,
    in_flight,
    project,
    statistics_of,
    statistics_of_all,
)
from supervisor.circuit.record import CANCELLED, Circuit, GivenUp
from supervisor.circuit.settlement import (
    NO_RESULT,
    end_once,
    fail,
    report,
    settle,
    settle_block,
    settle_counted,
    succeed,
)
from supervisor.circuit.statistics import RecentFailure, Statistics, Window
from supervisor.circuit.streams import Pulse, end_of_time, fail_later
from supervisor.circuit.witnesses import add_witness, remove_witness

__all__ = [
    "CANCELLED",
    "NO_RESULT",
    "CallObserver",
    "Circuit",
    "GivenUp",
    "Kept",
    "Observed",
    "OuterCall",
    "Part",
    "Pulse",
    "RecentFailure",
    "SeveralObservers",
    "Statistics",
    "Ticket",
    "Window",
    "add_witness",
    "admit",
    "admit_at_once",
    "admit_without_actor",
    "ask",
    "catch_up",
    "end_of_time",
    "end_once",
    "fail",
    "fail_later",
    "figures_of",
    "force",
    "give_up",
    "go_inside",
    "go_on_from",
    "has_calls",
    "in_flight",
    "innermost",
    "is_among",
    "keep",
    "let_go",
    "observe_calls",
    "order",
    "outlive_actor",
    "pause",
    "project",
    "read_as",
    "reconfigure",
    "remember_error",
    "remove_witness",
    "report",
    "reset",
    "run_actor",
    "settle",
    "settle_block",
    "settle_counted",
    "settle_error",
    "settle_result",
    "spend_retry",
    "statistics_of",
    "statistics_of_all",
    "stop",
    "succeed",
]
