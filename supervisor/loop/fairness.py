"""Whether a task goes on and on without a wait, so that no other one has a turn.

Who makes another call after each refusal would keep the event loop from all else: timers,
cancellations, other tasks, and the turn that would end the refusals.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Final

import anyio.lowlevel
import sniffio


def _nobody() -> object:
    return None


class _Last(threading.local):
    """Who was here last, not kept alive by that, and how many times before that."""

    def __init__(self) -> None:
        self.task: Callable[[], object] = _nobody
        self.times = 0


_last: Final = _Last()


def times_here_before() -> int:
    """How many times in a row the running task has been here, and no other one of this thread.

    All who might go on and on come here now and then. Nothing is told of code outside tasks.
    """
    task = _task_here()
    if task is not None and task is _last.task():
        _last.times += 1
    else:
        _last.task, _last.times = (_nobody if task is None else weakref.ref(task)), 0
    return _last.times


def forget_who_was_here() -> None:
    """Let whoever comes next be one who was not here."""
    _last.task = _nobody


async def let_others_go_first() -> None:
    """Let all tasks that are ready have a turn, if the running one is here again."""
    if times_here_before():
        await anyio.lowlevel.checkpoint()


def _task_here() -> object:
    if sniffio.thread_local.name == "trio":
        import trio  # noqa: PLC0415

        return trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else None
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop of asyncio's
        return None
