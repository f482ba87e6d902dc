"""`timeout`: what has run for so long is cancelled and fails; other timeouts stay what they are."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio
import trio

from supervisor import CircuitBreaker, CircuitBreakerOpenError, CircuitState, Supervisor
from supervisor.circuit import give_up
from supervisor.errors import CallTimeoutError
from supervisor.policy.outcomes import Failure
from supervisor.testing import jump, run_in_virtual_time
from tests.proofs.player import on_trio
from tests.support.worlds import (
    Down,
    Guarded,
    by_block,
    by_call,
    by_decorator,
    by_retry,
    half_open,
    settle_down,
    succeed,
    take,
    tasks_here,
)

pytestmark = pytest.mark.anyio


async def by_waiting(breaker: CircuitBreaker, function: Any) -> str:
    result: str = await breaker.waiting(9).call(function)
    return result


async def by_fallback(breaker: CircuitBreaker, function: Any) -> str:
    """Have a fallback that hides nothing."""

    def raise_again(error: Exception) -> str:
        raise error

    result: str = await breaker.call(function, fallback=raise_again)
    return result


limited_ways = pytest.mark.parametrize(
    "guarded", [by_call, by_decorator, by_block, by_waiting, by_retry, by_fallback]
)


async def hang() -> str:
    """Wait for longer than anybody has the patience for, but not for ever."""
    await anyio.sleep(80_000)
    return "never"


class TestTooLate:
    """A call that runs too long."""

    @limited_ways
    async def test_it_is_cancelled_and_fails(self, guarded: Guarded) -> None:
        """When its time is up; the error is a `TimeoutError` that says after how long."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        text = "the call was cancelled after its timeout of 5 s"
        with pytest.raises(CallTimeoutError) as caught:
            await guarded(breaker, hang)
        assert isinstance(caught.value, TimeoutError)
        assert (str(caught.value), anyio.current_time()) == (text, 5.0)
        now = breaker.statistics()
        assert (now.state, now.failed, now.cancelled, now.in_flight) == ("open", 1, 0, 0)
        assert now.last_failure == f"CallTimeoutError: {text}"

    @limited_ways
    @pytest.mark.parametrize("seconds", [0, 4.999])
    async def test_in_time(self, guarded: Guarded, seconds: float) -> None:
        """The result comes through, and nothing is left of the limit."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        assert await guarded(breaker, lambda: take(seconds)) == "fine"
        await anyio.sleep(99)
        assert breaker.statistics().succeeded == 1

    @limited_ways
    async def test_the_time_counts_from_its_admission(self, guarded: Guarded) -> None:
        """What a call before it has taken is no matter."""
        breaker = CircuitBreaker("x", timeout=5)
        for _ in range(5):
            assert await guarded(breaker, lambda: take(4)) == "fine"
        assert breaker.statistics().succeeded == 5

    @limited_ways
    async def test_a_probe(self, guarded: Guarded) -> None:
        """It opens the circuit again."""
        async with half_open(timeout=5) as breaker:
            with pytest.raises(CallTimeoutError):
                await guarded(breaker, hang)
            assert breaker.state is CircuitState.OPEN

    @limited_ways
    async def test_a_result_at_the_last_moment(self, guarded: Guarded) -> None:
        """A call that has ended was not cancelled, though the event loop was blocked meanwhile."""

        async def block() -> str:
            await anyio.lowlevel.checkpoint()
            jump(60)
            return "fine"

        breaker = CircuitBreaker("x", 1, timeout=5)
        assert await guarded(breaker, block) == "fine"
        await anyio.lowlevel.checkpoint()
        assert breaker.statistics().succeeded == 1

    @limited_ways
    async def test_an_answer_to_the_cancellation(self, guarded: Guarded) -> None:
        """A function that shields its end from it returns or raises what it likes."""

        async def clean_up(error: Exception | None) -> str:
            try:
                await hang()
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(3)
            if error is not None:
                raise error
            return "late"

        breaker = CircuitBreaker("x", 9, timeout=5)
        with pytest.raises(Down):
            await guarded(breaker, lambda: clean_up(Down()))
        assert await guarded(breaker, lambda: clean_up(None)) == "late"
        now = breaker.statistics()
        assert (now.failed, now.succeeded, now.in_flight) == (1, 1, 0)

    @limited_ways
    async def test_errors_beside_the_cancellation(self, guarded: Guarded) -> None:
        """A task group in the guarded code raises what else has gone wrong in it."""

        async def fail_when_cancelled() -> None:
            try:
                await hang()
            finally:
                raise Down

        async def function() -> str:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail_when_cancelled)
                tasks.start_soon(hang)
            return "never"

        breaker = CircuitBreaker("x", 1, timeout=5)
        with pytest.raises(ExceptionGroup) as caught:
            await guarded(breaker, function)
        assert caught.group_contains(Down)
        now = breaker.statistics()
        assert (now.state, now.failed, now.in_flight) == ("open", 1, 0)

    @limited_ways
    @pytest.mark.parametrize(
        ("policy", "outcome"),
        [
            ({"failure_on": KeyError}, "failed"),
            ({"ignore": CallTimeoutError}, "ignored"),
            ({"ignore": TimeoutError}, "ignored"),
            ({"failure_on_cancel": False}, "failed"),
            ({"classify": lambda error: Failure("slow") if error else None}, "failed"),
        ],
    )
    async def test_what_it_counts_as(
        self, guarded: Guarded, policy: dict[str, Any], outcome: str
    ) -> None:
        """A failure, whatever `failure_on` says, unless it is ignored."""
        breaker = CircuitBreaker("x", timeout=5, **policy)
        with pytest.raises(CallTimeoutError):
            await guarded(breaker, hang)
        assert getattr(breaker.statistics(), outcome) == 1

    @limited_ways
    async def test_it_may_be_slow_before(self, guarded: Guarded) -> None:
        """A call that is overdue and then too late is one failure."""
        breaker = CircuitBreaker("x", 9, timeout=10, slow_call_duration=5)
        with pytest.raises(CallTimeoutError):
            await guarded(breaker, hang)
        assert (breaker.failure_count, breaker.statistics().failed) == (1, 1)

    async def test_many_at_once(self) -> None:
        """Each of a thousand ends at its own time, and nothing is left of them."""
        ended: list[float] = []

        async def call(breaker: CircuitBreaker, start: float) -> None:
            await anyio.sleep(start)
            with pytest.raises(CallTimeoutError):
                await breaker.call(hang)
            ended.append(anyio.current_time() - start)

        before = tasks_here()
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=2000, timeout=5)
            async with anyio.create_task_group() as tasks:
                for number in range(1000):
                    tasks.start_soon(call, breaker, number / 64)
        assert ended == [5.0] * 1000
        assert (breaker.failure_count, tasks_here()) == (1000, before)


class TestOtherTimeouts:
    """What only looks like it."""

    @limited_ways
    async def test_a_timeout_of_the_functions_own(self, guarded: Guarded) -> None:
        """It comes through as it is."""

        async def function() -> str:
            with anyio.fail_after(2):
                await hang()
            return "never"

        breaker = CircuitBreaker("x", 1, timeout=5)
        with pytest.raises(TimeoutError) as caught:
            await guarded(breaker, function)
        assert not isinstance(caught.value, CallTimeoutError)
        assert breaker.statistics().failed == 1

    @limited_ways
    async def test_a_timeout_of_the_callers(self, guarded: Guarded) -> None:
        """It is a cancellation for the call, and counts as nothing."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        with pytest.raises(TimeoutError) as caught:
            with anyio.fail_after(2):
                await guarded(breaker, hang)
        assert not isinstance(caught.value, CallTimeoutError)
        now = breaker.statistics()
        assert (now.state, now.cancelled, now.failed, now.in_flight) == ("closed", 1, 0, 0)

    @limited_ways
    async def test_a_cancellation_from_outside_stays_one(self, guarded: Guarded) -> None:
        """It ends the whole scope, before the time is up and at that very moment."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        for seconds in (3, 5):
            with anyio.move_on_after(seconds) as scope:
                with suppress(CallTimeoutError):
                    await guarded(breaker, hang)
                await hang()
            assert scope.cancelled_caught
        now = breaker.statistics()
        assert now.cancelled >= 1
        assert (now.cancelled + now.failed, now.in_flight) == (2, 0)

    @limited_ways
    @pytest.mark.parametrize("checkpoints", range(4))
    @pytest.mark.parametrize("seconds", [(3, 5), (5, 5), (6, 5)])
    async def test_a_cancellation_from_outside_in_the_same_turn(
        self, guarded: Guarded, seconds: tuple[float, float], checkpoints: int
    ) -> None:
        """The scope ends with its own cancellation, although asyncio may make one of both that does
        not tell any more whose it is.
        """
        outside, timeout = seconds
        breaker = CircuitBreaker("x", 1, timeout=timeout)

        async def work() -> str:
            jump(10)
            for _ in range(checkpoints):
                await anyio.lowlevel.checkpoint()
            return await hang()

        with anyio.move_on_after(outside) as scope:
            with suppress(CallTimeoutError):
                await guarded(breaker, work)
            await hang()
        assert scope.cancelled_caught
        await settle_down()
        now = breaker.statistics()
        assert (now.cancelled + now.failed, now.in_flight) == (1, 0)

    @limited_ways
    async def test_a_call_in_a_cancelled_scope(self, guarded: Guarded) -> None:
        """It is cancelled where it first waits."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        await breaker.call(succeed)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await guarded(breaker, hang)
        assert scope.cancelled_caught
        now = breaker.statistics()
        assert (now.cancelled, now.failed, now.in_flight) == (1, 0, 0)

    @limited_ways
    @pytest.mark.parametrize("ticks", range(6))
    async def test_a_cancellation_at_every_tick(self, guarded: Guarded, ticks: int) -> None:
        """Nothing is left of the call or of its limit, and the task goes on undisturbed."""
        async with half_open(timeout=5) as breaker:
            async with anyio.create_task_group() as tasks:
                scope = anyio.CancelScope()

                async def call() -> None:
                    with scope:
                        await guarded(breaker, hang)
                    await anyio.sleep(99)

                tasks.start_soon(call)
                for _ in range(ticks):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
            now = breaker.statistics()
            assert (now.state, now.in_flight, now.cancelled) == ("half_open", 0, now.started - 1)
            assert await breaker.call(succeed) == "fine"


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@limited_ways
def test_cancellations_of_asyncios_own(backend: str, guarded: Guarded) -> None:
    """They stay what they are, too, and a timeout leaves no cancellation behind in its task."""

    async def main() -> None:
        breaker = CircuitBreaker("x", 9, timeout=5)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(2):
                await guarded(breaker, hang)
        assert not isinstance(caught.value, CallTimeoutError)
        for seconds in (0, 3):
            call = asyncio.ensure_future(guarded(breaker, hang))
            await anyio.sleep(seconds)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        with pytest.raises(CallTimeoutError):
            await guarded(breaker, hang)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        now = breaker.statistics()
        assert (now.cancelled, now.failed, now.in_flight) == (now.started - 1, 1, 0)

    run_in_virtual_time(main, backend=backend)


