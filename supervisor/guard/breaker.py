"""What callers hold: a `CircuitBreaker`, which reads the lease, reports, and asks when it must."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from inspect import isawaitable
from threading import get_ident
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, get_args, overload

from supervisor.arguments import check_async, check_choice, check_name, check_seconds, is_async
from supervisor.circuit import Circuit, Statistics, Ticket
from supervisor.errors import CircuitBreakerOpenError, CircuitStoppedError, FailedResultError
from supervisor.guard import current, threads
from supervisor.guard.permit import Permit, report
from supervisor.guard.timeouts import TimeLimit, limited
from supervisor.loop import loop_time
from supervisor.machine import CircuitState, WaitFor
from supervisor.policy import Failure, Outcome, Policy, changed_policy, shared_policy

P = ParamSpec("P")
R = TypeVar("R")

RAISE: Final = object()
"""The fallback of calls that have none."""


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
        policy: any other field of `Policy`.

    Raises:
        TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
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
        **policy: Any,
    ) -> None:
        asked = shared_policy(
            failure_threshold=failure_threshold,
            recovery_timeout=recovery_timeout,
            success_threshold=success_threshold,
            probe_timeout=probe_timeout,
            **policy,
        )
        self._circuit = Circuit(check_name(name), asked)
        self._owned = False

    @classmethod
    def of(cls, circuit: Circuit) -> CircuitBreaker:
        """Return a breaker for that very circuit, which ends with it unless it is retired."""
        breaker = cls.__new__(cls)
        breaker._circuit = circuit
        breaker._owned = True
        return breaker

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._circuit.name

    @property
    def policy(self) -> Policy:
        """What the circuit goes by."""
        return self._find().latest_policy

    @property
    def failure_threshold(self) -> int:
        """Failures that open the circuit: in a row, or within the window."""
        return self.policy.failure_threshold

    @property
    def recovery_timeout(self) -> float:
        """Seconds that the circuit stays open."""
        return self.policy.recovery_timeout

    @property
    def success_threshold(self) -> int:
        """Successful probes that close the circuit again."""
        return self.policy.success_threshold

    @property
    def probe_timeout(self) -> float:
        """Seconds after which a running probe counts as failed."""
        return self.policy.probe_timeout

    @property
    def state(self) -> CircuitState:
        """The state now, with every outcome counted that has been reported so far."""
        return self._find().project().state

    @property
    def failure_count(self) -> int:
        """Consecutive failures, or those in the window, with every outcome counted that has been
        reported so far.
        """
        return self._find().project().failure_count

    @property
    def retry_after(self) -> float:
        """Seconds until a refused call may be admitted; 0.0 unless the circuit is open, infinite
        if it was opened by hand.
        """
        machine = self._find().project()
        return machine.retry_after(machine.latest)

    def statistics(self) -> Statistics:
        """Return all figures as of now, in one frozen record."""
        return self._find().statistics()

    def reset(self) -> None:
        """Close the circuit and forget its failures; calls in flight count no more.

        A state that was set by hand stays, until `release`.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop.
        """
        self._find().reset()

    def force_open(self) -> None:
        """Refuse every call until `release`: isolate the dependency (Polly: Isolate).

        Like the other states that are set by hand, it is the circuit's and shared by all its
        breakers, so the circuit must be there: ask a supervisor for it, or use it first.

        Raises:
            RuntimeError: the circuit is not running yet, or on another thread's event loop.
        """
        self._force(CircuitState.FORCED_OPEN)

    def force_close(self) -> None:
        """Admit every call until `release`, and count outcomes without ever opening for them.

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.FORCED_CLOSED)

    def disable(self) -> None:
        """Admit every call until `release`, and let no outcome count (resilience4j: DISABLED).

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.DISABLED)

    def only_measure(self) -> None:
        """Admit every call until `release`, but go on as if not (resilience4j: METRICS_ONLY).

        What it would have done shows in `statistics()`, as `would_be` and `would_have_refused`,
        and in `StateChanged` events, as `metrics_only`.

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.METRICS_ONLY)

    def release(self) -> None:
        """Leave a state that was set by hand: the circuit is CLOSED, with nothing remembered.

        Raises:
            RuntimeError: see `force_open`.
        """
        self._force(CircuitState.CLOSED)

    def reconfigure(self, **policy: Any) -> None:
        """Go on by another policy, with the state and the counts that there are.

        Calls that have been admitted are judged by the policy of that time. Thresholds are looked
        at from the next outcome on. Other breakers of that name need not be told.

        Args:
            policy: fields of `Policy` that are to be different.

        Raises:
            RuntimeError: this is not the thread of the circuit's event loop.
            TypeError, ValueError: an argument is unknown, of the wrong type or out of range, and
                nothing has changed.
        """
        circuit = self._find()
        changed = changed_policy(circuit.latest_policy, **policy)
        if circuit is not self._circuit and not circuit.running:  # there is none here yet
            circuit = self._circuit = Circuit(circuit.name, changed)
        circuit.reconfigure(changed)

    def _force(self, state: CircuitState) -> None:
        circuit = self._find()
        if not circuit.running:
            raise RuntimeError(
                f"circuit {circuit.name!r} is not running here, so it has no state that could be"
                " set; ask a supervisor for it, as `supervisor.circuit(name)`, or use it first"
            )
        circuit.force(state)

    @overload
    async def call(
        self, func: Callable[..., Awaitable[R]], /, *args: Any, fallback: Any, **kwargs: Any
    ) -> R | Any: ...

    @overload
    async def call(
        self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    async def call(self, func: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Run `await func(*args, **kwargs)`, and report how it ended.

        By default, an `Exception` counts as a failure; a cancellation, or any other
        `BaseException`, counts as nothing. Either comes through unchanged. Waits for nothing but
        `func` except for its turn to be admitted when the circuit is not plainly closed.

        Args:
            func: an async function, or anything that returns an awaitable.
            args, kwargs: its arguments, but for `fallback`.
            fallback: a value, or a function of the error (async or not), that stands in for the
                result when the call is refused or fails; never when it is cancelled. A result
                that counts as a failure is handed over as a `FailedResultError`.

        Raises:
            CircuitBreakerOpenError: the circuit refused the call; `func` was not called.
            CallTimeoutError: the call has run for the `timeout` of the policy.
            CircuitCrashedError: the circuit's actor crashed on this very request.
            CircuitStoppedError: the circuit has been stopped, its supervisor's block was left,
                or it belongs to another event loop.
            PolicyConflictError: this breaker's name belongs to a circuit with another policy.
            TypeError: `func` is not an async function.
        """
        if "fallback" in kwargs:
            return await self._call_by(func, args, kwargs, kwargs.pop("fallback"))
        # The plainest case is written out here and in the other ways into a guard: a function
        # would cost as much as the guard.
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        if circuit.headroom > 0:
            circuit.started += 1
            grant: Ticket = circuit.grant
        else:
            grant = circuit.admit_at_once() or await circuit.ask()
            if circuit.watch is not None and circuit.watch.limits_time:
                return await _run(circuit, grant, func, args, kwargs)
        awaitable: Awaitable[Any] | None = None
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
        except BaseException as error:
            circuit.end(grant, error)
            raise
        if grant is circuit.grant:
            circuit.unsent_successes += 1
        else:
            circuit.succeed(grant, result)
        return result

    @overload
    async def retry(
        self, func: Callable[..., Awaitable[R]], /, *args: Any, fallback: Any, **kwargs: Any
    ) -> R | Any: ...

    @overload
    async def retry(
        self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    async def retry(self, func: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Do what `call` does, for another attempt of a call that has failed before.

        If the policy has a `retry_budget`, the attempt is taken from it in the same step in which
        it is admitted, and refused with the reason "retry_budget" once that is spent.

        Raises:
            CircuitBreakerOpenError, CallTimeoutError, CircuitCrashedError, CircuitStoppedError,
            PolicyConflictError, TypeError: see `call`.
        """
        fallback = kwargs.pop("fallback", RAISE)
        return await self._call_by(func, args, kwargs, fallback, retry=True)

    def waiting(self, wait: float, wait_for: WaitFor = "closed") -> WaitingBreaker:
        """Return the same circuit for callers who would rather wait than be refused at once.

        Args:
            wait: seconds, more than 0, after which each of them is refused all the same.
            wait_for: "closed": wait through further failed recoveries; "verdict": wait only
                while probes run, and be refused if they fail.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or out of range.
        """
        return WaitingBreaker(self, wait, wait_for)

    @property
    def limits_retries(self) -> bool:
        """Whether there is a budget of retries."""
        return self._circuit.latest_policy.retry_budget is not None

    async def spend_retry(self) -> None:
        """Take another attempt of a call that is under way from the budget, if there is one.

        For a loop of attempts that is guarded as a whole, by one call.

        Raises:
            CircuitBreakerOpenError: the budget is spent; its reason is "retry_budget".
            CircuitCrashedError, CircuitStoppedError, PolicyConflictError: see `call`.
        """
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        await circuit.spend_retry()

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
                grant: Ticket = circuit.grant
            else:
                grant = circuit.admit_at_once() or await circuit.ask()
                if circuit.watch is not None and circuit.watch.limits_time:
                    limited: R = await _run(circuit, grant, func, args, kwargs)
                    return limited
            try:
                awaitable = func(*args, **kwargs)
                del args, kwargs
                result = await awaitable
            except Exception as error:
                circuit.fail(grant, error)
                raise
            except BaseException as error:
                circuit.end(grant, error)
                raise
            if grant is circuit.grant:
                circuit.unsent_successes += 1
            else:
                circuit.succeed(grant, result)
            return result

        return guarded

    def call_from_thread(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the plain function `func(*args, **kwargs)` in this thread, guarded as by `call`.

        The event loop is the one whose `anyio.to_thread.run_sync` started the thread; in any
        other thread, it is the one that this breaker was used on last. If the host task was
        cancelled before `func` began, its cancellation is raised; after that, `func` runs to its
        end and is counted. If the event loop ends meanwhile, that is all that gets lost: the
        count. The `timeout` of the policy is not applied to it, since nothing can end a thread.

        Raises:
            CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError,
            PolicyConflictError: see `call`.
            RuntimeError: this is an event loop's own thread, or no running event loop is known.
            anyio.RunFinishedError: the event loop ended before the call was admitted.
            TypeError: `func` is an async function, or what it returned is to be awaited.
        """
        return threads.call(self._circuit, self._join, functools.partial(func, *args, **kwargs))

    async def acquire(self, *, wait: float | None = None, wait_for: WaitFor = "closed") -> Permit:
        """Return a permit for one call whose outcome is reported by hand.

        The `timeout` of the policy is not applied to it.

        Args:
            wait: seconds, more than 0, to wait for admission; None: be refused at once.
            wait_for: see `waiting`.

        Raises:
            CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError,
            PolicyConflictError, TypeError, ValueError: see `call`.
        """
        if wait is not None:
            check_seconds("wait", wait)
        check_choice("wait_for", wait_for, get_args(WaitFor))
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        return Permit(circuit, await circuit.admit(False, wait, wait_for))

    async def __aenter__(self) -> None:
        """Guard the block like `call` does; as many tasks at a time as like may be in it.

        Raises:
            CircuitBreakerOpenError, CircuitCrashedError, CircuitStoppedError,
            PolicyConflictError: see `call`.
        """
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        limit = None
        if circuit.headroom > 0:
            circuit.started += 1
            grant: Ticket = circuit.grant
        else:
            grant = circuit.admit_at_once() or await circuit.ask()
            if circuit.watch is not None and circuit.watch.limits_time:
                limit = TimeLimit.begin(circuit.policy_of(grant).timeout)
        _blocks.set((self, circuit, grant, limit, _blocks.get()))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = _blocks.get()
        if block is not None and block[0] is self:
            _, circuit, grant, limit, outer = block
            _blocks.set(outer)
        else:
            circuit, grant, limit = _leave_block(self)
        if exc is None and grant is circuit.grant:
            circuit.unsent_successes += 1
        elif limit is None:
            report(circuit, grant, exc)
        else:
            limit.end(functools.partial(report, circuit, grant), exc)

    async def _call_by(
        self,
        func: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        fallback: object = RAISE,
        *,
        retry: bool = False,
        wait: float | None = None,
        wait_for: WaitFor = "closed",
    ) -> Any:
        """Make a call with all that there is to choose."""
        circuit = self._circuit
        if circuit.thread != get_ident() or not circuit.loop_is_running():
            circuit = self._join()
        try:
            ticket = await circuit.admit(retry, wait, wait_for)
        except CircuitBreakerOpenError as refusal:
            return await _fall_back(fallback, refusal)
        return await _run(circuit, ticket, func, args, kwargs, fallback)

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
        host = _retired_by(before)
        if host is None:
            host = current.current_host()
            left = before.block_left or before.retired_by is not None
            if self._owned or (here and left and (host is None or host.is_default)):
                return before  # it refuses all calls, and says why
        if host is None:
            host = current.start_default()
        circuit = host.join(before.name, before.latest_policy)
        if circuit.running:  # and is not a stand-in while tasks are cancelled
            self._circuit = circuit
        return circuit

    def _find(self) -> Circuit:
        """Return the circuit to read: like `_join`, but nothing is started by reading.

        The figures of a circuit that was retired are gone: the next call begins a new one.
        """
        before = self._circuit
        retired = before.retired_by is not None
        if (self._owned and not retired) or loop_time() is None:
            return before
        here = before.loop.is_current()
        if (here and not before.stopped) or (self._owned and not here):
            return before
        host = _retired_by(before)
        if host is None:
            host = current.current_host()
        if host is not None and host.find(before.name):
            return self._join()
        return before if here and not retired else Circuit(before.name, before.latest_policy)


def _retired_by(circuit: Circuit) -> current.Host | None:
    """Return the supervisor that has retired `circuit`, while its block lasts, or None."""
    return next((host for host in current.hosts_here() if host is circuit.retired_by), None)


class WaitingBreaker:
    """A circuit for callers who are ready to wait to be admitted; see `CircuitBreaker.waiting`.

    Who came first is admitted first, as a probe or once the circuit is closed. Each caller has
    a deadline of its own, and may be cancelled meanwhile.
    """

    __slots__ = ("_breaker", "_wait", "_wait_for")

    def __init__(self, breaker: CircuitBreaker, wait: float, wait_for: WaitFor) -> None:
        self._breaker = breaker
        self._wait = check_seconds("wait", wait)
        check_choice("wait_for", wait_for, get_args(WaitFor))
        self._wait_for: WaitFor = wait_for

    @overload
    async def call(
        self, func: Callable[..., Awaitable[R]], /, *args: Any, fallback: Any, **kwargs: Any
    ) -> R | Any: ...

    @overload
    async def call(
        self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    async def call(self, func: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Do what `CircuitBreaker.call` does, after a wait if need be."""
        fallback = kwargs.pop("fallback", RAISE)
        return await self._breaker._call_by(  # pyright: ignore[reportPrivateUsage]
            func, args, kwargs, fallback, wait=self._wait, wait_for=self._wait_for
        )

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
            run = functools.partial(func, *args, **kwargs)  # its arguments may have any name
            result: R = await self.call(run)
            return result

        return guarded


async def _run(
    circuit: Circuit,
    ticket: Ticket,
    func: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fallback: object = RAISE,
) -> Any:
    """Make a call that has been admitted, with all that there may be to it."""
    awaitable: Awaitable[Any] | None = None
    try:
        awaitable = func(*args, **kwargs)
        result = await limited(awaitable, circuit.policy_of(ticket).timeout)
    except Exception as error:
        if type(error) is TypeError and _is_misuse(func, awaitable, error):
            circuit.settle(ticket, Outcome.IGNORED)
            error.add_note("CircuitBreaker.call needs an async function (`async def`)")
            raise
        if not isinstance(circuit.fail(ticket, error), Failure):
            raise
        return await _fall_back(fallback, error)
    except BaseException as error:
        circuit.end(ticket, error)
        raise
    if isinstance(circuit.succeed(ticket, result), Failure) and fallback is not RAISE:
        return await _fall_back(fallback, FailedResultError(circuit.name, result))
    return result


async def _fall_back(fallback: object, error: Exception) -> Any:
    """Return what stands in for a result.

    Raises:
        Exception: the error itself, if nothing does.
    """
    if fallback is RAISE:
        raise error
    if not callable(fallback):
        return fallback
    answer: object = fallback(error)
    return await answer if isawaitable(answer) else answer


def _is_misuse(func: object, returned: object, error: TypeError) -> bool:
    """Whether `func` is no async function, and was not called right, or returned no awaitable."""
    if is_async(func):
        return False
    if returned is None:
        return error.__traceback__ is not None and error.__traceback__.tb_next is None
    return not isawaitable(returned)


# The `async with` blocks that the running task is in, innermost first, as a linked list. One
# breaker serves many tasks at a time, so its blocks cannot be kept in the breaker.
_Block: TypeAlias = "tuple[CircuitBreaker, Circuit, Ticket, TimeLimit | None, _Block | None]"
_blocks: ContextVar[_Block | None] = ContextVar("supervisor.blocks", default=None)


def _leave_block(breaker: CircuitBreaker) -> tuple[Circuit, Ticket, TimeLimit | None]:
    """Take the innermost block of `breaker` out of the list, and return what it was given."""
    block = _blocks.get()
    inner: list[_Block] = []  # other breakers' blocks, when an async generator mixes the order
    while block is not None and block[0] is not breaker:
        inner.append(block)
        block = block[4]
    if block is None:
        raise RuntimeError(
            f"the block of {breaker!r} was entered in another context than it is left in;"
            " guard an async generator with a permit: `with await breaker.acquire():`"
        )
    _, circuit, grant, limit, outer = block
    for other in reversed(inner):
        outer = (*other[:4], outer)
    _blocks.set(outer)
    return circuit, grant, limit
