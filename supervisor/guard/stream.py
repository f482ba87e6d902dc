"""A guarded stream: opened as a block, read item by item, closed when its reader leaves."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from inspect import isawaitable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, get_args

from supervisor.arguments import check_choice, form_of, shown, unwrapped
from supervisor.circuit import Circuit, Ticket, settle
from supervisor.guard.running import is_misuse
from supervisor.guard.timeouts import limited
from supervisor.guard.verdict import StreamCall, Verdict
from supervisor.loop import is_cancellation
from supervisor.policy import Outcome, ask

T = TypeVar("T")
R = TypeVar("R")

Complete = Callable[[Any], object]
"""Asked about each item, whether the stream is complete with it."""


class GuardedStream(Generic[T]):
    """A stream that is one call of a circuit; see `CircuitBreaker.stream`.

    Enter it once, as a block, and read it by `async for`. It is closed when the block is left, or
    by `aclose`.
    """

    __slots__ = (
        "_admit",
        "_call",
        "_complete",
        "_func",
        "_is_in_use",
        "_items",
        "_stack",
        "_verdict",
    )

    def __init__(
        self,
        admit: Callable[[], Awaitable[tuple[Circuit, Ticket]]],
        func: Callable[[], object],
        verdict: Verdict,
        complete: Complete | None,
    ) -> None:
        self._admit = admit
        self._func = func
        self._verdict: Verdict = verdict
        self._complete = complete  # None: it is complete
        self._call: StreamCall | None = None
        self._items: AsyncIterator[T] | None = None
        self._is_in_use = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Be admitted, and open the stream.

        Raises:
            CircuitBreakerOpenError: the circuit refused it; nothing was opened.
            CallTimeoutError: opening it has taken the `timeout` of the policy.
            TypeError: what was opened is no stream.
            RuntimeError: it has been entered before, or somebody else enters it.
            Exception: any other error of `CircuitBreaker.call`, or of what opens it.
        """
        if self._call is not None or self._is_in_use:
            raise RuntimeError("a guarded stream can be entered once; ask the breaker for another")
        self._is_in_use = True
        try:
            circuit, ticket = await self._admit()
        finally:
            self._is_in_use = False
        try:
            call = self._call = StreamCall(circuit, ticket, self._verdict)
            self._items = await self._run(call, self._open)
        except BaseException as error:
            if self._call is None:
                settle(circuit, ticket, Outcome.CANCELLED)  # an interrupt has come in between
            else:
                self._call.give_back(Outcome.CANCELLED)  # likewise, if it is not over
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Return the next item.

        Raises:
            StopAsyncIteration: it has come to its end, or has been closed.
            CallTimeoutError: no item has come for the `timeout` of the policy.
            TypeError: what `complete` says would have to be awaited.
            IncompleteStreamError: it has ended, and was not `complete`.
            RuntimeError: it has not been entered, or somebody else waits for the next item.
            Exception: any error of the stream.
        """
        call, items = self._call, self._items
        if call is None:
            raise RuntimeError("a guarded stream has to be entered: `async with ... as items:`")
        if self._is_in_use:
            raise RuntimeError("somebody else waits for the next item of this guarded stream")
        if items is None:
            raise StopAsyncIteration
        self._is_in_use = True
        try:
            item = await self._run(call, items.__anext__)
        except StopAsyncIteration:
            self._items = None
            self._end(call)
            raise
        finally:
            self._is_in_use = False
        call.item_came()
        if self._complete is not None and ask("complete", self._complete, item):
            self._complete = None
        return item

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._items = None
        if self._call is not None:
            # Before anything is awaited: whoever is cancelled gets no further than that.
            if exc is not None and is_cancellation(exc):
                self._call.give_back(Outcome.CANCELLED)
            else:
                self._call.leave()
        return bool(await self._stack.__aexit__(exc_type, exc, traceback))

    async def aclose(self) -> None:
        """Close it, as its reader does who wants no more; once more does nothing."""
        await self.__aexit__(None, None, None)

    def __repr__(self) -> str:
        if self._call is None:
            return "<GuardedStream, not entered>"
        state = "over" if self._call.over else "open"
        return f"<GuardedStream {self._call.circuit.name!r} {state}>"

    def __del__(self) -> None:
        call = self._call
        if call is not None and not call.over:
            if call.runs_here:
                call.leave()
            warnings.warn(
                f"a stream by circuit {call.circuit.name!r} was never closed",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    async def _run(self, call: StreamCall, wait: Callable[[], Awaitable[R]]) -> R:
        """Await what the stream itself does, and report if it fails."""
        try:
            limit = call.limit()
        except RuntimeError:  # there is no task that could be cancelled, so nothing begins
            call.give_back(Outcome.IGNORED)
            raise
        known = call.inside()
        try:
            with known:
                return await limited(wait(), limit)
        except BaseException as error:
            known.circuit = None  # also if `with` was interrupted
            if self._items is None or not issubclass(type(error), StopAsyncIteration):
                call.fail(error, known)
            raise

    async def _open(self) -> AsyncIterator[T]:
        opened: Any = self._called()
        if not _is_manager(opened) and not _is_iterable(opened) and isawaitable(opened):
            opened = await opened  # some libraries' answers are all of it
        if _is_manager(opened):
            opened = await self._stack.enter_async_context(opened)
        if not _is_iterable(opened):
            raise self._misused(
                TypeError(
                    "CircuitBreaker.stream needs a function that gives an async iterator, or an"
                    " async context manager of one;"
                    f" {shown(unwrapped(self._func))} has given {shown(opened)}"
                )
            )
        items: AsyncIterator[T] = aiter(opened)
        close: Callable[[], Awaitable[object]] | None = getattr(items, "aclose", None)
        if close is not None:
            self._stack.push_async_callback(close)
        return items

    def _called(self) -> object:
        try:
            return self._func()
        except TypeError as error:
            if is_misuse(self._func, None, error):
                self._misused(error)
            raise

    def _misused(self, error: TypeError) -> TypeError:
        """Report that the stream has not begun, and return the error, which is the caller's."""
        assert self._call is not None
        self._call.give_back(Outcome.IGNORED)
        return error

    def _end(self, call: StreamCall) -> None:
        """Report the end of the stream.

        Raises:
            IncompleteStreamError: it was not complete.
        """
        if self._complete is None or call.over:
            call.end()
            return
        error = call.cut_short()
        call.fail(error, call.inside())
        try:
            raise error from None
        finally:
            del error  # it would be kept by the frame that it keeps


def check_opening(caller: str, func: object) -> None:
    """Refuse what cannot open a stream; `caller` is what was called."""
    if not callable(func):
        raise TypeError(f"{caller} needs a function that opens a stream, got {shown(func)}")


def check_options(verdict: object, complete: object) -> None:
    """Refuse what cannot say when a stream has succeeded, or is complete."""
    check_choice("verdict", verdict, get_args(Verdict))
    if complete is not None and form_of(complete) != "plain":
        raise TypeError(f"complete must be a plain function of an item, got {shown(complete)}")


def _is_manager(opened: object) -> bool:
    return isinstance(opened, AbstractAsyncContextManager)


def _is_iterable(opened: object) -> bool:
    return isinstance(opened, AsyncIterable)
