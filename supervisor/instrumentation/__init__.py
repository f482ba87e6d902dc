"""TODO"""

from supervisor.instrumentation.logs import log_events, log_retry

__all__ = ["log_events", "log_retry"]
