"""Who is told what happens to a supervisor's circuits besides event streams: logs, and notices.

Each has tasks of its own, so that none of them holds up a call, or another one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from supervisor.events import EventStream
from supervisor.instrumentation import Notices, log_events
from supervisor.loop import EventLoop, Tasks
from supervisor.supervision.publishing import Publisher
from supervisor.supervision.refusals import Refusals

LOGGED: Final = 1024
"""Events that may wait for the log before it misses some."""


class Onlookers:
    """Those of one supervisor.

    Attributes:
        refusals: what is logged of them.
    """

    def __init__(self, publisher: Publisher) -> None:
        self.refusals = Refusals(publisher)
        self._publisher = publisher
        self._notices: dict[Notices, None] = {}  # in order
        self._loop: EventLoop | None = None
        self._tasks: Tasks[Callable[[], None]] | None = None

    def open(
        self,
        loop: EventLoop,
        tasks: Tasks[Callable[[], None]],
        log_ends: Callable[[], None],
        log_ended: Callable[[], None],
    ) -> None:
        """Let them look on from now on, by tasks of those; be told when that of the log ends, in
        it and after it.
        """
        events = EventStream(LOGGED)
        self._publisher.add(events)
        tasks.start("supervisor log", log_ended, _log(events, log_ends))
        self.refusals.open(loop, tasks)
        self._loop, self._tasks = loop, tasks
        for notices in list(self._notices):
            self._start(notices)

    def add(self, notices: Notices) -> None:
        """Give notice of all changes from now on."""
        self._publisher.add(notices.changes)
        self._notices[notices] = None
        self._start(notices)

    def close(self) -> None:
        """Let them end, with what they have still to tell; event streams as well."""
        self.refusals.tell_rest()
        self._publisher.close()
        self.loop_ends()

    def loop_ends(self) -> None:
        """Start no more tasks, and let those that run end."""
        self._tasks = None
        self.refusals.close()
        for notices in list(self._notices):
            notices.close()

    def _start(self, notices: Notices) -> None:
        if self._loop is not None and self._tasks is not None:
            ended = partial(self._notices.pop, notices)
            work = notices.deliver(self._loop)
            self._tasks.start("supervisor notices", ended, work, of_user=True)


async def _log(events: EventStream, log_ends: Callable[[], None]) -> None:
    try:
        await log_events(events)  # which lasts until the supervisor closes
    finally:
        log_ends()
