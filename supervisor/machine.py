"""The circuit breaker as a state machine: pure and synchronous, so that it can be trusted.

It reads no clock, does no I/O, knows no task. Messages and times go in; answers, recorded
transitions, a lease and one deadline come out. Two rules keep it right:

1. Every transition starts a new *period*, and every grant carries the period it was given in.
   A report from an earlier period is counted as stale and changes nothing else.
2. What is no message raises before anything has changed.

    from       when                                                 to
    CLOSED     `failure_threshold` failures in a row                OPEN
    OPEN       `recovery_timeout` has passed since it opened        HALF_OPEN
    HALF_OPEN  `success_threshold` probes have succeeded            CLOSED
    HALF_OPEN  a probe has failed, or has run for `probe_timeout`   OPEN
    any        `Reset`                                              CLOSED, in a new period

The states and their names are those of Michael Nygard's *Release It!*, chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

from supervisor.messages import (
    Acquire,
    CircuitState,
    Grant,
    Lease,
    Message,
    Outcome,
    Refusal,
    Reset,
    Settle,
    Transition,
    Withdraw,
)
from supervisor.policy import Policy


class Machine:
    """The state of one circuit and the rules by which it changes."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = CircuitState.CLOSED
        self.period = 0
        self.since = 0.0
        self.latest = 0.0  # the last time told; stands in where a message carries none
        self.grant = Grant(self.period)
        self.failure_count = 0  # in a row; kept until the circuit closes again
        self.last_failure: str | None = None
        self.successes = 0  # of probes, in this period
        self.probes: dict[int, float] = {}  # running ones, oldest first: permit -> start
        self.transitions: list[Transition] = []  # not yet collected by the owner
        self.succeeded = self.failed = self.ignored = self.cancelled = 0
        self.stale = 0  # of those four, how many came too late to count
        self.times_opened = 0

    @property
    def deadline(self) -> float:
        """When the state changes of itself, if nothing is reported before; may be infinite."""
        if self.state is CircuitState.OPEN:
            return self.since + self.policy.recovery_timeout
        if self.probes:
            return next(iter(self.probes.values())) + self.policy.probe_timeout
        return math.inf

    def apply(self, message: Message) -> Grant | Refusal | None:
        """Take one message, and return the answer if it asks for one."""
        match message:
            case Settle():
                self._settle(message)
            case Acquire():
                return self._acquire(message)
            case Withdraw():
                self._withdraw(message)
            case Reset():
                self._enter(CircuitState.CLOSED, self._advance_to(message.at))
            case _:
                assert_never(message)
        return None

    def advance(self, now: float) -> None:
        """Make the changes that time alone has brought about up to `now`."""
        self.latest = max(self.latest, now)
        while (deadline := self.deadline) <= now and deadline < math.inf:
            if self.state is CircuitState.OPEN:
                self._enter(CircuitState.HALF_OPEN, deadline)
            else:
                self._open(deadline, f"probe still running after {self.policy.probe_timeout:g} s")

    def lease(self) -> Lease:
        """Return what can be answered in advance."""
        slack, refuse_until = 0, -math.inf
        if self.state is CircuitState.CLOSED:
            slack = self.policy.failure_threshold - self.failure_count
        elif self.state is CircuitState.OPEN or not self._free_probes():
            refuse_until = self.deadline
        return Lease(self.state, self.period, self.grant, slack, refuse_until, self.last_failure)

    def copy(self) -> Machine:
        """Return a machine in the same state, with no transitions to collect."""
        twin = Machine.__new__(Machine)
        twin.__dict__.update(self.__dict__)
        twin.probes = self.probes.copy()
        twin.transitions = []
        return twin

    def retry_after(self, now: float) -> float:
        """Return the seconds from `now` until a refused call may be admitted, 0.0 unless OPEN."""
        return self.deadline - now if self.state is CircuitState.OPEN else 0.0

    def _acquire(self, request: Acquire) -> Grant | Refusal:
        self.advance(request.at)
        if self.state is CircuitState.CLOSED:
            return self.grant
        if self.state is CircuitState.HALF_OPEN and self._free_probes():
            self.probes[request.permit] = request.at
            return Grant(self.period, request.permit)
        return Refusal(self.state, self.retry_after(request.at), self.last_failure)

    def _withdraw(self, request: Withdraw) -> None:
        self._advance_to(request.at)
        self.probes.pop(request.permit, None)
        self.cancelled += 1

    def _settle(self, report: Settle) -> None:
        at = self._advance_to(report.at)
        if report.period == self.period and (
            self.state is CircuitState.CLOSED or report.probe in self.probes
        ):
            self._count(report, at)
        else:
            self.stale += report.times
        match report.outcome:
            case Outcome.SUCCEEDED:
                self.succeeded += report.times
            case Outcome.FAILED:
                self.failed += report.times
            case Outcome.IGNORED:
                self.ignored += report.times
            case Outcome.CANCELLED:
                self.cancelled += report.times
            case _:
                assert_never(report.outcome)

    def _count(self, report: Settle, at: float) -> None:
        probing = self.state is CircuitState.HALF_OPEN
        match report.outcome:
            case Outcome.SUCCEEDED if not probing:
                self.failure_count = 0
            case Outcome.SUCCEEDED if self.successes + 1 >= self.policy.success_threshold:
                self._enter(CircuitState.CLOSED, at)
            case Outcome.SUCCEEDED:
                self.successes += 1
                del self.probes[report.probe]
            case Outcome.FAILED if (
                probing or self.failure_count + report.times >= self.policy.failure_threshold
            ):
                self._open(at, report.failure, report.times)
            case Outcome.FAILED:
                self.failure_count += report.times
            case Outcome.IGNORED | Outcome.CANCELLED:
                self.probes.pop(report.probe, None)
            case _:
                assert_never(report.outcome)

    def _advance_to(self, at: float | None) -> float:
        """Advance to the time of a message; one that has none counts at the latest time told."""
        if at is None:
            return self.latest
        self.advance(at)
        return at

    def _open(self, at: float, failure: str | None, failures: int = 1) -> None:
        self.failure_count += failures
        self.times_opened += 1
        self.last_failure = failure
        self._enter(CircuitState.OPEN, at)

    def _enter(self, state: CircuitState, at: float) -> None:
        from_state, self.state = self.state, state
        self.period += 1
        self.since = at
        self.successes = 0
        self.probes = {}
        if state is CircuitState.CLOSED:
            self.failure_count = 0
            self.grant = Grant(self.period)
        self.transitions.append(
            Transition(
                from_state=from_state,
                to_state=state,
                at=at,
                period=self.period,
                failure_count=self.failure_count,
                retry_after=self.retry_after(at),
                last_failure=self.last_failure,
            )
        )

    def _free_probes(self) -> int:
        return self.policy.success_threshold - self.successes - len(self.probes)


def replay(machine: Machine, messages: Sequence[Message]) -> Machine:
    """Return a copy of `machine` that has taken `messages`, but for those that it cannot take."""
    twin = machine.copy()
    for index, message in enumerate(messages):
        try:
            twin.apply(message)
        except Exception:  # whatever it broke half-way is left behind with the copy
            return replay(replay(machine, messages[:index]), messages[index + 1 :])
    return twin
