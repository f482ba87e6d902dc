"""Circuits that nobody uses are retired, and there are never more of them than are allowed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import anyio
import pytest
from anyio import to_thread

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitRestarted,
    CircuitRetired,
    CircuitStarted,
    CircuitState,
    CircuitStopped,
    CircuitStoppedError,
    Event,
    EventStream,
    PolicyConflictError,
    Supervisor,
    TooManyCircuitsError,
    clear_circuit_breaker_registry,
    get_circuit_breaker,
    reset_all_circuit_breakers,
    retry_api_call,
    with_circuit_breaker,
)
from supervisor.circuit import orders, settlement, statistics_of
from supervisor.circuit.record import Circuit
from supervisor.loop.tasks import Tasks
from supervisor.machine.messages import Grant
from supervisor.policy.outcomes import Outcome
from supervisor.policy.policy import Policy
from supervisor.supervision.retirement import FOR_ONE_NAME
from supervisor.testing import VirtualTimeLoop, run_in_virtual_time
from tests.behaviour.test_schedules import SEEDS, run
from tests.support.worlds import (
    BACKENDS,
    Dependency,
    Down,
    Guarded,
    collect_garbage,
    crash,
    every_way,
    fail,
    fail_times,
    is_refused,
    poison,
    settle_down,
    succeed,
    tasks_here,
)

pytestmark = pytest.mark.anyio

LONG = 1_000.0
"""Seconds after which everything idle is gone."""

Maker = Callable[[Supervisor], Awaitable[CircuitBreaker]]


async def built(_: Supervisor) -> CircuitBreaker:
    return CircuitBreaker("x")


async def of_the_supervisor(supervisor: Supervisor) -> CircuitBreaker:
    return supervisor.circuit("x")


async def from_the_mapping(supervisor: Supervisor) -> CircuitBreaker:
    supervisor.circuit("x")
    return supervisor["x"]


async def by_name(_: Supervisor) -> CircuitBreaker:
    return await get_circuit_breaker("x")


however_it_was_made = pytest.mark.parametrize(
    "make", [built, of_the_supervisor, from_the_mapping, by_name]
)


async def told(stream: EventStream) -> list[str]:
    """All that the stream has delivered so far, in short; it ends."""
    stream.close()
    return [
        f"{event.circuit} {event.reason}" if isinstance(event, CircuitRetired) else event.circuit
        async for event in stream
        if isinstance(event, Event)
    ]


async def next_retirement(stream: EventStream) -> CircuitRetired:
    """Wait for a circuit to be retired."""
    async for event in stream:
        if isinstance(event, CircuitRetired):
            return event
    raise AssertionError("the supervisor has ended")


def circuit_of(supervisor: Supervisor, name: str = "x") -> Circuit:
    circuit = supervisor.find(name)
    assert circuit is not None
    return circuit


class TestArguments:
    """`idle_timeout`, `max_circuits`, `on_full`."""

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"idle_timeout": 0}, ValueError, "idle_timeout must be more than 0"),
            ({"idle_timeout": float("inf")}, ValueError, "idle_timeout must be .*finite"),
            ({"idle_timeout": "1"}, TypeError, "idle_timeout must be a number of seconds"),
            ({"max_circuits": 0}, ValueError, "max_circuits must be at least 1, got 0"),
            ({"max_circuits": 1.5}, TypeError, "max_circuits must be a whole number"),
            ({"on_full": "wait"}, ValueError, "on_full must be one of retire, refuse; got 'wait'"),
        ],
    )
    def test_bad_arguments(
        self, arguments: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        """The error names the argument, the value and what is allowed."""
        with pytest.raises(error, match=message):
            Supervisor(**arguments)

    async def test_nothing_is_retired_unasked(self) -> None:
        """Without either option a circuit lives on unused, and no task or timer watches it."""
        before = tasks_here()
        async with Supervisor() as supervisor:
            for number in range(3):
                await supervisor.circuit(f"c{number}").call(succeed)
            assert tasks_here() == before + 1 + 3  # the log, and the actors
            await anyio.sleep(1_000 * LONG)
            assert len(supervisor) == 3


class TestIdleness:
    """When a circuit is retired."""

    @pytest.mark.parametrize("called_at", [0.0, 0.1, 1.0, 3.75, 9.99, 10.0, 31.4])
    async def test_after_its_time(self, called_at: float) -> None:
        """It lasts from `idle_timeout` up to a quarter longer, whenever the last call was."""
        async with Supervisor(idle_timeout=10) as supervisor:
            stream = supervisor.events()
            breaker, other = supervisor.circuit("x"), supervisor.circuit("other")
            while anyio.current_time() < called_at:
                await anyio.sleep(min(5.0, called_at - anyio.current_time()))
                await breaker.call(succeed)
                await other.call(succeed)
            await breaker.call(succeed)
            last = anyio.current_time()
            while "x" in supervisor:
                await anyio.sleep(1)
                await other.call(succeed)
            event = await next_retirement(stream)
            assert (event.circuit, event.reason) == ("x", "idle")
            assert isinstance(event, CircuitStopped)
            assert 10 <= event.at - last <= 12.5
            assert list(supervisor) == ["other"]

    async def test_a_circuit_that_was_never_called(self) -> None:
        """Joining alone does not keep it."""
        async with Supervisor(idle_timeout=10) as supervisor:
            supervisor.circuit("x")
            event = await next_retirement(supervisor.events())
            assert 10 <= event.at <= 12.5

    async def test_reading_is_no_call(self) -> None:
        """A circuit that is only looked at is idle."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            for _ in range(13):
                await anyio.sleep(1)
                assert breaker.state is CircuitState.CLOSED
                supervisor.statistics()
                repr(breaker)
            assert not supervisor

    async def test_a_circuit_in_use_stays(self) -> None:
        """It is the same one, with all that it has counted, as long as somebody calls it."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=100)
            for _ in range(50):
                await fail_times(breaker, 1)
                await anyio.sleep(9.9)
            assert breaker.failure_count == 50

    @every_way
    async def test_a_call_that_runs_keeps_it(self, guarded: Guarded) -> None:
        """Its time begins when its last call has ended, not when that began."""
        dependency = Dependency()
        async with Supervisor(idle_timeout=10) as supervisor:
            stream = supervisor.events()
            breaker = supervisor.circuit("x")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, breaker, dependency.call)
                await anyio.sleep(LONG)
                dependency.let_go()
            ended = anyio.current_time()
            assert breaker.statistics().succeeded == 1
            assert 10 <= (await next_retirement(stream)).at - ended <= 12.5

    async def test_a_permit_keeps_it(self) -> None:
        """Whoever holds a permit can settle it, however late, and it counts."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x")
            permit = await breaker.acquire()
            await anyio.sleep(LONG)
            permit.fail()
            assert breaker.failure_count == 1
            await anyio.sleep(LONG)
            assert not supervisor

    async def test_an_open_circuit_stays(self) -> None:
        """It is not forgotten that a dependency is down, until a probe may be sent."""
        async with Supervisor(idle_timeout=10) as supervisor:
            stream = supervisor.events()
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=LONG)
            await fail_times(breaker, 1)
            await anyio.sleep(LONG - 1)
            assert await is_refused(breaker)
            event = await next_retirement(stream)
            assert LONG + 10 <= event.at <= LONG + 12.5

    async def test_a_circuit_that_was_given_up_stays(self) -> None:
        """Neither is it forgotten that an actor has crashed too often."""
        async with Supervisor(
            max_restarts=0, on_give_up="refuse", idle_timeout=10, max_circuits=1
        ) as supervisor:
            breaker = supervisor.circuit("x")
            crash(supervisor, "x")
            await anyio.sleep(LONG)
            with pytest.raises(TooManyCircuitsError):
                supervisor.circuit("y")
            assert await is_refused(breaker)

    async def test_the_actor_ends(self) -> None:
        """No task of a retired circuit is left, and when all are gone, none of the sweep."""
        before = tasks_here()
        async with Supervisor(idle_timeout=10) as supervisor:
            await settle_down()
            assert tasks_here() == before + 1  # the log
            for _ in range(3):
                for number in range(3):
                    await supervisor.circuit(f"c{number}").call(succeed)
                assert tasks_here() == before + 1 + 1 + 3
                await anyio.sleep(LONG)
                assert tasks_here() == before + 1
                assert not supervisor
        assert tasks_here() == before

    async def test_stopped_circuits_are_swept_no_more(self) -> None:
        """The sweep ends after those that are stopped by hand, and begins again with new ones."""
        before = tasks_here()
        async with Supervisor(idle_timeout=10) as supervisor:
            supervisor.circuit("x")
            await anyio.sleep(11)
            clear_circuit_breaker_registry()
            supervisor.circuit("x")  # while the sweep has not noticed
            await anyio.sleep(2)
            clear_circuit_breaker_registry()
            await anyio.sleep(2)
            assert tasks_here() == before + 1
            supervisor.circuit("x")
            assert 10 <= (await next_retirement(supervisor.events())).at - 15 <= 12.5

    async def test_a_new_circuit_has_its_own_time(self) -> None:
        """What was known of a circuit that was stopped does not count for one of its name."""
        async with Supervisor(idle_timeout=10) as supervisor:
            supervisor.circuit("x")
            await anyio.sleep(10)
            supervisor.stop("x")
            supervisor.circuit("x")
            event = await next_retirement(supervisor.events())
            assert 20 <= event.at <= 22.5

    async def test_many_circuits_at_once(self) -> None:
        """All go at one look, in which other tasks have their turns."""
        left = -1
        async with Supervisor(idle_timeout=10) as supervisor:
            for number in range(250):
                supervisor.circuit(f"c{number}")
            async with supervisor.events() as stream:
                first = await next_retirement(stream)
                left = len(supervisor)
                at = [first.at, *[(await next_retirement(stream)).at for _ in range(249)]]
            assert 0 < left < 250
            assert len(set(at)) == 1
            assert not supervisor

    async def test_circuits_may_be_stopped_while_they_are_looked_at(self) -> None:
        """A circuit that was stopped by hand in the middle of a look is not retired."""
        async with Supervisor(idle_timeout=10) as supervisor:
            for number in range(250):
                supervisor.circuit(f"c{number}")
            stream = supervisor.events()
            await next_retirement(stream)
            stopped = list(supervisor)
            clear_circuit_breaker_registry()
            await anyio.sleep(LONG)
            events = [await anext(stream) for _ in range(249)]
        kinds = {name: [type(e) for e in events if e.circuit == name] for name in stopped}  # type: ignore[union-attr]
        assert set(map(tuple, kinds.values())) == {(CircuitStopped,)}

    async def test_leaving_the_block_while_the_sweep_sleeps(self) -> None:
        """The block ends at once, with no task left."""
        before = tasks_here()
        async with Supervisor(idle_timeout=LONG) as supervisor:
            for number in range(250):
                supervisor.circuit(f"c{number}")
            await anyio.sleep(1)
        assert anyio.current_time() == pytest.approx(1)
        assert tasks_here() == before

    async def test_leaving_the_block_before_the_sweep_has_begun(self) -> None:
        """Neither does a task that had no turn yet keep it."""
        before = tasks_here()
        async with Supervisor(idle_timeout=LONG) as supervisor:
            supervisor.circuit("x")
        assert anyio.current_time() == 0
        assert tasks_here() == before

    async def test_giving_up_while_the_sweep_sleeps(self) -> None:
        """A supervisor that escalates ends its sweep, too."""
        before = tasks_here()
        with pytest.raises(Exception, match="crashed more than 0 times"):
            async with Supervisor(max_restarts=0, idle_timeout=LONG) as supervisor:
                supervisor.circuit("x")
                crash(supervisor, "x")
                await anyio.sleep_forever()
        assert anyio.current_time() == 0
        assert tasks_here() == before

    @pytest.mark.parametrize("turns", [0, 1, 5])
    def test_a_sweep_that_somebody_cancels(self, turns: int) -> None:
        """The next new circuit starts another one, whether or not it had had a turn."""

        async def main() -> None:
            async with Supervisor(idle_timeout=10) as supervisor:
                supervisor.circuit("x")
                for _ in range(turns):
                    await asyncio.sleep(0)
                (sweep,) = (t for t in asyncio.all_tasks() if t.get_name() == "supervisor sweep")
                sweep.cancel()
                await asyncio.wait([sweep])
                await asyncio.sleep(0)
                supervisor.circuit("y")
                await asyncio.sleep(LONG)
                assert not supervisor

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())

    def test_a_circuit_that_a_callback_starts(self) -> None:
        """Outside any task it is started and retired like others."""

        async def main() -> None:
            async with Supervisor(idle_timeout=10) as supervisor:
                asyncio.get_running_loop().call_soon(supervisor.circuit, "x")
                await asyncio.sleep(1)
                assert "x" in supervisor
                await asyncio.sleep(LONG)
                assert not supervisor

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())


