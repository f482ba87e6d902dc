"""What callers hold: every way to guard a call, and what each kind of ending counts as."""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Generator
from dataclasses import FrozenInstanceError
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitStoppedError,
    PermitSettledError,
    Policy,
    PolicyConflictError,
    Supervisor,
)
from tests.support.worlds import (
    Dependency,
    Down,
    Guarded,
    collect_garbage,
    every_way,
    fail,
    fail_times,
    half_open,
    is_refused,
    succeed,
)

pytestmark = pytest.mark.anyio


class TestEveryWayIn:
    """`call`, block, decorator and permit count alike."""

    @every_way
    async def test_success(self, guarded: Guarded) -> None:
        """The result comes through, and counts as a success."""
        breaker = CircuitBreaker("x", failure_threshold=2)
        await fail_times(breaker, 1)
        assert await guarded(breaker, succeed) == "fine"
        assert (breaker.failure_count, breaker.statistics().succeeded) == (0, 1)

    @every_way
    async def test_failure(self, guarded: Guarded) -> None:
        """The very exception comes through, and counts as a failure."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        error = Down("down")

        async def function() -> str:
            raise error

        with pytest.raises(Down) as caught:
            await guarded(breaker, function)
        assert caught.value is error
        assert breaker.state is CircuitState.OPEN

    @every_way
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    async def test_what_is_no_exception_counts_as_nothing(
        self, guarded: Guarded, error: type[BaseException]
    ) -> None:
        """A `BaseException` that is no `Exception` is counted as cancelled."""
        breaker = CircuitBreaker("x", failure_threshold=1)

        async def function() -> str:
            raise error

        caught = None
        try:
            await guarded(breaker, function)
        except BaseException as exc:
            caught = exc
        assert type(caught) is error
        statistics = breaker.statistics()
        assert (statistics.state, statistics.cancelled, statistics.failed) == ("closed", 1, 0)

    @every_way
    async def test_a_probe(self, guarded: Guarded) -> None:
        """A probe closes the circuit by succeeding, and opens it by failing."""
        async with half_open(recovery_timeout=5) as breaker:
            with pytest.raises(Down):
                await guarded(breaker, fail)
            assert breaker.state is CircuitState.OPEN
            await anyio.sleep(5)
            await guarded(breaker, succeed)
            assert breaker.state is CircuitState.CLOSED

    @every_way
    async def test_nothing_waits_while_closed(self, guarded: Guarded) -> None:
        """Once its actor runs, a closed circuit adds no checkpoint to a call."""
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        others = 0

        async def other() -> None:
            nonlocal others
            others += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            for _ in range(100):
                await guarded(breaker, succeed)
            assert others == 0


class TestCall:
    """`CircuitBreaker.call`."""

    async def test_arguments_are_passed_on(self) -> None:
        """Positional and keyword arguments reach the function, even one named `func`."""

        async def function(*args: int, **kwargs: int) -> tuple[Any, ...]:
            return args, kwargs

        breaker = CircuitBreaker("x")
        assert await breaker.call(function, 1, 2, func=3, self=4) == (
            (1, 2),
            {"func": 3, "self": 4},
        )

    async def test_whatever_returns_an_awaitable_can_be_called(self) -> None:
        """Partials, lambdas, bound methods and callable objects will do."""

        class Client:
            async def method(self, x: int) -> int:
                return x

            async def __call__(self, x: int) -> int:
                return x

        breaker = CircuitBreaker("x")
        client = Client()
        for function in (
            functools.partial(client.method, 7),
            lambda: client.method(7),
            functools.partial(client, 7),
        ):
            assert await breaker.call(function) == 7
        assert await breaker.call(client.method, 7) == 7

    async def test_a_function_that_is_not_async_is_pointed_out(self) -> None:
        """The error says what is wrong, and the mistake does not count against the dependency."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        with pytest.raises(TypeError, match=r"got <function .*; a plain function .*\.sync`"):
            await breaker.call(lambda: 42)  # type: ignore[arg-type, return-value]
        statistics = breaker.statistics()
        assert (statistics.state, statistics.failed, statistics.ignored) == ("closed", 0, 1)

    async def test_a_call_that_does_not_fit_is_pointed_out(self) -> None:
        """Wrong arguments, or nothing to await: the mistake does not count either."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        for function in (lambda _: succeed(), lambda: None):
            with pytest.raises(TypeError, match=r"needs an async function.*, got") as caught:
                await breaker.call(function)  # type: ignore[arg-type]
            assert isinstance(caught.value.__cause__, TypeError)  # which says what does not fit
        assert breaker.statistics().ignored == 2

    async def test_a_type_error_of_the_function_is_a_failure(self) -> None:
        """Only the breaker's own call is looked at, not what happens inside the function."""

        async def function(*, x: int = 0) -> None:
            raise TypeError("inside", x)

        def raising() -> None:
            len(None)  # type: ignore[arg-type]

        class Waiting:
            def __await__(self) -> Generator[None, None, str]:
                raise TypeError("inside")
                yield

        class NotWaiting:
            def __await__(self) -> int:  # so awaiting it raises, with no frame of its own
                return 1

        for call in (
            lambda x=1: NotWaiting() if x else None,
            function,
            functools.partial(function, x=1),
            functools.partial(function, y=1),
            lambda x=1: function(x=x),
            raising,
            Waiting,
        ):
            breaker = CircuitBreaker("x", failure_threshold=1)
            with pytest.raises(TypeError) as caught:
                await breaker.call(call)  # type: ignore[arg-type, type-var]
            assert not hasattr(caught.value, "__notes__")
            assert breaker.state is CircuitState.OPEN
            breaker.reset()

    async def test_nested_calls_of_one_breaker(self) -> None:
        """A guarded function may use the same breaker."""
        breaker = CircuitBreaker("x")
        assert await breaker.call(breaker.call, succeed) == "fine"
        assert breaker.statistics().succeeded == 2


class TestDecorator:
    """`@breaker`."""

    async def test_the_function_stays_what_it_was(self) -> None:
        """Name, docstring, signature and being async survive."""

        @CircuitBreaker("x")
        async def function(x: int, *, y: str = "y") -> str:
            """What it does."""
            return y * x

        assert function.__name__ == "function"
        assert function.__doc__ == "What it does."
        assert list(inspect.signature(function).parameters) == ["x", "y"]
        assert inspect.iscoroutinefunction(function)
        assert await function(2, y="z") == "zz"

    async def test_methods(self) -> None:
        """A method gets its `self`."""
        breaker = CircuitBreaker("x")

        class Client:
            @breaker
            async def method(self, x: int) -> tuple[Client, int]:
                return self, x

        client = Client()
        assert await client.method(1) == (client, 1)

    def test_only_async_functions(self) -> None:
        """Anything else is refused when it is decorated, with advice for generators."""
        breaker = CircuitBreaker("x")

        async def generator() -> AsyncIterator[int]:
            yield 1

        with pytest.raises(TypeError, match=r"^a circuit breaker needs an async function"):
            breaker(lambda: 1)  # type: ignore[arg-type, return-value]
        with pytest.raises(TypeError, match="streaming"):
            breaker(generator)  # type: ignore[arg-type]


class TestBlock:
    """`async with breaker`."""

    async def test_many_tasks_at_once(self) -> None:
        """One breaker serves overlapping blocks of several tasks, each with its own outcome."""
        breaker = CircuitBreaker("x", failure_threshold=100)

        async def task(number: int) -> None:
            try:
                async with breaker:
                    await anyio.sleep(number % 7)
                    if number % 2:
                        raise Down
            except Down:
                pass

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(task, number)
        statistics = breaker.statistics()
        assert (statistics.succeeded, statistics.failed, statistics.in_flight) == (10, 10, 0)

    async def test_blocks_of_several_breakers(self) -> None:
        """Nested blocks each settle their own call, the same breaker's twice."""
        first, second = CircuitBreaker("first"), CircuitBreaker("second")
        async with first, second, first:
            assert first.statistics().in_flight == 2
        assert first.statistics().succeeded == 2
        assert second.statistics().succeeded == 1

    async def test_blocks_that_overlap_without_nesting(self) -> None:
        """An async generator's block may outlive a block entered after it."""
        outer, inner = CircuitBreaker("outer"), CircuitBreaker("inner")

        async def generator() -> AsyncIterator[int]:
            async with outer:
                yield 1
                yield 2

        numbers = generator()
        assert await anext(numbers) == 1
        async with inner:
            assert await anext(numbers) == 2
            with pytest.raises(StopAsyncIteration):
                await anext(numbers)
            assert (outer.statistics().succeeded, inner.statistics().in_flight) == (1, 1)
        assert inner.statistics().succeeded == 1

    async def test_leaving_in_another_context_is_pointed_out(self) -> None:
        """What is entered by hand in one task, and left in another, cannot be matched."""
        breaker = CircuitBreaker("x")
        message = ""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.__aenter__)
        try:
            await breaker.__aexit__(None, None, None)
        except RuntimeError as error:
            message = str(error)
        assert message == (
            "the block of <CircuitBreaker 'x' closed> was entered in another context than it is"
            " left in; guard an async generator by `@breaker.streaming`, and what begins in one"
            " task, or cell of a notebook, and ends in another by `permit = await"
            " breaker.acquire()`"
        )


