"""What guards of HTTP clients have in common: circuits, failures and refusals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Generic, TypeVar, cast

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    GuardedStream,
    Permit,
    Policy,
)
from supervisor.integrations.bodies import NoParts
from supervisor.integrations.origins import Circuits, Request, check_naming
from supervisor.integrations.policies import whole_policy, with_hints
from supervisor.integrations.pulled import matters_when

FAILURES: Final = frozenset({429, *range(500, 600)})
"""The statuses that are failures: the server has too much to do, or cannot do it."""


class FailedResponse(Exception):
    """What a response counts as whose status is a failure; it is returned all the same.

    A policy's `failure_on`, `ignore`, `classify` and `recovery_from` are given it.

    Attributes:
        status: the response's status.
        response: the client's own object.
    """

    def __init__(self, status: int, response: object) -> None:
        super().__init__(status, response)
        self.status = status
        self.response = response

    def __str__(self) -> str:
        return f"HTTP {self.status}"


Response = TypeVar("Response")
Send = Callable[[Request], Awaitable[Response]]


class GuardedRequests(ABC, Generic[Request, Response]):
    """Guards each request by the circuit of its origin; the rest of a client's own class for it.

    A response counts when its body has been read: then it has succeeded, or failed if the body
    broke. One that is closed before has succeeded if a part of its body came, and counts as nothing
    if none did. A status that is a failure counts at once. Redirects are requests of their own.
    """

    not_sent: tuple[type[Exception], ...] = ()
    """The client's errors for what the server has not seen: they count as nothing."""

    refusals: tuple[str, ...] = ()
    """What `on_refusal` may be."""

    def __init__(
        self,
        *,
        circuit: Callable[[Request], str | None],
        policy: Policy | None,
        failures: Collection[int],
        on_refusal: str,
        wait: float | None,
        **fields: Any,
    ) -> None:
        check_naming("circuit", circuit, "a request")
        if on_refusal not in self.refusals:
            choices = ", ".join(self.refusals)
            raise ValueError(f"on_refusal must be one of {choices}; got {on_refusal!r}")
        self._failures = _statuses(failures)
        self._on_refusal = on_refusal
        if wait is not None:
            CircuitBreaker("whose wait is checked").waiting(wait)
        self._wait = wait
        whole = whole_policy(policy, **fields)
        self._circuits = Circuits(circuit, with_hints(whole, self.not_sent))

    async def _guarded(self, request: Request, send: Send[Request, Response]) -> Response:
        """Send a request, if its circuit admits it.

        Raises:
            CircuitBreakerOpenError: it does not; see `on_refusal`.
            Exception: any error of what sends.
        """
        breaker = self._circuits.of(request)
        if breaker is None:
            return await send(request)
        try:
            permit = await breaker.acquire(wait=self._wait)
        except CircuitBreakerOpenError as refusal:
            if self._on_refusal == "error":
                raise
            return self._refused(request, refusal)
        if matters_when(permit):
            return await self._guarded_as_stream(permit, request, send)
        try:
            response = await send(request)
        except BaseException as error:
            permit.__exit__(type(error), error, error.__traceback__)
            raise
        if (status := self._status(response)) in self._failures:
            failed = FailedResponse(status, response)
            try:
                permit.__exit__(FailedResponse, failed, None)
            except BaseException:  # of the policy's own functions: nobody will read it
                await self._close(response)
                raise
        else:
            self._settle_by_body(permit, response)
        return response

    async def _guarded_as_stream(
        self, permit: Permit, request: Request, send: Send[Request, Response]
    ) -> Response:
        """Do the same, at several times the price, where it matters when a body's parts come."""
        response: Response | None = None
        parts: object = None

        async def begin() -> Any:
            nonlocal response, parts
            response = await send(request)
            if (status := self._status(response)) in self._failures:
                raise FailedResponse(status, response)
            parts = self._parts(response)
            return parts

        body = permit.stream(begin)
        try:
            await body.__aenter__()
        except BaseException as error:
            if response is None:
                raise
            if isinstance(error, FailedResponse) and error.response is response:
                return response
            await self._close(response)  # likewise
            raise
        assert response is not None
        if isinstance(parts, NoParts):
            await anext(body, None)
        else:
            self._read_by(body, parts, response)
        whole, response = response, None  # which has the stream, whose function is `begin`
        return whole

    def _refused(self, request: Request, refusal: CircuitBreakerOpenError) -> Response:
        """Return or raise a refusal in the client's own way."""
        raise self._as_transport_error(request, refusal) from refusal

    @abstractmethod
    def _as_transport_error(self, request: Request, refusal: CircuitBreakerOpenError) -> Exception:
        """Return a refusal as what this client raises if a server cannot be reached."""

    @abstractmethod
    def _status(self, response: Response) -> int:
        """Return the status of a response."""

    @abstractmethod
    def _settle_by_body(self, permit: Permit, response: Response) -> None:
        """Let a permit be settled by how a response's body is read."""

    @abstractmethod
    def _parts(self, response: Response) -> object:
        """Return the parts of a response's body, as `Permit.stream` takes them; `NoParts` if it has
        been read already: they may never come again.
        """

    @abstractmethod
    def _read_by(self, body: GuardedStream[Any], parts: Any, response: Response) -> None:
        """Let a response's body be read by its parts, which are guarded."""

    @abstractmethod
    async def _close(self, response: Response) -> None:
        """Let nothing more of a response come."""


def _statuses(failures: object) -> frozenset[int]:
    if not isinstance(failures, Collection) or isinstance(failures, str | bytes):
        raise TypeError(f"failures must be HTTP statuses, got {failures!r}")
    for status in cast("Collection[object]", failures):
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"failures must be HTTP statuses, got {status!r}")
        if not 100 <= status <= 999:
            raise ValueError(f"failures must be HTTP statuses, from 100 to 999, got {status!r}")
    return frozenset(cast("Collection[int]", failures))
