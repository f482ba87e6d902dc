"""What can be retried, each in its way: async functions, plain ones, and streams."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from supervisor.arguments import form_of, instead_of, is_function, shown, unwrapped
from supervisor.loop import read_settings
from supervisor.retry.attempts import retried
from supervisor.retry.circuits import CircuitOfLoop
from supervisor.retry.strategies import Rules
from supervisor.retry.streams import read, retried_stream
from supervisor.retry.tasks import IN_TASKS, coroutine_function
from supervisor.retry.threads import (
    IN_THREADS,
    CircuitFromThread,
    check_worker_thread,
    plain_function,
)
from supervisor.settings import app_settings

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class RetryDecorator(Protocol):
    """Retries a function; its signature stays, and so does what it is: async, plain or a stream."""

    @overload
    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(
        self, func: Callable[P, AsyncIterator[T]], /
    ) -> Callable[P, AsyncGenerator[T, None]]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> Callable[P, R]: ...

    def __call__(self, func: Callable[..., Any], /) -> Callable[..., Any]:
        """Return it with a retry loop round it.

        Raises:
            TypeError: it is no function, or one whose result comes bit by bit: a generator.
        """
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of function that can be retried.

    Attributes:
        retried: takes a function, its circuit and its rules, and returns what runs it by these.
        decorated: takes a function, and what returns the above for each call; returns a function
            of the same kind.
    """

    retried: Callable[[Callable[..., Any], CircuitOfLoop, Rules], Callable[..., Any]]
    decorated: Callable[[Callable[..., Any], Callable[[], Callable[..., Any]]], Callable[..., Any]]


def kind_of(func: object) -> Kind:
    """Return what kind of function it is.

    Raises:
        TypeError: it is none that can be retried.
    """
    match form_of(func):
        case "async":
            return Kind(retried_in_tasks, _async)
        case "async generator":
            return Kind(lambda _, circuit, rules: retried_stream(circuit, rules), _streaming)
        case "plain" if is_function(unwrapped(func)):  # and no partial of a class
            return Kind(_retried_in_threads, _plain)
        case _:
            raise TypeError(
                "a retry decorator needs an async function (`async def`), with or without `yield`,"
                f" or a plain function for worker threads, got {shown(func)}{instead_of(func)}"
            )


def retried_in_tasks(
    func: Callable[P, Any], circuit: CircuitOfLoop, rules: Rules
) -> Callable[P, Any]:
    """Return a retried async function; it takes whatever returns awaitables for one."""
    return retried(coroutine_function(func), circuit, rules, IN_TASKS)


def _retried_in_threads(
    func: Callable[P, Any], circuit: CircuitOfLoop, rules: Rules
) -> Callable[P, Any]:
    return retried(plain_function(func), CircuitFromThread(circuit), rules, IN_THREADS)


def _async(func: Callable[P, Any], now: Callable[[], Callable[..., Any]]) -> Callable[P, Any]:
    @functools.wraps(func)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        if not app_settings.knows_all:
            await read_settings(retries=True)
        return await now()(*args, **kwargs)

    return wrapper


def _plain(func: Callable[P, Any], now: Callable[[], Callable[..., Any]]) -> Callable[P, Any]:
    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        check_worker_thread(func)
        return now()(*args, **kwargs)

    return wrapper


def _streaming(func: Callable[P, Any], now: Callable[[], Callable[..., Any]]) -> Callable[P, Any]:
    @functools.wraps(func)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, None]:
        if not app_settings.knows_all:
            await read_settings(retries=True)
        async with aclosing(read(now(), functools.partial(func, *args, **kwargs))) as items:
            async for item in items:
                yield item

    return wrapper
