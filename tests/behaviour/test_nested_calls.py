"""A call inside a call of the same circuit belongs to it: it is admitted with it, and a failure
that passes through both counts once.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from types import coroutine
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    Supervisor,
    create_retry_decorator,
    with_circuit_breaker,
)
from supervisor.circuit.nesting import LONGEST_WAY
from tests.support.worlds import (
    Down,
    Guarded,
    by_block,
    by_call,
    by_decorator,
    by_permit,
    collect_garbage,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
    until,
)

pytestmark = pytest.mark.anyio


looked_at: list[int] = []
"""Which errors have been asked for their cause."""


class LookedAt(Exception):
    """Knows when its cause is asked for."""

    @property
    def __cause__(self) -> BaseException | None:
        looked_at.append(id(self))
        return self.cause

    cause: BaseException | None = None


def wrapped(error: Exception, how: str, steps: int) -> Exception:
    """Return an error that has come of another one, by so many steps."""
    for _ in range(steps):
        outer = ExceptionGroup("", [error]) if how == "group" else LookedAt()
        if isinstance(outer, LookedAt):
            if how == "cause":
                outer.cause = error
            else:
                outer.__context__ = error
        error = outer
    return error


async def by_retry(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    return await breaker.retry(function)


async def by_waiting(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    return await breaker.waiting(5).call(function)


async def by_another(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    return await CircuitBreaker(breaker.name, policy=breaker.policy).call(function)


async def in_a_child(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    """Raise the very error, as `asyncio.gather` does."""
    ended: list[str | Exception] = []

    async def child() -> None:
        try:
            ended.append(await breaker.call(function))
        except Exception as error:
            ended.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(child)
    result = ended.pop()
    if isinstance(result, str):
        return result
    try:
        raise result
    finally:
        del result


async def from_its_thread(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    """Guard a thread, which calls the event loop back."""

    def plain() -> str:
        return anyio.from_thread.run(function)  # type: ignore[arg-type]

    return await anyio.to_thread.run_sync(breaker.call_from_thread, plain)


IN_ITS_TASK = [by_call, by_block, by_decorator, by_permit, by_retry, by_waiting, by_another]
every_outer = pytest.mark.parametrize("outer", [*IN_ITS_TASK, from_its_thread])
every_inner = pytest.mark.parametrize("inner", [*IN_ITS_TASK, in_a_child, from_its_thread])


def figures(breaker: CircuitBreaker) -> tuple[int, int, int]:
    """How many have succeeded, failed, and been refused; all calls have ended."""
    now = breaker.statistics()
    assert now.in_flight == 0
    return now.succeeded, now.failed, now.rejected


class TestProbes:
    """The outer call has the only place."""

    @every_outer
    @every_inner
    async def test_a_probe_that_calls_its_own_circuit_closes_it(
        self, outer: Guarded, inner: Guarded
    ) -> None:
        """The two are one probe, and one call."""
        async with half_open() as breaker:
            assert await outer(breaker, partial(inner, breaker, succeed)) == "fine"
            assert breaker.state is CircuitState.CLOSED
            assert figures(breaker) == (1, 1, 0)

    @every_outer
    @every_inner
    async def test_a_probe_whose_inner_call_fails_opens_it(
        self, outer: Guarded, inner: Guarded
    ) -> None:
        """Once."""
        async with half_open() as breaker:
            with pytest.raises(Down):
                await outer(breaker, partial(inner, breaker, fail))
            assert breaker.state is CircuitState.OPEN
            assert figures(breaker) == (0, 2, 0)

    async def test_the_outer_call_has_the_last_word(self) -> None:
        """An inner call that fails, and is helped, is no failure of the probe."""

        async def helped() -> str:
            with pytest.raises(Down):
                await breaker.call(fail)
            return await breaker.call(succeed)

        async with half_open() as breaker:
            await breaker.call(helped)
            assert (breaker.state, figures(breaker)) == ("closed", (1, 1, 0))

    async def test_more_than_two(self) -> None:
        async with half_open() as breaker:

            async def deeper(levels: int) -> str:
                return await breaker.call(deeper, levels - 1) if levels else "fine"

            assert await breaker.call(deeper, 20) == "fine"
            assert (breaker.state, figures(breaker)) == ("closed", (1, 1, 0))

    async def test_through_another_circuit(self) -> None:
        """Which needs its own probe."""
        async with half_open() as breaker:
            other = CircuitBreaker("other")
            between = partial(other.call, partial(breaker.call, succeed))
            await breaker.call(between)
            assert (breaker.state, figures(other)) == ("closed", (1, 0, 0))

    async def test_another_circuit_is_not_meant(self) -> None:
        async with half_open() as breaker:
            other = CircuitBreaker("other", 1)
            await fail_times(other, 1)
            with pytest.raises(CircuitBreakerOpenError):
                await breaker.call(partial(other.call, succeed))

    @pytest.mark.parametrize("outer", [by_call, by_block, by_decorator, by_permit])
    async def test_who_is_not_inside_is_refused(self, outer: Guarded) -> None:
        """While the probe runs, and also where it is inside another call of the circuit by now."""
        async with half_open() as breaker:
            refused: list[bool] = []

            async def probe() -> str:
                go.set()
                await anyio.sleep(1)
                return "fine"

            async def stranger() -> None:
                await go.wait()
                refused.append(await is_refused(breaker))

            go = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stranger)
                await outer(breaker, probe)
            assert refused == [True]

    @pytest.mark.parametrize("outer", IN_ITS_TASK)
    async def test_nothing_is_left_of_it_afterwards(self, outer: Guarded) -> None:
        """Neither in its task, nor in one that it has started and that outlives it."""
        async with half_open() as breaker, anyio.create_task_group() as tasks:
            refused: list[bool] = []

            async def later() -> None:
                await anyio.sleep(1)
                refused.append(await is_refused(breaker))

            async def probe() -> str:
                tasks.start_soon(later)
                raise Down

            with pytest.raises(Down):
                await outer(breaker, probe)
            assert await is_refused(breaker)
            await anyio.sleep(2)
            assert refused == [True]

    async def test_a_block_whose_grant_has_become_the_shortest_paths(self) -> None:
        """The first of all calls has to ask. Once there are enough calls for a rate, others are
        admitted at once by the grant that it was given; but it ends as it began.
        """
        breaker = CircuitBreaker("x", window_calls=8, failure_rate=0.5, minimum_calls=4)
        async with breaker, anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(breaker.call, succeed)
        for _ in range(2):
            await fail_times(breaker, 2)
        assert (breaker.failure_count, breaker.statistics().failed) == (4, 4)

    async def test_a_permit_by_hand_is_nothing_to_be_inside_of(self) -> None:
        """Its holder may have taken it for others."""
        async with half_open() as breaker:
            permit = await breaker.acquire()
            assert await is_refused(breaker)
            with permit:
                assert not await is_refused(breaker)
                permit.succeed()
                breaker.force_open()
                with permit:
                    assert await is_refused(breaker)
            assert figures(breaker) == (1, 1, 2)

    async def test_blocks_that_end_in_the_wrong_order(self) -> None:
        """As async generators do that are closed late."""
        async with half_open() as breaker:

            async def stream(name: str) -> AsyncGenerator[str]:
                with await breaker.acquire():
                    yield name

            outer, inner = stream("outer"), stream("inner")
            assert [await anext(outer), await anext(inner)] == ["outer", "inner"]
            await outer.aclose()
            await inner.aclose()
            assert breaker.state is CircuitState.HALF_OPEN  # left early: neither one nor the other
            assert not await is_refused(breaker)
            await fail_times(breaker, 1)
            assert await is_refused(breaker)

    @pytest.mark.parametrize("other", ["asyncio", "trio"])
    async def test_another_event_loop_is_another_place(self, other: str) -> None:
        """Whatever context a thread has inherited: its circuit is not this one."""

        async def elsewhere() -> None:
            breaker = CircuitBreaker("dependency", 1)
            await fail_times(breaker, 1)
            assert await is_refused(breaker)

        async def probe() -> str:
            run = partial(anyio.run, elsewhere, backend=other)
            await anyio.to_thread.run_sync(run)  # in a copy of this context
            return "fine"

        breaker = CircuitBreaker("dependency", 1, 0.001)
        await fail_times(breaker, 1)
        await anyio.sleep(0.01)
        assert await breaker.call(probe) == "fine"

    async def test_a_thread_that_nobody_waits_for_is_not_inside(self) -> None:
        """Although it may have inherited the context, as it does by default without the GIL."""
        breaker = CircuitBreaker("dependency", 1, 0.001)
        await fail_times(breaker, 1)
        await anyio.sleep(0.01)
        refused: list[bool] = []

        def ask() -> None:
            try:
                breaker.call_from_thread(list)
            except CircuitBreakerOpenError:
                refused.append(True)

        async def probe() -> str:
            thread = threading.Thread(target=copy_context().run, args=(ask,))
            thread.start()
            await until(lambda: not thread.is_alive())
            return "fine"

        await breaker.call(probe)
        assert refused == [True]


class TestAdmittedWithIt:
    """Whatever happens to the circuit meanwhile."""

    @pytest.mark.parametrize("order", ["force_open", "reset", "reconfigure", "only_measure"])
    async def test_an_order_by_hand(self, order: str) -> None:
        async with half_open() as breaker:

            async def probe() -> str:
                if order == "reconfigure":
                    breaker.reconfigure(failure_threshold=2, timeout=9)
                else:
                    getattr(breaker, order)()
                return await breaker.call(succeed)

            assert await breaker.call(probe) == "fine"
            assert figures(breaker)[2] == 0

    async def test_it_has_opened_again(self) -> None:
        """The probe that has run for too long still makes its call."""
        async with half_open(probe_timeout=1) as breaker:

            async def probe() -> str:
                await anyio.sleep(2)
                assert breaker.state is CircuitState.OPEN
                return await breaker.call(succeed)

            assert await breaker.call(probe) == "fine"
            assert figures(breaker)[2] == 0

    async def test_what_asked_for_nothing_is_not_known(self) -> None:
        """A call that was admitted by a plain lease leaves no trace: who is inside it asks too."""
        breaker = CircuitBreaker("dependency", 1)
        await breaker.call(succeed)

        async def outer() -> str:
            with suppress(Down):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fail_times, breaker, 1)
            return await breaker.call(succeed)

        with pytest.raises(CircuitBreakerOpenError):
            await breaker.call(outer)

    async def test_it_waits_for_nothing(self) -> None:
        async with half_open() as breaker:
            before = anyio.current_time()
            await breaker.call(partial(breaker.waiting(9).call, succeed))
            assert anyio.current_time() == before

    async def test_a_retry_is_still_taken_from_the_budget(self) -> None:
        """That is about load, and who is inside makes as much of it."""
        policy: dict[str, Any] = {"retry_budget": 0.1, "retry_budget_minimum": 1}
        async with half_open(**policy) as breaker:

            async def probe() -> str:
                await breaker.retry(succeed)
                with pytest.raises(CircuitBreakerOpenError) as caught:
                    await breaker.retry(succeed)
                assert caught.value.reason == "retry_budget"
                return "fine"

            await breaker.call(probe)
            assert (breaker.state, breaker.statistics().in_flight) == ("closed", 0)

    async def test_a_fallback_goes_by_the_circuits_policy(self) -> None:
        """A part is judged like any other call; it is only not counted."""
        async with half_open(failure_on=Down) as breaker:

            async def probe() -> str:
                answer = await breaker.call(fail, fallback="instead")
                with pytest.raises(LookupError):
                    await breaker.call(partial(_raise, LookupError()), fallback="instead")
                return str(answer)

            assert await breaker.call(probe) == "instead"
            assert (breaker.state, figures(breaker)) == ("closed", (1, 1, 0))

    async def test_slow_calls_are_those_of_the_outer_one(self) -> None:
        async with half_open(slow_call_duration=1) as breaker:

            async def slow() -> str:
                await anyio.sleep(2)
                return "fine"

            await breaker.call(partial(breaker.call, slow))
            assert (breaker.state, figures(breaker)) == ("open", (0, 2, 0))


async def _raise(error: Exception) -> str:
    raise error


def undecided(_: object) -> None:
    """Leave it to the rest of the policy."""


class TestFailures:
    """Of a closed circuit, whose calls are calls of their own."""

    @every_outer
    @pytest.mark.parametrize("inner", IN_ITS_TASK)
    @pytest.mark.parametrize("policy", [{}, {"classify": undecided}, {"timeout": 9}])
    async def test_one_that_passes_through_both_counts_once(
        self, outer: Guarded, inner: Guarded, policy: dict[str, Any]
    ) -> None:
        breaker = CircuitBreaker("dependency", 3, **policy)
        await breaker.call(succeed)
        for count in (1, 2, 3):
            with pytest.raises(Down):
                await outer(breaker, partial(inner, breaker, fail))
            assert breaker.failure_count == count
        assert (breaker.state, figures(breaker)) == ("open", (1, 3, 0))
        assert breaker.statistics().ignored == 3

    async def test_one_that_is_dressed_on_its_way(self) -> None:
        """As another error, with or without a cause, or as one of a group."""
        breaker = CircuitBreaker("dependency", 99)

        async def dressed(how: str) -> str:
            try:
                await breaker.call(fail)
            except Down as error:
                match how:
                    case "cause":
                        raise ValueError from error
                    case "context":
                        raise ValueError  # noqa: B904
                    case _:
                        raise ExceptionGroup("", [ExceptionGroup("", [error])]) from None
            raise AssertionError("it has not failed")

        for how in ("cause", "context", "group"):
            with pytest.raises((ValueError, ExceptionGroup)):
                await breaker.call(dressed, how)
        assert figures(breaker) == (0, 3, 0)

    @pytest.mark.parametrize("how", ["cause", "context", "group"])
    @pytest.mark.parametrize(
        ("steps", "failures"), [(LONGEST_WAY - 1, 1), (LONGEST_WAY, 2), (5_000, 2)]
    )
    async def test_a_long_way(self, steps: int, failures: int, how: str) -> None:
        """Is not gone to its end: the cost of a failure does not grow with what is behind it."""
        breaker = CircuitBreaker("dependency", 99)

        async def dressed() -> str:
            with pytest.raises(Down) as caught:
                await breaker.call(fail)
            raise wrapped(caught.value, how, steps)

        looked_at.clear()
        with pytest.raises((LookedAt, ExceptionGroup)):
            await breaker.call(dressed)
        assert figures(breaker) == (0, failures, 0)
        assert how == "group" or 1 < len(set(looked_at)) <= LONGEST_WAY

    async def test_a_wide_group(self) -> None:
        """Each error of a group is near, however many there are."""
        breaker = CircuitBreaker("dependency", 999)

        async def failures() -> str:
            others: list[Exception] = [wrapped(Down(), "context", 99) for _ in range(200)]
            with pytest.raises(Down) as caught:
                await breaker.call(fail)
            raise ExceptionGroup("", [*others, wrapped(caught.value, "cause", 9)])

        with pytest.raises(ExceptionGroup):
            await breaker.call(failures)
        assert figures(breaker) == (0, 1, 0)

    async def test_an_error_of_many_circuits(self) -> None:
        """Remembers the last of them only, and can be sent to another process."""
        error = Down()
        for number in range(2_000):
            with pytest.raises(Down):
                await CircuitBreaker(f"{number}").call(partial(_raise, error))
        last = CircuitBreaker("1999")
        with pytest.raises(Down):
            await last.call(partial(last.call, partial(_raise, error)))
        assert figures(last) == (0, 2, 0)
        assert isinstance(pickle.loads(pickle.dumps(error)), Down)

    async def test_through_other_circuits(self) -> None:
        """Each counts it once."""
        first, second = CircuitBreaker("first"), CircuitBreaker("second")
        with pytest.raises(Down):
            await first.call(partial(second.call, partial(first.call, partial(second.call, fail))))
        assert figures(first) == figures(second) == (0, 1, 0)

    async def test_another_error_is_another_failure(self) -> None:
        """Whether what the inner call raised is still there, or its place is taken."""
        breaker = CircuitBreaker("dependency", 99)

        async def outer() -> str:
            with suppress(ConnectionError):
                await breaker.call(partial(_raise, ConnectionError("a")))
            raise ConnectionError("b")

        for count in range(1, 10):
            with pytest.raises(ConnectionError, match="b"):
                await breaker.call(outer)
            assert figures(breaker) == (0, 2 * count, 0)

    @pytest.mark.parametrize("guarded", [by_call, by_block, by_decorator, by_permit])
    async def test_one_error_that_is_raised_again_and_again(self, guarded: Guarded) -> None:
        """By one task, one call after another: each is a failure."""
        breaker, error = CircuitBreaker("dependency", 99), Down()
        for _ in range(5):
            with pytest.raises(Down):
                await guarded(breaker, partial(_raise, error))
        assert figures(breaker) == (0, 5, 0)

    async def test_one_error_of_many_callers(self) -> None:
        """As a pool of connections hands it to all who wait: each is a failure."""
        breaker, error = CircuitBreaker("dependency", 99), Down()

        async def waiter(seconds: float) -> None:
            await anyio.sleep(seconds)
            raise error

        async def caller(seconds: float) -> None:
            with suppress(Down):
                await breaker.call(waiter, seconds)

        async with anyio.create_task_group() as tasks:
            for seconds in (3, 1, 2, 1):
                tasks.start_soon(caller, seconds)
        assert figures(breaker) == (0, 4, 0)

    async def test_a_result_that_is_a_failure(self) -> None:
        breaker = CircuitBreaker(
            "dependency", 99, failure_on_result=lambda result: result == "fine"
        )
        for _ in range(3):
            await breaker.call(partial(breaker.call, succeed))
        assert figures(breaker) == (0, 3, 0)

    @pytest.mark.parametrize("ended_with", ["result", "error"])
    async def test_circuits_that_come_to_stand_where_others_stood(self, ended_with: str) -> None:
        """A task's failures at one that is gone are not taken for those of its successor."""
        error = Down("down")

        async def end() -> str:
            if ended_with == "error":
                raise error
            return "poor"

        async with Supervisor() as supervisor:
            for failures in range(20, 0, -1):
                breaker = supervisor.circuit(
                    "x", failure_threshold=99, failure_on_result="poor".__eq__
                )
                for _ in range(failures):
                    with suppress(Down):
                        await breaker.call(end)
                assert figures(breaker) == (0, failures, 0)
                supervisor.stop("x")
                del breaker
                await settle_down()
                collect_garbage()

    async def test_a_cancellation_that_is_a_failure(self) -> None:
        breaker = CircuitBreaker("dependency", 99, failure_on_cancel=True)
        with anyio.move_on_after(1):
            await breaker.call(partial(breaker.call, anyio.sleep_forever))
        assert figures(breaker) == (0, 1, 0)

    async def test_a_function_of_the_policys_that_raises(self) -> None:
        """The call has failed, once."""

        def classify(_: object) -> None:
            raise ZeroDivisionError

        breaker = CircuitBreaker("dependency", 99, classify=classify)
        with pytest.raises(ZeroDivisionError):
            await breaker.call(partial(breaker.call, fail))
        assert figures(breaker) == (0, 1, 0)

    async def test_children_of_a_call_that_is_known(self) -> None:
        """A group of their errors is no failure more."""
        breaker = CircuitBreaker("dependency", 99, timeout=9)

        async def outer() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(breaker.call, fail)

        with pytest.raises(ExceptionGroup):
            await breaker.call(outer)
        assert figures(breaker) == (0, 1, 0)

    async def test_an_error_stays_as_it_was(self) -> None:
        """What tells it from others is a number, in no text of it."""
        error = Down("down")
        with pytest.raises(Down):
            await CircuitBreaker("dependency").call(partial(_raise, error))
        assert (repr(error), error.args) == ("Down('down')", ("down",))
        assert getattr(error, "__notes__", None) is None


