"""TODO"""

from supervisor.loop.bells import Bell
from supervisor.loop.event_loop import NOWHERE, EventLoop, loop_time
from supervisor.loop.tasks import Tasks, can_be_started, someone_goes_on

__all__ = [
    "Bell",
    "EventLoop",
    "NOWHERE",
    "Tasks",
    "can_be_started",
    "loop_time",
    "someone_goes_on",
]
