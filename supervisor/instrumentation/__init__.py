"""Who looks at circuits from outside: log lines, notices of changes, traces, metrics, spans.

May know events and statistics; what it shows is handed to it, so that it need not know who runs
the circuits. Exporters of metrics stand above all rooms: they use the package as its users do, and
are imported by nobody else.

    advice         what developers are told once of how circuits are set up
    lines          one log line, and the library that it goes to
    logs           the lines of events, refusals and retries
    traces         calls of production, for simulations; rotation, the file that they go to
    notices        functions of the application that are told of changes of state
    opentelemetry  instruments for meters, and events on the spans of calls
    prometheus     metrics for registries of `prometheus_client`
    sums           what exporters have in common: figures added up by label
"""

from typing import TYPE_CHECKING

from supervisor.instrumentation.advice import place_of, tell_of_disabled, warn_of_shared_name
from supervisor.instrumentation.lines import use_logging
from supervisor.instrumentation.logs import (
    log_events,
    log_malformed,
    log_refusals,
    log_retry,
)
from supervisor.instrumentation.notices import Notices, OnChange
from supervisor.lazily import lazy

if TYPE_CHECKING:
    from supervisor.instrumentation.traces import TraceRecorder
else:
    __getattr__, __dir__ = lazy(__name__, {"supervisor.instrumentation.traces": ("TraceRecorder",)})

__all__ = [
    "Notices",
    "OnChange",
    "TraceRecorder",
    "log_events",
    "log_malformed",
    "log_refusals",
    "log_retry",
    "place_of",
    "tell_of_disabled",
    "use_logging",
    "warn_of_shared_name",
]
