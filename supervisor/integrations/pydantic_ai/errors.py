"""What errors of pydantic-ai's count as, and a refusal that is one of them."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# mypy: disable-error-code="misc, no-any-return, import-not-found, unused-ignore"

from __future__ import annotations

from typing import Any, Final

from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ConcurrencyLimitExceeded,
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRequestRejectedError,
    ModelRetry,
    OutputTokenLimitExceeded,
    RunCancelled,
    SkipToolExecution,
    SuspendedResponseExpired,
    ToolFailed,
    UsageLimitExceeded,
    UserError,
)

from supervisor import CircuitBreakerOpenError, CircuitState
from supervisor.integrations.http import FAILURES
from supervisor.integrations.tools import REFUSALS, is_from_trouble

ANSWERED: Final = (
    ContentFilterError,
    ModelRequestRejectedError,
    OutputTokenLimitExceeded,
    SuspendedResponseExpired,
)
"""What a model's server has said of a request: with another one it may do well."""

OWN: Final = (ConcurrencyLimitExceeded, RunCancelled, UsageLimitExceeded, UserError)
"""What the server has nothing to do with."""

STEERING: Final = (ApprovalRequired, CallDeferred, ModelRetry, SkipToolExecution, ToolFailed)
"""What a tool raises to tell the agent how to go on."""


class CircuitOpenError(CircuitBreakerOpenError, ModelAPIError):
    """A refusal that is one of pydantic-ai's errors as well: its `FallbackModel` asks the next."""

    def __init__(
        self,
        operation_name: str,
        retry_after: float = 0.0,
        state: CircuitState = CircuitState.OPEN,
        last_failure: str | None = None,
        reason: Any = None,
        *,
        model_name: str = "",
    ) -> None:
        CircuitBreakerOpenError.__init__(
            self, operation_name, retry_after, state, last_failure, reason
        )
        ModelAPIError.__init__(self, model_name, str(self), retry_after=self.retry_after)
        self.args = (operation_name, retry_after, state, last_failure, reason)


class CancelledStream(Exception):
    """What a stream has raised since its reader has cancelled it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def is_failure(error: BaseException) -> bool:
    """Whether an error of a model's is a failure of its server; others say that it has answered.

    The `failure_on` of `CircuitModel`. Failures are statuses 429 and 500 to 599, what cannot be
    reached, breaks off or takes too long, a quota that is used up, an answer that makes no sense,
    and errors of no known kind. Statuses such as 400, 401 and 404 are none, and neither are refused
    contents and answers that are cut off by a limit.
    """
    if isinstance(error, ANSWERED):
        return False
    if isinstance(error, ModelHTTPError) and not isinstance(error, ModelQuotaExceededError):
        return error.status_code in FAILURES
    return True


def is_nothing(error: BaseException) -> bool:
    """Whether the server has not seen the request."""
    if isinstance(error, ModelConnectionError):
        return error.phase == "pool"
    return isinstance(error, (*OWN, *REFUSALS, CancelledStream))


def steers(error: BaseException) -> bool:
    """Whether a tool has told the agent how to go on, and not because its server is in trouble.

    A tool's own `timeout` raises a `ModelRetry` as well, from a `TimeoutError`.
    """
    if isinstance(error, STEERING):
        return not is_from_trouble(error)
    return isinstance(error, OWN)
