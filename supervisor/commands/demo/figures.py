"""What a pass comes to, in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from supervisor.commands.demo.passes import Pass
from supervisor.commands.demo.workers import OUTCOMES, Call
from supervisor.machine import CircuitState

RECOVERED: Final = 0.95
"""The part of the calls that must succeed for the service to count as back."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds that calls of one outcome took; of no calls, it is None."""

    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a pass comes to.

    Attributes:
        requests: that reached the server.
        dead_requests: that reached it while it was dead.
        succeeded, failed, rejected: calls.
        failed_latency, rejected_latency: seconds until the agent knew.
        times_opened: transitions of any circuit to OPEN.
        first_success: seconds from the server's return to the end of the first successful
            call; None if there was none.
        recovered: seconds from the server's return to the recovery; None if that did not come.
    """

    requests: int
    dead_requests: int
    succeeded: int
    failed: int
    rejected: int
    failed_latency: Latency | None
    rejected_latency: Latency | None
    times_opened: int
    first_success: float | None
    recovered: float | None

    @classmethod
    def of(cls, measured: Pass, window: float) -> Figures:
        """Return the figures of a pass; `window` is that of `time_to_recover`."""
        server = measured.server
        dead = sum(server.dead)
        latencies = {
            outcome: [call.latency for call in measured.calls if call.outcome == outcome]
            for outcome in OUTCOMES
        }
        after = [call for call in measured.calls if call.ended >= server.dead_until]
        return cls(
            requests=sum(server.healthy) + dead,
            dead_requests=dead,
            succeeded=len(latencies["succeeded"]),
            failed=len(latencies["failed"]),
            rejected=len(latencies["rejected"]),
            failed_latency=latency_of(latencies["failed"]),
            rejected_latency=latency_of(latencies["rejected"]),
            times_opened=sum(change.state is CircuitState.OPEN for change in measured.changes),
            first_success=time_to_success(after, server.dead_until),
            recovered=time_to_recover(after, server.dead_until, window),
        )


def latency_of(seconds: Sequence[float]) -> Latency | None:
    """Return median and 99th percentile, each of them a value that was measured."""
    if not seconds:
        return None
    ranked = sorted(seconds)
    median, p99 = (ranked[math.ceil(len(ranked) * part) - 1] for part in (0.5, 0.99))
    return Latency(median, p99)


def time_to_success(calls: Sequence[Call], back: float) -> float | None:
    """Return the seconds from `back` to the first success among `calls`, which ended after it."""
    return next((call.ended - back for call in calls if call.outcome == "succeeded"), None)


def time_to_recover(calls: Sequence[Call], back: float, window: float) -> float | None:
    """Return the seconds from `back` to the first success from which on, for `window` seconds,
    at least 95 % of the calls succeed.

    Args:
        calls: those that ended at `back` or later, in order.
    """
    for index, first in enumerate(calls):
        if first.outcome == "succeeded":
            inside = [call for call in calls[index:] if call.ended < first.ended + window]
            successes = sum(call.outcome == "succeeded" for call in inside)
            if successes >= RECOVERED * len(inside):
                return first.ended - back
    return None
