"""Processes that can be interrupted, whatever the shell of the tests does about Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Let what is started in this block end by Ctrl-C.

    Tests in the background of a shell may ignore it, and what they start would do so, too.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
