"""Attempts that are called, in worker threads: of plain functions, which block.

What a thread has to know of a circuit it asks the event loop; it sleeps by itself.
"""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

from anyio import NoEventLoopError, from_thread
from tenacity import RetryCallState, Retrying

from supervisor.arguments import shown
from supervisor.errors import CircuitBreakerOpenError
from supervisor.guard import CircuitBreaker
from supervisor.loop import running_loop
from supervisor.machine import CircuitState
from supervisor.retry.attempts import Again, Attempts, Loop, Made, Way
from supervisor.retry.circuits import CircuitOfLoop, GivenBreaker, Guarding
from supervisor.retry.strategies import Deadline, Strategies

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE: Final = 0.1
"""Seconds after which a sleeping thread looks whether its host task has been cancelled."""


class BreakerFromThread:
    """A breaker, as worker threads use it."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker

    @property
    def call(self) -> Callable[..., Any]:
        """Makes a guarded call in this thread."""
        return self._breaker.sync.call

    @property
    def retry(self) -> Callable[..., Any]:
        """Makes one that is taken from the budget."""
        return self._breaker.sync.retry

    @property
    def spend_retry(self) -> Callable[[], None]:
        """Takes an attempt of a call that is under way from the budget."""
        return self._breaker.sync.spend_retry

    @property
    def limits_retries(self) -> bool:
        """Whether there is a budget of retries."""
        return self._breaker.limits_retries

    @property
    def state(self) -> CircuitState:
        """The state of the circuit, as of now."""
        return self._breaker.sync.ask(lambda: self._breaker.state)

    @property
    def retry_after(self) -> float:
        """Seconds until a refused call may be admitted."""
        return self._breaker.sync.ask(lambda: self._breaker.retry_after)


class CircuitFromThread:
    """The circuit that guards a retried function, as worker threads find it."""

    __slots__ = ("_circuit", "_found", "_in_want", "name")

    def __init__(self, circuit: CircuitOfLoop) -> None:
        self.name = circuit.name
        self._circuit = circuit
        self._in_want = CircuitBreaker(circuit.name)  # knows no event loop, and joins none
        self._found = weakref.ref(self._in_want)  # or a function would keep an ended event loop

    def get(self) -> BreakerFromThread:
        """Return its breaker on the event loop that this thread may ask."""
        if isinstance(self._circuit, GivenBreaker):
            return BreakerFromThread(self._circuit.get())
        breaker = (self._found() or self._in_want).sync.ask(self._circuit.get)
        self._found = weakref.ref(breaker)
        return BreakerFromThread(breaker)


class ThreadAttempts(Attempts):
    """Those of one call."""

    __slots__ = ()

    def make_all(self, loop: Loop) -> Any:
        """Make attempts until one succeeds, or the loop or the budget is at its end."""
        last_error: Exception | None = None
        try:
            return loop(self._make)
        except CircuitBreakerOpenError as refusal:
            last_error = self.error_before(refusal)
            if last_error is None:
                raise
            raise last_error from None
        finally:
            last_error = None
            self.forget()

    def _make(self) -> Any:
        try:
            return self.make_next()
        except Exception as error:
            self.note(error)
            raise


class InThreads(Way):
    """They sleep in the thread. Nothing can cancel them while they run, but while they sleep."""

    attempts = ThreadAttempts

    def clock(self) -> float:
        """Return the time by which threads sleep."""
        return time.monotonic()

    def loop(self, strategies: Strategies, deadline: Deadline | None, made: Made) -> Any:
        """Make attempts until one succeeds, or there are no more."""
        try:
            return made()
        except BaseException as error:
            if not strategies.goes_on_after(error):
                raise
            again = Again(made, error)
        return Retrying(**_options(strategies, deadline))(again.make)

    def limited(self, made: Made, deadline: Deadline) -> Made:  # noqa: ARG002
        """Return what makes an attempt: none can be ended before its time."""
        return made

    def paid(self, own: Guarding, made: Made) -> Made:
        """Return what takes an attempt from the budget, and makes it."""

        def again() -> Any:
            own.spend_retry()
            return made()

        return again


IN_THREADS: Final = InThreads()


def _options(strategies: Strategies, deadline: Deadline | None) -> dict[str, Any]:
    """Return what a loop is made with."""
    if deadline is None:
        return {**strategies.options(), "sleep": sleep}

    def sleep_first(state: RetryCallState) -> None:
        strategies.log(state)
        sleep(state.upcoming_sleep)
        deadline.check_after_sleep(state)

    options = strategies.options(deadline.is_over)
    return {**options, "before_sleep": sleep_first, "sleep": nothing}


def sleep(seconds: float) -> None:
    """Sleep in this thread, unless its host task is cancelled: that is raised, at once or soon."""
    ends = time.monotonic() + seconds
    while True:
        with suppress(NoEventLoopError):  # what has no host task cannot be cancelled
            from_thread.check_cancelled()
        left = ends - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, PATIENCE))


def nothing(_: object) -> None:
    """Stand in the place of a sleep."""


def plain_function(func: Callable[P, R]) -> Callable[P, R]:
    """Return `func` with a check that its result is none that is to be awaited."""

    @functools.wraps(func)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        result = func(*args, **kwargs)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()  # or it would warn that nobody has awaited it
            raise TypeError(
                f"a plain function is needed, but {shown(func)} returned {shown(result)}, which is"
                " to be awaited; an async function is decorated as such"
            )
        return result

    return attempt


def check_worker_thread(func: object) -> None:
    """Refuse to retry a plain function in the thread of an event loop."""
    if running_loop() is not None:
        raise RuntimeError(
            f"{shown(func)} would block the event loop, with its attempts and the waits between"
            " them; use `await anyio.to_thread.run_sync(...)`, or decorate an async function"
        )
