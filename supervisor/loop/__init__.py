"""What asyncio and trio do differently, in one place: clocks, wake-ups, tasks, threads, ends.

Knows nothing of circuits. Only this room, and what is for tests, may name asyncio or trio.

    event_loop     the one that a circuit lives on: whether it runs here, and its time
    variables      what there is one of for each event loop
    wakeup         what one task sleeps on until somebody, or a time, wakes it
    tasks          those of a supervisor, which end when they are told to
    closing        what is kept of those that are closed
    limits         what not every loop of asyncio's knows
    forks          what has to be known in a process that was forked
    turns          what holds until the next one
    fairness       who goes on and on, and is to leave others their turns
    workers        what would keep it waiting: settings that are read from files
    posting        what it is asked to do later, by worker threads above all
    cancellation   which errors are cancellations
    time_limits    limits to what one task does, of the event loop's own kind
    deadlines      limits to all that a block does, known to what is in it
    process_clock  what time passes between two event loops
"""

from supervisor.loop.cancellation import is_cancellation
from supervisor.loop.closing import forget_closed, forget_once_closed, when_closed
from supervisor.loop.deadlines import deadline, deadline_here
from supervisor.loop.event_loop import NOWHERE, Clock, EventLoop, Native, running_loop
from supervisor.loop.fairness import forget_who_was_here, let_others_go_first, times_here_before
from supervisor.loop.forks import in_forked_process
from supervisor.loop.limits import LONGEST_TIMER
from supervisor.loop.posting import from_worker_thread, has_closed, post, raise_later
from supervisor.loop.process_clock import time_in_process
from supervisor.loop.tasks import (
    Tasks,
    can_be_started,
    is_cancelled_here,
    is_cancelled_itself,
    someone_goes_on,
)
from supervisor.loop.time_limits import TimeLimit, run_limited, time_limit
from supervisor.loop.turns import ForThisTurn
from supervisor.loop.variables import LoopVar
from supervisor.loop.wakeup import Bell
from supervisor.loop.workers import read_settings, read_settings_if_any

__all__ = [
    "LONGEST_TIMER",
    "NOWHERE",
    "Bell",
    "Clock",
    "EventLoop",
    "ForThisTurn",
    "LoopVar",
    "Native",
    "Tasks",
    "TimeLimit",
    "can_be_started",
    "deadline",
    "deadline_here",
    "forget_closed",
    "forget_once_closed",
    "forget_who_was_here",
    "from_worker_thread",
    "has_closed",
    "in_forked_process",
    "is_cancellation",
    "is_cancelled_here",
    "is_cancelled_itself",
    "let_others_go_first",
    "post",
    "raise_later",
    "read_settings",
    "read_settings_if_any",
    "run_limited",
    "running_loop",
    "someone_goes_on",
    "time_in_process",
    "time_limit",
    "times_here_before",
    "when_closed",
]
