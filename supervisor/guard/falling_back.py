"""Decorated functions whose result something else stands in for, if a call is refused or fails."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from supervisor.arguments import (
    check_form,
    decorate_within,
    is_method_of_class,
    shown,
)
from supervisor.policy import check_takes

P = ParamSpec("P")
R = TypeVar("R")


_FALLBACK: Final = "the fallback in `@breaker.with_fallback(fallback)`"


class FallingBack(ABC):
    """Guards functions that have a fallback."""

    __slots__ = ()

    @abstractmethod
    async def call(self, func: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a function guarded, with a fallback if one is given."""

    def with_fallback(
        self, fallback: Any, *, arguments: bool = False
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Decorate an async function or method, with something that stands in for its result.

        Args:
            fallback: a value, or a function of the error (async or not): see `call`.
            arguments: whether the function is given those of the call as well, after the error.

        Raises:
            TypeError: `arguments` are asked for by a value, or the function cannot be called with
                an error alone though they are not; or, when the decorator is used, what it is used
                on is no async function.
        """
        if arguments and not callable(fallback):
            raise TypeError(f"a fallback with arguments must be a function, got {shown(fallback)}")
        if callable(fallback) and not arguments:
            check_takes(_FALLBACK, fallback, "the error")

        def decorate(
            func: Callable[P, Coroutine[Any, Any, R]], /
        ) -> Callable[P, Coroutine[Any, Any, R]]:
            if is_method_of_class(func):
                return decorate_within(func, decorate)
            is_called = not callable(func)  # as if it were the function itself
            check_form("with_fallback", func, "async", f"; {_FALLBACK} is missing" * is_called)

            @functools.wraps(func)
            async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
                def stand_in(error: Exception) -> Any:
                    return fallback(error, *args, **kwargs)

                run = functools.partial(func, *args, **kwargs)  # whose arguments have any name
                result: R = await self.call(run, fallback=stand_in if arguments else fallback)
                return result

            return guarded

        return decorate
