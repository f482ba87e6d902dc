"""`keep="process"`: circuits that go on on the next event loop of the process."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerSettings,
    CircuitCrashedError,
    CircuitReconfigured,
    CircuitStarted,
    Policy,
    SettingsError,
    StateChanged,
    Statistics,
    Supervisor,
    app_settings,
    clear_circuit_breaker_registry,
    current_supervisor,
    forget_kept_circuits,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    replay_file,
    with_circuit_breaker,
)
from supervisor.circuit import Window
from supervisor.loop import event_loop
from supervisor.machine import Machine
from supervisor.supervision import keeping
from supervisor.testing import (
    Backend,
    Transitions,
    clear_circuits,
    disabled_circuits,
    loop_factory,
    run_in_virtual_time,
)
from tests.support.process_time import Process, process
from tests.support.worlds import (
    BACKENDS,
    Dependency,
    Down,
    changes_in,
    collect_garbage,
    crash,
    fail,
    fail_times,
    is_refused,
    settle_down,
    succeed,
)

Main = Callable[[Supervisor], Awaitable[Any]]

backends = pytest.mark.parametrize("backend", BACKENDS)
on_asyncio = pytest.mark.parametrize("backend", ["asyncio", "uvloop"])


@pytest.fixture(autouse=True)
def in_a_process() -> Iterator[Process]:
    with process() as new:
        yield new


@pytest.fixture(name="proc")
def _proc(in_a_process: Process) -> Process:
    return in_a_process


@pytest.fixture
def kept_by_default() -> None:
    app_settings.circuit_breaker.keep = "process"


def run(proc: Process, main: Main, backend: Backend = "asyncio", **limits: Any) -> Any:
    """Run `main` in the block of a supervisor on an event loop of its own."""

    async def in_block() -> Any:
        async with Supervisor(keep="process", **limits) as supervisor:
            return await main(supervisor)

    return proc.run(in_block, backend)


def opening(after: float = 0.0, **policy: Any) -> Main:
    """Return what opens the circuit "x", and ends so many seconds later."""

    async def main(supervisor: Supervisor) -> None:
        breaker = supervisor.circuit("x", **policy)
        await fail_times(breaker, breaker.failure_threshold)
        assert breaker.state == "open"
        await anyio.sleep(after)

    return main


def reading(**policy: Any) -> Main:
    """Return what reads the figures of "x"."""

    async def main(supervisor: Supervisor) -> Statistics:
        return supervisor.circuit("x", **policy).statistics()

    return main


async def outcome_of(breaker: CircuitBreaker, function: Callable[[], Awaitable[str]]) -> str:
    """Return what a task says that makes one call."""
    try:
        return await breaker.call(function)
    except Down:
        return "down"
    except CircuitBreakerOpenError as refusal:
        return f"refused for {refusal.retry_after:g} s"


class TestOneLoopPerTask:
    """What workers do: a new event loop for every task."""

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_dead_server_is_called_as_often_as_in_one_loop(
        self, proc: Process, backend: Backend
    ) -> None:
        """Three of fifty calls reach it, with a breaker of the default supervisors'."""
        breaker = CircuitBreaker("x")
        task = partial(outcome_of, breaker, fail)
        said = [proc.run(task, backend) for _ in range(50)]
        assert said == ["down"] * 3 + ["refused for 30 s"] * 47

    @backends
    def test_off_by_default(self, proc: Process, backend: Backend) -> None:
        """Without `keep`, all fifty do."""
        breaker = CircuitBreaker("x")
        task = partial(outcome_of, breaker, fail)
        assert [proc.run(task, backend) for _ in range(50)] == ["down"] * 50
        app_settings.circuit_breaker.keep = "process"
        assert proc.run(task, backend) == "down"

    @pytest.mark.parametrize(("first", "second"), list(product(BACKENDS, BACKENDS)))
    def test_the_time_between_loops_counts(
        self, proc: Process, first: Backend, second: Backend
    ) -> None:
        """30 s are over after 2 s in the one loop, 5 s without any, and 23 s in the other."""

        async def main(supervisor: Supervisor) -> None:
            transitions = Transitions(supervisor)
            breaker = supervisor.circuit("x")
            assert (breaker.state, breaker.retry_after) == ("open", 23.0)
            assert await is_refused(breaker)
            await anyio.sleep(22.5)
            assert await is_refused(breaker)
            await anyio.sleep(0.5)
            assert await breaker.call(succeed) == "fine"
            changes = await transitions.all()
            assert [(each.to_state, each.at) for each in changes] == [
                ("half_open", 23.0),
                ("closed", 23.0),
            ]

        run(proc, opening(2.0), first)
        proc.now += 5.0
        run(proc, main, second)

    @backends
    def test_it_recovers_while_no_loop_runs(self, proc: Process, backend: Backend) -> None:
        """What was due meanwhile has come about at its time, before the loop began."""

        async def main(supervisor: Supervisor) -> None:
            transitions = Transitions(supervisor)
            breaker = supervisor.circuit("x", success_threshold=2)
            assert breaker.state == "half_open"
            await breaker.call(succeed)
            (change,) = await transitions.all()
            assert (change.from_state, change.to_state, change.at) == ("open", "half_open", -70.0)

        run(proc, opening(success_threshold=2), backend)
        proc.now += 100.0
        run(proc, main, backend)
        assert run(proc, reading(success_threshold=2), backend).state == "half_open"

    @backends
    def test_figures_go_on(self, proc: Process, backend: Backend) -> None:
        """Statistics count since the first of the circuits was created."""

        async def main(supervisor: Supervisor) -> Statistics:
            breaker = supervisor.circuit("x", failure_threshold=4)
            await breaker.call(succeed)
            await fail_times(breaker, 2)
            return breaker.statistics()

        first, second, third = (run(proc, main, backend) for _ in range(3))
        assert (first.started, first.succeeded, first.failed, first.failure_count) == (3, 1, 2, 2)
        assert (third.started, third.succeeded, third.failed, third.failure_count) == (9, 3, 6, 2)
        assert second.in_flight == third.in_flight == third.times_opened == 0

    @backends
    def test_failures_in_a_row_go_on(self, proc: Process, backend: Backend) -> None:
        async def main(supervisor: Supervisor) -> str:
            breaker = supervisor.circuit("x")
            await fail_times(breaker, 1)
            return breaker.state

        assert [run(proc, main, backend) for _ in range(3)] == ["closed", "closed", "open"]

    @backends
    def test_an_opening_is_told_once(self, proc: Process, backend: Backend) -> None:
        """By the loop where it happened, and no more at the beginning of the next one."""
        changes: list[Any] = []

        async def main(supervisor: Supervisor) -> None:
            events = supervisor.events()
            breaker = supervisor.circuit("x", failure_threshold=1)
            await outcome_of(breaker, fail)
            changes.append([each.to_state for each in await changes_in(events)])

        for _ in range(3):
            run(proc, main, backend)
        assert changes == [["open"], [], []]

    @pytest.mark.usefixtures("kept_by_default")
    def test_an_opening_that_a_loop_could_not_tell(self, proc: Process) -> None:
        """A task that ends with the failure leaves the actor no turn: the next loop tells it."""
        breaker = CircuitBreaker("x", failure_threshold=1)

        async def listen() -> list[tuple[str, float]]:
            supervisor = Supervisor(keep="process")
            events = supervisor.events()
            async with supervisor:
                await outcome_of(breaker, fail)
                return [(each.to_state, each.at) for each in await changes_in(events)]

        assert proc.run(partial(outcome_of, breaker, fail)) == "down"
        proc.now += 5.0
        assert proc.run(listen) == [("open", -5.0)]
        assert proc.run(listen) == []

    @backends
    def test_one_loop_for_two_supervisors(self, proc: Process, backend: Backend) -> None:
        """A second block on the same loop goes on where the first one has ended."""

        async def main() -> None:
            for refused in (False, True, True):
                async with Supervisor(keep="process") as supervisor:
                    breaker = supervisor.circuit("x", failure_threshold=1)
                    assert await is_refused(breaker) is refused
                    await outcome_of(breaker, fail)
                await anyio.sleep(1)
            async with Supervisor() as supervisor:
                assert not await is_refused(supervisor.circuit("x"))

        proc.run(main, backend)

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_what_is_read_before_the_first_call(self, proc: Process, backend: Backend) -> None:
        """A breaker reads as its circuit will when a call starts it; reading starts nothing."""
        breaker = CircuitBreaker("x", failure_threshold=1)

        async def read() -> tuple[str, float]:
            seen = (breaker.state.value, breaker.retry_after)
            assert get_circuit_breaker_sync("x") is None
            return seen

        async def read_under(keep: Any) -> str:
            async with Supervisor(keep=keep):
                return breaker.state

        assert proc.run(read, backend) == ("closed", 0.0)
        proc.run(partial(outcome_of, breaker, fail), backend)
        proc.now += 10.0
        assert proc.run(read, backend) == ("open", pytest.approx(20.0))
        assert proc.run(partial(read_under, "process"), backend) == "open"
        assert proc.run(partial(read_under, None), backend) == "closed"
        proc.now += 20.0
        assert proc.run(read, backend) == ("half_open", 0.0)
        app_settings.circuit_breaker.keep = None
        assert proc.run(read, backend) == ("closed", 0.0)

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_what_is_read_where_no_loop_runs(self, proc: Process, backend: Backend) -> None:
        """The time goes on there, too: plain code may decide by it whether to start a loop."""
        used, unused = (CircuitBreaker("x", failure_threshold=1) for _ in range(2))
        proc.run(partial(outcome_of, used, fail), backend)
        for breaker in (used, unused):
            proc.now += 10.0
            assert breaker.state == "open"
        assert used.retry_after == unused.statistics().retry_after == pytest.approx(10.0)
        proc.now += 10.0
        assert used.state == unused.state == "half_open"
        forget_kept_circuits()
        assert (used.state, unused.state) == ("open", "closed")

    @on_asyncio
    @pytest.mark.usefixtures("kept_by_default")
    def test_what_is_read_after_a_loop_that_has_not_cancelled_its_tasks(
        self, proc: Process, backend: Backend
    ) -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        loop = loop_factory(backend)()
        loop.run_until_complete(outcome_of(breaker, fail))
        proc.now += 10.0
        assert breaker.retry_after == pytest.approx(30.0, abs=1.0)  # it pauses
        loop.close()
        assert breaker.retry_after == pytest.approx(20.0, abs=1.0)

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_change_by_hand_before_the_first_call(self, proc: Process, backend: Backend) -> None:
        """The circuit goes on for it, if there is one."""
        breaker = CircuitBreaker("x", failure_threshold=1)

        async def reset() -> str:
            breaker.reset()
            return breaker.state

        async def force() -> str:
            breaker.force_open()
            return breaker.state

        async def release() -> str:
            breaker.release()
            return breaker.state

        async def change_what_is_not_there() -> None:
            CircuitBreaker("y").reset()
            with pytest.raises(RuntimeError, match="not running here"):
                CircuitBreaker("y").release()
            assert get_circuit_breaker_sync("y") is None

        proc.run(partial(outcome_of, breaker, fail), backend)
        with pytest.raises(anyio.NoEventLoopError):
            breaker.reset()
        assert proc.run(reset, backend) == "closed"
        assert breaker.state == "closed"
        assert proc.run(partial(outcome_of, breaker, succeed), backend) == "fine"
        assert proc.run(force, backend) == "forced_open"
        assert proc.run(release, backend) == "closed"
        proc.run(change_what_is_not_there, backend)

    def test_virtual_time_may_have_been_ahead(self, proc: Process) -> None:
        """Where time jumps, the process's clock does not: what is kept is not from the future."""

        async def main() -> None:
            await anyio.sleep(1000)
            async with Supervisor(keep="process") as supervisor:
                await opening()(supervisor)

        async def read() -> float:
            async with Supervisor(keep="process") as supervisor:
                return supervisor.circuit("x").retry_after

        run_in_virtual_time(main)  # the process's clock stands still
        assert run_in_virtual_time(read) == 30.0
        proc.now += 1.0
        assert run_in_virtual_time(read) == 29.0