class TestCleanUp:
    """What a function does about being cancelled, compared with the event loop's own limit."""

    @limited_ways
    async def test_a_clean_up_that_waits(self, guarded: Guarded) -> None:
        """It is cancelled as often as by `asyncio.timeout` or `trio.move_on_after`."""
        waits: list[str] = []

        async def function() -> str:
            try:
                await hang()
            finally:
                for _ in range(3):
                    try:
                        await anyio.sleep(1)
                    except anyio.get_cancelled_exc_class():
                        waits.append("cancelled")
                    else:
                        waits.append("done")
            return "never"

        breaker = CircuitBreaker("x", 9, timeout=5)
        with pytest.raises(CallTimeoutError):
            await guarded(breaker, function)
        seen, seconds = waits.copy(), anyio.current_time()
        waits.clear()
        await by_its_own_limit(function)
        assert (seen, seconds) == (waits, anyio.current_time() - seconds)
        assert seen == ["cancelled" if on_trio() else "done"] * 3

    @limited_ways
    @pytest.mark.usefixtures("known_settings")
    async def test_a_stall(self, guarded: Guarded) -> None:
        """What was to end in time is cancelled after it, as by the event loop's own limit."""
        ended: list[str] = []

        async def function() -> str:
            try:
                await anyio.sleep(1)
            except anyio.get_cancelled_exc_class():
                ended.append("cancelled")
                raise
            ended.append("in time")
            return "fine"

        async def stall() -> None:
            await settle_down()
            jump(60)

        breaker = CircuitBreaker("x", 9, timeout=5)
        for run in (partial(guarded, breaker, function), partial(by_its_own_limit, function)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stall)
                with suppress(CallTimeoutError):
                    await run()
        assert ended == ["cancelled", "cancelled"]

    @limited_ways
    async def test_a_clean_up_in_a_group_of_tasks(self, guarded: Guarded) -> None:
        """Its tasks are cancelled by the group, on both."""

        async def function() -> str:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hang)
                tasks.start_soon(hang)
            return "never"

        breaker = CircuitBreaker("x", 9, timeout=5)
        with pytest.raises(CallTimeoutError):
            await guarded(breaker, function)
        assert anyio.current_time() == 5.0
        assert (breaker.statistics().failed, breaker.statistics().in_flight) == (1, 0)

    @limited_ways
    async def test_the_task_goes_on_undisturbed(self, guarded: Guarded) -> None:
        """Nothing of a limit is left, whether it has ended the call or not, also in a scope."""
        breaker = CircuitBreaker("x", 99, timeout=5)
        for _ in range(5):
            with anyio.move_on_after(60) as scope:
                with pytest.raises(CallTimeoutError):
                    await guarded(breaker, hang)
                assert await guarded(breaker, lambda: take(4)) == "fine"
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.sleep, 9)
            assert not scope.cancelled_caught
        assert anyio.current_time() == 90.0


