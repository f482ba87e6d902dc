"""The event loop that a circuit lives on: whether this very code runs on it, and its time.

Two of them may share a thread: trio's guest mode and trio-asyncio put one into the other, and so do
packages that let asyncio's loops be nested. A forked process has those that it was copied from,
but they do not run there.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

import anyio
import sniffio

from supervisor.loop.forks import in_forked_process
from supervisor.loop.limits import LONGEST_TIMER, is_closed, is_running
from supervisor.loop.wakeup import AsyncioAlarm, AsyncioBell, Bell, TrioBell

if TYPE_CHECKING:
    import trio

Native: TypeAlias = "asyncio.AbstractEventLoop | trio.lowlevel.TrioToken"
"""What its own library knows an event loop by, or one run of trio's."""

_ANYWHERE: Final = object()
"""No place at all: whoever goes by it has to ask exactly."""

TURNS_TELL_LOOPS_APART: Final = sys.version_info < (3, 12)
"""Up to Python 3.11, to ask asyncio which loop runs takes longer than a whole guarded call: it asks
the system for the number of the process. Which loops have a task at work costs next to nothing.
"""


class Clock(Protocol):
    """Has the time, in seconds."""

    @property
    def time(self) -> Callable[[], float]:
        """What returns the time of this moment; a loop's own may be replaced at any other."""
        ...


