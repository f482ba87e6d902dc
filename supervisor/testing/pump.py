"""Virtual time for loops that cannot be looked at from outside, as uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, TypeVarTuple

from supervisor.testing.clock import Clock, Outside, Timer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

if TYPE_CHECKING:
    AnyLoop: TypeAlias = asyncio.BaseEventLoop
else:
    AnyLoop = object


class Pump(AnyLoop):
    """`VirtualTimeLoop` for any loop of asyncio's, of which a class is made with this one first.

    Time jumps after a round in which there was nothing to do. A round cannot be looked at from
    outside. So there is one callback, called the pump here, that runs in every round while there
    are timers. Its attributes are named after it, since the other class has some of its own.
    """

    _clock_resolution = 1e-9  # as asyncio's loops say it: virtual time has no milliseconds

    def __init__(self, patience: float | None = None) -> None:
        super().__init__()
        self._pump_clock = Clock()
        self._pump_outside = Outside(patience)
        self._pump_busy = False  # whether somebody had something to do since the pump ran last
        self._pump_runs = False  # whether it runs in the next round
        self._pump_stops = False  # whether the loop is about to end, and time with it
        self._pump_waits: asyncio.TimerHandle | None = None  # a real timer, until patience is over

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._pump_clock.now

    def jump(self, seconds: float) -> None:
        """Let time pass at once; see `VirtualTimeLoop.jump`."""
        self._pump_clock.jump(seconds)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call `callback` in the next round."""
        self._go_on()
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call `callback` in the next round; for other threads."""
        super().call_soon_threadsafe(self._go_on)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback` when so much virtual time has passed."""
        return self.call_at(self._pump_clock.now + delay, callback, *args, context=context)

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
            super().call_later(0, callback, *args, context=context).cancel()
        timer = Timer(when, callback, args, self, context)
        self._pump_clock.add(timer)
        self._go_on()
        self._pump_soon()
        return timer

    # What asyncio's own handles call when they are cancelled.
    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        self._pump_clock.count_cancelled()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> Any:  # a future, though uvloop's types have a coroutine here
        """Call `func` in a worker thread, for which time waits."""
        future: Any = super().run_in_executor(executor, func, *args)
        self._pump_outside.watch(future)
        return future

    def run_forever(self) -> None:
        """Run until the loop is stopped."""
        try:
            super().run_forever()
        finally:
            self._pump_stops = False

    def stop(self) -> None:
        """Let the loop end after what is ready, and no time pass meanwhile."""
        self._pump_stops = True
        super().stop()

    def close(self) -> None:
        """Close the loop, and forget its timers."""
        super().close()
        self._pump_clock.clear()

    def _go_on(self) -> None:
        self._pump_busy = True
        if self._pump_waits is not None:
            self._pump_waits.cancel()
            self._pump_waits = None
            self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pump_runs and self._pump_waits is None:
            self._pump_runs = True
            super().call_soon(self._pump)

    def _pump(self) -> None:
        """Let due timers have the next turn; if nobody has one, wait, and then let time pass."""
        self._pump_runs = False
        self._pump_outside.look()
        self._fire()
        if self._pump_busy or self._pump_stops:
            self._pump_busy = False
        elif self._pump_clock.has_timers():
            patience = self._pump_outside.patience()
            if patience:
                self._pump_waits = super().call_later(patience, self._patience_is_over)
            else:
                self._jump()
        if self._pump_clock.has_timers():
            self._pump_soon()

    def _patience_is_over(self) -> None:
        self._pump_waits = None
        self._pump_outside.give_up()
        self._jump()
        self._pump_soon()

    def _jump(self) -> None:
        self._pump_clock.jump_to_next()
        self._fire()

    def _fire(self) -> None:
        for timer in self._pump_clock.due():
            self.call_soon(timer.fire)
