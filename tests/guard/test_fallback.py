"""`fallback=`: what stands in for a result, when it does, and what it never hides."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitStoppedError,
    Permit,
    PolicyConflictError,
    Supervisor,
)
from supervisor.circuit.record import Circuit
from supervisor.circuit.turn import take_turn
from supervisor.errors import CallTimeoutError, FailedResultError
from supervisor.machine import Acquire, Retry
from supervisor.policy.outcomes import Failure, Outcome
from tests.support.worlds import (
    Dependency,
    Down,
    fail,
    half_open,
    succeed,
)

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]


async def by_call(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> Any:
    return await breaker.call(*args, **kwargs)


async def by_waiting(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> Any:
    return await breaker.waiting(5).call(*args, **kwargs)


async def by_retry(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> Any:
    return await breaker.retry(*args, **kwargs)


every_call = pytest.mark.parametrize("call", [by_call, by_waiting, by_retry])


class Told:
    """A fallback that notes what it is told."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def plain(self, error: Exception) -> str:
        self.errors.append(error)
        return "instead"

    async def awaiting(self, error: Exception) -> str:
        await anyio.sleep(1)
        return self.plain(error)

    def returning_an_awaitable(self, error: Exception) -> Awaitable[str]:
        return self.awaiting(error)


each_kind = pytest.mark.parametrize("kind", ["plain", "awaiting", "returning_an_awaitable"])


class TestWhatItIs:
    """A value, or a function of the error."""

    @every_call
    @pytest.mark.parametrize("value", [None, 0, "text", [], {"a": 1}, (), Down()])
    async def test_a_value(self, call: Call, value: object) -> None:
        """Any at all that cannot be called, also None and an error."""
        breaker = CircuitBreaker("x", 1)
        assert await call(breaker, fail, fallback=value) is value
        assert await call(breaker, succeed, fallback=value) is value
        now = breaker.statistics()
        assert (now.failed, now.rejected, now.in_flight) == (1, 1, 0)

    @every_call
    @each_kind
    async def test_a_function(self, call: Call, kind: str) -> None:
        """It is told the very error, and may be async."""
        breaker, told, error = CircuitBreaker("x", 1), Told(), Down("down")

        async def function() -> str:
            raise error

        assert await call(breaker, function, fallback=getattr(told, kind)) == "instead"
        assert await call(breaker, succeed, fallback=getattr(told, kind)) == "instead"
        assert told.errors[0] is error
        assert isinstance(told.errors[1], CircuitBreakerOpenError)
        assert str(told.errors[1]).endswith("(last failure: Down)")

    @every_call
    async def test_a_class(self, call: Call) -> None:
        """It is called, too, as anything that can be."""
        assert await call(CircuitBreaker("x"), fail, fallback=str) == "down"

    @every_call
    async def test_arguments_are_passed_on(self, call: Call) -> None:
        """The function gets all but the fallback."""

        async def function(*args: int, **kwargs: int) -> tuple[Any, ...]:
            return args, kwargs

        breaker = CircuitBreaker("x")
        assert await call(breaker, function, 1, 2, fallback=None, wait=3, func=4) == (
            (1, 2),
            {"wait": 3, "func": 4},
        )


