"""The actor's turn: what it applies, answers and publishes, and what a crash leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from supervisor.circuit import (
    admit_at_once,
    ask,
    fail,
    force,
    project,
    statistics_of,
    stop,
    succeed,
)
from supervisor.circuit.actor import Mend, catch_up, pause, run_actor
from supervisor.circuit.asking import ANSWERED_AT_ONCE
from supervisor.circuit.record import AT_REST, Circuit
from supervisor.circuit.turn import take_turn, take_turn_at_once
from supervisor.errors import CircuitBreakerOpenError, CircuitCrashedError
from supervisor.loop.event_loop import EventLoop
from supervisor.machine.machine import Machine
from supervisor.machine.messages import Acquire, Grant, Message, Refusal, Reset, Transition
from supervisor.machine.states import CircuitState
from supervisor.policy.policy import Policy
from supervisor.testing import jump
from tests.support.worlds import poison, settle_down

pytestmark = pytest.mark.anyio


class Fragile(Machine):
    """A machine that breaks, half-way through, on the n-th request to be admitted."""

    def __init__(self, policy: Policy, requests: int) -> None:
        super().__init__(policy)
        self.requests = [requests]  # shared by copies, since each turn makes one

    def apply(self, message: Message) -> Grant | Refusal | None:
        if isinstance(message, Acquire):
            self.requests[0] -= 1
            if self.requests[0] == 0:
                self.trip.fail(at=0.0)
                raise ZeroDivisionError
        return super().apply(message)


POISON = 1_000.0


class Poisoned(Machine):
    """A machine that breaks, half-way through, on requests of one deadline."""

    def apply(self, message: Message) -> Grant | Refusal | None:
        if isinstance(message, Acquire) and message.deadline == POISON:
            self.trip.fail(at=0.0)
            raise ZeroDivisionError
        return super().apply(message)


def emit_to(seen: list[Transition]) -> Callable[[Circuit, Transition], None]:
    return lambda _, transition: seen.append(transition)


def end_with(_: Circuit, crash: BaseException) -> None:
    """Let an actor end with what has crashed it."""
    raise crash


def new_circuit(**policy: float) -> Circuit:
    return Circuit("x", Policy(**policy), EventLoop.here())  # type: ignore[arg-type]


async def test_a_turn_publishes_what_the_messages_came_to() -> None:
    """After a turn the mailbox is empty and the lease is the machine's."""
    circuit = new_circuit(failure_threshold=2)
    seen: list[Transition] = []
    take_turn(circuit, emit_to(seen), 0.0)
    assert circuit.headroom == 2
    for _ in range(2):
        fail(circuit, admit_at_once(circuit) or await ask(circuit))
    assert (circuit.headroom, seen) == (0, [])
    take_turn(circuit, emit_to(seen), 0.0)
    assert circuit.mailbox.messages == []
    assert circuit.lease.state is CircuitState.OPEN
    assert [transition.to_state for transition in seen] == [CircuitState.OPEN]


async def test_the_asker_of_a_poisonous_request_gets_an_error() -> None:
    """It gets the crash as the cause; askers before and after it are answered as usual."""
    circuit = new_circuit()
    circuit.machine = Fragile(circuit.policy, requests=2)
    answers: list[object] = []

    async def ask_for_one() -> None:
        try:
            answers.append(admit_at_once(circuit) or await ask(circuit))
        except CircuitCrashedError as error:
            answers.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask_for_one)
        await settle_down()
        with pytest.raises(ZeroDivisionError):
            take_turn(circuit, print, anyio.current_time())
        assert circuit.machine.failure_count == 0
        assert len(circuit.mailbox.messages) == 1
        take_turn(circuit, print, anyio.current_time())
    errors = [answer for answer in answers if isinstance(answer, CircuitCrashedError)]
    assert [str(error) for error in errors] == ["the actor of circuit 'x' crashed on this request"]
    assert len(errors) == 1
    assert isinstance(errors[0].__cause__, ZeroDivisionError)
    assert answers.count(circuit.grant) == 2
    assert (circuit.started, circuit.rejected) == (3, 1)


async def test_transitions_before_a_crash_are_told_once() -> None:
    """What was applied before the poison is kept, and its events are not told again."""
    circuit = new_circuit(failure_threshold=1)
    seen: list[Transition] = []
    take_turn(circuit, emit_to(seen), 0.0)
    fail(circuit, admit_at_once(circuit) or await ask(circuit))
    poison(circuit)
    with pytest.raises(AssertionError):
        take_turn(circuit, emit_to(seen), 0.0)
    take_turn(circuit, emit_to(seen), 0.0)
    assert [transition.to_state for transition in seen] == [CircuitState.OPEN]


