"""A limit to the time of all that a block does, of which the calls in it know."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Final

import anyio

from supervisor.arguments import check_seconds
from supervisor.loop.event_loop import Native, running_loop

_deadlines: Final[ContextVar[tuple[tuple[Native | None, anyio.CancelScope], ...]]] = ContextVar(
    "_deadlines", default=()
)
"""Those round this code, the outermost first. A worker thread inherits them from its host, and an
event loop that it runs has another clock.
"""


def deadline(seconds: float) -> AbstractContextManager[anyio.CancelScope]:
    """Limit the time of all that a block does: calls, their retries, their waits.

    It is `anyio.fail_after`, but that the calls in it know of it, and begin nothing that could not
    end in time. A loop of attempts ends with the last error if the next one could not begin before;
    whoever would wait for a circuit is refused at once if it cannot be back by then.

    Args:
        seconds: more than 0.

    Returns:
        A context manager, which gives the block its scope; its `deadline` can be moved.

    Raises:
        TypeError, ValueError: `seconds` is no such number.
        TimeoutError: on leaving the block, if it was cancelled since its time was over.
    """
    return _Deadline(check_seconds("seconds", seconds))


class _Deadline(AbstractContextManager[anyio.CancelScope]):
    """No generator: that would be a decorator, too, and one that does not limit async functions."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> anyio.CancelScope:
        self._limit = anyio.fail_after(self._seconds)
        scope = self._limit.__enter__()
        self._outer = _deadlines.set((*_deadlines.get(), (running_loop(), scope)))
        return scope

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            return self._limit.__exit__(kind, error, traceback)
        finally:
            _deadlines.reset(self._outer)


def deadline_here() -> float:
    """Return when the first `deadline` round this very code ends, by the event loop's time.

    Infinite if there is none, or it cannot cancel this code: there is a shield between them, or it
    belongs to a task that has started this one and does not wait for it. Infinite as well if it has
    cancelled this code already: then the next wait tells.
    """
    known = _deadlines.get()
    effective = anyio.current_effective_deadline() if known else -math.inf
    if effective == -math.inf:
        return math.inf
    here = running_loop()
    ends = [scope.deadline for loop, scope in known if loop is here]
    return min((each for each in ends if each >= effective), default=math.inf)