class Hiding(Exception):
    """Lets nobody look at its attributes."""

    @property
    def __dict__(self) -> Any:
        raise AssertionError("not to be looked at")


@pytest.mark.parametrize("guarded", [by_call, by_decorator, by_block, by_permit])
async def test_an_error_that_hides_its_attributes(guarded: Guarded) -> None:
    """It comes out as it is, and counts once for two calls that it passes through."""
    error = Hiding()

    async def raises() -> str:
        raise error

    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        with pytest.raises(Hiding):
            await guarded(breaker, partial(guarded, breaker, raises))
        assert breaker.statistics().failed == 1


@coroutine
def leave_it() -> Generator[None, None, None]:
    """Wait for something that whoever runs the coroutine by hand does not bring."""
    yield


@pytest.mark.parametrize("guarded", [by_call, by_decorator, by_block])
async def test_a_call_that_is_closed_sets_no_context_variable(guarded: Guarded) -> None:
    """The garbage collector may close it while somebody else sets one, which Python 3.11 does not
    survive; and it is over all the same.
    """

    async def waits() -> str:
        await leave_it()
        return ""

    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", timeout=5.0)
        await breaker.call(succeed)
        abandoned: Any = guarded(breaker, waits)
        abandoned.send(None)
        before = copy_context()
        abandoned.close()
        assert copy_context() == before
        await breaker.call(succeed)
        statistics = breaker.statistics()
        assert (statistics.started, statistics.succeeded, statistics.in_flight) == (3, 2, 0)


