"""Supervisors that share circuits, through a store in memory, whatever becomes of that."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    FleetJoined,
    FleetLost,
    MemorySharing,
    StateChanged,
    Supervisor,
    current_supervisor,
    replay_file,
)
from supervisor.commands.replay import report
from supervisor.loop import EventLoop
from supervisor.machine import Asked
from supervisor.sharing import Member
from supervisor.sharing.store import Asking, Counting, Opening, Renewing, Settling
from supervisor.testing import run_in_virtual_time
from tests.sharing.fleets import Cut, FaultyStore, fleet, heard
from tests.support.worlds import (
    Dependency,
    Down,
    fail,
    fail_times,
    is_refused,
    settle_down,
    succeed,
    take,
)

pytestmark = pytest.mark.anyio

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN = CircuitState.FORCED_OPEN


def states(breakers: list[CircuitBreaker]) -> list[CircuitState]:
    return [breaker.state for breaker in breakers]


class TestTogether:
    """One outage, one lesson."""

    async def test_an_opening_is_heard_by_all(self) -> None:
        """With its time; who has opened it is told."""
        async with fleet(3) as (_, supervisors, (first, *others)):
            stream = supervisors[1].events()
            await fail_times(first, 1)
            await heard()
            assert states([first, *others]) == [OPEN] * 3
            assert others[0].retry_after == pytest.approx(9.95, abs=0.02)
            assert await is_refused(others[1])
            stream.close()
            (change,) = [each async for each in stream if isinstance(each, StateChanged)]
            assert (change.origin, change.last_failure) == ("fleet", None)

    async def test_one_of_all_probes(self) -> None:
        """Its success closes all, and its failure opens all."""
        for ends_well in (True, False):
            async with fleet(3) as (_, _supervisors, breakers):
                await fail_times(breakers[0], 1)
                await anyio.sleep(10.1)
                assert states(breakers) == [HALF_OPEN] * 3
                dependency = Dependency()
                async with anyio.create_task_group() as group:
                    for breaker in breakers * 2:
                        group.start_soon(self.call, breaker, dependency)
                    await heard(1.0)
                    assert dependency.calls == 1
                    dependency.let_go(None if ends_well else ConnectionError("down"))
                await heard()
                assert states(breakers) == [CLOSED if ends_well else OPEN] * 3

    @staticmethod
    async def call(breaker: CircuitBreaker, dependency: Dependency) -> None:
        with suppress(CircuitBreakerOpenError, ConnectionError):
            await breaker.call(dependency.call)

    async def test_a_long_probe_keeps_its_token(self) -> None:
        """It is renewed while the probe runs."""
        async with fleet() as (store, _, breakers):
            await fail_times(breakers[0], 1)
            await anyio.sleep(10.1)
            async with anyio.create_task_group() as group:
                group.start_soon(breakers[0].call, take, 18.0)
                await anyio.sleep(17.0)
                assert await is_refused(breakers[1])
            await heard()
            assert states(breakers) == [CLOSED, CLOSED]
            assert sum(isinstance(step, Renewing) for step in store.steps) >= 9

    @pytest.mark.parametrize(
        ("initial", "state"), [("open", "closed"), ("forced_open", "forced_open")]
    )
    async def test_where_a_shared_circuit_begins(self, initial: Any, state: str) -> None:
        """It is open if the fleet says so; what is set by hand is set here."""
        async with fleet(1) as (store, _, (breaker,)):
            await breaker.call(succeed)
            async with Supervisor(sharing=store) as supervisor:
                newcomer = supervisor.circuit("x", initial_state=initial)
                assert newcomer.state == state
                await heard()
                assert newcomer.state == state
                assert breaker.state is CLOSED
                newcomer.release()
                assert newcomer.state is CLOSED

    async def test_a_newcomer_that_warms_up_opens_nothing(self) -> None:
        """Neither itself nor the others, from its own beginning on; but it hears of them."""
        async with fleet(1) as (store, _, (breaker,)):
            await breaker.call(succeed)
            await anyio.sleep(100)
            async with Supervisor(sharing=store) as supervisor:
                newcomer = supervisor.circuit("x", failure_threshold=1, warm_up=10.0)
                await heard()
                await fail_times(newcomer, 9)
                await anyio.sleep(8)
                await fail_times(newcomer, 1)
                await heard()
                assert states([newcomer, breaker]) == [CLOSED] * 2
                await fail_times(breaker, 1)
                await heard()
                assert newcomer.state is OPEN

    async def test_a_newcomer_reads_before_it_decides(self) -> None:
        """Its circuits are as the fleet's from the beginning."""
        async with fleet(1) as (store, _, (breaker,)):
            await fail_times(breaker, 1)
            await heard()
            async with Supervisor(sharing=store) as supervisor:
                newcomer = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10.0)
                assert newcomer.state is OPEN
                assert await is_refused(newcomer)
                assert supervisor.fleet is not None
                assert supervisor.fleet.members == 2

    async def test_who_leaves_gives_back(self) -> None:
        """The next one may probe at once."""
        async with fleet() as (store, _, breakers):
            await fail_times(breakers[0], 1)
            await anyio.sleep(10.1)
            async with Supervisor(sharing=store) as leaver:
                breaker = leaver.circuit("x", failure_threshold=1, recovery_timeout=10.0)
                permit = await breaker.acquire()
                assert await is_refused(breakers[1])
            await heard()
            assert not await is_refused(breakers[1])
            permit.ignore()

    async def test_a_circuit_that_is_stopped_gives_back(self) -> None:
        """Likewise."""
        async with fleet() as (_, supervisors, breakers):
            await fail_times(breakers[0], 1)
            await anyio.sleep(10.1)
            permit = await breakers[0].acquire()
            supervisors[0].stop("x")
            await heard()
            assert not await is_refused(breakers[1])
            permit.ignore()

    @pytest.mark.parametrize("leaves", [True, False])
    @pytest.mark.parametrize(
        ("verdict", "state"), [("succeeded", CLOSED), ("failed", OPEN), ("given back", HALF_OPEN)]
    )
    async def test_a_verdict_in_the_mailbox_counts(
        self, verdict: str, state: CircuitState, leaves: bool
    ) -> None:
        """Although the circuit ends before its actor has had a turn; without one, it gives back."""
        store = FaultyStore()
        async with Supervisor(sharing=store) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10.0)
            await fail_times(breaker, 1)
            await anyio.sleep(10.1)
            permit = await breaker.acquire()
            if verdict == "succeeded":
                permit.succeed()
            elif verdict == "failed":
                permit.fail(Down("down"))
            if not leaves:
                supervisor.stop("x")
                await heard()
        assert store.state("x") is state
        settled = [step.verdict for step in store.steps if isinstance(step, Settling)]
        assert settled == [verdict]
        if verdict == "given back":
            permit.ignore()

    async def test_local_circuits(self) -> None:
        """The longest pattern that fits decides."""
        store = FaultyStore(shared=("http:*",), local=("http:local*",))
        async with Supervisor(sharing=store) as supervisor:
            for name in ("http:local", "tenant:1", "http:x"):
                await fail_times(supervisor.circuit(name, failure_threshold=1), 1)
            await heard()
            assert [step.circuit for step in store.steps] == ["http:x"]
            with pytest.raises(RuntimeError, match="'tenant:1' is not shared"):
                supervisor["tenant:1"].force_open(everywhere=True)

    @pytest.mark.parametrize("shares", [True, False])
    async def test_texts_are_shared_by_choice(self, shares: bool) -> None:
        """They may hold secrets."""
        store = FaultyStore(share_failures=shares)
        async with fleet(2, store) as (_, _supervisors, breakers):
            await fail_times(breakers[0], 1)
            await heard()
            text = "Down: down" if shares else None
            assert breakers[1].statistics().last_failure == text
            assert [each.statistics().origin for each in breakers] == ["here", "fleet"]
            assert breakers[0].statistics().last_failure == "Down: down"

    async def test_failures_count_together(self) -> None:
        """Though none of them has seen enough by itself; for the time of the one that tells it."""
        store = FaultyStore(failures=6, failures_within=10.0)
        policy = {"failure_threshold": 5, "recovery_timeout": 30.0}
        async with fleet(3, store, **policy) as (_, _supervisors, breakers):
            for breaker in breakers:
                await fail_times(breaker, 2)
            assert store.steps == []
            await anyio.sleep(1.1)
            assert states(breakers) == [OPEN] * 3
            assert len(store.steps) == 3
            await anyio.sleep(30.0)
            assert await breakers[0].call(succeed) == "fine"
            await heard()
            assert states(breakers) == [CLOSED] * 3
            await fail_times(breakers[1], 4)
            await anyio.sleep(11.1)
            await fail_times(breakers[2], 4)
            await anyio.sleep(1.1)
            assert states(breakers) == [CLOSED] * 3

    async def test_what_failures_cost(self) -> None:
        """A step for each tenth of the time in which they are others, however many they are."""
        store = FaultyStore(failures=10_000, failures_within=10.0)
        async with fleet(1, store, failure_threshold=10_000) as (_, _supervisors, (breaker,)):
            for _ in range(100):
                await fail_times(breaker, 5)
                await breaker.call(succeed)
                await anyio.sleep(0.1)
            assert 9 <= len(store.steps) <= 10
            store.steps.clear()
            await anyio.sleep(60.0)
            assert len(store.steps) <= 11
            last = store.steps[-1]
            assert isinstance(last, Counting)
            assert last.failures == 0

    async def test_failures_of_a_circuit_that_has_ended_are_not_told(self) -> None:
        """Nor those of one that has opened, nor any without a link."""
        store = FaultyStore(failures=20)
        async with fleet(1, store, failure_threshold=2) as (_, (supervisor,), (breaker,)):
            await fail_times(breaker, 2)
            await fail_times(supervisor.circuit("y"), 2)
            supervisor.stop("y")
            await anyio.sleep(1.1)
            assert [type(step) for step in store.steps] == [Opening]
            await fail_times(supervisor.circuit("z"), 2)
            store.cut()
            await heard()
            store.mend()
            await anyio.sleep(3.0)
            assert not any(isinstance(step, Counting) for step in store.steps)

    async def test_by_hand_for_all(self) -> None:
        """Set and released, by whomever."""
        async with fleet() as (_, _supervisors, breakers):
            breakers[0].force_open(everywhere=True)
            assert breakers[0].state is FORCED_OPEN
            await heard()
            assert states(breakers) == [FORCED_OPEN] * 2
            breakers[1].release()
            assert breakers[1].state is FORCED_OPEN
            breakers[1].release(everywhere=True)
            await heard()
            assert states(breakers) == [CLOSED] * 2

    async def test_an_open_circuit_is_closed_for_all(self) -> None:
        """By a release, but not by a reset, which is of one circuit alone."""
        async with fleet(3) as (_, _supervisors, breakers):
            await fail_times(breakers[0], 1)
            await heard()
            breakers[1].reset()
            await heard()
            assert states(breakers) == [OPEN, CLOSED, OPEN]
            breakers[0].release(everywhere=True)
            await heard()
            assert states(breakers) == [CLOSED] * 3
            await fail_times(breakers[2], 1)
            await heard()
            assert states(breakers) == [OPEN] * 3

    async def test_by_hand_without_a_fleet(self) -> None:
        """Clear errors."""
        async with Supervisor() as supervisor:
            assert supervisor.fleet is None
            with pytest.raises(RuntimeError, match="made without `sharing`"):
                supervisor.circuit("x").force_open(everywhere=True)

    async def test_what_does_not_go_together(self) -> None:
        """Is refused at once."""
        with pytest.raises(ValueError, match="keep='process' does not go with sharing"):
            Supervisor(sharing=MemorySharing(), keep="process")
        with pytest.raises(TypeError, match=r"sharing must be a Sharing, .*, got str$"):
            Supervisor(sharing="redis://:secret@here")  # type: ignore[arg-type]
        async with fleet() as (_, _supervisors, breakers):
            for set_state in (breakers[0].force_open, breakers[0].release):
                with pytest.raises(TypeError, match="everywhere must be True or False, got 30"):
                    set_state(30)  # type: ignore[arg-type]  # seconds, as `isolate` takes them
            await heard()
            assert states(breakers) == [CLOSED] * 2


