"""Plain functions in worker threads, guarded by the circuits of an event loop."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from supervisor.arguments import check_form, decorate_within, is_method_of_class
from supervisor.circuit import Circuit
from supervisor.guard import threads

P = ParamSpec("P")
R = TypeVar("R")


class Synchronous(ABC):
    """Guards plain functions, which run in worker threads."""

    __slots__ = ()

    _circuit: Circuit  # that it has used last, on whatever event loop

    def call_from_thread(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the plain function `func(*args, **kwargs)` in this thread, guarded as by `call`.

        The event loop is the one whose `anyio.to_thread.run_sync` started the thread. In any other
        thread, it is the one that this breaker was used on last; or if there is none, the only one
        of the process that has a supervisor. If the host task was
        cancelled before `func` began, its cancellation is raised; after that, `func` runs to its
        end and is counted. If the event loop ends meanwhile, that is all that gets lost: the
        count. The `timeout` of the policy is not applied to it, since nothing can end a thread.

        Raises:
            CircuitBreakerOpenError: the circuit refused it; see `call` for what else may be raised.
            RuntimeError: this is an event loop's own thread, or no such event loop runs.
            anyio.RunFinishedError: the event loop ended before the call was admitted.
            TypeError: `func` is an async function, or what it returned is to be awaited.
        """
        return threads.call(self._circuit, self._join, threads.made(func, args, kwargs))

    @property
    def sync(self) -> SyncGuard:
        """The same for plain functions: `@breaker.sync` decorates one, `breaker.sync.call` calls
        one. Both run it as `call_from_thread` does, in the thread that they are called in.
        """
        return SyncGuard(self, lambda: self._circuit, self._join)

    @abstractmethod
    def _join(self) -> Circuit:
        """Find the circuit of its name on the running event loop."""


class SyncGuard:
    """Guards plain functions by a breaker; see `CircuitBreaker.sync`."""

    __slots__ = ("_breaker", "_circuit", "_join")

    def __init__(
        self, breaker: Synchronous, circuit: Callable[[], Circuit], join: Callable[[], Circuit]
    ) -> None:
        self._breaker = breaker
        self._circuit = circuit
        self._join = join

    def call(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `func(*args, **kwargs)` in this thread; see `CircuitBreaker.call_from_thread`."""
        return self._breaker.call_from_thread(func, *args, **kwargs)

    def retry(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what `call` does, for another attempt of a call that has failed before; see
        `CircuitBreaker.retry`.
        """
        made = threads.made(func, args, kwargs)
        return threads.call(self._circuit(), self._join, made, retry=True)

    def spend_retry(self) -> None:
        """Take another attempt from the budget, in a worker thread; see
        `CircuitBreaker.spend_retry`.
        """
        threads.spend_retry_of(self._circuit(), self._join)

    def ask(self, func: Callable[[], R]) -> R:
        """Return what the plain function `func` returns on the event loop that `call` would ask:
        `breaker.sync.ask(breaker.statistics)`.

        Raises:
            RuntimeError: this is an event loop's own thread, or no such event loop runs.
            anyio.RunFinishedError: the event loop has ended.
            Exception: what `func` raises.
        """
        return threads.ask_event_loop(self._circuit(), func)

    def __call__(self, func: Callable[P, R], /) -> Callable[P, R]:
        """Guard a plain function, or a method, whenever it is called from a worker thread.

        Raises:
            TypeError: it is no plain function.
        """
        if is_method_of_class(func):
            return decorate_within(func, self)
        check_form("CircuitBreaker.sync", func, "plain")
        breaker = self._breaker

        @functools.wraps(func)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            return breaker.call_from_thread(func, *args, **kwargs)

        return guarded

    def __reduce__(self) -> tuple[object, ...]:
        return getattr, (self._breaker, "sync")

    def __repr__(self) -> str:
        return f"{self._breaker!r}.sync"
