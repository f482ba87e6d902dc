"""The supervisors that have been entered, per event loop: breakers join the last of them.

They are kept per event loop, not per context: a web framework runs its requests in another
context than its lifespan, and both must find the same supervisor.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from supervisor.circuit import Circuit
from supervisor.loop import (
    EventLoop,
    LoopVar,
    forget_closed,
    forget_once_closed,
    running_loop,
    when_closed,
)
from supervisor.machine import CircuitState
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

    def let_go(self) -> None:
        """End, since its event loop has been closed without a word."""
        ...

    def force_everywhere(self, circuit: Circuit, state: CircuitState) -> None:
        """Set a circuit's state by hand, here and for all that share it."""
        ...


_start_default: Callable[[], AnySupervisor]
_stand_in: Callable[[str, Policy], Circuit | None]
_entered: LoopVar[tuple[AnySupervisor, ...]] = LoopVar("_entered_supervisors", ())
_epoch = object()
# By thread, the current one of each of its event loops, newest first; weakly, see `_loops`.
_current: Final[dict[int, tuple[weakref.ref[AnySupervisor], ...]]] = {}
# Weak at both ends: an event loop knows its supervisors, and would be kept by what keeps them.
_loops: weakref.WeakKeyDictionary[AnySupervisor, weakref.ref[EventLoop]]
_loops = weakref.WeakKeyDictionary()


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
    if running_loop() is not None:
        return _entered.get()
    return tuple(each for each in _known() if _may_be_resumed(each))


def loops_entered() -> list[EventLoop]:
    """Return the running event loops, in whatever threads, that have supervisors."""
    references = [_loops.get(supervisor) for supervisor in _known()]
    loops = {loop for each in references if each is not None and (loop := each()) is not None}
    return [loop for loop in loops if loop.is_running()]


def current_of_thread() -> tuple[weakref.ref[AnySupervisor], ...]:
    """Return the current supervisors of all event loops of this thread, whichever runs: it takes
    asyncio longer to tell that than to look whether a circuit of theirs is at home.
    """
    return _current.get(threading.get_ident(), ())


def start_default() -> AnySupervisor:
    """Start a supervisor for the running event loop, where nobody has entered one."""
    return _start_default()


def start_default_by(start: Callable[[], AnySupervisor]) -> None:
    """Have default supervisors started by the room that can."""
    global _start_default  # noqa: PLW0603
    _start_default = start


def stand_in(name: str, policy: Policy) -> Circuit | None:
    """Return what is read in the place of a circuit that is kept, and not running here, if any."""
    return _stand_in(name, policy)


def stand_in_by(make: Callable[[str, Policy], Circuit | None]) -> None:
    """Have that made by the room that knows what is kept of circuits."""
    global _stand_in  # noqa: PLW0603
    _stand_in = make


def epoch() -> object:
    """Return an object that is another one as soon as any event loop gets another supervisor."""
    return _epoch


def enter(supervisor: AnySupervisor, loop: EventLoop) -> None:
    """Make `supervisor` the current one of `loop`, which runs here; forget closed ones."""
    forget_closed()
    forget_once_closed(loop)
    _set_entered((*_entered.get(), supervisor))
    _loops[supervisor] = weakref.ref(loop)


def leave(supervisor: AnySupervisor) -> None:
    """Undo `enter`, in whatever order several supervisors leave."""
    if running_loop() is not None:  # or it is freed with its event loop
        _set_entered(tuple(other for other in _entered.get() if other is not supervisor))
    _loops.pop(supervisor, None)


def _known() -> list[AnySupervisor]:
    """Look supervisors up one by one, since loops of other threads may come and go meanwhile."""
    return [each for reference in _loops.keyrefs() if (each := reference()) is not None]


def _let_go(loop: EventLoop) -> None:
    for supervisor in _known():
        known = _loops.get(supervisor)
        if known is not None and known() is loop:
            supervisor.let_go()
            _loops.pop(supervisor, None)


def _may_be_resumed(supervisor: AnySupervisor) -> bool:
    known = _loops.get(supervisor)
    loop = None if known is None else known()
    return loop is not None and loop.thread == threading.get_ident() and not loop.left_behind


def _set_entered(entered: tuple[AnySupervisor, ...]) -> None:
    global _epoch  # noqa: PLW0603
    before = _entered.get()
    _entered.set(entered)
    _epoch = object()
    for thread, references in list(_current.items()):
        if all(each() is None for each in references):
            _current.pop(thread, None)
    thread = threading.get_ident()
    others = (each for each in _current.get(thread, ()) if each() not in (None, *before[-1:]))
    _current[thread] = (*map(weakref.ref, entered[-1:]), *others)


when_closed(_let_go)
