"""What the transports of httpx and httpx2 have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from supervisor import CircuitBreakerOpenError, GuardedStream, Permit
from supervisor.integrations.bodies import NoParts, Parts, SettlingParts
from supervisor.integrations.http import GuardedRequests
from supervisor.integrations.origins import Request

OnRefusal = Literal["error", "transport_error", "response"]


class AnyResponse(Protocol):
    """What is needed to know of a client's response."""

    status_code: int
    stream: Any
    is_closed: bool

    async def aclose(self) -> None:
        """Let nothing more come, and give its connection back."""
        ...


Response = TypeVar("Response", bound=AnyResponse)


class GuardedTransport(GuardedRequests[Request, Response], Generic[Request, Response]):
    """Guards what goes through another transport; the rest of a client's transport class."""

    refusals = get_args(OnRefusal)

    def __init__(self, inner: Any, new_inner: Callable[[], Any], **options: Any) -> None:
        super().__init__(**options)
        _check_inner(inner)
        self._inner = new_inner() if inner is None else inner

    async def aclose(self) -> None:
        """Close the transport inside."""
        await self._inner.aclose()

    async def handle_async_request(self, request: Request) -> Response:
        """Send a request, if its circuit admits it.

        Raises:
            CircuitBreakerOpenError: it does not; see `on_refusal`.
            Exception: any error of the transport inside.
        """
        return await self._guarded(request, self._inner.handle_async_request)

    def _status(self, response: Response) -> int:
        return response.status_code

    def _settle_by_body(self, permit: Permit, response: Response) -> None:
        if response.is_closed:  # it has been read already, as those of a cache are
            permit.succeed()
        else:
            response.stream = self._body(SettlingParts(permit, response.stream))

    def _parts(self, response: Response) -> object:
        return NoParts() if response.is_closed else aclosing(response.stream)

    def _read_by(self, body: GuardedStream[Any], parts: object, response: Response) -> None:  # noqa: ARG002
        response.stream = self._body(body)

    async def _close(self, response: Response) -> None:
        await response.aclose()

    def _refused(self, request: Request, refusal: CircuitBreakerOpenError) -> Response:
        if self._on_refusal == "transport_error":
            return super()._refused(request, refusal)
        headers = {"x-should-retry": "false"}
        if refusal.retry_after < math.inf:
            headers["retry-after"] = str(math.ceil(refusal.retry_after))
        return self._made_up(request, headers, str(refusal))

    @abstractmethod
    def _body(self, parts: Parts) -> object:
        """Return what parts of a body are read by in this client."""

    @abstractmethod
    def _made_up(self, request: Request, headers: dict[str, str], text: str) -> Response:
        """Return a response with status 503, as if the server had refused."""


def _check_inner(inner: object) -> None:
    """Refuse what cannot send requests, such as a transport that is not async, if it is given."""
    sends = getattr(inner, "handle_async_request", None)
    if inner is not None and (isinstance(inner, type) or not callable(sends)):
        raise TypeError(f"inner must be an async transport, got {inner!r}")
