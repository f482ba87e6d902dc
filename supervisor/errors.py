"""What callers may have to catch; each message says what happened and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn, cast

from supervisor.arguments import shown
from supervisor.machine import CircuitState, Reason
from supervisor.policy import held_by, within
from supervisor.settings import app_settings

LONGEST_FAILURE: Final = 200
"""Characters that are kept of a failure's text."""

_RETURNED: Final = "returned "
_MOST_LEAVES: Final = 10
"""Errors of a group that its text looks at."""


class SupervisorWarning(UserWarning):
    """Circuits are probably not set up as they were meant to be: it is said once."""


class Uncopied:
    """What belongs to one event loop, or to one caller: half a copy of it would be of no use.

    Attributes:
        no_copies: why, with what it is.
        instead: what to do.
    """

    __slots__ = ()

    no_copies: ClassVar[str]
    instead: ClassVar[str]

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.no_copies}, and cannot be copied or sent elsewhere; {self.instead}")


class CircuitBreakerOpenError(Exception):
    """The circuit refused the call without running it.

    Attributes:
        operation_name: the circuit's name.
        retry_after: seconds until a call may be admitted; 0.0 when that cannot be known
            since a probe is running or only a share of calls is admitted, infinite when the
            circuit has given up for good, or is isolated until somebody releases it.
        state: the state that refused.
        last_failure: what has opened the circuit, or None. Of an error, its type; its text may be
            another caller's, and is shown if `app_settings.circuit_breaker.show_failures` is set.
        reason: "open", "half_open" or "forced_open", as the state; or, of a closed circuit,
            "ramp" or "throttled"; or in whatever state "retry_budget", or "restarting": its actor
            pauses after a crash.
    """

    # A refusal is to cost little. Slots spare it a dictionary, and what has been made by
    # `new_refusal` has them filled from its `args` when one is first read.
    __slots__ = ("_reason", "last_failure", "operation_name", "retry_after", "state")

    _reason: Reason | None

    def __init__(
        self,
        operation_name: str,
        retry_after: float | None = 0.0,
        state: CircuitState = CircuitState.OPEN,
        last_failure: str | None = None,
        reason: Reason | None = None,
    ) -> None:
        if type(state) is not CircuitState:  # rebuilt from `args` that were written as JSON
            state = CircuitState(state)
        if retry_after is None:  # likewise: so some write infinity
            retry_after = math.inf
        super().__setattr__("_reason", reason)  # the first of them, as `__setattr__` is to know
        if len(self.args) < 5:  # what is given by name, `BaseException` does not keep
            self.args = (operation_name, retry_after, state, last_failure, reason)
        self.operation_name = operation_name
        self.retry_after = retry_after + 0.0  # a float, also if it was given as an int
        self.state = state
        self.last_failure = last_failure

    if not TYPE_CHECKING:  # pragma: no branch

        def __getattr__(self, name: str) -> object:
            if name not in CircuitBreakerOpenError.__slots__ or not self.args:
                what = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(what, name=name, obj=self)
            CircuitBreakerOpenError.__init__(self, *self.args[:5])
            return getattr(self, name)

        def __setattr__(self, name: str, value: object) -> None:
            # What nobody has read yet comes from `args` as they were, and before what is put now.
            if not name.startswith("__") and type(self) is CircuitBreakerOpenError:
                hasattr(self, "_reason")
            super().__setattr__(name, value)

    @property
    def reason(self) -> str:
        """Why the call was refused."""
        return self._reason or self.state.value

    def __str__(self) -> str:
        because = f" (last failure: {self.last_failure})" if self.last_failure else ""
        if self.reason == "forced_open" and 0 < self.retry_after < math.inf:
            what = f"was opened by hand; retry after {self.retry_after:.1f} s"
        elif self.reason in _TEXTS:
            what = _TEXTS[self.reason].format(self.retry_after)
        elif self.retry_after == math.inf:
            what = "has been given up and refuses every call"
        elif self.state is CircuitState.HALF_OPEN:
            what = "is half-open and its probe is still running; retry soon"
        else:
            what = f"is open; retry after {self.retry_after:.1f} s"
        return f"circuit {self.operation_name!r} {what}{because}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between worker processes, with the notes that were added to them.
        attributes = (
            self.operation_name,
            self.retry_after,
            self.state,
            self.last_failure,
            self._reason,
        )
        return type(self), attributes, self.__dict__.copy()


new_refusal: Final = partial(CircuitBreakerOpenError.__new__, CircuitBreakerOpenError)
"""Makes one of all its arguments, by position, at half the price: `__init__` is not called."""

_TEXTS: Final = {
    "forced_open": "was opened by hand and refuses every call until it is released",
    "ramp": "has closed a short while ago and admits only a growing share of its calls; retry soon",
    "throttled": "admits only a share of its calls, since many have failed of late; retry later",
    "restarting": "is starting again after a crash; retry after {0:.1f} s",
    "retry_budget": "has seen too many retries of late; give up, or retry much later",
}


class CircuitStoppedError(RuntimeError):
    """The circuit takes no more calls: it was stopped, its supervisor's block was left, or it
    belongs to another event loop.
    """


