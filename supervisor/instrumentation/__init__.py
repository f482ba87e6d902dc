"""Who looks at circuits from outside: log lines, by loguru.

May know events and statistics; what it shows is handed to it, so that it need not know who runs
the circuits.

    logs   events and retries as loguru lines
"""

from supervisor.instrumentation.logs import log_events, log_retry

__all__ = ["log_events", "log_retry"]
