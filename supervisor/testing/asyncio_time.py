"""Virtual time for asyncio."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import TypeVar, TypeVarTuple

from supervisor.testing.clock import Clock, Outside, Timer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio's whose time jumps to the next timer when nobody else can go on.

    Its time starts at 0. Timers that are due at the same time fire in the order in which they
    were set. Time stands still while anybody has something to do, and for a (real) second at
    most while a worker thread works: one of `anyio.to_thread` (by its default limiter), of
    `asyncio.to_thread` or of an executor. With no timers the loop waits for threads, sockets and
    processes like any other one.

    Args:
        patience: real seconds, 0 or more, for which time waits before every jump, so that
            sockets, processes and threads of your own may go on first. None: as said above.

    Raises:
        ValueError: `patience` is negative, infinite or not a number.
    """

    def __init__(self, patience: float | None = None) -> None:
        self._clock = Clock()
        self._outside = Outside(patience)
        super().__init__(_JumpingSelector(self._clock, self._outside, self.call_soon))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._clock.now

    def jump(self, seconds: float) -> None:
        """Let time pass at once, as if somebody had blocked the event loop.

        Raises:
            ValueError: `seconds` is negative, infinite or not a number.
        """
        self._clock.jump(seconds)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback` when virtual time has come to `when`."""
        if self.is_closed() or self.get_debug():
            # Raises what the loop itself would.
            super().call_at(when, callback, *args, context=context).cancel()
        timer = Timer(when, callback, args, self, context)
        self._clock.add(timer)
        return timer

    # What asyncio's own handles call when they are cancelled.
    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, Timer):
            self._clock.count_cancelled()
        else:
            super()._timer_handle_cancelled(handle)  # type: ignore[misc]

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Call `func` in a worker thread, for which time waits."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._outside.watch(future)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        """Wait for the threads of the default executor, which go by real time, without a limit."""
        await super().shutdown_default_executor()

    def close(self) -> None:
        """Close the loop, and forget its timers."""
        super().close()
        self._clock.clear()


class _JumpingSelector(selectors.DefaultSelector):
    """What the loop asks for news once in every round; here time jumps."""

    def __init__(
        self,
        clock: Clock,
        outside: Outside,
        call_soon: Callable[[Callable[[], None]], asyncio.Handle],
    ) -> None:
        super().__init__()
        self._clock = clock
        self._outside = outside
        self._call_soon = call_soon

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return news, after the first of these that brings some: a look, patience, a jump."""
        news = super().select(0)
        self._outside.look()
        if self._fire() or news or timeout == 0:  # the loop has something to do
            return news
        if not self._clock.has_timers():
            return super().select()
        patience = self._outside.patience()
        if patience:
            news = super().select(patience)
            if news:
                return news
            self._outside.give_up()
        self._clock.jump_to_next()
        self._fire()
        return news

    def _fire(self) -> bool:
        """Let the timers that are due have the next turn, and return whether there were any."""
        due = list(self._clock.due())
        for timer in due:
            self._call_soon(timer.fire)
        return bool(due)
