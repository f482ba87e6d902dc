"""What has been found out on an event loop, and holds until its next turn."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from supervisor.loop.event_loop import EventLoop

Finding = TypeVar("Finding")


class ForThisTurn(threading.local, Generic[Finding]):
    """Keeps one thing, for whatever else is ready to run now on the same loop of asyncio's.

    Only that loop's queue holds it, so that it goes with a loop that takes no further turn.
    """

    def __init__(self) -> None:
        self._kept: Callable[[], _Kept[Finding] | None] = lambda: None

    def get(self) -> Finding | None:
        """Return what was kept in this turn of the running event loop, or None."""
        kept = self._kept()
        return kept.finding if kept is not None and kept.loop.runs_here() else None

    def keep(self, loop: EventLoop, finding: Finding) -> None:
        """Keep something in place of what was kept before."""
        assert loop.asyncio_loop is not None
        kept = _Kept(loop, finding)
        loop.asyncio_loop.call_soon(kept.forget)
        self._kept = weakref.ref(kept)


class _Kept(Generic[Finding]):
    def __init__(self, loop: EventLoop, finding: Finding) -> None:
        self.loop = loop
        self.finding: Finding | None = finding

    def forget(self) -> None:
        self.finding = None
