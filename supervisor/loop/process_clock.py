"""The clock of the process, by which time passes between two event loops.

The clocks of event loops have nothing in common: each may begin anywhere, and one in virtual time
goes as it likes. What is known is how far the process's clock is ahead of each.
"""

from __future__ import annotations

import time
from typing import Final

_BOOT_TIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def time_in_process() -> float:
    """Return the time in seconds: since when is no matter, but the same in forked processes.

    It is never set, as the time of day is, and goes on while the machine sleeps, if there is such a
    clock (Linux has one): serverless platforms stop a machine between two tasks.
    """
    return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)
