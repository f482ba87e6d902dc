"""Calls of production, written down for `python -m supervisor simulate`.

Whoever makes a call puts one record into a queue, and goes on: a thread makes lines of them, and
writes these together, a few times a second. The queue is bounded. What does not fit, or cannot be
written, is counted and logged, and touches no call.
"""

from __future__ import annotations

import math
import time
import weakref
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread, current_thread
from types import TracebackType
from typing import Final, Self, TypeAlias

from supervisor.arguments import check_count
from supervisor.circuit import CallObserver
from supervisor.instrumentation.logs import log_trace_fault, log_trace_gap
from supervisor.instrumentation.rotation import RotatingFile
from supervisor.loop import in_forked_process
from supervisor.policy import PLAIN_FAILURE, Failure, Judgement, Outcome
from supervisor.recording import Call, lines_of

BACKLOG: Final = 65_536
"""Calls that may wait to be written; of 200 bytes each."""

TOGETHER: Final = 0.2
"""Seconds whose calls are written together."""

LAST: Final = 2.0
"""Seconds for what still waits when a recorder is closed."""

LEAST: Final = 10_000
"""Bytes that a file has room for, which are a few of the longest lines."""

_MINUTE: Final = 60.0

AT_ONCE: Final = 100
"""Calls that are made into lines at a time, which takes less than a millisecond."""

Told: TypeAlias = "tuple[str, float, float, float, float, Judgement | str, bool, float | None]"
"""A circuit's name; by how much the wall clock is ahead of its event loop's; when a call asked,
began and ended; what it counts as, or why it was refused; whether it is a retry; for how long it
would have waited.
"""


class TraceRecorder:
    """Writes down calls, also refused ones, in the form that `python -m supervisor simulate` reads.

    `supervisor.trace(recorder)` tells it of calls; several supervisors may, on whatever event
    loops and threads. It writes when each call asked, by the wall clock; how it has ended, how long
    it took, and what kind of failure it was; but no texts of errors. The file is gone on with by
    the next process. Those that run at the same time need one each, or their circuits of one name
    are played as one; forked ones go on in that of their parent.

    As a context manager, it is closed at the end of its block, which best is around that of the
    event loops.

    Args:
        path: the file that is written, such as "calls.csv". When it is full, it becomes
            "calls.csv.1", which becomes "calls.csv.2", and so on.
        max_bytes: of one file, 10,000 or more.
        files: how many there are at most, 1 or more; the oldest calls are forgotten.

    Raises:
        FileExistsError: the file holds something else than a trace.
        OSError: the file cannot be opened.
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    def __init__(self, path: str | Path, *, max_bytes: int = 10_000_000, files: int = 5) -> None:
        check_count("max_bytes", max_bytes, at_least=LEAST)
        check_count("files", files)
        file = RotatingFile(Path(path).absolute(), max_bytes, files)
        file.open()
        self._writer = _Writer(file)
        self._finally = weakref.finalize(self, self._writer.close)  # also when Python ends

    @property
    def written(self) -> int:
        """How many calls have been written."""
        return self._writer.file.written

    @property
    def dropped(self) -> int:
        """How many calls could not be written, or came too fast."""
        return self._writer.dropped

    def check_open(self) -> None:
        """Refuse to be used any more, if it has been closed.

        Raises:
            ValueError: it has.
        """
        if self._writer.closed:
            raise ValueError(f"recorder must not be closed yet, got {self!r}")

    def of(self, circuit: str, now: float) -> CallObserver:
        """Return what is to be told of a circuit's calls, by its event loop's clock."""
        self._writer.start()
        return _OfCircuit(self._writer, circuit, time.time() - now)

    def close(self) -> None:
        """Write what still waits, for which there are 2 seconds, and nothing from now on."""
        self._finally()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TraceRecorder {str(self._writer.file.path)!r}, {self.written} written>"


class _OfCircuit:
    """Tells a writer of one circuit's calls."""

    __slots__ = ("_ahead", "_circuit", "_writer")

    def __init__(self, writer: _Writer, circuit: str, ahead: float) -> None:
        self._writer = writer
        self._circuit = circuit
        self._ahead = ahead  # by so many seconds the wall clock is, of the event loop's

    def call_refused(self, asked: float, reason: str, retry: bool, wait: float | None) -> None:
        self._writer.put((self._circuit, self._ahead, asked, asked, asked, reason, retry, wait))

    def call_ended(
        self,
        asked: float,
        began: float,
        ended: float,
        judgement: Judgement,
        retry: bool,
        wait: float | None,
        probe: bool,  # noqa: ARG002
    ) -> None:
        self._writer.put((self._circuit, self._ahead, asked, began, ended, judgement, retry, wait))


