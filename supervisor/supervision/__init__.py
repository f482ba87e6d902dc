"""Who starts circuits, watches them, restarts them, and ends them.

May know all that is below; whoever asks for circuits by name is above.

    supervisor   owns the circuits of an event loop; current, which one runs here
    table        its circuits by name, each with its breaker
    conflicts    whether a circuit is the one that is asked for
    restarts     how often a crashed actor is started again
    retirement   which idle circuits are ended
    publishing   events, numbered and delivered
"""

from supervisor.supervision.current import current_supervisor, supervisors_here
from supervisor.supervision.supervisor import Supervisor

__all__ = ["Supervisor", "current_supervisor", "supervisors_here"]
