"""Functions of a policy's that are given the arguments of the call, since they are marked so.

A policy is shared by many calls. So for a call that such functions are to judge, there is a policy
of its own, the same but for these functions, which know its arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from supervisor.arguments import shown
from supervisor.policy.functions import check_answering
from supervisor.policy.policy import Policy, fields_of

T = TypeVar("T")

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Those of a call, by position and by name."""

JUDGES: Final = ("classify", "failure_on", "ignore", "failure_on_result", "recovery_from")
"""The fields of a policy that may be functions."""


def with_arguments(func: Callable[..., T]) -> Callable[[Any], T]:
    """Let a function of a policy's be given the arguments of the call, after the error or result.

    `func(about, *args, **kwargs)` is asked, where the guarded function was called with these: by
    `call`, by a decorator, with retries or without, also in worker threads. Blocks, permits and
    streams have none: there it is `func(about)`. So each parameter needs a default, or `*`.

    Args:
        func: for `classify`, `failure_on`, `ignore`, `failure_on_result` or `recovery_from`.

    Raises:
        TypeError: it is no plain function.
    """
    check_answering("with_arguments", func)
    return _Marked(func)


@dataclass(frozen=True, slots=True, repr=False)
class _Marked:
    """Is as good as another one of the same function, so that policies with them are equal."""

    func: Callable[..., Any]

    def __call__(self, about: Any, /) -> Any:
        return self.func(about)

    def __repr__(self) -> str:
        return f"with_arguments({shown(self.func)})"

    def of(self, arguments: Arguments) -> Callable[[Any], Any]:
        """Return what knows the arguments of one call."""
        func, (args, kwargs) = self.func, arguments

        @functools.wraps(func)
        def asked(about: Any, /) -> Any:
            return func(about, *args, **kwargs)

        return asked


def takes_arguments(policy: Policy) -> bool:
    """Whether a function of the policy's is given the arguments of calls."""
    return any(_is_marked(getattr(policy, field)) for field in JUDGES)


def judging_by(policy: Policy, arguments: Arguments) -> Policy:
    """Return the policy as it judges a call with these arguments."""
    twin = object.__new__(Policy)  # nothing in it has to be checked once more
    for field, value in fields_of(policy).items():
        object.__setattr__(twin, field, _knowing(value, arguments) if field in JUDGES else value)
    return twin


def _is_marked(judge: object) -> bool:
    if isinstance(judge, tuple):
        return any(isinstance(each, _Marked) for each in judge)  # pyright: ignore[reportUnknownVariableType]
    return isinstance(judge, _Marked)


def _knowing(judge: Any, arguments: Arguments) -> Any:
    if isinstance(judge, tuple):
        return tuple(_knowing(each, arguments) for each in judge)  # pyright: ignore[reportUnknownVariableType]
    return judge.of(arguments) if isinstance(judge, _Marked) else judge