class TestFaults:
    """The store may do what it likes."""

    async def test_a_cut_is_told_once(self) -> None:
        """And so is its end; every circuit decides alone meanwhile, at once."""
        async with fleet() as (store, (supervisor, _), breakers):
            stream = supervisor.events()
            await fail_times(breakers[0], 1)
            await anyio.sleep(10.1)
            store.cut()
            await heard()
            assert supervisor.fleet is not None
            assert (supervisor.fleet.linked, supervisor.fleet.members) == (False, 0)
            with pytest.raises(RuntimeError, match="cannot be reached"):
                breakers[0].force_open(everywhere=True)
            began = anyio.current_time()
            assert await breakers[0].call(succeed) == "fine"
            assert anyio.current_time() - began < 0.01
            assert states(breakers) == [CLOSED, HALF_OPEN]
            await fail_times(breakers[0], 1)
            await anyio.sleep(10.1)
            assert await breakers[0].call(succeed) == "fine"
            await anyio.sleep(30.0)
            store.mend()
            await anyio.sleep(2.1)
            assert supervisor.fleet.linked
            stream.close()
            said = [each async for each in stream if isinstance(each, FleetLost | FleetJoined)]
            lost, joined = said
            assert isinstance(lost, FleetLost)
            assert isinstance(joined, FleetJoined)
            assert (lost.error, lost.circuit) == ("Cut: cut", "")
            assert joined.members in (1, 2)  # the other one may be back already

    async def test_who_waits_is_answered_when_the_link_is_cut(self) -> None:
        """An asker, and a probe that runs."""
        async with fleet() as (store, _, breakers):
            await fail_times(breakers[0], 1)
            await anyio.sleep(10.1)
            store.delay = 0.2
            async with anyio.create_task_group() as group:
                group.start_soon(breakers[0].call, take, 5.0)
                await anyio.sleep(0.1)
                store.cut()
                await anyio.sleep(0.15)
                assert breakers[0].statistics().in_flight == 1
                assert await is_refused(breakers[0])  # its own place is taken
            assert breakers[0].state is CLOSED

    async def test_a_slow_store_holds_nobody_up(self) -> None:
        """For more than a quarter of a second, and in half-open alone."""
        async with fleet() as (store, _, breakers):
            store.delay = 0.5
            await fail_times(breakers[0], 1)
            assert await is_refused(breakers[0])
            await anyio.sleep(10.6)
            began = anyio.current_time()
            assert await breakers[0].call(succeed) == "fine"
            assert anyio.current_time() - began == pytest.approx(0.25, abs=0.02)
            await anyio.sleep(0.3)
            assert breakers[0].state is CLOSED

    async def test_a_link_that_is_reset(self) -> None:
        """Of a store that is well: there is another one soon."""
        async with fleet() as (store, supervisors, breakers):
            store.cut()
            store.mend()
            await heard()
            assert [each.fleet is not None and each.fleet.linked for each in supervisors] == [
                False,
                False,
            ]
            await anyio.sleep(0.2)
            await fail_times(breakers[0], 1)
            await heard()
            assert states(breakers) == [OPEN, OPEN]

    async def test_a_frozen_store(self) -> None:
        """It is noticed in a second."""
        async with fleet() as (store, (supervisor, _), breakers):
            store.delay = 60.0
            await fail_times(breakers[0], 1)
            await anyio.sleep(1.1)
            assert supervisor.fleet is not None
            assert not supervisor.fleet.linked
            store.mend()
            await anyio.sleep(2.1)
            assert states(breakers) == [OPEN, OPEN]  # what is open here was told

    async def test_it_comes_back_empty(self) -> None:
        """The first to notice tells it again; what is set by hand for all, too."""
        async with fleet(recovery_timeout=60.0) as (store, supervisors, breakers):
            others = [each.circuit("y") for each in supervisors]
            others[0].force_open(everywhere=True)
            await fail_times(breakers[0], 1)
            await heard()
            store.lose_all()
            await anyio.sleep(6.0)
            assert states(breakers + others) == [OPEN, OPEN, FORCED_OPEN, FORCED_OPEN]
            async with Supervisor(sharing=store) as newcomer:
                known = [newcomer.circuit("x", recovery_timeout=60.0), newcomer.circuit("y")]
                assert states(known) == [OPEN, FORCED_OPEN]

    async def test_news_that_is_missing(self) -> None:
        """A gap is seen, and all is read anew."""
        async with fleet(recovery_timeout=60.0) as (store, supervisors, breakers):
            store.forget = True
            await fail_times(breakers[0], 1)
            await heard()
            assert breakers[1].state is CLOSED
            store.forget = False
            store.drop_news()
            await fail_times(supervisors[0].circuit("y", failure_threshold=1), 1)
            await heard(5.1)
            assert breakers[1].state is OPEN

    async def test_what_breaks_the_member_is_an_error_of_the_link(self) -> None:
        """It is said, and mended: no circuit, no supervisor comes down."""
        async with fleet() as (store, (supervisor, _), breakers):
            store.cut(BaseExceptionGroup("", [ZeroDivisionError("a bug")]))
            await heard()
            assert supervisor.fleet is not None
            assert not supervisor.fleet.linked
            store.mend()
            await anyio.sleep(2.1)
            await fail_times(breakers[0], 1)
            await heard()
            assert breakers[1].state is OPEN

    async def test_a_store_that_is_not_there(self) -> None:
        """Entering takes half a second; circuits are local; it is said once, and tried again."""
        store = FaultyStore()
        store.delay = 0.9
        began = anyio.current_time()
        async with Supervisor(sharing=store) as supervisor:
            assert anyio.current_time() - began == pytest.approx(0.5, abs=0.01)
            store.cut()
            await anyio.sleep(20.0)
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            assert breaker.state is OPEN
            assert 8 <= store.asked["connect"] <= 25

    async def test_a_link_that_is_of_no_use(self) -> None:
        """It is not made again and again: each try waits longer, as if there were none."""
        store = FaultyStore()
        store.deaf = True
        async with Supervisor(sharing=store):
            await anyio.sleep(20.0)
            assert 8 <= store.asked["connect"] <= 25

    async def test_a_link_that_was_of_use(self) -> None:
        """It is made again soon, however many tries it took before."""
        store = FaultyStore()
        store.deaf = True
        async with Supervisor(sharing=store) as supervisor:
            await anyio.sleep(20.0)
            store.deaf = False
            await anyio.sleep(5.0)
            assert supervisor.fleet is not None
            assert supervisor.fleet.linked
            store.cut()
            await anyio.sleep(0.01)
            assert not supervisor.fleet.linked
            store.mend()
            await anyio.sleep(0.2)
            assert supervisor.fleet.linked

    async def test_leaving_takes_no_time(self) -> None:
        """If the store answers."""
        store = FaultyStore()
        async with Supervisor(sharing=store):
            await heard()
            began = anyio.current_time()
        assert anyio.current_time() == began

    @pytest.mark.parametrize("seconds", [0.0, 0.3])
    async def test_entering_is_cancelled(self, seconds: float) -> None:
        """Nothing is left of the block, whether or not the member has had a turn."""
        store = FaultyStore()
        store.delay = 0.9
        supervisor = Supervisor(sharing=store)
        with anyio.move_on_after(seconds) as scope:
            async with supervisor:
                pytest.fail("it is not known yet how things stand")
        assert scope.cancelled_caught
        assert current_supervisor() is not supervisor
        with pytest.raises(RuntimeError, match="has ended"):
            supervisor.circuit("x")

    async def test_leaving_before_the_first_turn(self) -> None:
        """Its task, which begins afterwards, ends at once and asks the store for nothing."""
        store = FaultyStore()
        loop = EventLoop.here()
        member = Member(store, {}, lambda *_: None)
        member.leave(loop)
        began = anyio.current_time()
        await member.run(loop)
        assert anyio.current_time() == began
        assert not member.linked
        assert store.steps == []

    async def test_leaving_takes_a_quarter_of_a_second_at_most(self) -> None:
        """If the store does not answer."""
        store = FaultyStore()
        async with Supervisor(sharing=store) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10.0)
            await fail_times(breaker, 1)
            await anyio.sleep(10.1)
            permit = await breaker.acquire()
            store.delay = 0.9
            began = anyio.current_time()
        assert anyio.current_time() - began == pytest.approx(0.25, abs=0.01)
        assert supervisor.fleet is not None
        assert not supervisor.fleet.linked
        permit.ignore()

    async def test_a_probe_whose_circuit_has_gone_meanwhile(self) -> None:
        """What was asked for it goes back."""
        store = FaultyStore()
        async with Supervisor(sharing=store) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10.0)
            await fail_times(breaker, 1)
            await anyio.sleep(10.1)
            store.delay = 0.1
            async with anyio.create_task_group() as group:
                group.start_soon(breaker.acquire)
                await anyio.sleep(0.05)
                group.cancel_scope.cancel()
            supervisor.stop("x")
            await anyio.sleep(1.0)
            asked, back = store.steps[-2:]
            assert isinstance(asked, Asking)
            assert isinstance(back, Settling)
            assert (back.token, back.verdict) == (asked.token, "given back")

    async def test_a_token_that_has_ended_is_not_renewed(self) -> None:
        """The fleet goes on without a process that was frozen."""
        async with fleet() as (store, _, breakers):
            await fail_times(breakers[0], 1)
            await anyio.sleep(10.1)
            permit = await breakers[0].acquire()
            store.lose_all()
            await anyio.sleep(4.0)
            assert sum(isinstance(step, Renewing) for step in store.steps) == 1
            permit.succeed()


