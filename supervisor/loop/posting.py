"""What a worker thread can ask of an event loop: which one it serves, and to call a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import cast

import sniffio
from anyio import RunFinishedError, from_thread
from anyio.lowlevel import EventLoopToken, current_token


def runs_event_loop() -> bool:
    """Whether this thread is an event loop's own, which must not wait for that loop."""
    # Not anyio's functions: `asyncio.to_thread` copies the context by which they tell.
    if sniffio.thread_local.name is not None:
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def from_worker_thread() -> EventLoopToken:
    """Return the event loop that started this worker thread.

    Raises:
        anyio.NoEventLoopError: none has.
    """
    # What anyio knows of its threads, asked without a round trip if possible: that one waits for
    # ever if asyncio's loop is closed at this moment.
    known: EventLoopToken | None = getattr(
        getattr(from_thread, "threadlocals", None), "current_token", None
    )
    return known or from_thread.run_sync(current_token)


def post(token: EventLoopToken, func: Callable[..., None], /, *args: object) -> None:
    """Let the event loop call `func`, which must not raise, after all that was posted before.

    Raises:
        anyio.RunFinishedError: the event loop has ended.
    """
    loop = token.native_token
    try:
        if isinstance(loop, asyncio.AbstractEventLoop):
            context = copy_context()
            context.run(sniffio.current_async_library_cvar.set, "asyncio")  # no task tells it
            loop.call_soon_threadsafe(func, *args, context=context)
        else:
            import trio  # noqa: PLC0415  (asyncio's users need not wait for its import)

            cast("trio.lowlevel.TrioToken", loop).run_sync_soon(func, *args)
    except RuntimeError:
        raise RunFinishedError from None


def has_closed(token: EventLoopToken) -> bool:
    """Whether the event loop has ended without having run all that was posted to it.

    A closed loop of asyncio's forgets that; trio's runs do it at their end.
    """
    loop = token.native_token
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()
