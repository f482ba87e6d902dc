"""What an event loop is asked to do later: to call a function for a worker thread, or to raise."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, cast

import sniffio
from anyio import NoEventLoopError, RunFinishedError, from_thread
from anyio.lowlevel import EventLoopToken, current_token

from supervisor.loop.event_loop import EventLoop, Native, is_trios
from supervisor.loop.forks import in_forked_process
from supervisor.loop.limits import is_closed

if TYPE_CHECKING:
    import asyncio

    import trio


def from_worker_thread() -> Native:
    """Return the event loop that started this worker thread.

    Raises:
        anyio.NoEventLoopError: none has.
    """
    # Asked without a round trip if possible, since that one waits for ever if asyncio's loop is
    # closed at this moment, or is not in this process.
    known = _known_to_anyio()
    if known is not None and known is _parents:
        raise NoEventLoopError("the thread of this event loop is in the process that was forked")
    return cast("Native", (known or from_thread.run_sync(current_token)).native_token)


def _known_to_anyio() -> EventLoopToken | None:
    """Return what anyio knows of a thread of its own."""
    return getattr(getattr(from_thread, "threadlocals", None), "current_token", None)


_parents: EventLoopToken | None = None


def _after_fork() -> None:
    """Remember that this thread, if it was a worker's, serves its event loop no more."""
    global _parents  # noqa: PLW0603
    _parents = _known_to_anyio()


in_forked_process(_after_fork)


def post(loop: Native, func: Callable[..., None], /, *args: object) -> None:
    """Let the event loop call `func`, which must not raise, after all that was posted before.

    It is called in the context of this thread, whose call it is.

    Raises:
        anyio.RunFinishedError: the event loop has ended.
        NotImplementedError: it takes nothing from other threads.
    """
    context = copy_context()
    try:
        if is_trios(loop):
            cast("trio.lowlevel.TrioToken", loop).run_sync_soon(partial(context.run, func, *args))
        else:
            context.run(sniffio.current_async_library_cvar.set, "asyncio")  # no task tells it
            asyncios = cast("asyncio.AbstractEventLoop", loop)
            asyncios.call_soon_threadsafe(func, *args, context=context)
    except (AttributeError, NotImplementedError):
        raise NotImplementedError(
            f"{loop!r} takes nothing from other threads: it has no call_soon_threadsafe"
        ) from None
    except RuntimeError:
        raise RunFinishedError from None


def has_closed(loop: Native) -> bool:
    """Whether the event loop has ended without having run all that was posted to it.

    A closed loop of asyncio's forgets that; trio's runs do it at their end.
    """
    return not is_trios(loop) and is_closed(cast("asyncio.AbstractEventLoop", loop))


def raise_later(loop: EventLoop, interrupt: BaseException) -> bool:
    """Let asyncio's loop raise an interrupt by itself, and return whether it will.

    Such a loop ends by it as if a task had been interrupted, and can be run again. Trio keeps
    interrupts from system tasks.
    """
    if loop.asyncio_loop is None:
        return False
    loop.asyncio_loop.call_soon(_raise, interrupt)
    return True


def _raise(interrupt: BaseException) -> None:
    raise interrupt
