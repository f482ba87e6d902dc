"""Cancellation at every await of everything that waits: nothing is lost, held or left behind.

A victim counts how often it is suspended, so that it can be cancelled at its first await, at its
second, and so on until it ends before. The cancellation comes by a scope, a timeout, the failure
of a sibling or asyncio's own `Task.cancel`, some turns of the scheduler later, in every
situation that a circuit can be in. A storm does the same with many tasks at random.

The callers keep their own account, which the circuit's figures must agree with: that these add
up proves nothing by itself, since `in_flight` is what is left of the others.

All of it is done with the plainest policy, and then with others: storms with one of each sort,
and every await under one of many parts.
"""

from __future__ import annotations

import asyncio
import gc
import random
import types
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count, product
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from supervisor import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitState,
    CircuitStoppedError,
    EventStream,
    Failure,
    Outcome,
    Permit,
    Supervisor,
    app_settings,
    create_retry_decorator,
    execute_with_retry,
    with_circuit_breaker,
)
from supervisor.circuit import project, statistics_of
from supervisor.circuit.allowance import Allowance
from supervisor.circuit.askers import Asker
from supervisor.circuit.record import Circuit
from supervisor.guard.breaker import WaitingBreaker
from supervisor.testing import loop_factory
from tests.behaviour import test_schedules
from tests.support.seeds import Seeds
from tests.support.worlds import (
    BACKENDS,
    Down,
    by_block,
    by_call,
    by_decorator,
    by_permit,
    collect_garbage,
    crash,
    fail_times,
    is_refused,
    settle_down,
)


class Mistaken(Exception):
    """What some policies ignore."""


def kind_of(ended_with: object) -> Failure | Outcome | None:
    """Tell failures apart, and whose mistake they are."""
    match ended_with:
        case Down():
            return Failure("down", weight=2, threshold=4)
        case Mistaken():
            return Outcome.IGNORED
        case _:
            return None


SLOW = 0.75
"""What takes the usual second is slow, and is told to be before it has ended."""

POLICY: dict[str, Any] = {
    "failure_threshold": 2,
    "recovery_timeout": 4.0,
    "success_threshold": 1,
}
POLICY_OF_PARTS: dict[str, Any] = {
    **POLICY,
    "slow_call_duration": SLOW,
    "failure_on_result": "poor".__eq__,
    "retry_budget": 0.5,
    "retry_budget_minimum": 1,
}
STORM_POLICY: dict[str, Any] = {
    "failure_threshold": 3,
    "recovery_timeout": 1.0,
    "success_threshold": 2,
}
STORM_POLICIES: dict[str, dict[str, Any]] = {
    "rate in time": {"window_seconds": 4.0, "failure_rate": 0.4, "minimum_calls": 3},
    "rate of calls": {"window_calls": 20, "failure_rate": 0.4, "minimum_calls": 3},
    "slow calls": {"failure_threshold": 9, "window_seconds": 3.0, "slow_call_duration": SLOW},
    "rate of slow calls": {
        "window_calls": 20,
        "minimum_calls": 3,
        "failure_rate": 0.6,
        "slow_call_duration": SLOW,
        "slow_call_rate": 0.4,
    },
    "kinds and results": {
        "classify": kind_of,
        "failure_on_result": "poor".__eq__,
        "ignore": (Mistaken,),
    },
    "timeouts": {"timeout": 1.5},
    "shares": {
        "ramp": 2.0,
        "ramp_start": 0.3,
        "throttle": 1.5,
        "throttle_seconds": 5.0,
        "throttle_floor": 0.4,
    },
    "probes": {
        "probes": 4,
        "probe_failure_rate": 0.6,
        "half_open_timeout": 3.0,
        "recovery_factor": 2.0,
        "max_recovery_timeout": 3.0,
        "recovery_jitter": 0.5,
    },
    "retry budget": {"retry_budget": 0.1, "retry_budget_minimum": 1},
}
LONG = 1e6
"""Virtual seconds after which somebody hangs."""

WHOLE = "storage:work"
"""The circuit of all guards that count a call once."""

