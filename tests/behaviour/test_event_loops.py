"""One event loop, one set of circuits: loops one after another, at once, and ending early."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio
import uvloop

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitStoppedError,
    PolicyConflictError,
    Supervisor,
    app_settings,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_api_call,
    with_circuit_breaker,
)
from supervisor.supervision import current_supervisor
from supervisor.testing import VirtualTimeLoop
from tests.support.worlds import (
    Down,
    Guarded,
    collect_garbage,
    every_way,
    fail,
    fail_times,
    is_refused,
    succeed,
)

pytestmark = pytest.mark.usefixtures("known_settings")  # for real time, which reading takes

Run = Callable[[Callable[[], Awaitable[Any]]], Any]
NewLoop = Callable[[], asyncio.AbstractEventLoop]

both_loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@pytest.fixture
def run(anyio_backend: tuple[str, dict[str, Any]]) -> Run:
    """Run an async function in an event loop of its own, and look for what it leaves behind."""
    backend, options = anyio_backend
    del options["clock" if backend == "trio" else "loop_factory"]

    def run_once(main: Callable[[], Awaitable[Any]]) -> Any:
        result = anyio.run(main, backend=backend, backend_options=options)
        collect_garbage()  # an unfinished coroutine or task would warn now, and warnings are errors
        return result

    return run_once


def test_nothing_survives_into_the_next_loop(run: Run) -> None:
    """A breaker that was open in one loop is closed, and at zero, in the next one."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        assert (breaker.state, breaker.failure_count) == ("closed", 0)
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN
        assert breaker.statistics().started == 1

    for _ in range(5):
        run(main)


def test_a_decorated_function_serves_many_loops(run: Run) -> None:
    """A module's decorated function can be used in every loop that comes."""

    @CircuitBreaker("x", failure_threshold=2)
    async def function() -> str:
        return await fail()

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(Down):
                await function()
        with pytest.raises(CircuitBreakerOpenError):
            await function()

    for _ in range(3):
        run(main)


def test_after_its_loop_a_breaker_shows_its_last_figures(run: Run) -> None:
    """What was counted can be read after the run, until the breaker is used again."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        await breaker.call(succeed)
        await fail_times(breaker, 1)

    run(main)
    now = breaker.statistics()
    assert (now.running, now.state, now.succeeded, now.failed) == (False, "open", 1, 1)
    breaker.reset()
    assert breaker.state is CircuitState.OPEN


def test_the_registry_is_per_loop(run: Run) -> None:
    """Each loop has its own circuit of a name, and none is left outside."""

    async def main() -> CircuitBreaker:
        breaker = await get_circuit_breaker("x")
        assert get_circuit_breaker_sync("x") is breaker
        return breaker

    first, second = run(main), run(main)
    assert first is not second
    assert get_circuit_breaker_sync("x") is None


def test_a_supervisors_breaker_ends_with_its_loop(run: Run) -> None:
    """A breaker that a supervisor made is stopped for ever when its loop has ended."""
    breakers: list[CircuitBreaker] = []

    async def make() -> None:
        breakers.append(await get_circuit_breaker("x"))
        await breakers[0].call(succeed)

    async def use() -> None:
        with pytest.raises(CircuitStoppedError) as caught:
            await breakers[0].call(succeed)
        assert str(caught.value) == (
            "circuit 'x' belongs to another event loop, which has ended or runs elsewhere;"
            " ask a supervisor of the running one for a circuit by name"
        )

    run(make)
    run(use)


@pytest.mark.parametrize("ticks", range(6))
def test_a_loop_that_ends_at_once(run: Run, ticks: int) -> None:
    """However early a loop ends after the first use, nothing is left and nothing warns."""
    breaker = CircuitBreaker("x")
    made: list[CircuitBreaker] = []

    async def main() -> None:
        made.append(await get_circuit_breaker("y"))
        asking = breaker.call(succeed)
        if sniffio.current_async_library() == "asyncio":
            made_task = asyncio.ensure_future(asking)
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            del made_task
        else:
            with anyio.move_on_after(0):
                await asking
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()

    async def again() -> None:
        assert await breaker.call(succeed) == "fine"
        with pytest.raises(CircuitStoppedError):
            await made[0].call(succeed)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main)
        run(again)


def test_a_circuit_whose_actor_never_ran() -> None:
    """A circuit created in the last moment of its loop is refused in the next."""
    _ = app_settings.circuit_breaker  # or that moment would pass while they are read
    made: list[CircuitBreaker] = []
    made_last: list[asyncio.Future[None]] = []

    async def make() -> None:
        made.append(await get_circuit_breaker("x"))

    async def main() -> None:
        made_last.append(asyncio.ensure_future(make()))

    async def again() -> None:
        with pytest.raises(CircuitStoppedError, match="another event loop"):
            await made[0].call(succeed)
        assert await CircuitBreaker("x").call(succeed) == "fine"

    asyncio.run(main())
    asyncio.run(again())
    collect_garbage()


def test_a_cancelled_run_leaves_nothing(run: Run) -> None:
    """A run that fails while calls are in flight ends without a word from the circuits."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        async with Supervisor(), anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(breaker.call, anyio.sleep_forever)
            await anyio.sleep(0.001)
            raise ValueError("the end")

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(ValueError, match="the end")
    now = breaker.statistics()
    assert (now.cancelled, now.failed, now.in_flight) == (10, 0, 0)


