"""Functions of the application that are told of changes of state, each in a task of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import isawaitable
from typing import Final, TypeAlias, cast

import anyio

from supervisor.arguments import form_of, shown, unwrapped
from supervisor.events import Event, EventsMissed, EventStream, StateChanged
from supervisor.instrumentation.logs import log_raised, log_untold
from supervisor.loop import EventLoop, is_cancellation, is_cancelled_itself, raise_later
from supervisor.policy import check_takes

OnChange: TypeAlias = Callable[[StateChanged], object]
"""Is told of a change of state; what it returns is awaited, if that can be done."""

BACKLOG: Final = 1024
"""Changes that may wait for a function before it misses some."""

LAST: Final = 2.0
"""Seconds for what still waits when the supervisor ends, or its event loop does."""


class Changes(EventStream):
    """The changes of state of one circuit, or of all."""

    def put(self, event: Event) -> None:
        """Deliver `event` if it is one of them, and there is room."""
        if isinstance(event, StateChanged):
            super().put(event)


class Notices:
    """What tells one function of changes of state; `supervisor.on_change(...)` returns it.

    The function is told of one change after the other, in their order, by a task that does nothing
    else: so it holds up no call, and no other function. If it falls behind by more than 1024
    changes, it misses some. What it misses and what it raises is logged.

    When the supervisor ends, it is told of what still waits, for 2 seconds at most.
    """

    def __init__(self, func: OnChange, circuit: str | None = None, last: float = LAST) -> None:
        if form_of(func) not in ("async", "plain"):
            raise TypeError(f"on_change must be a plain or an async function, got {shown(func)}")
        check_takes("on_change", func, "a change")
        self.changes = Changes(BACKLOG, circuit)
        self._func = func
        self._last = last  # seconds for what still waits at the end
        self._loop: EventLoop | None = None
        self._until = math.inf
        self._told: anyio.CancelScope | None = None  # while an async function is told
        self._untold = 0
        self._ended = False

    def end(self) -> None:
        """Tell the function nothing more; if it is being told something, it may end that.

        Raises:
            RuntimeError: this is not the supervisor's event loop.
        """
        if self._loop is not None and not self.changes.closed and not self._loop.runs_here():
            raise RuntimeError("notices must be ended on the supervisor's event loop")
        self._ended = True
        self.changes.close()

    def close(self) -> None:
        """Tell what still waits, in the time that there is for it."""
        self.changes.close()
        now = None if self._loop is None else self._loop.time_here()
        if now is not None:
            self._until = min(self._until, now + self._last)
        if self._told is not None:
            self._told.deadline = self._until

    async def deliver(self, loop: EventLoop) -> None:
        """Tell the function of each change until there are no more; runs in a task of its own."""
        self._loop = loop
        try:
            await self._tell_all(loop)
        except BaseException as end:
            if is_cancellation(end):  # all tasks are, when an event loop ends
                self.close()
                await self._tell_all(loop)
            raise

    async def _tell_all(self, loop: EventLoop) -> None:
        async for event in self.changes:
            if self._ended:
                return
            if isinstance(event, EventsMissed):
                log_untold(self._name, event.count)
                continue
            assert isinstance(event, StateChanged)
            self._untold += 1
            if self._until == math.inf or loop.clock.time() < self._until:
                self._untold -= await self._tell(loop, event)
        if self._untold and self._last > 0:
            log_untold(self._name, self._untold)

    async def _tell(self, loop: EventLoop, change: StateChanged) -> bool:
        """Tell of one change, and return whether there was time for it."""
        try:
            told = self._func(change)
            if isawaitable(told):
                with anyio.CancelScope(deadline=self._until, shield=True) as self._told:
                    await told
                return not self._told.cancelled_caught
        except BaseException as error:
            if _must_come_out(loop, error):
                raise
            log_raised(self._name, change.circuit, error)
        finally:
            self._told = None
        return True

    @property
    def _name(self) -> str:
        func = unwrapped(self._func)
        name = getattr(func, "__qualname__", None)
        return name if isinstance(name, str) else shown(func)


def _must_come_out(loop: EventLoop, error: BaseException) -> bool:
    """Whether an error is none of the function's, but ends the task that tells it.

    An interrupt is handed to the event loop.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(is_cancellation) is not None
    if is_cancellation(error):
        return is_cancelled_itself()
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise_later(loop, error)
    return isinstance(error, GeneratorExit)
