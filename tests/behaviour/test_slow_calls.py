"""Slow calls: counted when they end, or as soon as they have run too long, whoever looks or not."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Supervisor
from supervisor.circuit import Window
from supervisor.policy.outcomes import Failure, Outcome
from supervisor.testing import jump
from tests.support.worlds import (
    Dependency,
    Down,
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

RATE: dict[str, Any] = {
    "window_calls": 10,
    "minimum_calls": 4,
    "slow_call_duration": 5,
    "slow_call_rate": 0.5,
    "failure_threshold": 10,
}
"""Of which half of the calls may not be slow."""


async def take_and_fail(seconds: float) -> str:
    await anyio.sleep(seconds)
    raise Down("down")


async def block(seconds: float) -> str:
    """Take so long that nobody can notice before the end."""
    jump(seconds)
    return "fine"


def call_counts(breaker: CircuitBreaker) -> tuple[int, int, int]:
    now = breaker.statistics()
    assert now.in_flight == 0
    return now.succeeded, now.failed, now.failure_count


def remembered(supervisor: Supervisor, name: str) -> int:
    """How many calls the circuit keeps since they have not ended."""
    circuit = supervisor.find(name)
    assert circuit is not None
    assert circuit.allowance is not None
    calls = circuit.allowance.running_calls
    return len(calls.under_lease) + len(calls.others)


class TestWithoutARate:
    """A slow call counts as a failure."""

    @every_way
    @pytest.mark.parametrize(
        ("seconds", "counts"), [(4.999, (1, 0, 0)), (5, (0, 1, 1)), (500, (0, 1, 1))]
    )
    async def test_one_that_has_waited(
        self, guarded: Guarded, seconds: float, counts: tuple[int, int, int]
    ) -> None:
        """From `slow_call_duration` on it has failed, once; the caller gets its result."""
        breaker = CircuitBreaker("x", slow_call_duration=5)
        assert await guarded(breaker, lambda: take(seconds)) == "fine"
        assert call_counts(breaker) == counts

    @every_way
    @pytest.mark.parametrize(("seconds", "counts"), [(4.999, (1, 0, 0)), (5, (0, 1, 1))])
    async def test_one_that_has_blocked_the_event_loop(
        self, guarded: Guarded, seconds: float, counts: tuple[int, int, int]
    ) -> None:
        """It is the same, though nobody could look before it ended."""
        breaker = CircuitBreaker("x", slow_call_duration=5)
        assert await guarded(breaker, lambda: block(seconds)) == "fine"
        assert call_counts(breaker) == counts

    @every_way
    @pytest.mark.parametrize(
        ("function", "text"),
        [
            (take, r"27\.5 s \(last failure: still running after 5 s\)$"),
            (block, r"30\.0 s \(last failure: took 7\.5 s\)$"),
        ],
    )
    async def test_what_a_refusal_says(self, guarded: Guarded, function: Any, text: str) -> None:
        """Why the circuit has opened, and that it has when somebody could know."""
        breaker = CircuitBreaker("x", 1, slow_call_duration=5)
        await guarded(breaker, lambda: function(7.5))
        with pytest.raises(CircuitBreakerOpenError, match=text):
            await guarded(breaker, succeed)

    @every_way
    @pytest.mark.parametrize("seconds", [4, 6])
    async def test_one_that_fails_counts_once(self, guarded: Guarded, seconds: float) -> None:
        """Whether for its time or for its error."""
        breaker = CircuitBreaker("x", slow_call_duration=5)
        with pytest.raises(Down):
            await guarded(breaker, lambda: take_and_fail(seconds))
        assert call_counts(breaker) == (0, 1, 1)

    @pytest.mark.parametrize("function", [take, block])
    async def test_one_that_is_ignored(self, function: Any) -> None:
        """It counts as nothing when it ends; what has been counted before is taken back."""
        breaker = CircuitBreaker("x", slow_call_duration=5, classify=lambda _: Outcome.IGNORED)
        await breaker.call(function, 9)
        now = breaker.statistics()
        assert (now.ignored, now.failed, now.failure_count) == (1, 0, 0)

    @every_way
    async def test_one_that_is_cancelled(self, guarded: Guarded) -> None:
        """That it hung has been counted, and is taken back: it has told nothing."""
        breaker = CircuitBreaker("x", slow_call_duration=5)
        with anyio.move_on_after(9) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, breaker, anyio.sleep_forever)
                await anyio.sleep(6)
                assert breaker.failure_count == 1
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        now = breaker.statistics()
        assert (now.cancelled, now.failed, now.failure_count, now.in_flight) == (1, 0, 0, 0)

    async def test_one_that_has_opened_the_circuit_before(self) -> None:
        """It stays open: that the call hung was true, and is why others were spared."""
        breaker = CircuitBreaker("x", 1, slow_call_duration=5)
        with anyio.move_on_after(9):
            await breaker.call(anyio.sleep_forever)
        now = breaker.statistics()
        assert (now.state, now.cancelled) == ("open", 1)
        assert now.last_failure == "still running after 5 s"

    @pytest.mark.parametrize("window", [{"window_calls": 4}, {"window_seconds": 100.0}])
    async def test_a_lease_allows_for_what_is_taken_back(self, window: dict[str, Any]) -> None:
        """With fewer calls in the window, fewer failures open the circuit."""
        policy = {**window, "minimum_calls": 2, "failure_rate": 0.6, "slow_call_rate": 1.0}
        breaker = CircuitBreaker("x", slow_call_duration=5, **policy)
        await breaker.call(succeed)
        with anyio.move_on_after(9):
            await breaker.call(anyio.sleep_forever)
        assert breaker.statistics().window == Window(1, 0, 0)
        await fail_times(breaker, 1)
        assert breaker.state == "closed"
        await fail_times(breaker, 1)
        assert (breaker.state, await is_refused(breaker)) == ("open", True)

    async def test_what_a_failure_asks_for_at_the_end_is_heard(self) -> None:
        """A hung call that is told at last to retry later opens the circuit at once."""
        breaker = CircuitBreaker(
            "x", 9, slow_call_duration=5, classify=lambda _: Failure(retry_after=60)
        )
        with pytest.raises(Down):
            await breaker.call(take_and_fail, 9)
        assert (breaker.state, breaker.retry_after) == ("open", 60.0)

    async def test_a_call_from_a_thread(self) -> None:
        """It is noticed while it runs, like any other."""
        begun, go_on = threading.Event(), threading.Event()

        def work() -> str:
            begun.set()
            assert go_on.wait(10)
            return "fine"

        breaker = CircuitBreaker("x", 1, slow_call_duration=5)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, breaker.call_from_thread, work)
            while not begun.is_set():
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(6)
            assert (breaker.state, breaker.retry_after) == ("open", 29.0)
            go_on.set()
        assert call_counts(breaker) == (0, 1, 1)


class TestOverdue:
    """What has run too long counts before it ends."""

    @every_way
    async def test_the_circuit_opens_while_everything_hangs(self, guarded: Guarded) -> None:
        """At the moment at which the last of so many calls becomes slow, with nobody calling."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x", failure_threshold=3, slow_call_duration=5)
            dependency, events = Dependency(), supervisor.events()
            for _ in range(3):
                tasks.start_soon(guarded, breaker, dependency.call)
                await anyio.sleep(1)
            await anyio.sleep(3.5)
            assert (breaker.state, breaker.failure_count) == ("closed", 2)
            await anyio.sleep(60)
            (opened, half_opened) = await changes_in(events)
            assert (opened.at, opened.to_state, opened.failure_count) == (7.0, "open", 3)
            assert opened.last_failure == "still running after 5 s"
            assert (half_opened.at, half_opened.to_state) == (37.0, "half_open")
            dependency.let_go()

    @every_way
    async def test_callers_are_refused_at_once(self, guarded: Guarded) -> None:
        """The function of the next one is not called."""
        breaker = CircuitBreaker("x", 3, slow_call_duration=5)
        dependency = Dependency()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(guarded, breaker, dependency.call)
            await anyio.sleep(5)
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await guarded(breaker, dependency.call)
            assert (dependency.calls, refusal.value.retry_after) == (3, 30.0)
            dependency.let_go()
        now = breaker.statistics()
        assert (now.failed, now.stale, now.failure_count, now.in_flight) == (3, 3, 3, 0)

    @every_way
    async def test_a_call_that_ends_late_is_counted_once(self, guarded: Guarded) -> None:
        """When it became slow; its end tells only what became of it."""
        breaker = CircuitBreaker("x", 9, slow_call_duration=5)
        for _ in range(3):
            await guarded(breaker, lambda: take(50))
        assert call_counts(breaker) == (0, 3, 3)

    async def test_a_period_that_is_over(self) -> None:
        """A call of before a reset can hang as long as it likes."""
        breaker = CircuitBreaker("x", 1, slow_call_duration=5)
        permit = await breaker.acquire()
        breaker.reset()
        await anyio.sleep(60)
        assert (breaker.state, breaker.failure_count) == ("closed", 0)
        permit.succeed()
        assert breaker.statistics().stale == 1

    async def test_by_hand(self) -> None:
        """It counts in a circuit that is forced closed, and not in one that is disabled."""
        for force, failures in (("force_close", 1), ("disable", 0)):
            breaker = CircuitBreaker(force, 1, slow_call_duration=5)
            await breaker.call(succeed)
            getattr(breaker, force)()
            permit = await breaker.acquire()
            await anyio.sleep(6)
            assert breaker.failure_count == failures
            permit.succeed()
            now = breaker.statistics()
            assert (now.failed, now.failure_count, now.times_opened) == (1, failures, 0)

    async def test_when_it_only_measures(self) -> None:
        """The circuit would be open; calls that it would have refused are not looked at."""
        breaker = CircuitBreaker("x", 1, slow_call_duration=5)
        await breaker.call(succeed)
        breaker.only_measure()
        for would_be in ("closed", "open"):
            assert breaker.statistics().would_be == would_be
            permit = await breaker.acquire()
            await anyio.sleep(6)
            assert breaker.statistics().would_be == "open"
            permit.succeed()
        now = breaker.statistics()
        assert (now.times_opened, now.would_have_refused, now.stale) == (1, 1, 1)

    async def test_nothing_is_kept_of_calls_that_have_ended(self) -> None:
        """In whatever way and however late, in whatever state of the circuit."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit(
                "x", failure_threshold=5, slow_call_duration=5, recovery_timeout=10
            )
            for number in range(100):
                dependency = Dependency()
                for _ in range(number % 4):
                    tasks.start_soon(ended_somehow, breaker, dependency)
                await anyio.sleep(number % 7)
                dependency.let_go(Down() if number % 2 else None)
            await anyio.sleep(100)
            with anyio.move_on_after(9):
                await breaker.call(anyio.sleep_forever)
            assert breaker.statistics().times_opened > 5
            assert breaker.statistics().in_flight == 0
            assert remembered(supervisor, "x") == 0

    @every_way
    @pytest.mark.parametrize("ticks", range(6))
    async def test_a_call_that_is_cancelled_at_every_tick(
        self, guarded: Guarded, ticks: int
    ) -> None:
        """Nothing is kept of it either, and it is not overdue later."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, slow_call_duration=5)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, breaker, anyio.sleep_forever)
                for _ in range(ticks):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await anyio.sleep(9)
            now = breaker.statistics()
            assert (now.state, now.in_flight, now.started) == ("closed", 0, now.cancelled)
            assert remembered(supervisor, "x") == 0


