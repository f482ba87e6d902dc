"""What a call of an MCP tool counts as, by the shape of what it has ended with.

A result with `is_error` may be a failure of the tool, or the model's own mistake: its text alone
tells. The shapes are those of mcp 2.3.0, which does not have to be there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from supervisor import CircuitBreakerOpenError, Failure, Outcome, Policy
from supervisor.integrations.policies import LONGEST_HINT

REFUSED: Final = -32050
"""The code of the `MCPError` by which a guarded tool of a server refuses a call."""

CONNECTION_CLOSED: Final = -32000
REQUEST_TIMEOUT: Final = -32001

_INVALID_REQUEST: Final = -32600
_LOST: Final = (CONNECTION_CLOSED, _INVALID_REQUEST)  # the latter, too, if a session is not known

_METHOD_NOT_FOUND: Final = -32601
_INVALID_PARAMS: Final = -32602
_URL_ELICITATION_REQUIRED: Final = -32042
_NOT_THE_TOOLS: Final = (_METHOD_NOT_FOUND, _INVALID_PARAMS, _URL_ELICITATION_REQUIRED)

_MISTAKE: Final = re.compile(
    r"Unknown tool: |Error executing tool .+?: \d+ validation errors? for \S+Arguments\n"
)

Classify = Callable[[Any], Failure | Outcome | None]


def error_text(ended_with: object) -> str | None:
    """Return the text of a result with `is_error`; None for anything else."""
    if getattr(ended_with, "is_error", None) is not True:
        return None
    content = cast("Iterable[object]", getattr(ended_with, "content", ()))
    texts = (getattr(block, "text", None) for block in content)
    return "\n".join(text for text in texts if isinstance(text, str))


def is_models_mistake(text: str) -> bool:
    """Whether a result with `is_error` says that there is no such tool, or no such argument.

    Args:
        text: that of the result; see `error_text`.
    """
    return _MISTAKE.match(text) is not None


def classify_call(ended_with: object) -> Failure | Outcome | None:
    """Return what a call of a tool counts as; for `classify=` of a policy.

    The model's own mistakes count as nothing: also a probe that has made one tells nothing. Any
    other result with `is_error` is a failure. An error that has `retry_after` in its data is one
    that opens the circuit for so long. What other errors are, a timeout for instance, the policy's
    other fields decide.
    """
    text = error_text(ended_with)
    if text is not None:
        return Outcome.IGNORED if is_models_mistake(text) else Outcome.FAILED
    data = getattr(ended_with, "data", None)
    if _code_of(ended_with) is not None and isinstance(data, Mapping) and "retry_after" in data:
        return Failure(retry_after=cast("Mapping[str, Any]", data)["retry_after"])
    return Outcome.IGNORED if _code_of(ended_with) in _NOT_THE_TOOLS else None


def for_tools(policy: Policy) -> Policy:
    """Return the policy of circuits of tools, for which a lost connection counts as nothing."""
    return replace(
        policy,
        classify=_OfTool(policy.classify or classify_call),
        max_retry_after=policy.max_retry_after or LONGEST_HINT,
    )


def for_servers(policy: Policy) -> Policy:
    """Return the policy of a server's circuit, for which only a lost connection is a failure."""
    return replace(policy, classify=policy.classify or _of_server)


def refusal_data(refusal: CircuitBreakerOpenError) -> dict[str, Any]:
    """Return what a server tells of a refusal, as the data of an error."""
    seconds = refusal.retry_after if refusal.retry_after < math.inf else None
    return {"retry_after": seconds, "circuit": refusal.operation_name}


@dataclass(frozen=True)
class _OfTool:
    """Equal if what it asks is: sessions of one server share their circuits, and so the policy."""

    classify: Classify

    def __call__(self, ended_with: object) -> Failure | Outcome | None:
        return Outcome.IGNORED if _is_lost(ended_with) else self.classify(ended_with)


def _of_server(ended_with: object) -> Outcome:
    """Whatever a server answers, it is there; but who knows whether it is, or a tool, that hangs?

    Refusals of a tool's circuit, and what the client finds wrong by itself, tell nothing.
    """
    if _is_lost(ended_with):
        return Outcome.FAILED
    code = _code_of(ended_with)
    if isinstance(ended_with, Exception) and (code is None or code == REQUEST_TIMEOUT):
        return Outcome.IGNORED
    return Outcome.SUCCEEDED


def _is_lost(ended_with: object) -> bool:
    return _code_of(ended_with) in _LOST


def _code_of(ended_with: object) -> int | None:
    """Return the code of an `MCPError`."""
    if not isinstance(ended_with, Exception):
        return None
    code = getattr(ended_with, "code", None)
    return code if isinstance(code, int) else None
