"""What a contestant is: a way to guard a call, and what it raises when it refuses one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Setup:
    """How the circuit is to be set up; by default its thresholds are out of reach.

    Attributes:
        name: the circuit's name.
        failure_threshold: consecutive failures that open it.
        recovery_timeout: seconds that it stays open.
        success_threshold: successful probes that close it, and how many may run at once.
    """

    name: str = "circuit"
    failure_threshold: int = 1_000_000_000
    recovery_timeout: float = 1_000_000.0
    success_threshold: int = 1


Guard = Callable[..., Awaitable[Any]]  # await guard(func, *args, **kwargs)

ASYNCIO = frozenset({"asyncio", "uvloop"})
EVERYWHERE = ASYNCIO | {"trio"}


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to guard calls.

    Attributes:
        name: what it is called in the results.
        kind: a floor without lock or actor, the reference, ours, a peer, or a part of a guard.
        backends: where it runs, of "asyncio", "uvloop" and "trio".
        open: starts a circuit of its own, for as long as the block lasts. Those that call
            listeners take one as `listener`, a plain function of any arguments.
        refusals: what a refused call raises.
    """

    name: str
    kind: Literal["floor", "reference", "ours", "peer", "part"]
    backends: frozenset[str]
    open: Callable[[Setup], AbstractAsyncContextManager[Guard]]
    refusals: tuple[type[BaseException], ...]


class _Decorated(dict[Guard, Guard]):
    """Functions with a decorator around them, each decorated once."""

    def __init__(self, decorate: Callable[[Guard], Guard]) -> None:
        self.decorate = decorate

    def __missing__(self, func: Guard) -> Guard:
        self[func] = decorated = self.decorate(func)
        return decorated


def decorating(decorate: Callable[[Guard], Guard]) -> Guard:
    """Return a guard made of a decorator, for which the decorator is all that `bound` measures."""
    decorated = _Decorated(decorate)

    def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return decorated[func](*args, **kwargs)

    guard.bound = decorated.__getitem__  # type: ignore[attr-defined]
    return guard


def bound(guard: Guard, func: Guard) -> Guard | None:
    """Return what users of a decorator would call; None if they pass the function each time."""
    bind: Callable[[Guard], Guard] | None = getattr(guard, "bound", None)
    return bind(func) if bind else None
