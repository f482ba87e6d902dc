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
from supervisor.retry.attempts import Again, Attempts, Loop, Made, Way
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

    attempts = TaskAttempts

    def clock(self) -> float:
        """Return the event loop's time."""
        return anyio.current_time()

    async def loop(self, strategies: Strategies, deadline: Deadline | None, made: Made) -> Any:
        """Make attempts until one succeeds, or there are no more."""
        try:
            return await made()
        except BaseException as error:
            if not strategies.goes_on_after(error):
                raise
            again = Again(made, error)

        async def make() -> Any:  # tenacity awaits what a function returns only if it is async
            return await again.make()

        return await AsyncRetrying(**_options(strategies, deadline))(make)

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


def _options(strategies: Strategies, deadline: Deadline | None) -> dict[str, Any]:
    """Return what a loop is made with."""
    if deadline is None:
        return {**strategies.options(is_over_here), "sleep": anyio.sleep}

    async def sleep(state: RetryCallState) -> None:
        strategies.log(state)
        await anyio.sleep(state.upcoming_sleep)
        deadline.check_after_sleep(state)

    options = strategies.options(deadline.is_over, is_over_here)
    return {**options, "before_sleep": sleep, "sleep": nothing}


def is_over_here(state: RetryCallState) -> bool:
    """Return whether a `deadline` round the call would be over before another attempt begins."""
    if anyio.current_time() + state.upcoming_sleep < deadline_here():
        return False
    note(state, "the deadline round this call would be over")
    return True


async def nothing(_: object) -> None:
    """Stand in the place of a sleep."""


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
