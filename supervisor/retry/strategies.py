"""When a loop of attempts goes on, and how long it waits: its strategies, as tenacity asks them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, TypeGuard, TypeVar

from tenacity import (
    RetryCallState,
    TryAgain,
    stop_after_attempt,
    wait_exponential,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from supervisor.errors import CallTimeoutError, CircuitBreakerOpenError
from supervisor.instrumentation import log_retry
from supervisor.loop import LONGEST_TIMER, run_limited, time_limit
from supervisor.machine import CircuitState
from supervisor.retry.circuits import CircuitOfAttempts
from supervisor.retry.hints import hint_of
from supervisor.retry.worth import Worth

R = TypeVar("R")
Guard = Literal["loop", "attempt"]
Stop = Callable[[RetryCallState], bool]

EARLY_WAKE: Final = 0.001
"""Seconds by which a clock may wake a sleeper too soon; an attempt would be wasted on it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a loop of attempts goes by.

    Attributes:
        attempts: how many there are, 1 or more.
        backoff: waits in seconds.
        longest_wait: seconds that a server may ask to wait.
        worth: the errors that are worth another try.
        guard: what the circuit guards, if there is one.
        wait_for_recovery: whether to sleep while it is open.
        deadline: seconds for the whole loop; None: no limit.
    """

    attempts: int
    backoff: wait_base
    longest_wait: float
    worth: Worth
    guard: Guard | None
    wait_for_recovery: bool = False
    deadline: float | None = None

    @property
    def is_patient(self) -> bool:
        """Whether a loop sleeps until its circuit may have recovered."""
        return self.guard == "attempt" and self.wait_for_recovery


def backoff(min_wait: float, max_wait: float, use_jitter: bool = True) -> wait_base:
    """Return waits in seconds: `min_wait`, and then twice the one before, up to `max_wait`.

    With jitter, each is drawn between `min_wait` and that, by tenacity's own strategy.
    """
    strategy = wait_random_exponential if use_jitter else wait_exponential
    return strategy(multiplier=min_wait, min=min_wait, max=max_wait)


class Strategies:
    """The strategies of loops by these rules, each of which may be asked by many at once."""

    def __init__(self, circuit: CircuitOfAttempts, rules: Rules) -> None:
        self._circuit = circuit
        self._rules = rules

    def options(self, *stops: Stop) -> dict[str, Any]:
        """Return what a loop is made with, but for how it sleeps; it ends by these `stops` as
        well.
        """
        return {
            "before_sleep": self.log,
            "retry": self._is_worth_it,
            "retry_error_callback": raise_last_error,
            "stop": self.stop(*stops),
            "wait": self._wait,
        }

    def stop(self, *more: Stop) -> Stop:
        """Return when a loop ends although the last error is worth another try."""
        # The number of attempts first: the others say in a note why there are not as many.
        stops: list[Stop] = [stop_after_attempt(self._rules.attempts)]
        if self._rules.guard == "attempt":
            stops.append(self._is_refused)
        stops += (self._is_told_to_wait_too_long, *more)
        return lambda state: any(stop(state) for stop in stops)

    def log(self, state: RetryCallState) -> None:
        """Log that another attempt follows."""
        name = self._circuit.name
        log_retry(name, state.attempt_number, state.upcoming_sleep, _last_error(state))

    def _wait(self, state: RetryCallState) -> float:
        """Return the back-off, or longer if the circuit is open, or the server asks for it."""
        seconds = self._rules.backoff(state)
        until_recovery = self._until_recovery()
        if until_recovery:
            return min(max(seconds, until_recovery + EARLY_WAKE), LONGEST_TIMER)
        error = _last_error(state)
        try:
            if error is None or self._is_own_refusal(error):
                return seconds
            return max(seconds, hint_of(error) or 0.0)
        finally:
            del error

    def _until_recovery(self) -> float:
        return self._circuit.get().retry_after if self._rules.is_patient else 0.0

    def _is_refused(self, state: RetryCallState) -> bool:  # noqa: ARG002
        """Return whether another attempt would be refused, however long the loop may sleep."""
        circuit = self._circuit.get()
        if self._rules.is_patient:
            return circuit.retry_after == math.inf
        return circuit.state in (CircuitState.OPEN, CircuitState.FORCED_OPEN)

    def _is_told_to_wait_too_long(self, state: RetryCallState) -> bool:
        asked, longest = state.upcoming_sleep, self._rules.longest_wait
        if asked <= longest or self._until_recovery():  # no back-off is longer
            return False
        note(state, f"the server asks to wait {asked:g} s, and max_wait is {longest:g} s")
        return True

    def goes_on_after(self, error: BaseException) -> bool:
        """Return whether another attempt may follow one that has raised this."""
        if self._is_own_refusal(error):
            return self._rules.is_patient and _has_an_end(error)
        return isinstance(error, TryAgain) or self._is_meant(error)

    def _is_worth_it(self, state: RetryCallState) -> bool:
        """Return whether another attempt may follow; raise the last error if none is worth it."""
        if state.attempt_number == 1:  # or there would be no loop
            return True
        error = _last_error(state)
        try:
            if error is None:
                return False
            if not self.goes_on_after(error):
                raise_last_error(state)  # tenacity would, unless `bool(error)` is false
            return True
        finally:
            del error

    def _is_meant(self, error: BaseException) -> bool:
        try:
            return self._rules.worth(error)
        except Exception as own:  # it comes out, but not without a trace of the call's own error
            if own is not error and own.__context__ is None:
                own.__context__ = error
            raise

    def _is_own_refusal(self, error: BaseException) -> TypeGuard[CircuitBreakerOpenError]:
        return (
            self._rules.guard is not None
            and isinstance(error, CircuitBreakerOpenError)
            and error.operation_name == self._circuit.name
        )


def _has_an_end(refusal: CircuitBreakerOpenError) -> bool:
    return math.isfinite(refusal.retry_after) and refusal.reason != "retry_budget"


class Deadline:
    """When one loop must be over, so many seconds from now by that clock."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._ends = clock() + seconds

    def is_over(self, state: RetryCallState, wait: float | None = None) -> bool:
        """Return whether no attempt may begin after that wait, or the next one."""
        wait = state.upcoming_sleep if wait is None else wait
        if self._clock() + wait < self._ends:
            return False
        note(state, f"the deadline of {self._seconds:g} s would be over")
        return True

    def check_after_sleep(self, state: RetryCallState) -> None:
        """Raise the last error if it is over: the sleeper may have been woken much too late."""
        if self.is_over(state, 0.0):
            raise_last_error(state)

    async def make(self, attempt: Callable[[], Awaitable[R]]) -> R:
        """Make an attempt, and cancel it at the deadline.

        Raises:
            CallTimeoutError: it has been cancelled.
        """
        left = self._ends - self._clock()
        return await run_limited(attempt(), time_limit(left), self._late)

    def _late(self) -> CallTimeoutError:
        return CallTimeoutError(
            f"the attempt was cancelled at the deadline of {self._seconds:g} s for all attempts"
        )


def note(state: RetryCallState, why: str) -> None:
    """Note on the last error why there is no other attempt."""
    error = _last_error(state)
    assert error is not None
    note_on(error, why)
    del error


def note_on(error: BaseException, why: str) -> None:
    """Note why there is no other attempt; only once, since many calls may raise the same error."""
    text = f"not tried again, since {why}"
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def raise_last_error(state: RetryCallState) -> NoReturn:
    """Raise the error of the last attempt."""
    error = _last_error(state)
    assert error is not None
    state.outcome = None  # tenacity's frames hold it, and would keep the error that keeps them
    try:
        raise error
    finally:
        del error


def _last_error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