def test_tasks_that_asyncio_cancels_at_the_end_are_answered() -> None:
    """A task that guards its clean-up while `asyncio.run` cancels everything does not hang."""
    answers: list[str] = []
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.01)

    async def worker() -> None:
        try:
            await fail_times(breaker, 1)
            await asyncio.sleep(3600)
        finally:
            for _ in range(3):
                await asyncio.sleep(0.01)
                try:
                    answers.append(await breaker.call(succeed))
                except CircuitStoppedError:
                    answers.append("stopped")

    async def main() -> None:
        async with asyncio.timeout(10), Supervisor():
            task = asyncio.create_task(worker())
            await asyncio.sleep(0.001)
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
            await asyncio.wait([task])

    asyncio.run(main())
    assert answers == ["fine"] * 3


def test_a_guarded_clean_up_while_the_loop_ends() -> None:
    """It goes through, leaves no actor behind, and nothing of it survives into the next loop."""
    breaker = CircuitBreaker("x", failure_threshold=2, recovery_timeout=5)
    answers: list[str] = []

    async def first() -> None:
        async def worker() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                for number in range(5):
                    answers.append(await breaker.call(succeed))
                    answers.append(await CircuitBreaker(f"c{number}").call(succeed))
                    await asyncio.sleep(0)

        await breaker.call(succeed)
        tasks.append(asyncio.create_task(worker()))
        await asyncio.sleep(0)

    async def second() -> None:
        assert breaker.statistics().started == 0
        await fail_times(breaker, 2)
        assert breaker.state is CircuitState.OPEN

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(first())
    tasks.clear()
    collect_garbage()
    asyncio.run(second())
    assert answers == ["fine"] * 10


@every_way
def test_loops_that_take_turns(guarded: Guarded) -> None:
    """A breaker used in two loops of one thread has a circuit in each."""
    breaker = CircuitBreaker("x", failure_threshold=2)
    loops = [asyncio.new_event_loop() for _ in range(2)]

    async def fail_once(seen: int) -> None:
        with pytest.raises(Down):
            await guarded(breaker, fail)
        assert breaker.failure_count == seen + 1
        assert breaker.has_actor_here()
        assert not await anyio.to_thread.run_sync(breaker.has_actor_here)

    for seen in range(2):
        for loop in loops:
            loop.run_until_complete(fail_once(seen))
        assert not breaker.has_actor_here()
    for loop in loops:
        loop.run_until_complete(_finish())
        loop.close()


@both_loops
def test_a_breaker_that_comes_back_to_a_loop(new_loop: NewLoop) -> None:
    """It goes on by what it has had there, and joins anew whatever has been entered meanwhile."""
    breaker = CircuitBreaker("x")
    first, second = new_loop(), new_loop()

    async def count() -> int:
        await breaker.call(succeed)
        await asyncio.sleep(0)
        return breaker.statistics().started

    for seen in range(1, 4):
        assert [loop.run_until_complete(count()) for loop in (first, second)] == [seen, seen]
    stack = AsyncExitStack()
    supervisor = first.run_until_complete(stack.enter_async_context(Supervisor(on_give_up="allow")))
    assert first.run_until_complete(count()) == 1
    assert supervisor.figures().circuits["x"].started == 1
    assert second.run_until_complete(count()) == 4
    first.run_until_complete(stack.aclose())
    assert first.run_until_complete(count()) == 4
    for loop in (first, second):
        loop.run_until_complete(_finish())
        loop.close()


@both_loops
def test_a_loop_that_a_breaker_has_left_is_freed(new_loop: NewLoop) -> None:
    """Closed without a word, it goes as soon as nobody else keeps it, though it could come back."""
    breaker = CircuitBreaker("x")
    first, second = new_loop(), new_loop()
    for loop in (first, second, first, second):
        loop.run_until_complete(breaker.call(succeed))
    gone = weakref.ref(first)
    first.close()
    del first, loop
    collect_garbage()
    assert gone() is None
    assert second.run_until_complete(breaker.call(succeed)) == "fine"
    second.run_until_complete(_finish())
    second.close()