class TestSuccessors:
    """A circuit that was retired is called again."""

    @however_it_was_made
    @every_way
    async def test_whoever_calls_notices_nothing(self, make: Maker, guarded: Guarded) -> None:
        """Each breaker goes on with a successor of the same policy in the same supervisor."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = await make(supervisor)
            for _ in range(3):
                assert await guarded(breaker, succeed) == "fine"
                assert breaker.statistics().started == 1
                assert breaker.failure_threshold == 3
                assert "x" in supervisor
                await anyio.sleep(LONG)
                assert not supervisor

    @however_it_was_made
    async def test_a_successor_guards(self, make: Maker) -> None:
        """It counts, opens and recovers like any circuit."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = await make(supervisor)
            await breaker.call(succeed)
            await anyio.sleep(LONG)
            await fail_times(breaker, 3)
            assert await is_refused(breaker)
            await anyio.sleep(30)
            assert breaker.state is CircuitState.HALF_OPEN
            assert not await is_refused(breaker)
            assert breaker.statistics().times_opened == 1

    async def test_it_starts_from_nothing(self) -> None:
        """What the retired circuit had counted is gone with it."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=3)
            await fail_times(breaker, 2)
            await anyio.sleep(LONG)
            await fail_times(breaker, 2)
            assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 2)

    async def test_all_breakers_of_a_name_share_one(self) -> None:
        """Old ones and new ones, in whatever order they are used."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breakers = [await make(supervisor) for make in (built, of_the_supervisor, by_name)]
            for breaker in breakers:
                await breaker.call(succeed)
            await anyio.sleep(LONG)
            for breaker in (*breakers, CircuitBreaker("x"), supervisor.circuit("x")):
                await breaker.call(succeed)
            assert [breaker.statistics().succeeded for breaker in breakers] == [5, 5, 5]
            assert supervisor["x"].statistics().succeeded == 5

    @pytest.mark.usefixtures("enabled")
    @pytest.mark.parametrize("decorate", [with_circuit_breaker("x"), retry_api_call()])
    async def test_decorated_functions(self, decorate: Any) -> None:
        """A function that looks up its circuit by name finds the successor, and keeps no other."""
        decorated = decorate(succeed)
        async with Supervisor(idle_timeout=10) as supervisor:
            for _ in range(3):
                assert await decorated() == "fine"
                (name,) = supervisor
                assert supervisor[name].statistics().started == 1
                retired = weakref.ref(supervisor[name])
                await anyio.sleep(LONG)
                collect_garbage()
                assert retired() is None

    @however_it_was_made
    async def test_a_read_starts_nothing(self, make: Maker) -> None:
        """It shows a circuit as new, which is what the next call finds, and then the successor."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = await make(supervisor)
            await fail_times(breaker, 2)
            await anyio.sleep(LONG)
            figures = breaker.statistics()
            assert (figures.name, figures.started, figures.running) == ("x", 0, False)
            assert (breaker.state, breaker.failure_count) == (CircuitState.CLOSED, 0)
            assert repr(breaker) == "<CircuitBreaker 'x' closed>"
            breaker.reset()
            assert not supervisor
            assert supervisor.statistics() == {}
            await fail_times(CircuitBreaker("x"), 1)
            assert breaker.failure_count == 1

    async def test_a_stop_by_hand_is_final(self) -> None:
        """A breaker whose circuit was stopped raises, also if that one was a successor."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x")
            supervisor.stop("x")
            with pytest.raises(CircuitStoppedError, match="has been stopped"):
                await breaker.call(succeed)
            breaker = supervisor.circuit("x")
            await anyio.sleep(LONG)
            with pytest.raises(KeyError):
                supervisor.stop("x")
            await breaker.call(succeed)
            supervisor.stop("x")
            with pytest.raises(CircuitStoppedError, match="has been stopped"):
                await breaker.call(succeed)
            assert breaker.statistics().succeeded == 1

    async def test_another_policy_meanwhile(self) -> None:
        """A breaker whose name has gone to a circuit with another policy is told so."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=5)
            await anyio.sleep(LONG)
            supervisor.circuit("x", failure_threshold=6)
            with pytest.raises(PolicyConflictError, match="'x' runs with failure_threshold=6"):
                await breaker.call(succeed)

    @however_it_was_made
    async def test_it_stays_in_its_supervisor(self, make: Maker) -> None:
        """Also if another supervisor has been entered meanwhile."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = await make(supervisor)
            await breaker.call(succeed)
            await anyio.sleep(LONG)
            async with Supervisor() as inner:
                await breaker.call(succeed)
                assert (list(supervisor), list(inner)) == (["x"], [])
                await anyio.sleep(LONG)
                inner.circuit("x")
                assert not breaker.statistics().running
                assert await breaker.call(succeed) == "fine"
                assert inner.statistics()["x"].started == 0

    @pytest.mark.parametrize("make", [built, of_the_supervisor])
    async def test_after_the_block(self, make: Maker) -> None:
        """A breaker that was used in it raises, as if its circuit had not been retired."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = await make(supervisor)
            await breaker.call(succeed)
            await anyio.sleep(LONG)
        with pytest.raises(CircuitStoppedError, match="its supervisor's block was left"):
            await breaker.call(succeed)
        assert breaker.state is CircuitState.CLOSED
        async with Supervisor() as supervisor:
            if make is built:
                assert await breaker.call(succeed) == "fine"
                assert supervisor["x"].statistics().succeeded == 1
            else:
                supervisor.circuit("x")
                with pytest.raises(CircuitStoppedError):
                    await breaker.call(succeed)
                assert breaker.statistics().running is False

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_on_another_event_loop(self, backend: str) -> None:
        """A supervisor's breaker ends with its loop, one that was built is as new on each."""
        own, made = CircuitBreaker("x"), []

        async def first() -> None:
            async with Supervisor(idle_timeout=10) as supervisor:
                made.append(supervisor.circuit("x"))
                for breaker in (own, *made):
                    await breaker.call(succeed)
                await anyio.sleep(LONG)

        async def second() -> None:
            async with Supervisor() as supervisor:
                assert (made[0].statistics().started, own.statistics().started) == (2, 0)
                with pytest.raises(CircuitStoppedError, match="another event loop"):
                    await made[0].call(succeed)
                assert await own.call(succeed) == "fine"
                assert made[0].statistics().started == 2
                assert supervisor["x"].statistics().started == 1

        run_in_virtual_time(first, backend=backend)
        assert (own.statistics().succeeded, own.statistics().running) == (2, False)
        assert made[0].statistics().succeeded == 2
        run_in_virtual_time(second, backend=backend)

    @however_it_was_made
    async def test_calls_from_threads(self, make: Maker) -> None:
        """A worker thread notices nothing, either."""
        async with Supervisor(max_circuits=1) as supervisor:  # virtual time outruns a thread
            breaker = await make(supervisor)
            await breaker.call(succeed)
            supervisor.circuit("other")
            assert list(supervisor) == ["other"]
            assert await to_thread.run_sync(breaker.call_from_thread, lambda: "fine") == "fine"
            assert breaker.statistics().succeeded == 1

    @pytest.mark.parametrize("make", [built, of_the_supervisor])
    async def test_retired_just_before_a_thread_asks(
        self, make: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A circuit that goes between a thread's request and the task that asks has a successor."""
        async with Supervisor(max_circuits=1) as supervisor:
            breaker = await make(supervisor)
            await fail_times(breaker, 3)
            await anyio.sleep(31)
            stream = supervisor.events()
            start_task = Tasks.start

            def start_task_and_retire(tasks: Tasks[Any], name: str, *args: Any) -> None:
                start_task(tasks, name, *args)
                if name == "admission of a thread":
                    supervisor.circuit("other")

            monkeypatch.setattr(Tasks, "start", start_task_and_retire)
            assert await to_thread.run_sync(breaker.call_from_thread, lambda: "fine") == "fine"
            assert await told(stream) == ["x full", "other", "other full", "x"]
            assert breaker.statistics().succeeded == 1

    async def test_an_answer_comes_to_a_call_that_waits(self) -> None:
        """A circuit that a call waits for is not idle."""
        async with Supervisor(max_circuits=1) as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x")
            tasks.start_soon(breaker.call, succeed)
            await anyio.lowlevel.checkpoint()
            if breaker.statistics().in_flight:
                with pytest.raises(TooManyCircuitsError):
                    supervisor.circuit("y")
            await settle_down()
            assert breaker.statistics().succeeded == 1


class TestFence:
    """What is reported to a retired circuit does not reach its successor."""

    async def test_a_late_report(self) -> None:
        """Outcomes of any kind change nothing of the successor, in whatever state it is."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=20)
            await breaker.call(succeed)
            old = circuit_of(supervisor)
            grant = old.grant
            await anyio.sleep(LONG)

            def report_late() -> None:
                plain = Policy()
                probes = (Grant(2, plain, 2), Grant(2, plain, 1))
                for late in (grant, old.grant, Grant(0, plain), *probes):
                    before = breaker.statistics()
                    settlement.succeed(old, late)
                    settlement.fail(old, late)
                    settlement.settle(old, late, Outcome.FAILED)
                    settlement.settle(old, late, Outcome.CANCELLED)
                    settlement.settle(old, late, Outcome.IGNORED)
                    orders.reset(old)
                    assert breaker.statistics() == before

            report_late()
            await breaker.call(succeed)
            assert circuit_of(supervisor) is not old
            report_late()
            await fail_times(breaker, 1)
            report_late()
            await anyio.sleep(20)
            report_late()
            assert breaker.state is CircuitState.HALF_OPEN
            permit = await breaker.acquire()  # no block: a call in it would be a part of it
            report_late()
            assert await is_refused(breaker)
            permit.succeed()
            assert breaker.state is CircuitState.CLOSED

    async def test_a_late_report_to_a_circuit_that_was_stopped(self) -> None:
        """A permit that outlives its circuit does not count for the one that has its name."""
        async with Supervisor(idle_timeout=10) as supervisor:
            permit = await supervisor.circuit("x", failure_threshold=1).acquire()
            supervisor.stop("x")
            new = supervisor.circuit("x", failure_threshold=1)
            await new.call(succeed)
            permit.fail(OSError())
            assert (new.state, new.statistics().failed) == (CircuitState.CLOSED, 0)

    async def test_a_retired_circuit_takes_nothing_back(self) -> None:
        """Messages that are put into its mailbox have no actor, and start none."""
        async with Supervisor(idle_timeout=10) as supervisor:
            supervisor.circuit("x")
            old = circuit_of(supervisor)
            await anyio.sleep(LONG)
            stream = supervisor.events()
            supervisor.circuit("x")
            poison(old)
            old.mailbox.ring()
            await settle_down()
            assert await told(stream) == ["x"]
            assert old.stopped


class TestCap:
    """`max_circuits`."""

    async def test_the_second_chance(self) -> None:
        """In turn, and sparing those that were called since: neither the oldest, nor the last."""
        async with Supervisor(max_circuits=3) as supervisor:

            async def call(name: str) -> None:
                await supervisor.circuit(name).call(succeed)

            for name in "abc":
                await call(name)
            await call("d")  # all have been called: the round begins with the first
            assert list(supervisor) == ["b", "c", "d"]
            await call("b")
            await call("e")  # spares b
            assert list(supervisor) == ["b", "d", "e"]
            await call("f")  # d is new, b was spared before
            assert list(supervisor) == ["d", "e", "f"]
            await call("d")
            await call("g")
            assert list(supervisor) == ["d", "f", "g"]

    async def test_what_is_told(self) -> None:
        """The event comes before the start of the one that needs its place, and says why."""
        async with Supervisor(max_circuits=1) as supervisor:
            stream = supervisor.events()
            supervisor.circuit("a")
            supervisor.circuit("b")
            events = [await anext(stream) for _ in range(3)]
            assert [type(event) for event in events] == [
                CircuitStarted,
                CircuitRetired,
                CircuitStarted,
            ]
            assert isinstance(events[1], CircuitRetired)
            assert (events[1].circuit, events[1].reason) == ("a", "full")

    async def test_a_circuit_in_use_stays(self) -> None:
        """Those that are called, open or half-way through a call are passed over."""
        dependency = Dependency()
        async with Supervisor(max_circuits=3) as supervisor, anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.circuit("busy").call, dependency.call)
            await fail_times(supervisor.circuit("open", failure_threshold=1), 1)
            for number in range(10):
                await supervisor.circuit(f"c{number}").call(succeed)
                assert list(supervisor) == ["busy", "open", f"c{number}"]
            dependency.let_go()

    async def test_none_is_idle(self) -> None:
        """It is an error that says so, nothing has changed, and later there is room again."""
        dependency = Dependency()
        async with Supervisor(max_circuits=2) as supervisor:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(supervisor.circuit("busy").call, dependency.call)
                opened = supervisor.circuit("open", failure_threshold=1, recovery_timeout=10)
                await fail_times(opened, 1)
                before, running, stream = supervisor.statistics(), tasks_here(), supervisor.events()
                for _ in range(3):
                    with pytest.raises(TooManyCircuitsError) as caught:
                        supervisor.circuit("x")
                assert str(caught.value) == (
                    "circuit 'x' was not started: there are max_circuits=2 already, and none of"
                    " them is idle; stop one that is not needed any more, or raise max_circuits"
                )
                assert (supervisor.statistics(), await told(stream)) == (before, [])
                assert tasks_here() == running
                dependency.let_go()
            assert await supervisor.circuit("x").call(succeed) == "fine"
            await anyio.sleep(10)
            supervisor.circuit("y")
            assert list(supervisor) == ["x", "y"]

    @pytest.mark.parametrize("how", ["success", "failure", "reset", "ignored"])
    async def test_whoever_becomes_idle_is_found_at_once(self, how: str) -> None:
        """However the last call ends, room is there before any actor has had a turn."""
        async with Supervisor(max_circuits=20) as supervisor:
            permits = [await supervisor.circuit(f"c{n}").acquire() for n in range(19)]
            last = supervisor.circuit("last", failure_threshold=1, recovery_timeout=99)
            if how == "reset":
                await fail_times(last, 1)
            else:
                permits.append(await last.acquire())
            for _ in range(2):
                with pytest.raises(TooManyCircuitsError):
                    supervisor.circuit("new")
            if how == "success":
                permits[0].succeed()
            elif how == "failure":
                permits[1].fail()
            elif how == "ignored":
                permits[2].ignore()
            else:
                last.reset()
            supervisor.circuit("new")
            gone = {"success": "c0", "failure": "c1", "ignored": "c2", "reset": "last"}[how]
            assert gone not in supervisor
            assert len(supervisor) == 20
            for permit in permits:
                if not permit.settled:
                    permit.ignore()

    @pytest.mark.parametrize("place", [0, 24, 25, 26, 150, 299])
    async def test_one_idle_among_many(self, place: int) -> None:
        """One name looks at some of many circuits; if that finds none, the others are looked at
        before the next name comes.
        """
        async with Supervisor(max_circuits=300) as supervisor:
            permits = [await supervisor.circuit(f"c{n}").acquire() for n in range(300)]
            with pytest.raises(TooManyCircuitsError, match="none of those looked at is idle; stop"):
                supervisor.circuit("new")
            running = tasks_here()
            await settle_down()
            assert tasks_here() == running - 1  # the search has ended
            permits[(place + FOR_ONE_NAME) % 300].succeed()
            names = [f"new {number}" for number in range(20)]
            started = []
            for name in names:
                with contextlib.suppress(TooManyCircuitsError):
                    supervisor.circuit(name)
                    started.append(name)
                await settle_down()
            assert started[0] in names[:2]
            assert f"c{(place + FOR_ONE_NAME) % 300}" not in supervisor
            assert len(supervisor) == 300
            for permit in permits:
                if not permit.settled:
                    permit.ignore()

    async def test_names_that_come_before_the_search_has_ended(self) -> None:
        """There is one search at a time, and what it has found may be in use again by then."""
        async with Supervisor(max_circuits=300) as supervisor:
            permits = [await supervisor.circuit(f"c{n}").acquire() for n in range(300)]
            before = tasks_here()
            for _ in range(5):
                with pytest.raises(TooManyCircuitsError):
                    supervisor.circuit("new")
            assert tasks_here() == before + 1
            permits[280].succeed()
            await settle_down()
            permits.append(await supervisor.circuit("c280").acquire())
            with pytest.raises(TooManyCircuitsError):
                supervisor.circuit("new")
            permits[281].succeed()
            await settle_down()
            supervisor.circuit("new")
            assert "c281" not in supervisor
            for permit in permits:
                if not permit.settled:
                    permit.ignore()

    async def test_a_search_as_the_block_is_left(self) -> None:
        """It ends."""
        before = tasks_here()
        async with Supervisor(max_circuits=100) as supervisor:
            permits = [await supervisor.circuit(f"c{n}").acquire() for n in range(100)]
            with pytest.raises(TooManyCircuitsError):
                supervisor.circuit("new")
            for permit in permits:
                permit.ignore()
        assert tasks_here() == before

    async def test_refuse(self) -> None:
        """With `on_full="refuse"` nothing is retired, and what is there goes on."""
        async with Supervisor(max_circuits=2, on_full="refuse") as supervisor:
            a = supervisor.circuit("a")
            await CircuitBreaker("b").call(succeed)
            for _ in range(3):
                with pytest.raises(TooManyCircuitsError) as caught:
                    supervisor.circuit("c")
            assert str(caught.value) == (
                "circuit 'c' was not started: there are max_circuits=2 already; stop one that is"
                " not needed any more, or raise max_circuits"
            )
            assert supervisor.circuit("a") is a
            assert list(supervisor) == ["a", "b"]
            supervisor.stop("a")
            assert await supervisor.circuit("c").call(succeed) == "fine"

    @every_way
    async def test_a_callers_error(self, guarded: Guarded) -> None:
        """Whoever calls by a breaker that cannot join gets the error; nothing is called."""
        async with Supervisor(max_circuits=1, on_full="refuse") as supervisor:
            supervisor.circuit("a")
            breaker = CircuitBreaker("b")
            with pytest.raises(TooManyCircuitsError):
                await guarded(breaker, pytest.fail)
            assert breaker.statistics().started == 0
            supervisor.stop("a")
            assert await guarded(breaker, succeed) == "fine"

    @pytest.mark.usefixtures("enabled")
    async def test_callers_by_name(self) -> None:
        """So does whoever calls a decorated function, asks by name, or calls from a thread."""
        async with Supervisor(max_circuits=1, on_full="refuse") as supervisor:
            supervisor.circuit("a")
            calls: list[Callable[[], Awaitable[object]]] = [
                with_circuit_breaker("b")(fail),
                retry_api_call()(fail),
                retry_api_call(guard="attempt")(fail),
                lambda: get_circuit_breaker("b"),
                lambda: to_thread.run_sync(CircuitBreaker("b").call_from_thread, pytest.fail),
            ]
            for call in calls:
                with pytest.raises(TooManyCircuitsError):
                    await call()
            assert list(supervisor) == ["a"]

    async def test_calls_within_calls(self) -> None:
        """A call needs its circuit until it ends, whatever it calls in between."""
        outer, inner = CircuitBreaker("outer"), CircuitBreaker("inner")
        async with Supervisor(max_circuits=1):
            with pytest.raises(TooManyCircuitsError):
                await outer.call(inner.call, succeed)
            assert outer.failure_count == 1

    async def test_taking_turns(self) -> None:
        """Two breakers where there is room for one circuit work, each call with a new one."""
        breakers = [CircuitBreaker("a"), CircuitBreaker("b")]
        async with Supervisor(max_circuits=1) as supervisor:
            breakers.append(supervisor.circuit("c"))
            for _ in range(10):
                for breaker in breakers:
                    assert await breaker.call(succeed) == "fine"
                    assert breaker.statistics().started == 1
                    assert list(supervisor) == [breaker.name]

    async def test_many_tasks_compete_for_room(self) -> None:
        """Each call either runs in its own circuit or is refused a place; none gets lost."""
        done = {"fine": 0, "full": 0}

        async def work(number: int) -> None:
            breaker = CircuitBreaker(f"c{number % 20}")
            for turn in range(20):
                try:
                    await breaker.call(anyio.sleep, (number * turn) % 3)
                    done["fine"] += 1
                except TooManyCircuitsError:
                    done["full"] += 1
                    await anyio.sleep(1)
                assert len(supervisor) <= 5

        async with Supervisor(max_circuits=5, idle_timeout=2) as supervisor:
            async with anyio.create_task_group() as tasks:
                for number in range(40):
                    tasks.start_soon(work, number)
            assert sum(done.values()) == 800
            assert min(done.values()) > 0
            assert all(figures.in_flight == 0 for figures in supervisor.statistics().values())
            await anyio.sleep(LONG)
            assert not supervisor

    async def test_thousands_of_tenants(self) -> None:
        """There are never more circuits or tasks than the cap allows, and nothing else grows."""
        before = tasks_here()
        async with Supervisor(max_circuits=100) as supervisor:
            for number in range(3_000):
                await (await get_circuit_breaker(f"tenant:{number}")).call(succeed)
                assert len(supervisor) <= 100
                if number % 300 == 0:
                    assert tasks_here() <= before + 1 + 100 + 1  # one actor has still to end
            assert list(supervisor) == [f"tenant:{number}" for number in range(2_900, 3_000)]
            await settle_down()
            collect_garbage()
            alive = [thing for thing in gc.get_objects() if type(thing) is Circuit]
            tenants = sum(circuit.name.startswith("tenant:") for circuit in alive)
            assert tenants == 100 + 1  # the latest one may still be reported to


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_call_is_counted_once(backend: str) -> None:
    """In many orders of tasks, each call is counted by the circuit that admitted it."""
    lives = 0

    async def main() -> None:
        nonlocal lives
        random = Random(seed)
        called = {"fine": 0, "down": 0, "refused": 0}
        circuits: set[Circuit] = set()

        async def work(breaker: CircuitBreaker) -> None:
            for _ in range(12):
                await anyio.sleep(random.choice([0, 0, 0.5, 3]))
                try:
                    async with breaker:
                        admitting = circuit_of(supervisor, breaker.name)
                        circuits.add(admitting)
                        await anyio.sleep(random.choice([0, 0, 0.1, 2]))
                        assert circuit_of(supervisor, breaker.name) is admitting
                        if random.random() < 0.3:
                            raise Down
                except TooManyCircuitsError:
                    continue
                except CircuitBreakerOpenError:
                    circuits.add(circuit_of(supervisor, breaker.name))
                    called["refused"] += 1
                except Down:
                    called["down"] += 1
                else:
                    called["fine"] += 1

        async with Supervisor(idle_timeout=1, max_circuits=3) as supervisor:
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    name = f"c{number % 5}"
                    built = CircuitBreaker(name, failure_threshold=2, recovery_timeout=2)
                    tasks.start_soon(work, built)
            every = [statistics_of(circuit) for circuit in circuits]
        assert called["fine"] == sum(figures.succeeded for figures in every)
        assert called["down"] == sum(figures.failed for figures in every)
        assert called["refused"] == sum(figures.rejected for figures in every)
        assert sum(figures.in_flight for figures in every) == 0
        lives += len(circuits)

    for seed in range(SEEDS):
        run(backend, seed, main)
    assert lives > 10 * SEEDS


class TestOthers:
    """What else can be going on."""

    async def test_a_recording_ends(self) -> None:
        """It has what the retired circuit was told, and nothing of the successor."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x")
            recording = supervisor.record("x")
            await fail_times(breaker, 1)
            await anyio.sleep(LONG)
            lines = list(recording.lines())
            await fail_times(breaker, 1)
            assert sum("Settle" in line for line in lines) == 1
            assert list(recording.lines()) == lines

    async def test_resets_go_on(self) -> None:
        """The functions for all circuits leave retired ones alone."""
        async with Supervisor(idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x")
            await anyio.sleep(LONG)
            supervisor.circuit("y")
            reset_all_circuit_breakers()
            assert list(supervisor) == ["y"]
            clear_circuit_breaker_registry()
            assert not supervisor
            assert await breaker.call(succeed) == "fine"

    async def test_an_actor_that_crashes(self) -> None:
        """A circuit that was restarted is retired in its time, and its crashes are forgotten."""
        async with Supervisor(max_restarts=1, idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x")
            for _ in range(3):
                crash(supervisor, "x")
                assert await breaker.call(succeed) == "fine"
                await settle_down()
                assert breaker.statistics().restarts == 1
                await anyio.sleep(LONG)
                assert not supervisor
                await breaker.call(succeed)

    async def test_an_actor_that_is_about_to_crash(self) -> None:
        """A message on which it would crash goes with the circuit."""
        async with Supervisor(max_restarts=0, max_circuits=1) as supervisor:
            stream = supervisor.events()
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            crash(supervisor, "x")
            supervisor.circuit("y")
            await settle_down()
            assert await told(stream) == ["x", "x full", "y"]
            assert await breaker.call(succeed) == "fine"

    async def test_an_actor_that_has_crashed_just_now(self) -> None:
        """A circuit may go before its restarted actor has had another turn."""
        async with Supervisor(max_circuits=1) as supervisor:
            breaker = supervisor.circuit("x")
            async with supervisor.events() as stream:
                crash(supervisor, "x")
                async for event in stream:
                    if isinstance(event, CircuitRestarted):
                        break
                supervisor.circuit("y")
            assert await breaker.call(succeed) == "fine"
            assert breaker.statistics().restarts == 0

    async def test_the_cap_counts_no_retired_circuits(self) -> None:
        """With both options, idle circuits make room by themselves."""
        async with Supervisor(max_circuits=2, on_full="refuse", idle_timeout=10) as supervisor:
            supervisor.circuit("a")
            supervisor.circuit("b")
            with pytest.raises(TooManyCircuitsError):
                supervisor.circuit("c")
            await anyio.sleep(LONG)
            supervisor.circuit("c")
            assert list(supervisor) == ["c"]

    async def test_the_order_of_events(self) -> None:
        """Each life of a circuit begins with its start and ends with its retirement."""
        lives: list[Event] = []
        async with Supervisor(idle_timeout=10) as supervisor:
            async with supervisor.events() as stream:
                breaker = supervisor.circuit("x")
                for _ in range(3):
                    await breaker.call(succeed)
                    await anyio.sleep(LONG)
                for _ in range(6):
                    event = await anext(stream)
                    assert isinstance(event, Event)
                    lives.append(event)
        assert [type(event) for event in lives] == [CircuitStarted, CircuitRetired] * 3
        assert [event.sequence for event in lives] == list(range(1, 7))
