"""A client of anthropic's that guards each request by its origin's circuit. On asyncio and trio."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import anthropic  # type: ignore[import-not-found, unused-ignore]
import httpx2

from supervisor import CircuitBreakerOpenError, Policy
from supervisor.integrations.http import FAILURES
from supervisor.integrations.origins import origin
from supervisor.integrations.sdks import SdkTransport


class CircuitOpenError(
    CircuitBreakerOpenError,
    anthropic.AnthropicError,  # type: ignore[misc, unused-ignore]
):
    """A refusal that is one of anthropic's errors as well: these it raises as they are, at once."""


def client(
    inner: httpx2.AsyncBaseTransport | None = None,
    *,
    circuit: Callable[[httpx2.Request], str | None] = origin,
    policy: Policy | None = None,
    failures: Collection[int] = FAILURES,
    wait: float | None = None,
    max_retries: int = 0,
    **options: Any,
) -> anthropic.AsyncAnthropic:
    """Return an `AsyncAnthropic` that asks the circuit of each request's origin, and sends it once.

    A refusal is raised as `CircuitOpenError`, which is a `CircuitBreakerOpenError`, too.

    Args:
        inner: the transport that sends; by default httpx2's own, with anthropic's limits.
        circuit, policy, failures, wait: see `CircuitTransport` of httpx2.
        max_retries: attempts of anthropic's own after the first; each asks the circuit.
        options: other arguments of `AsyncAnthropic` but `http_client`, such as `api_key` or
            `timeout` (seconds).

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
        AnthropicError: anthropic lacks an option.
    """
    limits = anthropic.DEFAULT_CONNECTION_LIMITS
    transport = SdkTransport(
        "anthropic", CircuitOpenError, limits, options, inner, circuit, policy, failures, wait
    )
    guarded = anthropic.DefaultAsyncHttpxClient(transport=transport)
    return anthropic.AsyncAnthropic(http_client=guarded, max_retries=max_retries, **options)
