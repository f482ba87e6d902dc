"""The supervisors that have been entered, per event loop: breakers join the last of them.

They are kept per event loop, not per context: a web framework runs its requests in another
context than its lifespan, and both must find the same supervisor.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from anyio.lowlevel import RunVar

from supervisor.circuit import Circuit
from supervisor.policy import Policy


class AnySupervisor(Protocol):
    """What a breaker needs to know of a supervisor."""

    @property
    def is_default(self) -> bool:
        """Whether it was started because nobody had entered one."""
        ...

    def join(self, name: str, policy: Policy) -> Circuit:
        """Return the circuit of that name, started if there is none yet."""
        ...

    def find(self, name: str) -> Circuit | None:
        """Return the circuit of that name, or None."""
        ...


_start_default: Callable[[], AnySupervisor]
_entered: RunVar[tuple[AnySupervisor, ...]] = RunVar("supervisor.entered", ())
_epoch = object()
_threads: weakref.WeakKeyDictionary[AnySupervisor, int] = weakref.WeakKeyDictionary()


def entered_last() -> AnySupervisor | None:
    """Return the running event loop's current supervisor, or None.

    Raises:
        anyio.NoEventLoopError: no event loop is running.
    """
    entered = _entered.get()
    return entered[-1] if entered else None


def entered_here() -> tuple[AnySupervisor, ...]:
    """Return the supervisors of the running event loop or, where none runs, of all loops of this
    thread, which may be resumed.
    """
    try:
        return _entered.get()
    except RuntimeError:  # anyio's NoEventLoopError, or asyncio's own in a copied context
        here = threading.get_ident()
        # Looked up one by one, since loops of other threads may come and go meanwhile.
        known = (reference() for reference in _threads.keyrefs())
        return tuple(each for each in known if each is not None and _threads.get(each) == here)


def start_default() -> AnySupervisor:
    """Start a supervisor for the running event loop, where nobody has entered one."""
    return _start_default()


def start_default_by(start: Callable[[], AnySupervisor]) -> None:
    """Have default supervisors started by the room that can."""
    global _start_default  # noqa: PLW0603
    _start_default = start


def epoch() -> object:
    """Return an object that is another one as soon as any event loop gets another supervisor."""
    return _epoch


def enter(supervisor: AnySupervisor) -> None:
    """Make `supervisor` the running event loop's current one."""
    _set_entered((*_entered.get(), supervisor))
    _threads[supervisor] = threading.get_ident()


def leave(supervisor: AnySupervisor) -> None:
    """Undo `enter`, in whatever order several supervisors leave."""
    _set_entered(tuple(other for other in _entered.get() if other is not supervisor))
    _threads.pop(supervisor, None)


def _set_entered(entered: tuple[AnySupervisor, ...]) -> None:
    global _epoch  # noqa: PLW0603
    _entered.set(entered)
    _epoch = object()
