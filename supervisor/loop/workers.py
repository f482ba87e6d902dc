"""What would keep the event loop waiting, and so is done in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
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
    if not app_settings.knows_circuits or (retries and not app_settings.knows_retries):
        await _in_thread(partial(app_settings.read, retries))


async def read_settings_if_any() -> None:
    """Read what running circuits ask for likewise: where nothing is set, there is nothing to read.

    Raises:
        SettingsError: a variable is misspelt or out of range.
    """
    if not app_settings.knows_running_circuits:
        await _in_thread(app_settings.read_of_running_circuits)


async def _in_thread(read: Callable[[], None]) -> None:
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