class TestWindows:
    """What is remembered of the last seconds leaves at the very time at which it would have."""

    @backends
    @pytest.mark.parametrize("between", [0.0, 0.375, 7.25])
    def test_the_steps_of_a_window(self, proc: Process, backend: Backend, between: float) -> None:
        """A failure at 1.25 s leaves a window of 10 s when the step ends at 11 s, whenever the
        next loop has begun.
        """
        policy: dict[str, Any] = {"window_seconds": 10.0, "failure_threshold": 5}
        first_at = 1.25

        async def first(supervisor: Supervisor) -> None:
            await anyio.sleep(first_at)
            await fail_times(supervisor.circuit("x", **policy), 1)
            await anyio.sleep(0.5)

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", **policy)
            await anyio.sleep(11.0 - first_at - 0.5 - between - 2**-10)
            assert breaker.failure_count == 1
            await anyio.sleep(2**-10)
            assert breaker.failure_count == 0

        run(proc, first, backend)
        proc.now += between
        run(proc, second, backend)

    @backends
    def test_runs_of_successes_end_with_the_steps(self, proc: Process, backend: Backend) -> None:
        """Successes that are reported together are of one step of the moved window."""
        policy: dict[str, Any] = {
            "window_seconds": 10.0,
            "failure_rate": 0.5,
            "minimum_calls": 4,
        }

        async def first(supervisor: Supervisor) -> None:
            await anyio.sleep(0.5)
            await supervisor.circuit("x", **policy).call(succeed)

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", **policy)
            await anyio.sleep(0.125)
            await breaker.call(succeed)  # at 0.875 s by the first loop's clock
            await anyio.sleep(0.25)
            await breaker.call(succeed)  # at 1.125 s, which is another step
            await anyio.sleep(8.875 + 2**-10)  # the first two have left the window
            await fail_times(breaker, 3)
            assert breaker.state == "open"

        run(proc, first, backend)
        proc.now += 0.25
        run(proc, second, backend)

    @backends
    def test_another_window_begins_where_the_first_one_did(
        self, proc: Process, backend: Backend
    ) -> None:
        async def first(supervisor: Supervisor) -> None:
            await anyio.sleep(0.5)
            await supervisor.circuit("x").call(succeed)

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x")
            breaker.reconfigure(window_seconds=10.0, failure_rate=0.75, minimum_calls=2)
            await fail_times(breaker, 1)
            await anyio.sleep(9.5)
            await breaker.call(succeed)
            await fail_times(breaker, 1)
            assert (breaker.state, breaker.failure_count) == ("closed", 1)

        run(proc, first, backend)
        run(proc, second, backend)

    @backends
    def test_a_recording_agrees(self, proc: Process, backend: Backend) -> None:
        """It knows where the steps of the windows begin."""
        policy: dict[str, Any] = {
            "window_seconds": 5.0,
            "failure_rate": 0.3,
            "minimum_calls": 3,
            "throttle": 2.0,
            "retry_budget": 0.5,
        }

        async def first(supervisor: Supervisor) -> None:
            await anyio.sleep(0.25)
            await supervisor.circuit("x", **policy).call(succeed)

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", **policy)
            recording = supervisor.record("x")
            for _ in range(5):
                await breaker.call(succeed)
                await anyio.sleep(0.625)
            await fail_times(breaker, 3)
            await outcome_of(breaker, fail)
            recording.write("x.jsonl")

        run(proc, first, backend)
        proc.now += 0.125
        run(proc, second, backend)
        replay = replay_file("x.jsonl")
        assert replay.agrees
        assert replay.transitions


