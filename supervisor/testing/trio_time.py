"""Virtual time for trio: its own clock, which waits for worker threads here."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from supervisor.testing.clock import PATIENCE


def trio_options(patience: float | None) -> dict[str, Any]:
    """Return the options of one run in virtual time; see `VirtualTimeLoop` for `patience`."""
    if patience is not None:
        return {"clock": trio.testing.MockClock(autojump_threshold=patience)}
    clock = trio.testing.MockClock(autojump_threshold=0)
    return {"clock": clock, "instruments": [WaitForThreads(clock)]}


class WaitForThreads(trio.abc.Instrument):
    """Lets a clock stand still for a real second at most while a worker thread works."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock
        self._at_work = 0
        self._waiting_since: float | None = None  # in virtual time

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        """Look whether the step has begun or ended work in a thread, or time has jumped."""
        at_work = trio.testing.active_thread_count()
        if at_work != self._at_work:
            self._at_work = at_work
            self._wait(at_work > 0)
        elif self._waiting_since not in (None, self._clock.current_time()):
            self._wait(False)  # it has waited for these threads, in vain

    def _wait(self, waits: bool) -> None:
        self._waiting_since = self._clock.current_time() if waits else None
        self._clock.autojump_threshold = PATIENCE if waits else 0.0
