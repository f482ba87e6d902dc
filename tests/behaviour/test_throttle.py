"""Parts of a policy that admit a share of the calls: a throttle, a ramp, a budget of retries."""

from __future__ import annotations

import math
import random
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, CircuitState, Supervisor
from supervisor.circuit import give_up
from supervisor.testing import jump
from tests.support.worlds import (
    Dependency,
    Down,
    Guarded,
    by_call,
    by_retry,
    every_way,
    every_way_and_thread,
    fail,
    fail_times,
    half_open,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio

NEVER = 10**9
"""More failures than there will be."""


async def refusal_of(guarded: Guarded, breaker: CircuitBreaker, function: Any) -> str | None:
    """Make a call; return the reason for which it was refused, if it was."""
    try:
        await guarded(breaker, function)
    except CircuitBreakerOpenError as refusal:
        return refusal.reason
    except Down:
        pass
    return None


class Formula:
    """Client-side throttling as it is written down, with random numbers of its own."""

    def __init__(self, k: float, floor: float, draws: random.Random) -> None:
        self.k = k
        self.floor = floor
        self.draws = draws
        self.requests = self.accepts = 0

    @property
    def share(self) -> float:
        rejected = max(0.0, (self.requests - self.k * self.accepts) / (self.requests + 1))
        return max(1 - rejected, self.floor)

    def admits(self) -> bool:
        # While all are admitted, no number is drawn, but for who has to ask all the same.
        return self.draws.random() < self.share

    def count(self, accepted: bool) -> None:
        self.requests += 1
        self.accepts += accepted


class TestThrottle:
    """`throttle=K`: of the requests of late, K times as many as were accepted pass freely."""

    @every_way
    @pytest.mark.parametrize(("k", "successes"), [(1.01, 60), (1.5, 40), (2.0, 20)])
    async def test_the_share_is_that_of_the_formula(
        self, guarded: Guarded, k: float, successes: int, seeded: random.Random
    ) -> None:
        """Call for call, with the same random numbers, through an outage and after it."""
        breaker = CircuitBreaker("x", NEVER, throttle=k)
        formula = Formula(k, 0.05, seeded)
        for _ in range(successes):
            await breaker.call(succeed)
            formula.count(accepted=True)
        while formula.share == 1:
            await fail_times(breaker, 1)
            formula.count(accepted=False)
        await settle_down()
        random.setstate(seeded.getstate())
        for number in range(600):
            down = number < 300
            admitted = await refusal_of(guarded, breaker, fail if down else succeed) is None
            assert admitted is formula.admits()
            formula.count(accepted=admitted and not down)
        now = breaker.statistics()
        assert now.started == formula.requests
        assert now.rejected > 100

    @every_way_and_thread
    async def test_a_refusal(self, guarded: Guarded) -> None:
        """Of a closed circuit; nobody knows when a call may be admitted again."""
        breaker = CircuitBreaker("x", NEVER, throttle=1.01, throttle_floor=1e-9)
        with pytest.raises(CircuitBreakerOpenError) as caught:
            for _ in range(10**4):
                with pytest.raises(Down):
                    await guarded(breaker, fail)
        refusal = caught.value
        assert (refusal.state, refusal.retry_after) == ("closed", 0.0)
        assert (refusal.reason, refusal.last_failure) == ("throttled", None)
        assert str(refusal) == (
            "circuit 'x' admits only a share of its calls, since many have failed of late;"
            " retry later"
        )

    @pytest.mark.parametrize(("k", "failures"), [(1.01, 0), (1.5, 25), (2.0, 50), (4.0, 150)])
    async def test_so_many_pass_freely(self, k: float, failures: int) -> None:
        """No call is refused up to K times the accepts."""
        breaker = CircuitBreaker("x", NEVER, throttle=k)
        for _ in range(50):
            await breaker.call(succeed)
        await fail_times(breaker, failures)
        await breaker.call(succeed)
        assert breaker.statistics().rejected == 0

    @pytest.mark.parametrize("floor", [0.1, 0.3])
    @pytest.mark.usefixtures("seeded")
    async def test_the_floor_keeps_probing(self, floor: float) -> None:
        """However long all have failed, so large a share of the calls is admitted."""
        breaker = CircuitBreaker("x", NEVER, throttle=2, throttle_floor=floor)
        for _ in range(200):
            await refusal_of(by_call, breaker, fail)
        before = breaker.statistics().failed
        for _ in range(1000):
            await refusal_of(by_call, breaker, fail)
        assert breaker.statistics().failed - before == pytest.approx(1000 * floor, rel=0.3)

    @pytest.mark.usefixtures("seeded")
    async def test_it_recovers(self) -> None:
        """With the dependency: the share grows with every success."""
        breaker = CircuitBreaker("x", NEVER, throttle=2, throttle_seconds=60)
        for _ in range(1200):
            await refusal_of(by_call, breaker, fail)
            await anyio.sleep(0.1)
        admitted: list[int] = []
        for _ in range(8):
            before = breaker.statistics().succeeded
            for _ in range(400):
                await refusal_of(by_call, breaker, succeed)
                await anyio.sleep(0.1)
            admitted.append(breaker.statistics().succeeded - before)
        assert admitted[0] < 40
        assert admitted == sorted(admitted)
        assert admitted[-1] == 400

    @pytest.mark.usefixtures("seeded")
    async def test_it_forgets(self) -> None:
        """What is older than `throttle_seconds` counts no more; nobody has to ask by then."""
        breaker = CircuitBreaker("x", NEVER, throttle=2, throttle_seconds=60)
        await anyio.sleep(3)
        for _ in range(500):
            await refusal_of(by_call, breaker, fail)
        rejected = breaker.statistics().rejected
        assert rejected > 300
        await anyio.sleep(56.9)
        assert {await refusal_of(by_call, breaker, fail) for _ in range(99)} == {None, "throttled"}
        await anyio.sleep(63)
        for _ in range(50):
            assert await refusal_of(by_call, breaker, succeed) is None

    async def test_a_success_that_is_forgotten(self) -> None:
        """The lease ends with it: what passed freely by it may not pass any more."""
        breaker = CircuitBreaker("x", NEVER, throttle=2, throttle_seconds=10, throttle_floor=1e-9)
        for _ in range(1000):
            await breaker.call(succeed)
        await anyio.sleep(9)
        await fail_times(breaker, 900)
        await settle_down()
        assert breaker.statistics().rejected == 0
        await anyio.sleep(1)
        refused = [await refusal_of(by_call, breaker, fail) for _ in range(100)]
        assert refused.count("throttled") > 95

    async def test_a_reset_forgets_it(self) -> None:
        """Everybody is admitted again."""
        breaker = CircuitBreaker("x", NEVER, throttle=1.01, throttle_floor=1e-9)
        for _ in range(100):
            await refusal_of(by_call, breaker, fail)
        breaker.reset()
        assert await refusal_of(by_call, breaker, succeed) is None
        assert await refusal_of(by_call, breaker, succeed) is None

    async def test_the_circuit_opens_all_the_same(self) -> None:
        """By its own threshold; the two go on side by side."""
        breaker = CircuitBreaker("x", 20, throttle=1.01)
        reasons = [await refusal_of(by_call, breaker, fail) for _ in range(3000)]
        assert reasons.count(None) == 20
        assert reasons[-1] == "open"
        assert "throttled" in reasons
        assert breaker.state is CircuitState.OPEN

    async def test_what_counts(self) -> None:
        """Ignored and cancelled calls are no requests; an error that is no failure is accepted."""
        breaker = CircuitBreaker(
            "x", NEVER, throttle=2, throttle_floor=1e-9, ignore=KeyError, failure_on=Down
        )

        async def raising(error: Exception) -> None:
            raise error

        for _ in range(100):
            for error in (KeyError(), ValueError()):
                with pytest.raises(type(error)):
                    await breaker.call(raising, error)
            (await breaker.acquire()).ignore()
        await fail_times(breaker, 100)
        assert breaker.statistics().rejected == 0
        reasons = [await refusal_of(by_call, breaker, fail) for _ in range(400)]
        assert "throttled" in reasons

    @pytest.mark.usefixtures("seeded")
    async def test_many_at_once(self) -> None:
        """All who ask at the same time are answered by what had ended by then."""
        breaker = CircuitBreaker("x", NEVER, throttle=2, throttle_floor=0.25)
        for _ in range(300):
            await refusal_of(by_call, breaker, fail)
        dependency = Dependency()
        reasons: list[str | None] = []

        async def caller() -> None:
            reasons.append(await refusal_of(by_call, breaker, dependency.call))

        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(caller)
            await settle_down()
            assert dependency.running == pytest.approx(250, rel=0.2)
            assert len(reasons) == 1000 - dependency.running
            dependency.let_go()
        now = breaker.statistics()
        assert (now.in_flight, set(reasons)) == (0, {None, "throttled"})


class TestRamp:
    """`ramp`: for so many seconds after closing, a growing share of the calls is admitted."""

    @every_way
    async def test_it_grows(self, guarded: Guarded, seeded: random.Random) -> None:
        """Linearly, from `ramp_start` up to all of them; call for call."""
        async with half_open(failure_threshold=1, ramp=100, ramp_start=0.2) as breaker:
            await guarded(breaker, succeed)
            await settle_down()
            random.setstate(seeded.getstate())
            for step in range(250):
                share = 0.2 + 0.8 * step / 250
                reason = await refusal_of(guarded, breaker, succeed)
                assert (reason is None) == (seeded.random() < share)
                assert reason in (None, "ramp")
                await anyio.sleep(0.4)
            state = random.getstate()
            for _ in range(99):
                assert await refusal_of(guarded, breaker, succeed) is None
            assert random.getstate() == state
        assert 60 < breaker.statistics().rejected < 140

    @every_way_and_thread
    async def test_a_refusal(self, guarded: Guarded) -> None:
        """Of a closed circuit, soon after it has closed."""
        async with half_open(ramp=100, ramp_start=1e-9) as breaker:
            await breaker.call(succeed)
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await guarded(breaker, succeed)
        refusal = caught.value
        assert (refusal.state, refusal.retry_after) == ("closed", 0.0)
        assert (refusal.reason, refusal.last_failure) == ("ramp", None)
        assert "has closed a short while ago" in str(refusal)

    async def test_only_after_a_recovery(self) -> None:
        """Not for a new circuit, nor after a reset or a release."""
        breaker = CircuitBreaker("x", 1, ramp=100, ramp_start=1e-9)
        assert await refusal_of(by_call, breaker, succeed) is None
        await fail_times(breaker, 1)
        breaker.reset()
        assert await refusal_of(by_call, breaker, succeed) is None
        breaker.force_open()
        breaker.release()
        assert await refusal_of(by_call, breaker, succeed) is None

    async def test_a_reset_ends_it(self) -> None:
        """Whoever resets a circuit trusts the dependency."""
        async with half_open(ramp=100, ramp_start=1e-9) as breaker:
            await breaker.call(succeed)
            assert await refusal_of(by_call, breaker, succeed) == "ramp"
            breaker.reset()
            assert await refusal_of(by_call, breaker, succeed) is None

    async def test_one_that_has_just_come(self) -> None:
        """It holds for the next call, though the actor has not had a turn since."""
        async with half_open() as breaker:
            permit = await breaker.acquire()
            breaker.reconfigure(ramp=100, ramp_start=1e-9)
            permit.succeed()
            assert await refusal_of(by_call, breaker, succeed) == "ramp"

    async def test_failures_open_the_circuit_as_ever(self) -> None:
        """And the next recovery has a ramp of its own."""
        async with half_open(ramp=100, ramp_start=1, recovery_timeout=30) as breaker:
            await breaker.call(succeed)
            await anyio.sleep(50)
            await fail_times(breaker, 1)
            assert breaker.state is CircuitState.OPEN
            await anyio.sleep(30)
            breaker.reconfigure(ramp_start=1e-9)
            await breaker.call(succeed)
            assert await refusal_of(by_call, breaker, succeed) == "ramp"

    @pytest.mark.usefixtures("seeded")
    async def test_beside_a_throttle(self) -> None:
        """The smaller share counts, and gives the reason."""
        async with half_open(
            failure_threshold=1, ramp=100, ramp_start=0.1, throttle=20, throttle_floor=0.01
        ) as breaker:
            await breaker.call(succeed)
            breaker.reconfigure(failure_threshold=NEVER)
            early = {await refusal_of(by_call, breaker, succeed) for _ in range(20)}
            assert early == {None, "ramp"}
            await anyio.sleep(90)
            for _ in range(300):
                await refusal_of(by_call, breaker, fail)
            late = {await refusal_of(by_call, breaker, fail) for _ in range(100)}
            assert late == {None, "throttled"}


class TestRetryBudget:
    """`retry`: another attempt, which is taken from a budget."""

    async def test_a_share_of_the_calls_and_a_few_more(self) -> None:
        """Once that is spent, retries are refused, and other calls are not."""
        breaker = CircuitBreaker("x", NEVER, retry_budget=0.25, retry_budget_minimum=3)
        await breaker.call(succeed)
        for _ in range(7):
            await breaker.call(succeed)
        for _ in range(5):
            assert await breaker.retry(succeed) == "fine"
        for _ in range(3):
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await breaker.retry(succeed)
        refusal = caught.value
        assert (refusal.reason, refusal.state, refusal.retry_after) == (
            "retry_budget",
            "closed",
            0.0,
        )
        assert "has seen too many retries of late" in str(refusal)
        for _ in range(4):
            await breaker.call(succeed)
        assert await breaker.retry(succeed) == "fine"
        now = breaker.statistics()
        assert (now.succeeded, now.rejected, now.in_flight) == (18, 3, 0)

    async def test_it_comes_back_with_time(self) -> None:
        """What is older than `retry_budget_seconds` counts no more, calls and retries."""
        breaker = CircuitBreaker("x", NEVER, retry_budget=1, retry_budget_minimum=0)
        await breaker.call(succeed)
        await anyio.sleep(9)
        assert await breaker.retry(succeed) == "fine"
        await anyio.sleep(1)
        for _ in range(2):
            with pytest.raises(CircuitBreakerOpenError, match="too many retries"):
                await breaker.retry(succeed)
        await breaker.call(succeed)
        with pytest.raises(CircuitBreakerOpenError, match="too many retries"):
            await breaker.retry(succeed)
        await anyio.sleep(9)
        assert await breaker.retry(succeed) == "fine"

    async def test_outcomes_of_retries(self) -> None:
        """They count like any others, but earn no further retries."""
        breaker = CircuitBreaker("x", 3, retry_budget=1, retry_budget_minimum=3)
        for _ in range(3):
            with pytest.raises(Down):
                await breaker.retry(fail)
        assert breaker.state is CircuitState.OPEN
        breaker.reset()
        with pytest.raises(CircuitBreakerOpenError, match="too many retries"):
            await breaker.retry(succeed)

    async def test_a_refusal_by_the_state_spends_nothing(self) -> None:
        """And a refusal by the budget takes no probe's place."""
        breaker = CircuitBreaker("x", 1, retry_budget=0.001, retry_budget_minimum=1)
        await fail_times(breaker, 1)
        for _ in range(5):
            assert await refusal_of(by_retry, breaker, succeed) == "open"
        await anyio.sleep(30)
        async with anyio.create_task_group() as tasks:
            dependency = Dependency()
            tasks.start_soon(breaker.retry, dependency.call)
            await settle_down()
            assert dependency.running == 1
            assert await refusal_of(by_retry, breaker, succeed) == "half_open"
            tasks.cancel_scope.cancel()
        assert await refusal_of(by_retry, breaker, succeed) == "retry_budget"
        assert await refusal_of(by_call, breaker, succeed) is None

    async def test_without_a_budget(self) -> None:
        """It is a call like any other."""
        breaker = CircuitBreaker("x", 1)
        for _ in range(100):
            assert await breaker.retry(succeed) == "fine"
        with pytest.raises(Down):
            await breaker.retry(fail)
        assert not breaker.limits_retries
        with pytest.raises(CircuitBreakerOpenError):
            await breaker.retry(succeed)

    @pytest.mark.parametrize("awake", [False, True])
    async def test_a_budget_that_has_just_come(self, awake: bool) -> None:
        """It counts from the next attempt on, whether or not the actor has had its turn."""
        breaker = CircuitBreaker("x", 9)
        await breaker.call(succeed)
        breaker.reconfigure(retry_budget=0.001, retry_budget_minimum=2)
        assert breaker.limits_retries
        if awake:
            await settle_down()
        for reason in (None, None, "retry_budget"):
            assert await refusal_of(by_retry, breaker, succeed) == reason

    async def test_attempts_of_one_call(self) -> None:
        """A loop that is guarded as a whole takes its attempts from the budget by itself."""
        breaker = CircuitBreaker("x", 9, retry_budget=0.001, retry_budget_minimum=2)
        await breaker.call(succeed)
        for _ in range(2):
            await breaker.spend_retry()
        with pytest.raises(CircuitBreakerOpenError) as caught:
            await breaker.spend_retry()
        assert caught.value.reason == "retry_budget"
        now = breaker.statistics()
        assert (now.started, now.rejected, now.in_flight) == (1, 0, 0)

    async def test_attempts_where_there_is_no_budget(self) -> None:
        """Every one may be made, at a circuit that was given up as well."""
        async with Supervisor() as supervisor:
            plain = supervisor.circuit("plain")
            given_up = supervisor.circuit("x", retry_budget=0.001, retry_budget_minimum=0)
            await given_up.call(succeed)
            circuit = supervisor.find("x")
            assert circuit is not None
            give_up(circuit, "allow")
            for breaker in (plain, given_up):
                for _ in range(5):
                    await breaker.spend_retry()

    async def test_a_retry_that_hangs_is_slow(self) -> None:
        """It is overdue like any other call."""
        breaker = CircuitBreaker("x", 2, retry_budget=1, slow_call_duration=5)
        dependency = Dependency()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.call, dependency.call)
            await anyio.sleep(1)
            tasks.start_soon(breaker.retry, dependency.call)
            await anyio.sleep(4.5)
            assert (breaker.state, breaker.failure_count) == ("closed", 1)
            await anyio.sleep(1)
            assert (breaker.state, breaker.retry_after) == ("open", 29.5)
            dependency.let_go()
        assert breaker.statistics().stale == 2

    async def test_retries_that_have_ended_are_forgotten(self) -> None:
        """However long they might have taken before they were slow."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", retry_budget=1, slow_call_duration=1e6)
            circuit = supervisor.find("x")
            assert circuit is not None
            assert circuit.allowance is not None
            for _ in range(1000):
                await breaker.call(succeed)
                await breaker.retry(succeed)
            with await breaker.acquire():
                assert circuit.allowance.running_calls.slow_next() == 1e6
            await breaker.retry(succeed)
            assert circuit.allowance.running_calls.slow_next() == math.inf
            assert not circuit.allowance.running_calls.others

    async def test_cancelled_while_it_asks(self) -> None:
        """Nothing is left behind, and nobody is held up."""
        breaker = CircuitBreaker("x", 9, retry_budget=1)
        await breaker.call(succeed)
        for ask in (breaker.retry, lambda _: breaker.spend_retry()):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await ask(anyio.sleep_forever)
        now = breaker.statistics()
        assert (now.cancelled, now.in_flight) == (1, 0)
        assert await breaker.retry(succeed) == "fine"


async def test_a_look_at_a_limit_that_is_no_more() -> None:
    """A call that comes when another would have been slow is admitted by the rest of the lease."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", slow_call_duration=5, throttle=2)
        for _ in range(20):
            await breaker.call(succeed)
        hanging = await breaker.acquire()
        breaker.reconfigure(slow_call_duration=None, failure_threshold=9)
        assert await breaker.call(succeed) == "fine"
        await settle_down()
        jump(7)
        assert await breaker.call(succeed) == "fine"
        hanging.succeed()
        assert breaker.statistics().in_flight == 0
