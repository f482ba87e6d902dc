"""How many instructions Python takes for something: the same on every machine, busy or not."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import FrameType
from typing import Any


def instructions_of(call: Any) -> int:
    """How many instructions it takes to begin a coroutine that does not wait."""
    count = 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return step

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for it when tracing begins
    sys.settrace(step)
    try:
        with suppress(StopIteration):
            call.send(None)
    finally:
        sys.settrace(before)
    return count