class TestDecorators:
    """Two functions of one name."""

    @pytest.mark.parametrize("guard", ["loop", "attempt"])
    @pytest.mark.usefixtures("enabled")
    async def test_retries_in_retries(self, guard: Any) -> None:
        """What the inner guard sees fail is a failure each; it recovers after one outage."""
        down = True
        retry = create_retry_decorator(
            "storage", 2, 0.1, 0.2, guard=guard, failure_threshold=4, recovery_timeout=10
        )

        def named_get(function: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
            async def get() -> str:
                return await function()

            return retry(get)

        async def fetch() -> str:
            if down:
                raise Down
            return "fine"

        get = named_get(named_get(fetch))
        with suppress(Down, CircuitBreakerOpenError):
            await get()
        breaker = CircuitBreaker("storage:get", 4, 10)
        assert breaker.statistics().failed == {"loop": 2, "attempt": 4}[guard]
        while breaker.state != "open":
            with suppress(Down):
                await get()
        down = False
        await anyio.sleep(10)
        assert await get() == "fine"
        assert (breaker.state, breaker.statistics().times_opened) == ("closed", 1)

    @pytest.mark.usefixtures("enabled")
    async def test_guarded_by_name(self) -> None:
        """Recovers at the first try, and each failure counts once."""
        down = True

        @with_circuit_breaker("db", recovery_timeout=10)
        async def query() -> str:
            if down:
                raise Down
            return "row"

        @with_circuit_breaker("db", recovery_timeout=10)
        async def load() -> str:
            return await query()

        for _ in range(3):
            with pytest.raises(Down):
                await load()
        breaker = CircuitBreaker("db", recovery_timeout=10)
        assert (breaker.state, breaker.statistics().failed) == ("open", 3)
        down = False
        await anyio.sleep(10)
        assert await load() == "row"
        assert breaker.state is CircuitState.CLOSED
