"""A middleware for aiohttp's clients: each request is guarded by its origin's circuit. On asyncio.

A plain middleware sees no body: it has returned before one is read. This one puts a reader of its
own before that of the body.
"""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Literal, Protocol, TypeVar, get_args

import aiohttp  # type: ignore[import-not-found, unused-ignore]

from supervisor import CircuitBreakerOpenError, GuardedStream, Permit, Policy
from supervisor.integrations.bodies import NoParts
from supervisor.integrations.http import FAILURES, GuardedRequests
from supervisor.integrations.pulled import Pulled, at_once

OnRefusal = Literal["error", "transport_error"]

T = TypeVar("T")


def origin(request: aiohttp.ClientRequest) -> str:
    """Return the name of a request's circuit: its scheme, its host, and its port if that is not the
    usual one, as in `https:example.com` and `http:localhost:8080`.
    """
    return f"{request.url.scheme}:{request.url.host_port_subcomponent}"


class CircuitOpenError(aiohttp.ClientConnectionError):  # type: ignore[misc, unused-ignore]
    """A refusal as aiohttp's error for a server that cannot be reached; the cause is our own.

    Attributes:
        retry_after: that of the refusal; 0.0 if this error was rebuilt from its text.
    """

    def __init__(self, refusal: CircuitBreakerOpenError | str) -> None:
        super().__init__(str(refusal))
        self.retry_after = 0.0 if isinstance(refusal, str) else refusal.retry_after


class PoolTimeoutError(aiohttp.ConnectionTimeoutError):  # type: ignore[misc, unused-ignore]
    """No connection of the client's own pool was free in time; the cause is aiohttp's error, which
    says nothing of the pool.
    """


class CircuitMiddleware(GuardedRequests[Any, Any]):
    """Guards what a `ClientSession` sends; the last of its `middlewares`, so that others see
    refusals, and what they try again is guarded.

    Args:
        circuit: a function of a request that returns the name of its circuit, or None if it is not
            to be guarded. By default, `origin`: one for each scheme, host and port.
        policy: that of all circuits. Unless it has a `recovery_from`, a server's `Retry-After`
            says for how long one is open: for an hour at most, unless it has a `max_retry_after`.
        failures: the statuses that are failures: by default 429, and from 500 on.
        on_refusal: "error": a refusal is raised as `CircuitBreakerOpenError`; "transport_error": as
            `CircuitOpenError`, one of aiohttp's own.
        wait: seconds, more than 0, for which a request waits to be admitted; None: it is refused at
            once.
        fields: those of the policy, which go before those of `policy`.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    not_sent = (PoolTimeoutError,)
    refusals = get_args(OnRefusal)

    def __init__(
        self,
        *,
        circuit: Callable[[aiohttp.ClientRequest], str | None] = origin,
        policy: Policy | None = None,
        failures: Collection[int] = FAILURES,
        on_refusal: OnRefusal = "error",
        wait: float | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(
            circuit=circuit,
            policy=policy,
            failures=failures,
            on_refusal=on_refusal,
            wait=wait,
            **fields,
        )

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request, if its circuit admits it.

        Raises:
            CircuitBreakerOpenError, CircuitOpenError: it does not; see `on_refusal`.
            PoolTimeoutError: it has waited too long for a connection of the pool.
            Exception: any other error of aiohttp's.
        """
        return await self._guarded(request, partial(_send, handler))

    def _as_transport_error(
        self,
        request: aiohttp.ClientRequest,  # noqa: ARG002  (other clients' errors have it)
        refusal: CircuitBreakerOpenError,
    ) -> Exception:
        error: Exception = CircuitOpenError(refusal)
        return error

    def _status(self, response: aiohttp.ClientResponse) -> int:
        status: int = response.status
        return status

    def _settle_by_body(self, permit: Permit, response: aiohttp.ClientResponse) -> None:
        reads = _Reads(permit, response.content)
        if _is_over(response):
            reads.leave()
        else:
            _let_read(response, reads)

    def _parts(self, response: aiohttp.ClientResponse) -> object:
        return NoParts() if _is_over(response) else Pulled()

    def _read_by(
        self, body: GuardedStream[Any], parts: Any, response: aiohttp.ClientResponse
    ) -> None:
        _let_read(response, _GuardedReads(body, parts, response.content))

    async def _close(self, response: aiohttp.ClientResponse) -> None:
        response.close()


