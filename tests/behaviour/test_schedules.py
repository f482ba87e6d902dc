"""The promise under many schedules: an outcome that a finished call has reported is visible to
every admission and every read that starts after it.

A run of plain asyncio always takes the same order. So the order in which ready tasks run is
shuffled by a seed, on asyncio here and on trio by its own scheduler; each seed is another run.
What tasks see is compared with a machine of its own to which the same facts are told directly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.testing

from supervisor import CallTimeoutError, CircuitBreaker, CircuitBreakerOpenError, Supervisor
from supervisor.machine.machine import Machine
from supervisor.machine.messages import (
    NO_PROBE,
    Acquire,
    CircuitState,
    Force,
    Grant,
    Message,
    Overdue,
    Reconfigure,
    Refusal,
    Reset,
    Retry,
    Settle,
    WaitFor,
)
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import Policy, fields_of
from supervisor.testing import VirtualTimeLoop, jump
from tests.support.worlds import Down, by_block, by_call, by_decorator, by_permit

SEEDS = 60
"""Orders that a test tries; a tenth of them with each policy."""

KINDS: dict[str, Failure | Outcome] = {
    "busy": Failure("busy", weight=2, threshold=2),
    "later": Failure("later", recovery_timeout=0.5, retry_after=0.75),
    "minor": Failure("minor", weight=0),
    "own fault": Outcome.IGNORED,
}


def kind_of(ended_with: object) -> Failure | Outcome | None:
    """What a policy that tells failures apart makes of an error or a result."""
    return KINDS.get(str(ended_with))


# All times are multiples of this one, which holds whole steps of all windows: no sum is rounded.
TICK = 0.25

NEUTRAL = (Outcome.IGNORED, Outcome.CANCELLED)

POLICIES: dict[str, dict[str, Any]] = {
    "in a row": {},
    "last calls": {"window_calls": 4, "failure_threshold": 3},
    "last seconds": {"window_seconds": 5.0},
    "rate of calls": {"window_calls": 6, "failure_rate": 0.6, "minimum_calls": 4},
    "rate in time": {"window_seconds": 1.25, "failure_rate": 0.75, "minimum_calls": 2},
    "slow calls": {"slow_call_duration": 2 * TICK},
    "rate of slow calls": {
        "window_seconds": 5.0,
        "minimum_calls": 3,
        "failure_rate": 0.9,
        "slow_call_duration": 2 * TICK,
        "slow_call_rate": 0.4,
    },
    "rate of slow last calls": {
        "window_calls": 5,
        "minimum_calls": 3,
        "slow_call_duration": 2 * TICK,
        "slow_call_rate": 0.6,
    },
    "kinds": {"classify": kind_of, "failure_threshold": 4},
    "kinds in time": {
        "classify": kind_of,
        "window_seconds": 5.0,
        "failure_rate": 0.75,
        "minimum_calls": 3,
    },
    "results and timeouts": {"failure_on_result": "poor".__eq__, "timeout": TICK},
    "throttle": {"throttle": 1.25, "throttle_seconds": 5.0, "throttle_floor": 0.5},
    "probes": {
        "probes": 4,
        "probe_failure_rate": 0.5,
        "half_open_timeout": 3.0,
        "ramp": 5.0,
        "ramp_start": 0.25,
    },
    "retry budget": {
        "retry_budget": 0.25,
        "retry_budget_seconds": 5.0,
        "retry_budget_minimum": 0,
        "recovery_factor": 2.0,
        "max_recovery_timeout": 3.0,
    },
}


def draw_policy(draw: random.Random, name: str) -> Policy:
    """A policy of that name, with small thresholds."""
    fields = {
        "failure_threshold": draw.randint(1, 4),
        "recovery_timeout": 2.0,
        "success_threshold": draw.randint(1, 2),
        "probe_timeout": 5.0,
    }
    return Policy(**{**fields, **POLICIES[name]})


class ShuffledLoop(VirtualTimeLoop):
    """A virtual-time loop that runs what is ready in an order drawn by a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def _run_once(self) -> None:
        ready = list(self._ready)  # type: ignore[has-type]
        self._random.shuffle(ready)
        self._ready.clear()
        self._ready.extend(ready)
        super()._run_once()  # type: ignore[misc]


def run(backend: str, seed: int, main: Callable[[], Awaitable[Any]]) -> None:
    """Run `main` once, in the order that belongs to `seed`."""
    if backend == "trio":
        from trio._core import _run as scheduler

        scheduler._r.seed(seed)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(main, clock=clock)
    else:
        with asyncio.Runner(loop_factory=lambda: ShuffledLoop(seed)) as runner:
            runner.run(main())  # type: ignore[arg-type]


@dataclass
class Running:
    """A call that runs; `overdue` if that has been told."""

    grant: Grant
    began: float
    overdue: bool = False

    @property
    def slow_from(self) -> float | None:
        limit = self.grant.policy.slow_call_duration
        return None if limit is None else self.began + limit


