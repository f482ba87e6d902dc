"""Event loops for asyncio whose clock jumps to the next timer instead of waiting for it.

A test of a recovery that takes a day then takes a millisecond, and takes it the same way on
every machine. Trio brings its own, `MockClock(autojump_threshold=0)`.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import trio.testing
import uvloop

T = TypeVar("T")

BACKENDS = ("asyncio", "uvloop", "trio")


def in_virtual_time(backend: str) -> tuple[str, dict[str, Any]]:
    """Return what anyio calls that backend, and its options, good for one run."""
    match backend:
        case "trio":
            return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
        case "uvloop":
            return "asyncio", {"loop_factory": VirtualTimeUvloop}
        case _:
            return "asyncio", {"loop_factory": VirtualTimeLoop}


def run_in_virtual_time(backend: str, main: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run `main(*args)` on an event loop of its own, whose time starts at 0."""
    name, options = in_virtual_time(backend)
    return anyio.run(main, *args, backend=name, backend_options=options)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Asyncio's own loop; its selector advances the time instead of blocking."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if when == math.inf:  # `sleep_forever` uses a timer; the clock must not run after it
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timers: only a thread or a socket can go on
            return super().select()
        ready = super().select(0)
        if not ready:
            self._loop.now += max(timeout, 0.0)
        return ready


class VirtualTimeUvloop(uvloop.Loop):
    """uvloop; timers are kept here, and fire when a round of the loop has had nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[asyncio.TimerHandle] = []
        self._busy = False
        self._pumping = False

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        self._busy = True
        return super().call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when < math.inf:
            heapq.heappush(self._timers, handle)
            self._pump_later()
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a handle; the heap drops it when its time comes."""

    def _pump_later(self) -> None:
        if self._timers and not self._pumping:
            self._pumping = True
            super().call_soon(self._pump)

    def _pump(self) -> None:
        """Run after every round of the loop, as long as there are timers."""
        self._pumping = False
        while self._timers and self._timers[0].cancelled():
            heapq.heappop(self._timers)
        if self._timers and not self._busy:
            self._now = max(self._now, self._timers[0].when())
        while self._timers and self._timers[0].when() <= self._now:
            handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                handle._run()
        self._busy = False
        self._pump_later()
