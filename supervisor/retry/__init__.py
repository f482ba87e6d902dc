"""tenacity's retries, guarded by circuits: the loop as a whole, or each attempt.

May know circuits by name and the settings; nobody below knows that anything is tried again.

    decorators   for the four types of operation; execution, retries without decorating
    functions    what can be decorated: async functions, plain ones, and streams
    attempts     one loop of attempts, and who guards it; circuits, which circuit that is
    tasks        attempts that are awaited; threads, that are called; streams, of opening one
    strategies   when a loop goes on, and how long it waits; limits, what is given for that
    worth        what is tried again; clients, what well-known ones raise
    first_healthy  a call that goes to the first of several circuits
    hints        how long a server asks to wait; rich_status, how Google's servers say so
"""

from supervisor.retry.decorators import (
    RetryOptions,
    create_retry_decorator,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
)
from supervisor.retry.execution import execute_with_retry
from supervisor.retry.first_healthy import FirstHealthy
from supervisor.retry.functions import RetryDecorator
from supervisor.retry.hints import hint_of, status_of
from supervisor.retry.limits import OperationType
from supervisor.retry.strategies import Guard
from supervisor.retry.worth import TRANSIENT_EXCEPTIONS, RetryOn, is_retryable_error

__all__ = [
    "TRANSIENT_EXCEPTIONS",
    "FirstHealthy",
    "Guard",
    "OperationType",
    "RetryDecorator",
    "RetryOn",
    "RetryOptions",
    "create_retry_decorator",
    "execute_with_retry",
    "hint_of",
    "is_retryable_error",
    "retry_api_call",
    "retry_scheduler_operation",
    "retry_storage_operation",
    "retry_worker_operation",
    "status_of",
]