class Specification:
    """What must be seen: a machine that is told every fact the moment it happens."""

    def __init__(self, policy: Policy) -> None:
        self.machine = Machine(policy)
        self.asked = 0
        self.answers: dict[int, Grant | Refusal] = {}
        self.running: dict[int, Running] = {}

    def ask(self, retry: bool, wait: float | None, wait_for: WaitFor) -> int:
        """Ask as a caller is about to, and return the number of its call."""
        self.asked += 1
        now = anyio.current_time()
        retry = retry and self.machine.policy.retry_budget is not None
        until = None if wait is None else now + wait
        answer = self.tell(Acquire(self.asked, now, next_draw(), retry, until, wait_for))
        if answer is not None:
            self.answers[self.asked] = answer
        return self.asked

    def spend_retry(self) -> bool:
        """Take a retry from the budget as a caller is about to; return whether there is one."""
        if self.machine.policy.retry_budget is None:
            return True
        self.asked += 1
        return isinstance(self.tell(Retry(self.asked, anyio.current_time())), Grant)

    def answer(self, call: int) -> Grant | Refusal:
        """Return what the caller has been told, who waits no longer."""
        self.catch_up()
        assert call in self.answers, "it waits"
        return self.answers.pop(call)

    def begin(self, call: int) -> Policy:
        """Let a call begin, which must have been admitted; return the policy that judges it."""
        grant = self.answer(call)
        assert isinstance(grant, Grant)
        self.running[call] = Running(grant, anyio.current_time())
        return grant.policy

    def end(self, call: int, judgement: Failure | Outcome) -> None:
        """Let a call end that counts as that."""
        self.catch_up()
        now = anyio.current_time()
        ended = self.running.pop(call)
        slow = ended.slow_from is not None and now >= ended.slow_from
        if slow and judgement is Outcome.SUCCEEDED and ended.grant.policy.slow_call_rate is None:
            judgement = PLAIN_FAILURE
        failure = judgement if isinstance(judgement, Failure) else None
        self.tell(
            Settle(
                ended.grant.period,
                ended.grant.probe,
                Outcome.FAILED if isinstance(judgement, Failure) else judgement,
                now,
                of_kind=failure or PLAIN_FAILURE,
                slow=slow and not ended.overdue and judgement not in NEUTRAL,
                retry=ended.grant.retry,
                call=call if ended.overdue else 0,
            )
        )

    def tell(self, message: Message) -> Grant | Refusal | None:
        """Tell the machine what happens now."""
        self.catch_up()
        answer = self.machine.apply(message)
        self.collect()
        return answer

    def catch_up(self) -> None:
        """Tell the machine of the calls that have become slow by now, and what time it is."""
        now = anyio.current_time()
        for slow_from, number in self.becoming_slow(now):
            call = self.running[number]
            call.overdue = True
            limit = call.grant.policy.slow_call_duration
            assert limit is not None
            failed = call.grant.policy.slow_call_rate is None
            self.machine.apply(Overdue(call.grant.period, number, slow_from, limit, failed))
        self.machine.advance(now)
        self.collect()

    def becoming_slow(self, by: float) -> list[tuple[float, int]]:
        """Return from when calls are slow that are to be told by then, and their numbers."""
        calls = [
            (call.slow_from, number)
            for number, call in self.running.items()
            if call.slow_from is not None
            and call.slow_from <= by
            and call.grant.probe == NO_PROBE
            and not call.overdue
        ]
        return sorted(calls, key=itemgetter(0))  # of equal ones the one first that began first

    def collect(self) -> None:
        self.answers.update(self.machine.released)
        self.machine.released = ()

    def see(self, breaker: CircuitBreaker) -> None:
        """Compare synchronous reads."""
        self.catch_up()
        machine, figures = self.machine, breaker.statistics()
        assert breaker.state is machine.state
        assert breaker.failure_count == machine.failure_count
        assert breaker.retry_after == machine.retry_after(machine.latest)
        for figure in (
            "would_be",
            "succeeded",
            "failed",
            "ignored",
            "stale",
            "times_opened",
            "would_have_refused",
        ):
            assert getattr(figures, figure) == getattr(machine, figure), figure
        assert figures.waiting == len(machine.waiting)


def next_draw() -> float:
    """Return the number that chance will draw next."""
    state = random.getstate()
    drawn = random.random()
    random.setstate(state)
    return drawn


def judged(policy: Policy, text: str, raised: bool, has_result: bool) -> Failure | Outcome:
    """Return what a call counts as."""
    if policy.classify is not None and text in KINDS and (raised or has_result):
        return KINDS[text]
    poor = policy.failure_on_result is not None and has_result and text == "poor"
    return PLAIN_FAILURE if raised or poor else Outcome.SUCCEEDED


BY_HAND = {
    CircuitState.FORCED_OPEN: CircuitBreaker.force_open,
    CircuitState.FORCED_CLOSED: CircuitBreaker.force_close,
    CircuitState.DISABLED: CircuitBreaker.disable,
    CircuitState.METRICS_ONLY: CircuitBreaker.only_measure,
    CircuitState.CLOSED: CircuitBreaker.release,
}
WAYS = ["call", "block", "decorator", "permit", "retry", "waiting", "waiting permit"]
ACTIONS = {
    "call": 40,
    "read": 16,
    "spend a retry": 4,
    "reset": 3,
    "block": 3,
    "reconfigure": 1,
    "by hand": 1,
}