class TestWhen:
    """A refusal, a failure, a failed result."""

    @every_call
    async def test_not_for_a_success(self, call: Call) -> None:
        """The result comes through, and nobody is asked."""
        breaker = CircuitBreaker("x", failure_on_result=lambda _: False)
        assert await call(breaker, succeed, fallback=pytest.fail) == "fine"
        assert breaker.statistics().succeeded == 1

    @every_call
    @pytest.mark.usefixtures("seeded")
    @pytest.mark.parametrize(
        ("reason", "policy"),
        [
            ("forced_open", {}),
            ("open", {}),
            ("half_open", {}),
            ("ramp", {"ramp": 1e6, "ramp_start": 1e-9}),
            ("throttled", {"throttle": 1.01, "failure_threshold": 10**6}),
        ],
    )
    async def test_a_refusal_of_any_kind(
        self, call: Call, reason: str, policy: dict[str, Any]
    ) -> None:
        """Whatever its reason is; the function is not called."""
        breaker, told = CircuitBreaker("x", **{"failure_threshold": 1, **policy}), Told()
        probe = await make_refuse(breaker, reason)
        assert await call(breaker, pytest.fail, fallback=told.plain) == "instead"
        (refusal,) = told.errors
        assert isinstance(refusal, CircuitBreakerOpenError)
        assert refusal.reason == reason
        if probe is not None:
            probe.ignore()

    @every_call
    async def test_a_failure_counts_all_the_same(self, call: Call) -> None:
        """The fallback hides it from the caller, not from the circuit."""
        breaker = CircuitBreaker("x", 3)
        for _ in range(5):
            assert await call(breaker, fail, fallback="instead") == "instead"
        now = breaker.statistics()
        assert (now.state, now.failed, now.rejected) == ("open", 3, 2)

    @every_call
    async def test_a_timeout(self, call: Call) -> None:
        """It is a failure like any other."""
        breaker, told = CircuitBreaker("x", timeout=5), Told()
        assert await call(breaker, anyio.sleep_forever, fallback=told.plain) == "instead"
        assert isinstance(told.errors[0], CallTimeoutError)

    @every_call
    @each_kind
    @pytest.mark.parametrize(
        "policy",
        [{"failure_on_result": bool}, {"classify": lambda _: Failure("empty")}],
    )
    async def test_a_result_that_is_a_failure(
        self, call: Call, kind: str, policy: dict[str, Any]
    ) -> None:
        """It is handed over in an error, which says what it was and by which circuit."""
        breaker, told = CircuitBreaker("x", 1, **policy), Told()
        assert await call(breaker, succeed, fallback=getattr(told, kind)) == "instead"
        (error,) = told.errors
        assert isinstance(error, FailedResultError)
        assert (error.operation_name, error.result) == ("x", "fine")
        assert str(error) == "a call by circuit 'x' returned 'fine'"
        assert pickle.loads(pickle.dumps(error)).result == "fine"
        assert breaker.state == "open"

    @every_call
    async def test_without_one_a_failed_result_comes_through(self, call: Call) -> None:
        """It is the caller's, after all."""
        breaker = CircuitBreaker("x", failure_on_result=bool)
        assert await call(breaker, succeed) == "fine"
        assert breaker.statistics().failed == 1

    @every_call
    async def test_a_probe(self, call: Call) -> None:
        """What stands in for its result does not close the circuit."""
        async with half_open() as breaker:
            assert await call(breaker, fail, fallback="instead") == "instead"
            assert breaker.state == "open"

    @every_call
    @pytest.mark.parametrize(
        "policy",
        [{"ignore": Down}, {"failure_on": KeyError}, {"classify": lambda _: Outcome.CANCELLED}],
    )
    async def test_an_error_that_is_no_failure(self, call: Call, policy: dict[str, Any]) -> None:
        """It comes through: the dependency has answered, or nobody is to be told."""
        breaker = CircuitBreaker("x", **policy)
        with pytest.raises(Down):
            await call(breaker, fail, fallback=pytest.fail)
        now = breaker.statistics()
        assert (now.failed, now.in_flight) == (0, 0)


async def make_refuse(breaker: CircuitBreaker, reason: str) -> Permit | None:
    """Bring a circuit to refuse calls for that reason; return the probe that it may take."""
    await breaker.call(succeed)
    for _ in range(1000 if reason == "throttled" else 1):
        await breaker.call(fail, fallback=None)
    if reason == "forced_open":
        breaker.force_open()
    if reason not in ("half_open", "ramp"):
        return None
    await anyio.sleep(30)
    probe = await breaker.acquire()
    if reason == "half_open":
        return probe
    probe.succeed()
    return None


