"""What would keep the event loop waiting, and so is done in a worker thread."""

from __future__ import annotations

from functools import partial

import anyio.to_thread

from supervisor.loop.event_loop import loop_here
from supervisor.loop.posting import post
from supervisor.settings import app_settings


async def read_settings(retries: bool = False) -> None:
    """Read the settings of circuits if nobody has, and of retries, while the event loop goes on.

    Raises:
        SettingsError: a variable is misspelt or out of range.
    """
    if app_settings.knows_circuits and (app_settings.knows_retries or not retries):
        return
    read = partial(app_settings.read, retries)
    if not _hears_threads():
        read()
        return
    try:
        await anyio.to_thread.run_sync(read)
    except RuntimeError:  # there can be no thread, or no more
        read()


def _hears_threads() -> bool:
    """Whether a thread could wake the event loop here: not each of asyncio's has a way for that."""
    try:
        post(loop_here(), _nothing)
    except Exception:
        return False
    return True


def _nothing() -> None:
    pass