class TestCallersThatHaveGone:
    """Calls of an ended loop run no more."""

    @backends
    def test_the_places_of_probes_are_free(self, proc: Process, backend: Backend) -> None:
        """A probe that ran when its loop ended was cancelled, and another one may run."""
        policy: dict[str, Any] = {"failure_threshold": 1, "success_threshold": 2}
        dependency = Dependency()

        async def first() -> None:
            async with anyio.create_task_group() as tasks:
                async with Supervisor(keep="process") as supervisor:
                    breaker = supervisor.circuit("x", **policy)
                    await opening(30.0, **policy)(supervisor)
                    await breaker.call(succeed)
                    tasks.start_soon(breaker.call, dependency.call)
                    await settle_down()
                    assert await is_refused(breaker)
                tasks.cancel_scope.cancel()

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", **policy)
            figures = breaker.statistics()
            assert (figures.state, figures.cancelled, figures.in_flight) == ("half_open", 1, 0)
            await breaker.call(succeed)
            assert breaker.state == "closed"

        proc.run(first, backend)
        run(proc, second, backend)

    @backends
    def test_the_time_for_a_verdict_goes_on(self, proc: Process, backend: Backend) -> None:
        policy: dict[str, Any] = {
            "failure_threshold": 1,
            "success_threshold": 2,
            "half_open_timeout": 8.0,
        }

        async def first(supervisor: Supervisor) -> None:
            await opening(30.0, **policy)(supervisor)
            await supervisor.circuit("x", **policy).call(succeed)
            await anyio.sleep(3.0)

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", **policy)
            await anyio.sleep(2.5)
            assert breaker.state == "half_open"
            await anyio.sleep(0.5)
            await settle_down()
            assert breaker.state == "open"

        run(proc, first, backend)
        proc.now += 2.0
        run(proc, second, backend)

    @backends
    def test_a_permit_of_an_ended_loop_is_stale(self, proc: Process, backend: Backend) -> None:
        """Whatever it reports changes nothing on the next one."""

        async def first(supervisor: Supervisor) -> Any:
            breaker = supervisor.circuit("x")
            return [await breaker.acquire() for _ in range(4)]

        async def second(supervisor: Supervisor) -> Statistics:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            for permit in permits:
                permit.fail(Down("down"))
            await settle_down()
            return breaker.statistics()

        permits = run(proc, first, backend)
        figures = run(proc, second, backend)
        assert (figures.state, figures.failed, figures.cancelled) == ("closed", 0, 4)
        assert run(proc, reading(), backend) == figures

    @backends
    def test_periods_never_repeat(self, proc: Process, backend: Backend) -> None:
        periods: list[int] = []

        async def main(supervisor: Supervisor) -> None:
            events = supervisor.events()
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            await anyio.sleep(30)
            await breaker.call(succeed)
            periods.extend(each.period for each in await changes_in(events))

        for _ in range(3):
            run(proc, main, backend)
        assert periods == list(range(1, 10))

    @backends
    def test_who_waits_is_answered_and_counts_as_cancelled(
        self, proc: Process, backend: Backend
    ) -> None:
        async def first() -> None:
            async with anyio.create_task_group() as tasks:
                async with Supervisor(keep="process") as supervisor:
                    await opening()(supervisor)
                    waiting = supervisor.circuit("x").waiting(1000)
                    tasks.start_soon(ended, waiting)
                    await settle_down()
                    assert supervisor.circuit("x").statistics().waiting == 1

        async def ended(waiting: Any) -> None:
            with pytest.raises(Exception, match="has been stopped"):
                await waiting.call(succeed)

        proc.run(first, backend)
        figures = run(proc, reading(), backend)
        assert (figures.state, figures.waiting, figures.in_flight) == ("open", 0, 0)
        assert (figures.started, figures.cancelled) == (4, 1)

    @backends
    def test_a_slow_call_that_had_been_counted(self, proc: Process, backend: Backend) -> None:
        """It was cancelled with its loop, and is taken back as if it had ended there."""
        policy: dict[str, Any] = {
            "slow_call_duration": 1.0,
            "slow_call_rate": 1.0,
            "window_calls": 4,
            "minimum_calls": 3,
        }

        async def first() -> None:
            async with anyio.create_task_group() as tasks:
                async with Supervisor(keep="process") as supervisor:
                    breaker = supervisor.circuit("x", **policy)
                    tasks.start_soon(breaker.call, Dependency().call)
                    tasks.start_soon(breaker.call, Dependency().call)
                    await anyio.sleep(2)
                    assert breaker.statistics().window == Window(2, 0, 2)
                tasks.cancel_scope.cancel()

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", **policy)
            figures = breaker.statistics()
            assert (figures.window, figures.cancelled) == (Window(0, 0, 0), 2)
            for state in ("closed", "closed", "open"):
                await breaker.call(partial(anyio.sleep, 1))  # type: ignore[arg-type]
                assert breaker.state == state

        proc.run(first, backend)
        run(proc, second, backend)


