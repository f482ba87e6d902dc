"""Loops that are asyncio's for all who use them, but have little of what its own ones have."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from typing import Any


class PlainLoop:
    """Has what every loop must have, and is no `asyncio.AbstractEventLoop`.

    Each call of a method fails if the next of its `failures` is true.
    """

    def __init__(self) -> None:
        self.failures: dict[str, Iterator[bool]] = {}
        self.unhandled: list[dict[str, Any]] = []
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()

    def _fail(self, method: str) -> None:
        if next(self.failures.get(method, iter(())), False):
            raise OSError(f"{method} is out of order")

    def time(self) -> float:
        self._fail("time")
        return time.monotonic()

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self._fail("call_soon")
        handle = asyncio.Handle(callback, args, self, context)  # type: ignore[arg-type]
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Refuse, as a workflow's loop does, what has passed, and know no time beyond a life's."""
        self._fail("call_later")
        if delay < 0:
            raise RuntimeError("it is too late for that")
        when = time.monotonic() + (delay if delay < 3e9 else 0)
        timer = asyncio.TimerHandle(when, callback, args, self, context)  # type: ignore[arg-type]
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._fail("call_at")
        delay = round(when - time.monotonic(), 3) if when < float("inf") else when
        return self.call_later(delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        self._fail("create_future")
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def create_task(
        self, work: Coroutine[Any, Any, Any], *, name: Any = None, context: Any = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(work, loop=self, name=name, context=context)  # type: ignore[arg-type]

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def run(self, main: Coroutine[Any, Any, Any], seconds: float = 5.0) -> Any:
        """Run `main`, then cancel all tasks, and let them end; nothing may take so long."""
        asyncio._set_running_loop(self)  # type: ignore[arg-type]
        try:
            task = self.create_task(main)
            self._run_until(task.done, seconds)
            self.failures.clear()
            others = asyncio.all_tasks(self)  # type: ignore[arg-type]
            for other in others:
                other.cancel()
            self._run_until(lambda: all(other.done() for other in others), seconds)
        finally:
            asyncio._set_running_loop(None)
        return task.result()

    def _run_until(self, is_over: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not is_over():
            assert time.monotonic() < end, "somebody is left waiting"
            while self._timers and self._timers[0][0] <= time.monotonic():
                self._ready.append(heapq.heappop(self._timers)[2])
            if not self._ready:
                time.sleep(0.001)
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()


class WorkflowLoop(PlainLoop, asyncio.AbstractEventLoop):  # type: ignore[misc]
    """An `asyncio.AbstractEventLoop` as a workflow engine's: what it leaves out raises."""
