"""How tests watch what Python does, line by line or instruction by instruction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def tracing(trace: Callable[[Any, str, Any], Any]) -> Iterator[None]:
    """Trace by a function, and then let whoever did before, as coverage does, go on."""
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for it when tracing begins
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
