"""States that are set by hand: what a circuit does in them, shows of them, and forgets by them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    Statistics,
    Supervisor,
    deadline,
)
from supervisor.testing import VirtualTimeLoop, jump, loop_factory
from tests.support.instructions import instructions_of
from tests.support.worlds import (
    Dependency,
    Down,
    Guarded,
    by_call,
    by_thread,
    changes_in,
    crash,
    every_way,
    every_way_and_thread,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio

BY_HAND = {
    "force_open": "forced_open",
    "force_close": "forced_closed",
    "disable": "disabled",
    "only_measure": "metrics_only",
}
"""Methods, and the states that they set."""

each_state = pytest.mark.parametrize(("method", "state"), BY_HAND.items())
awake_or_not = pytest.mark.parametrize("awake", [False, True])


def force(breaker: CircuitBreaker, method: str) -> None:
    getattr(breaker, method)()


def counted(now: Statistics) -> tuple[int, int, int, int]:
    return now.succeeded, now.failed, now.rejected, now.stale


class TestWhatHasOpenedIt:
    """`last_failure` is what has opened the circuit, and None once it is closed again."""

    @pytest.mark.parametrize("how", ["recovery", "reset", "release"])
    async def test_it_is_forgotten(self, how: str) -> None:
        """Neither figures nor refusals speak of an outage that is over."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10)
            await fail_times(breaker, 1)
            assert breaker.statistics().last_failure == "Down: down"
            match how:
                case "recovery":
                    await anyio.sleep(10)
                    await breaker.call(succeed)
                case "reset":
                    breaker.reset()
                case _:
                    breaker.force_open()
                    breaker.release()
            assert breaker.statistics().last_failure is None
            breaker.force_open()
            with pytest.raises(CircuitBreakerOpenError, match=r"until it is released$") as caught:
                await breaker.call(succeed)
            assert caught.value.last_failure is None

    @pytest.mark.parametrize(
        ("method", "last"),
        [("force_open", "Down: down"), ("force_close", None), ("disable", None)],
    )
    async def test_by_hand_in_an_outage(self, method: str, last: str | None) -> None:
        """Who keeps it open by hand may still be told why it was; who lets calls through, not."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        force(breaker, method)
        assert breaker.statistics().last_failure == last
        breaker.reset()
        assert breaker.statistics().last_failure is None


class TestAllOfThem:
    """What the states have in common."""

    @each_state
    async def test_it_shows_on_the_next_line(self, method: str, state: str) -> None:
        """In every way in which a state can be read, and by every breaker of that name."""
        breaker, other = CircuitBreaker("x"), CircuitBreaker("x")
        await breaker.call(succeed)
        force(breaker, method)
        assert breaker.state == other.state == state
        assert repr(breaker) == f"<CircuitBreaker 'x' {state}>"
        now = breaker.statistics()
        would_be = "closed" if state == "metrics_only" else state
        assert (now.state, now.would_be) == (state, would_be)
        endless = math.inf if state == "forced_open" else 0.0
        assert breaker.retry_after == now.retry_after == endless
        breaker.release()
        assert (other.state, other.statistics().would_be) == ("closed", "closed")

    @each_state
    async def test_events(self, method: str, state: str) -> None:
        """One for the way in, one for the way out, however often it is asked for."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            await settle_down()
            stream = supervisor.events()
            for _ in range(2):
                await anyio.sleep(1)
                force(breaker, method)
            await anyio.sleep(100)
            for _ in range(2):
                breaker.release()
                await anyio.sleep(1)
            first, second = await changes_in(stream)
        assert (first.at, first.from_state, first.to_state) == (1.0, "open", state)
        assert (second.at, second.from_state, second.to_state) == (102.0, state, "closed")
        assert first.period + 1 == second.period
        assert first.metrics_only is second.metrics_only is False
        stays_open = method == "force_open"
        assert first.last_failure == ("Down: down" if stays_open else None)
        assert (second.last_failure, second.failure_count) == (None, 0)

    @pytest.mark.parametrize("method", BY_HAND)
    @pytest.mark.parametrize("then", BY_HAND)
    async def test_from_one_to_another(self, method: str, then: str) -> None:
        """Any one may follow any other."""
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        force(breaker, method)
        force(breaker, then)
        assert breaker.state == BY_HAND[then]
        assert await is_refused(breaker) is (then == "force_open")

    @awake_or_not
    @pytest.mark.parametrize("method", [*BY_HAND, "release"])
    async def test_calls_in_flight_count_no_more(self, method: str, awake: bool) -> None:
        """What was admitted in another state changes nothing in this one."""
        breaker = CircuitBreaker("x", 1)
        if method == "release":
            await breaker.call(succeed)
            breaker.force_close()
        permits = [await breaker.acquire() for _ in range(2)]
        force(breaker, method)
        if awake:
            await settle_down()
        permits[0].fail()
        permits[1].succeed()
        now = breaker.statistics()
        assert (now.failure_count, now.stale, now.in_flight) == (0, 2, 0)
        assert now.would_be != "open"

    @awake_or_not
    @pytest.mark.parametrize("method", BY_HAND)
    async def test_release_forgets(self, method: str, awake: bool) -> None:
        """The circuit is closed, and as many failures as ever open it."""
        breaker = CircuitBreaker("x", 3)
        await fail_times(breaker, 2)
        force(breaker, method)
        if awake:
            await settle_down()
        if method != "force_open":
            await fail_times(breaker, 2)
        breaker.release()
        assert (breaker.state, breaker.failure_count) == ("closed", 0)
        await fail_times(breaker, 2)
        assert breaker.state == "closed"
        await fail_times(breaker, 1)
        assert breaker.state == "open"

    async def test_release_of_a_state_that_nobody_has_set(self) -> None:
        """It changes nothing: a circuit that is open stays so."""
        breaker = CircuitBreaker("x", 1)
        await fail_times(breaker, 1)
        breaker.release()
        assert (breaker.state, breaker.failure_count) == ("open", 1)
        assert await is_refused(breaker)

    @each_state
    async def test_it_lasts(self, method: str, state: str) -> None:
        """Nothing but a release ends it: no time, no outcome, no reset, no other policy."""
        breaker = CircuitBreaker("x", 1)
        await fail_times(breaker, 1)
        force(breaker, method)
        for _ in range(3):
            await anyio.sleep(1e4)
            if method != "force_open":
                await breaker.call(succeed)
                await fail_times(breaker, 5)
            breaker.reset()
            breaker.reconfigure(failure_threshold=2)
            assert breaker.state == state

    @each_state
    async def test_reset(self, method: str, state: str) -> None:
        """It forgets what was counted, calls in flight too, and leaves the state."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=3)
            permit = await breaker.acquire()
            force(breaker, method)
            if method != "force_open":
                permit.succeed()
                permit = await breaker.acquire()
                await fail_times(breaker, 2)
            await settle_down()
            before = breaker.statistics()
            stream = supervisor.events()
            breaker.reset()
            permit.fail()
            now = breaker.statistics()
            assert (now.state, now.failure_count) == (state, 0)
            assert now.stale == before.stale + 1
            assert await changes_in(stream) == []

    @each_state
    async def test_a_circuit_that_is_not_there(self, method: str, state: str) -> None:
        """The error says how to get one: nothing that could be forgotten later is set."""
        breaker = CircuitBreaker("x")
        with pytest.raises(RuntimeError, match=r"'x' is not running here.*or use it first"):
            force(breaker, method)
        async with Supervisor() as supervisor:
            with pytest.raises(RuntimeError, match="not running here"):
                force(breaker, method)
            assert "x" not in supervisor
            owned = supervisor.circuit("x")
            force(breaker, method)  # since it is there now
            assert owned.state == state
        with pytest.raises(RuntimeError, match="not running here"):
            force(owned, method)
        assert await breaker_of_the_next(breaker) == "closed"

    @each_state
    async def test_a_circuit_that_has_been_given_up(self, method: str, state: str) -> None:
        """It is there, and cannot be told anything: the error says how to get another one."""
        async with Supervisor(max_restarts=0, on_give_up="refuse") as supervisor:
            breaker = supervisor.circuit("x")
            crash(supervisor, "x")
            await settle_down()
            assert supervisor.circuit("x") is breaker
            with pytest.raises(RuntimeError, match=r"'x' has no actor any more.*stop\(name\)"):
                force(breaker, method)
            supervisor.stop("x")
            force(supervisor.circuit("x"), method)
            assert supervisor["x"].state == state

    @pytest.mark.parametrize("method", [*BY_HAND, "release"])
    async def test_in_a_thread(self, method: str) -> None:
        """The error says where to call it from."""
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        with pytest.raises(RuntimeError, match=r"breaker\.sync\.ask"):
            await anyio.to_thread.run_sync(force, breaker, method)
        assert breaker.state == "closed"

    @each_state
    async def test_before_the_actors_first_turn(self, method: str, state: str) -> None:
        """A circuit that has only just been started takes it, too."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            force(breaker, method)
            assert breaker.state == state
            assert await is_refused(breaker) is (method == "force_open")


