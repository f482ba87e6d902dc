"""The interceptors of a channel, which has one for each of the four kinds of call."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Literal, cast, get_args

import grpc  # type: ignore[import-untyped, import-not-found, unused-ignore]
import grpc.aio  # type: ignore[import-untyped, import-not-found, unused-ignore]

from supervisor import CircuitBreakerOpenError, Permit, Policy
from supervisor.integrations.grpc.calls import (
    GuardedItems,
    Items,
    Settling,
    cancel_if_unsent,
    when_done,
)
from supervisor.integrations.origins import Circuits, check_naming
from supervisor.integrations.policies import whole_policy, with_hints
from supervisor.integrations.pulled import Pulled, matters_when

FAILURES: Final[frozenset[grpc.StatusCode]] = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""The statuses that are failures: the server cannot be reached, is too slow, has too much to do, or
is broken. All others are answers, also CANCELLED if the server sends it.
"""

OnRefusal = Literal["error", "transport_error"]


class CircuitOpenError(grpc.aio.AioRpcError):  # type: ignore[misc, unused-ignore]
    """A refusal as grpc's error for a server that cannot be reached, with the status UNAVAILABLE;
    the cause is our own.

    Attributes:
        retry_after: seconds until a call may be admitted, as that of the refusal.
    """

    def __init__(self, refusal: CircuitBreakerOpenError) -> None:
        none = grpc.aio.Metadata()
        super().__init__(grpc.StatusCode.UNAVAILABLE, none, none, details=str(refusal))
        self.retry_after = refusal.retry_after
        self._refusal = refusal

    def __reduce__(self) -> tuple[type[CircuitOpenError], tuple[CircuitBreakerOpenError]]:
        return type(self), (self._refusal,)


def by_target(target: str, method: str) -> str:  # noqa: ARG001  (other functions use it)
    """Return the name of a call's circuit: that of its channel's target, as `grpc:prices:50051`."""
    return f"grpc:{target}"


