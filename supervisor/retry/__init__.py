"""TODO"""

from supervisor.retry.attempts import TRANSIENT_EXCEPTIONS, is_retryable_error
from supervisor.retry.decorators import (
    create_retry_decorator,
    execute_with_retry,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
)

__all__ = [
    "TRANSIENT_EXCEPTIONS",
    "create_retry_decorator",
    "execute_with_retry",
    "is_retryable_error",
    "retry_api_call",
    "retry_scheduler_operation",
    "retry_storage_operation",
    "retry_worker_operation",
]
