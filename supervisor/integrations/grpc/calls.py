"""Calls of grpc.aio's: what they count as, and how their items are read."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportMissingTypeStubs=false
# pyright: reportMissingModuleSource=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from asyncio import CancelledError, get_running_loop
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import grpc  # type: ignore[import-untyped, import-not-found, unused-ignore]
import grpc.aio  # type: ignore[import-untyped, import-not-found, unused-ignore]

from supervisor import GuardedStream, Permit
from supervisor.integrations.pulled import Pulled, at_once

Failures = Collection[grpc.StatusCode]


def when_done(call: Any, end: Callable[[Any], None]) -> None:
    """Let an outcome be reported as soon as a call is done."""
    loop = get_running_loop()

    def done(call: Any) -> None:
        try:
            end(call)
        except (
            Exception
        ) as error:  # of the policy's own functions: grpc would leave readers waiting
            loop.call_exception_handler({"message": f"{call!r}", "exception": error})

    if call.done():  # an interceptor has answered
        done(call)
    else:
        call.add_done_callback(done)


def cancel_if_unsent(call: Any) -> None:
    """Let a call end whose request is no bytes: grpc tells only whoever waits for it (1.85.3)."""

    def end(sending: Any) -> None:
        if _error_in(sending) is not None:
            call.cancel()  # it counts as nothing: the server was not asked

    sending = _sending(call)
    if sending is not None:
        sending.add_done_callback(end)


def _sending(call: Any) -> Any:
    """Return the task that sends the single request of a call, if it has one."""
    return getattr(call, "_invocation_task", None) or getattr(
        call, "_send_unary_request_task", None
    )


def _error_in(task: Any) -> BaseException | None:
    """Return what a task has raised, if it is done."""
    if task is None or not task.done() or task.cancelled():
        return None
    error: BaseException | None = task.exception()
    return error


class Settling:
    """A permit that is settled by how a call ends.

    Attributes:
        items: how many have come.
        waits: whether somebody waits for one.
    """

    def __init__(self, permit: Permit, failures: Failures) -> None:
        self.items = 0
        self.waits = False
        self._permit = permit
        self._failures = failures

    def end(self, call: Any) -> None:
        """Report how a call has ended. Whoever has left it was served, if an item came."""
        error = _error_of(call, self._failures)
        if isinstance(error, CancelledError) and self.items and not self.waits:
            error = None
        self._permit.__exit__(None if error is None else type(error), error, None)


class Items:
    """Those of a call, counted."""

    def __init__(self, call: Any, settling: Settling) -> None:
        self._items = aiter(call)
        self._settling = settling

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> Any:
        self._settling.waits = True
        try:
            item = await anext(self._items)
        finally:
            self._settling.waits = False
        self._settling.items += 1
        return item


class GuardedItems:
    """Those of a call that is guarded as a stream, for which it matters when they come."""

    def __init__(
        self, call: Any, stream: GuardedStream[Any], pulled: Pulled, failures: Failures
    ) -> None:
        self._call = call
        self._items = aiter(call)
        self._stream = stream
        self._pulled = pulled
        self._failures = failures
        self._error: BaseException | None = None
        self._answer: BaseException | None = None
        self._unsent: Exception | None = None
        self._waits = False
        self._over = False

    def __aiter__(self) -> GuardedItems:
        return self

    async def __anext__(self) -> Any:
        if self._over:
            return await anext(self._items)
        self._pulled.operation = self._next
        self._waits = True
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            self._over = True
            if self._answer is None:
                raise
            raise self._answer from None
        except CancelledError:
            if self._unsent is None:
                raise
            self._over = True
            raise self._unsent from None
        finally:
            self._waits = False

    def end(self, call: Any) -> None:
        """Report how a call has ended, unless whoever waits for an item is told so."""
        error = self._error = _error_of(call, self._failures)
        if self._waits:
            return
        self._over = True
        if isinstance(error, CancelledError):
            at_once(self._stream.aclose())
            return

        async def fail() -> None:
            assert error is not None
            raise error

        self._pulled.operation = fail if error is not None else None
        with suppress(StopAsyncIteration, grpc.aio.AioRpcError):
            at_once(self._stream.__anext__())

    async def _next(self) -> Any:
        try:
            return await anext(self._items)
        except grpc.aio.AioRpcError as error:
            # By the status with which the call was done. If the server has answered while requests
            # were still sent, grpc may raise INTERNAL in the place of the answer (1.85.3).
            if self._error is not None:
                raise
            self._answer = error
            raise StopAsyncIteration from None
        except TypeError as error:
            if error is not _error_in(_sending(self._call)):
                raise
            self._unsent = error
            raise CancelledError from None


def _error_of(call: Any, failures: Failures) -> BaseException | None:
    """Return what a call that is done counts as; None: a success."""
    if _was_left(call):
        return CancelledError()
    code = at_once(call.code())
    if code not in failures:
        return None
    error: BaseException = grpc.aio.AioRpcError(
        code,
        at_once(call.initial_metadata()),
        at_once(call.trailing_metadata()),
        details=at_once(call.details()),
        debug_error_string=at_once(call.debug_error_string()),
    )
    return error


def _was_left(call: Any) -> bool:
    """Whether this side has cancelled it. `cancelled()` says the same if the server has."""
    inside = getattr(call, "_cython_call", None)
    return inside is not None and bool(inside.is_locally_cancelled())
