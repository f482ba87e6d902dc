"""The tasks of a supervisor: they end when they are told to, not when a scope is cancelled.

The tasks of an anyio task group or a trio nursery share the cancel scope of the block, which
may still need its circuits while it cleans up after a cancellation. They also cost more: on
asyncio 18 µs and 3.5 kB for a task of anyio's, against 2 µs and 0.9 kB for one of these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Generic, TypeVar

import anyio

from supervisor.loop.event_loop import EventLoop

Subject = TypeVar("Subject")


class Tasks(Generic[Subject]):
    """A group of tasks that run in one context, and are waited for at the end.

    An event loop that ends cancels what is left of them: they are tasks of asyncio's, or
    system tasks of trio's. None of them may raise an `Exception`.

    Args:
        loop: the event loop that runs.
        context: the context of all tasks.
        at_end: called with the subject of each task that has ended, also if it was cancelled
            before its first step. It may run outside any task.
    """

    def __init__(
        self, loop: EventLoop, context: Context, at_end: Callable[[Subject], None]
    ) -> None:
        self._loop = loop
        self._context = context
        self._at_end = at_end
        self._ended = self._end  # bound once, not once per task
        self._running: dict[object, Subject] = {}
        self._last_ended: anyio.Event | None = None

    def start(
        self, name: str, subject: Subject, work: Coroutine[Any, Any, None], of_user: bool = False
    ) -> None:
        """Let a task do `work`; `name` is what debuggers show.

        If it runs code of the user's, what that sets in the context is seen by no other task.

        Raises:
            anyio.RunFinishedError: trio's run is ending, and takes no more tasks.
        """
        loop = self._loop.asyncio_loop
        context = self._context.copy() if of_user else self._context
        if loop is None:
            import trio  # noqa: PLC0415  (asyncio's users need not wait for its import)

            try:
                task: object = trio.lowlevel.spawn_system_task(
                    self._run_on_trio, work, name=name, context=context
                )
            except RuntimeError:  # the run takes no more tasks
                work.close()
                raise anyio.RunFinishedError from None
        else:
            # Not by the application's task factory: what a factory may be given has changed from
            # one version of Python to the next, and an eager one runs the task before it is known.
            try:
                task = asyncio.Task(work, loop=loop, name=name, context=context)
            except BaseException:
                work.close()  # or it would warn that nobody has awaited it
                raise
            # A loop may be closed without having ended its tasks: so may these, without a word.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            task.add_done_callback(self._ended, context=self._context)
        self._running[task] = subject  # asyncio itself keeps only a weak reference

    async def join(self) -> None:
        """Wait until all tasks have ended, whatever is cancelled meanwhile."""
        with anyio.CancelScope(shield=True):
            while self._running:
                self._last_ended = anyio.Event()
                await self._last_ended.wait()

    async def _run_on_trio(self, work: Coroutine[Any, Any, None]) -> None:
        import trio  # noqa: PLC0415

        try:
            await work
        finally:
            self._end(trio.lowlevel.current_task())

    def _end(self, task: object) -> None:
        try:
            self._at_end(self._running.pop(task))
        finally:
            if self._last_ended is not None and not self._running:
                self._last_ended.set()


def someone_goes_on() -> bool:
    """Whether asyncio's running loop has a task that has not been cancelled.

    If it has not, the loop is being wound up: so asyncio's runners end one, whereas somebody
    who cancels all other tasks goes on himself. Trio cancels system tasks at the end only.
    """
    try:
        return not (is_cancelled_here() and all(task.cancelling() for task in asyncio.all_tasks()))
    except RuntimeError:  # no loop of asyncio's
        return False


def is_cancelled_here() -> bool:
    """Whether the task that runs, if any, has been cancelled.

    Raises:
        RuntimeError: no loop of asyncio's runs.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def is_cancelled_itself() -> bool:
    """Whether a cancellation that has come up is that of the task that runs: on asyncio, a task may
    be cancelled by what it waits for, while nobody has cancelled it.
    """
    try:
        return is_cancelled_here()
    except RuntimeError:  # no loop of asyncio's
        return True


def can_be_started(loop: EventLoop) -> bool:
    """Whether a task that is started now on `loop` would not be left behind by the event loop."""
    return loop.asyncio_loop is None or someone_goes_on()
