"""The time: monotonic, in seconds, and the running event loop's own, so that tests can set it."""

from __future__ import annotations

import anyio


def loop_time() -> float | None:
    """Return the running event loop's time in seconds, or None where none is running."""
    try:
        return anyio.current_time()
    except anyio.NoEventLoopError:
        return None
