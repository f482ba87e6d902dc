"""An actor that is killed at any message: what is lost is that message, and nothing else."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitGivenUp,
    CircuitReconfigured,
    CircuitRestarted,
    CircuitStoppedError,
    EventStream,
    StateChanged,
    Supervisor,
)
from supervisor.circuit.askers import Answer, Asker
from supervisor.circuit.record import Circuit
from supervisor.machine.machine import Machine
from supervisor.machine.messages import (
    Acquire,
    Change,
    Grant,
    Message,
    Reconfigured,
    Refusal,
    Retry,
    Transition,
)
from supervisor.machine.ordered import Ordered, OrderedMap
from supervisor.recording.format import Entry, Turn, plain
from supervisor.recording.recording import Recording
from supervisor.testing import run_in_virtual_time
from tests.proofs.traces import POLICIES, recorded
from tests.support.seeds import Seeds
from tests.support.worlds import (
    BACKENDS,
    crash,
    fail_times,
    is_refused,
    settle_down,
    succeed,
    tasks_here,
)


class Bomb(Exception):
    """What kills the actor."""


class Bombed(Machine):
    """A machine that breaks at the n-th message that it takes, half-way through it."""

    def __init__(self, healthy: Machine, fuse: int) -> None:
        vars(self).update(vars(healthy.copy()))
        self.fuse = fuse

    def apply(self, message: Message) -> Grant | Refusal | None:
        self.fuse -= 1
        if self.fuse < 0:
            self.trip.tally.add(self.latest, 99, failed=True, slow=True)
            if self.trip.kinds:
                self.trip.kinds.tallies = {}
            if self.trip.overdue:
                self.trip.overdue.clear()
            for part in (self.throttle, self.budget):
                if part is not None:
                    part.recent.add(self.latest, 99, failed=True, slow=True)
            if self.probing is not None:
                self.probing.running[-1] = (-1.0, 1.0, True)
            self.waiting, self.wait_ends = OrderedMap(), Ordered()
            raise Bomb
        return super().apply(message)

    def copy(self) -> Machine:
        """Only the actor's machine is bombed, not what readers replay on."""
        twin: Machine = super().copy()
        twin.__class__ = Machine
        del vars(twin)["fuse"]
        return twin


@dataclass
class Outcome:
    """What is seen of a trace: all answers, transitions, and the machine at the end."""

    answers: dict[int, Answer]
    changes: list[Change]
    machine: dict[str, Any]


def expected(recording: Recording, without: int | None) -> Outcome:
    """Play a trace on a machine alone, with one message left out."""
    stretch = recording._latest
    machine = stretch.start.copy()
    answers: dict[int, Answer] = {}
    number = -1
    for at, messages in turns_of(stretch.entries):
        advance_before(machine, put_at(at, messages))
        for message in messages:
            number += 1
            if number == without:
                continue
            answer = machine.apply(message)
            if answer is not None and isinstance(message, Acquire | Retry):
                answers[message.permit] = answer
        advance_before(machine, at)
        machine.advance(at)
    answers |= dict(machine.released)
    changes = [
        each
        for each in machine.transitions
        if isinstance(each, Reconfigured) or each.from_state is not each.to_state
    ]
    return Outcome(answers, changes, facts(machine))


def advance_before(machine: Machine, at: float) -> None:
    """Let a machine have the turns that are due before a time: without a message, these may be
    others.
    """
    while machine.deadline < at:
        machine.advance(machine.deadline)


def put_at(at: float, messages: list[Message]) -> float:
    """Return when the last message of a turn was put: who would only wait has no turn at once."""
    times = [each.at for each in messages if each.at is not None]
    return max(times, default=at)


def turns_of(entries: list[Entry]) -> Iterator[tuple[float, list[Message]]]:
    """Yield when each turn was, and what it has taken."""
    messages: list[Message] = []
    for entry in entries:
        match entry:
            case Transition() | Reconfigured():
                pass
            case Turn():
                yield entry.at, messages
                messages = []
            case _:
                messages.append(entry)
    assert not messages


def facts(machine: Machine) -> dict[str, Any]:
    """What a machine knows; a clock may round a time in its last digit."""
    text = json.dumps({**plain(machine.copy()), "policy": None, "latest": None})
    known: dict[str, Any] = json.loads(text, parse_float=lambda number: round(float(number), 9))
    return {**known, "policy": machine.policy}


async def seen(recording: Recording, bomb_at: int) -> tuple[Outcome, int, int | None]:
    """Put a trace into a circuit whose actor is killed at one message; return what is seen, how
    often it was restarted, and which asker was told of the crash.
    """
    stretch = recording._latest
    async with Supervisor() as supervisor:
        supervisor.circuit("x")
        circuit = supervisor.find("x")
        assert circuit is not None
        await settle_down()
        circuit.machine = Bombed(stretch.start, bomb_at)
        events = supervisor.events()
        askers: dict[int, Asker] = {}
        for at, messages in turns_of(stretch.entries):
            await anyio.sleep_until(put_at(at, messages))
            for message in messages:
                if isinstance(message, Acquire | Retry):
                    askers[message.permit] = Asker(circuit.loop.new_bell())
                    circuit.askers[message.permit] = askers[message.permit]
                circuit.mailbox.messages.append(message)
            await anyio.sleep_until(at)
            await turn(circuit)
        answers = {permit: each.answer for permit, each in askers.items()}
        found = Outcome(
            {permit: answer for permit, answer in answers.items() if answer is not None},
            [],
            facts(circuit.machine),
        )
        restarts = circuit.restarts
    async for event in events:
        if isinstance(event, StateChanged):
            fields = {name: getattr(event, name) for name in Transition.__slots__}
            found.changes.append(Transition(**fields))
        elif isinstance(event, CircuitReconfigured):
            found.changes.append(Reconfigured(event.policy, event.at))
    crashed = [
        permit for permit, answer in answers.items() if isinstance(answer, CircuitCrashedError)
    ]
    return found, restarts, crashed[0] if crashed else None


