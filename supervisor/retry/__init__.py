"""tenacity's retries, guarded by circuits: the loop as a whole, or each attempt.

May know circuits by name and the settings; nobody below knows that anything is tried again.

    decorators   for the four types of operation, and retries without decorating
    attempts     one loop of attempts: what is tried again, when, and who guards it
"""

from supervisor.retry.attempts import TRANSIENT_EXCEPTIONS, Guard, is_retryable_error
from supervisor.retry.decorators import (
    OperationType,
    RetryOptions,
    create_retry_decorator,
    execute_with_retry,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
)

__all__ = [
    "TRANSIENT_EXCEPTIONS",
    "Guard",
    "OperationType",
    "RetryOptions",
    "create_retry_decorator",
    "execute_with_retry",
    "is_retryable_error",
    "retry_api_call",
    "retry_scheduler_operation",
    "retry_storage_operation",
    "retry_worker_operation",
]
