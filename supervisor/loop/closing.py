"""Event loops that have been closed without a word, and what is kept of them.

A loop of asyncio's may be closed at any time, and nobody is told. Whoever keeps a circuit of it, as
a breaker of a module does, would keep the loop, and all that it keeps and that waits there. But a
loop that is closed lets go of some things that nobody else has: the selector of asyncio's own, the
timers of uvloop's. So a weak reference to one of them tells. Loops of other kinds are looked
through whenever circuits begin to run on another one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Final
from weakref import WeakKeyDictionary, ref

from supervisor.loop.event_loop import EventLoop, all_known
from supervisor.loop.limits import LONGEST_TIMER

_let_go: Final[list[Callable[[EventLoop], None]]] = []


def when_closed(do: Callable[[EventLoop], None]) -> None:
    """Have `do` called with each event loop that is found closed, before it is forgotten.

    That may be in another thread than the loop's.
    """
    _let_go.append(do)


def forget_closed() -> None:
    """Forget the loops that have been closed, so that they can be freed."""
    for loop in all_known():
        with suppress(Exception):  # of a loop that cannot be asked
            if loop.is_closed():
                for do in _let_go:
                    do(loop)
                loop.forget()


def forget_once_closed(loop: EventLoop) -> None:
    """Forget a loop in the moment in which it is closed, if that can be seen."""
    if loop.asyncio_loop is not None:
        with suppress(TypeError):  # there is none, or it takes no weak references
            _dropped_of[loop] = ref(_dropped_by(loop.asyncio_loop), _look_again)


def _look_again(_: object) -> None:
    forget_closed()  # which that loop is not, if somebody has given it another selector


class _Weight:
    """What a timer holds."""

    def __call__(self) -> None:
        """Nothing happens at that time."""


def _dropped_by(loop: asyncio.AbstractEventLoop) -> object:
    """Return what is freed as the loop is closed, but for what it has been given by others."""
    uvloop = sys.modules.get("uvloop")
    if uvloop is None or not isinstance(loop, uvloop.Loop):
        return getattr(loop, "_selector", None)
    known = _weights.get(loop)
    weight = None if known is None else known()
    if weight is None:
        weight = _Weight()
        _weights[loop] = ref(weight)
        # The library's own timer, which no clock of a subclass sees: it might jump there.
        uvloop.Loop.call_later(loop, LONGEST_TIMER, weight, context=Context())
    return weight


_dropped_of: Final[WeakKeyDictionary[EventLoop, ref[object]]] = WeakKeyDictionary()
_weights: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Weight]]] = WeakKeyDictionary()
