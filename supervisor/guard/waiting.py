"""Calls that are ready to wait to be admitted."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, get_args, overload

from supervisor.arguments import (
    check_async,
    check_choice,
    check_seconds,
    decorate_within,
    is_method_of_class,
)
from supervisor.circuit import Circuit, Ticket, admit
from supervisor.guard.falling_back import FallingBack
from supervisor.guard.handle import CircuitHandle
from supervisor.guard.running import RAISE, make_call
from supervisor.guard.streaming import Streaming
from supervisor.machine import WaitFor

P = ParamSpec("P")
R = TypeVar("R")


class WaitingBreaker(FallingBack, Streaming):
    """A circuit for callers who are ready to wait to be admitted; see `CircuitBreaker.waiting`.

    Who came first is admitted first, as a probe or once the circuit is closed. Each caller has
    a deadline of its own, and may be cancelled meanwhile.
    """

    __slots__ = ("_breaker", "_wait", "_wait_for")

    def __init__(self, breaker: CircuitHandle, wait: float, wait_for: WaitFor) -> None:
        self._breaker = breaker
        self._wait = check_seconds("wait", wait)
        check_choice("wait_for", wait_for, get_args(WaitFor))
        self._wait_for: WaitFor = wait_for

    @overload
    async def call(
        self, func: Callable[..., Awaitable[R]], /, *args: Any, fallback: Any, **kwargs: Any
    ) -> R | Any: ...

    @overload
    async def call(
        self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    async def call(self, func: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Do what `CircuitBreaker.call` does, after a wait if need be."""
        fallback = kwargs.pop("fallback", RAISE)
        wait = self._wait
        return await make_call(
            await self._here(), func, args, kwargs, fallback, wait=wait, wait_for=self._wait_for
        )

    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        """Decorate an async function or method, so that each call of it is guarded.

        Raises:
            TypeError: `func` is not an async function.
        """
        if is_method_of_class(func):
            return decorate_within(func, self)
        check_async("a circuit breaker", func)

        @functools.wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            run = functools.partial(func, *args, **kwargs)  # its arguments may have any name
            result: R = await self.call(run)
            return result

        return guarded

    async def _admit_call(self, retry: bool = False) -> tuple[Circuit, Ticket]:
        circuit = await self._here()
        return circuit, await admit(circuit, retry, self._wait, self._wait_for)

    async def _here(self) -> Circuit:
        return await self._breaker._here()  # pyright: ignore[reportPrivateUsage]