async def breaker_of_the_next(breaker: CircuitBreaker) -> str:
    """What the state is in the next supervisor."""
    async with Supervisor():
        await breaker.call(succeed)
        return breaker.state.value


class TestForcedOpen:
    """`force_open()`."""

    @awake_or_not
    @every_way_and_thread
    async def test_every_call_is_refused(self, guarded: Guarded, awake: bool) -> None:
        """At once and for good, with the state as the reason."""
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        breaker.force_open()
        if awake:
            await settle_down()
        for _ in range(3):
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await guarded(breaker, pytest.fail)
            refusal = caught.value
            assert (refusal.state, refusal.retry_after) == ("forced_open", math.inf)
            assert refusal.reason == "forced_open"
            assert str(refusal) == (
                "circuit 'x' was opened by hand and refuses every call until it is released"
            )
        assert counted(breaker.statistics()) == (1, 0, 3, 0)

    async def test_it_is_no_opening(self) -> None:
        """The figures tell only of those that the circuit has decided on itself."""
        breaker = CircuitBreaker("x", 1)
        await fail_times(breaker, 1)
        breaker.force_open()
        with pytest.raises(CircuitBreakerOpenError, match=r"last failure: Down\)"):
            await breaker.call(succeed)
        assert breaker.statistics().times_opened == 1

    async def test_a_probe_that_runs(self) -> None:
        """Its end is of no account any more."""
        async with half_open() as breaker:
            permit = await breaker.acquire()
            breaker.force_open()
            await anyio.sleep(1000)
            permit.succeed()
            assert (breaker.state, breaker.statistics().stale) == ("forced_open", 1)


