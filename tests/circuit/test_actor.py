"""The actor's turn: what it applies, answers and publishes, and what a crash leaves behind."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from supervisor.circuit import admit_at_once, ask, fail, project, statistics_of, stop, succeed
from supervisor.circuit.actor import catch_up, run_actor, take_turn
from supervisor.circuit.record import Circuit
from supervisor.errors import CircuitBreakerOpenError, CircuitCrashedError
from supervisor.loop.event_loop import EventLoop
from supervisor.machine.machine import Machine
from supervisor.machine.messages import Acquire, Grant, Message, Refusal, Transition
from supervisor.machine.states import CircuitState
from supervisor.policy.policy import Policy
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


def emit_to(seen: list[Transition]) -> Callable[[Circuit, Transition], None]:
    return lambda _, transition: seen.append(transition)


def new_circuit(**policy: float) -> Circuit:
    return Circuit("x", Policy(**policy), EventLoop.here())  # type: ignore[arg-type]


async def test_a_turn_publishes_what_the_messages_came_to() -> None:
    """After a turn the mailbox is empty and the lease is the machine's."""
    circuit = new_circuit(failure_threshold=2)
    seen: list[Transition] = []
    take_turn(circuit, emit_to(seen), 0.0)
    assert circuit.headroom == 2
    for _ in range(2):
        fail(circuit, admit_at_once(circuit) or await ask(circuit), OSError("down"))
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
    fail(circuit, admit_at_once(circuit) or await ask(circuit), OSError("down"))
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
        fail(circuit, grant, OSError("down"))
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
        fail(circuit, admit_at_once(circuit) or await ask(circuit), None)
    catch_up(circuit, print)
    assert (circuit.machine.failure_count, circuit.mailbox.messages) == (3, [])


async def test_catching_up_lets_time_pass_and_tells_what_has_changed() -> None:
    """Up to now; the failure that is still in the mailbox opens the circuit, and time ends that."""
    circuit = new_circuit(failure_threshold=1, recovery_timeout=1)
    seen: list[Transition] = []
    take_turn(circuit, emit_to(seen), anyio.current_time())
    opened_at = anyio.current_time()
    fail(circuit, admit_at_once(circuit) or await ask(circuit), None)
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
        fail(circuit, admit_at_once(circuit) or await ask(circuit), None)
        return circuit

    circuit = anyio.run(main)
    catch_up(circuit, print)
    assert circuit.machine.state is CircuitState.OPEN
    assert circuit.machine.latest == circuit.machine.since


async def test_an_idle_actor_takes_no_turns() -> None:
    """Successes alone wake nobody: a healthy circuit's actor sleeps."""
    turns = 0

    class Counting(Machine):
        __slots__ = ()

        def advance(self, now: float) -> None:
            nonlocal turns
            turns += 1
            super().advance(now)

    circuit = new_circuit()
    circuit.machine = Counting(circuit.policy)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_actor, circuit, print)
        await settle_down()
        for _ in range(10_000):
            succeed(circuit, admit_at_once(circuit) or await ask(circuit))
        await anyio.sleep(86_400)
        assert turns == 1
        assert statistics_of(circuit).succeeded == 10_000
        stop(circuit)


async def test_a_run_of_failures_is_one_message() -> None:
    """Failures that cannot open the circuit yet travel together; the one that can, by itself."""
    circuit = new_circuit(failure_threshold=1000)
    take_turn(circuit, print, 0.0)
    for _ in range(999):
        fail(circuit, admit_at_once(circuit) or await ask(circuit), OSError("down"))
    assert (len(circuit.messages()), project(circuit).failure_count) == (1, 999)
    fail(circuit, admit_at_once(circuit) or await ask(circuit), OSError("down"))
    assert (len(circuit.messages()), circuit.headroom) == (2, 0)
    assert project(circuit).state is CircuitState.OPEN


async def test_a_run_of_successes_is_one_message() -> None:
    """However many calls succeed, the mailbox does not grow."""
    circuit = new_circuit(failure_threshold=9)
    take_turn(circuit, print, 0.0)
    for _ in range(3):
        for _ in range(1000):
            succeed(circuit, admit_at_once(circuit) or await ask(circuit))
        fail(circuit, admit_at_once(circuit) or await ask(circuit), None)
    assert len(circuit.messages()) == 6
    assert (project(circuit).succeeded, project(circuit).failure_count) == (3000, 1)
