"""A call that goes to the first of several circuits that admits it: to the second model, say."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

import anyio

from supervisor.arguments import check_async, check_name, check_seconds, shown
from supervisor.errors import CircuitBreakerOpenError, NoneHealthyError
from supervisor.guard import CircuitBreaker, Complete, Opened, Verdict, WaitingBreaker
from supervisor.loop import deadline_here
from supervisor.machine import WaitFor
from supervisor.registry import BreakerByName
from supervisor.retry.circuits import CircuitOfLoop, GivenBreaker
from supervisor.retry.strategies import EARLY_WAKE
from supervisor.retry.worth import RetryOn, worth_by

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Member = str | CircuitBreaker
Guard = CircuitBreaker | WaitingBreaker

NEVER: Final = math.inf

WAITS_FOR: Final[Mapping[str, WaitFor]] = {"half_open": "verdict", "ramp": "closed"}
"""What a call waits for, by why it was refused, where no time tells when it is worth asking."""


@dataclass(frozen=True, slots=True)
class _PassedOver:
    """Why one was passed over, and from when on it is worth asking again, if ever."""

    error: Exception
    again_at: float


class FirstHealthy:
    """Several circuits for one kind of call, which goes to the first that admits it.

    They are asked one after the other: two calls are never made at a time. When all have refused,
    a call may wait until one comes back.

    Args:
        members: names of circuits, or breakers, in the order in which they are asked; or one
            mapping of them to weights, each more than 0. Then chance draws the order of each call,
            and who comes first in proportion to the weights. (Efraimidis and Spirakis, *Weighted
            random sampling with a reservoir*, 2006)
        move_on: the errors after which the next one is asked: types, a plain function, or a list of
            these; by default what `is_retryable_error` says. All others are raised at once.
        wait: seconds, more than 0, for which a call waits until one comes back; None: it does not.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range, or a name comes
            twice.
    """

    def __init__(
        self,
        *members: Member | Mapping[str, float] | Mapping[CircuitBreaker, float],
        move_on: RetryOn | None = None,
        wait: float | None = None,
    ) -> None:
        self._circuits, self._weights = _circuits_of(members)
        self._moves_on_after = worth_by(move_on, "move_on")
        self._wait = None if wait is None else check_seconds("wait", wait)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the circuits."""
        return tuple(circuit.name for circuit in self._circuits)

    async def call(
        self,
        func: Callable[Concatenate[str, P], Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call `func(name, *args, **kwargs)`, with the name of the first circuit that admits it.

        Raises:
            NoneHealthyError: each one has refused, or has failed by an error to move on after.
            Exception: any other error of `func`, or of `CircuitBreaker.call`.
        """
        check_async("FirstHealthy.call", func)

        async def ask(guard: Guard, name: str) -> R:
            return await guard.call(func, name, *args, **kwargs)

        return await self._first(ask)

    @asynccontextmanager
    async def stream(
        self,
        func: Callable[..., Opened[T] | Awaitable[Opened[T]]],
        /,
        *args: Any,
        verdict: Verdict = "end",
        complete: Complete | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[AsyncIterator[T], None]:
        """Open a stream by `func(name, *args, **kwargs)`, with the first circuit that admits it.

        It is used as `CircuitBreaker.stream` is, and has its arguments. The first item is waited
        for when the block is entered: what fails before it lets the next one be asked. What fails
        later is raised, since a stream that has begun cannot be begun again unnoticed.

        Raises:
            NoneHealthyError: each one has refused, or has failed by an error to move on after.
            Exception: any other error of `func`, or of `CircuitBreaker.stream`.
        """

        async def begin(guard: Guard, name: str) -> tuple[AsyncIterator[T], AsyncExitStack]:
            options: dict[str, Any] = {"verdict": verdict, "complete": complete}
            async with AsyncExitStack() as opened:
                items = await opened.enter_async_context(
                    guard.stream(func, name, *args, **options, **kwargs)
                )
                try:
                    first = [await anext(items)]
                except StopAsyncIteration:
                    first = []
                return _Begun(first, items), opened.pop_all()

        items, opened = await self._first(begin)
        async with opened:
            yield items

    async def _first(self, attempt: Callable[[Guard, str], Awaitable[R]]) -> R:
        """Make attempts, one after the other, until one is admitted and is not to be moved on from.

        Raises:
            NoneHealthyError: there is none.
            Exception: any other error of an attempt.
        """
        ends = min(anyio.current_time() + (self._wait or 0.0), deadline_here())
        passed_over: dict[str, _PassedOver] = {}
        try:
            circuits = self._in_order()
            while True:
                for circuit in circuits:
                    guard = _guard_of(circuit, passed_over, ends)
                    if guard is None:
                        continue
                    try:
                        return await attempt(guard, circuit.name)
                    except Exception as error:
                        if not self._pass_over(circuit.name, error, passed_over):
                            raise
                if not await _one_comes_back(passed_over, ends):
                    raise _none_healthy(passed_over)
        finally:
            passed_over.clear()  # its errors have this frame in their tracebacks

    def _in_order(self) -> list[CircuitOfLoop]:
        circuits, weights = self._circuits, self._weights
        if weights is None:
            return circuits
        # By the logarithm of each draw: the draws are all 0 by small weights, and 1 by large ones.
        draws = [random.expovariate(weight) for weight in weights]
        return [circuits[number] for number in sorted(range(len(draws)), key=draws.__getitem__)]

    def _pass_over(self, name: str, error: Exception, passed_over: dict[str, _PassedOver]) -> bool:
        """Note why a circuit is passed over; false if its error is to be raised instead."""
        if isinstance(error, CircuitBreakerOpenError) and error.operation_name == name:
            passed_over[name] = _PassedOver(error, _again_at(error))
        elif self._moves_on_after(error):
            passed_over[name] = _PassedOver(error, NEVER)
        else:
            return False
        return True


class _Begun(AsyncIterator[T], Generic[T]):
    """A stream whose first item has been waited for, if it has one."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: list[T], rest: AsyncIterator[T]) -> None:
        self._first = first
        self._rest = rest

    async def __anext__(self) -> T:
        return self._first.pop() if self._first else await anext(self._rest)


def _again_at(refusal: CircuitBreakerOpenError) -> float:
    """Return from when on a circuit that has refused is worth asking again."""
    if refusal.reason == "open":
        return anyio.current_time() + refusal.retry_after + EARLY_WAKE
    return anyio.current_time() if refusal.reason in WAITS_FOR else NEVER


def _guard_of(
    circuit: CircuitOfLoop, passed_over: Mapping[str, _PassedOver], ends: float
) -> Guard | None:
    """Return what a call is made by; None: the circuit is not worth asking now."""
    before = passed_over.get(circuit.name)
    if before is None:
        return circuit.get()
    now = anyio.current_time()
    if before.again_at > now:
        return None
    wait_for = WAITS_FOR.get(cast("CircuitBreakerOpenError", before.error).reason)
    if wait_for is None:
        return circuit.get()
    others = [each.again_at for each in passed_over.values() if each.again_at > now]
    until = min([ends, *others])  # then another one is worth asking
    return circuit.get().waiting(until - now, wait_for) if until > now else None


async def _one_comes_back(passed_over: Mapping[str, _PassedOver], ends: float) -> bool:
    """Wait until one is worth asking again; return whether that is before the end."""
    soonest, now = min(each.again_at for each in passed_over.values()), anyio.current_time()
    if max(soonest, now) >= ends:
        return False
    await anyio.sleep(max(0.0, soonest - now))
    return True


def _none_healthy(passed_over: Mapping[str, _PassedOver]) -> NoneHealthyError:
    """Return what is raised when nobody is left; its cause is the last failure, or refusal."""
    none = NoneHealthyError({name: each.error for name, each in passed_over.items()})
    errors = list(none.passed_over.values())
    failures = [error for error in errors if not isinstance(error, CircuitBreakerOpenError)]
    none.__cause__ = (failures or errors)[-1]
    return none


def _circuits_of(members: tuple[object, ...]) -> tuple[list[CircuitOfLoop], list[float] | None]:
    """Return the circuits of all members, and their weights if they have any."""
    weights: list[float] | None = None
    if len(members) == 1 and isinstance(members[0], Mapping):
        weighted = cast("Mapping[object, object]", members[0])
        members = tuple(weighted)
        weights = [_weight(member, weight) for member, weight in weighted.items()]
    if not members:
        raise ValueError("FirstHealthy needs one circuit at least, or better two")
    circuits = [_circuit(member) for member in members]
    names = [circuit.name for circuit in circuits]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"FirstHealthy has circuit {shown(name)} twice")
    return circuits, weights


def _circuit(member: object) -> CircuitOfLoop:
    if isinstance(member, CircuitBreaker):
        return GivenBreaker(member)
    if not isinstance(member, str):
        raise TypeError(f"FirstHealthy needs names of circuits, or breakers, got {shown(member)}")
    return BreakerByName("FirstHealthy", check_name(member), None, {})


def _weight(member: object, weight: object) -> float:
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise TypeError(f"the weight of {shown(member)} must be a number, got {shown(weight)}")
    if not 0 < weight <= sys.float_info.max:
        raise ValueError(
            f"the weight of {shown(member)} must be more than 0 and finite, got {shown(weight)}"
        )
    return float(weight)