ATTEMPTS = "api:work"
"""The circuit of the guards that count every attempt."""

ROUNDS = 1
"""How often each await is tried, each time in another way."""

STORMS, CALLERS, CALLS = 6, 100, 10
SMALL_STORMS, FEW_CALLERS = 3, 40
AUDIENCES, EVENTS = 4, 30

TRACES = {
    Circuit,
    CircuitBreaker,
    EventStream,
    Permit,
    Supervisor,
    WaitingBreaker,
    Allowance,
    Asker,
}
"""What must be gone with the event loop."""

OUTCOMES = ("succeeded", "failed", "ignored", "cancelled", "rejected")


# What is called


class World:
    """One circuit, or a line of circuits of the same name, and what its callers have counted."""

    def __init__(self, supervisor: Supervisor, name: str, breaker: CircuitBreaker) -> None:
        self.supervisor = supervisor
        self.name = name
        self.breaker = breaker
        self.policy = breaker.policy
        self.limit = self.policy.probes or self.policy.success_threshold  # of probes at once
        self.circuits: list[Circuit] = []  # those that have been stopped
        self.before: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()  # how they have ended
        self.attempts: Counter[str] = Counter()
        self.calls_under_way = 0
        self.probes: Counter[int] = Counter()  # that run, by the opening they belong to
        self.most_probes = 0
        self.violations: list[str] = []

    def stop(self) -> None:
        """Stop the present circuit, if there is one; the next call starts another."""
        circuit = self.supervisor.find(self.name)
        if circuit is not None:
            self.circuits.append(circuit)
            self.supervisor.stop(self.name)

    def begin(self) -> None:
        """Count from now on."""
        self.before = self._counted()

    def counted(self) -> Counter[str]:
        """What the circuits have counted since the beginning."""
        counted = self._counted()
        counted.subtract(self.before)
        return counted

    def check_in_flight(self) -> None:
        """Compare the calls under way with those that the circuits know of, and wait for."""
        askers = sum(len(circuit.askers) for circuit in self._all_circuits())
        if askers > self.calls_under_way:
            self.violations.append(f"{self.calls_under_way} calls, but {askers} askers")
        in_flight = self.counted()["in_flight"]
        agrees = in_flight == self.calls_under_way
        if self.name == ATTEMPTS:  # a loop between two attempts is not in flight
            agrees = 0 <= in_flight <= self.calls_under_way
        if not agrees:
            self.violations.append(f"{self.calls_under_way} calls, but {in_flight} in flight")

    @contextmanager
    def probe(self) -> Iterator[None]:
        """Count a guarded function as a probe if the circuit is half-open as it starts."""
        figures = self.breaker.statistics()
        if figures.state is not CircuitState.HALF_OPEN:
            yield
            return
        opening = 1000 * len(self.circuits) + figures.times_opened
        self.probes[opening] += 1
        self.most_probes = max(self.most_probes, self.probes[opening])
        if self.probes[opening] > self.limit:
            self.violations.append(f"{self.probes[opening]} probes, where {self.limit} may run")
        try:
            yield
        finally:
            self.probes[opening] -= 1

    def verify(self) -> None:
        """Compare what the callers have seen with what the circuits have counted."""
        assert self.violations == []
        assert self.calls_under_way == 0
        counted = self.counted()
        assert counted["in_flight"] == 0
        assert counted["started"] == sum(counted[outcome] for outcome in OUTCOMES)
        ended = self._judged({outcome: counted[outcome] for outcome in OUTCOMES})
        if self.name == ATTEMPTS:
            attempts = self._judged(self.attempts)
            asking = ended["cancelled"] - attempts["cancelled"]
            assert 0 <= asking <= self.calls["cancelled"]
            for outcome in ("succeeded", "failed", "ignored"):
                assert ended[outcome] == attempts[outcome], outcome
        else:
            assert ended == self._judged(self.calls)
        for circuit in self._all_circuits():
            assert circuit.askers == {}
            assert statistics_of(circuit).waiting == 0
            probing = project(circuit).probing
            assert not circuit.running or probing is None or probing.running == {}
            if circuit.allowance is not None:
                assert circuit.allowance.running_calls.under_lease == {}
                assert circuit.allowance.running_calls.others == {}

    def _judged(self, ended: dict[str, int]) -> dict[str, int]:
        """How so many calls have ended; which of them were slow, and failures for that, the
        callers do not say.
        """
        judged = {outcome: ended[outcome] for outcome in OUTCOMES}
        if self.policy.slow_call_duration is not None and self.policy.slow_call_rate is None:
            judged["failed"] += judged.pop("succeeded")
            judged["succeeded"] = 0
        return judged

    async def verify_recovery(self) -> None:
        """The circuit opens, lets probes through after its time, and closes; twice."""
        breaker, policy = self.breaker, self.policy
        failures = 0
        for _ in range(2):
            await anyio.sleep(breaker.retry_after)
            for probes in count():
                if breaker.state is CircuitState.CLOSED:
                    break
                assert probes < self.limit
                assert not await is_refused(breaker)
            failures = await self._fail_until_open()
            assert await is_refused(breaker)
        if policy.window_calls is policy.window_seconds is policy.classify is None:
            assert failures == policy.failure_threshold

    async def _fail_until_open(self) -> int:
        """Make calls fail, and return how many did: a share may refuse some."""
        failures = 0
        for _ in range(200):
            if self.breaker.state is CircuitState.OPEN:
                return failures
            with suppress(CircuitBreakerOpenError):
                await fail_times(self.breaker, 1)
                failures += 1
        raise AssertionError("it does not open")

    def _all_circuits(self) -> list[Circuit]:
        present = self.supervisor.find(self.name)
        return self.circuits if present is None else [*self.circuits, present]

    def _counted(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        for circuit in self._all_circuits():
            figures = statistics_of(circuit)
            for name in ("started", "in_flight", *OUTCOMES):
                counted[name] += getattr(figures, name)
        return counted


class Call:
    """One guarded call, and each attempt of it.

    Behaviours: "fine"; "flaky" fails at its first attempt; "stubborn" fails, and "deaf"
    succeeds, when it is cancelled; "brisk" and "long" take other times; "poor" returns what some
    policies take for a failure, "mistaken" raises what some ignore.
    """

    def __init__(self, world: World, guard: str, behaviour: str) -> None:
        self.world = world
        self.guard = guard
        self.behaviour = behaviour
        self.attempts = 0
        self.error: Down | None = None  # raised last
        self._probe = ExitStack()
        self._under_way = True

    async def run(self) -> None:
        """Call, and count what the caller sees; only a cancellation goes on."""
        self.world.calls_under_way += 1
        outcome = "cancelled"
        try:
            with self._probe:
                returned = await GUARDS[self.guard](self)
            outcome = self._judged(returned)
        except Down as error:
            assert error is self.error
            outcome = "failed"
        except CallTimeoutError:
            outcome = "failed"
        except Mistaken:
            outcome = self._of_mistakes
        except (CircuitBreakerOpenError, CircuitStoppedError, CircuitCrashedError):
            outcome = "failed" if self.attempts else "rejected"  # as the last attempt, or at once
        finally:
            self._end(outcome)

    async def stand_in(self, error: Exception) -> str:
        """Take the place of a result; the call has ended."""
        self._probe.close()
        self._end("rejected" if isinstance(error, CircuitBreakerOpenError) else "failed")
        await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.5)
        return "fine"

    def _end(self, outcome: str) -> None:
        if self._under_way:
            self._under_way = False
            self.world.calls_under_way -= 1
            self.world.calls[outcome] += 1
            self.world.check_in_flight()

    def _judged(self, returned: str) -> str:
        assert returned == ("poor" if self.behaviour == "poor" and self._under_way else "fine")
        judge = None if self.guard in WITHOUT_RESULT else self.world.policy.failure_on_result
        return "failed" if judge is not None and judge(returned) else "succeeded"

    @property
    def _of_mistakes(self) -> str:
        return "ignored" if self.world.policy.ignore else "failed"

    async def work(self) -> str:
        """What is guarded."""
        self.attempts += 1
        outcome = "cancelled"
        try:
            if self.world.name == ATTEMPTS:
                with self.world.probe():
                    returned = await self._work()
            else:
                if self.attempts == 1:  # the whole loop is the probe
                    self._probe.enter_context(self.world.probe())
                returned = await self._work()
            outcome = self._judged(returned)
        except Down:
            outcome = "failed"
            raise
        except Mistaken:
            outcome = self._of_mistakes
            raise
        finally:
            self.world.attempts[outcome] += 1
        return returned

    async def _work(self) -> str:
        try:
            await anyio.lowlevel.checkpoint()
            await anyio.sleep(SECONDS.get(self.behaviour, 1))
        except anyio.get_cancelled_exc_class():
            if self.behaviour == "stubborn":
                self._fail()
            if self.behaviour != "deaf":
                raise
        if self.behaviour == "flaky" and self.attempts == 1:
            self._fail()
        if self.behaviour == "mistaken":
            raise Mistaken
        return "poor" if self.behaviour == "poor" else "fine"

    def _fail(self) -> None:
        self.error = Down(f"attempt {self.attempts}")
        raise self.error from None