class TestNever:
    """What no fallback stands in for."""

    @every_call
    async def test_a_cancellation(self, call: Call) -> None:
        """It ends the scope, while the function runs and while the fallback does."""
        breaker = CircuitBreaker("x", 1, failure_on_cancel=True)
        with anyio.move_on_after(1) as scope:
            await call(breaker, anyio.sleep_forever, fallback=pytest.fail)
        assert scope.cancelled_caught
        assert breaker.state == "open"
        with anyio.move_on_after(9) as scope:
            await call(breaker, succeed, fallback=lambda _: anyio.sleep_forever())
        assert scope.cancelled_caught
        assert breaker.statistics().in_flight == 0

    @every_call
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    async def test_what_is_no_exception(self, call: Call, error: type[BaseException]) -> None:
        """An interrupt comes through, also if the policy calls it a failure."""

        async def function() -> str:
            raise error

        breaker = CircuitBreaker("x", 1, failure_on=(Exception, error))
        caught: BaseException | None = None
        try:
            await call(breaker, function, fallback=pytest.fail)
        except BaseException as raised:
            caught = raised
        assert type(caught) is error
        assert breaker.state == "open"

    @every_call
    async def test_misuse(self, call: Call) -> None:
        """What is no async function is pointed out."""
        breaker = CircuitBreaker("x", 1)
        for function in (lambda: 42, lambda: None, lambda _: succeed()):
            with pytest.raises(TypeError, match="needs an async function"):
                await call(breaker, function, fallback=pytest.fail)
        assert breaker.statistics().ignored == 3

    @every_call
    async def test_a_circuit_that_was_stopped(self, call: Call) -> None:
        """It has not refused the call for the dependency's sake."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
        with pytest.raises(CircuitStoppedError):
            await call(breaker, succeed, fallback=pytest.fail)

    @every_call
    async def test_another_policy(self, call: Call) -> None:
        """Two breakers of one name that do not agree are a mistake."""
        await CircuitBreaker("x").call(succeed)
        with pytest.raises(PolicyConflictError):
            await call(CircuitBreaker("x", 9), succeed, fallback=pytest.fail)

    @every_call
    async def test_a_crash_on_this_very_request(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not the dependency that has failed."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            breaker.force_open()
            circuit = supervisor.find("x")
            assert circuit is not None
            apply = type(circuit.machine).apply

            def crash_on_requests(machine: Any, message: Any) -> Any:
                if isinstance(message, Acquire | Retry):
                    raise ZeroDivisionError
                return apply(machine, message)

            await crash_on_asking(circuit, monkeypatch, crash_on_requests)
            with pytest.raises(CircuitCrashedError):
                await call(breaker, succeed, fallback=pytest.fail)
            assert breaker.statistics().restarts == 1


async def crash_on_asking(
    circuit: Circuit, monkeypatch: pytest.MonkeyPatch, crash: Callable[..., Any]
) -> None:
    """Let the actor crash on what it is asked next, and nobody be refused without asking it."""
    take_turn(circuit, lambda *_: None, circuit.loop.clock.time())
    circuit.refuse_until = -1.0
    monkeypatch.setattr(type(circuit.machine), "apply", crash)


class TestFunctionsThatRaise:
    """A fallback is the user's code."""

    @every_call
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_its_error_comes_through(self, call: Call, is_async: bool) -> None:
        """With the call's as context; the call is counted once, by its own error."""

        def raising(error: Exception) -> str:
            raise ZeroDivisionError

        async def raising_later(error: Exception) -> str:
            raise ZeroDivisionError

        breaker = CircuitBreaker("x", 1)
        for context in (Down, CircuitBreakerOpenError):
            with pytest.raises(ZeroDivisionError) as caught:
                await call(breaker, fail, fallback=raising_later if is_async else raising)
            assert isinstance(caught.value.__context__, context)
        now = breaker.statistics()
        assert (now.failed, now.rejected, now.in_flight) == (1, 1, 0)

    @every_call
    async def test_it_may_raise_the_error_again(self, call: Call) -> None:
        """As if it had not been there."""

        def raise_again(error: Exception) -> str:
            raise error

        breaker, error = CircuitBreaker("x", 9), Down("down")

        async def function() -> str:
            raise error

        with pytest.raises(Down) as caught:
            await call(breaker, function, fallback=raise_again)
        assert caught.value is error
        assert error.__context__ is None
        assert breaker.failure_count == 1

    @every_call
    async def test_it_may_call_another_circuit(self, call: Call) -> None:
        """Which may have a fallback of its own."""
        first, second = CircuitBreaker("first", 1), CircuitBreaker("second", 1)

        def ask_second(error: Exception) -> Awaitable[Any]:
            return call(second, fail, fallback="third")

        for _ in range(3):
            assert await call(first, fail, fallback=ask_second) == "third"
        assert (first.statistics().rejected, second.statistics().rejected) == (2, 2)