async def turn(circuit: Circuit) -> None:
    """Let the actor take what is there, also if it is killed on the way."""
    circuit.mailbox.ring()
    await settle_down()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crash_at_every_message_of_a_trace(
    backend: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """State, answers and events are those of the same trace without the message that killed it.

    Its asker gets the crash as the cause; the restart is counted, and nobody else notices.
    """
    for policy, seed in itertools.product(POLICIES, seeds(1)):
        recording = run_in_virtual_time(recorded, policy, seed, 60, backend=backend)
        messages = [
            entry
            for entry in recording._latest.entries
            if not isinstance(entry, Turn | Transition | Reconfigured)
        ]
        for number, poison in enumerate(messages):
            right = expected(recording, without=number)
            found, restarts, crashed = run_in_virtual_time(seen, recording, number, backend=backend)
            if isinstance(poison, Acquire | Retry):
                assert crashed == poison.permit
                error = found.answers.pop(crashed)
                assert isinstance(error, CircuitCrashedError)
                assert isinstance(error.__cause__, Bomb)
            assert found == right
            assert restarts == 1
        figures[f"crashes, one at each message of a trace, {backend}"] += len(messages)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["escalate", "allow", "refuse"])
async def test_how_many_crashes_are_mended(mode: Any, seeds: Seeds, figures: Counter[str]) -> None:
    """`max_restarts` within `restart_period`, whenever they come; then it is given up."""
    for seed in seeds(60):
        draw = random.Random(f"{mode}{seed}")
        most, period = draw.randrange(4), draw.choice([1.0, 10.0])
        gaps = [draw.choice([0.0, 0.3, 0.9, 4.0, 11.0]) for _ in range(draw.randrange(1, 9))]
        wanted = crashes_until_given_up(gaps, most, period)
        found = await crashed_until_given_up(gaps, most, period, mode)
        assert found == wanted
        figures["lives of a circuit that crashes again and again"] += 1


def crashes_until_given_up(gaps: list[float], most: int, period: float) -> int | None:
    """Return the number of the first crash that is one too many within the period before it."""
    times = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    for number, now in enumerate(times):
        if sum(now - period < then for then in times[: number + 1]) > most:
            return number
    return None


async def crashed_until_given_up(
    gaps: list[float], most: int, period: float, mode: Any
) -> int | None:
    events: EventStream | None = None
    number: int | None = None
    try:
        async with Supervisor(
            max_restarts=most, restart_period=period, on_give_up=mode
        ) as supervisor:
            breaker = supervisor.circuit("x")
            events = supervisor.events()
            for number, gap in enumerate(gaps):  # noqa: B007
                await anyio.sleep(gap)
                crash(supervisor, "x")
                await settle_down()
                if supervisor["x"].statistics().running:
                    assert not await is_refused(breaker)
                    continue
                assert mode != "escalate"
                assert await is_refused(breaker) == (mode == "refuse")
                break
            else:
                number = None
    except CircuitCrashedError:
        assert mode == "escalate"
        with pytest.raises(CircuitStoppedError):
            await breaker.call(succeed)
    assert events is not None
    kinds = [type(event) async for event in events]
    restarts, given_up = kinds.count(CircuitRestarted), kinds.count(CircuitGivenUp)
    assert given_up == (number is not None)
    assert restarts == (len(gaps) if number is None else number)
    return number


@pytest.mark.anyio
@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.parametrize("leave", ["error", "cancellation", "end"])
async def test_the_block_is_left_while_an_actor_is_restarted(leave: str, ticks: int) -> None:
    """Whoever waits is answered, the block's own error comes through, and no task is left."""
    answers: list[object] = []
    before = tasks_here()

    async def ask(breaker: CircuitBreaker) -> None:
        try:
            (await breaker.acquire()).ignore()
            answers.append("admitted")
        except (CircuitStoppedError, CircuitCrashedError, CircuitBreakerOpenError) as error:
            answers.append(error)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            try:
                async with Supervisor() as supervisor:
                    breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=1)
                    circuit = supervisor.find("x")
                    assert circuit is not None
                    await fail_times(breaker, 1)
                    await anyio.sleep(1)
                    tasks.start_soon(ask, breaker)
                    crash(supervisor, "x")
                    tasks.start_soon(ask, breaker)
                    for _ in range(ticks):
                        await anyio.lowlevel.checkpoint()
                    if leave == "error":
                        raise KeyError("the block's own")
                    if leave == "cancellation":
                        scope.cancel()
                        await anyio.sleep_forever()
            except KeyError:
                assert leave == "error"
    assert scope.cancelled_caught == (leave == "cancellation")
    if leave != "cancellation":
        assert len(answers) == 2
    assert circuit.askers == {}
    await settle_down()
    assert tasks_here() == before