async def by_name(call: Call) -> str:
    return await with_circuit_breaker(WHOLE)(call.work)()


async def by_loop(call: Call) -> str:
    return await create_retry_decorator("storage", 3, 1, 8, use_jitter=False)(call.work)()


async def by_execution(call: Call) -> str:
    return await execute_with_retry(call.work, min_wait=1, max_wait=1, operation_name=WHOLE)


async def by_attempts(call: Call) -> str:
    return await create_retry_decorator("api", 3, 1, 8, False, guard="attempt")(call.work)()


async def by_patient_attempts(call: Call) -> str:
    decorator = create_retry_decorator(
        "api", 3, 1, 8, use_jitter=False, guard="attempt", wait_for_recovery=True
    )
    return await decorator(call.work)()


async def by_waiting_permit(call: Call) -> str:
    with await call.world.breaker.acquire(wait=2.5, wait_for="verdict"):
        return await call.work()


GUARDS: dict[str, Callable[[Call], Awaitable[str]]] = {
    "call": lambda call: by_call(call.world.breaker, call.work),
    "block": lambda call: by_block(call.world.breaker, call.work),
    "decorator": lambda call: by_decorator(call.world.breaker, call.work),
    "permit": lambda call: by_permit(call.world.breaker, call.work),
    "by name": by_name,
    "loop": by_loop,
    "execute_with_retry": by_execution,
    "attempts": by_attempts,
    "patient attempts": by_patient_attempts,
    "retry": lambda call: call.world.breaker.retry(call.work),
    "waiting": lambda call: call.world.breaker.waiting(3.5).call(call.work),
    "waiting permit": by_waiting_permit,
    "fallback": lambda call: call.world.breaker.call(call.work, fallback=call.stand_in),
}
WITHOUT_RESULT = ("block", "permit", "waiting permit")
BEHAVIOURS = ["fine", "flaky", "stubborn", "deaf"]
MORE_BEHAVIOURS = [*BEHAVIOURS, "brisk", "long", "poor", "mistaken"]
SECONDS = {"brisk": 0.25, "long": 2}


