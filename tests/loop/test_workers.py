"""Settings that are read in a worker thread, or here where that cannot be."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import anyio.to_thread
import pytest

from supervisor import app_settings
from supervisor.loop import read_settings, workers

pytestmark = pytest.mark.anyio


async def threads_that_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Read settings that nobody has read, and return in which threads."""
    vars(app_settings).clear()
    threads: list[int] = []
    read = app_settings.read

    def noted(retries: bool = False) -> None:
        threads.append(get_ident())
        read(retries)

    monkeypatch.setattr(type(app_settings), "read", lambda _, retries: noted(retries))
    await read_settings(retries=True)
    await read_settings(retries=True)
    assert app_settings.knows_all
    return threads


async def test_they_are_read_once_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop goes on meanwhile."""
    (thread,) = await threads_that_read(monkeypatch)
    assert thread != get_ident()


async def test_a_loop_that_no_thread_could_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read here."""

    def fail(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(workers, "post", fail)
    assert await threads_that_read(monkeypatch) == [get_ident()]


async def test_a_process_that_can_have_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor more of them: they are read here."""

    async def fail(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(anyio.to_thread, "run_sync", fail)
    assert await threads_that_read(monkeypatch) == [get_ident()]