async def by_its_own_limit(function: Any) -> None:
    """Run it for five seconds at most, as users of that backend would."""
    if on_trio():
        with trio.move_on_after(5):
            await function()
    else:
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await function()


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@limited_ways
def test_a_clean_up_that_swallows_cancellations(backend: str, guarded: Guarded) -> None:
    """It is asked to end once, and not in each round of the event loop."""
    asked = 0

    async def function() -> str:
        nonlocal asked
        try:
            await hang()
        finally:
            job = asyncio.ensure_future(asyncio.sleep(3))
            while not job.done():
                try:
                    await asyncio.shield(job)
                except asyncio.CancelledError:
                    asked += 1
        return "never"

    async def main() -> None:
        with pytest.raises(CallTimeoutError):
            await guarded(CircuitBreaker("x", 9, timeout=5), function)
        assert (asked, anyio.current_time()) == (0, 8.0)

    run_in_virtual_time(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("stalls", [False, True])
@limited_ways
def test_a_cancellation_at_the_same_time(backend: str, stalls: bool, guarded: Guarded) -> None:
    """It wins, in whatever order the two come."""

    async def main() -> None:
        breaker = CircuitBreaker("x", 99, timeout=5)
        loop = asyncio.get_running_loop()
        await breaker.call(succeed)
        for before in (True, False):
            call = asyncio.ensure_future(guarded(breaker, hang))
            if before:
                loop.call_later(5, call.cancel)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not before:
                loop.call_later(5, call.cancel)
            if stalls:
                jump(60)
            with pytest.raises(asyncio.CancelledError):
                await call
            assert call.cancelled()
        now = breaker.statistics()
        assert (now.cancelled, now.failed, now.in_flight) == (2, 0, 0)

    run_in_virtual_time(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("guarded", [by_call, by_decorator, by_block])
def test_outside_of_any_task(backend: str, guarded: Guarded) -> None:
    """There is nothing that could be cancelled: an error, and the call has not begun."""
    errors: list[BaseException] = []

    def call_back(breaker: CircuitBreaker) -> None:
        try:
            guarded(breaker, pytest.fail).__await__().send(None)  # type: ignore[arg-type]
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        breaker = CircuitBreaker("x", 1, timeout=5)
        await breaker.call(succeed)
        asyncio.get_running_loop().call_soon(call_back, breaker)
        context = copy_context()
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
        asyncio.get_running_loop().call_soon(call_back, breaker, context=context)
        await settle_down()
        now = breaker.statistics()
        assert (len(errors), now.ignored, now.failed, now.in_flight) == (2, 2, 0, 0)

    run_in_virtual_time(main, backend=backend)


class TestNested:
    """Limits within limits."""

    @pytest.mark.parametrize(("inner", "outer", "seconds"), [(3, 5, 3.0), (5, 3, 3.0)])
    @limited_ways
    async def test_the_shorter_one_ends_both(
        self, guarded: Guarded, inner: float, outer: float, seconds: float
    ) -> None:
        """The inner call has failed if it was its own, and else it was cancelled."""
        inside = CircuitBreaker("inside", 9, timeout=inner)
        outside = CircuitBreaker("outside", 9, timeout=outer)
        with pytest.raises(CallTimeoutError, match=f"{seconds:g} s"):
            await guarded(outside, lambda: guarded(inside, hang))
        assert anyio.current_time() == seconds
        assert outside.statistics().failed == 1
        assert inside.statistics().failed == (1 if inner < outer else 0)
        assert inside.statistics().cancelled == (0 if inner < outer else 1)

    async def test_blocks_of_one_breaker(self) -> None:
        """Each has its own time."""
        breaker = CircuitBreaker("x", 9, timeout=5)
        with pytest.raises(CallTimeoutError):
            async with breaker:
                await anyio.sleep(3)
                with suppress(CallTimeoutError):
                    async with breaker:
                        await anyio.sleep(3)
        assert anyio.current_time() == 5.0
        now = breaker.statistics()
        assert (now.failed, now.cancelled, now.in_flight) == (1, 1, 0)

    async def test_a_scope_of_the_blocks_own(self) -> None:
        """It ends within, and the block goes on."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        async with breaker:
            with anyio.move_on_after(2):
                await hang()
            await anyio.sleep(2)
        assert breaker.statistics().succeeded == 1


class TestNotLimited:
    """What the limit does not apply to."""

    async def test_permits(self) -> None:
        """They may be held for as long as is needed."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        with await breaker.acquire():
            await anyio.sleep(60)
        permit = await breaker.acquire(wait=1)
        await anyio.sleep(60)
        permit.succeed()
        assert breaker.statistics().succeeded == 2

    async def test_threads(self) -> None:
        """Nothing can end one."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        assert await anyio.to_thread.run_sync(breaker.call_from_thread, lambda: "fine") == "fine"
        assert breaker.statistics().succeeded == 1

    async def test_waiting_to_be_admitted(self) -> None:
        """It has a limit of its own."""
        async with half_open(timeout=5, recovery_timeout=10) as breaker:
            permit = await breaker.acquire()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(breaker.waiting(60).call, take, 4)
                await anyio.sleep(20)
                permit.succeed()
            assert breaker.statistics().succeeded == 2

    async def test_a_circuit_that_was_given_up(self) -> None:
        """Its calls pass unguarded."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", timeout=5)
            await breaker.call(succeed)
            circuit = supervisor.find("x")
            assert circuit is not None
            give_up(circuit, "allow")
            assert await breaker.call(take, 60) == "fine"


class TestMisuse:
    """With a limit as without one."""

    @pytest.mark.parametrize("ways", ["call", "waiting", "fallback"])
    async def test_what_is_no_async_function(self, ways: str) -> None:
        """It is pointed out, and does not count against the dependency."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        call: Any = breaker.waiting(9).call if ways == "waiting" else breaker.call
        options = {"fallback": None} if ways == "fallback" else {}
        for function in (lambda: 42, lambda: None, lambda _: succeed()):
            with pytest.raises(TypeError, match=r"^CircuitBreaker\.call needs an async function"):
                await call(function, **options)
        now = breaker.statistics()
        assert (now.state, now.ignored, now.failed) == ("closed", 3, 0)

    @limited_ways
    async def test_a_type_error_of_the_function_is_a_failure(self, guarded: Guarded) -> None:
        """Only the breaker's own call is looked at."""

        async def function() -> str:
            raise TypeError("inside")

        breaker = CircuitBreaker("x", 1, timeout=5)
        with pytest.raises(TypeError) as caught:
            await guarded(breaker, function)
        assert not hasattr(caught.value, "__notes__")
        assert breaker.state is CircuitState.OPEN

    @limited_ways
    async def test_a_refused_call(self, guarded: Guarded) -> None:
        """It does not begin, and leaves no limit behind."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        await breaker.call(succeed)
        breaker.force_open()
        with anyio.move_on_after(60):
            with pytest.raises(CircuitBreakerOpenError):
                await guarded(breaker, pytest.fail)
            await anyio.sleep(50)
        await settle_down()
        assert breaker.statistics().rejected == 1

    async def test_arguments_are_passed_on(self) -> None:
        """Also those that are called like the guard's own."""

        async def function(*args: int, **kwargs: int) -> tuple[Any, ...]:
            return args, kwargs

        breaker = CircuitBreaker("x", timeout=5)
        expected = ((1, 2), {"seconds": 3, "func": 4, "circuit": 5})
        assert await breaker.call(function, 1, 2, seconds=3, func=4, circuit=5) == expected
        assert await breaker(function)(1, 2, seconds=3, func=4, circuit=5) == expected
