"""A trace of calls, played twice: by a simulation, and by a circuit that guards each of them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal
from unittest import mock

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    EventStream,
    StateChanged,
    Supervisor,
    TraceRecorder,
)
from supervisor.circuit import Circuit
from supervisor.commands.simulate.player import Player
from supervisor.guard.running import make_call
from supervisor.machine import Grant, Refusal, Transition
from supervisor.policy import Failure, Outcome, Policy
from supervisor.recording import Call, Trace
from tests.support.worlds import by_block, by_call, by_decorator, by_permit, settle_down

NAME = "it"

SOON = 2.0**-27
"""Seconds after the end of a trace at which the circuit is read: nothing happens in between."""

FIGURES = ("succeeded", "failed", "ignored", "cancelled", "stale", "times_opened", "failure_count")

Way = Literal["call", "block", "decorator", "permit", "each"]

WAYS = {"call": by_call, "block": by_block, "decorator": by_decorator, "permit": by_permit}


@dataclass(frozen=True)
class Admitted:
    """A call that was admitted, and how it has ended for its caller; None: not yet."""

    at: float
    ended: Outcome | None


@dataclass(frozen=True)
class Refused:
    """A call that was refused."""

    at: float
    reason: str
    state: str
    retry_after: float


Verdict = Admitted | Refused | None
"""What has become of a call; None: it still waits."""


@dataclass(frozen=True)
class Change:
    """A transition, and when listeners were told of it."""

    to_state: str
    at: float
    told: float
    period: int
    failure_count: int
    retry_after: float


@dataclass
class Played:
    """What has become of all calls of a trace, of the circuit, and of its figures at the end; and
    what a listener was told of each call, where they are recorded.
    """

    verdicts: list[Verdict]
    changes: list[Change]
    figures: dict[str, Any]
    told: list[Any] = field(default_factory=list)


def simulated(policy: Policy, trace: Trace, plain: bool = False) -> Played:
    """Let the simulation play it."""
    player = Player(NAME, policy, trace, plain)
    player.play()
    machine = player.machine.copy()
    machine.advance(trace.end + SOON)
    changes = [change for change in player.machine.transitions if isinstance(change, Transition)]
    figures = {name: getattr(machine, name) for name in FIGURES}
    figures |= {
        "state": machine.state.value,
        "rejected": sum(isinstance(answer, Refusal) for _, answer in player.answers.values()),
        "in_flight": len(player.running) + len(machine.waiting),
        "waiting": len(machine.waiting),
    }
    return Played(
        [_verdict(player, number) for number in range(len(trace.calls))],
        [change_of(change, told=change.at) for change in changes],
        figures,
    )


def _verdict(player: Player, number: int) -> Verdict:
    if number not in player.answers:
        return None
    at, answer = player.answers[number]
    if isinstance(answer, Grant):
        return Admitted(at, player.ended.get(number))
    return Refused(at, answer.reason, answer.state.value, answer.retry_after)


def change_of(change: Transition | StateChanged, told: float) -> Change:
    return Change(
        change.to_state.value,
        change.at,
        told,
        change.period,
        change.failure_count,
        change.retry_after,
    )


def assert_same(one: Played, other: Played) -> None:
    """Compare all of it; clocks may round the last digit."""
    for number, verdicts in enumerate(zip(one.verdicts, other.verdicts, strict=True)):
        assert _same(*verdicts), f"call {number}: {verdicts[0]} is not {verdicts[1]}"
    for number, changes in enumerate(zip(one.changes, other.changes, strict=False)):
        assert _same(*changes), f"change {number}: {changes[0]} is not {changes[1]}"
    assert len(one.changes) == len(other.changes)
    assert one.figures == other.figures


def _same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if one is None:
        return True
    return all(
        value == (pytest.approx(like, abs=1e-9) if isinstance(value, float) else like)
        for value, like in zip(vars(one).values(), vars(other).values(), strict=True)
    )


# By a circuit


@dataclass
class Told(Exception):
    """A failure, as an error or as a result."""

    failure: Failure


class Ignored(Exception):
    """An error that counts as nothing."""


def judge(ended_with: object) -> Failure | None:
    return ended_with.failure if isinstance(ended_with, Told) else None


async def guarded(
    policy: Policy,
    trace: Trace,
    plain: bool = False,
    way: Way = "call",
    returns: bool = False,
    recorder: TraceRecorder | None = None,
) -> Played:
    """Let a circuit guard all those calls.

    Args:
        policy: without functions.
        trace: what is played.
        plain: whether callers tell no kinds of failures, and do not wait.
        way: how calls are guarded; "each": in one way after the other.
        returns: whether failures are results instead of errors, where a guard sees results.
        recorder: what writes them down, with the event loop's clock for that of the wall.
    """
    callers = _Callers(policy, trace, plain, way, returns)
    callers.recorder = recorder
    with callers.draws.instead_of_chance():
        return await callers.play()


class _Draws:
    """Stands for the module `random` where circuits use it: they draw what a simulation does."""

    def __init__(self, calls: int) -> None:
        chance = random.Random(0)
        self.draws = [chance.random() for _ in range(calls)]
        self.call: ContextVar[int] = ContextVar("call")

    def random(self) -> float:
        return self.draws[self.call.get()]

    def getrandbits(self, _bits: int) -> int:
        return zlib.crc32(NAME.encode())

    @contextmanager
    def instead_of_chance(self) -> Iterator[None]:
        with (
            mock.patch("supervisor.circuit.beginning.random", self),
            mock.patch("supervisor.circuit.asking.random", self),
        ):
            yield


class _Callers:
    """Each makes one call of the trace, as a task of its own."""

    breaker: CircuitBreaker
    circuit: Circuit
    recorder: TraceRecorder | None

    def __init__(self, policy: Policy, trace: Trace, plain: bool, way: Way, returns: bool) -> None:
        self.policy = policy
        self.calls = trace.calls
        self.end = trace.end
        self.plain = plain
        self.way = way
        self.returns = returns
        self.draws = _Draws(len(trace.calls))
        self.verdicts: list[Verdict] = [None] * len(trace.calls)
        self.changes: list[Change] = []
        self.scopes: dict[int, anyio.CancelScope] = {}  # of the calls that are under way
        self.answered: dict[float, set[int]] = {}  # when -> calls that had waited until then

    def policy_with_functions(self) -> Policy:
        """The policy, with functions that say what the trace does, where they are needed."""
        policy, calls = self.policy, self.calls
        if any(call.outcome is Outcome.IGNORED for call in calls):
            policy = replace(policy, ignore=Ignored)
        if not self.plain and any(call.failure != Failure() for call in calls):
            policy = replace(policy, classify=judge)
        elif self.returns:
            policy = replace(policy, failure_on_result=lambda result: isinstance(result, Told))
        return policy

    async def play(self) -> Played:
        async with Supervisor() as supervisor:
            supervisor.trace(self.recorder, NAME)
            told = EventStream(100_000) if self.recorder is None else supervisor.calls(100_000)
            with mock.patch("time.time", anyio.current_time):
                self.breaker = supervisor.circuit(NAME, self.policy_with_functions())
            circuit = supervisor.find(NAME)
            assert circuit is not None
            self.circuit = circuit
            circuit.machine.warm_up(self.calls[0].at)  # as of its first use, which begins it
            assert anyio.current_time() == 0.0  # windows step at multiples of a tenth of them
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.listen, supervisor.events())
                for number, call in enumerate(self.calls):
                    tasks.start_soon(self.make, number, call)
                await anyio.sleep_until(self.end + SOON)
                verdicts, changes = self.verdicts.copy(), self.changes.copy()
                now = self.breaker.statistics()
                tasks.cancel_scope.cancel()
        figures = {name: getattr(now, name) for name in FIGURES}
        figures |= {
            "state": now.state.value,
            "rejected": now.rejected,
            "in_flight": now.in_flight,
            "waiting": now.waiting,
        }
        told.close()
        return Played(verdicts, changes, figures, [event async for event in told])

    async def listen(self, events: EventStream) -> None:
        """See the circuit's changes when they come."""
        async for event in events:
            if isinstance(event, StateChanged):
                self.changes.append(change_of(event, anyio.current_time()))

    async def make(self, number: int, call: Call) -> None:
        """Make one call, and see what becomes of it."""
        self.draws.call.set(number)
        await anyio.sleep_until(call.at)
        ended = Outcome.SUCCEEDED
        with anyio.CancelScope() as self.scopes[number]:
            try:
                if isinstance(await self.guard(number, call), Told):
                    ended = Outcome.FAILED
            except CircuitBreakerOpenError as refusal:
                at = self.note_answer(number, call)
                self.verdicts[number] = Refused(
                    at, refusal.reason, refusal.state.value, refusal.retry_after
                )
                return
            except Ignored:
                ended = Outcome.IGNORED
            except (Told, TimeoutError):
                ended = Outcome.FAILED
        if self.scopes.pop(number).cancelled_caught:
            ended = Outcome.CANCELLED
        admitted = self.verdicts[number]
        assert isinstance(admitted, Admitted)
        self.verdicts[number] = replace(admitted, ended=ended)

    async def guard(self, number: int, call: Call) -> object:
        """Make it in some way that there is for such a call."""
        wait = None if self.plain else call.wait
        way = self.way_for(number, call.retry, waits=wait is not None)
        run: Any = partial(self.run, number, call, sees_results=way in ("call", "decorator"))
        if call.retry and wait is not None:  # which no public name can do at once
            return await make_call(self.circuit, run, (), {}, retry=True, wait=wait)
        if call.retry:
            return await self.breaker.retry(run)
        if wait is None:
            return await WAYS[way](self.breaker, run)
        if way == "permit":
            with await self.breaker.acquire(wait=wait):
                return await run()
        waiting = self.breaker.waiting(wait)
        return await (waiting(run)() if way == "decorator" else waiting.call(run))

    def way_for(self, number: int, retry: bool, waits: bool) -> str:
        """Return how a call is guarded: not every way can do everything."""
        way = list(WAYS)[number % len(WAYS)] if self.way == "each" else self.way
        if way == "permit" and self.policy.timeout is not None:
            way = "block"  # a permit has no limit to its time
        return "call" if retry or (waits and way == "block") else way

    async def run(self, number: int, call: Call, sees_results: bool) -> object:
        """Do what the guarded function does."""
        now = self.note_answer(number, call)
        self.verdicts[number] = Admitted(now, None)
        if now in self.answered:
            call = await self.another(number, now)
        if call.hangs:
            await anyio.sleep_forever()
        if call.outcome is Outcome.CANCELLED:
            self.scopes[number].deadline = now + call.duration
            await anyio.sleep_forever()
        await anyio.sleep_until(now + call.duration)
        if call.outcome is Outcome.IGNORED:
            raise Ignored
        if call.outcome is Outcome.FAILED:
            told = Told(call.failure)
            if self.returns and sees_results:
                return told
            raise told
        return "fine"

    def note_answer(self, number: int, call: Call) -> float:
        """Note when a call is answered, and whether it has waited for that."""
        now = anyio.current_time()
        if now > call.at + SOON / 2:
            self.answered.setdefault(now, set()).add(number)
        return now

    async def another(self, number: int, now: float) -> Call:
        """Return the call as which one ends that has waited: see `Player.release`.

        Backends wake those who have waited in an order of their own, so they meet first.
        """
        await settle_down()
        passed = sorted(self.answered[now]).index(number)
        asking = (n for n, call in enumerate(self.calls) if call.at >= now)
        last = len(self.calls) - 1
        return self.calls[min(next(asking, last) + passed, last)]
