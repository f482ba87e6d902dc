"""What callers hold: a `CircuitBreaker`, which reads the lease, reports, and asks when it must."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, get_args, overload

from supervisor.arguments import (
    check_async,
    check_choice,
    check_name,
    check_seconds,
    decorate_within,
    is_method_of_class,
)
from supervisor.circuit import (
    Ticket,
    admit,
    admit_at_once,
    ask,
    end_once,
    report,
    spend_retry,
    succeed,
)
from supervisor.guard.block import (
    DONE,
    UNKEPT,
    Block,
    WayOut,
    enter_aside,
    getrefcount,
    leave_by_hand,
    remember,
    way_out,
)
from supervisor.guard.falling_back import FallingBack
from supervisor.guard.handle import CircuitHandle
from supervisor.guard.permit import Permit
from supervisor.guard.running import RAISE, is_misuse, make_call, misused, run_guarded
from supervisor.guard.synchronous import Synchronous
from supervisor.guard.waiting import WaitingBreaker
from supervisor.guard.wrapper import wrap
from supervisor.machine import WaitFor
from supervisor.policy import Outcome
from supervisor.settings import app_settings

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreaker(CircuitHandle, FallingBack, Synchronous):
    """Guards calls to one dependency, and refuses them while that dependency is failing.

    It may be built anywhere, also where no event loop runs. On first use it joins the current
    supervisor of the running event loop, and shares the circuit of its name there with every
    other breaker of that name. State stays on its event loop, unless circuits are kept.

    Args:
        name: the circuit's name, 1 to 255 printable characters.
        failure_threshold: consecutive failures that open the circuit, 1 or more; 3 by default.
        recovery_timeout: seconds that it stays open, more than 0; 30 by default.
        success_threshold: successful probes that close it again, 1 or more; 1 by default. It is
            also how many probes may run at once, unless `probes` says otherwise.
        policy: a whole policy, instead of the default one, or that of the subclass.
        fields: any other field of `Policy`. Fields that are given go before those of `policy`.

    Raises:
        TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
    """

    __slots__ = ()

    _entering: Block | None

    def __init_subclass__(cls, **policy: Any) -> None:  # as `CircuitHandle` says
        super().__init_subclass__(**policy)
        enters_itself = cls.__aenter__ is not CircuitBreaker.__aenter__  # perhaps after a wait
        if enters_itself and cls.__aexit__ is CircuitBreaker.__aexit__:
            cls.__aexit__ = leave_by_hand  # type: ignore[method-assign, assignment]

    @classmethod
    def from_settings(cls, name: str) -> Self:
        """Return one that goes by what `app_settings.circuit_breaker` says of that name now.

        Raises:
            SettingsError, TypeError, ValueError: the settings, or the name, cannot be right.
        """
        name = check_name(name)
        return cls(name, policy=app_settings.circuit_breaker.policy(name))

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
            return await make_call(await self._here(), func, args, kwargs, kwargs.pop("fallback"))
        # The plainest case is written out here and in the other ways into a guard: a function
        # would cost as much as the guard.
        circuit = self._circuit
        if (home := circuit.home).where() != home.place or home.turn not in home.turns:
            circuit = await self._begin()
        if circuit.headroom > 0:
            began = circuit.started = circuit.started + 1
            grant: Ticket = circuit.grant
        else:
            ticket = admit_at_once(circuit)
            if ticket is None or (circuit.allowance and circuit.allowance.limits_time):
                return await run_guarded(circuit, ticket, func, args, kwargs)
            grant, began = ticket, circuit.started
        awaitable: Awaitable[Any] | None = None
        try:
            awaitable = func(*args, **kwargs)
            del args, kwargs  # or many calls under way would crowd each other out of the caches
            result = await awaitable
        except BaseException as error:
            circuit.ending += 1
            if type(error) is TypeError and is_misuse(func, awaitable, error):
                report(circuit, grant, Outcome.IGNORED)
                raise misused(func) from error
            end_once(circuit, grant, error, began)
            raise
        if grant is circuit.grant:
            circuit.unsent_successes += 1
        else:
            circuit.ending += 1
            succeed(circuit, grant, result, began)
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
            CircuitBreakerOpenError: the circuit, or the budget, refused the call.
            Exception: any other error of `call`.
        """
        fallback = kwargs.pop("fallback", RAISE)
        return await make_call(await self._here(), func, args, kwargs, fallback, retry=True)

    def waiting(self, wait: float, wait_for: WaitFor = "closed") -> WaitingBreaker:
        """Return the same circuit for callers who would rather wait than be refused at once.

        In a block of `supervisor.deadline`, they are refused as soon as the circuit cannot be back
        before its end.

        Args:
            wait: seconds, more than 0, after which each of them is refused all the same.
            wait_for: "closed": wait through further failed recoveries; "verdict": wait only
                while probes run, and be refused if they fail.

        Raises:
            TypeError, ValueError: an argument is of the wrong type or out of range.
        """
        return WaitingBreaker(self, wait, wait_for)

    async def spend_retry(self) -> None:
        """Take another attempt of a call that is under way from the budget, if there is one.

        For a loop of attempts that is guarded as a whole, by one call.

        Raises:
            CircuitBreakerOpenError: the budget is spent; its reason is "retry_budget".
            CircuitCrashedError, CircuitStoppedError, PolicyConflictError: see `call`.
        """
        await spend_retry(await self._here())

    def __call__(
        self, func: Callable[P, Coroutine[Any, Any, R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        """Decorate an async function or method, so that each call of it is guarded.

        Raises:
            TypeError: `func` is not an async function.
        """
        if is_method_of_class(func):
            return decorate_within(func, self)
        check_async("a circuit breaker", func)
        return wrap(self, func)

    async def acquire(self, *, wait: float | None = None, wait_for: WaitFor = "closed") -> Permit:
        """Return a permit for one call whose outcome is reported by hand.

        The `timeout` of the policy is not applied to it.

        Args:
            wait: seconds, more than 0, to wait for admission; None: be refused at once.
            wait_for: see `waiting`.

        Raises:
            CircuitBreakerOpenError: the circuit refused the call.
            TypeError, ValueError: an argument is of the wrong type or out of range.
            Exception: any other error of `call`.
        """
        if wait is None and wait_for == "closed":
            circuit = self._circuit
            if (home := circuit.home).where() != home.place or home.turn not in home.turns:
                circuit = await self._begin()
            return Permit(circuit, admit_at_once(circuit) or await ask(circuit))
        if wait is not None:
            check_seconds("wait", wait)
        check_choice("wait_for", wait_for, get_args(WaitFor))
        circuit = await self._here()
        return Permit(circuit, await admit(circuit, False, wait, wait_for))

    def __aenter__(self) -> Awaitable[None]:
        """Guard the block like `call` does; as many tasks at a time as like may be in it.

        Raises:
            CircuitBreakerOpenError: the circuit refused the call.
            Exception: any other error of `call`.
        """
        block = self._entering
        if block is not None:
            kept = block.thread == get_ident() and getrefcount(self._entering) > UNKEPT
            block = block if kept else None  # or another thread has looked in between
            self._entering = None
        circuit = self._circuit
        if (home := circuit.home).where() != home.place or home.turn not in home.turns:
            return self._enter_first(block)
        if circuit.headroom > 0 and block is not None:
            block.circuit, block.grant = circuit, circuit.grant
            block.began = circuit.started = circuit.started + 1
            return DONE
        ticket = admit_at_once(circuit)
        if ticket is None or (circuit.allowance and circuit.allowance.limits_time):
            return enter_aside(self, block, circuit, ticket)
        block = block or remember(self)
        block.circuit, block.grant, block.began = circuit, ticket, circuit.started
        return DONE

    if TYPE_CHECKING:

        def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc: BaseException | None,
            traceback: TracebackType | None,
        ) -> Awaitable[None]: ...

    else:
        __aexit__ = WayOut(way_out)

    async def _enter_first(self, block: Block | None) -> None:
        """Enter a block, once the circuit of this event loop has been joined."""
        circuit = await self._begin()
        await enter_aside(self, block, circuit, await admit(circuit, False, None, "closed"))

    @property
    def limits_retries(self) -> bool:
        """Whether there is a budget of retries."""
        return self._circuit.latest_policy.retry_budget is not None

    def has_actor_here(self) -> bool:
        """Whether its circuit has an actor, on the event loop that this very code runs on."""
        home = self._circuit.home
        return home.where() == home.place and home.turn in home.turns
