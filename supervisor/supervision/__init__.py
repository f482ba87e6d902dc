"""Who starts circuits, watches them, restarts them, and ends them.

May know all that is below; whoever asks for circuits by name is above.

    supervisor   owns the circuits of an event loop; current, which one runs here
    table        its circuits by name, each with its breaker; listening, who listens to them
    conflicts    whether a circuit is the one that is asked for
    ending       how single ones end
    restarts     how often a crashed actor is started again, and when
    keeping      what of circuits outlives the event loop in this process
    retirement   which idle circuits are ended
    membership   what joins its circuits to those of others
    figures      what all circuits have counted, for any thread
    publishing   events, numbered and delivered; listeners, to whom
    tracing      who is told of each call; calls, streams that are
    onlookers    who else is told: logs and notices; refusals, how many, once a minute
    health_checks  what probes a circuit for its callers
"""

from supervisor.supervision.current import (
    current_supervisor,
    supervisors_here,
    tell_other_threads,
)
from supervisor.supervision.figures import Figures, Fleet, Totals, all_figures
from supervisor.supervision.keeping import forget_kept
from supervisor.supervision.membership import sharing_by
from supervisor.supervision.supervisor import Supervisor

__all__ = [
    "Figures",
    "Fleet",
    "Supervisor",
    "Totals",
    "all_figures",
    "current_supervisor",
    "forget_kept",
    "sharing_by",
    "supervisors_here",
    "tell_other_threads",
]