class TestLoad:
    """Many circuits."""

    async def test_idle(self) -> None:
        """No more than half a command a second, however many circuits there are."""
        store = FaultyStore()
        async with Supervisor(sharing=store) as supervisor:
            for number in range(300):
                supervisor.circuit(f"c{number}")
            await settle_down()
            store.asked.clear()
            await anyio.sleep(100.0)
            assert store.asked.total() <= 50
            assert supervisor.fleet is not None
            assert supervisor.fleet.linked

    async def test_a_storm_of_openings(self) -> None:
        """All are heard of, and the news holds nobody up: other tasks have turns in between."""
        store = FaultyStore()
        async with Supervisor(sharing=store) as first, Supervisor(sharing=store) as second:
            policy: dict[str, Any] = {"failure_threshold": 1, "recovery_timeout": 60.0}
            there = [second.circuit(f"c{number}", **policy) for number in range(300)]
            for number in range(300):
                with pytest.raises(ConnectionError):
                    await first.circuit(f"c{number}", **policy).call(fail)
            await anyio.sleep(1.0)
            assert states(there) == [OPEN] * 300
            assert sum(isinstance(step, Opening) for step in store.steps) == 300
            async with Supervisor(sharing=store) as third:
                assert third.circuit("c299", **policy).state is OPEN


