"""The supervisors of the event loop that runs here."""

from __future__ import annotations

from supervisor.guard import entered_here, entered_last
from supervisor.supervision.supervisor import Supervisor


def current_supervisor() -> Supervisor:
    """Return the event loop's current supervisor; start the default one if there is none.

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