def circuit_of(guard: str) -> str:
    return ATTEMPTS if guard.endswith("attempts") else WHOLE


# How it is cancelled


class Struck(Exception):
    """What a sibling dies of."""


class Victim:
    """Something that is to be cancelled `ticks` after its await of this number, 1 for the first.

    With -1 ticks that happens before it is suspended, by what it has called itself.
    """

    def __init__(self, run: Callable[[], Awaitable[None]], await_number: int, ticks: int) -> None:
        self.run = run
        self.await_number = await_number
        self.ticks = ticks
        self.cancel: Callable[[], object] | None = None
        self.awaits = 0
        self.age = 0.0
        self.struck = self.over = False
        self.cancellation: BaseException | None = None  # that ended it
        self._reached = anyio.Event()

    async def live(self) -> None:
        """Run, and note how and when it ends."""
        born = anyio.current_time()
        try:
            await self._run()
        except anyio.get_cancelled_exc_class() as error:
            self.cancellation = error
            raise
        finally:
            self.over = True
            self.age = anyio.current_time() - born
            self._reached.set()

    @property
    def cancelled(self) -> bool:
        """Whether a cancellation ended it."""
        return self.cancellation is not None

    async def is_to_be_cancelled(self) -> bool:
        """Wait for the moment; False if it has ended before, or has been cancelled."""
        await self._reached.wait()
        for _ in range(self.ticks):
            await anyio.lowlevel.checkpoint()
        if self.over or self.struck:
            return False
        self.struck = True
        return True

    async def cancel_in_time(self, cancel: Callable[[], object]) -> None:
        """Cancel it from outside at the moment."""
        if await self.is_to_be_cancelled():
            cancel()

    @types.coroutine
    def _run(self) -> Generator[Any, Any, None]:
        inner = self.run().__await__()
        step: Callable[[], Any] = partial(next, inner)
        while True:
            try:
                wish = step()
            except StopIteration:
                return
            self.awaits += 1
            if self.awaits == self.await_number:
                self._at_the_await()
            try:
                step = partial(inner.send, (yield wish))
            except BaseException as error:
                step = partial(inner.throw, error)

    def _at_the_await(self) -> None:
        self._reached.set()
        if self.ticks < 0 and self.cancel is not None:
            self.struck = True
            self.cancel()