async def test_the_lease_stays_valid_through_a_crash() -> None:
    """Reports that wait behind the poison are allowed for by the lease that stays."""
    circuit = new_circuit(failure_threshold=3)
    take_turn(circuit, print, 0.0)
    grants = [admit_at_once(circuit) or await ask(circuit) for _ in range(3)]
    poison(circuit)
    for grant in grants:
        fail(circuit, grant)
    with pytest.raises(AssertionError):
        take_turn(circuit, print, 0.0)
    assert circuit.headroom == 0
    take_turn(circuit, print, anyio.current_time())
    with pytest.raises(CircuitBreakerOpenError):
        admit_at_once(circuit) or await ask(circuit)


async def test_catching_up_takes_everything() -> None:
    """However many messages are poisonous, all others are applied."""
    circuit = new_circuit(failure_threshold=9)
    take_turn(circuit, print, 0.0)
    for _ in range(3):
        poison(circuit)
        fail(circuit, admit_at_once(circuit) or await ask(circuit))
    catch_up(circuit, print)
    assert (circuit.machine.failure_count, circuit.mailbox.messages) == (3, [])


async def test_catching_up_lets_time_pass_and_tells_what_has_changed() -> None:
    """Up to now; the failure that is still in the mailbox opens the circuit, and time ends that."""
    circuit = new_circuit(failure_threshold=1, recovery_timeout=1)
    seen: list[Transition] = []
    take_turn(circuit, emit_to(seen), anyio.current_time())
    opened_at = anyio.current_time()
    fail(circuit, admit_at_once(circuit) or await ask(circuit))
    await anyio.sleep(2)
    catch_up(circuit, emit_to(seen))
    assert [(each.to_state, each.at) for each in seen] == [
        (CircuitState.OPEN, opened_at),
        (CircuitState.HALF_OPEN, opened_at + 1),
    ]


def test_catching_up_where_no_event_loop_runs() -> None:
    """No time passes but that of the messages."""

    async def main() -> Circuit:
        circuit = new_circuit(failure_threshold=1)
        take_turn(circuit, print, anyio.current_time())
        fail(circuit, admit_at_once(circuit) or await ask(circuit))
        return circuit

    circuit = anyio.run(main)
    catch_up(circuit, print)
    assert circuit.machine.state is CircuitState.OPEN
    assert circuit.machine.latest == circuit.machine.since


class Counting(Machine):
    """A machine that counts its actor's turns."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.turns: list[float] = []  # shared by copies

    def advance(self, now: float) -> None:
        self.turns.append(now)
        super().advance(now)


async def test_an_idle_actor_takes_no_turns() -> None:
    """Successes alone wake nobody: a healthy circuit's actor sleeps."""
    circuit = new_circuit()
    circuit.machine = machine = Counting(circuit.policy)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_actor, circuit, print, end_with)
        await settle_down()
        for _ in range(10_000):
            succeed(circuit, admit_at_once(circuit) or await ask(circuit))
        await anyio.sleep(86_400)
        assert machine.turns == []  # not even a first one: its lease is that of all new circuits
        assert statistics_of(circuit).succeeded == 10_000
        stop(circuit)


@pytest.mark.parametrize("state", ["open", "half_open", "forced_open"])
async def test_who_would_only_wait_wakes_nobody(state: str) -> None:
    """Thousands may come while nothing can be said yet: the actor looks at some together."""
    circuit = new_circuit(failure_threshold=1, recovery_timeout=50.0)
    circuit.machine = machine = Counting(circuit.policy)
    admitted: list[float] = []

    async def wait_in_line() -> None:
        ticket = await ask(circuit, wait_until=anyio.current_time() + 100.0)
        admitted.append(anyio.current_time())
        await anyio.sleep(1)
        succeed(circuit, ticket)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_actor, circuit, print, end_with)
        await settle_down()
        fail(circuit, admit_at_once(circuit) or await ask(circuit))
        if state == "forced_open":
            force(circuit, CircuitState.FORCED_OPEN)
        await anyio.sleep(50 if state == "half_open" else 1)
        if state != "open":
            tasks.start_soon(wait_in_line)  # the probe, or the first of those who wait
        await settle_down()
        before = len(machine.turns)
        for _ in range(AT_REST):
            tasks.start_soon(wait_in_line)
        await settle_down()
        assert len(machine.turns) == before
        assert statistics_of(circuit).waiting == AT_REST + (state == "forced_open")
        tasks.start_soon(wait_in_line)
        await settle_down()
        assert len(machine.turns) == before + 1
        if state == "forced_open":
            force(circuit, CircuitState.CLOSED)
        await anyio.sleep(55)
        others = {"open": 51.0, "half_open": 51.0, "forced_open": 1.0}[state]
        first = [] if state == "forced_open" else [50.0]
        assert admitted == first + [others] * (AT_REST + 2 - len(first) - (state == "open"))
        stop(circuit)


