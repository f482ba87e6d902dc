"""Windows and rates under many calls at once: each call is admitted, or not, by all that has
ended before it, compared with a model that keeps everything and goes through it every time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, CircuitState, Supervisor
from supervisor.loop import EventLoop
from supervisor.policy.policy import Policy
from supervisor.testing import jump
from tests.behaviour.test_schedules import run as run_in_some_order
from tests.support.worlds import (
    Down,
    Guarded,
    changes_in,
    every_way,
    fail,
    fail_times,
    is_refused,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio

SEEDS = 8

POLICIES: dict[str, dict[str, Any]] = {
    "in a row": {"failure_threshold": 3},
    "in a row, slow ones too": {"failure_threshold": 3, "slow_call_duration": 1.5003},
    "last calls": {"window_calls": 8, "failure_threshold": 4},
    "share of the last calls": {"window_calls": 12, "failure_rate": 0.5, "minimum_calls": 5},
    "slow share of the last calls": {
        "window_calls": 12,
        "failure_rate": 0.6,
        "slow_call_rate": 0.5,
        "slow_call_duration": 1.5003,
        "minimum_calls": 6,
    },
    "last seconds": {"window_seconds": 5, "failure_threshold": 6},
    "share of the last seconds": {
        "window_seconds": 5,
        "failure_rate": 0.5,
        "minimum_calls": 8,
    },
    "slow share of the last seconds": {
        "window_seconds": 4,
        "failure_rate": 0.8,
        "slow_call_rate": 0.4,
        "slow_call_duration": 1.2503,
        "minimum_calls": 6,
    },
    "slow ones in the last seconds": {
        "window_seconds": 3,
        "failure_threshold": 6,
        "slow_call_duration": 1.2503,
    },
}

each_policy = pytest.mark.parametrize("fields", POLICIES.values(), ids=POLICIES)


@dataclass(eq=False)
class Running:
    """A call that has been admitted."""

    began: float  # infinite before it has; only then its time counts
    period: int
    probe: bool
    told: bool = False


@dataclass(eq=False)
class Ended:
    """A call that has counted."""

    at: float
    failed: bool
    slow: bool = False
    call: Running | None = None
    taken_back: bool = False  # it has counted, but its call ended without saying anything


class Model:
    """What a circuit with one probe at a time has to do, by the words of the documentation."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = "closed"
        self.period = 0
        self.until = math.inf
        self.ended: list[Ended] = []
        self.running: list[Running] = []

    def admit(self, now: float) -> Running | None:
        """Admit a call that asks now, or not."""
        self.advance(now)
        probes = sum(call.probe and self.counts(call) for call in self.running)
        if self.state == "open" or (self.state == "half_open" and probes):
            return None
        self.running.append(Running(math.inf, self.period, self.state == "half_open"))
        return self.running[-1]

    def start(self, call: Running, now: float) -> None:
        """The call that has been admitted begins."""
        call.began = now
        self.running.remove(call)
        self.running.append(call)

    def end(self, call: Running, failed: bool | None, now: float) -> None:
        """None: it has counted neither as a failure nor as a success."""
        self.advance(now)
        self.running.remove(call)
        limit, rate = self.policy.slow_call_duration, self.policy.slow_call_rate
        slow = limit is not None and now >= call.began + limit
        if not self.counts(call):
            return
        if failed is None:
            self.take_back(call)
        elif call.probe:
            if failed or slow:
                self.ended.append(Ended(now, failed=True))
                self.open(now)
            else:
                self.close()
        elif not call.told:
            failed = failed or (slow and rate is None)
            self.ended.append(Ended(now, failed, slow and rate is not None))
            self.judge(failed, now)
        elif failed and rate is not None:
            for entry in self.held(now):
                if entry.call is call:
                    entry.failed = True
                    self.judge(failed, now)

    def take_back(self, call: Running) -> None:
        """If it has counted as slow, it counts no more; nobody looks at what that leaves."""
        for entry in self.ended:
            if entry.call is call:
                entry.taken_back = True

    def advance(self, now: float) -> None:
        """Let happen what time alone brings about, in its order."""
        while True:
            at, call = min(self.coming(), key=lambda coming: coming[0], default=(math.inf, None))
            if at > now:
                return
            if call is None:
                self.state, self.until = "half_open", math.inf
                self.period += 1
            else:
                call.told = True
                failed = self.policy.slow_call_rate is None
                self.ended.append(Ended(at, failed, slow=not failed, call=call))
                self.judge(failed, at)

    def coming(self) -> Iterator[tuple[float, Running | None]]:
        yield self.until - EventLoop.here().early_by, None  # who sleeps until then may be early
        limit = self.policy.slow_call_duration
        for call in self.running:
            if limit is not None and not call.probe and not call.told and self.counts(call):
                yield call.began + limit, call

    def counts(self, call: Running) -> bool:
        return call.period == self.period

    def held(self, now: float) -> list[Ended]:
        """What is in the window; without one, the failures in a row. Who is taken back leaves
        a gap: what has made room for it does not come back, nor does a row that has ended.
        """
        ended = self.ended
        if self.policy.window_calls is not None:
            ended = ended[-self.policy.window_calls :]
        elif self.policy.window_seconds is not None:
            step = self.policy.window_seconds / 10
            oldest = math.floor(now / step) - 9
            ended = [entry for entry in ended if math.floor(entry.at / step) >= oldest]
        else:
            last = max((n for n, entry in enumerate(ended) if not entry.failed), default=-1)
            ended = ended[last + 1 :]
        return [entry for entry in ended if not entry.taken_back]

    def failures(self, now: float) -> int:
        return sum(entry.failed for entry in self.held(now))

    def judge(self, failed: bool, now: float) -> None:
        policy, held = self.policy, self.held(now)
        failures, slow = sum(e.failed for e in held), sum(e.slow for e in held)
        enough = len(held) >= policy.minimum_calls
        if policy.failure_rate is None:
            reached = failed and failures >= policy.failure_threshold
        else:
            reached = enough and failures / len(held) >= policy.failure_rate
        if policy.slow_call_rate is not None and enough:
            reached = reached or slow / len(held) >= policy.slow_call_rate
        if reached:
            self.open(now)

    def open(self, now: float) -> None:
        self.state, self.until = "open", now + self.policy.recovery_timeout
        self.period += 1

    def close(self) -> None:
        self.state = "closed"
        self.period += 1
        self.ended.clear()


