"""Circuit breakers as actors, for asyncio and trio.

Each circuit is one long-lived task that owns its state; a supervisor starts these tasks and
keeps them running. The package is a house with rooms: each is a package, or a single file, and
uses only the doors (`__init__`) of those above it.

    lazily           names whose modules are imported when they are first asked for
    arguments        what users pass in, checked
    policy           what a circuit is told
    machine          the state machine: pure and synchronous
    settings         policies from `BINDU_*` variables, TOML files and code, and why
    errors           what callers may have to catch
    recording        what a machine was told, as a file; the same played again; traces
    loop             what differs between asyncio and trio
    circuit          what callers and the actor share, and the actor
    events           what has happened, in order, for listeners
    guard            what callers hold: breakers, permits, blocks
    instrumentation  who looks on: log lines, notices of changes, traces, metrics
    sharing          one state for the circuits of several event loops
    supervision      who starts, watches, restarts, retires and ends circuits
    registry         circuits by name, created from the settings
    retry            tenacity's decorators, guarded by circuits
    testing          virtual time and circuits for the tests of users
    integrations     guards for other people's libraries
    commands         `python -m supervisor`: check, replay, simulate, top, fleet, demo
"""

from typing import TYPE_CHECKING

from supervisor.circuit import RecentFailure, Statistics, Window
from supervisor.errors import (
    CallTimeoutError,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitStoppedError,
    FailedResultError,
    IncompleteStreamError,
    NoneHealthyError,
    PermitSettledError,
    PolicyConflictError,
    SupervisorWarning,
    TooManyCircuitsError,
)
from supervisor.events import (
    CallEnded,
    CallRefused,
    CallsRefused,
    CircuitGivenUp,
    CircuitReconfigured,
    CircuitRestarted,
    CircuitRetired,
    CircuitStarted,
    CircuitStopped,
    Event,
    EventsMissed,
    EventStream,
    FleetJoined,
    FleetLost,
    InnerGaveUp,
    StateChanged,
)
from supervisor.guard import CircuitBreaker, GuardedStream, Isolation, Permit, WaitingBreaker
from supervisor.instrumentation import Notices
from supervisor.lazily import lazy
from supervisor.loop import deadline
from supervisor.machine import CircuitState
from supervisor.policy import Failure, Outcome, Policy, PolicyFields, with_arguments
from supervisor.registry import (
    clear_circuit_breaker_registry,
    forget_kept_circuits,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    reset_all_circuit_breakers,
    with_circuit_breaker,
)
from supervisor.settings import SettingsError, app_settings
from supervisor.supervision import (
    Figures,
    Fleet,
    Supervisor,
    Totals,
    all_figures,
    current_supervisor,
)

if TYPE_CHECKING:
    from supervisor.instrumentation import TraceRecorder
    from supervisor.recording import Recording, RecordingError, Replay, replay_file
    from supervisor.retry import (
        TRANSIENT_EXCEPTIONS,
        FirstHealthy,
        create_retry_decorator,
        execute_with_retry,
        is_retryable_error,
        retry_api_call,
        retry_scheduler_operation,
        retry_storage_operation,
        retry_worker_operation,
    )
    from supervisor.settings import CircuitBreakerSettings, CircuitOverrides, RetrySettings
    from supervisor.sharing import MemorySharing, RedisSharing
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "supervisor.instrumentation": ("TraceRecorder",),
            "supervisor.recording": ("Recording", "RecordingError", "Replay", "replay_file"),
            "supervisor.retry": (
                "TRANSIENT_EXCEPTIONS",
                "FirstHealthy",
                "create_retry_decorator",
                "execute_with_retry",
                "is_retryable_error",
                "retry_api_call",
                "retry_scheduler_operation",
                "retry_storage_operation",
                "retry_worker_operation",
            ),
            "supervisor.settings": ("CircuitBreakerSettings", "CircuitOverrides", "RetrySettings"),
            "supervisor.sharing": ("MemorySharing", "RedisSharing"),
        },
    )

__version__ = "0.1.0"

__all__ = [
    "TRANSIENT_EXCEPTIONS",
    "CallEnded",
    "CallRefused",
    "CallTimeoutError",
    "CallsRefused",
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
    "Figures",
    "FirstHealthy",
    "Fleet",
    "FleetJoined",
    "FleetLost",
    "GuardedStream",
    "IncompleteStreamError",
    "InnerGaveUp",
    "Isolation",
    "MemorySharing",
    "NoneHealthyError",
    "Notices",
    "Outcome",
    "Permit",
    "PermitSettledError",
    "Policy",
    "PolicyConflictError",
    "PolicyFields",
    "RecentFailure",
    "Recording",
    "RecordingError",
    "RedisSharing",
    "Replay",
    "RetrySettings",
    "SettingsError",
    "StateChanged",
    "Statistics",
    "Supervisor",
    "SupervisorWarning",
    "TooManyCircuitsError",
    "Totals",
    "TraceRecorder",
    "WaitingBreaker",
    "Window",
    "all_figures",
    "app_settings",
    "clear_circuit_breaker_registry",
    "create_retry_decorator",
    "current_supervisor",
    "deadline",
    "execute_with_retry",
    "forget_kept_circuits",
    "get_circuit_breaker",
    "get_circuit_breaker_sync",
    "is_retryable_error",
    "replay_file",
    "reset_all_circuit_breakers",
    "retry_api_call",
    "retry_scheduler_operation",
    "retry_storage_operation",
    "retry_worker_operation",
    "with_arguments",
    "with_circuit_breaker",
]
