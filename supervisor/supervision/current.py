"""The supervisors of the event loop that runs here, and what their circuits will be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import anyio

from supervisor.circuit import Circuit, read_as
from supervisor.guard import entered_here, entered_last, loops_entered, stand_in_by
from supervisor.loop import Native, from_worker_thread, post, running_loop
from supervisor.policy import Policy
from supervisor.settings import app_settings
from supervisor.supervision.keeping import kept_under
from supervisor.supervision.supervisor import Supervisor


def current_supervisor() -> Supervisor:
    """Return the event loop's current supervisor; start the default one if there is none.

    That is the one whose block was entered last. The default one owns the circuits of whoever has
    entered none, and ends with the event loop.

    Raises:
        anyio.NoEventLoopError: no event loop is running.
    """
    last = entered_last()
    return last if isinstance(last, Supervisor) else Supervisor.start_default()


def supervisors_here() -> list[Supervisor]:
    """Return the running event loop's supervisors or, where no loop runs, those of all loops
    that this thread has paused.
    """
    return [each for each in entered_here() if isinstance(each, Supervisor)]


def tell_other_threads(func: Callable[[], None]) -> None:
    """Where no event loop runs, let the one call `func` that has started this thread; or else all
    that run in other threads.

    Nobody waits for that: such a loop may be waiting for this thread. But it comes before whatever
    is asked of the loop after this.
    """
    if running_loop() is not None:
        return
    for loop in _loops_elsewhere():
        with suppress(anyio.RunFinishedError):  # and its circuits with it
            post(loop, func)


def _loops_elsewhere() -> list[Native]:
    with suppress(anyio.NoEventLoopError):
        return [from_worker_thread()]
    return [loop.native for loop in loops_entered() if loop.native is not None]


def stand_in(name: str, policy: Policy) -> Circuit | None:
    """Return a circuit that can only be read, in the place of one that would go on here from what
    is kept; None if there is nothing to go on from.

    Where no event loop runs, all is read that is kept.
    """
    kept = kept_under(name)
    if kept is None:
        return None
    if running_loop() is not None:
        last = entered_last()
        own = last if isinstance(last, Supervisor) else app_settings.of_running_circuits
        keep = own.keep
        if keep is None:
            return None
    circuit = Circuit(name, policy)
    read_as(circuit, kept)
    return circuit


stand_in_by(stand_in)
