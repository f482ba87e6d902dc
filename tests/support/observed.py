"""Circuits that are shown to whoever counts them, and how they are read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreakerOpenError, Supervisor
from supervisor.supervision import figures
from tests.support.worlds import fail_times, succeed


@contextmanager
def counted_anew() -> Iterator[None]:
    """Nothing has been counted in this process yet, nor is afterwards."""
    figures._after_fork()
    yield
    figures._after_fork()


def in_thread(work: Callable[[], Any]) -> Any:
    """Return what another thread makes of it, while this one waits."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


async def refused(breaker: Any, times: int = 1) -> None:
    """Make that many calls, which are refused."""
    for _ in range(times):
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.call(succeed)


async def busy(supervisor: Supervisor) -> None:
    """Give every metric something to tell, in two circuits."""
    llm = supervisor.circuit("llm", failure_threshold=2, recovery_timeout=10.0, ignore=LookupError)
    await llm.call(succeed)
    late = await llm.acquire()
    (await llm.acquire()).ignore()
    with anyio.move_on_after(1):
        await llm.call(anyio.sleep_forever)
    await fail_times(llm, 2)
    late.succeed()
    await anyio.sleep(4)
    await refused(llm, 3)
    web = supervisor.circuit(
        "web", window_calls=10, failure_rate=0.9, slow_call_duration=1.0, slow_call_rate=0.9
    )
    for _ in range(2):
        await web.call(succeed)
    await fail_times(web, 1)
    await web.call(anyio.sleep, 2)