class EventLoop:
    """One event loop of asyncio's, or one run of trio's.

    Attributes:
        native: what its library knows it by; None: it is nowhere.
        asyncio_loop: the same, if it is asyncio's.
        thread: the number of its thread; 0 for one that is nowhere.
        clock: its own, asked anew each time, since tests replace a loop's `time`.
        clock_zero: when that clock was at 0, in seconds of Unix time.
        early_by: seconds by which it may wake a sleeper too early.
        closed, left_behind: whether it was found closed; whether it ran as this process was forked.
        new_bell: makes what one of its tasks sleeps on.
        where, place, turn, turns: it has the turn here if `where() == place and turn in turns`,
            which is what can be afforded on every call. It may be untrue of code outside tasks.
    """

    __slots__ = (
        "__weakref__",
        "asyncio_loop",
        "clock",
        "clock_zero",
        "closed",
        "early_by",
        "left_behind",
        "native",
        "new_bell",
        "place",
        "thread",
        "turn",
        "turns",
        "where",
    )

    def __init__(self, native: Native | None) -> None:
        self.native = native
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0 if native is None else get_ident()
        self.early_by = 0.0
        self.closed = self.left_behind = False
        self.where: Callable[[], object] = get_ident
        self.place: object = self.thread
        self.turn: object = None
        self.turns: Collection[object] = ()
        self.clock: Clock
        self.new_bell: Callable[[], Bell] = TrioBell
        if native is None:
            self._go_by(time.monotonic)  # whatever nobody asks for
        elif is_trios(native):
            self._on_trio()
        else:
            self._on_asyncio(cast("asyncio.AbstractEventLoop", native))
        self.clock_zero = time.time() - self.clock.time()
        if native is not None:
            _known[self] = None

    def _on_asyncio(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asyncio_loop = self.clock = loop
        self.early_by = _early_by(loop)
        self.new_bell = partial(AsyncioBell, loop)
        if TURNS_TELL_LOOPS_APART:
            self.turn, self.turns = loop, _loops_at_work()
            if _others_run_here(self):
                self.place = _ANYWHERE
        else:
            self.where, self.place = asyncio._get_running_loop, loop
            self.turn, self.turns = ("name", None), _names_here()

    def _on_trio(self) -> None:
        import trio  # noqa: PLC0415  (asyncio's users need not wait for its import)

        self._go_by(
            trio.lowlevel.current_clock().current_time
        )  # half of `trio.current_time`'s price
        self.turn, self.turns = ("name", "trio"), _names_here()

    def _go_by(self, time: Callable[[], float]) -> None:
        self.clock = cast("Clock", _Time(time))  # an attribute that is a function is one, too

    @classmethod
    def here(cls) -> EventLoop:
        """Return the one that this very code runs on.

        Raises:
            anyio.NoEventLoopError: there is none.
        """
        return cls(loop_here())

    def alarm(self, at: float, bell: Bell) -> AbstractContextManager[object]:
        """Return a block that wakes who sleeps on `bell` in it at that time, if nobody did before.

        It leaves nothing to be done to an event loop that is closed while somebody sleeps.
        """
        if self.asyncio_loop is not None:
            now = self.clock.time()  # some refuse times that have passed
            at = min(max(at, now), now + LONGEST_TIMER)
            return AsyncioAlarm(self.asyncio_loop.call_at(at, bell.ring))
        import trio  # noqa: PLC0415

        return trio.CancelScope(deadline=at)

    def runs_here(self) -> bool:
        """Whether this very code runs on it."""
        return self.native is not None and running_loop() is self.native

    @property
    def time(self) -> Callable[[], float]:
        """What returns its time: a clock that does not keep it from being freed once closed."""
        return self.clock.time

    def time_here(self) -> float | None:
        """Return its time in seconds, or None if it does not run here, or does not tell.

        What ends a circuit, or answers who waits for one, must not depend on that.
        """
        try:
            return self.clock.time() if self.runs_here() else None
        except Exception:
            return None

    def is_running(self) -> bool:
        """Whether it runs, in whatever thread of this process; trio's are not asked."""
        if self.left_behind or self.native is None:
            return False
        return self.asyncio_loop is None or is_running(self.asyncio_loop)

    def is_closed(self) -> bool:
        """Whether it will never run again, as far as it says so; trio's runs do not."""
        return self.closed or (self.asyncio_loop is not None and is_closed(self.asyncio_loop))

    def forget(self) -> None:
        """Refer no more to a loop that has been closed, so that it can be freed."""
        self.closed = True
        self.place = _ANYWHERE
        self.native = self.asyncio_loop = self.turn = None
        self.turns = ()
        self.new_bell = TrioBell
        self._go_by(_long_ago)

    def leave_behind(self) -> None:
        """Be known not to run in a process that has just been forked."""
        if self.is_running():
            self.left_behind = True
            self.place = _ANYWHERE


def _early_by(loop: object) -> float:
    """Return the seconds by which a loop of asyncio's may wake a sleeper too early.

    Its own loops have a resolution, within which a timer is due. Others count in milliseconds,
    as libuv does, and do not say so.
    """
    return getattr(loop, "_clock_resolution", 0.001)


class _Time:
    """A clock that is one function."""

    __slots__ = ("time",)

    def __init__(self, time: Callable[[], float]) -> None:
        self.time = time


def _long_ago() -> float:
    """Stands for the time of a loop that cannot be asked any more."""
    return -math.inf


_known: Final[WeakKeyDictionary[EventLoop, None]] = WeakKeyDictionary()
NOWHERE: Final = EventLoop(None)
"""Where a circuit is that does not live on any event loop."""


def running_loop() -> Native | None:
    """Return the event loop, or the run of trio's, that this very code runs on, or None."""
    if sniffio.thread_local.name == "trio":
        import trio  # noqa: PLC0415

        try:
            return trio.lowlevel.current_trio_token()
        except RuntimeError:  # the mark of a run that has not ended properly
            return None
    return asyncio._get_running_loop()  # looked up each time: trio-asyncio replaces it


def loop_here() -> Native:
    """Return the event loop, or the run of trio's, that this very code runs on.

    Raises:
        anyio.NoEventLoopError: there is none.
    """
    native = running_loop()
    if native is None:
        raise anyio.NoEventLoopError(
            "no event loop is running here: circuits live on one, so call this from async code"
        )
    return native


def is_trios(native: Native) -> bool:
    """Whether it is a run of trio's; all else is asyncio's, of whatever class."""
    # Another thread may be importing trio: what is not there yet runs nowhere.
    return isinstance(native, getattr(sys.modules.get("trio.lowlevel"), "TrioToken", ()))


def all_known() -> list[EventLoop]:
    """Return all event loops: looked up one by one, since those of other threads come and go."""
    return [each for reference in _known.keyrefs() if (each := reference()) is not None]


def _names_here() -> Collection[object]:
    """Return what is kept of the library that has the turn in this thread: its one item is
    `("name", "trio")` as long as that is trio. No other look at it is as cheap.
    """
    thread_local = sniffio.thread_local
    thread_local.name = thread_local.name  # so that there is one
    return vars(thread_local).items()


def _loops_at_work() -> Collection[object]:
    """Return asyncio's loops, of any thread, that have a task at work."""
    return cast("dict[object, object]", vars(asyncio.tasks)["_current_tasks"])


def _others_run_here(new: EventLoop) -> bool:
    """Whether loops may be nested in this thread, so that they have to be asked for exactly.

    A loop that has another one inside it has a task at work, too.
    """
    nested = [
        each
        for each in all_known()
        if each.thread == new.thread
        and each.asyncio_loop is not None
        and each.native is not new.native
        and each.is_running()
    ]
    for each in nested:
        each.place = _ANYWHERE
    nests = any(name in sys.modules for name in ("nest_asyncio", "nest_asyncio2"))
    return nests or bool(nested)


def _after_fork() -> None:
    for each in all_known():
        each.leave_behind()


in_forked_process(_after_fork)