class TestPermit:
    """`await breaker.acquire()`."""

    async def test_settled_by_hand(self) -> None:
        """Each method reports its outcome once."""
        breaker = CircuitBreaker("x", failure_threshold=9)
        for settle in ("succeed", "fail", "ignore"):
            permit = await breaker.acquire()
            assert not permit.settled
            assert "held" in repr(permit)
            getattr(permit, settle)()
            assert permit.settled
            assert "settled" in repr(permit)
            with pytest.raises(PermitSettledError, match="'x'"):
                getattr(permit, settle)()
        statistics = breaker.statistics()
        assert (statistics.succeeded, statistics.failed, statistics.ignored) == (1, 1, 1)
        assert (statistics.started, statistics.in_flight) == (3, 0)

    async def test_a_failure_may_come_with_its_error(self) -> None:
        """Its type is what a refusal shows."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        (await breaker.acquire()).fail(Down("503 from upstream"))
        with pytest.raises(CircuitBreakerOpenError, match=r"\(last failure: Down\)"):
            await breaker.acquire()

    async def test_a_failure_without_an_error(self) -> None:
        """A refusal then says nothing of the last failure."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        (await breaker.acquire()).fail()
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            await breaker.acquire()
        assert refusal.value.last_failure is None

    async def test_a_block_leaves_an_outcome_that_is_known(self) -> None:
        """What was settled inside the block stays."""
        breaker = CircuitBreaker("x", failure_threshold=9)
        with await breaker.acquire() as permit:
            permit.fail()
        statistics = breaker.statistics()
        assert (statistics.failed, statistics.succeeded) == (1, 0)

    @pytest.mark.parametrize("slow", [None, 9.0])
    async def test_its_policy(self, slow: float | None) -> None:
        """Is that by which it was admitted, and then the circuit's."""
        then = Policy(failure_threshold=7, slow_call_duration=slow)
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", then)
            permit = await breaker.acquire()
            breaker.reconfigure(failure_threshold=8)
            await anyio.sleep(1)
            assert permit.policy == then
            permit.ignore()
            assert permit.policy == breaker.policy != then

    async def test_a_probe_that_is_ignored_hands_its_permit_on(self) -> None:
        """Ignoring a probe keeps the circuit half-open, and lets the next one try."""
        async with half_open() as breaker:
            permit = await breaker.acquire()
            assert await is_refused(breaker)
            permit.ignore()
            assert not await is_refused(breaker)

    async def test_a_forgotten_one_is_reported(self) -> None:
        """A permit that is dropped unsettled warns, as an unclosed file does."""
        breaker = CircuitBreaker("x")
        permit = await breaker.acquire()
        with pytest.warns(ResourceWarning, match="'x' held> was never settled"):
            del permit
            collect_garbage()


