"""Event loops that have been closed without a word, and what is kept of them.

A loop of asyncio's may be closed at any time, and nobody hears of it. Whoever keeps a circuit of
it, as a breaker of a module does, would keep the loop, and all that it keeps and that waits there.
So they are looked through whenever circuits begin to run on another loop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from supervisor.loop.event_loop import EventLoop, all_known

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
