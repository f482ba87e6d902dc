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
from threading import get_ident
from typing import Any, Final

from supervisor.loop.event_loop import EventLoop, all_known

_let_go: Final[list[Callable[[EventLoop], None]]] = []
_thread = 0  # that the collector runs in


def when_closed(do: Callable[[EventLoop], None]) -> None:
    """Have `do` called with each event loop that is found closed, before it is forgotten.

    That may be in any thread, in the middle of anything: it must not log, nor wait.
    """
    _let_go.append(do)


def is_collecting() -> bool:
    """Whether it is the collector that runs this very code, in the middle of somebody's else.

    That belongs to no task, though one seems to be at work. It must not set a context variable: on
    Python 3.11 it may come in the middle of another one being set, and break the interpreter.
    """
    return _thread == get_ident()


def note_collection(phase: str, collects: dict[str, Any]) -> None:
    """Forget the loops that have been closed, as the collector is about to look at what is old."""
    global _thread  # noqa: PLW0603
    _thread = get_ident() if phase == "start" else 0
    if phase == "start" and collects["generation"]:
        for loop in all_known():
            with suppress(Exception):  # of a loop that cannot be asked
                if loop.is_closed():
                    for do in _let_go:
                        do(loop)
                    loop.forget()


if hasattr(gc, "callbacks"):  # pragma: no branch  (PyPy's collector tells nobody)
    gc.callbacks.append(note_collection)