class CircuitCrashedError(RuntimeError):
    """The circuit's actor crashed on this very request, or too often to be restarted again."""


class PermitSettledError(RuntimeError):
    """The permit has been settled before: its outcome is already counted."""


class TooManyCircuitsError(RuntimeError):
    """The supervisor has as many circuits as it may have, and did not start another one."""


class PolicyConflictError(ValueError):
    """The name belongs to a circuit with a different policy."""


class CallTimeoutError(TimeoutError):
    """The call has run for the `timeout` of its circuit's policy, and was cancelled."""


class NoneHealthyError(Exception):
    """None of several circuits could be called: each has refused, or its call has failed.

    Its cause is the last failure, if there is one, or else the last refusal.

    Attributes:
        passed_over: why, by circuit: a `CircuitBreakerOpenError`, or what its call has raised; the
            text of that, if this error was rebuilt from its `args`.
        retry_after: seconds until one of them may admit a call; infinite if none has refused.
    """

    def __init__(
        self, passed_over: Mapping[str, Exception], retry_after: float | None = None
    ) -> None:
        self.passed_over = dict(passed_over)
        refusals = [
            each for each in passed_over.values() if isinstance(each, CircuitBreakerOpenError)
        ]
        soonest = min((each.retry_after for each in refusals), default=math.inf)
        self.retry_after = soonest if retry_after is None else retry_after
        # Texts, since task queues write `args` as JSON.
        texts = {name: _why(each) for name, each in passed_over.items()}
        super().__init__(texts, self.retry_after)

    def __str__(self) -> str:
        why = "; ".join(f"{name}: {_why(each)}" for name, each in self.passed_over.items())
        return f"none of {len(self.passed_over)} circuits could be called ({why})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.passed_over,), self.__dict__.copy()


def _why(error: Exception | str) -> str:
    return error if isinstance(error, str) else describe(error)


class IncompleteStreamError(Exception):
    """The stream has ended before it was complete, as if all were well.

    Attributes:
        operation_name: the circuit's name.
        items: how many items it gave.
    """

    def __init__(self, operation_name: str, items: int) -> None:
        super().__init__(operation_name, items)
        self.operation_name = operation_name
        self.items = items

    def __str__(self) -> str:
        count = "1 item" if self.items == 1 else f"{self.items} items"
        return f"a stream by circuit {self.operation_name!r} ended after {count}, incomplete"


class FailedResultError(Exception):
    """What a fallback is told of a result that was returned and counts as a failure.

    Attributes:
        operation_name: the circuit's name.
        result: what was returned.
    """

    def __init__(self, operation_name: str, result: object) -> None:
        super().__init__(operation_name, result)
        self.operation_name = operation_name
        self.result = result

    def __str__(self) -> str:
        return f"a call by circuit {self.operation_name!r} returned {shown(self.result)}"


def describe(error: BaseException) -> str:
    """Return the error as text, a group with its errors; its own `__str__` is user code and may
    raise.
    """
    kind = _kind_of(error)
    try:
        text = f"{kind}: {_text_of(error)}"
    except Exception:
        text = kind
    return text[:LONGEST_FAILURE]


def describe_result(result: object) -> str:
    """Return a result that is a failure as text."""
    return f"{_RETURNED}{shown(result)}"[:LONGEST_FAILURE]


def shown_to_others(failure: str | None) -> str | None:
    """Return what others are told of a failure, in refusals: all of it, if the settings say so; or
    else not what an error says, or what was returned, in which there may be somebody's secret.
    """
    if failure is None:
        return None
    # An event loop must not wait for files here; its supervisor has them read.
    if app_settings.knows_circuits and app_settings.circuit_breaker.show_failures:
        return failure
    if failure.startswith(_RETURNED):
        return f"{_RETURNED}a failure"
    return failure.partition(": ")[0]


def _kind_of(error: BaseException) -> str:
    """Return the name of its type; of a group, with those in it: `ExceptionGroup[OSError]`."""
    kinds = ", ".join({type(each).__name__: None for each in _leaves(error)})
    return f"{type(error).__name__}[{kinds}]" if kinds else type(error).__name__


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Return the first errors of a group, however deep: as many as a text has room for."""
    if not held_by(error):
        return iter(())
    return islice((each for each in within(error) if not held_by(each)), _MOST_LEAVES)


def _text_of(error: BaseException) -> str:
    """Return `str(error)`, or the beginning of it where that is the text of much data."""
    if held_by(error):
        leaves = "; ".join(describe(each) for each in _leaves(error))
        return f"{cast('BaseExceptionGroup[BaseException]', error).message} ({leaves})"
    own, args = type(error).__str__, error.args
    if not args or own not in (BaseException.__str__, KeyError.__str__):
        return str(error)
    about = args[0] if len(args) == 1 else args
    if isinstance(about, str) and own is BaseException.__str__:
        return about[:LONGEST_FAILURE]
    quoted = (str, list, tuple, dict, set, frozenset, bytes, bytearray)
    return shown(about) if type(about) in quoted else str(error)