class TestForATime:
    """`force_open(seconds=...)`."""

    @awake_or_not
    @every_way_and_thread
    async def test_probes_find_out_afterwards(self, guarded: Guarded, awake: bool) -> None:
        """Every call is refused up to then, and told for how long; then one may run."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            stream = supervisor.events()
            breaker.force_open(seconds=10)
            if awake:
                await settle_down()
            await anyio.sleep(4)
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await guarded(breaker, pytest.fail)
            refusal = caught.value
            assert (refusal.state, refusal.reason) == ("forced_open", "forced_open")
            assert refusal.retry_after == breaker.retry_after == 6.0
            assert str(refusal) == "circuit 'x' was opened by hand; retry after 6.0 s"
            await anyio.sleep(6)
            assert breaker.state == "half_open"
            assert await guarded(breaker, succeed) == "fine"
            assert breaker.state == "closed"
            changes = await changes_in(stream)
        states = [(each.at, each.to_state, each.origin, each.retry_after) for each in changes]
        assert states == [
            (0.0, "forced_open", "by hand", 10.0),
            (10.0, "half_open", "here", 0.0),
            (10.0, "closed", "here", 0.0),
        ]

    async def test_a_probe_that_fails(self) -> None:
        """It opens the circuit for its recovery timeout, like any other one."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", recovery_timeout=3)
            breaker.force_open(seconds=10)
            await anyio.sleep(10)
            await fail_times(breaker, 1)
            assert (breaker.state, breaker.retry_after) == ("open", 3.0)

    @pytest.mark.parametrize(("again", "expected"), [(None, math.inf), (5.0, 5.0), (60.0, 60.0)])
    async def test_said_again_it_counts_anew(self, again: float | None, expected: float) -> None:
        """Be it shorter, longer, or for good."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.force_open(seconds=10)
            await anyio.sleep(2)
            breaker.force_open(seconds=again)
            assert breaker.retry_after == expected

    @pytest.mark.parametrize("end", ["release", "disable", "half_open"])
    async def test_it_can_be_ended_before(self, end: str) -> None:
        """Nothing happens at its time then."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.force_open(seconds=10)
            getattr(breaker, end)()
            before = breaker.state
            await anyio.sleep(20)
            assert breaker.state is before

    async def test_a_reset_leaves_the_time(self) -> None:
        """As it leaves the state."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.force_open(seconds=10)
            await anyio.sleep(4)
            breaker.reset()
            assert (breaker.state, breaker.retry_after) == ("forced_open", 6.0)
            await anyio.sleep(6)
            assert breaker.state == "half_open"

    async def test_who_waits_for_it(self) -> None:
        """They are admitted when it is over, or told at once that it takes too long for them."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.force_open(seconds=10)
            with deadline(5), pytest.raises(CircuitBreakerOpenError):
                await breaker.waiting(60).call(succeed)
            assert anyio.current_time() == 0.0
            assert await breaker.waiting(60).call(succeed) == "fine"
            assert anyio.current_time() == 10.0

    async def test_from_a_thread(self) -> None:
        """As everything that a circuit is told."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            opened = partial(breaker.force_open, seconds=10)
            await anyio.to_thread.run_sync(breaker.sync.ask, opened)
            assert breaker.retry_after == 10.0

    @pytest.mark.parametrize("seconds", [0, -1.0, math.inf, math.nan, "5", True])
    async def test_what_is_no_time(self, seconds: Any) -> None:
        """It is refused, and nothing has changed."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            for ask in (
                partial(breaker.force_open, seconds=seconds),
                partial(breaker.isolate, seconds),
            ):
                with pytest.raises((TypeError, ValueError), match="seconds must be"):
                    ask()
            with pytest.raises(ValueError, match="seconds does not go with everywhere"):
                breaker.force_open(everywhere=True, seconds=5)
            assert breaker.state == "closed"

    async def test_it_is_read_from_another_thread(self) -> None:
        """Also in the moment in which it is over, and nobody has had a turn yet."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.force_open(seconds=10)
            await settle_down()
            jump(12)
            figures = supervisor.figures().circuits["x"]
            assert (figures.state, figures.retry_after, figures.age) == ("forced_open", 0.0, 12.0)
            assert breaker.state == "half_open"


class TestHalfOpenByHand:
    """`half_open()`."""

    @pytest.mark.parametrize("before", ["closed", "open", *BY_HAND.values()])
    @pytest.mark.parametrize("works", [True, False])
    async def test_the_next_call_is_a_probe(self, before: str, works: bool) -> None:
        """Whatever the state was; what it finds out decides."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=2, recovery_timeout=100)
            if before == "open":
                await fail_times(breaker, 2)
            for method, state in BY_HAND.items():
                if state == before:
                    force(breaker, method)
            assert breaker.state == before
            stream = supervisor.events()
            breaker.half_open()
            assert breaker.state == breaker.statistics().would_be == "half_open"
            permit = await breaker.acquire()
            assert permit.is_probe
            assert await is_refused(breaker)
            if works:
                permit.succeed()
            else:
                permit.fail()
            after = "closed" if works else "open"
            assert breaker.state == after
            changes = await changes_in(stream)
            seen = [(each.from_state, each.to_state, each.origin) for each in changes]
            assert seen == [(before, "half_open", "by hand"), ("half_open", after, "here")]

    async def test_where_it_is_half_open_already(self) -> None:
        """It changes nothing: a probe that runs still counts."""
        async with half_open() as breaker:
            permit = await breaker.acquire()
            breaker.half_open()
            permit.succeed()
            assert (breaker.state, breaker.statistics().stale) == ("closed", 0)

    async def test_calls_in_flight_count_no_more(self) -> None:
        """They were admitted before."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            permit = await breaker.acquire()
            breaker.half_open()
            permit.fail()
            assert (breaker.state, breaker.statistics().stale) == ("half_open", 1)


class TestIsolation:
    """`isolate()`."""

    async def test_the_last_one_releases(self) -> None:
        """In whatever order; who has let go once does not count twice."""
        async with Supervisor() as supervisor:
            breaker, other = supervisor.circuit("x"), CircuitBreaker("x")
            stream = supervisor.events()
            first, second = breaker.isolate(), other.isolate()
            assert breaker.retry_after == math.inf
            for _ in range(2):
                first.release()
                assert breaker.state == "forced_open"
            second.release()
            assert breaker.state == "closed"
            changes = await changes_in(stream)
        assert [each.to_state for each in changes] == ["forced_open", "closed"]

    async def test_a_block(self) -> None:
        """It lasts for the block, however that ends."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            with pytest.raises(Down), breaker.isolate():
                assert await is_refused(breaker)
                raise Down("down")
            assert not await is_refused(breaker)

    async def test_who_has_forced_it_open_is_one_of_them(self) -> None:
        """What the others let go of is open still, until that one releases it."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.force_open()
            with breaker.isolate():
                pass
            assert breaker.state == "forced_open"
            breaker.release()
            assert breaker.state == "closed"

    @pytest.mark.parametrize("end", ["release", "force_close", "half_open"])
    async def test_a_state_set_by_hand_ends_all_of_them(self, end: str) -> None:
        """Who lets go later does not end what somebody has set since, nor keeps it open."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            held = breaker.isolate()
            getattr(breaker, end)()
            state = breaker.state
            assert state != "forced_open"
            held.release()
            assert breaker.state is state
            breaker.force_open()
            held.release()
            assert breaker.state == "forced_open"

    async def test_each_for_its_time(self) -> None:
        """The last of the times counts; probes find out at its end."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.isolate(10)
            held = breaker.isolate(30)
            breaker.isolate(20)
            assert breaker.retry_after == 30.0
            held.release()
            assert breaker.retry_after == 20.0
            await anyio.sleep(20)
            assert breaker.state == "half_open"

    async def test_the_last_one_outlives_the_times_of_others(self) -> None:
        """It is closed when that one lets go, however long they are over."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            breaker.isolate(10)
            held = breaker.isolate()
            await anyio.sleep(60)
            assert breaker.state == "forced_open"
            held.release()
            assert breaker.state == "closed"

    async def test_what_has_ended_meanwhile(self) -> None:
        """A circuit of that name that has followed it has other owners."""
        async with Supervisor() as supervisor:
            held = supervisor.circuit("x").isolate()
            supervisor.stop("x")
            held.release()
            next_one = supervisor.circuit("x")
            with next_one.isolate():
                held.release()
                assert next_one.state == "forced_open"
        held.release()

    async def test_in_a_thread(self) -> None:
        """It is let go on the event loop, and an error says so elsewhere."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            held = await anyio.to_thread.run_sync(breaker.sync.ask, breaker.isolate)
            with pytest.raises(RuntimeError, match=r"breaker\.sync\.ask"):
                await anyio.to_thread.run_sync(held.release)
            assert breaker.state == "forced_open"
            await anyio.to_thread.run_sync(breaker.sync.ask, held.release)
            assert breaker.state == "closed"

    async def test_thousands_of_owners(self) -> None:
        """One more costs no more than the first ones did, nor does a read, nor who lets go."""
        async with Supervisor() as supervisor:

            async def own(name: str, owners: int) -> int:
                breaker = supervisor.circuit(name)
                await settle_down()
                for number in range(owners):
                    breaker.isolate(1e6 + number)
                    if number % 64 == 0:
                        await settle_down()
                await settle_down()
                return instructions_of(own_and_let_go(breaker))

            async def own_and_let_go(breaker: CircuitBreaker) -> None:
                held = breaker.isolate()
                assert breaker.retry_after == math.inf
                held.release()
                assert breaker.retry_after < math.inf

            few, many = await own("few", 50), await own("many", 5_000)
            assert many < 2 * few

    async def test_a_circuit_that_is_not_there(self) -> None:
        """Nobody can keep it open."""
        with pytest.raises(RuntimeError, match="'x' is not running here"):
            CircuitBreaker("x").isolate()


class TestForcedClosed:
    """`force_close()`."""

    @every_way_and_thread
    @pytest.mark.parametrize("policy", [{}, {"window_seconds": 60, "failure_rate": 0.5}])
    async def test_every_call_is_admitted_and_counted(
        self, guarded: Guarded, policy: dict[str, Any]
    ) -> None:
        """However many of them fail."""
        breaker = CircuitBreaker("x", 1, minimum_calls=1, **policy)
        await breaker.call(succeed)
        breaker.force_close()
        for _ in range(5):
            with pytest.raises(Down):
                await guarded(breaker, fail)
        now = breaker.statistics()
        assert (now.state, now.failure_count, now.times_opened) == ("forced_closed", 5, 0)
        assert counted(now) == (1, 5, 0, 0)

    async def test_an_open_circuit_admits_again(self) -> None:
        """And a half-open one, everybody at once."""
        async with half_open() as breaker, anyio.create_task_group() as tasks:
            dependency = Dependency()
            breaker.force_close()
            for _ in range(50):
                tasks.start_soon(breaker.call, dependency.call)
            await settle_down()
            assert dependency.running == 50
            dependency.let_go()

    async def test_what_is_counted_is_not_looked_at_later(self) -> None:
        """Since a release forgets it."""
        breaker = CircuitBreaker("x", 3)
        await breaker.call(succeed)
        breaker.force_close()
        await fail_times(breaker, 10)
        breaker.release()
        await fail_times(breaker, 2)
        assert breaker.state == "closed"


class TestDisabled:
    """`disable()`."""

    @every_way_and_thread
    @pytest.mark.parametrize("policy", [{}, {"window_calls": 5}, {"slow_call_duration": 5}])
    async def test_every_call_is_admitted_and_not_counted(
        self, guarded: Guarded, policy: dict[str, Any]
    ) -> None:
        """Only the figures go on."""
        breaker = CircuitBreaker("x", 3, **policy)
        await breaker.call(succeed)
        breaker.disable()
        for _ in range(5):
            with pytest.raises(Down):
                await guarded(breaker, fail)
            assert breaker.failure_count == 0
        await guarded(breaker, succeed)
        now = breaker.statistics()
        assert (now.state, now.times_opened, now.in_flight) == ("disabled", 0, 0)
        assert counted(now) == (2, 5, 0, 0)


class TestMetricsOnly:
    """`only_measure()`."""

    @every_way_and_thread
    async def test_it_goes_on_but_refuses_nobody(self, guarded: Guarded) -> None:
        """What it would have done shows, and is what it would have done."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=2)
            stream = supervisor.events()
            breaker.only_measure()
            for refused in (0, 0, 0, 1):
                assert breaker.statistics().would_have_refused == refused
                with pytest.raises(Down):
                    await guarded(breaker, fail)
            now = breaker.statistics()
            assert (now.state, now.would_be, now.retry_after) == ("metrics_only", "open", 0.0)
            assert (now.failed, now.stale, now.rejected, now.times_opened) == (4, 0, 0, 1)
            assert (now.failure_count, now.last_failure) == (2, "Down: down")
            await anyio.sleep(30)
            assert breaker.statistics().would_be == "half_open"
            await guarded(breaker, succeed)  # a probe
            now = breaker.statistics()
            assert (now.state, now.would_be) == ("metrics_only", "closed")
            assert now.would_have_refused == 2
            forced, *changes = await changes_in(stream)
        assert (forced.to_state, forced.metrics_only) == ("metrics_only", False)
        assert [(c.from_state, c.to_state, c.metrics_only) for c in changes] == [
            ("closed", "open", True),
            ("open", "half_open", True),
            ("half_open", "closed", True),
        ]

    @every_way
    async def test_what_it_would_have_refused_counts_for_nothing(self, guarded: Guarded) -> None:
        """Neither to open it nor to close it."""
        breaker = CircuitBreaker("x", 1)
        await breaker.call(succeed)
        breaker.only_measure()
        await fail_times(breaker, 1)
        for _ in range(5):
            await guarded(breaker, succeed)
            with pytest.raises(Down):
                await guarded(breaker, fail)
        now = breaker.statistics()
        assert (now.would_be, now.would_have_refused) == ("open", 10)
        assert (now.failure_count, now.times_opened, now.in_flight) == (1, 1, 0)

    async def test_calls_beside_a_probe(self) -> None:
        """The one is a probe, the others only might have been."""
        breaker = CircuitBreaker("x", 1)
        await breaker.call(succeed)
        breaker.only_measure()
        await fail_times(breaker, 1)
        await anyio.sleep(30)
        probe, other = await breaker.acquire(), await breaker.acquire()
        other.fail()
        assert breaker.statistics().would_be == "half_open"
        probe.succeed()
        now = breaker.statistics()
        assert (now.would_be, now.would_have_refused, now.in_flight) == ("closed", 1, 0)

    async def test_nobody_waits(self) -> None:
        """Since nobody is refused."""
        breaker = CircuitBreaker("x", 1)
        await breaker.call(succeed)
        breaker.only_measure()
        await fail_times(breaker, 1)
        assert await breaker.waiting(60).call(succeed) == "fine"
        assert (anyio.current_time(), breaker.statistics().waiting) == (0.0, 0)

    async def test_release_begins_anew(self) -> None:
        """Though it would have been open."""
        breaker = CircuitBreaker("x", 1)
        await breaker.call(succeed)
        breaker.only_measure()
        await fail_times(breaker, 3)
        breaker.release()
        assert (breaker.state, breaker.failure_count) == ("closed", 0)
        assert not await is_refused(breaker)

    async def test_reset(self) -> None:
        """The circuit would be closed again."""
        breaker = CircuitBreaker("x", 1)
        await breaker.call(succeed)
        breaker.only_measure()
        await fail_times(breaker, 1)
        breaker.reset()
        now = breaker.statistics()
        assert (now.state, now.would_be, now.failure_count) == ("metrics_only", "closed", 0)

    async def test_shares_and_budgets(self) -> None:
        """What a throttle or a budget would have refused is told, and admitted."""
        breaker = CircuitBreaker(
            "x",
            10**6,
            throttle=1.01,
            throttle_floor=0.001,
            retry_budget=0.001,
            retry_budget_minimum=0,
        )
        await breaker.call(succeed)
        breaker.only_measure()
        await fail_times(breaker, 300)
        now = breaker.statistics()
        assert (now.failed, now.rejected, now.would_be) == (300, 0, "closed")
        assert now.would_have_refused > 250
        before = now.would_have_refused
        assert await breaker.retry(succeed) == "fine"
        assert breaker.statistics().would_have_refused == before + 1


async def test_threads_and_tasks_alike() -> None:
    """A state that was set by hand holds for calls from wherever they come."""
    breaker = CircuitBreaker("x", 1)
    await breaker.call(succeed)
    breaker.force_open()
    for guarded in (by_call, by_thread):
        with pytest.raises(CircuitBreakerOpenError):
            await guarded(breaker, succeed)
    breaker.disable()
    for guarded in (by_call, by_thread):
        with pytest.raises(Down):
            await guarded(breaker, fail)
    assert breaker.state is CircuitState.DISABLED


@pytest.mark.parametrize("new_loop", [VirtualTimeLoop, loop_factory("uvloop")])
def test_while_the_event_loop_is_paused(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A state can be set then, too, and holds when the loop goes on."""
    breaker = CircuitBreaker("x", 1, slow_call_duration=5)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(breaker.call(succeed)) == "fine"
        breaker.force_open()
        assert breaker.state == "forced_open"
        assert runner.run(is_refused(breaker))
        breaker.release()
        breaker.reconfigure(failure_threshold=2)
        assert (breaker.state, breaker.failure_threshold) == ("closed", 2)
        assert not runner.run(is_refused(breaker))