def circuit_interceptors(
    target: str,
    *,
    circuit: Callable[[str, str], str | None] = by_target,
    policy: Policy | None = None,
    failures: Collection[grpc.StatusCode] = FAILURES,
    on_refusal: OnRefusal = "error",
    **fields: Any,
) -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors that guard a channel: one for each of the four kinds of call.

    Put them last among a channel's `interceptors`, so that others see refusals, and what they try
    again is guarded.

    Args:
        target: that of the channel, which grpc does not tell its interceptors.
        circuit: a function of the target and the method, such as "/shop.Prices/Get", that returns
            the name of a call's circuit, or None if it is not to be guarded. By default,
            `by_target`: one for the channel's target.
        policy: that of all circuits. Its `timeout` is a deadline for calls with a single answer,
            and limits the wait for each item of the others. Unless it has a `recovery_from`, a
            server's `RetryInfo` says for how long one is open: for an hour at most, unless it has
            a `max_retry_after`.
        failures: the statuses that are failures: by default, `FAILURES`.
        on_refusal: "error": a refusal is raised as `CircuitBreakerOpenError`; "transport_error": as
            `CircuitOpenError`, an `AioRpcError` with the status UNAVAILABLE.
        fields: those of the policy, which go before those of `policy`.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """
    if not isinstance(cast("object", target), str):
        raise TypeError(f"target must be the text that the channel is made by, got {target!r}")
    check_naming("circuit", circuit, "a target and a method")
    if on_refusal not in get_args(OnRefusal):
        choices = ", ".join(get_args(OnRefusal))
        raise ValueError(f"on_refusal must be one of {choices}; got {on_refusal!r}")
    whole = whole_policy(policy, **fields)

    def name_of(method: str) -> str | None:
        return circuit(target, method)

    circuits = Circuits[Any](name_of, with_hints(whole, ()))
    guard = _Guard(circuits, _statuses(failures), on_refusal)
    return [kind(guard) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]


def _statuses(failures: object) -> frozenset[grpc.StatusCode]:
    if not isinstance(failures, Collection) or isinstance(failures, str | bytes):
        raise TypeError(f"failures must be statuses of grpc's, got {failures!r}")
    for status in cast("Collection[object]", failures):
        if not isinstance(status, grpc.StatusCode):
            raise TypeError(f"failures must be statuses of grpc's, got {status!r}")
    if grpc.StatusCode.OK in failures:
        raise ValueError("failures must be statuses of grpc's but OK")
    return frozenset(failures)


Continuation = Callable[[Any, Any], Awaitable[Any]]


class _Guard:
    """What the interceptors of a channel have in common."""

    def __init__(
        self, circuits: Circuits[Any], failures: frozenset[grpc.StatusCode], on_refusal: OnRefusal
    ) -> None:
        self._circuits = circuits
        self._failures = failures
        self._on_refusal = on_refusal

    async def answer(self, go_on: Continuation, details: Any, request: Any) -> Any:
        """Guard a call with a single answer."""
        permit = await self._permit(details)
        if permit is None:
            return await go_on(details, request)
        call = await self._call(permit, go_on, _limited(details, permit.policy.timeout), request)
        when_done(call, Settling(permit, self._failures).end)
        return call

    async def items(self, go_on: Continuation, details: Any, request: Any) -> Any:
        """Guard a call whose answer is a stream."""
        permit = await self._permit(details)
        if permit is None:
            return await go_on(details, request)
        call = await self._call(permit, go_on, details, request)
        items: Items | GuardedItems
        if matters_when(permit):
            pulled = Pulled()
            stream = permit.stream(lambda: pulled)
            await stream.__aenter__()
            items = GuardedItems(call, stream, pulled, self._failures)
            when_done(call, items.end)
        else:
            settling = Settling(permit, self._failures)
            items = Items(call, settling)
            when_done(call, settling.end)
        return items

    async def _permit(self, details: Any) -> Permit | None:
        method = details.method
        breaker = self._circuits.of(method.decode() if isinstance(method, bytes) else method)
        if breaker is None:
            return None
        try:
            return await breaker.acquire()
        except CircuitBreakerOpenError as refusal:
            if self._on_refusal == "error":
                raise
            raise CircuitOpenError(refusal) from refusal

    async def _call(self, permit: Permit, go_on: Continuation, details: Any, request: Any) -> Any:
        """Begin a call; interceptors inside may raise, for reasons of their own or what it says."""
        try:
            call = await go_on(details, request)
            cancel_if_unsent(call)
            return call
        except BaseException as error:
            if isinstance(error, grpc.aio.AioRpcError) and error.code() not in self._failures:
                permit.succeed()
            elif isinstance(error, grpc.aio.UsageError):  # a channel that was closed, say
                permit.ignore()
            else:
                permit.__exit__(type(error), error, error.__traceback__)
            raise


def _limited(details: Any, limit: float | None) -> Any:
    """Return the details of a call with so many seconds at most.

    Other interceptors may have put any object in the place of grpc's own.
    """
    if limit is None or (details.timeout is not None and details.timeout <= limit):
        return details
    if isinstance(details, tuple):  # a named one, perhaps with fields that others know
        return cast("Any", details)._replace(timeout=limit)
    return grpc.aio.ClientCallDetails(
        details.method, limit, details.metadata, details.credentials, details.wait_for_ready
    )


class _Interceptor:
    def __init__(self, guard: _Guard) -> None:
        self._guard = guard


class _UnaryUnary(
    _Interceptor,
    grpc.aio.UnaryUnaryClientInterceptor,  # type: ignore[misc, unused-ignore]
):
    async def intercept_unary_unary(
        self, continuation: Continuation, client_call_details: Any, request: Any
    ) -> Any:
        return await self._guard.answer(continuation, client_call_details, request)


class _UnaryStream(
    _Interceptor,
    grpc.aio.UnaryStreamClientInterceptor,  # type: ignore[misc, unused-ignore]
):
    async def intercept_unary_stream(
        self, continuation: Continuation, client_call_details: Any, request: Any
    ) -> Any:
        return await self._guard.items(continuation, client_call_details, request)


class _StreamUnary(
    _Interceptor,
    grpc.aio.StreamUnaryClientInterceptor,  # type: ignore[misc, unused-ignore]
):
    async def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._guard.answer(continuation, client_call_details, request_iterator)


class _StreamStream(
    _Interceptor,
    grpc.aio.StreamStreamClientInterceptor,  # type: ignore[misc, unused-ignore]
):
    async def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._guard.items(continuation, client_call_details, request_iterator)
