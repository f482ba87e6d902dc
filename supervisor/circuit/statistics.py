"""What a circuit has counted, as one frozen record."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.machine import CircuitState


@dataclass(frozen=True, slots=True)
class Statistics:
    """One circuit's figures at one moment, counted since it was created.

    `started` = `succeeded` + `failed` + `ignored` + `cancelled` + `rejected` + `in_flight`.

    Attributes:
        name: the circuit's name.
        state: its state.
        would_be: the state that it would be in, if it is METRICS_ONLY; else `state`.
        running: False once it has been stopped, or its actor has given up.
        failure_count: consecutive failures, or those in the window.
        retry_after: seconds until a refused call may be admitted, 0.0 unless OPEN,
            infinite if FORCED_OPEN.
        started: calls that asked for admission.
        succeeded, failed, ignored, cancelled: how the admitted ones ended.
        rejected: calls that were not admitted.
        would_have_refused: calls that were admitted only because it is METRICS_ONLY.
        waiting: calls that wait to be admitted, since they are ready to.
        in_flight: calls that run, or wait to be admitted.
        stale: outcomes that came in a later period than their call, and changed nothing.
        times_opened: transitions to OPEN.
        restarts: how often the actor had to be restarted.
        last_failure: the failure that opened the circuit last, as text.
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