async def by_scope(victim: Victim) -> None:
    """By the scope round it."""
    scope = anyio.CancelScope()
    victim.cancel = scope.cancel
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(victim.cancel_in_time, scope.cancel)
        with scope:
            await victim.live()
    assert scope.cancelled_caught == victim.cancelled


async def by_deadline(victim: Victim) -> None:
    """By a deadline that has come."""
    scope = anyio.CancelScope()

    def cancel() -> None:
        scope.deadline = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(victim.cancel_in_time, cancel)
        with scope:
            await victim.live()
    assert scope.cancelled_caught == victim.cancelled


async def by_sibling(victim: Victim) -> None:
    """By a task group, one of whose tasks fails."""

    async def sibling() -> None:
        if await victim.is_to_be_cancelled():
            raise Struck

    errors: tuple[Exception, ...] = ()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(victim.live)
            tasks.start_soon(sibling)
    except ExceptionGroup as group:
        errors = group.exceptions
    assert [type(error) for error in errors] == [Struck] * victim.struck


async def by_task(victim: Victim) -> None:
    """By `Task.cancel`, which cancels once, where a scope cancels at every await."""
    task = asyncio.ensure_future(victim.live())
    victim.cancel = partial(task.cancel, "that one")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(victim.cancel_in_time, victim.cancel)
        await asyncio.wait({task})
    if victim.cancellation is not None:
        # The timeout of a policy may come at the same time.
        assert victim.cancellation.args == ("that one",) or "deadline" in str(victim.cancellation)
    else:
        task.result()


WAYS = {
    "asyncio": [by_scope, by_sibling, by_deadline, by_task],
    "uvloop": [by_scope, by_sibling, by_deadline, by_task],
    "trio": [by_scope, by_sibling, by_deadline],
}


async def by_timeout(victim: Victim, seconds: float) -> None:
    """By `move_on_after` or `fail_after`."""
    start = anyio.current_time()
    timed_out = False
    try:
        with anyio.fail_after(seconds) if seconds % 1 else anyio.move_on_after(seconds) as scope:
            await victim.live()
    except TimeoutError:
        timed_out = True
    assert scope.cancelled_caught == victim.cancelled
    assert timed_out == bool(victim.cancelled and seconds % 1)
    assert anyio.current_time() <= start + seconds
    victim.struck = victim.cancelled


# In which situation


Situation = Callable[[World, TaskGroup], Awaitable[None]]


async def be_new(world: World, tasks: TaskGroup) -> None:
    """The actor has not had its first turn."""


async def be_closed(world: World, tasks: TaskGroup) -> None:
    """Everybody is admitted at once."""
    await settle_down()


