"""A process that does what it is told with circuits of a contestant: a line each way.

All times are those of `time.monotonic`, which is the same for all processes of a machine.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from queue import SimpleQueue
from typing import Any, Final

import anyio
import anyio.to_thread

from benchmarks.contestants.interface import Guard, Setup
from benchmarks.fleet.sharers import SHARERS, Make
from benchmarks.measure import Clock, quiet
from supervisor.commands.demo.fleet.store import read_line

THRESHOLD: Final = 5
LOOK: Final = 0.002
"""Seconds between two calls of a process that waits until it is refused."""

SEEK: Final = 0.05
"""Seconds between two calls of a process that waits until it is admitted."""

LEAVE: Final = 10.0
"""Seconds after which a contestant that does not leave is left alone."""

DURATION: Final = 0.01
"""Seconds that a call of the dependency takes."""


class DownError(Exception):
    """What the dependency fails with."""


async def succeed() -> None:
    """Do nothing."""


async def fail() -> None:
    """Fail at once."""
    raise DownError


class Worker:
    """What one process has: its connections, by contestant."""

    def __init__(self) -> None:
        self._makes: dict[str, tuple[Make, AsyncExitStack]] = {}
        self._guards: dict[tuple[str, str], Guard] = {}

    async def connect(self, who: str, url: str) -> None:
        """Connect as a contestant."""
        stack = AsyncExitStack()
        self._makes[who] = await stack.enter_async_context(SHARERS[who].connect(url)), stack

    async def disconnect(self, who: str) -> None:
        """Leave."""
        _, stack = self._makes.pop(who)
        self._guards = {key: guard for key, guard in self._guards.items() if key[0] != who}
        with suppress(Exception), anyio.move_on_after(LEAVE):  # the server may be gone
            await stack.aclose()

    async def trip(self, who: str, name: str, recovery: float = 600.0) -> float:
        """Open a circuit by failures, and return when that was done."""
        guard = self._guard(who, name, recovery)
        for _ in range(THRESHOLD):
            with suppress(DownError):
                await guard(fail)
        return time.monotonic()

    async def watch(self, who: str, name: str, within: float) -> dict[str, Any]:
        """Return when the first call was refused, if that was so in time; and by how much this
        process was late for each of its calls.
        """
        guard, refusal = self._guard(who, name, 600.0), SHARERS[who].refusal()
        await guard(succeed)
        say("watching")
        late: list[float] = []
        ends = time.monotonic() + within
        while (now := time.monotonic()) < ends:
            try:
                await guard(succeed)
            except refusal:
                return {"at": time.monotonic(), "late": late}
            await anyio.sleep(LOOK)
            late.append(time.monotonic() - now - LOOK)
        return {"at": None, "late": late}

    async def outage(
        self, who: str, name: str, began: float, back: float, seconds: float, rate: float
    ) -> dict[str, Any]:
        """Call a dependency at a rate that is down until `back`; return who got through."""
        guard, refusal = self._guard(who, name, 1.0), SHARERS[who].refusal()
        reached: list[float] = []
        succeeded: list[float] = []
        refused: list[float] = []

        async def depend() -> None:
            reached.append(now := time.monotonic())
            await anyio.sleep(DURATION)
            if now < back:
                raise DownError

        async def call() -> None:
            try:
                await guard(depend)
                succeeded.append(time.monotonic())
            except refusal:
                refused.append(time.monotonic())
            except DownError:
                pass

        await self._at_a_rate(call, began, seconds, rate)
        return {
            "dead": [at for at in reached if at < back],
            "refused": refused[:1],
            "recovered": succeeded[0] - back if succeeded else None,
        }

    async def steady(self, who: str, name: str, began: float, seconds: float, rate: float) -> int:
        """Make calls that succeed, at a rate, and return how many."""
        guard, calls = self._guard(who, name, 600.0), 0

        async def call() -> None:
            nonlocal calls
            await guard(succeed)
            calls += 1

        await self._at_a_rate(call, began, seconds, rate)
        return calls

    async def cost(self, who: str, name: str, calls: int) -> float:
        """Return the CPU seconds of a success of a closed circuit."""
        guard = self._guard(who, name, 600.0)
        for _ in range(calls // 10 + 1):
            await guard(succeed)
        with Clock() as clock:
            for _ in range(calls):
                await guard(succeed)
        return clock.seconds / calls

    async def hold(self, who: str, name: str, recovery: float) -> None:
        """Be the probe of a circuit that is open, say so, and stay in it."""
        guard, refusal = self._guard(who, name, recovery), SHARERS[who].refusal()

        async def stay() -> None:
            say("holding")
            await anyio.sleep_forever()

        while True:
            with suppress(refusal):
                await guard(stay)
            await anyio.sleep(SEEK)

    async def seek(
        self, who: str, name: str, recovery: float, within: float, admitted: bool
    ) -> float | None:
        """Return when a call was admitted first, or refused, if that was so in time."""
        guard, refusal = self._guard(who, name, recovery), SHARERS[who].refusal()
        ends = time.monotonic() + within
        while time.monotonic() < ends:
            try:
                await guard(succeed)
            except refusal:
                if not admitted:
                    return time.monotonic()
            else:
                if admitted:
                    return time.monotonic()
            await anyio.sleep(SEEK)
        return None

    async def waits(self, who: str, name: str, calls: int) -> list[float]:
        """Return the seconds that each of some calls takes, all in all."""
        guard = self._guard(who, name, 600.0)
        seconds: list[float] = []
        for _ in range(calls):
            began = time.perf_counter()
            await guard(succeed)
            seconds.append(time.perf_counter() - began)
        return seconds

    def _guard(self, who: str, name: str, recovery: float) -> Guard:
        if (who, name) not in self._guards:
            make, _ = self._makes[who]
            setup = Setup(name, failure_threshold=THRESHOLD, recovery_timeout=recovery)
            self._guards[who, name] = make(setup)
        return self._guards[who, name]

    async def _at_a_rate(
        self, call: Callable[[], Awaitable[None]], began: float, seconds: float, rate: float
    ) -> None:
        luck = random.Random()  # noqa: S311  (nothing to guess here)
        async with anyio.create_task_group() as tasks:
            at = began + luck.uniform(0, 1 / rate)
            while at < began + seconds:
                await anyio.sleep(max(0.0, at - time.monotonic()))
                tasks.start_soon(call)
                at += 1 / rate


def say(what: object) -> None:
    """Tell the benchmark something."""
    print(json.dumps(what), flush=True)


async def serve(commands: SimpleQueue[str]) -> None:
    """Do what is told, one after the other."""
    worker = Worker()
    while True:
        arguments: dict[str, Any] = json.loads(await anyio.to_thread.run_sync(commands.get))
        do = getattr(worker, arguments.pop("do"))
        try:
            said = await do(**arguments)
        except Exception as error:
            said = {"problem": f"{type(error).__name__}: {error}"[:200]}
        say(said)


def listen(commands: SimpleQueue[str]) -> None:
    """Take commands, and end this process when nobody is there who could give any."""
    while line := read_line(sys.stdin.fileno()):
        commands.put(line)
    os._exit(0)


def run() -> None:
    """Serve on the event loop that the first line names."""
    backend = read_line(sys.stdin.fileno())
    commands: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=listen, args=(commands,), daemon=True).start()
    with quiet():
        anyio.run(serve, commands, backend=backend)
