"""Many tasks and circuits for a long time: does anything go missing, pile up or hang?

    python -m tests.proofs.soak --minutes 10 --backend trio --tasks 10000 --circuits 1000 --seed 0

Callers use every way of guarding, and each circuit has a policy of its own. Meanwhile groups of
circuits have outages, calls are slow, time out and are cancelled, circuits are reset, stopped and
started again, actors crash, and a listener falls behind. The callers keep accounts of their own.
Every second these are compared with the figures of all circuits, and the memory is sampled. It
ends with 1 if anything has been violated.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.lowlevel

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitRestarted,
    CircuitStoppedError,
    EventsMissed,
    StateChanged,
    Supervisor,
    app_settings,
    create_retry_decorator,
    execute_with_retry,
    with_circuit_breaker,
)
from supervisor.circuit import project, statistics_of
from supervisor.circuit.record import AT_REST, Circuit
from tests.proofs.soak_policies import POOR, Busy, Mistaken, drawn_policy, is_too_slow, judged
from tests.support.worlds import Down, by_block, by_call, by_permit, crash, settle_down

OUTCOMES = ("succeeded", "failed", "ignored", "cancelled", "rejected")
GROUP = 20
"""Circuits that fail together."""

MEMORY = 1536.0
"""MiB that must not be exceeded."""

GROWTH = 0.05
"""Share of the memory by which it may grow after the warm-up..."""

SPARE = 16.0
"""... and the MiB that it may grow in any case: an allocator needs some room, and trio keeps up
to twice as many deadlines as there are."""

MESSAGE = 160 / 2**20
"""MiB of a message; a mailbox that is read every second fills up to `AT_REST` of them."""

PULSE = 0.01
"""Seconds after which the next turn is due that tells whether the event loop is late."""

PATIENCE = 60.0
"""Seconds within which all callers have to end; the longest call takes a few."""


@dataclass(frozen=True)
class Plan:
    """How much to do.

    Attributes:
        rate: the calls per second at which the callers aim.
        doubt: seconds by which the time that a call has taken may be another one for who looks
            later, even if the event loop is in time.
    """

    seconds: float = 600.0
    tasks: int = 10_000
    circuits: int = 1000
    seed: int = 0
    rate: float = 4000.0
    doubt: float = 0.05


@dataclass
class Result:
    """What has been done, and what has been found."""

    counted: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    most_tasks: int = 0
    room: float = 0.0  # MiB for what mailboxes may hold
    samples: list[tuple[float, float]] = field(default_factory=list)  # seconds, MiB
    violations: list[str] = field(default_factory=list)

    def memory_violations(self) -> list[str]:
        """What the samples say about leaks."""
        warm = after_warm_up(self.samples)
        first, last = warm[0][0], warm[-1][0]
        growth = slope(warm) * (last - first)
        allowed = max(GROWTH * self.typical_memory, SPARE) + self.room
        highest = max(memory for _, memory in self.samples)
        found = []
        if growth > allowed:
            found.append(f"memory grew by {growth:.1f} MiB, {allowed:.1f} are allowed")
        if highest > MEMORY:
            found.append(f"{highest:.0f} MiB of memory, {MEMORY:.0f} are allowed")
        return found

    @property
    def typical_memory(self) -> float:
        """The mean MiB after the warm-up."""
        warm = after_warm_up(self.samples)
        return sum(memory for _, memory in warm) / len(warm)

    def table(self) -> str:
        """A line for each figure."""
        calls = self.counted["calls"]
        per_minute = slope(after_warm_up(self.samples)) * 60
        rows = {
            "seconds": f"{self.seconds:,.0f}",
            "calls": f"{calls:,}",
            "calls per second": f"{calls / max(self.seconds, 1e-9):,.0f}",
            **{name: f"{self.counted[name]:,}" for name in OUTCOMES},
            "perhaps too slow": f"{self.counted['doubtful']:,}",
            "opened": f"{self.counted['opened']:,}",
            "restarts": f"{self.counted['restarts']:,}",
            "stopped": f"{self.counted['stopped']:,}",
            "events heard": f"{self.counted['events heard']:,}",
            "events missed": f"{self.counted['events missed']:,}",
            "checks of a circuit": f"{self.counted['checks']:,}",
            "messages that wait": f"{self.counted['waiting']:,}",
            "most tasks": f"{self.most_tasks:,}",
            "memory at the start": f"{self.samples[0][1]:,.1f} MiB",
            "memory after warm-up": f"{after_warm_up(self.samples)[0][1]:,.1f} MiB",
            "memory at the end": f"{self.samples[-1][1]:,.1f} MiB",
            "slope after warm-up": f"{per_minute * 1024:+,.0f} KiB per minute,"
            f" {per_minute / self.typical_memory:+.2%} of the whole",
        }
        return "\n".join(f"{what:>22}  {figure}" for what, figure in rows.items())


def after_warm_up(samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """All samples but those of the first fifth."""
    return samples[len(samples) // 5 :]


def slope(samples: list[tuple[float, float]]) -> float:
    """The least-squares slope, in units of the second figure for one of the first."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0