class TestReading:
    """What can be read, at any time."""

    def test_outside_an_event_loop(self) -> None:
        """A breaker that was never used shows its policy and a closed circuit."""
        breaker = CircuitBreaker("x", 5, 60, 2, probe_timeout=90)
        assert (breaker.name, breaker.failure_threshold) == ("x", 5)
        assert (breaker.recovery_timeout, breaker.success_threshold) == (60.0, 2)
        assert breaker.probe_timeout == 90.0
        assert (breaker.state, breaker.failure_count, breaker.retry_after) == ("closed", 0, 0.0)
        assert repr(breaker) == "<CircuitBreaker 'x' closed>"
        breaker.reset()
        assert not breaker.statistics().running

    def test_the_defaults(self) -> None:
        """3 failures, 30 seconds, 1 success, 60 seconds for a probe."""
        breaker = CircuitBreaker("x")
        assert (breaker.failure_threshold, breaker.recovery_timeout) == (3, 30.0)
        assert (breaker.success_threshold, breaker.probe_timeout) == (1, 60.0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"name": ""}, "name must have 1 to 255 printable"),
            ({"failure_threshold": 0}, "failure_threshold must be at least 1, got 0"),
            ({"recovery_timeout": float("nan")}, "recovery_timeout must be more than 0.*nan"),
            ({"success_threshold": -1}, "success_threshold must be at least 1, got -1"),
            ({"probe_timeout": 0}, "probe_timeout must be more than 0.*got 0"),
        ],
    )
    def test_bad_arguments(self, arguments: dict[str, Any], message: str) -> None:
        """The error names the argument, the range and the value."""
        with pytest.raises(ValueError, match=message):
            CircuitBreaker(**{"name": "x", **arguments})

    async def test_reading_starts_nothing(self) -> None:
        """Only a call joins a supervisor."""
        breaker = CircuitBreaker("x")
        async with Supervisor() as supervisor:
            assert (breaker.state, breaker.statistics().running) == ("closed", False)
            breaker.reset()
            assert "x" not in supervisor

    async def test_every_report_is_visible_at_once(self) -> None:
        """Each read shows all that has been reported, though no task has run in between."""
        breaker = CircuitBreaker("x", failure_threshold=1000)
        await breaker.call(succeed)
        for number in range(1, 500):
            await fail_times(breaker, 1)
            assert breaker.failure_count == number
            assert breaker.statistics().failed == number

    async def test_reading_does_not_disturb_the_count(self) -> None:
        """Reads replay what is in the mailbox on a copy."""
        breaker = CircuitBreaker("x", failure_threshold=3)
        for _ in range(2):
            await fail_times(breaker, 1)
            for _ in range(10):
                assert breaker.state is CircuitState.CLOSED
        await fail_times(breaker, 1)
        assert [breaker.state for _ in range(10)] == [CircuitState.OPEN] * 10

    async def test_statistics_are_a_frozen_record_that_adds_up(self) -> None:
        """What was started has succeeded, failed, ... been rejected, or is in flight."""
        breaker = CircuitBreaker("x", failure_threshold=2)
        held = await breaker.acquire()
        (await breaker.acquire()).ignore()
        await breaker.call(succeed)
        with anyio.CancelScope() as scope:
            async with breaker:
                scope.cancel()
                await anyio.sleep(1)
        await fail_times(breaker, 2)
        assert await is_refused(breaker)
        now = breaker.statistics()
        assert (now.started, now.in_flight) == (7, 1)
        assert (now.succeeded, now.failed, now.ignored) == (1, 2, 1)
        assert (now.cancelled, now.rejected) == (1, 1)
        assert now.retry_after == pytest.approx(30)
        assert now.last_failure == "Down: down"
        assert pickle.loads(pickle.dumps(now)) == now
        with pytest.raises(FrozenInstanceError):
            now.started = 0  # type: ignore[misc]
        held.succeed()
        assert breaker.statistics().stale == 1