async def _send(
    handler: aiohttp.ClientHandlerType, request: aiohttp.ClientRequest
) -> aiohttp.ClientResponse:
    try:
        # When the `total` time is over, aiohttp cancels whoever waits for a connection, and says
        # only outside of all middlewares that this was no cancellation.
        with getattr(request, "_timer", nullcontext()):
            return await handler(request)
    except TimeoutError as late:
        if _pool_is_full(request):
            raise PoolTimeoutError(f"no free connection for {request.url} in time") from late
        raise


def _pool_is_full(request: aiohttp.ClientRequest) -> bool:
    """Whether a request that took too long has waited for a place in the pool: it gives back its
    own before its error comes out, so that there would be one.
    """
    free: Callable[[object], int] | None = getattr(
        request.session.connector, "_available_connections", None
    )
    return free is not None and free(request.connection_key) <= 0


def _is_over(response: aiohttp.ClientResponse) -> bool:
    """Whether the body has come whole, as small ones do with the headers, or was read inside."""
    return response.connection is None or response.content.is_eof()


def _let_read(response: aiohttp.ClientResponse, reads: _AnyReads) -> None:
    response.connection.add_callback(reads.leave)
    response.content = _Content(response.content, reads)


class _AnyReads(Protocol):
    """How a body is read."""

    async def read(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Await one of the reader's operations, and take note of how it ends."""
        ...

    def leave(self) -> None:
        """Take note that the connection has been given back: nothing more comes."""
        ...


class _Reads:
    """Those that settle a permit."""

    def __init__(self, permit: Permit, content: aiohttp.StreamReader) -> None:
        self._permit = permit
        self._content = content

    async def read(self, operation: Callable[[], Awaitable[T]]) -> T:
        try:
            return await operation()
        except BaseException as error:
            if not self._permit.settled:
                self._permit.__exit__(type(error), error, error.__traceback__)
            raise

    def leave(self) -> None:
        if not self._permit.settled:
            if self._content.is_eof() or self._content.total_bytes:
                self._permit.succeed()
            else:
                self._permit.ignore()


class _GuardedReads:
    """Those that are the items of a guarded stream."""

    def __init__(
        self, stream: GuardedStream[Any], pulled: Pulled, content: aiohttp.StreamReader
    ) -> None:
        self._stream = stream
        self._pulled = pulled
        self._content = content
        self._waits = False
        self._end: asyncio.Task[None] | None = None

    async def read(self, operation: Callable[[], Awaitable[T]]) -> T:
        self._pulled.operation = operation
        self._waits = True
        try:
            result: T = await anext(self._stream)
        except StopAsyncIteration:  # it is over
            return await operation()
        finally:
            self._waits = False
        if self._content.is_eof():
            await anext(self._stream, None)
        return result

    def leave(self) -> None:
        if not self._content.is_eof():
            at_once(self._stream.aclose())
        elif not self._waits:  # or it is for that read to say so; there may be no other
            self._end = asyncio.ensure_future(self._has_come())  # a time limit needs a task

    async def _has_come(self) -> None:
        if not self._waits:
            self._pulled.operation = None
            await anext(self._stream, None)

    def __del__(self) -> None:
        with suppress(RuntimeError):  # the collector runs in another thread
            at_once(self._stream.aclose())


def _watched(name: str) -> Any:
    """Return a method that reads as the one of that name."""

    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        operation = partial(getattr(self._inner, name), *args, **kwargs)
        return await self._reads.read(operation)

    return method


def _inner_type(content: Any) -> Any:
    return type(content._inner)


class _Content:
    """A response's content, whose reads are watched; in all else, it is the one inside."""

    def __init__(self, inner: aiohttp.StreamReader, reads: _AnyReads) -> None:
        self._inner = inner
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    # What sends a body asks what it is.
    __class__ = property(_inner_type)  # pyright: ignore[reportIncompatibleMethodOverride]

    async def read(self, n: int = -1) -> bytes:
        """Read so many bytes, or all: part by part, since each shows that the server is alive."""
        if n >= 0:
            some: bytes = await self._some(n)
            return some
        parts: list[bytes] = []
        while part := await self.readany():
            parts.append(part)
        return b"".join(parts)

    _some = _watched("read")
    readany = _watched("readany")
    readchunk = _watched("readchunk")
    readexactly = _watched("readexactly")
    readline = _watched("readline")
    readuntil = _watched("readuntil")
    wait_eof = _watched("wait_eof")

    __aiter__ = aiohttp.StreamReader.__aiter__
    iter_any = aiohttp.StreamReader.iter_any
    iter_chunked = aiohttp.StreamReader.iter_chunked
    iter_chunks = aiohttp.StreamReader.iter_chunks