def memory() -> float:
    """MiB of this process that are resident."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Moment(NamedTuple):
    """A time, and for how many seconds the event loop has been late until then, all in all."""

    time: float
    late: float


@dataclass
class Call:
    """A call under way.

    Attributes:
        stops: circuits of its name that had been stopped before it asked to be admitted.
        stops_before_attempt: the same of its latest attempt.
        began: when what it guards began, at the first attempt.
    """

    scope: anyio.CancelScope
    has_result: bool
    stops: int
    stops_before_attempt: int
    began: Moment | None = None


CALL: ContextVar[Call] = ContextVar("CALL")


class Line:
    """The circuits of one name, one after the other, and the account that their callers keep."""

    def __init__(self, number: int, world: World) -> None:
        self.name = f"api:{number}"
        self.world = world
        self.counts_attempts = number % 4 == 3
        self.policy = drawn_policy(random.Random(f"{world.plan.seed} {number}"))
        if self.counts_attempts:  # they do not know what has cancelled them
            self.policy = replace(self.policy, timeout=None)
        self.leaving: list[Circuit] = []  # stopped, with calls in flight
        self.gone: Counter[str] = Counter()  # figures of those that have none any more
        self.under_way = 0
        self.calls: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.asking: Counter[str] = Counter()  # callers that were cancelled, whatever counted
        self.stops = 0
        self.doubtful = 0  # successes that may have been too slow
        breaker = CircuitBreaker(self.name, policy=self.policy)

        async def work() -> str:
            return await world.attempt(self, number // GROUP)

        work.__name__ = str(number)
        retried = partial(create_retry_decorator, "api", 3, 0.05, 0.2, policy=self.policy)
        self.guards: list[Callable[[], Awaitable[str]]] = [
            partial(by_call, breaker, work),
            breaker(work),
            with_circuit_breaker(self.name, policy=self.policy)(work),
            retried()(work),
            partial(
                execute_with_retry,
                work,
                min_wait=0.05,
                max_wait=0.2,
                operation_name=self.name,
                policy=self.policy,
            ),
        ]
        self.guards_without_result = [
            partial(by_block, breaker, work),
            partial(by_permit, breaker, work),
        ]
        if self.counts_attempts:
            self.guards_without_result = []
            self.guards = [
                retried(guard="attempt")(work),
                retried(guard="attempt", wait_for_recovery=True)(work),
            ]

    def stop(self) -> None:
        """Stop the present circuit; the next call starts another."""
        circuit = self.world.supervisor.find(self.name)
        if circuit is not None:
            self.leaving.append(circuit)
            self.stops += 1
            self.world.supervisor.stop(self.name)
            self.world.result.counted["stopped"] += 1

    def enter(
        self,
        account: Counter[str],
        began: Moment,
        stops: int,
        error: BaseException | None,
        result: object = None,
    ) -> None:
        """Enter into an account what has ended by itself, and asked after so many stops."""
        outcome = judged(self.policy, error, result)
        if outcome == "succeeded":
            now = self.world.moment()
            doubt = self.world.plan.doubt + 2 * (now.late - began.late)
            too_slow = is_too_slow(self.policy, now.time - began.time, doubt)
            if too_slow and self.stops > stops:
                too_slow = None  # a circuit that has been stopped asks no clock any more
            self.doubtful += too_slow is None
            outcome = "failed" if too_slow else outcome
        account[outcome] += 1

    def enter_cancelled(self, account: Counter[str]) -> None:
        """Enter what has been cancelled while it ran."""
        account["failed" if self.policy.failure_on_cancel else "cancelled"] += 1

    def counted(self) -> Counter[str]:
        """The figures of all its circuits, those that have gone included."""
        counted = self.gone.copy()
        for circuit in self.leaving:
            counted += _figures(circuit)
        present = self.world.supervisor.find(self.name)
        return counted if present is None else counted + _figures(present)

    def let_go(self) -> None:
        """Keep but the figures of circuits that nobody uses any more."""
        for circuit in self.leaving[:]:
            figures = _figures(circuit)
            if not figures["in_flight"]:
                self.gone += figures
                self.leaving.remove(circuit)

    def violations(self) -> list[str]:
        """What is wrong with its figures now."""
        counted = self.counted()
        found = []
        ended = sum(counted[outcome] for outcome in OUTCOMES)
        if counted["started"] != ended + counted["in_flight"]:
            found.append(f"started {counted['started']}, ended {ended}")
        account = self.attempts if self.counts_attempts else self.calls
        too_slow = account["succeeded"] - counted["succeeded"]
        if not 0 <= too_slow <= self.doubtful:
            too_slow = 0
        for outcome, by_callers in (
            ("succeeded", account["succeeded"] - too_slow),
            ("failed", account["failed"] + too_slow),
        ):
            if counted[outcome] != by_callers:
                found.append(f"{outcome} {counted[outcome]}, for callers {by_callers}")
        if self.counts_attempts:
            if not 0 <= counted["in_flight"] <= self.under_way:
                found.append(f"in flight {counted['in_flight']} of {self.under_way}")
            asking = counted["cancelled"] - self.attempts["cancelled"]
            if not 0 <= asking <= self.asking["cancelled"]:
                found.append(f"{asking} cancelled while they asked")
        else:
            if counted["in_flight"] != self.under_way:
                found.append(f"in flight {counted['in_flight']}, for callers {self.under_way}")
            found += [
                f"{outcome} {counted[outcome]}, for callers {self.calls[outcome]}"
                for outcome in ("ignored", "cancelled", "rejected")
                if counted[outcome] != self.calls[outcome]
            ]
        return [f"{self.name}: {what}" for what in found]


def _figures(circuit: Circuit) -> Counter[str]:
    figures = statistics_of(circuit)
    counted = Counter({name: getattr(figures, name) for name in ("started", *OUTCOMES)})
    counted["in_flight"] = figures.in_flight
    return counted


class World:
    """The callers, what they call, and all that happens to them."""

    def __init__(self, plan: Plan, supervisor: Supervisor) -> None:
        self.plan = plan
        self.supervisor = supervisor
        self.result = Result(room=plan.circuits * AT_REST * MESSAGE)
        self.draw = random.Random(plan.seed)
        self.pause = 2 * plan.tasks / plan.rate  # at most, between two calls of a task
        self.down: dict[int, bool] = {}  # groups that fail: at once, or by a timeout
        self.calls: dict[int, Call] = {}  # under way
        self.ending = False
        self.late, self.beats_at = 0.0, math.inf
        self.lines = [Line(number, self) for number in range(plan.circuits)]

    async def attempt(self, line: Line, group: int) -> str:
        """What is guarded."""
        began, call = self.moment(), CALL.get()
        call.began = began if call.began is None else call.began
        try:
            result = await self._serve(group)
        except Exception as error:
            line.enter(line.attempts, began, call.stops_before_attempt, error)
            raise
        except BaseException:
            line.enter_cancelled(line.attempts)
            raise
        else:
            line.enter(line.attempts, began, call.stops_before_attempt, None, result)
            return result
        finally:
            call.stops_before_attempt = line.stops

    async def _serve(self, group: int) -> str:
        luck = self.draw.random()
        if luck < 0.1:
            await anyio.sleep(luck * 5)
        elif luck < 0.5:
            await anyio.lowlevel.checkpoint()
        hangs = self.down.get(group)
        if hangs:
            with anyio.fail_after(0.1):
                await anyio.sleep_forever()
        if luck > 0.97:
            raise Mistaken("what was asked for")
        if hangs is not None or luck > 0.96:
            raise Busy("busy") if luck < 0.5 else Down("down")
        return POOR if luck > 0.9 else "fine"

    async def call(self, number: int) -> None:
        """Let a caller make a call, and enter it into the account."""
        draw, line = self.draw, self.draw.choice(self.lines)
        patience = draw.choice([0.0, draw.random() / 2, *[None] * 8])  # 0.0 cuts off an asker
        guard = draw.choice(line.guards + line.guards_without_result)
        line.under_way += 1
        with anyio.move_on_after(patience) as scope:
            call = self.calls[number] = Call(scope, guard in line.guards, line.stops, line.stops)
            CALL.set(call)
            try:
                result = await guard()
                self.end(line, call, None, result)
            except (OSError, Mistaken, CircuitBreakerOpenError, CircuitStoppedError) as error:
                self.end(line, call, error)
            except BaseException:
                line.asking["cancelled"] += 1
                if call.began is None:
                    line.calls["cancelled"] += 1
                else:
                    line.enter_cancelled(line.calls)
                raise
            finally:
                del self.calls[number]
                line.under_way -= 1
        self.result.counted["calls"] += 1

    @staticmethod
    def end(line: Line, call: Call, error: Exception | None, result: object = None) -> None:
        """Enter how a call has ended by itself: refused, or with what it guards."""
        if call.began is None:
            line.calls["rejected"] += 1
            return
        result = result if call.has_result else None
        line.enter(line.calls, call.began, call.stops, error, result)

    async def caller(self, number: int) -> None:
        """Call, and call again."""
        while not self.ending:
            await anyio.sleep(self.draw.uniform(0, self.pause))
            await self.call(number)

    async def trouble(self) -> None:
        """Do what circuits do not like, some ten times a second."""
        draw = self.draw
        groups = range(-(-self.plan.circuits // GROUP))
        while not self.ending:
            await anyio.sleep(draw.uniform(0, 0.2))
            for group in groups:
                if draw.random() < 0.05:
                    self.down.pop(group, None)
            if draw.random() < 0.2:
                self.down[draw.choice(groups)] = draw.random() < 0.5
            for call in draw.sample(list(self.calls.values()), -(-len(self.calls) // 20)):
                call.scope.cancel()
            line = draw.choice(self.lines)
            if line.name in self.supervisor:
                crash(self.supervisor, line.name)
                self.supervisor[draw.choice(list(self.supervisor))].reset()
            draw.choice(self.lines).stop()

    async def listener(self) -> None:
        """Hear of everything, or at least how much was missed."""
        counted, violations = self.result.counted, self.result.violations
        latest: int | None = None
        async with self.supervisor.events(buffer=64) as stream:
            async for event in stream:
                missed = event.count if isinstance(event, EventsMissed) else 0
                if latest is not None and event.sequence != latest + (missed or 1):
                    violations.append(f"event {event.sequence} after {latest}, {missed} missed")
                latest = event.sequence
                counted["events missed"] += missed
                counted["events heard"] += not missed
                counted["restarts"] += isinstance(event, CircuitRestarted)
                counted["opened"] += isinstance(event, StateChanged) and event.to_state == "open"
                if self.draw.random() < 0.001:
                    await anyio.sleep(0.5)

    async def pulse(self) -> None:
        """Tell for how long the event loop is late: circuits bear with calls meanwhile."""
        while True:
            self.beats_at = anyio.current_time() + PULSE
            await anyio.sleep(PULSE)
            self.late += anyio.current_time() - self.beats_at

    def moment(self) -> Moment:
        """Return the present moment."""
        now = anyio.current_time()
        return Moment(now, self.late + max(0.0, now - self.beats_at))

    def check(self) -> None:
        """Compare the figures of all circuits with the accounts."""
        for line in self.lines:
            self.result.violations += line.violations()
            line.let_go()
        self.result.counted["checks"] += len(self.lines)

    async def watch(self) -> None:
        """Look at everything every second, until the time is over."""
        started = told = anyio.current_time()
        end = started + self.plan.seconds
        result = self.result
        while (now := anyio.current_time()) < end:
            result.seconds = now - started
            result.samples.append((result.seconds, memory()))
            result.most_tasks = max(result.most_tasks, len(anyio.get_running_tasks()))
            self.check()
            if now >= told + 10:
                told = now
                gc.collect()  # what only waits for the collector is no leak
                calls, used = result.counted["calls"], result.samples[-1][1]
                print(
                    f"{result.seconds:6.0f} s  {calls:12,} calls  {used:7.1f} MiB"
                    f"  {len(result.violations)} violations",
                    flush=True,
                )
            await anyio.sleep(min(1, end - now))
        result.seconds = anyio.current_time() - started
        result.samples.append((result.seconds, memory()))
        self.ending = True

    def close_accounts(self) -> None:
        """Check what must hold when all callers have ended."""
        self.check()
        result = self.result
        if self.calls:
            result.violations.append(f"{len(self.calls)} callers have not ended")
        for line in self.lines:
            counted = line.counted()
            result.counted.update({name: counted[name] for name in OUTCOMES})
            result.counted["doubtful"] += line.doubtful
            circuit = self.supervisor.find(line.name)
            if circuit is not None:
                result.counted["waiting"] += len(circuit.messages())
                machine = project(circuit)
                if circuit.askers or (machine.probing and machine.probing.running):
                    result.violations.append(f"{line.name}: askers or probes are left")
            if line.under_way or counted["in_flight"] or line.leaving:
                result.violations.append(f"{line.name}: {counted['in_flight']} still in flight")


async def soak(plan: Plan) -> Result:
    """Do all that, with circuits switched on in the settings."""
    app_settings.circuit_breaker.enabled = True
    tasks_before = len(anyio.get_running_tasks())
    async with Supervisor(max_restarts=sys.maxsize) as supervisor:
        world = World(plan, supervisor)
        async with anyio.create_task_group() as helpers:
            helpers.start_soon(world.listener)
            helpers.start_soon(world.trouble)
            helpers.start_soon(world.pulse)
            async with anyio.create_task_group() as callers:
                for number in range(plan.tasks):
                    callers.start_soon(world.caller, number)
                await world.watch()
                callers.cancel_scope.deadline = anyio.current_time() + PATIENCE
            if callers.cancel_scope.cancelled_caught:
                world.result.violations.append(f"callers did not end within {PATIENCE:g} s")
            helpers.cancel_scope.cancel()
        await settle_down()
        world.close_accounts()
    await settle_down()
    tasks_left = len(anyio.get_running_tasks()) - tasks_before
    if tasks_left:
        world.result.violations.append(f"{tasks_left} tasks are left")
    return world.result


def main(arguments: list[str] | None = None) -> int:
    """Run it, print what was found, and return the exit code."""
    parser = argparse.ArgumentParser(description="Use many circuits by many tasks for long.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--backend", choices=["asyncio", "uvloop", "trio"], default="asyncio")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--circuits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    plan = Plan(given.minutes * 60, given.tasks, given.circuits, given.seed)
    cpu = time.process_time()
    result = anyio.run(
        soak,
        plan,
        backend="trio" if given.backend == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if given.backend == "uvloop" else {},
    )
    print(result.table())
    print(f"{'processor time':>22}  {time.process_time() - cpu:,.0f} s")
    violations = result.violations + result.memory_violations()
    for violation in violations[:20]:
        print(f"VIOLATED: {violation}")
    print(f"{len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
