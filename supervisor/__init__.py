"""Circuit breakers as actors, for asyncio and trio.

Each circuit is one long-lived task that owns its state; a supervisor starts these tasks and
keeps them running. Each line uses only lines above it:

    checks      what users pass in, checked
    outcomes    how a call can end; policy, what a circuit is told; notation, the same as text
    messages    what goes into a machine and what comes out, as frozen records
    windows     what is remembered of ended calls
    tripping    the parts of a machine: when it opens; recovery, for how long; probing, how it
                comes back; shares, what part of its calls it admits
    machine     the state machine: pure and synchronous
    recording   what a machine was told, as a file; replay, the same played again
    errors      what callers may have to catch; statistics, what a circuit has counted
    bell        what one task sleeps on; mailbox, its queue of messages
    event_loop  where a circuit lives, and its time
    classification  what an ended call counts as; timeouts, by which it is ended
    watch       what callers look at if a policy asks for more than to count errors
    circuit     what callers and the actor share: lease, mailbox, figures
    actor       the one that owns the machine; tasks, in which actors run
    idleness    which circuits may be retired
    permit      one call; current, which supervisor a breaker joins; threads, calls from others
    breaker     what callers hold
    events      what has happened, in order, for listeners; logs, the same as loguru lines
    supervisor  starts, watches, restarts and ends the actors
    settings    `BINDU_CB_*` and `BINDU_RETRY_*` variables, and TOML files
    registry    circuits by name, created from the settings
    retry       tenacity's decorators; loops, guarded by circuits from outside or within
    testing     virtual time, and what tests ask of circuits
    check       which policy each circuit gets, and why: `python -m supervisor check`
    demo        agents against a failing server: `python -m supervisor demo`
    simulation  what policies would have done: `python -m supervisor simulate`
"""

from supervisor.breaker import CircuitBreaker, WaitingBreaker
from supervisor.errors import (
    CallTimeoutError,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitStoppedError,
    FailedResultError,
    PermitSettledError,
    PolicyConflictError,
    TooManyCircuitsError,
)
from supervisor.events import (
    CircuitGivenUp,
    CircuitReconfigured,
    CircuitRestarted,
    CircuitRetired,
    CircuitStarted,
    CircuitStopped,
    Event,
    EventsMissed,
    EventStream,
    StateChanged,
)
from supervisor.loops import TRANSIENT_EXCEPTIONS, is_retryable_error
from supervisor.messages import CircuitState
from supervisor.outcomes import Failure, Outcome
from supervisor.permit import Permit
from supervisor.policy import Policy
from supervisor.recording import Recording
from supervisor.registry import (
    clear_circuit_breaker_registry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    reset_all_circuit_breakers,
    with_circuit_breaker,
)
from supervisor.replay import RecordingError, Replay, replay_file
from supervisor.retry import (
    create_retry_decorator,
    execute_with_retry,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
)
from supervisor.settings import (
    CircuitBreakerSettings,
    CircuitOverrides,
    RetrySettings,
    SettingsError,
    app_settings,
)
from supervisor.statistics import Statistics
from supervisor.supervisor import Supervisor

__all__ = [
    "TRANSIENT_EXCEPTIONS",
    "CallTimeoutError",
    "CircuitBreaker",
    "CircuitBreakerOpenError",
    "CircuitBreakerSettings",
    "CircuitCrashedError",
    "CircuitGivenUp",
    "CircuitOverrides",
    "CircuitReconfigured",
    "CircuitRestarted",
    "CircuitRetired",
    "CircuitStarted",
    "CircuitState",
    "CircuitStopped",
    "CircuitStoppedError",
    "Event",
    "EventStream",
    "EventsMissed",
    "FailedResultError",
    "Failure",
    "Outcome",
    "Permit",
    "PermitSettledError",
    "Policy",
    "PolicyConflictError",
    "Recording",
    "RecordingError",
    "Replay",
    "RetrySettings",
    "SettingsError",
    "StateChanged",
    "Statistics",
    "Supervisor",
    "TooManyCircuitsError",
    "WaitingBreaker",
    "app_settings",
    "clear_circuit_breaker_registry",
    "create_retry_decorator",
    "execute_with_retry",
    "get_circuit_breaker",
    "get_circuit_breaker_sync",
    "is_retryable_error",
    "replay_file",
    "reset_all_circuit_breakers",
    "retry_api_call",
    "retry_scheduler_operation",
    "retry_storage_operation",
    "retry_worker_operation",
    "with_circuit_breaker",
]