class TestReset:
    """`breaker.reset()`."""

    async def test_it_shows_on_the_next_line(self) -> None:
        """The state and every later admission know of it at once."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        breaker.reset()
        assert (breaker.state, breaker.failure_count) == ("closed", 0)
        assert not await is_refused(breaker)

    async def test_calls_in_flight_count_no_more(self) -> None:
        """What was running before a reset cannot open the circuit after it."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        permit = await breaker.acquire()
        breaker.reset()
        permit.fail()
        assert (breaker.state, breaker.statistics().stale) == ("closed", 1)


class TestJoining:
    """Which circuit a breaker is of."""

    async def test_breakers_of_one_name_share_a_circuit(self) -> None:
        """Two breakers of the same name and policy count together."""
        first, second = CircuitBreaker("x", 2), CircuitBreaker("x", 2)
        await fail_times(first, 1)
        assert second.failure_count == 1
        await fail_times(second, 1)
        assert first.state is second.state is CircuitState.OPEN

    async def test_a_different_policy_is_an_error(self) -> None:
        """The same name with another policy is refused, by call and by read."""
        await CircuitBreaker("x").call(succeed)
        other = CircuitBreaker("x", failure_threshold=9)
        with pytest.raises(PolicyConflictError, match="failure_threshold=3, not 9"):
            await other.call(succeed)
        with pytest.raises(PolicyConflictError):
            other.statistics()

    async def test_it_joins_the_current_supervisor(self) -> None:
        """A breaker built anywhere belongs to the supervisor whose block is entered."""
        breaker = CircuitBreaker("x")
        async with Supervisor() as supervisor:
            await breaker.call(succeed)
            assert supervisor["x"].statistics().succeeded == 1

    async def test_it_refuses_after_its_supervisor_has_gone(self) -> None:
        """A call after the block is a clear error, and so is a permit."""
        breaker = CircuitBreaker("x")
        async with Supervisor():
            await breaker.call(succeed)
        with pytest.raises(CircuitStoppedError, match="'x' has been stopped"):
            await breaker.call(succeed)
        assert breaker.statistics().succeeded == 1

    async def test_it_joins_the_next_supervisor(self) -> None:
        """In another block it starts afresh."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        async with Supervisor():
            await fail_times(breaker, 1)
        async with Supervisor():
            assert not await is_refused(breaker)
            assert breaker.statistics().failed == 0

    async def test_a_supervisors_own_breaker_ends_with_it(self) -> None:
        """What `supervisor.circuit` returned does not move to another supervisor."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
        async with Supervisor():
            with pytest.raises(CircuitStoppedError):
                await breaker.call(succeed)
            assert breaker.statistics().succeeded == 1