async def ended_somehow(breaker: CircuitBreaker, dependency: Dependency) -> None:
    with suppress(Down, CircuitBreakerOpenError):
        await breaker.call(dependency.call)


class TestStalls:
    """The event loop stands still, and a call that may have ended long ago cannot say so."""

    @every_way
    async def test_a_quick_call(self, guarded: Guarded) -> None:
        """It is not slow for that, whoever has a turn first."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, slow_call_duration=5)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(guarded, breaker, partial(take, 1))
                await settle_down()
                await breaker.call(succeed)  # so that others had a turn since each of them began
                jump(20)
                assert breaker.state == "closed"
            assert call_counts(breaker) == (6, 0, 0)
            assert remembered(supervisor, "x") == 0

    @every_way
    async def test_a_call_that_another_one_has_followed(self, guarded: Guarded) -> None:
        """Then others had their turns while it ran, though the actor had none."""
        breaker = CircuitBreaker("x", 2, slow_call_duration=5)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(guarded, breaker, partial(take, 1))
                await anyio.sleep(0.1)
            jump(20)
        assert breaker.failure_count <= 1  # of the last one nobody can tell

    @every_way
    async def test_a_quick_probe(self, guarded: Guarded) -> None:
        """It closes the circuit."""
        async with half_open(slow_call_duration=5, probe_timeout=10) as breaker:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, breaker, partial(take, 1))
                await settle_down()
                jump(60)
            assert breaker.state == "closed"

    @every_way
    async def test_a_probe_that_goes_on(self, guarded: Guarded) -> None:
        """It is slow when it has had as much time again."""
        async with half_open(slow_call_duration=5) as breaker:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, breaker, partial(take, 15))
                await settle_down()
                jump(8)
            assert breaker.state == "open"

    @every_way
    @pytest.mark.parametrize(("stall", "slow_at"), [(7, 9), (9, 13), (500, 505)])
    async def test_a_call_that_goes_on(
        self, guarded: Guarded, stall: float, slow_at: float
    ) -> None:
        """It is slow when it has had as much time again, and at most its whole time."""
        async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x", failure_threshold=1, slow_call_duration=5)
            dependency, events = Dependency(), supervisor.events()
            tasks.start_soon(guarded, breaker, dependency.call)
            await settle_down()
            jump(stall)
            assert not await is_refused(breaker)
            await anyio.sleep(slow_at - stall - 0.5)
            assert breaker.state == "closed"
            jump(20)  # it is put off once only
            await settle_down()
            assert await is_refused(breaker)
            (opened, *_) = await changes_in(events)
            assert opened.at == slow_at
            dependency.let_go()

    @every_way
    @pytest.mark.parametrize("stall", [0.25, 3, 60])
    async def test_a_probe_that_was_slow_before(self, guarded: Guarded, stall: float) -> None:
        """It stays so, however long the stall: it had its time, also if its verdict is past."""
        async with half_open(slow_call_duration=4, probe_timeout=1) as breaker:
            dependency = Dependency()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(guarded, breaker, dependency.call)
                await anyio.sleep(4.5)
                jump(stall)
                await settle_down()
                dependency.let_go()
            now = breaker.statistics()
            assert (now.succeeded, now.failed, now.stale) == (0, 2, 1)

    async def test_an_order(self) -> None:
        """A reset after it has no failure to forget."""
        breaker = CircuitBreaker("x", 1, slow_call_duration=5)
        permit = await breaker.acquire()
        await settle_down()
        jump(20)
        breaker.reset()
        now = breaker.statistics()
        assert (now.state, now.times_opened) == ("closed", 0)
        permit.succeed()
        assert breaker.statistics().stale == 1


class TestProbes:
    """A slow probe has failed, with or without a rate."""

    @every_way
    @pytest.mark.parametrize("policy", [{"slow_call_duration": 5}, RATE])
    @pytest.mark.parametrize("function", [take, block])
    async def test_a_slow_probe(
        self, guarded: Guarded, policy: dict[str, Any], function: Any
    ) -> None:
        """It opens the circuit when it ends, and says how long it took."""
        async with half_open(**{**policy, "failure_threshold": 1}) as breaker:
            assert await guarded(breaker, lambda: function(7)) == "fine"
            now = breaker.statistics()
            assert (now.state, now.retry_after) == ("open", 30.0)
            assert now.last_failure == "took 7 s"

    async def test_its_time_limit_is_its_own(self) -> None:
        """While it runs, only `probe_timeout` counts."""
        async with half_open(slow_call_duration=5, probe_timeout=20) as breaker:
            permit = await breaker.acquire()
            await anyio.sleep(19)
            assert breaker.state == "half_open"
            await anyio.sleep(1)
            assert breaker.statistics().last_failure == "probe still running after 20 s"
            permit.succeed()
            assert breaker.statistics().stale == 1

    @every_way
    async def test_a_fast_probe(self, guarded: Guarded) -> None:
        """It closes the circuit."""
        async with half_open(slow_call_duration=5) as breaker:
            await guarded(breaker, lambda: take(4))
            assert breaker.state == "closed"


class TestWithARate:
    """A slow call is a slow one, and fails only by its outcome."""

    @every_way
    @pytest.mark.parametrize("function", [take, block])
    async def test_a_share_of_slow_calls(self, guarded: Guarded, function: Any) -> None:
        """It opens the circuit as soon as there are calls enough."""
        breaker = CircuitBreaker("x", **RATE)
        for seconds in (1, 6, 1):
            await guarded(breaker, lambda seconds=seconds: function(seconds))
        assert breaker.state == "closed"
        await guarded(breaker, lambda: function(6))
        now = breaker.statistics()
        assert (now.state, now.failure_count, now.failed) == ("open", 0, 0)
        assert now.last_failure == ("still running after 5 s" if function is take else "took 6 s")

    async def test_a_fast_call_can_make_the_share_count(self) -> None:
        """The call that fills the window up to its minimum."""
        breaker = CircuitBreaker("x", **RATE)
        for _ in range(3):
            await breaker.call(take, 6)
        assert breaker.state == "closed"
        await breaker.call(succeed)
        now = breaker.statistics()
        assert (now.state, now.last_failure) == ("open", "3 of 4 calls were slow")

    async def test_it_counts_before_the_call_ends(self) -> None:
        """So the circuit opens while everything hangs."""
        breaker = CircuitBreaker("x", **RATE)
        dependency = Dependency()
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                await breaker.call(succeed)
            for _ in range(2):
                tasks.start_soon(breaker.call, dependency.call)
            await anyio.sleep(4.9)
            assert not await is_refused(breaker)
            assert not await is_refused(breaker)  # now 2 of 6 will not do
            await anyio.sleep(1)
            assert breaker.state == "closed"
            tasks.start_soon(breaker.call, dependency.call)
            await settle_down()
            tasks.start_soon(breaker.call, dependency.call)
            await anyio.sleep(5)
            assert (breaker.state, breaker.failure_count) == ("open", 0)
            dependency.let_go()
        assert breaker.statistics().succeeded == 8

    async def test_a_slow_call_that_fails_at_last(self) -> None:
        """It is the same call in the window, which has failed now: no further one."""
        breaker = CircuitBreaker("x", **{**RATE, "slow_call_rate": 1, "failure_threshold": 2})
        for _ in range(3):
            await breaker.call(succeed)
        with pytest.raises(Down):
            await breaker.call(take_and_fail, 9)
        assert (breaker.state, breaker.failure_count) == ("closed", 1)
        with pytest.raises(Down):
            await breaker.call(take_and_fail, 9)
        assert (breaker.state, breaker.failure_count) == ("open", 2)

    async def test_failures_of_slow_calls_make_a_failure_rate(self) -> None:
        """Each of many that hang at once turns the entry that it made before."""
        breaker = CircuitBreaker(
            "x",
            window_calls=4,
            minimum_calls=4,
            failure_rate=0.75,
            slow_call_duration=5,
            slow_call_rate=1,
        )
        await breaker.call(succeed)
        permits = [await breaker.acquire() for _ in range(3)]
        await anyio.sleep(6)
        for number, permit in enumerate(permits):
            assert (breaker.state, breaker.failure_count) == ("closed", number)
            permit.fail(Down("down"))
        now = breaker.statistics()
        assert (now.state, now.failure_count, now.last_failure) == ("open", 3, "Down: down")


class TestLimitsOfSeveralPolicies:
    """Calls are judged by the limit of the policy under which they were admitted."""

    @pytest.mark.parametrize(("before", "after"), [(100, 5), (5, 100)])
    async def test_calls_with_different_limits_hang_together(
        self, before: float, after: float
    ) -> None:
        """Each is overdue at its own time."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=9, slow_call_duration=before)
            permits = [await breaker.acquire()]
            breaker.reconfigure(slow_call_duration=after)
            permits.append(await breaker.acquire())
            for time, failures in ((4.5, 0), (5.5, 1), (99, 1), (101, 2)):
                await anyio.sleep(time - anyio.current_time())
                assert breaker.failure_count == failures
            for permit in permits:
                permit.succeed()
            assert remembered(supervisor, "x") == 0

    async def test_what_was_overdue_first_is_told_first(self) -> None:
        """Also if it all is found out at once."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=2, slow_call_duration=50)
            events = supervisor.events()
            permits = [await breaker.acquire()]
            breaker.reconfigure(slow_call_duration=5)
            for _ in range(2):
                permits.append(await breaker.acquire())
                await anyio.sleep(1)
            await anyio.sleep(100)
            (opened, *_) = (e for e in await changes_in(events) if e.to_state == "open")
            assert opened.at == 6.0
            for permit in permits:
                permit.succeed()

    async def test_a_shorter_limit_while_another_call_hangs(self) -> None:
        """Calls are overdue in their time, though nobody has to look for long."""
        breaker = CircuitBreaker("x", 9, slow_call_duration=100)
        hanging = await breaker.acquire()
        breaker.reconfigure(slow_call_duration=5)
        await breaker.call(succeed)
        await anyio.sleep(10)
        permit = await breaker.acquire()
        await anyio.sleep(6)
        assert breaker.failure_count == 1
        for each in (permit, hanging):
            each.succeed()

    @pytest.mark.parametrize("part", [{}, {"retry_budget": 1}, {"failure_on": Down}])
    async def test_a_success_comes_after_what_was_overdue_before_it(
        self, part: dict[str, Any]
    ) -> None:
        """Also if calls have no limit any more."""
        breaker = CircuitBreaker("x", 2, slow_call_duration=5)
        hanging = await breaker.acquire()
        await fail_times(breaker, 1)
        breaker.reconfigure(slow_call_duration=None, **part)
        permit = await breaker.acquire()
        await anyio.sleep(7)
        permit.succeed()
        now = breaker.statistics()
        assert (now.state, now.retry_after) == ("open", 28.0)
        hanging.succeed()

    async def test_a_limit_that_is_taken_away(self) -> None:
        """Later calls may take their time, earlier ones not."""
        breaker = CircuitBreaker("x", 9, slow_call_duration=5)
        permits = [await breaker.acquire()]
        breaker.reconfigure(slow_call_duration=None)
        permits.append(await breaker.acquire())
        await anyio.sleep(99)
        for permit in permits:
            permit.succeed()
        assert call_counts(breaker) == (1, 1, 0)


async def test_a_stopped_circuit_keeps_no_time() -> None:
    """A call that ends after its circuit does counts by its outcome alone."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", slow_call_duration=5)
        permits = [await breaker.acquire() for _ in range(2)]
    await anyio.sleep(9)
    permits[0].succeed()
    with pytest.raises(Down), permits[1]:
        await fail()
    now = breaker.statistics()
    assert (now.succeeded, now.failed, now.in_flight) == (1, 1, 0)