class History:
    """Some workers who call, fail, hang and read at random, and a model that is told of it."""

    def __init__(self, seed: int, fields: dict[str, Any]) -> None:
        self.draw = random.Random(seed)
        self.fields = {"recovery_timeout": 2.0, "probe_timeout": 1e6, **fields}
        self.model = Model(Policy(**self.fields))
        self.failing = self.draw.choice([0.2, 0.5, 0.8])
        self.refused = self.openings = 0

    async def play(self, workers: int, steps: int) -> None:
        async with Supervisor() as supervisor:
            self.breaker = supervisor.circuit("x", **self.fields)
            async with anyio.create_task_group() as tasks:
                for _ in range(workers):
                    tasks.start_soon(self.work, steps)
            self.openings = self.breaker.statistics().times_opened

    async def work(self, steps: int) -> None:
        draw = self.draw
        for _ in range(steps):
            for _ in range(draw.randrange(3)):
                await anyio.lowlevel.checkpoint()
            if draw.random() < 0.4:
                await anyio.sleep(draw.choice([0.1, 0.5, 1.0, draw.random()]))
            if draw.random() < 0.05:
                seconds = draw.choice([0.25, 1.0, 3.0])
                if self.model.policy.slow_call_duration is None:
                    jump(seconds)
                else:  # for calls that may be slow by a jump alone see test_slow_calls.py
                    await anyio.sleep(seconds)
            if draw.random() < 0.2:
                self.see()
            else:
                await self.call()

    async def call(self) -> None:
        expected = self.model.admit(anyio.current_time())  # who asks first is answered first
        try:
            permit = await self.breaker.acquire()
        except CircuitBreakerOpenError:
            assert expected is None
            self.refused += 1
            return
        with permit:  # which lets go of it if a comparison fails
            assert expected is not None
            self.model.start(expected, anyio.current_time())
            await self.take_time()
            failed = self.draw.choices([True, False, None], [self.failing, 1 - self.failing, 0.1])[
                0
            ]
            self.model.end(expected, failed, anyio.current_time())
            match failed:
                case True:
                    permit.fail(Down())
                case False:
                    permit.succeed()
                case None:
                    permit.ignore()
            if self.draw.random() < 0.3:
                self.see()

    async def take_time(self) -> None:
        for _ in range(self.draw.randrange(3)):
            await anyio.lowlevel.checkpoint()
        if self.draw.random() < 0.5:
            await anyio.sleep(self.draw.choice([0.25, 0.5, 1.25, 1.5, 2.0, 3 * self.draw.random()]))

    def see(self) -> None:
        """Compare a read."""
        now = anyio.current_time()
        self.model.advance(now)
        assert self.breaker.state == self.model.state
        assert self.breaker.failure_count == self.model.failures(now)


