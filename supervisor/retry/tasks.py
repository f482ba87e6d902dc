"""Attempts that are awaited, in tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState

from supervisor.arguments import shown
from supervisor.errors import CircuitBreakerOpenError
from supervisor.loop import deadline_here
from supervisor.retry.attempts import Attempts, Loop, Made, Way
from supervisor.retry.circuits import Guarding
from supervisor.retry.strategies import Deadline, Strategies, note

P = ParamSpec("P")
R = TypeVar("R")
AsyncFunction = Callable[P, Coroutine[Any, Any, R]]


class TaskAttempts(Attempts):
    """Those of one call."""

    __slots__ = ()

    async def make_all(self, loop: Loop) -> Any:
        """Make attempts until one succeeds, or the loop or the budget is at its end."""
        last_error: Exception | None = None
        try:
            return await loop(self._make)
        except CircuitBreakerOpenError as refusal:
            last_error = self.error_before(refusal)
            if last_error is None:
                raise
            raise last_error from None
        finally:
            last_error = None
            self.forget()

    async def _make(self) -> Any:
        try:
            return await self.make_next()
        except Exception as error:
            self.note(error)
            raise


class InTasks(Way):
    """They sleep on the event loop, and can be cancelled."""

    loop = AsyncRetrying
    attempts = TaskAttempts

    def clock(self) -> float:
        """Return the event loop's time."""
        return anyio.current_time()

    def options(self, strategies: Strategies, deadline: Deadline | None) -> dict[str, Any]:
        """Return what a loop is made with."""

        # Tenacity wraps each strategy that is no async function in one, again at every attempt. The
        # two that run also when an attempt succeeds are async, therefore: that takes 2 of 17 µs
        # away.
        async def goes_on(state: RetryCallState) -> bool:
            return state.outcome is not None and state.outcome.failed and worth(state)

        async def sleep(state: RetryCallState) -> None:
            strategies.log(state)
            await anyio.sleep(state.upcoming_sleep)
            assert deadline is not None
            deadline.check_after_sleep(state)

        worth, own = strategies.is_worth_it, dict[str, Any](sleep=anyio.sleep)
        if deadline is not None:
            own = {"before_sleep": sleep, "sleep": nothing}
        stops = [is_over_here] if deadline is None else [deadline.is_over, is_over_here]
        return {**strategies.options(*stops), "before": nothing, "retry": goes_on, **own}

    def limited(self, made: Made, deadline: Deadline) -> Made:
        """Return what makes an attempt, and cancels it at the deadline."""
        return functools.partial(deadline.make, made)

    def paid(self, own: Guarding, made: Made) -> Made:
        """Return what takes an attempt from the budget, and makes it."""

        async def again() -> Any:
            await own.spend_retry()
            return await made()

        return again


IN_TASKS: Final = InTasks()


def is_over_here(state: RetryCallState) -> bool:
    """Return whether a `deadline` round the call would be over before another attempt begins."""
    if anyio.current_time() + state.upcoming_sleep < deadline_here():
        return False
    note(state, "the deadline round this call would be over")
    return True


async def nothing(about: object) -> None:
    """What is to be done before an attempt, or in the place of a sleep."""


def coroutine_function(func: Callable[P, Awaitable[R]]) -> AsyncFunction[P, R]:
    """Return `func` in the one form that tenacity is sure to recognise as async."""

    @functools.wraps(func)
    async def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        awaitable = func(*args, **kwargs)
        if not inspect.isawaitable(awaitable):
            raise TypeError(
                f"an async function is needed, but {shown(func)} returned {shown(awaitable)}"
            )
        return await awaitable

    return func if inspect.iscoroutinefunction(func) else attempt
