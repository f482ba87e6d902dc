"""An actor that is killed at any message: what is lost is that message, and nothing else."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
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
    Down,
    crash,
    fail,
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
                    askers[message.permit] = Asker()
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
async def test_pauses_of_an_actor_that_crashes_again_and_again(
    seeds: Seeds, figures: Counter[str]
) -> None:
    """Whenever it does, also in a pause: each is as long as those limits say, nobody hangs in it,
    no report is lost, and no call is counted twice.
    """
    for seed in seeds(40):
        draw = random.Random(f"pauses{seed}")
        limits = {
            "max_restarts": draw.randrange(4, 9),
            "restart_period": draw.choice([1.0, 10.0]),
            "restart_pause": draw.choice([0.1, 0.7]),
            "max_restart_pause": draw.choice([None, 0.7, 2.0]),
        }
        figures["pauses of actors that crash"] += await paused_again_and_again(draw, limits)


async def paused_again_and_again(draw: random.Random, limits: dict[str, Any]) -> int:
    """Return how many pauses there were."""
    threshold = draw.choice([1, 3, 50])
    async with Supervisor(on_give_up="refuse", **limits) as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=threshold, recovery_timeout=0.3)
        events = supervisor.events()
        async with anyio.create_task_group() as tasks:
            for _ in range(draw.randrange(3, 9)):
                tasks.start_soon(call_now_and_then, breaker, random.Random(draw.random()))
            for _ in range(draw.randrange(1, 12)):
                await anyio.sleep(draw.choice([0.0, 0.01, 0.3, 0.7, 1.5]))
                circuit = supervisor.find("x")
                assert circuit is not None
                if draw.random() < 0.5:
                    circuit.put("poison")  # type: ignore[arg-type]
                    circuit.call_actor()
                else:
                    crash(supervisor, "x")
        await anyio.sleep(100)
        counts = breaker.statistics()
        ended = counts.succeeded + counts.failed + counts.ignored + counts.cancelled
        assert (counts.in_flight, counts.restarts_in) == (0, 0.0)
        assert counts.started == ended + counts.rejected
        if counts.running:
            assert not await is_refused(breaker)
    return check_pauses([event async for event in events], **limits)


async def call_now_and_then(breaker: CircuitBreaker, draw: random.Random) -> None:
    for _ in range(20):
        await anyio.sleep(draw.choice([0.0, 0.05, 0.2, 0.5]))
        wait = draw.choice([None, 0.2, 2.0])
        calls = breaker if wait is None else breaker.waiting(wait)
        began = anyio.current_time()
        with suppress(Down, CircuitBreakerOpenError, CircuitCrashedError):
            await calls.call(draw.choice([succeed, fail]))
        assert anyio.current_time() - began <= (wait or 0.0) + 0.01


def check_pauses(
    events: list[Any],
    max_restarts: int,
    restart_period: float,
    restart_pause: float,
    max_restart_pause: float | None,
) -> int:
    """Look at each crash by those before it."""
    crashes: list[float] = []
    starts_at = 0.0
    for event in events:
        if isinstance(event, CircuitRestarted | CircuitGivenUp):
            assert event.at >= starts_at - 0.002
            crashes = [each for each in crashes if event.at - each < restart_period] + [event.at]
            assert isinstance(event, CircuitGivenUp) == (len(crashes) > max_restarts)
        if isinstance(event, CircuitRestarted):
            pause = restart_pause * 2 ** (len(crashes) - 1)
            assert event.pause == min(pause, max_restart_pause or pause)
            starts_at = event.at + event.pause
    return sum(isinstance(event, CircuitRestarted) for event in events)


@pytest.mark.anyio
@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.parametrize("leave", ["error", "cancellation", "end"])
@pytest.mark.parametrize("pause", [None, 1000.0])
async def test_the_block_is_left_while_an_actor_is_restarted(
    leave: str, ticks: int, pause: float | None
) -> None:
    """Whoever waits is answered, the block's own error comes through, and no task is left."""
    answers: list[object] = []
    before, began = tasks_here(), anyio.current_time()

    async def ask(breaker: CircuitBreaker) -> None:
        try:
            (await breaker.acquire()).ignore()
            answers.append("admitted")
        except (CircuitStoppedError, CircuitCrashedError, CircuitBreakerOpenError) as error:
            answers.append(error)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            try:
                async with Supervisor(restart_pause=pause) as supervisor:
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
    assert anyio.current_time() < began + 10
