"""What there is one of for each event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from supervisor.loop.event_loop import is_trios, loop_here

if TYPE_CHECKING:
    import trio

T = TypeVar("T")


class LoopVar(Generic[T]):
    """One value for each event loop, or run of trio's.

    The loop itself keeps it, so that both are freed together, even if the value knows the loop.
    One of anyio's would keep a loop that is closed without having ended its tasks.

    Args:
        name: what asyncio's loops, and trio's runs, keep it by.
        default: what it is where it has not been set.
    """

    def __init__(self, name: str, default: T) -> None:
        self._name = name
        self._default = default
        self._on_trio: trio.lowlevel.RunVar[T] | None = None
        self._elsewhere: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return the value that the event loop has which runs here.

        Raises:
            anyio.NoEventLoopError: none does.
        """
        loop = loop_here()
        if is_trios(loop):
            return self._of_trio().get()
        try:
            return cast("T", vars(loop)[self._name])
        except (KeyError, TypeError):  # not set, or not kept by such a loop
            return self._elsewhere.get(loop, self._default)

    def set(self, value: T) -> None:
        """Give the event loop that runs here another value.

        Raises:
            anyio.NoEventLoopError: none does.
        """
        loop = loop_here()
        if is_trios(loop):
            self._of_trio().set(value)
            return
        try:
            vars(loop)[self._name] = value
        except TypeError:  # a loop without a dictionary of its own
            self._elsewhere[loop] = value

    def _of_trio(self) -> trio.lowlevel.RunVar[T]:
        if self._on_trio is None:
            import trio  # noqa: PLC0415  (asyncio's users need not wait for its import)

            self._on_trio = trio.lowlevel.RunVar(self._name, self._default)
        return self._on_trio
