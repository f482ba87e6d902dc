"""What has to be known in a process that has been forked from this one."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_forked_process(do: Callable[[], None]) -> None:
    """Have `do` called in each process that is forked from now on, at its beginning."""
    if hasattr(os, "register_at_fork"):  # pragma: no branch  (Windows has none)
        os.register_at_fork(after_in_child=do)
