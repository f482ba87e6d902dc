"""What the clients of models' SDKs have in common: a transport whose refusals they let through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import httpx2

from supervisor import CircuitBreakerOpenError, Policy
from supervisor.integrations.httpx2 import CircuitTransport


class SdkTransport(CircuitTransport):
    """Raises refusals as an error that is the SDK's as well: the SDK raises it as it is, at once.

    Args:
        sdk: the module's name, for errors.
        refusal: the class of that error.
        limits: the SDK's own, of the transport that is made if none is given.
        options: those of the SDK's client, which must not have an HTTP client of its own.
        inner, circuit, policy, failures, wait: see `CircuitTransport`.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    def __init__(
        self,
        sdk: str,
        refusal: type[CircuitBreakerOpenError],
        limits: httpx2.Limits,
        options: Mapping[str, object],
        inner: httpx2.AsyncBaseTransport | None,
        circuit: Callable[[httpx2.Request], str | None],
        policy: Policy | None,
        failures: Collection[int],
        wait: float | None,
    ) -> None:
        if "http_client" in options:
            raise TypeError(
                f"{sdk}.client makes the http_client itself; give the transport of yours as inner"
            )
        super().__init__(
            httpx2.AsyncHTTPTransport(limits=limits) if inner is None else inner,
            circuit=circuit,
            policy=policy,
            failures=failures,
            on_refusal="transport_error",
            wait=wait,
        )
        self._refusal = refusal

    def _as_transport_error(
        self,
        request: httpx2.Request,  # noqa: ARG002  (other clients' errors have it)
        refusal: CircuitBreakerOpenError,
    ) -> Exception:
        return self._refusal(*refusal.args)