async def be_undecided(world: World, tasks: TaskGroup) -> None:
    """Nobody is admitted before the actor's next turn."""
    await settle_down()
    world.breaker.reset()


async def be_crashing(world: World, tasks: TaskGroup) -> None:
    """The actor crashes before it comes to the next request."""
    await be_undecided(world, tasks)
    crash(world.supervisor, world.name)


async def be_opening(world: World, tasks: TaskGroup) -> None:
    """The actor has yet to refuse."""
    await fail_times(world.breaker, world.breaker.failure_threshold)
    world.begin()


async def be_open(world: World, tasks: TaskGroup) -> None:
    """Everybody is refused at once."""
    await be_opening(world, tasks)
    await settle_down()


async def be_due(world: World, tasks: TaskGroup) -> None:
    """The time has come this moment; the actor may or may not have noticed."""
    await be_opening(world, tasks)
    await anyio.sleep(world.breaker.recovery_timeout)


async def be_half_open(world: World, tasks: TaskGroup) -> None:
    """The next one is the probe."""
    await be_due(world, tasks)
    await settle_down()


def be_probed(outcome: str, settle: Callable[[Permit], None]) -> Situation:
    """Another caller's probe is running, and will end like that after 3 seconds."""

    async def situation(world: World, tasks: TaskGroup) -> None:
        await be_due(world, tasks)
        permit = await world.breaker.acquire()
        world.calls_under_way += 1

        async def end() -> None:
            await anyio.sleep(3)
            settle(permit)
            world.calls_under_way -= 1
            world.calls[outcome] += 1
            world.attempts[outcome] += 1

        tasks.start_soon(end)

    return situation


SITUATIONS: list[Situation] = [
    be_new,
    be_closed,
    be_undecided,
    be_crashing,
    be_opening,
    be_open,
    be_due,
    be_half_open,
    be_probed("succeeded", Permit.succeed),
    be_probed("failed", Permit.fail),
    be_probed("ignored", Permit.ignore),
]


# The proofs


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """See that all circuits, and whatever belongs to them, are gone with their event loops."""
    gc.freeze()  # looks at what the test makes, and at nothing older
    yield
    collect_garbage()
    left = [thing for thing in gc.get_objects() if type(thing) in TRACES]
    gc.unfreeze()
    assert left == []


