"""Figures are those of one moment wherever another thread may come to read them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Permit, Statistics, Supervisor
from supervisor.testing import Backend, run_in_virtual_time
from tests.proofs.interrupted_stories import POLICIES
from tests.proofs.interruptions import Interruption
from tests.support.worlds import BACKENDS, Down, fail, succeed

COUNTERS: Final = ("started", "succeeded", "failed", "ignored", "cancelled", "rejected", "stale")


class Reader(Interruption):
    """Reads the figures of the only circuit at every place where another thread could run."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__("interrupt", 0, self._read)
        self._supervisor = supervisor
        self._latest: Statistics | None = None
        self.wrong: list[str] = []

    def _come_to(self, frame: FrameType) -> None:
        self.places += 1
        before, latest = self._latest, self._read()
        down = [
            each for each in COUNTERS if before and getattr(before, each) > getattr(latest, each)
        ]
        refused = {reason: count for reason, count in latest.refusals.items() if count < 0}
        if down or refused or sum(latest.refusals.values()) != latest.rejected:
            self.wrong.append(f"{down} at {frame.f_code.co_qualname}:{frame.f_lineno}: {latest}")
        if latest.started != latest.in_flight + ended(latest):
            self.wrong.append(f"too many at {frame.f_code.co_qualname}:{frame.f_lineno}: {latest}")
        self._latest = latest

    def _read(self) -> Statistics:
        (latest,) = self._supervisor.figures().circuits.values()
        return latest


def ended(figures: Statistics) -> int:
    outcomes = figures.succeeded + figures.failed + figures.ignored + figures.cancelled
    return outcomes + figures.rejected


async def live(policy: dict[str, Any], figures: Counter[str]) -> None:
    """Let a circuit open and close, with calls of all outcomes and refusals of all reasons."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", recovery_timeout=10.0, success_threshold=2, **policy)
        await breaker.call(succeed)
        reader = Reader(supervisor)
        with reader.here():
            await some_calls(breaker)
            permits = [await breaker.acquire() for _ in range(10)]
            for permit in permits[:8]:
                permit.fail(Down("down"))
            await anyio.lowlevel.checkpoint()
            await refused(breaker)
            await anyio.sleep(11)
            probe = await breaker.acquire()
            await refused(breaker)
            settle(permits[8], permits[9])  # which come too late
            probe.succeed()
            await some_calls(breaker)
            await anyio.sleep(1)
            await some_calls(breaker)
        assert reader.wrong == []
        exact = breaker.statistics()
        seen = supervisor.figures().circuits["x"]
        assert [getattr(seen, each) for each in COUNTERS[:-1]] == [
            getattr(exact, each) for each in COUNTERS[:-1]
        ]
        assert exact.refusals == seen.refusals
    figures["places where figures were read"] += reader.places


async def some_calls(breaker: CircuitBreaker) -> None:
    for work in (succeed, fail, succeed, succeed):
        with suppress(Down, CircuitBreakerOpenError):
            await breaker.call(work)
    with anyio.move_on_after(1), suppress(CircuitBreakerOpenError):
        await breaker.call(anyio.sleep_forever)


def settle(first: Permit, second: Permit) -> None:
    first.succeed()
    second.ignore()


async def refused(breaker: CircuitBreaker) -> None:
    with suppress(CircuitBreakerOpenError):
        await breaker.call(succeed)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_figures_are_read_in_the_middle_of_everything(
    backend: Backend, policy: str, figures: Counter[str]
) -> None:
    """No counter goes down, no call is missing, and none is counted twice."""
    run_in_virtual_time(live, POLICIES[policy], figures, backend=backend)