async def test_it_runs_outside_the_guard() -> None:
    """Neither its time nor its outcome is that of the call."""
    breaker = CircuitBreaker("x", 9, timeout=5, slow_call_duration=2)
    dependency = Dependency()
    dependency.let_go(Down())

    async def slow(error: Exception) -> str:
        assert breaker.statistics().in_flight == 0
        await anyio.sleep(60)
        return "instead"

    assert await breaker.call(dependency.call, fallback=slow) == "instead"
    assert (breaker.failure_count, breaker.statistics().failed) == (1, 1)


async def test_a_function_with_an_argument_of_that_name() -> None:
    """A decorated function keeps it; others can be given it beforehand."""

    async def function(*, fallback: str) -> str:
        return fallback

    breaker = CircuitBreaker("x")
    assert await breaker(function)(fallback="own") == "own"
    assert await breaker.waiting(5)(function)(fallback="own") == "own"
    for call in (by_call, by_waiting, by_retry):
        assert await call(breaker, partial(function, fallback="own")) == "own"


class TestDecorated:
    """`@breaker.with_fallback(...)`."""

    @pytest.mark.parametrize("waits", [False, True])
    async def test_what_stands_in(self, waits: bool) -> None:
        """A value or a function of the error, if the call fails or is refused; never else."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=2)
            guard = breaker.waiting(1) if waits else breaker
            told = Told()

            @guard.with_fallback("stale")
            async def price(item: str, *, fallback: bool) -> str:
                """Tell a price."""
                if fallback:
                    raise Down(item)
                return item

            @guard.with_fallback(told.awaiting)
            async def stock() -> str:
                raise Down("down")

            assert await price("tea", fallback=False) == "tea"
            assert await price("tea", fallback=True) == "stale"
            assert await stock() == "instead"
            assert breaker.state == "open"
            assert await price("tea", fallback=False) == "stale"
            assert await stock() == "instead"
            kinds = [type(error) for error in told.errors]
            assert kinds == [Down, CircuitBreakerOpenError]
            assert (price.__name__, price.__doc__) == ("price", "Tell a price.")

    async def test_the_arguments_of_the_call(self) -> None:
        """After the error, if they are asked for; also of methods, whatever their order."""

        async def remembered(error: Exception, *args: Any, **kwargs: Any) -> Any:
            return type(error), args, kwargs

        breaker = CircuitBreaker("x")

        class Shop:
            @breaker.with_fallback(remembered, arguments=True)
            async def price(self, item: str, *, currency: str) -> Any:
                raise Down(item + currency)

            @breaker.with_fallback(remembered, arguments=True)
            @staticmethod
            async def stock(item: str) -> Any:
                raise Down(item)

        shop = Shop()
        assert await shop.price("tea", currency="EUR") == (Down, (shop, "tea"), {"currency": "EUR"})
        assert await shop.stock("tea") == (Down, ("tea",), {})

    async def test_what_cannot_be_decorated(self) -> None:
        """It is told before any call."""
        breaker = CircuitBreaker("x")
        with pytest.raises(TypeError, match=r"with arguments must be a function, got 'stale'"):
            breaker.with_fallback("stale", arguments=True)
        with pytest.raises(TypeError, match="async"):
            breaker.with_fallback("stale")(len)  # type: ignore[arg-type]

    async def test_without_a_fallback(self) -> None:
        """The function takes its place: that shows at once, or when it is called."""
        breaker = CircuitBreaker("x")
        with pytest.raises(TypeError, match=r"^the fallback in `@breaker\.with_fallback"):

            @breaker.with_fallback
            async def stock() -> str:
                return "tea"

        @breaker.with_fallback
        async def price(item: str) -> str:
            return item

        with pytest.raises(TypeError, match=r"got 'tea'; the fallback in .* is missing$"):
            await price("tea")  # type: ignore[arg-type, misc]
