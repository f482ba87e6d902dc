"""Where Python code can be interrupted, and how a test does that at each such place in turn.

The garbage collector, and so whatever a destructor does, may come at every call and allocation;
a signal, and so `KeyboardInterrupt`, where a function begins, after a call of a C function, and
where a loop goes round. Between those, CPython runs instruction after instruction.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, Literal

import trio

import supervisor
from tests.support.tracing import tracing

Kind = Literal["call", "interrupt"]

ROOMS: Final = tuple(
    str(Path(supervisor.__file__).parent / room) for room in ("circuit", "machine", "loop")
)

WRAPPERS: Final = "<circuit breaker around"
"""How the sources begin to be called that are written for decorated functions."""

_ALLOCATES: Final = ("BUILD_", "CALL", "FOR_ITER", "GET_ITER", "MAKE_", "FORMAT_", "LIST_", "DICT_")


@cache
def _operations(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in dis.get_instructions(code)}


@cache
def _is_watched(file: str) -> bool:
    # A scope that is interrupted while it is left is asyncio's or trio's to mend.
    return file.startswith(ROOMS) and not file.endswith("time_limits.py")


def _is_protected() -> bool:
    """Whether trio keeps interrupts from what runs here: its system tasks, and its own work."""
    return trio.lowlevel.in_trio_run() and trio.lowlevel.currently_ki_protected()


class Interruption:
    """Does something at the n-th place that the code of those rooms comes to; counts them all.

    Args:
        kind: "call" may come wherever the collector may, "interrupt" wherever a signal may.
        at: the number of the place; none has a negative one.
        act: what is done there, and may raise.
    """

    def __init__(self, kind: Kind, at: int, act: Callable[[], None]) -> None:
        self.places = 0
        self.where = "nowhere"
        self._kind = kind
        self._at = at
        self._act = act
        self._before: dict[FrameType, str] = {}  # what each frame has done last

    @contextmanager
    def here(self) -> Generator[None]:
        """Watch for the place; a task that sleeps meanwhile is watched when it goes on."""
        try:
            with tracing(self._trace):
                yield
        finally:
            self._before.clear()

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:  # noqa: ARG002
        if frame.f_back is not None:
            self._before[frame.f_back] = ""  # it has called a function of Python's, and no other
        if not (_is_watched(frame.f_code.co_filename) or self._is_wrapper(frame)):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self._before[frame] = ""
        self._come_to(frame)
        return self._watch

    def _is_wrapper(self, frame: FrameType) -> bool:
        """Whether a decorated function's wrapper may be called into: what an interrupt leaves
        behind that comes while it waits for the function is asyncio's or trio's to mend.
        """
        return self._kind == "call" and frame.f_code.co_filename.startswith(WRAPPERS)

    def _watch(self, frame: FrameType, event: str, arg: object) -> Any:  # noqa: ARG002
        if event == "opcode":
            operation = _operations(frame.f_code)[frame.f_lasti]
            before = self._before.get(frame, "")
            self._before[frame] = operation
            if before.startswith(("CALL", "JUMP_BACKWARD")) or (
                self._kind == "call" and operation.startswith(_ALLOCATES)
            ):
                self._come_to(frame)
        elif event == "return":
            self._before.pop(frame, None)
        return self._watch

    def _come_to(self, frame: FrameType) -> None:
        if self._kind == "interrupt" and _is_protected():
            return
        self.places += 1
        if self.places - 1 == self._at:
            code = frame.f_code
            self.where = f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_qualname}"
            self._act()
