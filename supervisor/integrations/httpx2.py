"""A transport for httpx2: each request is guarded by its origin's circuit. On asyncio and trio."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import httpx2

from supervisor import CircuitBreakerOpenError, Policy
from supervisor.integrations.bodies import Body, Parts
from supervisor.integrations.http import FAILURES
from supervisor.integrations.origins import origin
from supervisor.integrations.transports import GuardedTransport, OnRefusal


class CircuitOpenError(httpx2.TransportError):
    """A refusal as httpx2's error for a server that cannot be reached; the cause is our own.

    Attributes:
        retry_after: that of the refusal; 0.0 if this error was rebuilt from its text.
    """

    def __init__(
        self, refusal: CircuitBreakerOpenError | str, request: httpx2.Request | None = None
    ) -> None:
        super().__init__(str(refusal), request=request)
        self.retry_after = 0.0 if isinstance(refusal, str) else refusal.retry_after


class CircuitTransport(
    GuardedTransport[httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport
):
    """Guards what goes through another transport of an `AsyncClient`'s.

    Args:
        inner: the transport that sends; by default httpx2's own.
        circuit: a function of a request that returns the name of its circuit, or None if it is not
            to be guarded. By default, `origin`: one for each scheme, host and port.
        policy: that of all circuits. Unless it has a `recovery_from`, a server's `Retry-After`
            says for how long one is open: for an hour at most, unless it has a `max_retry_after`.
        failures: the statuses that are failures: by default 429, and from 500 on.
        on_refusal: "error": a refusal is raised as `CircuitBreakerOpenError`; "transport_error": as
            `CircuitOpenError`, one of httpx2's own; "response": it is returned as a response with
            status 503 and `Retry-After`.
        wait: seconds, more than 0, for which a request waits to be admitted; None: it is refused at
            once.
        fields: those of the policy, which go before those of `policy`.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    not_sent = (httpx2.PoolTimeout, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport | None = None,
        *,
        circuit: Callable[[httpx2.Request], str | None] = origin,
        policy: Policy | None = None,
        failures: Collection[int] = FAILURES,
        on_refusal: OnRefusal = "error",
        wait: float | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(
            inner,
            httpx2.AsyncHTTPTransport,
            circuit=circuit,
            policy=policy,
            failures=failures,
            on_refusal=on_refusal,
            wait=wait,
            **fields,
        )

    def _body(self, parts: Parts) -> httpx2.AsyncByteStream:
        return _Body(parts)

    def _as_transport_error(
        self, request: httpx2.Request, refusal: CircuitBreakerOpenError
    ) -> Exception:
        return CircuitOpenError(refusal, request)

    def _made_up(
        self, request: httpx2.Request, headers: dict[str, str], text: str
    ) -> httpx2.Response:
        return httpx2.Response(503, headers=headers, text=text, request=request)


class _Body(Body, httpx2.AsyncByteStream):
    """Read by its parts."""
