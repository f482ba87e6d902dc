"""What would keep the event loop waiting, and so is done in a worker thread."""

from __future__ import annotations

from functools import partial

import anyio.to_thread

from supervisor.settings import app_settings


async def read_settings(retries: bool = False) -> None:
    """Read the settings of circuits if nobody has, and of retries, while the event loop goes on.

    Raises:
        SettingsError: a variable is misspelt or out of range.
    """
    if not (app_settings.knows_circuits and (app_settings.knows_retries or not retries)):
        read = partial(app_settings.read, retries)
        try:
            await anyio.to_thread.run_sync(read)
        except RuntimeError:  # there can be no thread, or no more
            read()
