"""Retry loops: tenacity does all the retrying, a circuit guards the loop or each attempt.

The same for attempts that are awaited in tasks, and for those that are called in worker threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, ParamSpec, assert_never

from supervisor.errors import CircuitBreakerOpenError
from supervisor.guard import run_for
from supervisor.retry.circuits import CircuitOfAttempts, Guarding
from supervisor.retry.strategies import Deadline, Rules, Strategies, note_on

P = ParamSpec("P")

Made = Callable[[], Any]
"""Makes one attempt: returns its result, or what is awaited for it."""

Loop = Callable[[Made], Any]
"""Makes attempts, until one succeeds or there are no more; one of tenacity's."""


class Attempts(ABC):
    """The attempts of one call, as far as the budget of retries allows.

    Args:
        first: makes an attempt that is no retry.
        again: makes one that is taken from the budget.
    """

    __slots__ = ("_again", "_first", "_last_error", "_refusal")

    def __init__(self, first: Made, again: Made) -> None:
        self._first = first
        self._again = again
        self._last_error: Exception | None = None
        self._refusal: CircuitBreakerOpenError | None = None  # by the budget

    @abstractmethod
    def make_all(self, loop: Loop) -> Any:
        """Make attempts until one succeeds, or the loop or the budget is at its end.

        Raises:
            Exception: that of the last attempt.
        """

    def make_next(self) -> Any:
        """Make the first attempt, or another one."""
        return self._first() if self._last_error is None else self._again()

    def note(self, error: Exception) -> None:
        """Note what an attempt has raised."""
        if not isinstance(error, CircuitBreakerOpenError):
            self._last_error = error
        elif error.reason == "retry_budget":
            self._refusal = error

    def error_before(self, refusal: CircuitBreakerOpenError) -> Exception | None:
        """Return the error that was to be mended, if it was the budget that has refused that."""
        last_error = self._last_error
        if refusal is not self._refusal or last_error is None:
            return None
        note_on(last_error, str(refusal))
        return last_error

    def forget(self) -> None:
        """Keep no errors: each would be kept by the frames that it keeps."""
        self._last_error = self._refusal = None


class Again:
    """Makes the attempts of a loop that begins after the first one has failed.

    Args:
        made: makes an attempt.
        failure: of the first one; the loop gets it as that of its own first attempt.
    """

    __slots__ = ("_failure", "_made")

    def __init__(self, made: Made, failure: BaseException) -> None:
        self._made = made
        self._failure: BaseException | None = failure

    def make(self) -> Any:
        """Raise that failure, or make an attempt from the second time on."""
        failure, self._failure = self._failure, None
        if failure is None:
            return self._made()
        try:
            raise failure
        finally:
            del failure  # would be kept by this frame, which it keeps


class Way(ABC):
    """How attempts are made: awaited in tasks, or called in worker threads."""

    attempts: ClassVar[type[Attempts]]

    @abstractmethod
    def clock(self) -> float:
        """Return the time in seconds, as those have it who make them."""

    @abstractmethod
    def loop(self, strategies: Strategies, deadline: Deadline | None, made: Made) -> Any:
        """Make attempts until one succeeds, or there are no more.

        The first is made before there is a loop of tenacity's, which takes longer to begin than
        many a call; if it is worth another one, it fails in that loop once more.
        """

    @abstractmethod
    def limited(self, made: Made, deadline: Deadline) -> Made:
        """Return what makes an attempt by the deadline, as far as it can be held to that."""

    @abstractmethod
    def paid(self, own: Guarding, made: Made) -> Made:
        """Return what takes an attempt from the budget, and makes it."""


class Loops:
    """The loops of a function by these rules, one for each of its calls."""

    def __init__(self, circuit: CircuitOfAttempts, rules: Rules, way: Way) -> None:
        self._strategies = Strategies(circuit, rules)
        self._seconds = rules.deadline
        self._endless = partial(way.loop, self._strategies, None)
        self.way = way

    def new(self) -> tuple[Loop, Deadline | None]:
        """Return the loop of one call, which begins now, and when it must be over."""
        if self._seconds is None:
            return self._endless, None
        deadline = Deadline(self._seconds, self.way.clock)
        return partial(self.way.loop, self._strategies, deadline), deadline

    def new_for(self, made: partial[Any]) -> tuple[Loop, partial[Any]]:
        """Return the loop of a call, and what makes an attempt of it by the deadline."""
        loop, deadline = self.new()
        return loop, made if deadline is None else run_for(made, self.way.limited(made, deadline))


def retried(
    attempt: Callable[P, Any], circuit: CircuitOfAttempts, rules: Rules, way: Way
) -> Callable[P, Any]:
    """Return `attempt` with a retry loop round it, and the circuit round that loop or in it."""
    loops = Loops(circuit, rules, way)
    match rules.guard:
        case "loop":
            return _guarded_loop(attempt, circuit, loops)
        case "attempt":
            return _guarded_attempts(attempt, circuit, loops)
        case None:
            return _unguarded(attempt, loops)
        case _:
            assert_never(rules.guard)


def _unguarded(attempt: Callable[P, Any], loops: Loops) -> Callable[P, Any]:
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        loop, made = loops.new_for(partial(attempt, *args, **kwargs))
        return loop(made)

    return run


def _guarded_attempts(
    attempt: Callable[P, Any], circuit: CircuitOfAttempts, loops: Loops
) -> Callable[P, Any]:
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        loop, made = loops.new_for(partial(attempt, *args, **kwargs))
        first = lambda: circuit.get().call(made)  # noqa: E731  (half of a pair)
        again = lambda: circuit.get().retry(made)  # noqa: E731
        return loops.way.attempts(first, again).make_all(loop)

    return run


def _guarded_loop(
    attempt: Callable[P, Any], circuit: CircuitOfAttempts, loops: Loops
) -> Callable[P, Any]:
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        loop, made = loops.new_for(partial(attempt, *args, **kwargs))
        own, way = circuit.get(), loops.way
        if not own.limits_retries:
            return own.call(run_for(made, loop, made))
        return own.call(run_for(made, way.attempts(made, way.paid(own, made)).make_all, loop))

    return run
