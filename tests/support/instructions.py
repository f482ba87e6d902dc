"""How many instructions Python takes for something: the same on every machine, busy or not."""

from __future__ import annotations

from contextlib import suppress
from types import FrameType
from typing import Any

from tests.support.tracing import tracing


def instructions_of(call: Any) -> int:
    """How many instructions it takes to begin a coroutine that does not wait."""
    count = 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return step

    with tracing(step), suppress(StopIteration):
        call.send(None)
    return count
