"""The event loop that a circuit lives on: whether it is the one that runs here, and its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Final

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from supervisor.loop.wakeup import AsyncioBell, Bell, TrioBell


class EventLoop:
    """One event loop, or one run of trio's.

    `runs_here` is what can be afforded on every call: in one thread at most one event loop
    runs at a time (trio's guest mode is not supported). A run of trio's cannot be paused, and
    has stopped its circuits at its end.
    """

    __slots__ = ("asyncio_loop", "is_running", "new_bell", "thread", "time", "token")

    def __init__(self, token: EventLoopToken | None) -> None:
        self.token = token
        self.thread = 0 if token is None else get_ident()
        native = None if token is None else token.native_token
        self.asyncio_loop = native if isinstance(native, asyncio.AbstractEventLoop) else None
        self.is_running: Callable[[], bool] = _always
        self.new_bell: Callable[[], Bell] = TrioBell
        self.time: Callable[[], float] = anyio.current_time
        if self.asyncio_loop is not None:
            self.is_running = self.asyncio_loop.is_running
            self.new_bell = partial(AsyncioBell, self.asyncio_loop)
            # The loop's own clock: a third of the price of asking which loop it is, and less if
            # it is the one that every loop has which does not bring another.
            own = type(self.asyncio_loop).time is not asyncio.BaseEventLoop.time
            self.time = self.asyncio_loop.time if own else time.monotonic
        elif token is not None:
            import trio  # noqa: PLC0415  (asyncio's users need not wait for its import)

            # Likewise: half the price of `trio.current_time`.
            self.time = trio.lowlevel.current_clock().current_time

    def runs_here(self) -> bool:
        """Whether it is the running one, if it has not ended."""
        return bool(get_ident() == self.thread and self.is_running())

    def is_current(self) -> bool:
        """Whether it is the running one, whatever has happened to it before.

        Raises:
            anyio.NoEventLoopError: no event loop is running.
        """
        return current_token() == self.token


def _always() -> bool:
    return True


NOWHERE: Final = EventLoop(None)
"""Where a circuit is that does not live on any event loop."""


def loop_time() -> float | None:
    """Return the running event loop's time in seconds, or None where none is running."""
    try:
        return anyio.current_time()
    except RuntimeError:  # anyio's NoEventLoopError, or asyncio's own in a copied context
        return None
