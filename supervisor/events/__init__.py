"""What has happened to circuits: frozen records, and the streams that deliver them in order.

May know what circuits are; tells nobody by itself, since supervisors do.

    records   what has happened
    stream    how it reaches one listener
"""

from supervisor.events.records import (
    CallEnded,
    CallRefused,
    CallsRefused,
    CircuitGivenUp,
    CircuitReconfigured,
    CircuitRestarted,
    CircuitRetired,
    CircuitStarted,
    CircuitStopped,
    Event,
    EventsMissed,
    FleetJoined,
    FleetLost,
    InnerGaveUp,
    StateChanged,
)
from supervisor.events.stream import EventStream

__all__ = [
    "CallEnded",
    "CallRefused",
    "CallsRefused",
    "CircuitGivenUp",
    "CircuitReconfigured",
    "CircuitRestarted",
    "CircuitRetired",
    "CircuitStarted",
    "CircuitStopped",
    "Event",
    "EventStream",
    "EventsMissed",
    "FleetJoined",
    "FleetLost",
    "InnerGaveUp",
    "StateChanged",
]
