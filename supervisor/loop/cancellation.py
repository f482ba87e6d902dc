"""Which errors are cancellations."""

from __future__ import annotations

import sys

import anyio


def is_cancellation(error: BaseException) -> bool:
    """Whether `error` cancels a task of the running event loop, or in a worker thread of any."""
    if isinstance(error, Exception):
        return False
    try:
        return isinstance(error, anyio.get_cancelled_exc_class())
    except anyio.NoEventLoopError:
        # A worker thread's call: it may serve either kind of event loop. What is not imported
        # has not cancelled anything, and `()` is no type of error.
        return isinstance(
            error,
            (
                getattr(sys.modules.get("asyncio"), "CancelledError", ()),
                getattr(sys.modules.get("trio"), "Cancelled", ()),
            ),
        )