@both_loops
def test_a_breaker_comes_back_to_another_policy(new_loop: NewLoop) -> None:
    """It is told, as wherever it would join a circuit that goes by another one than its own."""
    breaker = CircuitBreaker("x", failure_threshold=5)
    loops = first, second = new_loop(), new_loop()
    for loop in loops:
        loop.run_until_complete(breaker.call(succeed))

    async def reconfigure() -> None:
        await breaker.call(succeed)
        breaker.reconfigure(failure_threshold=1)
        await asyncio.sleep(0)

    first.run_until_complete(reconfigure())
    with pytest.raises(PolicyConflictError):
        second.run_until_complete(breaker.call(succeed))
    for loop in loops:
        loop.run_until_complete(_finish())
        loop.close()


def test_a_loop_that_was_closed_without_a_word() -> None:
    """Tasks that nobody cancelled hold the circuit of a later loop up in no way."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    first = asyncio.new_event_loop()
    first.run_until_complete(fail_times(breaker, 1))

    async def second() -> None:
        assert await breaker.call(succeed) == "fine"
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN

    asyncio.run(second())
    first.run_until_complete(_finish())
    first.close()


def test_loops_in_several_threads(run: Run) -> None:
    """One breaker may serve the loops of several threads: each has a circuit of its own."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    turn = threading.Barrier(2, timeout=10)
    seen: dict[str, list[str]] = {"failing": [], "healthy": []}

    async def main(name: str) -> None:
        for _ in range(20):
            turn.wait()
            if name == "failing":
                with pytest.raises((Down, CircuitBreakerOpenError)):
                    await breaker.call(fail)
            else:
                await breaker.call(succeed)
            seen[name].append(breaker.state.value)

    threads = [threading.Thread(target=run, args=[functools.partial(main, name)]) for name in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"failing": ["open"] * 20, "healthy": ["closed"] * 20}


def test_a_permit_stays_in_its_thread(run: Run) -> None:
    """Settling or resetting from another thread is refused before anything has changed."""

    async def main() -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        permit = await breaker.acquire()
        for use in (permit.succeed, permit.fail, permit.ignore):
            with pytest.raises(RuntimeError, match=r"breaker\.sync\.ask"):
                await anyio.to_thread.run_sync(use)
        await anyio.to_thread.run_sync(anyio.from_thread.run_sync, permit.fail)
        assert breaker.state is CircuitState.OPEN

    run(main)


def test_many_loops_leave_nothing() -> None:
    """The supervisors of loops that have ended are garbage."""

    async def main() -> None:
        await CircuitBreaker("x").call(succeed)
        made.append(weakref.ref(current_supervisor()))

    made: list[weakref.ref[Supervisor]] = []
    for _ in range(20):
        asyncio.run(main())
    collect_garbage()
    assert [supervisor for reference in made if (supervisor := reference())] == []


def test_reports_between_two_runs() -> None:
    """What is settled while a loop is paused counts, at the latest time that the circuit knows."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    loop = asyncio.new_event_loop()
    permits = [loop.run_until_complete(breaker.acquire()) for _ in range(4)]
    for permit in permits:
        permit.fail()
    now = breaker.statistics()
    assert (now.state, now.failed, now.stale, now.restarts) == ("open", 4, 3, 0)
    loop.run_until_complete(_finish())
    assert breaker.statistics().restarts == 0
    loop.close()


async def _finish() -> None:
    """Cancel what is left of a loop that is run by hand."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_tasks_that_are_cancelled_before_their_first_step() -> None:
    """A circuit whose task somebody cancels at once is stopped, and its callers are answered."""

    async def main() -> None:
        async with asyncio.timeout(10), Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            assert await breaker.call(succeed) == "fine"  # admitted by the circuit's last turn
            with pytest.raises(CircuitStoppedError):
                await breaker.call(succeed)
            assert await supervisor.circuit("x").call(succeed) == "fine"

    asyncio.run(main())


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize("ticks", range(6))
def test_state_and_call_agree_after_all_other_tasks_were_cancelled(
    entered: bool, ticks: int
) -> None:
    """A circuit that is gone with its actor is not read any more: a call would start another."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            if entered:
                await stack.enter_async_context(Supervisor())
            await fail_times(breaker, 1)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            for _ in range(ticks):
                await asyncio.sleep(0)
            state = breaker.state
            try:
                refused = await is_refused(breaker)
            except CircuitStoppedError:  # it asked an actor that was cancelled already
                refused = True
            assert refused == (state is CircuitState.OPEN)

    asyncio.run(main())


def test_somebody_cancels_all_other_tasks_and_goes_on() -> None:
    """A loop whose tasks were cancelled, but which runs on, guards its calls as before."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        await fail_times(breaker, 1)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)
        assert await breaker.call(succeed) == "fine"
        await fail_times(breaker, 1)
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.call(succeed)
        async with Supervisor() as supervisor:
            other = supervisor.circuit("y", failure_threshold=1)
            await fail_times(other, 1)
            assert other.state is CircuitState.OPEN

    asyncio.run(main())


