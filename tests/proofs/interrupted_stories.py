"""Lives of one circuit that are interrupted somewhere, and what they must come to all the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import aclosing, suppress
from typing import Any, Final

import anyio

from supervisor import CircuitBreaker, GuardedStream, Permit, Supervisor
from supervisor.recording import Recording
from supervisor.recording.format import plain
from supervisor.recording.replay import replay_lines
from tests.support.worlds import Down, fail, is_refused, succeed

THRESHOLD: Final = 8
VERDICT_AT: Final = 40

POLICIES: Final[dict[str, dict[str, Any]]] = {
    "in a row": {"failure_threshold": THRESHOLD},
    "last calls": {"window_calls": 100, "failure_threshold": THRESHOLD},
    "last seconds": {"window_seconds": 60.0, "failure_threshold": THRESHOLD},
    "rate in time": {"window_seconds": 60.0, "failure_rate": 0.5, "minimum_calls": VERDICT_AT},
    "slow calls": {
        "window_calls": 100,
        "failure_threshold": THRESHOLD,
        "slow_call_duration": 5.0,
    },
    "throttle": {"window_calls": 100, "failure_threshold": THRESHOLD, "throttle": 10.0},
    "timeout": {"window_calls": 100, "failure_threshold": THRESHOLD, "timeout": 50.0},
}


class Never:
    """What an abandoned call waits for."""

    def __await__(self) -> Generator[None]:
        yield


class Life:
    """One circuit, what has been told of it, and one more call, which ends by an interruption."""

    def __init__(self, supervisor: Supervisor, policy: dict[str, Any], ends: str) -> None:
        self.breaker: CircuitBreaker = supervisor.circuit("x", recovery_timeout=10.0, **policy)
        self.recording: Recording = supervisor.record("x")
        self.told: Counter[str] = Counter()
        self.policy = policy
        self.permits: list[Permit] = []
        self.streams: list[GuardedStream[int]] = []
        self._decorated = {each: self.breaker(each) for each in (succeed, fail, _slow)}
        self._end: Callable[[], None] | None = None
        self._ends = ends
        self._supervisor = supervisor

    async def acquire(self) -> Permit:
        """Ask for a permit."""
        permit = await self.breaker.acquire()
        self.permits.append(permit)
        return permit

    async def begin_one(self) -> None:
        """Begin the call that the interruption is to end."""
        if self._ends == "cancelled":
            abandoned = self.breaker.call(Never)
            abandoned.send(None)
            end = abandoned.close
        else:
            permit = await self.acquire()
            end = {
                "succeeded": permit.succeed,
                "failed": permit.fail,
                "ignored": permit.ignore,
            }[self._ends]
        self._end = end
        self._slow_at = anyio.current_time() + self.policy.get("slow_call_duration", math.inf)

    def end_one(self) -> None:
        """End that call, unless it has ended."""
        if self._end is None:
            return
        end, self._end, outcome = self._end, None, self._ends
        if outcome == "succeeded" and anyio.current_time() >= self._slow_at:
            outcome = "failed"  # it counts as one
        self.told[outcome] += 1
        end()

    async def call(self, func: Callable[[], Awaitable[object]]) -> None:
        """Make a call, which is not refused."""
        with suppress(Down):
            if "slow_call_duration" in self.policy:  # a wrapper has more of them in it than `call`
                await self._decorated[func]()
            else:
                await self.breaker.call(func)
        self.told["failed" if func is fail else "succeeded"] += 1

    async def stream(self, items: int, outcome: str) -> None:
        """Read so many items of a stream, which has two, and breaks off if it is to fail."""
        with suppress(Down):
            self.streams.append(self.breaker.stream(_pieces, outcome))
            async with self.streams[-1] as read:
                for _ in range(items):
                    await anext(read, None)
        self.told[outcome] += 1

    async def turn(self) -> None:
        """Let the actor have one."""
        circuit = self._supervisor.find("x")
        assert circuit is not None
        circuit.mailbox.ring()
        await anyio.sleep(0.01)

    def check(self, state: str) -> None:
        """Compare what the circuit reads as with what was told of it."""
        now = self.breaker.statistics()
        counted = {
            outcome: getattr(now, outcome)
            for outcome in ("succeeded", "failed", "ignored", "cancelled", "rejected")
        }
        assert counted == {outcome: self.told[outcome] for outcome in counted}
        assert (now.in_flight, now.started) == (0, self.told.total())
        assert now.state == state
        replay = replay_lines(self.recording.lines())
        circuit = self._supervisor.find("x")
        assert circuit is not None
        assert replay.agrees
        assert plain(replay.machine) == plain(circuit.machine)

    def look(self) -> None:
        """Read it, and see that all calls are there, and none of them twice."""
        now = self.breaker.statistics()
        ended = (now.succeeded, now.failed, now.ignored, now.cancelled, now.rejected)
        assert min(ended) >= 0
        assert now.started == sum(ended) + now.in_flight

    async def outlive(self) -> None:
        """End what is left of it, and look that all adds up and that the circuit still works."""
        for permit in self.permits:
            if not permit.settled:
                permit.ignore()
        for stream in self.streams:
            await stream.aclose()
        await anyio.sleep(1)
        assert self.breaker.statistics().in_flight == 0
        self.look()
        with anyio.fail_after(1000):
            self.breaker.reset()
            for _ in range(self.policy["failure_threshold"]):
                assert self.breaker.state == "closed"
                await self.call(fail)
            assert await is_refused(self.breaker)
            await anyio.sleep(10)
            for _ in range(3):
                await self.call(succeed)
            assert self.breaker.state == "closed"
        assert replay_lines(self.recording.lines()).agrees

    async def open(self) -> None:
        """Fail until it has to open, and look that it does so at that very failure."""
        left = THRESHOLD - self.told["failed"]
        if "failure_rate" in self.policy:
            left = VERDICT_AT - self.told["failed"] - self.told["succeeded"]
        for _ in range(left):
            assert self.breaker.state == "closed"
            await self.call(fail)
        assert self.breaker.state == "open"
        assert await is_refused(self.breaker)


async def closed(life: Life) -> Callable[[], Awaitable[None]]:
    """Calls of a closed circuit succeed, fail and become slow."""
    await life.call(succeed)
    first, second, third = [await life.acquire() for _ in range(3)]
    await life.begin_one()
    counts_all = len(life.policy) > 1  # or a success would make it forget

    async def go_on() -> None:
        if counts_all:
            first.succeed()
            life.told["succeeded"] += 1
            await life.call(succeed)
        second.fail(Down())
        life.told["failed"] += 1
        await life.call(fail)
        life.look()
        await life.turn()
        if counts_all:
            await life.call(succeed)
        third.ignore()
        life.told["ignored"] += 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(life.call, _slow if counts_all else fail)
            await anyio.sleep(6)
        if "slow_call_duration" in life.policy:
            life.told["succeeded"] -= 1
            life.told["failed"] += 1
        assert life.breaker.state == "closed"
        if not counts_all:
            first.ignore()
            life.told["ignored"] += 1

    return go_on


async def streamed(life: Life) -> Callable[[], Awaitable[None]]:
    """Streams of a closed circuit end, are left, and break off."""
    await life.call(succeed)
    await life.begin_one()
    counts_all = len(life.policy) > 1  # or a success would make it forget

    async def go_on() -> None:
        if counts_all:
            await life.stream(3, "succeeded")
            await life.stream(1, "succeeded")
        life.look()
        await life.stream(0, "cancelled")
        await life.stream(3, "failed")
        await life.turn()
        assert life.breaker.state == "closed"

    return go_on


async def streamed_probes(life: Life) -> Callable[[], Awaitable[None]]:
    """Two probes of three are streams: one is alive, and one succeeds by its first item."""
    await open_by_hand(life)
    await anyio.sleep(10)
    life.streams = [
        life.breaker.stream(_pieces, "succeeded"),
        life.breaker.stream(_pieces, "succeeded", verdict="first_item"),
    ]
    for stream in life.streams:
        await stream.__aenter__()
    await life.begin_one()

    async def go_on() -> None:
        for stream in life.streams:
            async with aclosing(stream):
                assert [item async for item in stream] == [0, 1]
            life.told["succeeded"] += 1
            life.look()
            await life.turn()

    return go_on


async def half_open(life: Life) -> Callable[[], Awaitable[None]]:
    """Three probes at a time, all of which have to succeed."""
    await open_by_hand(life)
    await anyio.sleep(10)
    first, second = [await life.acquire() for _ in range(2)]
    await life.begin_one()

    async def go_on() -> None:
        first.succeed()
        life.told["succeeded"] += 1
        life.look()
        await life.turn()
        second.succeed()
        life.told["succeeded"] += 1
        await life.turn()

    return go_on


async def opened(life: Life) -> Callable[[], Awaitable[None]]:
    """Calls are refused, and one that was admitted before comes too late."""
    await life.call(succeed)
    await life.begin_one()
    await open_by_hand(life)

    async def go_on() -> None:
        for _ in range(2):
            assert await is_refused(life.breaker)
            life.told["rejected"] += 1
        assert life.breaker.state == "open"
        await anyio.sleep(10)
        for _ in range(3):
            await life.call(succeed)

    return go_on


async def open_by_hand(life: Life) -> None:
    while life.breaker.state == "closed":
        await life.call(fail)
    await anyio.sleep(1)


async def _pieces(outcome: str) -> AsyncIterator[int]:
    for number in range(2):
        yield number
        await anyio.sleep(1)
    if outcome == "failed":
        raise Down


async def _slow() -> None:
    await anyio.sleep(5.5)
