"""What asyncio and trio do differently, in one place: clocks, wake-ups, tasks, threads, ends.

Knows nothing of circuits. Only this room, and what is for tests, may name asyncio or trio.

    event_loop     the one that a circuit lives on, and its time
    wakeup         what one task sleeps on until somebody wakes it
    tasks          those of a supervisor, which end when they are told to
    posting        what worker threads ask of an event loop
    cancellation   which errors are that
"""

from supervisor.loop.cancellation import is_cancellation
from supervisor.loop.event_loop import NOWHERE, EventLoop, loop_time
from supervisor.loop.posting import from_worker_thread, has_closed, post, runs_event_loop
from supervisor.loop.tasks import Tasks, can_be_started, someone_goes_on
from supervisor.loop.wakeup import Bell

__all__ = [
    "NOWHERE",
    "Bell",
    "EventLoop",
    "Tasks",
    "can_be_started",
    "from_worker_thread",
    "has_closed",
    "is_cancellation",
    "loop_time",
    "post",
    "runs_event_loop",
    "someone_goes_on",
]