async def one_history(policy_name: str, seed: int, steps: int = 12) -> int:
    """Let some workers call, fail, hang, reset, read and so on at random; return the refusals."""
    draw = random.Random(f"{policy_name} {seed}")
    workers, failing, looking = draw.choice([3, 6]), draw.choice([0.2, 0.6]), draw.choice([0, 1])
    policy = draw_policy(draw, policy_name)
    specification = Specification(policy)
    refusals = 0

    async def worker(breaker: CircuitBreaker) -> None:
        nonlocal refusals
        for _ in range(steps):
            await pause(3)
            if draw.random() < 0.2:
                await anyio.sleep(draw.choice([2, 8]) * TICK)
            now = anyio.current_time()
            match draw.choices(list(ACTIONS), list(ACTIONS.values()))[0]:
                case "call":
                    refusals += not await call(breaker, draw.choice(WAYS))
                case "reset":
                    breaker.reset()
                    specification.tell(Reset(now))
                case "spend a retry":
                    assert specification.spend_retry() is await may_retry(breaker)
                case "block":
                    jump(TICK)
                case "reconfigure":
                    changed = draw_policy(draw, draw.choice(list(POLICIES)))
                    breaker.reconfigure(**fields_of(changed))
                    specification.tell(Reconfigure(changed, now))
                case "by hand":
                    state = draw.choice(list(BY_HAND))
                    BY_HAND[state](breaker)
                    specification.tell(Force(state, now))
                case _:
                    specification.see(breaker)
            if draw.random() < looking:  # which ends what callers keep back
                specification.see(breaker)

    async def may_retry(breaker: CircuitBreaker) -> bool:
        try:
            await breaker.spend_retry()
        except CircuitBreakerOpenError:
            return False
        return True

    async def pause(checkpoints: int) -> None:
        for _ in range(draw.randrange(checkpoints)):
            await anyio.lowlevel.checkpoint()

    async def call(breaker: CircuitBreaker, way: str) -> bool:
        """Make a call, and return whether it was admitted."""
        wait = draw.randint(1, 12) * TICK if "waiting" in way else None
        wait_for: WaitFor = draw.choice(["closed", "verdict"])
        # Requests are answered in the order of asking.
        number = specification.ask(way == "retry", wait, wait_for)

        async def work() -> str:
            policy = specification.begin(number)
            raised = draw.random() < failing
            text = draw.choice(["down", *KINDS] if raised else ["fine", "fine", "poor", "busy"])
            try:
                await pause(4)
                if draw.random() < 0.2:
                    await anyio.sleep(draw.choice([1, 2, 4, 12]) * TICK)
            except anyio.get_cancelled_exc_class():  # by the policy's timeout
                specification.end(number, PLAIN_FAILURE)
                raise
            has_result = way in ("call", "decorator", "retry", "waiting")
            specification.end(number, judged(policy, text, raised, has_result))
            if raised:
                raise Down(text)
            return text

        try:
            match way:
                case "call":
                    await by_call(breaker, work)
                case "spend a retry":
                    assert specification.spend_retry() is await may_retry(breaker)
                case "block":
                    await by_block(breaker, work)
                case "decorator":
                    await by_decorator(breaker, work)
                case "permit":
                    await by_permit(breaker, work)
                case "retry":
                    await breaker.retry(work)
                case "waiting":
                    await breaker.waiting(wait or 0, wait_for).call(work)
                case _:
                    with await breaker.acquire(wait=wait, wait_for=wait_for):
                        await work()
        except CircuitBreakerOpenError:
            assert isinstance(specification.answer(number), Refusal)
            return False
        except (Down, CallTimeoutError):
            pass
        return True

    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", **fields_of(policy))
        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(worker, breaker)
    return refusals


def refusals_in(backend: str, policy: str, seeds: Iterable[int]) -> int:
    """Play the history of each seed, in the order of that seed; return the refusals."""
    refusals = 0
    for seed in seeds:

        async def main(seed: int = seed) -> None:
            nonlocal refusals
            refusals += await one_history(policy, seed)

        random.seed(seed)
        run(backend, seed, main)
    return refusals


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_seen_is_what_has_happened(backend: str, policy: str) -> None:
    """Every read and every admission agrees with the specification, in every order tried."""
    seeds = SEEDS // 10
    assert refusals_in(backend, policy, range(seeds)) > seeds / 2  # they are about something


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_orders_differ(backend: str) -> None:
    """Each seed gives its own order of the same tasks, and the same one every time."""

    def order(seed: int) -> tuple[int, ...]:
        ran: list[int] = []

        async def task(number: int) -> None:
            for _ in range(4):
                await anyio.lowlevel.checkpoint()
                ran.append(number)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(task, number)

        run(backend, seed, main)
        return tuple(ran)

    orders = [order(seed) for seed in range(20)]
    assert len(set(orders)) > 10
    assert orders[:3] == [order(seed) for seed in range(3)]
