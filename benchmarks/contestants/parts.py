"""What a guard is made of, each part a guard of its own that does not guard: where the time goes.

Each does all that the one before it does, and one thing more; blocks begin with the first again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

from benchmarks.contestants.interface import EVERYWHERE, Contestant, Guard
from supervisor.loop.event_loop import EventLoop


async def coroutine(func: Guard, /, *args: Any, **kwargs: Any) -> Any:
    """Do nothing but await the function."""
    return await func(*args, **kwargs)


class Look:
    """Looks, as every call has to, whether it is on the circuit's own event loop."""

    def __init__(self) -> None:
        self.home = EventLoop.here()

    async def guard(self, func: Guard, /, *args: Any, **kwargs: Any) -> Any:
        """Look where this runs."""
        if (home := self.home).where() != home.place or home.turn not in home.turns:
            raise RuntimeError
        return await func(*args, **kwargs)


class EmptyBlock:
    """The least that `async with` can be."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


_entered: ContextVar[tuple[object, Any] | None] = ContextVar("entered", default=None)


class RememberedBlock:
    """A block that many tasks may be in at a time, each with something of its own to remember."""

    async def __aenter__(self) -> None:
        _entered.set((self, _entered.get()))

    async def __aexit__(self, *_: object) -> None:
        block = _entered.get()
        assert block is not None
        _entered.set(block[1])


def in_block(block: EmptyBlock | RememberedBlock) -> Guard:
    """Return a coroutine function that awaits the function in that block."""

    async def guard(func: Guard, /, *args: Any, **kwargs: Any) -> Any:
        async with block:
            return await func(*args, **kwargs)

    return guard


def _part(name: str, guard: Callable[[], Guard]) -> Contestant:
    return Contestant(name, "part", EVERYWHERE, lambda _setup: nullcontext(guard()), ())


PARTS = (
    _part("a coroutine", lambda: coroutine),
    _part("… that looks where it runs", lambda: Look().guard),
    _part("a coroutine with a block in it", lambda: in_block(EmptyBlock())),
    _part("… that remembers its entry", lambda: in_block(RememberedBlock())),
)