def run(backend: str, seed: int, main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` in virtual time, in an order drawn by the seed where the backend lets one."""

    async def in_time() -> None:
        tasks = len(anyio.get_running_tasks())
        with anyio.fail_after(LONG):
            await main()
        await settle_down()
        assert len(anyio.get_running_tasks()) == tasks

    if backend == "uvloop":
        with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
            runner.run(in_time())
    else:
        test_schedules.run(backend, seed, in_time)


async def one_case(
    supervisor: Supervisor,
    policy: dict[str, Any],
    situation: Situation,
    guard: str,
    behaviour: str,
    cancelled: Callable[[Victim], Awaitable[None]],
    await_number: int = 0,
    ticks: int = 0,
) -> Victim:
    """Cancel one call in a new circuit, and check everything."""
    name = circuit_of(guard)
    if name in supervisor:
        supervisor.stop(name)
    world = World(supervisor, name, supervisor.circuit(name, **policy))
    victim = Victim(Call(world, guard, behaviour).run, await_number, ticks)
    async with anyio.create_task_group() as tasks:
        await situation(world, tasks)
        await cancelled(victim)
    world.verify()
    await world.verify_recovery()
    return victim


CASES = {guard: (POLICY, guard) for guard in GUARDS} | {
    f"{guard}, many parts": (POLICY_OF_PARTS, guard)
    for guard in ("call", "loop", "retry", "waiting", "waiting permit")
}


@pytest.mark.usefixtures("enabled", "seeded")
@pytest.mark.parametrize(("policy", "guard"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_await(
    backend: str, policy: dict[str, Any], guard: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """Cancelled at whatever await, in whatever situation, a call leaves the circuit sound."""
    cancellations = 0

    async def main(draw: random.Random) -> None:
        nonlocal cancellations
        async with Supervisor(max_restarts=1000) as supervisor:
            for situation, behaviour in product(SITUATIONS, BEHAVIOURS):
                for await_number in count(1):
                    way, ticks = draw.choice(WAYS[backend]), draw.randrange(-1, 3)
                    victim = await one_case(
                        supervisor, policy, situation, guard, behaviour, way, await_number, ticks
                    )
                    cancellations += victim.struck
                    if victim.awaits < await_number:
                        break

    for seed in seeds(ROUNDS):
        run(backend, seed, partial(main, random.Random(seed)))
    figures[f"cancellations at each await, {backend}"] += cancellations
    assert cancellations > 30


@pytest.mark.usefixtures("enabled", "seeded")
@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_timeout(backend: str, guard: str, seeds: Seeds, figures: Counter[str]) -> None:
    """A timeout at every half second, also at the very moment at which something else happens."""
    cancellations = 0

    async def main() -> None:
        nonlocal cancellations
        async with Supervisor(max_restarts=1000) as supervisor:
            for situation, behaviour in product(SITUATIONS, BEHAVIOURS):
                for halves in count():
                    timeout = partial(by_timeout, seconds=halves / 2)
                    victim = await one_case(
                        supervisor, POLICY, situation, guard, behaviour, timeout
                    )
                    cancellations += victim.struck
                    if victim.age < halves / 2:
                        break

    for seed in seeds(1):
        run(backend, seed, main)
    figures[f"cancellations by timeouts, {backend}"] += cancellations
    assert cancellations > 30


async def one_storm(
    policy: dict[str, Any], callers: int, draw: random.Random, backend: str
) -> Counter[str]:
    """Let many callers be cancelled at random while circuits are reset, stopped and crash."""
    ended = 0
    cancellations = 0
    behaviours = BEHAVIOURS if policy is STORM_POLICY else MORE_BEHAVIOURS

    async def caller(worlds: list[World]) -> None:
        nonlocal ended, cancellations
        for _ in range(CALLS):
            world = draw.choice(worlds)
            guard = draw.choice([guard for guard in GUARDS if circuit_of(guard) == world.name])
            call = Call(world, guard, draw.choice(behaviours))
            victim = Victim(call.run, draw.randrange(1, 4), draw.randrange(-1, 4))
            if draw.random() < 0.2:
                await by_timeout(victim, draw.randrange(8) / 4)
            else:
                await draw.choice(WAYS[backend])(victim)
            cancellations += victim.struck
            await anyio.sleep(draw.randrange(4) / 4)
        ended += 1

    async def trouble(worlds: list[World]) -> None:
        while ended < callers:
            await anyio.sleep(draw.randrange(1, 8) / 8)
            world = draw.choice(worlds)
            event = draw.choices(["reset", "crash", "stop"], [2, 2, 1])[0]
            if world.name not in world.supervisor:
                continue
            if event == "reset":
                world.breaker.reset()
            elif event == "crash":
                crash(world.supervisor, world.name)
            else:
                world.stop()

    async with Supervisor(max_restarts=100_000) as supervisor:
        # An attempt does not know whether it was its policy's timeout that has cancelled it.
        names = [WHOLE] if "timeout" in policy else [WHOLE, ATTEMPTS]
        worlds = [World(supervisor, name, CircuitBreaker(name, **policy)) for name in names]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trouble, worlds)
            for _ in range(callers):
                tasks.start_soon(caller, worlds)
        seen: Counter[str] = Counter(cancellations=cancellations)
        for world in worlds:
            world.verify()
            seen += world.calls
            seen["times when all places were taken"] += world.most_probes == world.limit
            await world.verify_recovery()
    return seen


@pytest.mark.usefixtures("enabled", "seeded")
@pytest.mark.parametrize("backend", BACKENDS)
def test_storm(backend: str, seeds: Seeds, figures: Counter[str]) -> None:
    """Many tasks at once, in many orders: the probes stay within their limit, no call is lost
    and none hangs.
    """
    seen = storms(backend, STORM_POLICY, seeds(STORMS), CALLERS)
    figures[f"cancellations in storms, {backend}"] += seen["cancellations"]
    for outcome in ("succeeded", "failed", "cancelled", "rejected"):
        assert seen[outcome] > seen["cancellations"] / 50  # the storms are about something
    assert seen["times when all places were taken"] > STORMS * seeds.effort / 2


@pytest.mark.usefixtures("enabled", "seeded")
@pytest.mark.parametrize("policy", STORM_POLICIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_storms_of_all_sorts(
    backend: str, policy: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """The same with windows and rates, slow calls, kinds and so on."""
    fields = {**STORM_POLICY, "failure_threshold": 2, **STORM_POLICIES[policy]}
    seen = storms(backend, fields, seeds(SMALL_STORMS), FEW_CALLERS)
    figures[f"cancellations in storms, {backend}"] += seen["cancellations"]
    for outcome in ("succeeded", "failed", "cancelled", "rejected"):
        assert seen[outcome] > 5, outcome
    assert (seen["ignored"] > 0) is ("ignore" in fields)


def storms(
    backend: str, policy: dict[str, Any], seeds: Iterable[int], callers: int
) -> Counter[str]:
    """Let there be a storm for each seed, and return how calls have ended."""
    for field, value in policy.items():
        setattr(app_settings.circuit_breaker, field, value)
    seen: Counter[str] = Counter()

    async def main(seed: int) -> None:
        nonlocal seen
        seen += await one_storm(policy, callers, random.Random(seed), backend)

    for seed in seeds:
        run(backend, seed, partial(main, seed))
    return seen


async def one_audience(draw: random.Random, backend: str) -> int:
    """Cancel listeners again and again, at a common stream and in blocks of their own."""
    cancellations = 0
    streams: list[EventStream] = []
    heard: list[int] = []

    async def listen(stream: EventStream, heard: list[int]) -> None:
        async for event in stream:
            heard.append(event.sequence)
            for _ in range(draw.randrange(2)):
                await anyio.lowlevel.checkpoint()

    async def listen_to_own(supervisor: Supervisor) -> None:
        heard_here: list[int] = []
        own = supervisor.events()
        streams.append(own)
        if streams[0].closed:
            own.close()
        try:
            async with own:
                await listen(own, heard_here)
        finally:
            assert own.closed
            first = heard_here[0] if heard_here else 0
            assert heard_here == list(range(first, first + len(heard_here)))

    async def be_cancelled(run: Callable[[], Awaitable[None]]) -> None:
        nonlocal cancellations
        while not streams[0].closed:
            victim = Victim(run, draw.randrange(1, 4), draw.randrange(-1, 4))
            await draw.choice(WAYS[backend])(victim)
            cancellations += victim.struck

    async def make_events(supervisor: Supervisor) -> None:
        for number in range(EVENTS):
            supervisor.circuit(str(number))
            for _ in range(draw.randrange(8)):
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(draw.randrange(2))
        for stream in streams:
            stream.close()

    async with Supervisor() as supervisor:
        before = len([*supervisor._publisher._streams])
        streams.append(supervisor.events())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make_events, supervisor)
            tasks.start_soon(be_cancelled, partial(listen, streams[0], heard))
            tasks.start_soon(be_cancelled, partial(listen_to_own, supervisor))
        await listen(streams[0], heard)
        assert heard == list(range(1, EVENTS + 1))
        assert all(stream.closed for stream in streams)
        streams.clear()
        collect_garbage()
        assert len([*supervisor._publisher._streams]) == before
    return cancellations


@pytest.mark.parametrize("backend", BACKENDS)
def test_listeners(backend: str, seeds: Seeds, figures: Counter[str]) -> None:
    """A cancelled listener has taken what it has heard, and nothing else; the next one goes on
    from there. The stream of a block that was cancelled is closed, and forgotten.
    """
    cancellations = 0

    async def main(seed: int) -> None:
        nonlocal cancellations
        cancellations += await one_audience(random.Random(seed), backend)

    for seed in seeds(AUDIENCES):
        run(backend, seed, partial(main, seed))
    figures[f"cancellations of listeners, {backend}"] += cancellations
    assert cancellations > AUDIENCES * EVENTS / 4