class TestEnds:
    """However an event loop ends, it hands on what was known there."""

    @on_asyncio
    @pytest.mark.parametrize("collected", [False, True])
    @pytest.mark.parametrize("in_block", [False, True])
    @pytest.mark.usefixtures("kept_by_default")
    @pytest.mark.usefixtures("known_settings")  # or a thread that has read them may keep it
    def test_a_loop_that_is_closed_without_having_cancelled_its_tasks(
        self, backend: Any, collected: bool, in_block: bool
    ) -> None:
        """It is freed all the same, and what its callers had reported is known on the next."""

        async def fails_twice(done: asyncio.Event) -> None:
            await fail_times(CircuitBreaker("x", failure_threshold=6), 2)
            done.set()

        async def stays(done: asyncio.Event) -> None:
            async with Supervisor(keep="process"):
                await fails_twice(done)
                await anyio.sleep_forever()

        def unclean() -> weakref.ref[Any]:
            loop = loop_factory(backend)()
            done = asyncio.Event()
            task = loop.create_task((stays if in_block else fails_twice)(done))
            loop.run_until_complete(done.wait())
            loop.close()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            return weakref.ref(loop)

        async def read() -> int:
            return CircuitBreaker("x", failure_threshold=6).failure_count

        for failures in (2, 4, 6):
            loop = unclean()
            if collected:
                collect_garbage()
                assert in_block or loop() is None  # anyio's scopes keep it
            with asyncio.Runner(loop_factory=loop_factory(backend)) as runner:
                assert runner.run(read()) == failures

    @pytest.mark.usefixtures("kept_by_default")
    def test_a_loop_that_is_forgotten_without_having_been_closed(self) -> None:

        async def task() -> str:
            return await outcome_of(CircuitBreaker("x", failure_threshold=1), fail)

        def forgotten() -> None:
            loop = loop_factory()()
            assert loop.run_until_complete(task()) == "down"

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of asyncio, for that
            forgotten()
            collect_garbage()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            assert runner.run(task()).startswith("refused")

    @on_asyncio
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_loop_that_pauses_keeps_its_own(self, backend: Any) -> None:
        """Until it is closed it may go on, with what it knew."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        first, second = loop_factory(backend)(), loop_factory(backend)()
        assert first.run_until_complete(outcome_of(breaker, fail)) == "down"
        assert second.run_until_complete(outcome_of(breaker, succeed)) == "fine"
        assert first.run_until_complete(outcome_of(breaker, fail)).startswith("refused")
        first.close()
        second.close()
        with asyncio.Runner(loop_factory=loop_factory(backend)) as runner:
            assert runner.run(outcome_of(breaker, fail)).startswith("refused")

    @on_asyncio
    @pytest.mark.usefixtures("kept_by_default")
    def test_what_is_reported_while_the_loop_is_wound_up(
        self, proc: Process, backend: Backend
    ) -> None:
        """A task that cleans up after the actors have ended is heard of."""
        breaker = CircuitBreaker("x", failure_threshold=1)

        async def fails_at_the_end() -> str:
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(1)
                raise Down("at last")

        async def main() -> None:
            main.task = asyncio.create_task(outcome_of(breaker, fails_at_the_end))  # type: ignore[attr-defined]
            await asyncio.sleep(1)

        proc.run(main, backend)
        assert proc.run(partial(outcome_of, breaker, succeed), backend) == "refused for 30 s"

    @on_asyncio
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_call_that_is_made_while_the_loop_is_wound_up(
        self, proc: Process, backend: Backend
    ) -> None:
        """It is refused if what is kept is open, and teaches nothing if it is not."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        said: list[str] = []

        async def cleans_up() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                said.append(await outcome_of(breaker, fail))

        async def main() -> None:
            main.task = asyncio.create_task(cleans_up())  # type: ignore[attr-defined]
            await asyncio.sleep(1)

        proc.run(main, backend)
        proc.run(main, backend)
        assert said == ["down", "down"]
        proc.run(partial(outcome_of, breaker, fail), backend)
        proc.run(main, backend)
        assert said[2].startswith("refused")

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_cancelled_task_counts_as_its_policy_says(
        self, proc: Process, backend: Backend
    ) -> None:
        breaker = CircuitBreaker("x", failure_threshold=1, failure_on_cancel=True)

        async def main() -> None:
            with anyio.move_on_after(1):
                await breaker.call(anyio.sleep_forever)

        proc.run(main, backend)
        assert proc.run(partial(outcome_of, breaker, succeed), backend) == "refused for 30 s"

    @on_asyncio
    @pytest.mark.usefixtures("kept_by_default")
    def test_somebody_cancels_all_tasks_and_goes_on(self, proc: Process, backend: Backend) -> None:
        """The circuits of the next default supervisor go on as well."""
        breaker = CircuitBreaker("x", failure_threshold=1)

        async def main() -> str:
            await outcome_of(breaker, fail)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await settle_down()
            return await outcome_of(breaker, succeed)

        assert proc.run(main, backend) == "refused for 30 s"

    def test_a_program_that_ends_with_an_open_loop(self) -> None:
        """Nothing is said at the end of the process."""
        script = """
            import asyncio
            from supervisor import CircuitBreaker, app_settings

            app_settings.circuit_breaker.keep = "process"
            breaker = CircuitBreaker("x")

            async def main():
                await breaker.call(asyncio.sleep, 0)

            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestLoopsAtOnce:
    """Each has circuits of its own; of what they knew, that of the later period is kept."""

    @pytest.fixture
    def loops(self) -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
        made: list[asyncio.AbstractEventLoop] = []

        def new() -> asyncio.AbstractEventLoop:
            made.append(loop_factory()())
            return made[-1]

        yield new
        for loop in made:
            loop.close()

    @pytest.mark.usefixtures("kept_by_default")
    def test_each_has_its_own(self, loops: Callable[[], asyncio.AbstractEventLoop]) -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        first, second = loops(), loops()
        assert first.run_until_complete(outcome_of(breaker, succeed)) == "fine"
        assert second.run_until_complete(outcome_of(breaker, fail)) == "down"
        assert first.run_until_complete(outcome_of(breaker, succeed)) == "fine"

    @pytest.mark.usefixtures("kept_by_default")
    def test_nothing_is_kept_of_what_is_stopped_in_a_pause(
        self, loops: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        """Though nobody knows what time it is on that loop."""

        async def supervisor_here() -> Supervisor:
            return current_supervisor()

        breaker, paused = CircuitBreaker("x", failure_threshold=1), loops()
        assert paused.run_until_complete(outcome_of(breaker, fail)) == "down"
        paused.run_until_complete(supervisor_here()).stop("x")
        assert loops().run_until_complete(outcome_of(breaker, succeed)) == "fine"

    @pytest.mark.parametrize("opened_ends_first", [False, True])
    @pytest.mark.usefixtures("kept_by_default")
    def test_the_later_period_is_kept(
        self, loops: Callable[[], asyncio.AbstractEventLoop], opened_ends_first: bool
    ) -> None:
        """A loop whose circuit has not changed its state does not close one that has opened."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        closed, opened = loops(), loops()
        closed.run_until_complete(outcome_of(breaker, succeed))
        opened.run_until_complete(outcome_of(breaker, fail))
        for loop in (opened, closed) if opened_ends_first else (closed, opened):
            loop.close()
            third = loops()
            last = third.run_until_complete(outcome_of(breaker, succeed))
            third.close()
        assert last.startswith("refused")

    @pytest.mark.usefixtures("kept_by_default")
    def test_of_the_same_period_the_last_one_that_ends_is_kept(
        self, loops: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        breaker = CircuitBreaker("x")

        async def count() -> int:
            return breaker.failure_count

        first, second = loops(), loops()
        first.run_until_complete(fail_times(breaker, 2))
        second.run_until_complete(fail_times(breaker, 1))
        for loop, failures in ((second, 1), (first, 2)):
            loop.close()
            assert loops().run_until_complete(count()) == failures

    @pytest.mark.usefixtures("kept_by_default")
    def test_loops_in_many_threads(self) -> None:
        """All end, and a dead server is called three times by each that runs at once, at most."""
        forget_kept_circuits()
        breaker = CircuitBreaker("x", recovery_timeout=1000)
        calls: list[int] = []
        errors: list[BaseException] = []

        async def dead() -> str:
            calls.append(1)
            await asyncio.sleep(0)
            raise Down("down")

        def work() -> None:
            try:
                for _ in range(25):
                    asyncio.run(outcome_of(breaker, dead))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert 3 <= len(calls) <= 3 * len(threads)
        assert asyncio.run(outcome_of(breaker, dead)).startswith("refused")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has none")
    def test_a_forked_process_begins_with_what_was_kept(self) -> None:
        """What a loop knows that runs in the parent is the parent's; one that pauses is in both."""
        script = """
            import asyncio, gc, os, warnings
            warnings.simplefilter("ignore")
            from supervisor import CircuitBreaker, CircuitBreakerOpenError, app_settings

            app_settings.circuit_breaker.keep = "process"
            names = ("kept", "live", "pausing")
            kept, live, pausing = (CircuitBreaker(name, failure_threshold=1) for name in names)

            async def fail():
                raise OSError

            async def call(breaker):
                try:
                    await breaker.call(fail)
                except CircuitBreakerOpenError:
                    return "refused"
                except OSError:
                    return "down"

            def in_child():
                print("child:", asyncio.run(call(kept)), asyncio.run(call(live)), end=" ")
                paused.close()
                print(asyncio.run(call(pausing)), flush=True)
                os._exit(0)

            async def main():
                print(await call(live), flush=True)
                child = os.fork()
                if not child:
                    in_child()
                assert os.waitpid(child, 0)[1] == 0

            print(asyncio.run(call(kept)))
            paused = asyncio.new_event_loop()
            print(paused.run_until_complete(call(pausing)))
            asyncio.run(main())
            gc.collect()
            print("parent:", asyncio.run(call(kept)), asyncio.run(call(live)), end=" ")
            paused.close()
            print(asyncio.run(call(pausing)))
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "down",
            "down",
            "down",
            "child: refused down refused",
            "parent: refused refused refused",
        ]

    def test_what_the_child_does(self, proc: Process) -> None:
        """It hands on nothing of a loop that ran when it was forked; others are its own, too."""

        async def main(supervisor: Supervisor) -> None:
            await opening()(supervisor)
            event_loop._after_fork()
            keeping._after_fork()

        run(proc, main)
        assert run(proc, reading()).state == "closed"
        keeping._after_fork()
        run(proc, opening())
        assert run(proc, reading()).state == "open"


class TestPolicies:
    """What the next loop asks for, and what was told by hand."""

    @backends
    def test_another_policy_is_gone_by_with_the_state_there_is(
        self, proc: Process, backend: Backend
    ) -> None:
        """The same as `reconfigure`, but that nobody is told of it: it is a new circuit."""

        async def main(supervisor: Supervisor) -> None:
            events = supervisor.events()
            breaker = supervisor.circuit("x", failure_threshold=5, window_calls=10)
            assert breaker.failure_threshold == 5
            assert breaker.failure_count == 2
            await fail_times(breaker, 3)
            assert breaker.state == "open"
            await settle_down()
            events.close()
            told = [type(each) async for each in events]
            assert told == [CircuitStarted, StateChanged]
            assert CircuitReconfigured not in told

        async def first(supervisor: Supervisor) -> None:
            await fail_times(supervisor.circuit("x", failure_threshold=4), 2)

        run(proc, first, backend)
        run(proc, main, backend)

    @backends
    def test_a_circuit_that_was_reconfigured_stays_so(
        self, proc: Process, backend: Backend
    ) -> None:
        """As long as others ask for what they asked for before; and for that of the moment."""

        async def first(supervisor: Supervisor) -> None:
            supervisor.circuit("x", failure_threshold=4).reconfigure(
                failure_threshold=1, timeout=5.0
            )

        async def threshold(supervisor: Supervisor, **policy: Any) -> tuple[int, float | None]:
            policy_now = supervisor.circuit("x", **policy).policy
            return policy_now.failure_threshold, policy_now.timeout

        run(proc, first, backend)
        for asked, has in (
            ({"failure_threshold": 4}, (1, 5.0)),
            ({"failure_threshold": 4}, (1, 5.0)),
            ({"failure_threshold": 1, "timeout": 5.0}, (1, 5.0)),
            ({"failure_threshold": 2}, (2, None)),
            ({"failure_threshold": 2}, (2, None)),
        ):
            assert run(proc, partial(threshold, **asked), backend) == has

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_breaker_of_its_own_that_was_reconfigured(
        self, proc: Process, backend: Backend
    ) -> None:
        breaker = CircuitBreaker("x", failure_threshold=5)

        async def first() -> None:
            await breaker.call(succeed)
            breaker.reconfigure(failure_threshold=1)

        proc.run(first, backend)
        said = [proc.run(partial(outcome_of, breaker, fail), backend) for _ in range(2)]
        assert said == ["down", "refused for 30 s"]

    @backends
    def test_functions_that_are_made_anew_in_each_task(
        self, proc: Process, backend: Backend
    ) -> None:
        """Such a policy is another one each time, and the state goes on all the same."""

        async def main(supervisor: Supervisor) -> str:
            breaker = supervisor.circuit("x", failure_on_result=lambda result: result == "bad")
            try:
                return await breaker.call(bad)
            except CircuitBreakerOpenError:
                return "refused"

        async def bad() -> str:
            return "bad"

        assert [run(proc, main, backend) for _ in range(4)] == ["bad"] * 3 + ["refused"]

    @backends
    @pytest.mark.parametrize("state", ["force_open", "force_close", "disable", "only_measure"])
    def test_a_state_set_by_hand_stays(self, proc: Process, backend: Backend, state: str) -> None:
        async def first(supervisor: Supervisor) -> str:
            breaker = supervisor.circuit("x", failure_threshold=1)
            getattr(breaker, state)()
            return breaker.state

        async def release(supervisor: Supervisor) -> str:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await outcome_of(breaker, fail)
            breaker.release()
            return breaker.state

        by_hand = run(proc, first, backend)
        proc.now += 1000
        assert run(proc, reading(failure_threshold=1), backend).state == by_hand
        assert run(proc, release, backend) == "closed"
        assert run(proc, reading(failure_threshold=1), backend).state == "closed"

    @backends
    def test_jitter_goes_on(self, proc: Process, backend: Backend) -> None:
        """The times of a circuit's openings do not depend on how many loops it lives on."""
        policy: dict[str, Any] = {"failure_threshold": 1, "recovery_jitter": 0.5}

        async def main(supervisor: Supervisor) -> float:
            breaker = supervisor.circuit("x", **policy)
            if breaker.state == "open":
                await anyio.sleep(breaker.retry_after)
            await fail_times(breaker, 1)
            return breaker.retry_after

        times = [run(proc, main, backend) for _ in range(5)]
        assert len(set(times)) == 5


class TestForgetting:
    """What begins anew."""

    @backends
    @pytest.mark.parametrize("way", ["stop", "clear", "forget"])
    def test_what_is_stopped_by_hand_begins_anew(
        self, proc: Process, backend: Backend, way: str
    ) -> None:
        async def forget(supervisor: Supervisor) -> None:
            supervisor.circuit("x")
            supervisor.circuit("y")
            match way:
                case "stop":
                    supervisor.stop("x")
                case "clear":
                    clear_circuit_breaker_registry()
                case _:
                    forget_kept_circuits()

        run(proc, opening(), backend)
        run(proc, forget, backend)
        figures = run(proc, reading(), backend)
        assert (figures.state, figures.started) == ("closed", 0)

    @backends
    @pytest.mark.parametrize("clear", [clear_circuits, clear_circuit_breaker_registry])
    def test_where_no_loop_runs(
        self, proc: Process, backend: Backend, clear: Callable[[], None]
    ) -> None:
        run(proc, opening(), backend)
        clear()
        assert run(proc, reading(), backend).state == "closed"

    @on_asyncio
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_loop_that_has_not_handed_on_yet_when_all_is_forgotten(self, backend: Any) -> None:
        breaker = CircuitBreaker("x", failure_threshold=1)
        with asyncio.Runner(loop_factory=loop_factory(backend)) as runner:
            assert runner.run(outcome_of(breaker, fail)) == "down"
        forget_kept_circuits()
        gc.collect()
        with asyncio.Runner(loop_factory=loop_factory(backend)) as runner:
            assert runner.run(outcome_of(breaker, succeed)) == "fine"

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_disabled_circuits(self, proc: Process, backend: Backend) -> None:
        """They are not disabled any more when the block has been left, whatever loop they had."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        with disabled_circuits():
            for _ in range(3):
                assert proc.run(partial(outcome_of, breaker, fail), backend) == "down"
        assert proc.run(partial(outcome_of, breaker, fail), backend) == "down"
        assert proc.run(partial(outcome_of, breaker, fail), backend) == "refused for 30 s"

    @backends
    def test_an_idle_circuit_that_is_retired(self, proc: Process, backend: Backend) -> None:
        async def retire(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x")
            await fail_times(breaker, 1)
            await anyio.sleep(100)
            assert ("x" in supervisor) is (supervisor.idle_timeout is None)

        run(proc, retire, backend)
        assert run(proc, reading(), backend).started == 1
        run(proc, retire, backend, idle_timeout=8.0)
        assert run(proc, reading(), backend).started == 0

    @backends
    def test_what_begins_anew_after_an_idle_time_is_kept(
        self, proc: Process, backend: Backend
    ) -> None:
        """Its periods are earlier than those that are forgotten, and no reason to lose it."""

        async def fails_once(supervisor: Supervisor) -> None:
            await fail_times(supervisor.circuit("x"), 1)

        run(proc, opening(30.0), backend, idle_timeout=8.0)
        proc.now += 8.0
        run(proc, fails_once, backend, idle_timeout=8.0)
        assert run(proc, reading(), backend).failed == 1

    @backends
    def test_what_has_been_idle_between_loops(self, proc: Process, backend: Backend) -> None:
        """An `idle_timeout` counts there, too; what is open, or set by hand, is no idle circuit."""

        async def look(supervisor: Supervisor) -> list[int]:
            circuits = [supervisor.circuit(name) for name in ("closed", "x", "by hand")]
            return [circuit.statistics().started for circuit in circuits]

        async def first(supervisor: Supervisor) -> None:
            await supervisor.circuit("closed").call(succeed)
            await opening()(supervisor)
            supervisor.circuit("by hand").disable()
            await supervisor.circuit("by hand").call(succeed)

        def after(seconds: float, idle_timeout: float | None = 8.0) -> list[int]:
            forget_kept_circuits()
            run(proc, first, backend, idle_timeout=idle_timeout)
            proc.now += seconds
            started: list[int] = run(proc, look, backend, idle_timeout=idle_timeout)
            return started

        assert after(7.75) == [1, 3, 1]
        assert after(8.0) == [0, 3, 1]
        assert after(37.75) == [0, 3, 1]
        assert after(38.0) == [0, 0, 1]
        assert after(1000.0, idle_timeout=None) == [1, 3, 1]

    def test_names_of_the_past_do_not_add_up(self, proc: Process) -> None:
        async def main(supervisor: Supervisor) -> None:
            await supervisor.circuit(f"tenant {proc.now:g}").call(succeed)

        def circuits() -> int:
            gc.collect()
            return sum(type(each) is Machine for each in gc.get_objects())

        counts: list[int] = []
        for _ in range(120):
            run(proc, main, idle_timeout=8.0)
            counts.append(circuits())
            proc.now += 1.0
        assert max(counts[60:]) <= max(counts[:40])

    @pytest.mark.usefixtures("kept_by_default")
    def test_a_retired_circuit_is_no_reason_to_forget_what_others_know(self, proc: Process) -> None:
        """A long loop retires its closed circuit; one in another thread had seen it open."""
        breaker = CircuitBreaker("x", failure_threshold=1)

        async def main(supervisor: Supervisor) -> None:
            await supervisor.circuit("x").call(succeed)
            other = threading.Thread(target=asyncio.run, args=(outcome_of(breaker, fail),))
            other.start()
            other.join()
            third = threading.Thread(target=asyncio.run, args=(outcome_of(breaker, fail),))
            third.start()
            third.join()
            await anyio.sleep(100)
            assert "x" not in supervisor

        run(proc, main, idle_timeout=8.0)
        proc.now -= 100
        assert run(proc, reading(failure_threshold=1)).times_opened == 1

    @backends
    def test_what_runs_is_kept_however_old_what_was_kept_before(
        self, proc: Process, backend: Backend
    ) -> None:
        """It is idle where it was kept, while a loop uses the circuit for much longer."""

        async def used_for_long(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", failure_threshold=1)
            for number in range(12):
                await breaker.call(succeed)
                supervisor.circuit(f"other {number}")  # each looks for idle ones
                await anyio.sleep(1.0)
            await fail_times(breaker, 1)

        run(proc, reading(failure_threshold=1), backend, idle_timeout=8.0)
        run(proc, used_for_long, backend, idle_timeout=8.0)
        assert run(proc, reading(failure_threshold=1), backend, idle_timeout=8.0).state == "open"

    @pytest.mark.parametrize("way", ["retire", "stop"])
    def test_one_that_ends_does_not_keep_others_from_being_kept(
        self, proc: Process, way: str
    ) -> None:
        """A loop in another thread begins anew; this one's circuit runs on, and opens."""

        async def ends(supervisor: Supervisor) -> None:
            supervisor.circuit("x", failure_threshold=1)
            if way == "stop":
                supervisor.stop("x")
            else:
                supervisor.circuit("y")
            assert "x" not in supervisor

        async def elsewhere() -> None:
            async with Supervisor(keep="process", max_circuits=1) as supervisor:
                await ends(supervisor)

        async def main(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", failure_threshold=1)
            other = threading.Thread(target=asyncio.run, args=(elsewhere(),))
            other.start()
            other.join()
            await fail_times(breaker, 1)

        run(proc, reading(failure_threshold=1))
        run(proc, main)
        assert run(proc, reading(failure_threshold=1)).state == "open"

    @backends
    def test_names_that_one_loop_has_retired_do_not_add_up(
        self, proc: Process, backend: Backend
    ) -> None:
        async def main(supervisor: Supervisor) -> None:
            for number in range(30):
                await supervisor.circuit(f"tenant {number}").call(succeed)
                assert len(keeping._table) <= 3

        run(proc, main, backend, max_circuits=2)


class TestWarmUp:
    """What goes on does not begin."""

    @backends
    def test_it_has_as_much_left(self, proc: Process, backend: Backend) -> None:
        """4 s of it are over in one loop, 5 s without any, and 1 s in the other."""

        async def first(supervisor: Supervisor) -> None:
            await anyio.sleep(1.0)
            await fail_times(supervisor.circuit("x", warm_up=10.0), 5)
            await anyio.sleep(4.0)

        async def second(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x", warm_up=10.0)
            await fail_times(breaker, 1)
            await anyio.sleep(0.75)
            await fail_times(breaker, 1)
            assert breaker.state == "closed"
            await anyio.sleep(0.25)
            await fail_times(breaker, 1)
            assert breaker.state == "open"

        run(proc, first, backend)
        proc.now += 5.0
        run(proc, second, backend)


class TestCrashes:
    """An actor that crashes keeps its state, and so does what is kept."""

    @backends
    def test_restarts_go_on(self, proc: Process, backend: Backend) -> None:
        async def main(supervisor: Supervisor) -> Statistics:
            breaker = supervisor.circuit("x")
            await fail_times(breaker, 1)
            crash(supervisor, "x")
            await settle_down()
            return breaker.statistics()

        run(proc, main, backend)
        figures = run(proc, main, backend)
        assert (figures.restarts, figures.failure_count, figures.running) == (2, 2, True)

    @backends
    def test_poison_that_is_left_at_the_end(self, proc: Process, backend: Backend) -> None:
        """What no machine understands is dropped, and all else is kept."""

        async def main(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x")
            await settle_down()
            crash(supervisor, "x")
            await fail_times(breaker, 2)

        run(proc, main, backend)
        assert run(proc, reading(), backend).failure_count == 2

    @backends
    @pytest.mark.parametrize("verdict", ["allow", "refuse", "escalate"])
    def test_a_circuit_that_was_given_up_begins_anew(
        self, proc: Process, backend: Backend, verdict: Any
    ) -> None:
        """What crashes again and again may be what was kept."""

        async def main(supervisor: Supervisor) -> None:
            breaker = supervisor.circuit("x")
            await settle_down()
            crash(supervisor, "x")
            await settle_down()
            assert not breaker.statistics().running

        run(proc, opening(), backend)
        limits = {"max_restarts": 0, "on_give_up": verdict}
        if verdict == "escalate":
            with pytest.raises(CircuitCrashedError):
                run(proc, main, backend, **limits)
        else:
            run(proc, main, backend, **limits)
        figures = run(proc, reading(), backend)
        assert (figures.state, figures.started, figures.running) == ("closed", 0, True)


class TestSettings:
    """`BINDU_CB_KEEP` is for the supervisors that nobody has entered."""

    @backends
    @pytest.mark.usefixtures("enabled")
    def test_circuits_by_name(
        self, proc: Process, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BINDU_CB_KEEP", "process")
        monkeypatch.setenv("BINDU_CB_ENABLED", "true")
        vars(app_settings).clear()

        @with_circuit_breaker("x")
        async def decorated() -> str:
            return await fail()

        async def main() -> str:
            try:
                return await decorated()
            except Down:
                return "down"
            except CircuitBreakerOpenError:
                return "refused"

        async def state() -> str:
            return (await get_circuit_breaker("x")).state

        assert [proc.run(main, backend) for _ in range(4)] == ["down"] * 3 + ["refused"]
        assert proc.run(state, backend) == "open"

    @backends
    @pytest.mark.usefixtures("kept_by_default")
    def test_a_supervisor_goes_by_its_own(self, proc: Process, backend: Backend) -> None:
        async def main() -> bool:
            async with Supervisor() as supervisor:
                assert supervisor.keep is None
                breaker = supervisor.circuit("x", failure_threshold=1)
                refused = await is_refused(breaker)
                await outcome_of(breaker, fail)
                return refused

        assert [proc.run(main, backend) for _ in range(2)] == [False, False]

    @pytest.mark.parametrize(
        ("text", "keep"),
        [("process", "process"), (" Process ", "process"), ("", None), ("none", None)],
    )
    def test_how_it_is_written(
        self, monkeypatch: pytest.MonkeyPatch, text: str, keep: str | None
    ) -> None:
        monkeypatch.setenv("BINDU_CB_KEEP", text)
        assert CircuitBreakerSettings().keep == keep

    def test_in_a_file(self) -> None:
        file = Path("circuits.toml")  # in a directory of the test's
        file.write_text('keep = "process"\n', encoding="utf-8")
        assert CircuitBreakerSettings(file=file).keep == "process"

    def test_a_mistake_in_a_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BINDU_CB_KEEP", "proces")
        with pytest.raises(
            SettingsError, match=r"^BINDU_CB_KEEP must be 'process' or None, got 'proces'$"
        ):
            CircuitBreakerSettings()
        vars(app_settings).clear()  # they have been read before
        with pytest.raises(SettingsError, match="BINDU_CB_KEEP"):
            run_in_virtual_time(partial(outcome_of, CircuitBreaker("x"), succeed))

    @pytest.mark.parametrize("value", ["proces", "", True, 1, ["process"]])
    def test_a_mistake_in_code(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"^keep must be 'process' or None, got "):
            Supervisor(keep=value)

    def test_the_policy_is_no_other_for_it(self) -> None:
        assert CircuitBreakerSettings(keep="process").policy("x") == Policy()
