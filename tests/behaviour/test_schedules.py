"""The promise under many schedules: an outcome that a finished call has reported is visible to
every admission and every read that starts after it.

A run of plain asyncio always takes the same order. So the order in which ready tasks run is
shuffled by a seed, on asyncio here and on trio by its own scheduler; each seed is another run.
What tasks see is compared with an oracle that shares no code with the package, to which the same
facts are told directly.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import anyio
import anyio.lowlevel
import pytest
import trio.testing

from supervisor import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitStoppedError,
    Supervisor,
)
from supervisor.circuit import GivenUp, give_up
from supervisor.circuit.turn import take_turn
from supervisor.machine.messages import WaitFor
from supervisor.machine.states import CircuitState
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import Policy, fields_of
from supervisor.testing import VirtualTimeLoop, jump
from tests.proofs.policy_oracle import Admitted, Answer, Ask, PolicyOracle, Refused
from tests.support.seeds import Seeds
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
    "rate or row": {
        "window_seconds": 5.0,
        "minimum_calls": 4,
        "failure_rate": 0.9,
        "slow_call_duration": 2 * TICK,
        "failures_in_a_row": 2,
    },
    "warm-up": {"warm_up": 2.0},
    "warm-up of a rate": {
        "window_calls": 6,
        "failure_rate": 0.4,
        "minimum_calls": 2,
        "warm_up": 1.0,
    },
    "cancelled calls": {"failure_on_cancel": True},
    "results and timeouts": {"failure_on_result": "poor".__eq__, "timeout": TICK},
    "throttle": {"throttle": 1.25, "throttle_seconds": 5.0, "throttle_floor": 0.5},
    "probes": {
        "probes": 4,
        "probe_failure_rate": 0.5,
        "half_open_timeout": 3.0,
        "ramp": 5.0,
        "ramp_start": 0.25,
    },
    "probes in turn": {"probes": 3, "probe_failure_rate": 0.6, "probes_at_once": 1},
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

        # Or the order depends on addresses, unless Hypothesis has been imported, which sets it.
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
        scheduler._r.seed(seed)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(main, clock=clock)
    else:
        with asyncio.Runner(loop_factory=lambda: ShuffledLoop(seed)) as runner:
            runner.run(main())  # type: ignore[arg-type]


@dataclass
class Running:
    """A call that runs, and the policy that judges it; `overdue` if that has been told."""

    admitted: Admitted
    policy: Policy
    began: float
    overdue: bool = False

    @property
    def slow_from(self) -> float | None:
        limit = self.policy.slow_call_duration
        return None if limit is None else self.began + limit


ENDS = ("succeeded", "failed", "ignored", "cancelled")


class Specification:
    """What must be seen: an oracle of its own is told every fact the moment it happens."""

    def __init__(self, policy: Policy) -> None:
        self.oracle = PolicyOracle(policy, [])
        self.oracle.period.since = anyio.current_time()  # when the circuit is started, too
        self.asked = 0
        self.answers: dict[int, Answer] = {}
        self.policies: dict[int, Policy] = {}  # by which those who wait have been admitted
        self.running: dict[int, Running] = {}
        self.happened = -math.inf  # when something has happened of itself
        self.stopped = False
        self.given_up: GivenUp | None = None
        self.ended = 0  # of those that were admitted before it was given up
        self.asked_before = 0

    def give_up(self, then: GivenUp) -> None:
        """Let the actor be given up now: what is guarded no more is not counted, either."""
        self.catch_up()
        self.given_up, self.asked_before = then, self.asked
        for waiting in self.oracle.waiting:
            self.keep(waiting.call, self.without_actor)

    @property
    def without_actor(self) -> Answer:
        """What everybody is answered who asks a circuit that has been given up."""
        if self.given_up == "allow":
            return Admitted(-1, counted=False)
        return Refused("open", math.inf, None, "open")

    def ask(self, retry: bool, wait: float | None, wait_for: WaitFor) -> int:
        """Ask as a caller is about to, and return the number of its call."""
        self.catch_up()
        self.asked += 1
        if self.given_up is not None:
            self.keep(self.asked, self.without_actor)
            return self.asked
        retry = retry and self.oracle.policy.retry_budget is not None
        until = -math.inf if wait is None else self.oracle.now + wait
        answer = self.oracle.ask(Ask(self.asked, next_draw(), retry, until, wait_for))
        self.collect()
        if answer is not None:
            self.keep(self.asked, answer)
        return self.asked

    def spend_retry(self) -> bool:
        """Take a retry from the budget as a caller is about to; return whether there is one."""
        self.catch_up()
        if self.given_up is not None:
            has_budget = self.oracle.policy.retry_budget is not None
            return self.given_up == "allow" or not has_budget
        return self.oracle.ask_for_retry()

    def answer(self, call: int) -> Answer:
        """Return what the caller has been told, who waits no longer."""
        self.catch_up()
        assert call in self.answers, "it waits"
        return self.answers.pop(call)

    def begin(self, call: int) -> Policy:
        """Let a call begin, which must have been admitted; return the policy that judges it."""
        admitted = self.answer(call)
        assert isinstance(admitted, Admitted)
        policy = self.policies.pop(call)
        self.running[call] = Running(admitted, policy, self.oracle.now)
        return policy

    def end(self, call: int, judgement: Failure | Outcome) -> None:
        """Let a call end that counts as that."""
        self.catch_up()
        ended = self.running.pop(call)
        if self.given_up is not None:
            self.ended += ended.admitted.period >= 0
            return
        slow = ended.slow_from is not None and self.oracle.now >= ended.slow_from
        if slow and judgement is Outcome.SUCCEEDED and ended.policy.slow_call_rate is None:
            judgement = PLAIN_FAILURE
        of_kind = judgement if isinstance(judgement, Failure) else PLAIN_FAILURE
        outcome = Outcome.FAILED if isinstance(judgement, Failure) else judgement
        self.oracle.settle(call, str(outcome.value), None, of_kind, slow)
        self.collect()

    def be_cancelled(self, call: int, cancelled: int) -> None:
        """Let a caller be cancelled: in its call, or else while it waits to be admitted, or with
        an answer that it has not seen. So many are counted as cancelled by then: not the one that
        was refused at once, and would only have let others go first.
        """
        self.catch_up()
        if call in self.running:
            failed = self.running[call].policy.failure_on_cancel
            self.end(call, PLAIN_FAILURE if failed else Outcome.CANCELLED)
            return
        answer = self.answers.pop(call, None)
        self.policies.pop(call, None)
        if self.given_up is not None:
            self.ended += call <= self.asked_before
            return
        if isinstance(answer, Refused) and cancelled == self.oracle.figures["cancelled"]:
            return
        self.oracle.withdraw(call)
        self.collect()

    def tell(self, happens: Callable[[PolicyOracle], None]) -> None:
        """Let something happen to the circuit now."""
        self.catch_up()
        happens(self.oracle)
        self.collect()

    def catch_up(self) -> None:
        """Let time pass for the oracle: the actor has had its turn whenever something was due."""
        if self.given_up is not None:
            return
        now = anyio.current_time()
        while (due := self.next_due) <= now:
            self.oracle.advance(due)
            self.happened = due
            for number, call in self.becoming_slow:
                if call.slow_from == due:
                    call.overdue = True
                    limit = call.policy.slow_call_duration
                    assert limit is not None
                    self.oracle.overdue(number, limit, call.policy.slow_call_rate is None)
        self.oracle.advance(now)
        self.collect()

    @property
    def next_due(self) -> float:
        """When something happens of itself."""
        if self.given_up is not None:
            return math.inf
        slow = [call.slow_from for _, call in self.becoming_slow if call.slow_from is not None]
        return min([self.oracle.next_event, *slow])

    def has_time_for(self, seconds: float) -> bool:
        """Whether nothing happens of itself meanwhile, and no probe becomes slow."""
        now = anyio.current_time()
        limits = [call.slow_from for call in self.running.values() if call.slow_from is not None]
        quiet = not any(now <= limit <= now + seconds for limit in limits)
        return quiet and self.happened < now < self.next_due - seconds

    @property
    def becoming_slow(self) -> list[tuple[int, Running]]:
        """The calls that are told to be slow if they run for long enough, by their numbers."""
        return [
            (number, call)
            for number, call in self.running.items()
            if call.slow_from is not None
            and call.admitted.counted
            and not call.admitted.probe
            and not call.overdue
        ]

    def collect(self) -> None:
        """Take what those who waited have been answered."""
        for call, answer in self.oracle.answered:
            self.keep(call, answer)
        self.oracle.answered.clear()

    def keep(self, call: int, answer: Answer) -> None:
        self.answers[call] = answer
        self.policies[call] = self.oracle.policy

    def see(self, breaker: CircuitBreaker) -> None:
        """Compare synchronous reads."""
        self.catch_up()
        oracle, figures = self.oracle, breaker.statistics()
        if self.given_up is not None:
            in_flight = sum(call.admitted.period >= 0 for call in self.running.values())
            in_flight += sum(call <= self.asked_before for call in self.answers)
            ended = figures.succeeded + figures.failed + figures.ignored + figures.cancelled
            assert ended == self.ended + sum(oracle.figures[each] for each in ENDS)
            assert figures.in_flight == in_flight
            assert not figures.running
            assert not figures.waiting
            return
        assert breaker.state == oracle.state
        assert breaker.failure_count == oracle.failure_count
        assert breaker.retry_after == oracle.retry_after
        assert figures.would_be == oracle.would_be
        assert figures.times_opened == oracle.times_opened
        for figure in (*ENDS, "stale"):
            assert getattr(figures, figure) == oracle.figures[figure], figure
        assert figures.would_have_refused == oracle.figures["would_have_refused"]
        assert figures.waiting == len(oracle.waiting)


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
    "cancel": 8,
    "reconfigure": 1,
    "by hand": 1,
    "stop": 1,
    "give up": 0.3,
}


class Places:
    """Some circuits of one supervisor, each with what must be seen of it."""

    def __init__(self, draw: random.Random, supervisor: Supervisor, policy_name: str) -> None:
        self._draw = draw
        self._supervisor = supervisor
        self._policy_name = policy_name
        self.names = draw.choice(["x", "xy"])
        self.circuits = {name: self._started(name) for name in self.names}

    def choose(self) -> tuple[CircuitBreaker, Specification]:
        """Return one of them."""
        return self.circuits[self._draw.choice(self.names)]

    def stop_one(self) -> None:
        """Stop one; another one of its name begins from nothing."""
        name = self._draw.choice(self.names)
        _, specification = self.circuits[name]
        specification.stopped = True
        self._supervisor.stop(name)
        self.circuits[name] = self._started(name)

    def give_one_up(self) -> None:
        """Let an actor be given up that has taken all its mail."""
        breaker, specification = self.choose()
        circuit = self._supervisor.find(breaker.name)
        assert circuit is not None
        if circuit.running:
            take_turn(circuit, lambda *_: None, circuit.time())
            then = self._draw.choice(get_args(GivenUp))
            give_up(circuit, then)
            specification.give_up(then)

    def see_all(self) -> None:
        """Compare what is read of each."""
        for breaker, specification in self.circuits.values():
            specification.see(breaker)

    def has_time_for(self, seconds: float) -> bool:
        """Whether nothing happens to any of them of itself meanwhile; what is due while a loop is
        blocked has proofs of its own.
        """
        specifications = [specification for _, specification in self.circuits.values()]
        return all(each.has_time_for(seconds) for each in specifications)

    def _started(self, name: str) -> tuple[CircuitBreaker, Specification]:
        policy = draw_policy(self._draw, self._policy_name)
        return self._supervisor.circuit(name, **fields_of(policy)), Specification(policy)


async def one_history(policy_name: str, seed: int, steps: int = 12) -> int:
    """Let some workers call, fail, hang, cancel each other, reset, read and so on at random; return
    the refusals.
    """
    draw = random.Random(f"{policy_name} {seed}")
    workers, failing, looking = draw.choice([3, 6]), draw.choice([0.2, 0.6]), draw.choice([0, 1])
    refusals = 0
    calls: list[anyio.CancelScope] = []  # under way

    async def worker(places: Places) -> None:
        nonlocal refusals
        for _ in range(steps):
            await pause(3)
            if draw.random() < 0.2:
                await anyio.sleep(draw.choice([2, 8]) * TICK)
            match draw.choices(list(ACTIONS), list(ACTIONS.values()))[0]:
                case "call":
                    with anyio.CancelScope() as scope:
                        calls.append(scope)
                        refusals += not await call(*places.choose(), draw.choice(WAYS))
                    calls.remove(scope)
                case "cancel" if calls:
                    draw.choice(calls).cancel()
                case "block" if places.has_time_for(TICK):
                    jump(TICK)
                case "stop":
                    places.stop_one()
                case "give up":
                    places.give_one_up()
                case action:
                    await see_to(action, *places.choose())
            if draw.random() < looking:  # which ends what callers keep back
                places.see_all()

    async def see_to(action: str, breaker: CircuitBreaker, specification: Specification) -> None:
        match action:
            case "reset" | "reconfigure" | "by hand" if specification.given_up:
                pass
            case "reset":
                breaker.reset()
                specification.tell(PolicyOracle.reset)
            case "spend a retry":
                assert specification.spend_retry() is await may_retry(breaker)
            case "reconfigure":
                changed = draw_policy(draw, draw.choice(list(POLICIES)))
                breaker.reconfigure(**fields_of(changed))
                specification.tell(partial(PolicyOracle.reconfigure, policy=changed))
            case "by hand":
                state = draw.choice(list(BY_HAND))
                BY_HAND[state](breaker)
                specification.tell(partial(PolicyOracle.force, state=state.value))
            case _:
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

    async def call(breaker: CircuitBreaker, specification: Specification, way: str) -> bool:
        """Make a call, and return whether it was admitted."""
        wait = draw.randint(1, 12) * TICK if "waiting" in way else None
        wait_for: WaitFor = draw.choice(["closed", "verdict"])
        # Requests are answered in the order of asking.
        number = specification.ask(way == "retry", wait, wait_for)

        async def work() -> str:
            policy = specification.begin(number)
            raised = draw.random() < failing
            text = draw.choice(["down", *KINDS] if raised else ["fine", "fine", "poor", "busy"])
            await pause(4)
            if draw.random() < 0.2:
                await anyio.sleep(draw.choice([1, 2, 4, 12]) * TICK)
            has_result = way in ("call", "decorator", "retry", "waiting")
            specification.end(number, judged(policy, text, raised, has_result))
            if raised:
                raise Down(text)
            return text

        try:
            match way:
                case "call":
                    await by_call(breaker, work)
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
            assert isinstance(specification.answer(number), Refused)
            return False
        except CircuitStoppedError:
            assert specification.stopped  # while it waited
        except CallTimeoutError:
            specification.end(number, PLAIN_FAILURE)
        except Down:
            pass
        except anyio.get_cancelled_exc_class():
            specification.be_cancelled(number, breaker.statistics().cancelled)
            raise
        return True

    async with Supervisor() as supervisor:
        places = Places(draw, supervisor, policy_name)
        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(worker, places)
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
def test_what_is_seen_is_what_has_happened(backend: str, policy: str, seeds: Seeds) -> None:
    """Every read and every admission agrees with the specification, in every order tried."""
    assert refusals_in(backend, policy, seeds(SEEDS // 10)) > 0  # they are about something


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