@pytest.mark.parametrize(
    ("seconds", "wait_for"), [(5.0, "closed"), (100.0, "verdict")], ids=["too short", "a verdict"]
)
async def test_who_would_not_only_wait_is_answered_in_time(seconds: float, wait_for: Any) -> None:
    """Some are to be refused before anything else happens, or at once."""
    circuit = new_circuit(failure_threshold=1, recovery_timeout=50.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_actor, circuit, print, end_with)
        await settle_down()
        fail(circuit, admit_at_once(circuit) or await ask(circuit))
        await settle_down()
        with pytest.raises(CircuitBreakerOpenError):
            await ask(circuit, wait_until=anyio.current_time() + seconds, wait_for=wait_for)
        assert anyio.current_time() == (5.0 if wait_for == "closed" else 0.0)
        stop(circuit)


def asks_each_time() -> Circuit:
    """A circuit that has closed a short while ago, and is about to run."""
    circuit = new_circuit(failure_threshold=1, recovery_timeout=1.0, ramp=10.0, ramp_start=1.0)
    force(circuit, CircuitState.HALF_OPEN)
    return circuit


@asynccontextmanager
async def running(circuit: Circuit, mend: Mend = end_with) -> AsyncIterator[TaskGroup]:
    """Let its actor run for as long as the block lasts."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_actor, circuit, print, mend)
        await settle_down()
        yield tasks
        stop(circuit)


async def test_an_ask_is_answered_at_once() -> None:
    """A turn is taken for it: nobody else has one meanwhile, and the actor hears of its end."""
    circuit, others = asks_each_time(), []

    async def other() -> None:
        others.append("has had a turn")

    async with running(circuit) as tasks:
        tasks.start_soon(other)
        ticket = await ask(circuit)
        assert isinstance(ticket, Grant)
        assert ticket.probe
        assert (others, circuit.askers, circuit.mailbox.messages) == ([], {}, [])
        await settle_down()
        assert others
        await anyio.sleep(60.5)  # the actor knows when a probe has run for too long
        assert circuit.machine.state is CircuitState.OPEN


async def test_not_every_ask_is_answered_at_once() -> None:
    """A caller that asks again and again leaves others their turns."""
    circuit, turns = asks_each_time(), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with running(circuit) as tasks:
        succeed(circuit, await ask(circuit))
        tasks.start_soon(other)
        for _ in range(10 * ANSWERED_AT_ONCE):
            succeed(circuit, await ask(circuit))
        assert 10 <= turns < 100
        tasks.cancel_scope.cancel()


async def test_a_probe_that_decides_nothing_wakes_nobody() -> None:
    """Unless somebody waits for its place; whoever asks next has it, and the last one closes."""
    circuit = new_circuit(failure_threshold=1, success_threshold=4, probes=1)
    circuit.machine = machine = Counting(circuit.policy)
    force(circuit, CircuitState.HALF_OPEN)
    async with running(circuit):
        for succeeded in range(3):
            probe = await ask(circuit)
            await settle_down()
            turns = len(machine.turns)
            succeed(circuit, probe)
            await settle_down()
            assert len(machine.turns) == turns
            assert project(circuit).succeeded == succeeded + 1
        probe = await ask(circuit)
        succeed(circuit, probe)
        await settle_down()
        assert circuit.lease.state is CircuitState.CLOSED


async def test_what_is_due_is_left_to_the_actor() -> None:
    """A probe may have ended while the event loop stood still, and have had no turn to say so."""
    circuit = new_circuit(failure_threshold=1, success_threshold=3, probe_timeout=5.0)
    force(circuit, CircuitState.HALF_OPEN)
    others: list[str] = []

    async def end_probe() -> None:
        others.append("has had a turn")
        succeed(circuit, probe)

    async with running(circuit) as tasks:
        probe = await ask(circuit)
        await settle_down()
        jump(7.0)
        tasks.start_soon(end_probe)
        succeed(circuit, await ask(circuit))
        assert others
        await settle_down()
        machine = project(circuit)
        assert (machine.failed, machine.succeeded) == (0, 2)


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_crash_at_once_is_the_actors(pauses: bool) -> None:
    """It meets the message itself: whoever has put it is told, and a pause is one for all."""
    circuit, crashes = asks_each_time(), list[BaseException]()
    circuit.machine = Poisoned(circuit.policy)
    force(circuit, CircuitState.HALF_OPEN)

    def mend(circuit: Circuit, crash: BaseException) -> None:
        crashes.append(crash)
        if pauses:
            pause(circuit, anyio.current_time() + 5.0)

    async with running(circuit, mend):
        succeed(circuit, await ask(circuit))
        with pytest.raises(CircuitCrashedError):
            await ask(circuit, deadline=POISON)
        assert [type(crash) for crash in crashes] == [ZeroDivisionError]
        if pauses:
            with pytest.raises(CircuitBreakerOpenError) as refused:
                await ask(circuit)
            assert refused.value.reason == "restarting"
            ticket = await ask(circuit, wait_until=anyio.current_time() + 10.0)
            assert anyio.current_time() == 5.0
            succeed(circuit, ticket)
        assert isinstance(await ask(circuit), Grant)
        assert len(crashes) == 1


async def test_a_poison_of_somebody_elses_is_not_the_askers() -> None:
    """The turn that an asker takes meets what another one has put: it is the actor that crashes."""
    circuit, crashes = asks_each_time(), list[BaseException]()
    async with running(circuit, lambda _, crash: crashes.append(crash)):
        poison(circuit)
        assert isinstance(await ask(circuit), Grant)
        assert [type(crash) for crash in crashes] == [AssertionError]


@pytest.mark.parametrize("asked_by", ["the actor's", "an asker's"])
async def test_nobody_takes_a_turn_in_the_middle_of_one(asked_by: str) -> None:
    """Whatever runs there and asks, by the garbage collector, say, waits for the actor, which is
    woken for it.
    """
    circuit, taken = asks_each_time(), list[bool]()

    class Asking:
        def turn_taken(self, messages: Sequence[Message], *_: object, **__: object) -> None:
            if any(isinstance(message, Reset) for message in messages) and not taken:
                taken.append(False)
                taken[0] = take_turn_at_once(circuit, circuit.time())
                circuit.put(Reset(None))

    async with running(circuit):
        circuit.observers = (Asking(),)
        circuit.put(Reset(None))
        if asked_by == "the actor's":
            circuit.mailbox.ring()
        else:
            succeed(circuit, await ask(circuit))
        await settle_down()
        assert taken == [False]
        assert circuit.mailbox.messages == []


async def test_a_turn_at_once_is_cut_short() -> None:
    """Whoever is interrupted gives his permit back, and others are answered as ever."""
    circuit = asks_each_time()

    class Interrupting:
        def turn_taken(self, *_: object, **__: object) -> None:
            circuit.observers = ()
            raise KeyboardInterrupt

    async with running(circuit):
        circuit.observers = (Interrupting(),)
        with pytest.raises(KeyboardInterrupt):
            await ask(circuit)
        assert isinstance(await ask(circuit), Grant)
        statistics = statistics_of(circuit)
        assert (statistics.started, statistics.cancelled, statistics.waiting) == (2, 1, 0)


async def test_no_turn_at_once_is_taken_of_what_is_shared() -> None:
    """A fleet is heard and told between turns."""
    circuit = asks_each_time()
    async with running(circuit):
        assert take_turn_at_once(circuit, circuit.time())
        circuit.machine.is_shared = True
        assert not take_turn_at_once(circuit, circuit.time())


async def test_an_actor_that_has_ended_has_no_turns_taken() -> None:
    """Neither one that has been stopped, nor one that was given up."""
    circuit = asks_each_time()
    async with running(circuit):
        stop(circuit)
        assert not take_turn_at_once(circuit, circuit.loop.clock.time())


async def test_a_run_of_failures_is_one_message() -> None:
    """Failures that cannot open the circuit yet travel together; the one that can, by itself."""
    circuit = new_circuit(failure_threshold=1000)
    take_turn(circuit, print, 0.0)
    for _ in range(999):
        fail(circuit, admit_at_once(circuit) or await ask(circuit))
    assert (len(circuit.messages()), project(circuit).failure_count) == (1, 999)
    fail(circuit, admit_at_once(circuit) or await ask(circuit))
    assert (len(circuit.messages()), circuit.headroom) == (2, 0)
    assert project(circuit).state is CircuitState.OPEN


async def test_a_run_of_successes_is_one_message() -> None:
    """However many calls succeed, the mailbox does not grow."""
    circuit = new_circuit(failure_threshold=9)
    take_turn(circuit, print, 0.0)
    for _ in range(3):
        for _ in range(1000):
            succeed(circuit, admit_at_once(circuit) or await ask(circuit))
        fail(circuit, admit_at_once(circuit) or await ask(circuit))
    assert len(circuit.messages()) == 6
    assert (project(circuit).succeeded, project(circuit).failure_count) == (3000, 1)
