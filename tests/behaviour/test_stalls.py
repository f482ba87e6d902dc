"""The event loop stands still for a while: a blocking call, a paused container, a laptop asleep."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, CircuitState, Supervisor
from supervisor.testing import jump
from tests.support.worlds import (
    Dependency,
    Guarded,
    changes_in,
    every_way,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
    take,
)

pytestmark = pytest.mark.anyio

stalls = pytest.mark.parametrize("stall", [31, 40, 95, 3600, 86_400 * 30])


class TestWaiting:
    """Callers who wait for a recovery that is due while nobody has a turn."""

    @stalls
    @pytest.mark.parametrize(
        ("places", "policy"),
        [
            (1, {}),
            (1, {"half_open_timeout": 3}),
            (1, {"slow_call_duration": 0.5}),
            (1, {"timeout": 4}),
            (1, {"recovery_factor": 2, "max_recovery_timeout": 500}),
            (1, {"ramp": 10, "throttle": 2}),
            (3, {"success_threshold": 3}),
            (2, {"probes": 2, "success_threshold": 5}),
            (4, {"probes": 4, "probe_failure_rate": 0.5}),
        ],
    )
    async def test_no_more_probes_than_permitted(
        self, stall: float, places: int, policy: dict[str, Any]
    ) -> None:
        """They begin now, have their time, and are the first to be judged."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x", failure_threshold=1, probe_timeout=2, **policy)
            dependency, events = Dependency(), supervisor.events()
            await fail_times(breaker, 1)
            for _ in range(20):
                tasks.start_soon(breaker.waiting(10**9).call, dependency.call)
            await settle_down()
            jump(stall)
            await settle_down()
            assert (dependency.running, breaker.state) == (places, "half_open")
            assert breaker.statistics().waiting == 20 - places
            await anyio.sleep(0.25)
            assert (dependency.most_running, breaker.statistics().times_opened) == (places, 1)
            dependency.let_go()
            await anyio.sleep(60)
            now = breaker.statistics()
            assert (now.succeeded, now.failed, now.state) == (20, 1, "closed")
            states = [change.to_state for change in await changes_in(events)]
            assert states == ["open", "half_open", "closed"]

    @stalls
    async def test_probes_that_hang(self, stall: float) -> None:
        """Each one is judged after its own time, counted from its own turn."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x", failure_threshold=1, probe_timeout=2)
            dependency, events = Dependency(), supervisor.events()
            await fail_times(breaker, 1)
            for _ in range(3):
                tasks.start_soon(breaker.waiting(10**9).call, dependency.call)
            await settle_down()
            jump(stall)
            await anyio.sleep(70)
            changes = [(e.to_state, e.at) for e in await changes_in(events)]
            assert changes[2:6] == [
                ("open", stall + 2),
                ("half_open", stall + 32),
                ("open", stall + 34),
                ("half_open", stall + 64),
            ]
            assert dependency.calls == 3
            dependency.let_go()

    async def test_who_gives_up_meanwhile(self) -> None:
        """Is refused if his time was over before the circuit was to let anybody go."""
        answers: list[str] = []

        async def caller(breaker: CircuitBreaker, wait: float) -> None:
            try:
                with await breaker.acquire(wait=wait):
                    answers.append(f"{wait} admitted")
            except CircuitBreakerOpenError as refusal:
                answers.append(f"{wait} {refusal.reason} {refusal.retry_after:g}")

        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            for wait in (29, 31, 32):
                tasks.start_soon(caller, breaker, wait)
                await settle_down()  # or they would come in any order, on trio
            jump(60)
        assert sorted(answers) == ["29 open 0", "31 admitted", "32 half_open 0"]

    async def test_a_place_that_becomes_free(self) -> None:
        """Who gets it has all his time, though the report is older than the turn."""
        async with half_open(probe_timeout=20) as breaker, anyio.create_task_group() as tasks:
            permit = await breaker.acquire()
            dependency = Dependency()
            tasks.start_soon(breaker.waiting(100).call, dependency.call)
            await settle_down()
            permit.ignore()
            jump(50)
            await anyio.sleep(19)
            assert (breaker.state, dependency.running) == ("half_open", 1)
            await anyio.sleep(1)
            assert breaker.state == "open"
            dependency.let_go()

    async def test_a_recovery_within_the_stall(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two calls become slow in it. The second one is told of when the circuit, opened by the
        first, is half-open already. Still, who is let go begins at the turn.
        """
        draws = [0.0]
        monkeypatch.setattr("supervisor.circuit.asking.random.random", lambda: draws[-1])
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            limits: dict[str, Any] = {"failure_threshold": 1, "recovery_timeout": 0.5}
            limits |= {"slow_call_duration": 4, "probe_timeout": 4, "ramp": 80}
            breaker = supervisor.circuit("x", **limits)
            await fail_times(breaker, 1)
            await anyio.sleep(0.5)
            (await breaker.acquire()).succeed()
            events = supervisor.events()
            hanging = [await breaker.acquire()]
            await anyio.sleep(1)
            hanging.append(await breaker.acquire())
            draws.append(0.99)
            dependency = Dependency()
            tasks.start_soon(breaker.waiting(999).call, dependency.call)
            await settle_down()
            jump(5)  # the first has 2 seconds more, the other one 1
            await settle_down()
            assert (breaker.state, dependency.running) == ("closed", 0)
            jump(14)
            await settle_down()
            assert (breaker.state, dependency.running) == ("half_open", 1)
            opened = [change.at for change in await changes_in(events) if change.to_state == "open"]
            assert opened == [7.5]
            await anyio.sleep(3)
            jump(10)
            await settle_down()
            assert (breaker.state, dependency.running) == ("half_open", 1)
            dependency.let_go()
            await settle_down()
            assert breaker.state == "closed"
            for permit in hanging:
                permit.ignore()

    async def test_several_circuits(self) -> None:
        """Each has its own probes, begun now."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            dependencies = [Dependency() for _ in range(3)]
            for number, dependency in enumerate(dependencies):
                breaker = supervisor.circuit(
                    f"x{number}", failure_threshold=1, recovery_timeout=10 * (number + 1)
                )
                await fail_times(breaker, 1)
                for _ in range(5):
                    tasks.start_soon(breaker.waiting(999).call, dependency.call)
            await settle_down()
            jump(600)
            await anyio.sleep(1)
            assert [dependency.most_running for dependency in dependencies] == [1, 1, 1]
            assert all(each.times_opened == 1 for each in supervisor.statistics().values())
            for dependency in dependencies:
                dependency.let_go()


class TestProbes:
    """A probe that runs when nobody has a turn at its end."""

    @every_way
    @pytest.mark.parametrize("limit", [{"probe_timeout": 5}, {"half_open_timeout": 5}])
    @pytest.mark.parametrize("stall", [4.5, 6, 61, 3600])
    async def test_a_quick_one(self, guarded: Guarded, limit: dict[str, Any], stall: float) -> None:
        """It counts by how it has ended, and not by the stall."""
        async with half_open(**limit) as breaker:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, breaker, partial(take, 1))
                await settle_down()
                jump(stall)
                if stall > 5:
                    assert breaker.state == "half_open"
                    assert await is_refused(breaker)
            assert (breaker.state, breaker.statistics().stale) == ("closed", 0)

    @every_way
    @pytest.mark.parametrize("limit", [{"probe_timeout": 5}, {"half_open_timeout": 5}])
    @pytest.mark.parametrize(("stall", "ends"), [(5, 5), (7, 9), (10, 15), (600, 605)])
    async def test_one_that_goes_on(
        self, guarded: Guarded, limit: dict[str, Any], stall: float, ends: float
    ) -> None:
        """It has as much time again, at most its whole time, and then none."""
        async with half_open(**limit) as breaker, anyio.create_task_group() as tasks:
            dependency = Dependency()
            began = anyio.current_time()
            tasks.start_soon(guarded, breaker, dependency.call)
            await settle_down()
            jump(stall)
            await settle_down()
            if ends > stall:
                assert breaker.state is CircuitState.HALF_OPEN
            await anyio.sleep_until(began + ends)
            assert (breaker.state, breaker.retry_after) == ("open", 30.0)
            assert breaker.statistics().times_opened == 2
            dependency.let_go()

    @every_way
    async def test_a_quick_one_is_not_slow(self, guarded: Guarded) -> None:
        """By a stall alone, though no later call tells that others have turns."""
        async with half_open(slow_call_duration=40) as breaker, anyio.create_task_group() as tasks:
            tasks.start_soon(guarded, breaker, partial(take, 1))
            await settle_down()
            jump(50)
            await anyio.sleep(1)
            now = breaker.statistics()
            assert (now.state, now.last_failure, now.times_opened) == ("closed", None, 1)

    async def test_one_stall_after_the_other(self) -> None:
        """The second one is its end, in the turn after it."""
        async with half_open(probe_timeout=5) as breaker:
            permit = await breaker.acquire()
            jump(60)
            await settle_down()
            jump(60)
            assert breaker.state == "half_open"  # a read does not judge
            await settle_down()
            assert (breaker.state, breaker.statistics().times_opened) == ("half_open", 2)
            permit.succeed()
            assert breaker.statistics().stale == 1

    async def test_an_earlier_call_that_becomes_slow(self) -> None:
        """At the time at which the probe should have been judged. That judges no probe."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit(
                "x", failure_threshold=1, slow_call_duration=5, probe_timeout=5
            )
            hanging = [await breaker.acquire() for _ in range(2)]
            await fail_times(breaker, 1)
            jump(30)  # they are put off by their whole time
            await settle_down()
            probe = await breaker.acquire()
            jump(7)
            await settle_down()
            assert (breaker.state, breaker.statistics().times_opened) == ("half_open", 1)
            probe.succeed()
            assert breaker.state == "closed"
            for permit in hanging:
                permit.ignore()

    async def test_one_that_fails(self) -> None:
        """It has failed, and once, at the time at which it says so."""
        async with half_open(probe_timeout=5) as breaker:
            permit = await breaker.acquire()
            jump(60)
            permit.fail()
            now = breaker.statistics()
            assert (now.state, now.retry_after, now.times_opened) == ("open", 30.0, 2)

    async def test_a_call_after_it(self) -> None:
        """It becomes a probe if the recovery was due meanwhile."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            jump(1000)
            assert (breaker.state, breaker.retry_after) == ("half_open", 0.0)
            assert await breaker.call(succeed) == "fine"
            assert breaker.state == "closed"
            with pytest.raises(ConnectionError):
                await breaker.call(fail)
            assert breaker.retry_after == 30.0


class TestDelays:
    """What is no stall: a turn that is a few milliseconds late, as many are."""

    @pytest.mark.parametrize(("delay", "is_stall"), [(0.001, False), (0.004, False), (0.006, True)])
    @pytest.mark.parametrize("limit", [{"probe_timeout": 5}, {"half_open_timeout": 5}])
    async def test_a_probe_is_judged(
        self, limit: dict[str, Any], delay: float, is_stall: bool
    ) -> None:
        """By its time, at the first turn after it."""
        async with half_open(**limit) as breaker:
            permit = await breaker.acquire()
            await anyio.sleep(4)
            jump(1 + delay)
            await settle_down()
            assert breaker.state == ("half_open" if is_stall else "open")
            permit.ignore()

    @every_way
    @pytest.mark.parametrize(("delay", "is_stall"), [(0.001, False), (0.004, False), (0.006, True)])
    async def test_a_call_is_slow(self, guarded: Guarded, delay: float, is_stall: bool) -> None:
        """If it runs for longer than it may, also while others have turns that are late."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x", failure_threshold=1, slow_call_duration=1)
            tasks.start_soon(guarded, breaker, partial(take, 1 + delay))
            await settle_down()
            other = await breaker.acquire()  # so that it is known that others had a turn
            jump(1 + delay)
            await settle_down()
            assert breaker.state == ("closed" if is_stall else "open")
            other.ignore()
