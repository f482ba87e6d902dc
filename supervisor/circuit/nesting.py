"""Calls inside a call of the same circuit: a guarded function calls another one of that name.

Two things are known of the code that runs, each by a context variable, and neither is set where a
call is admitted at once by a plain lease and succeeds:

    which calls it is inside of    set by calls that had to ask, or have more to them. A call inside
                                   is admitted with them, and reports nothing: it is part of them.
    which failures were counted    set when one is, and looked at when a call fails: what passes
                                   through two calls of a circuit is one failure.

A task that is started inside a call inherits what is known, so calls tell when they have ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextvars import ContextVar
from itertools import count, islice
from typing import Final, TypeAlias, cast

from supervisor.circuit.calls import Part
from supervisor.circuit.record import Circuit

REMEMBERED: Final = 4
"""Failures inside it that a call is told of."""

LONGEST_WAY: Final = 16
"""Errors on the way from one that is raised to one that was counted; and circuits that an error is
known by. Errors that keep all their attempts may have thousands behind them, and each costs time.
"""

Failed: TypeAlias = "tuple[int, int, Failed | None]"
"""A failed call that has been counted: the number of its circuit, and its own there; then the call
that counted the same error before. Numbers alone, since they are kept in the error: it may outlive
the circuit, and be sent to another process.
"""

OF_A_RESULT: Final[Failed] = (0, 0, None)
"""Stands where an error was counted before, if it was no error: a result carries nothing."""

MARK: Final = "_supervisor_failed"
"""Where an error keeps by what call it was counted. An address may be used again, and few errors of
Python's own can be referred to weakly.
"""

_attributes_of: Final = BaseException.__dict__["__dict__"].__get__
"""Returns where an error keeps its attributes, whatever its class says of that."""

_numbers: Final = count(1)
"""For circuits, each when it is first told from others here: a number takes more room than none."""


class OuterCall:
    """A call while its function runs, as the calls inside it know it."""

    __slots__ = ("_outer", "circuit", "counted")

    def __init__(self, circuit: Circuit) -> None:
        self.circuit: Circuit | None = circuit  # None: it has ended
        self._outer = innermost()
        self.counted: tuple[Failed, ...] = ()  # failures of the circuit in whatever task inside it

    def __enter__(self) -> None:
        _innermost.set(self)

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self.circuit = None
        # A coroutine may be closed by the garbage collector, which comes on Python 3.11 also while
        # somebody sets a context variable: to set one then crashes the interpreter.
        if kind is GeneratorExit:
            return
        if _innermost.get() is self:  # else it ends in another task, or before one inside it
            _innermost.set(_first_running(self._outer))

    def outwards(self) -> Iterator[OuterCall]:
        """The call itself and all those that it is inside of, without those that have ended."""
        call: OuterCall | None = self
        while call is not None:
            if call.circuit is not None:
                yield call
            call = call._outer

    def is_of(self, circuit: Circuit) -> bool:
        """Whether it is a call of that circuit, and still runs."""
        return self.circuit is circuit


_innermost: ContextVar[OuterCall | None] = ContextVar("supervisor.outer_call", default=None)
_failed_last: ContextVar[Failed | None] = ContextVar("supervisor.failed_last", default=None)

failed_last: Final = _failed_last.get
"""Returns what has failed last in this task, of whatever circuit."""

innermost_begun: Final = _innermost.get
"""Returns the innermost of the known calls that this code is, or has been, inside of."""


def innermost() -> OuterCall | None:
    """Return the innermost of the known calls that this code is inside of."""
    return _first_running(_innermost.get())


def _first_running(call: OuterCall | None) -> OuterCall | None:
    return None if call is None else next(call.outwards(), None)


def go_inside(call: OuterCall | None) -> None:
    """Let the running task be inside of `call`, and of no other."""
    _innermost.set(call)


def is_inside(circuit: Circuit) -> bool:
    """Whether this code is inside a call of that circuit, as far as is known."""
    call = _innermost.get()
    return call is not None and any(each.is_of(circuit) for each in call.outwards())


def as_part(circuit: Circuit) -> Part:
    """Admit a call as a part of the one that it is inside of; it is not counted as started."""
    return Part(circuit.lease.period, circuit.latest_policy)


def remember_error(circuit: Circuit, began: int, error: BaseException) -> None:
    """Remember that a call, the one of that number, has been counted as failed with an error."""
    known = _attributes_of(error)
    before = _without(circuit, known[MARK]) if MARK in known else None
    failed = known[MARK] = (circuit.number or _number_of(circuit), began, before)
    _failed_last.set(failed)
    if innermost_begun() is not None:
        _tell_outer_calls(circuit, failed)


def remember_result(circuit: Circuit, began: int) -> None:
    """Remember that a call has been counted as failed by its result."""
    failed = (_number_of(circuit), began, OF_A_RESULT)
    _failed_last.set(failed)
    _tell_outer_calls(circuit, failed)


def _number_of(circuit: Circuit) -> int:
    """Return what tells a circuit from all others, those that have its address later included."""
    if not circuit.number:
        number = next(_numbers)
        circuit.number = circuit.number or number
    return circuit.number


def _tell_outer_calls(circuit: Circuit, failed: Failed) -> None:
    """Let the known calls of a circuit that this code is inside of know of a counted failure."""
    call = _innermost.get()
    for each in () if call is None else call.outwards():
        if each.is_of(circuit):
            each.counted = (failed, *each.counted[: REMEMBERED - 1])


def counted_inside(circuit: Circuit, began: int, known: OuterCall | None) -> tuple[Failed, ...]:
    """Return the failures that have been counted in the calls inside one, as far as is known.

    Those that this task has begun after it are inside it, since it still runs.
    """
    found = () if known is None else known.counted
    for each in _chain(failed_last()):
        if each[0] == circuit.number and each[1] > began:
            found = (*found, each)
    return found


def is_among(counted: Collection[Failed], error: BaseException) -> bool:
    """Whether a failure that was counted is the error itself, or one on the way to it."""
    if not counted:
        return False
    marks = (_attributes_of(each).get(MARK) for each in _led_to(error))
    return any(failed in counted for mark in marks for failed in _chain(mark))


def _chain(failed: Failed | None) -> Iterator[Failed]:
    while failed is not None:
        yield failed
        failed = failed[2]


def _without(circuit: Circuit, failed: Failed | None) -> Failed | None:
    """An error that is raised again and again must not remember every time, nor every circuit."""
    kept: Failed | None = None
    for each in reversed([*islice(_chain(failed), LONGEST_WAY - 1)]):
        if each[0] != circuit.number:
            kept = (each[0], each[1], kept)
    return kept


def _led_to(error: BaseException) -> Iterator[BaseException]:
    """The error itself, those of a group, and those that were handled when one was raised: from the
    nearest on, and none that is further than `LONGEST_WAY`.
    """
    seen: set[int] = set()
    here: list[BaseException | None] = [error]
    for _ in range(LONGEST_WAY):
        further: list[BaseException | None] = []
        for each in here:
            if each is None or id(each) in seen:
                continue
            seen.add(id(each))
            yield each
            further += (each.__cause__, each.__context__)
            if isinstance(each, BaseExceptionGroup):
                further += cast("BaseExceptionGroup[BaseException]", each).exceptions
        here = further