class TestAgainstAModel:
    """Nothing is admitted that must not be, and nothing refused that may be."""

    @each_policy
    @pytest.mark.parametrize("seed", range(SEEDS))
    async def test_many_calls_at_once(self, fields: dict[str, Any], seed: int) -> None:
        """Every admission and every read is what the model says."""
        await History(seed, fields).play(workers=8, steps=25)

    @each_policy
    async def test_one_call_after_the_other(self, fields: dict[str, Any]) -> None:
        """Likewise, where nobody lets the actor run but who has to ask it."""
        history = History(99, fields)
        await history.play(workers=1, steps=400)
        assert history.refused > 0


@each_policy
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_any_order(fields: dict[str, Any], backend: str) -> None:
    """The same whichever of the tasks that are ready go on first."""
    openings = 0
    for seed in range(100, 100 + SEEDS):
        history = History(seed, fields)
        run_in_some_order(backend, seed, partial(history.play, workers=8, steps=25))
        openings += history.openings
    assert openings > SEEDS  # the histories are about something


class TestRates:
    """What a lease promises about a share of the calls."""

    @every_way
    async def test_the_call_that_fills_the_window_up(self, guarded: Guarded) -> None:
        """A success opens the circuit, too, if it makes enough calls of them."""
        breaker = CircuitBreaker("x", window_calls=10, failure_rate=0.5, minimum_calls=4)
        for function in (fail, fail, succeed):
            assert not await is_refused_by(guarded, breaker, function)
        assert breaker.state is CircuitState.CLOSED
        assert await guarded(breaker, succeed) == "fine"
        now = breaker.statistics()
        assert (now.state, now.last_failure) == ("open", "2 of 4 calls failed")
        assert await is_refused_by(guarded, breaker, succeed)

    @every_way
    @pytest.mark.parametrize("awake", [False, True])
    async def test_a_lease_that_expires(self, guarded: Guarded, awake: bool) -> None:
        """Once many successes have left the window, a few failures are a large share."""
        breaker = CircuitBreaker("x", window_seconds=10, failure_rate=0.5, minimum_calls=2)
        for _ in range(100):
            await guarded(breaker, succeed)
        await anyio.sleep(9.5)
        for _ in range(2):
            assert not await is_refused_by(guarded, breaker, fail)
        if awake:
            await settle_down()
        assert breaker.state is CircuitState.CLOSED
        jump(0.5)
        assert breaker.state is CircuitState.CLOSED  # time alone opens nothing
        assert not await is_refused_by(guarded, breaker, fail)
        assert await is_refused_by(guarded, breaker, fail)
        assert breaker.statistics().failure_count == 3

    @every_way
    async def test_a_success_after_a_lease_has_expired(self, guarded: Guarded) -> None:
        """It is counted, and shows the share that there is by then."""
        breaker = CircuitBreaker("x", window_seconds=10, failure_rate=0.5, minimum_calls=2)
        for _ in range(100):
            await guarded(breaker, succeed)
        await anyio.sleep(9)
        for _ in range(10):
            assert not await is_refused_by(guarded, breaker, fail)
        await settle_down()
        await anyio.sleep(1)
        await guarded(breaker, succeed)
        now = breaker.statistics()
        assert (now.state, now.last_failure) == ("open", "10 of 11 calls failed")

    async def test_failures_leave_in_steps_of_a_tenth(self) -> None:
        """As does everything else; without a rate, too."""
        breaker = CircuitBreaker("x", 9, window_seconds=10)
        for _ in range(4):
            await fail_times(breaker, 1)
            await anyio.sleep(0.5)
        counts: list[int] = []
        for _ in range(5):
            await anyio.sleep(7.75 if not counts else 0.5)
            counts.append(breaker.failure_count)
        assert (anyio.current_time(), counts) == (11.75, [4, 2, 2, 0, 0])

    async def test_the_tally_lives_on_while_open(self) -> None:
        """It is empty once the circuit has closed."""
        breaker = CircuitBreaker("x", 3, 5, window_calls=10)
        await fail_times(breaker, 3)
        await anyio.sleep(5)
        await fail_times(breaker, 1)
        assert (breaker.state, breaker.failure_count) == ("open", 4)
        await anyio.sleep(5)
        await breaker.call(succeed)
        assert (breaker.state, breaker.failure_count) == ("closed", 0)

    async def test_when_it_opened_though_the_loop_was_blocked(self) -> None:
        """At the time of the outcome that decided, not of the actor's turn."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", window_seconds=10, failure_rate=0.5, minimum_calls=2)
            await breaker.call(succeed)
            stream = supervisor.events()
            await anyio.sleep(3)
            await fail_times(breaker, 1)
            jump(20)
            assert (breaker.state, breaker.retry_after) == ("open", 10.0)
            (opened,) = await changes_in(stream)
            assert (opened.at, opened.failure_count) == (3.0, 1)


class TestRuns:
    """Successes that nothing depends on travel together."""

    @every_way
    @pytest.mark.parametrize(
        ("fields", "most"),
        [
            ({"window_seconds": 10, "failure_rate": 0.5}, 12),
            ({"throttle": 2, "throttle_seconds": 10}, 12),
            ({"retry_budget": 0.5, "retry_budget_seconds": 10}, 12),
            ({"slow_call_duration": 60}, 2),
            ({"window_calls": 100, "failure_rate": 0.5}, 2),
            ({"failure_on": Down}, 2),
            ({"recovery_from": lambda _: None}, 2),
        ],
    )
    async def test_few_messages(self, guarded: Guarded, fields: dict[str, Any], most: int) -> None:
        """One for each tenth of a window in time, where there is one."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", **fields)
            circuit = supervisor.find("x")
            assert circuit is not None
            for _ in range(20):
                await guarded(breaker, succeed)
            await settle_down()
            before = len(circuit.mailbox.messages)
            for _ in range(10):
                for _ in range(100):
                    await guarded(breaker, succeed)
                jump(1)
            assert len(circuit.mailbox.messages) - before <= most
            now = breaker.statistics()
            assert (now.succeeded, now.in_flight) == (1020, 0)

    async def test_they_keep_their_time(self) -> None:
        """A run ends with the tenth of the window in which it began."""
        breaker = CircuitBreaker("x", window_seconds=10, failure_rate=0.5, minimum_calls=2)
        for time in (0.95, 0.1):
            jump(time)
            for _ in range(10):
                await breaker.call(succeed)
        await anyio.sleep(9)  # the first ten have left the window, and the others not
        await fail_times(breaker, 9)
        assert breaker.state is CircuitState.CLOSED
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN

    async def test_failures_among_them_keep_their_place(self) -> None:
        """A success ends a row of failures only if it comes after them."""
        breaker = CircuitBreaker("x", 4, slow_call_duration=60)
        for _ in range(3):
            await breaker.call(succeed)
            await fail_times(breaker, 3)
            assert breaker.failure_count == 3
        await fail_times(breaker, 1)
        assert await is_refused(breaker)


async def is_refused_by(guarded: Guarded, breaker: CircuitBreaker, function: Any) -> bool:
    """Make a call, and return whether it was refused."""
    try:
        await guarded(breaker, function)
    except CircuitBreakerOpenError:
        return True
    except Down:
        pass
    return False