class _Writer:
    """The thread that writes, and what waits for it.

    Circuits may be told to tell in the middle of anything, by the garbage collector. Of all queues,
    only a `SimpleQueue` can bear that.
    """

    def __init__(self, file: RotatingFile) -> None:
        self.file = file
        self.closed = False
        self.begin_anew()
        _writers.add(self)

    def begin_anew(self) -> None:
        """Have nothing to write, and no thread yet: a forked process has none of its own."""
        self.file.close()
        self.file.written = 0
        self._told: SimpleQueue[Told | None] = SimpleQueue()
        self._hurry: SimpleQueue[None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="supervisor trace", daemon=True)
        self._unstarted = [self._thread]  # who takes it out, starts it
        # Each is added to by a statement that calls nothing, so that no other thread comes between.
        self._overflowed = self._unwritten = 0
        self._told_of = 0
        self._quiet_until = -math.inf
        self._failing = False

    @property
    def dropped(self) -> int:
        """How many calls could not be written, or came too fast."""
        return self._overflowed + self._unwritten

    def start(self) -> None:
        """Let the thread run, if it does not yet, and is still to."""
        if self.closed:
            return
        try:
            thread = self._unstarted.pop()
        except IndexError:
            return
        try:
            thread.start()
        except RuntimeError as error:  # there are too many; perhaps not at the next circuit's start
            self._unstarted.append(thread)
            self._tell_fault(error)

    def put(self, told: Told) -> None:
        """Have a call written, if there is room for it."""
        if self.closed:
            return
        if self._told.qsize() < BACKLOG:
            self._told.put(told)
        else:
            self._overflowed += 1

    def close(self) -> None:
        """Write what still waits, and nothing from now on."""
        self.closed = True
        if self._unstarted:
            self._unwritten += self._told.qsize()
            self._tell_gap(at_end=True)
            self.file.close()
            return
        self._told.put(None)
        self._hurry.put(None)
        if self._thread is not current_thread():  # the garbage collector may come there, too
            self._thread.join(LAST)
            if self._thread.is_alive():
                log_trace_fault(str(self.file.path), TimeoutError(f"not written in {LAST:g} s"))

    def _run(self) -> None:
        ends = False
        while not ends:
            told = [self._told.get()]
            with suppress(Empty):
                self._hurry.get(timeout=TOGETHER)
            told += [self._told.get() for _ in range(self._told.qsize())]
            ends = None in told
            self._write([each for each in told if each is not None])
        self._tell_gap(at_end=True)
        self.file.close()

    def _write(self, told: list[Told]) -> None:
        lines: list[str] = []
        for first in range(0, len(told), AT_ONCE):
            lines += lines_of(map(_call_of, told[first : first + AT_ONCE]))
            time.sleep(0)  # event loops have waited for the interpreter long enough
        before = self.file.written
        try:
            self.file.write([line.encode() for line in lines])
        except OSError as error:
            self._unwritten += len(lines) - (self.file.written - before)
            self._tell_fault(error)
        else:
            self._failing = False
            self._tell_gap()

    def _tell_fault(self, error: Exception) -> None:
        """Log what keeps calls from being written, once until that is over."""
        if not self._failing:
            log_trace_fault(str(self.file.path), error)
        self._failing = True

    def _tell_gap(self, at_end: bool = False) -> None:
        """Log how many calls are missing, once a minute at most."""
        missing, now = self.dropped - self._told_of, time.monotonic()
        if missing and (at_end or now >= self._quiet_until):
            log_trace_gap(str(self.file.path), missing)
            self._told_of += missing
            self._quiet_until = now + _MINUTE


def _call_of(told: Told) -> Call:
    circuit, ahead, asked, began, ended, what, retry, wait = told
    at = max(0.0, asked + ahead)
    if isinstance(what, str):
        return Call(at, None, 0.0, retry=retry, wait=wait, circuit=circuit, reason=what)
    if isinstance(what, Failure):
        outcome, failure = Outcome.FAILED, what
    else:
        outcome, failure = what, PLAIN_FAILURE
    return Call(at, outcome, ended - began, failure, retry, wait, began - asked, circuit)


def _after_fork() -> None:
    """What waits in the parent is written there."""
    for writer in list(_writers):
        writer.begin_anew()


_writers: Final[weakref.WeakSet[_Writer]] = weakref.WeakSet()

in_forked_process(_after_fork)
