"""What a circuit has counted, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Final

from supervisor.machine import CircuitState, Origin


@dataclass(frozen=True, slots=True)
class Window:
    """What a circuit remembers of its latest calls.

    Attributes:
        calls: how many there are in it.
        failures, slow: how many of them failed, and how many were slow.
        complete: whether successes are in it, too: a window of seconds leaves them out if its
            policy looks at no rate, since nothing would depend on them.
    """

    calls: int
    failures: int
    slow: int
    complete: bool = True

    @property
    def failure_rate(self) -> float | None:
        """Share of the calls that failed, 0 to 1; None if there is none, or successes are left
        out.
        """
        return self.failures / self.calls if self.complete and self.calls else None

    @property
    def success_rate(self) -> float | None:
        """Share of the calls that did not fail; see `failure_rate`."""
        return (self.calls - self.failures) / self.calls if self.complete and self.calls else None

    @property
    def slow_call_rate(self) -> float | None:
        """Share of the calls that were slow; see `failure_rate`."""
        return self.slow / self.calls if self.complete and self.calls else None


@dataclass(frozen=True, slots=True)
class RecentFailure:
    """A call that has failed.

    Attributes:
        at: when it ended, in seconds of the event loop's clock; None if no event loop ran there.
        failure: the error or the result, as text; None if a permit was settled without one.
    """

    at: float | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """One circuit's figures at one moment, counted since it was created; or since the first one was
    that it goes on from, if it is kept from one event loop to the next.

    `started` = `succeeded` + `failed` + `ignored` + `cancelled` + `rejected` + `in_flight`.

    Attributes:
        name: the circuit's name.
        state: its state.
        would_be: the state that it would be in, if it is METRICS_ONLY; else `state`.
        running: False once it has been stopped, or its actor has given up.
        failure_count: consecutive failures, or those in the window.
        retry_after: seconds until a refused call may be admitted, 0.0 unless OPEN or FORCED_OPEN,
            infinite if the latter lasts until it is released.
        started: calls that asked for admission.
        succeeded, failed, ignored, cancelled: how the admitted ones ended.
        rejected: calls that were not admitted.
        would_have_refused: calls that were admitted only because it is METRICS_ONLY.
        waiting: calls that wait to be admitted, since they are ready to.
        in_flight: calls that run, or wait to be admitted.
        stale: outcomes that came in a later period than their call, and changed nothing.
        times_opened: transitions to OPEN.
        restarts: how often the actor had to be restarted.
        last_failure: what has opened it, as text; None once it is closed, or let through by hand.
        shared: whether it is shared with other supervisors.
        origin: who has brought about its state: "here", its own calls and time; "fleet", those that
            it is shared with; "by hand", somebody by hand, here, if it lasts until a release or for
            a time.
        refusals: of the rejected calls, how many for which reason: those of
            `CircuitBreakerOpenError.reason`, "crashed" and "stopped". Nothing if there is none.
        window: its latest calls, if its policy has a window; else None.
        age: 0.0 if all of this is as of now. In `Supervisor.figures()`, seconds since the actor's
            latest turn if something has been reported since: what only the actor knows is so old,
            and that is all but the numbers of calls.
        clock_zero: when its event loop's clock was at 0, in seconds of Unix time. Added to the time
            of an event, such as `StateChanged.at`, it gives a date. No two records differ by it.
        recent_failures: the last failures on this event loop, oldest first, if its policy has a
            `keep_failures`; else nothing.
        restarts_in: seconds until its actor, which pauses after a crash, starts again; else 0.0.
    """

    name: str
    state: CircuitState
    would_be: CircuitState
    running: bool
    failure_count: int
    retry_after: float
    started: int
    succeeded: int
    failed: int
    ignored: int
    cancelled: int
    rejected: int
    would_have_refused: int
    waiting: int
    in_flight: int
    stale: int
    times_opened: int
    restarts: int
    last_failure: str | None
    shared: bool
    origin: Origin
    refusals: Mapping[str, int] = field(hash=False)
    window: Window | None
    age: float
    clock_zero: float = field(compare=False)
    recent_failures: tuple[RecentFailure, ...]
    restarts_in: float


Draft: Final[Any] = make_dataclass("Draft", [each.name for each in fields(Statistics)], slots=True)
"""What becomes a record when it is given that class. A frozen dataclass takes four times as long to
be made as one that is frozen afterwards, and there may be ten thousand to be made at a time.
"""
