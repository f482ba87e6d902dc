"""What would keep the event loop waiting, and so is done in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread

T = TypeVar("T")


async def run_in_worker(func: Callable[[], T]) -> T:
    """Return what a function returns that waits for files."""
    return await anyio.to_thread.run_sync(func)