class TestBackPressure:
    """The mailbox is bounded by its callers."""

    async def test_a_caller_that_never_yields_lets_the_actor_run(self) -> None:
        """Reports are never refused, but admissions wait at some length of the queue."""
        breaker = CircuitBreaker("x", failure_threshold=10**9)
        async with Supervisor() as supervisor:
            await breaker.call(succeed)
            circuit = supervisor.find("x")
            assert circuit is not None
            longest = 0
            for _ in range(5000):
                with pytest.raises(Down):
                    await breaker.call(fail)
                await breaker.call(succeed)
                longest = max(longest, len(circuit.mailbox.messages))
        assert 100 < longest <= 1026
        assert breaker.statistics().failed == 5000

    async def test_reports_beyond_it_are_all_taken(self) -> None:
        """Thousands of permits settled in one go are all counted."""
        breaker = CircuitBreaker("x", failure_threshold=10**9)
        permits = [await breaker.acquire() for _ in range(5000)]
        for permit in permits:
            permit.fail()
        assert breaker.failure_count == 5000
        await breaker.call(succeed)
        assert breaker.failure_count == 0


async def test_reading_again_and_again_stays_cheap() -> None:
    """A circuit that is only read and successful does not gather messages."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        circuit = supervisor.find("x")
        assert circuit is not None
        for number in range(200):
            await breaker.call(succeed)
            assert breaker.statistics().succeeded == number + 1
            await anyio.lowlevel.checkpoint()
        assert len(circuit.mailbox.messages) < 50


async def test_a_hung_probe_cannot_hold_the_circuit() -> None:
    """After `probe_timeout` the circuit opens again, and recovers without the hung probe."""
    async with half_open(recovery_timeout=10, probe_timeout=20) as breaker:
        dependency = Dependency()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.call, dependency.call)
            await anyio.sleep(19)
            assert await is_refused(breaker)
            assert breaker.state is CircuitState.HALF_OPEN
            await anyio.sleep(1)
            assert breaker.state is CircuitState.OPEN
            with pytest.raises(CircuitBreakerOpenError, match="probe still running after 20 s"):
                await breaker.call(succeed)
            await anyio.sleep(10)
            assert not await is_refused(breaker)
            assert breaker.state is CircuitState.CLOSED
            dependency.let_go()
        assert breaker.statistics().stale == 1


async def test_an_error_whose_text_raises() -> None:
    """User code in an exception's `__str__` breaks neither the report nor the refusal."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise ValueError("no text for you")

    async def function() -> None:
        raise Rude

    breaker = CircuitBreaker("x", failure_threshold=1)
    with pytest.raises(Rude):
        await breaker.call(function)
    with pytest.raises(CircuitBreakerOpenError) as refusal:
        await breaker.call(function)
    assert refusal.value.last_failure == "Rude"
