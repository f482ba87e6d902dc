"""What the collector has to be told before it can free an event loop.

A loop of asyncio's may be closed without a word, and nobody hears of it. Whoever keeps a circuit of
it, as a breaker of a module does, would keep the loop, all that it keeps, and all that waits there
for ever. In such a heap of things that refer to each other only the collector frees anything. So
that is when they are looked through, and not earlier: nothing else has to be any dearer for it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from supervisor.loop.event_loop import EventLoop, all_known

_let_go: Final[list[Callable[[EventLoop], None]]] = []


def when_closed(do: Callable[[EventLoop], None]) -> None:
    """Have `do` called with each event loop that is found closed, before it is forgotten.

    That may be in any thread, in the middle of anything: it must not log, nor wait.
    """
    _let_go.append(do)


def forget_closed(phase: str, collects: dict[str, Any]) -> None:
    """Forget the loops that have been closed, as the collector is about to look at what is old."""
    if phase == "start" and collects["generation"]:
        for loop in all_known():
            with suppress(Exception):  # of a loop that cannot be asked
                if loop.is_closed():
                    for do in _let_go:
                        do(loop)
                    loop.forget()


if hasattr(gc, "callbacks"):  # pragma: no branch  (PyPy's collector tells nobody)
    gc.callbacks.append(forget_closed)
