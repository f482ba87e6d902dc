"""What callers hold: a `CircuitBreaker`, which reads the lease, reports, and asks when it must."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from inspect import isawaitable
from threading import get_ident
from types import TracebackType
from typing import Any, ParamSpec, TypeAlias, TypeVar

from supervisor import current, threads
from supervisor.checks import check_async, check_name, is_async
from supervisor.circuit import Circuit
from supervisor.errors import CircuitStoppedError
from supervisor.event_loop import loop_time
from supervisor.messages import CircuitState, Grant, Outcome
from supervisor.permit import Permit, report
from supervisor.policy import Policy
from supervisor.statistics import Statistics

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreaker:
    """Guards calls to one dependency, and refuses them while that dependency is failing.

    It may be built anywhere, also where no event loop runs. On first use it joins the current
    supervisor of the running event loop, and shares the circuit of its name there with every
    other breaker of that name. Nothing is carried over from one event loop to the next.

    Args:
        name: the circuit's name, 1 to 255 printable characters.
        failure_threshold: consecutive failures that open the circuit, 1 or more.
        recovery_timeout: seconds that it stays open, more than 0.
        success_threshold: successful probes that close it again, 1 or more; also how many
            probes may run at once.
        probe_timeout: seconds, more than 0, after which a running probe counts as failed.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    __slots__ = ("__weakref__", "_circuit", "_owned")

    def __init__(
        self,
        name: str,
        failure_threshold: int = 3,
        recovery_timeout: float = 30.0,
        success_threshold: int = 1,
        *,
        probe_timeout: float = 60.0,
    ) -> None:
        policy = Policy(failure_threshold, recovery_timeout, success_threshold, probe_timeout)
        self._circuit = Circuit(check_name(name), policy)
        self._owned = False

    @classmethod
    def of(cls, circuit: Circuit) -> CircuitBreaker:
        """Return a breaker for that very circuit, which ends with it."""
        breaker = cls.__new__(cls)
        breaker._circuit = circuit
        breaker._owned = True
        return breaker

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._circuit.name

    @property
    def failure_threshold(self) -> int:
        """Consecutive failures that open the circuit."""
        return self._circuit.policy.failure_threshold

    @property
    def recovery_timeout(self) -> float:
        """Seconds that the circuit stays open."""
        return self._circuit.policy.recovery_timeout

    @property
    def success_threshold(self) -> int:
        """Successful probes that close the circuit again."""
        return self._circuit.policy.success_threshold

    @property
    def probe_timeout(self) -> float:
        """Seconds after which a running probe counts as failed."""
        return self._circuit.policy.probe_timeout

    @property
    def state(self) -> CircuitState:
        """The state now, with every outcome counted that has been reported so far."""
        return self._find().project().state

    @property
    def failure_count(self) -> int:
        """Consecutive failures, with every outcome counted that has been reported so far."""
        return self._find().project().failure_count

    @property
    def retry_after(self) -> float:
        """Seconds until a refused call may be admitted; 0.0 unless the circuit is open."""
        machine = self._find().project()
        return machine.retry_after(machine.latest)

    def statistics(self) -> Statistics:
        """Return all figures as of now, in one frozen record."""
        return self._find().statistics()

    def reset(self) -> None:
        """Close the circuit and forget its failures; calls in flight count no more.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        self._find().reset()

    async def call(
        self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run `await func(*args, **kwargs)`, and report how it ended.

        An `Exception` counts as a failure; a cancellation, or any other `BaseException`,
        counts as nothing. Either comes through unchanged. Waits for nothing but `func`
        except for its turn to be admitted when the circuit is not plainly closed.

        Raises:
            CircuitBreakerOpenError: the circuit refused the call; `func` was not called.
            CircuitCrashedError: the circuit's actor crashed on this very request.
            CircuitStoppedError: the circuit has been stopped, its supervisor's block was left,
                or it belongs to another event loop.
            PolicyConflictError: this breaker's name belongs to a circuit with another policy.
            TypeError: `func` is not an async function.
        """
        # The plainest case is written out here and in the other ways into a guard: a function
        # would cost as much as the guard.
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        if circuit.headroom > 0:
            circuit.started += 1
            grant = circuit.grant
        else:
            grant = circuit.admit_at_once() or await circuit.ask()
        awaitable: Awaitable[R] | None = None
        try:
            awaitable = func(*args, **kwargs)
            del args, kwargs  # or many calls under way would crowd each other out of the caches
            result = await awaitable
        except Exception as error:
            if type(error) is TypeError and _is_misuse(func, awaitable, error):
                circuit.settle(grant, Outcome.IGNORED)
                error.add_note("CircuitBreaker.call needs an async function (`async def`)")
            else:
                circuit.fail(grant, error)
            raise
        except BaseException:
            circuit.settle(grant, Outcome.CANCELLED)
            raise
        if grant is circuit.grant:
            circuit.unsent_successes += 1
        else:
            circuit.succeed(grant)
        return result

    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        """Decorate an async function or method, so that each call of it is guarded.

        Raises:
            TypeError: `func` is not an async function.
        """
        check_async("a circuit breaker", func)

        @functools.wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            circuit = self._circuit
            if circuit.thread != get_ident() or not circuit.loop_is_running():
                circuit = self._join()
            if circuit.headroom > 0:
                circuit.started += 1
                grant = circuit.grant
            else:
                grant = circuit.admit_at_once() or await circuit.ask()
            try:
                awaitable = func(*args, **kwargs)
                del args, kwargs
                result = await awaitable
            except Exception as error:
                circuit.fail(grant, error)
                raise
            except BaseException:
                circuit.settle(grant, Outcome.CANCELLED)
                raise
            if grant is circuit.grant:
                circuit.unsent_successes += 1
            else:
                circuit.succeed(grant)
            return result

        return guarded

    def call_from_thread(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the plain function `func(*args, **kwargs)` in this thread, guarded as by `call`.

        The event loop is the one whose `anyio.to_thread.run_sync` started the thread; in any
        other thread, it is the one that this breaker was used on last. If the host task was
        cancelled before `func` began, its cancellation is raised; after that, `func` runs to its
        end and is counted. If the event loop ends meanwhile, that is all that gets lost: the
        count.

        Raises:
            CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError,
            PolicyConflictError: see `call`.
            RuntimeError: this is an event loop's own thread, or no running event loop is known.
            anyio.RunFinishedError: the event loop ended before the call was admitted.
            TypeError: `func` is an async function, or what it returned is to be awaited.
        """
        return threads.call(self._circuit, self._join, functools.partial(func, *args, **kwargs))

    async def acquire(self) -> Permit:
        """Return a permit for one call whose outcome is reported by hand.

        Raises:
            CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError,
            PolicyConflictError: see `call`.
        """
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        return Permit(circuit, circuit.admit_at_once() or await circuit.ask())

    async def __aenter__(self) -> None:
        """Guard the block like `call` does; as many tasks at a time as like may be in it.

        Raises:
            CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError,
            PolicyConflictError: see `call`.
        """
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        if circuit.headroom > 0:
            circuit.started += 1
            grant = circuit.grant
        else:
            grant = circuit.admit_at_once() or await circuit.ask()
        _blocks.set((self, circuit, grant, _blocks.get()))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = _blocks.get()
        if block is not None and block[0] is self:
            _, circuit, grant, outer = block
            _blocks.set(outer)
        else:
            circuit, grant = _leave_block(self)
        if exc is None and grant is circuit.grant:
            circuit.unsent_successes += 1
        else:
            report(circuit, grant, exc)

    def has_actor_here(self) -> bool:
        """Whether its circuit has an actor, on the event loop that runs in this thread."""
        circuit = self._circuit
        return circuit.thread == get_ident() and circuit.loop_is_running()

    def __repr__(self) -> str:
        try:
            state = f" {self.state.value}"
        except RuntimeError:  # this is not the thread of its event loop
            state = ""
        return f"<CircuitBreaker {self.name!r}{state}>"

    def _join(self) -> Circuit:
        """Join the circuit of this name that runs on the running event loop, or start it."""
        before = self._circuit
        here = before.loop.is_current()
        if here and not before.stopped:
            return before  # its actor is about to start, or has been given up
        if self._owned and not here:
            raise CircuitStoppedError(
                f"circuit {before.name!r} belongs to another event loop, which has ended or runs"
                " elsewhere; ask a supervisor of the running one for a circuit by name"
            )
        host = current.current_host()
        if self._owned or (here and before.block_left and (host is None or host.is_default)):
            return before  # it refuses all calls, and says why
        if host is None:
            host = current.start_default()
        circuit = host.join(before.name, before.policy)
        if circuit.running:  # and is not a stand-in while tasks are cancelled
            self._circuit = circuit
        return circuit

    def _find(self) -> Circuit:
        """Return the circuit to read: like `_join`, but nothing is started by reading."""
        before = self._circuit
        if self._owned or loop_time() is None:
            return before
        here = before.loop.is_current()
        if here and not before.stopped:
            return before
        host = current.current_host()
        if host is not None and host.find(before.name):
            return self._join()
        return before if here else Circuit(before.name, before.policy)


def _is_misuse(func: object, returned: object, error: TypeError) -> bool:
    """Whether `func` is no async function, and was not called right, or returned no awaitable."""
    if is_async(func):
        return False
    if returned is None:
        return error.__traceback__ is not None and error.__traceback__.tb_next is None
    return not isawaitable(returned)


# The `async with` blocks that the running task is in, innermost first, as a linked list. One
# breaker serves many tasks at a time, so its blocks cannot be kept in the breaker.
_Block: TypeAlias = "tuple[CircuitBreaker, Circuit, Grant, _Block | None]"
_blocks: ContextVar[_Block | None] = ContextVar("supervisor.blocks", default=None)


def _leave_block(breaker: CircuitBreaker) -> tuple[Circuit, Grant]:
    """Take the innermost block of `breaker` out of the list, and return what it was given."""
    block = _blocks.get()
    inner: list[_Block] = []  # other breakers' blocks, when an async generator mixes the order
    while block is not None and block[0] is not breaker:
        inner.append(block)
        block = block[3]
    if block is None:
        raise RuntimeError(
            f"the block of {breaker!r} was entered in another context than it is left in;"
            " guard an async generator with a permit: `with await breaker.acquire():`"
        )
    _, circuit, grant, outer = block
    for other in reversed(inner):
        outer = (*other[:3], outer)
    _blocks.set(outer)
    return circuit, grant