def test_an_open_circuit_stays_open_while_its_loop_ends() -> None:
    """A clean-up may use what works, and is kept from what does not."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    refused: list[bool] = []

    async def main() -> None:
        async def worker() -> None:
            await fail_times(breaker, 1)
            try:
                await asyncio.sleep(100)
            finally:
                for _ in range(5):
                    try:
                        await breaker.call(succeed)
                    except CircuitBreakerOpenError:
                        refused.append(True)
                    await asyncio.sleep(0)

        tasks.append(asyncio.create_task(worker()))
        await asyncio.sleep(0.01)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(main())
    assert refused == [True] * 5


def test_circuits_are_started_on_their_supervisors_loop(run: Run) -> None:
    """Another thread is refused, and neither starts nor stops anything."""

    async def main() -> None:
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            for use in (
                functools.partial(supervisor.circuit, "y"),
                functools.partial(supervisor.stop, "x"),
                breaker.statistics,
            ):
                with pytest.raises(RuntimeError, match="event loop"):
                    await anyio.to_thread.run_sync(use)
            assert list(supervisor) == ["x"]

    run(main)


@pytest.mark.anyio
async def test_a_breaker_reads_the_circuit_that_took_the_place_of_its_own() -> None:
    """As it would be called; until there is one, it reads as the new one will begin."""
    breaker = CircuitBreaker("x", failure_threshold=3)
    async with Supervisor() as supervisor:
        await breaker.call(succeed)
        supervisor.stop("x")
        assert breaker.statistics().succeeded == 0
        await fail_times(supervisor.circuit("x", failure_threshold=3), 1)
        assert (breaker.statistics().succeeded, breaker.failure_count) == (0, 1)


def test_a_breaker_is_as_new_on_a_loop_that_has_not_used_it(run: Run) -> None:
    """Its figures say so, and still have its name."""
    breaker = CircuitBreaker("x", failure_threshold=3)

    async def use() -> None:
        await fail_times(breaker, 1)

    async def read() -> None:
        figures = breaker.statistics()
        assert (figures.name, figures.state, figures.started) == ("x", CircuitState.CLOSED, 0)
        assert breaker.failure_threshold == 3

    run(use)
    run(read)


def test_a_report_from_a_callback_has_its_time() -> None:
    """Callbacks run outside any task, where nobody but the loop itself knows the time."""
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=30)

    async def main() -> None:
        permit = await breaker.acquire()
        await asyncio.sleep(3_600)
        asyncio.get_running_loop().call_soon(permit.fail)
        await asyncio.sleep(1)
        assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 29)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())


def test_a_first_use_while_the_task_is_cancelled(run: Run) -> None:
    """Those calls may pass unguarded; later ones are guarded as always."""
    breaker = CircuitBreaker("x", failure_threshold=1)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep(1)
            finally:
                with anyio.CancelScope(shield=True):
                    assert await breaker.call(succeed) == "fine"
        await fail_times(breaker, 1)
        assert await is_refused(breaker)
        assert breaker.statistics().failed == 1

    run(main)


@pytest.mark.parametrize("decorate", [with_circuit_breaker("x"), retry_api_call()])
def test_a_decorated_function_keeps_no_ended_loop(enabled: None, decorate: Any) -> None:
    """What it has found for a fast look-up is the supervisor's, and goes with it."""
    decorated = decorate(succeed)

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        await decorated()
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    collect_garbage()
    assert loop() is None
    assert asyncio.run(decorated()) == "fine"


def test_look_ups_while_loops_of_other_threads_come_and_go() -> None:
    """The functions for all circuits look at what other threads change meanwhile."""
    ended = threading.Event()

    async def main() -> None:
        async with Supervisor(), Supervisor(), Supervisor():
            pass

    def work() -> None:
        for _ in range(60):
            asyncio.run(main())
        ended.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while not ended.is_set():
            assert get_circuit_breaker_sync("nobody") is None
        thread.join()
    finally:
        sys.setswitchinterval(interval)
