"""How streams are guarded: by whoever holds a circuit, at once or after a wait."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, overload

from supervisor.arguments import check_form, decorate_within, is_method_of_class
from supervisor.circuit import Circuit, Ticket, admit
from supervisor.guard.stream import Complete, GuardedStream, check_opening, check_options
from supervisor.guard.verdict import Verdict

P = ParamSpec("P")
T = TypeVar("T")

Opened: TypeAlias = AsyncIterable[T] | AbstractAsyncContextManager[AsyncIterable[T]]
"""What a stream can be opened as."""

OpensStream: TypeAlias = Callable[P, Opened[T] | Awaitable[Opened[T]]]
"""What opens a stream: an async generator function, for one."""

Generates: TypeAlias = Callable[P, AsyncGenerator[T, None]]


_OTHERWISE: Final = "; what else opens a stream is for `async with breaker.stream(...) as items:`"


class Streaming(ABC):
    """Guards streams: each is one call, from the question for admission to its end."""

    __slots__ = ()

    @overload
    def stream(
        self,
        func: OpensStream[..., T],
        /,
        *args: Any,
        complete: Complete | None,
        verdict: Verdict = "end",
        **kwargs: Any,
    ) -> GuardedStream[T]: ...

    @overload
    def stream(
        self, func: OpensStream[..., T], /, *args: Any, verdict: Verdict, **kwargs: Any
    ) -> GuardedStream[T]: ...

    @overload
    def stream(
        self, func: OpensStream[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> GuardedStream[T]: ...

    def stream(self, func: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        """Guard a stream: `async with breaker.stream(func) as items: async for item in items: ...`.

        The circuit is asked when the block is entered, and the stream is opened there. What it
        counts as is reported once, by whatever comes first: it ends, a success; it raises, what
        the policy says of the error; its reader leaves, a success if an item has come, and else
        nothing; its reader is cancelled, nothing. The reader's own errors count as leaving.

        The `timeout` of the policy limits the time to open it, and each wait for an item. The time
        to the first item is that by which it is slow. Each item of a probe lets the
        `probe_timeout` begin anew.

        Args:
            func: an async generator function; or what returns an async iterator, or an async
                context manager of one, to be awaited or not.
            args, kwargs: its arguments, but for `verdict` and `complete`.
            verdict: "end": a probe's outcome is reported when its stream is over; "first_item": it
                has succeeded with its first item. If it fails later, that counts as another call,
                which fails in the circuit's present state. Other calls hold no probe's place, and
                are reported when they are over.
            complete: a function of an item, asked about each until it says yes for the first time.
                A stream that ends without has failed, and raises `IncompleteStreamError`.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or out of range.
        """
        verdict, complete = kwargs.pop("verdict", "end"), kwargs.pop("complete", None)
        check_opening("CircuitBreaker.stream", func)
        check_options(verdict, complete)
        make = functools.partial(func, *args, **kwargs)
        return GuardedStream[Any](self._admit_call, make, verdict, complete)

    @overload
    def streaming(self, func: Callable[P, AsyncIterator[T]], /) -> Generates[P, T]: ...

    @overload
    def streaming(
        self, /, *, verdict: Verdict = "end", complete: Complete | None = None
    ) -> Callable[[Callable[P, AsyncIterator[T]]], Generates[P, T]]: ...

    def streaming(
        self,
        func: Callable[..., AsyncIterator[Any]] | None = None,
        /,
        *,
        verdict: Verdict = "end",
        complete: Complete | None = None,
    ) -> Any:
        """Decorate an async generator function or method, so that each of its streams is guarded.

        With or without arguments, which are those of `stream`. The circuit is asked for the first
        item. Who leaves a loop early closes the stream as any async generator, by `aclose`. What is
        sent to it, or thrown into it, does not reach `func`: it is no async context manager's.

        Raises:
            TypeError, ValueError: `func` is no async generator function, or an argument is of the
                wrong type or out of range.
        """
        check_options(verdict, complete)

        def decorate(func: Any) -> Any:
            if is_method_of_class(func):
                return decorate_within(func, decorate)
            check_form("CircuitBreaker.streaming", func, "async generator", _OTHERWISE)

            @functools.wraps(func)
            async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
                make = functools.partial(func, *args, **kwargs)
                async with GuardedStream[Any](self._admit_call, make, verdict, complete) as items:
                    async for item in items:
                        yield item

            return guarded

        return decorate if func is None else decorate(func)

    async def _admit_call(self, retry: bool = False) -> tuple[Circuit, Ticket]:
        """Have one call admitted, and return by which circuit, and what it is settled by."""
        circuit = await self._here()
        return circuit, await admit(circuit, retry, None, "closed")

    @abstractmethod
    async def _here(self) -> Circuit:
        """Return the circuit to call."""
        ...


def stream_again(breaker: Streaming, func: OpensStream[[], T]) -> GuardedStream[T]:
    """Guard another attempt of a stream that has failed before any item: it is taken from the
    budget of retries, if there is one.
    """
    admit_retry = functools.partial(breaker._admit_call, retry=True)  # pyright: ignore[reportPrivateUsage]
    return GuardedStream(admit_retry, func, "end", None)