class TestFurther:
    """What else there is."""

    async def test_a_recording_is_replayed(self, tmp_path: Path) -> None:
        """With all that the fleet has said, and was told."""
        async with fleet() as (_, supervisors, breakers):
            await fail_times(breakers[1], 1)
            await anyio.sleep(10.1)
            recording = supervisors[0].record("x")
            assert await breakers[0].call(succeed) == "fine"
            await heard()
            await fail_times(breakers[0], 1)
            await heard()
            recording.write(tmp_path / "x.jsonl")
            replay = replay_file(tmp_path / "x.jsonl")
            assert replay.agrees
            assert replay.machine.state is OPEN
            assert any(isinstance(each, Asked) for each in replay.recorded)
            lines = report(replay)
            assert sum("the fleet is told: " in line for line in lines) == 3

    async def test_only_its_own_tokens_go_back_with_a_circuit(self) -> None:
        """Those of others stay."""
        async with fleet(1) as (store, (supervisor,), (breaker,)):
            other = supervisor.circuit("y", failure_threshold=1, recovery_timeout=10.0)
            for each in (breaker, other):
                await fail_times(each, 1)
            await anyio.sleep(10.1)
            permits = [await each.acquire() for each in (breaker, other)]
            supervisor.stop("y")
            await heard()
            back = [step for step in store.steps if isinstance(step, Settling)]
            assert [step.circuit for step in back] == ["y"]
            for permit in permits:
                permit.ignore()

    async def test_a_quorum(self) -> None:
        """One sick process does not stop the others; two do."""
        store = FaultyStore(quorum=2)
        async with fleet(3, store) as (_, _supervisors, breakers):
            await fail_times(breakers[0], 1)
            await heard()
            assert states(breakers) == [OPEN, CLOSED, CLOSED]
            await fail_times(breakers[1], 1)
            await heard()
            assert states(breakers) == [OPEN, OPEN, OPEN]

    async def test_a_circuit_that_comes_later_knows(self) -> None:
        """What was heard before there was one here."""
        async with fleet() as (_, (first, second), _breakers):
            await fail_times(first.circuit("y", failure_threshold=1), 1)
            await heard()
            assert second.circuit("y").state is OPEN

    async def test_events_of_the_store_are_cancelled_with_the_loop(self) -> None:
        """A group with a cancellation in it ends the member by that."""
        async with fleet(1) as (store, (supervisor,), _):
            cancelled = anyio.get_cancelled_exc_class()
            assert not issubclass(cancelled, Exception)
            store.cut(BaseExceptionGroup("", [ExceptionGroup("", [Cut("x")]), Cut("y")]))
            await heard()
            assert supervisor.fleet is not None
            assert not supervisor.fleet.linked


def test_never_entered() -> None:
    """A supervisor may be made where there is no event loop, as in a module."""
    supervisor = Supervisor(sharing=MemorySharing())
    assert supervisor.fleet is not None
    assert not supervisor.fleet.linked


def test_no_two_have_the_same_name(seeded: random.Random) -> None:
    """Although programs seed the random numbers of the process; theirs stay as they are."""
    owners: set[str] = set()
    for _ in range(2):
        random.seed(5)
        fleet = Supervisor(sharing=MemorySharing()).fleet
        assert fleet is not None
        owners.add(fleet.owner)
        assert random.getstate() == seeded.getstate()
    assert len(owners) == 2


def test_an_interrupt_in_the_member_comes_out() -> None:
    """On asyncio, the event loop raises it; on trio it ends the program, as in any system task."""

    async def main() -> None:
        store = FaultyStore()
        async with Supervisor(sharing=store):
            store.cut(BaseExceptionGroup("", [Cut("x"), KeyboardInterrupt()]))
            await anyio.sleep(1.0)

    with pytest.raises(KeyboardInterrupt):
        run_in_virtual_time(main, backend="asyncio")
