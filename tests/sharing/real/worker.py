"""A process of a fleet that does what it is told: a line of JSON in, and one out, in turn.

python -m tests.sharing.real.worker BACKEND SECONDS

SECONDS are those by which its wall clock is ahead.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import anyio.to_thread

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    EventStream,
    FleetJoined,
    FleetLost,
    Permit,
    RedisSharing,
    StateChanged,
    Supervisor,
)
from supervisor.machine import leasing
from supervisor.sharing import redis
from supervisor.sharing.wire import script

ANSWER_WITHIN = 60.0
"""Seconds, in the place of a quarter of one: however busy the machine is, nobody decides alone
while the store is there. That a circuit does so in time is tested where time is virtual.
"""


class Process:
    """What can be asked of the process."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._events: list[FleetJoined | FleetLost | StateChanged] = []
        self._permits: dict[str, Permit] = {}
        self._breakers: dict[str, CircuitBreaker] = {}

    async def join(self, url: str, options: dict[str, Any], policy: dict[str, Any]) -> str:
        """Share circuits through a server; its clock is ahead by what a key of it says, if any."""
        ahead = options.pop("clock", None)
        redis.script = script if ahead is None else lambda: _script_ahead_by(ahead)
        self._events.clear()
        self._policy = policy
        self._supervisor = Supervisor(sharing=RedisSharing(url, **options))
        events = self._supervisor.events()
        await self._stack.enter_async_context(self._supervisor)
        group = await self._stack.enter_async_context(anyio.create_task_group())
        group.start_soon(self._listen, events)
        self._stack.callback(group.cancel_scope.cancel)
        fleet = self._supervisor.fleet
        assert fleet is not None
        return fleet.owner

    async def leave(self) -> None:
        """Share nothing any more."""
        for permit in self._permits.values():
            permit.ignore()
        self._permits.clear()
        self._breakers.clear()
        await self._stack.aclose()

    async def make(self, circuit: str, policy: dict[str, Any]) -> None:
        """Make a circuit whose policy is another one."""
        self._breakers[circuit] = self._supervisor.circuit(circuit, **self._policy | policy)

    async def begin(self, circuit: str) -> bool:
        """Begin a call, and return whether it is admitted."""
        try:
            self._permits[circuit] = await self._breaker(circuit).acquire()
        except CircuitBreakerOpenError:
            return False
        return True

    async def end(self, circuit: str, well: bool) -> None:
        """Let it end."""
        permit = self._permits.pop(circuit)
        if well:
            permit.succeed()
        else:
            permit.fail(ConnectionError("down"))

    async def fail(self, *circuits: str) -> int:
        """Let a call of each fail, and return how many were admitted."""
        admitted = [circuit for circuit in circuits if await self.begin(circuit)]
        for circuit in admitted:
            await self.end(circuit, well=False)
        return len(admitted)

    async def state(self, circuit: str) -> str:
        return self._breaker(circuit).state.value

    async def states(self, *circuits: str) -> dict[str, int]:
        """Return how many are in which state."""
        return Counter([await self.state(circuit) for circuit in circuits])

    async def linked(self) -> bool:
        """Return whether the server is reached, and was told to be."""
        fleet = self._supervisor.fleet
        assert fleet is not None
        return fleet.linked and (await self.links())[-1:] == ["FleetJoined"]

    async def links(self) -> list[str]:
        """Return what was said of the link."""
        return [type(each).__name__ for each in self._events if not isinstance(each, StateChanged)]

    async def changes(self, circuit: str) -> list[list[str]]:
        """Return the states that a circuit has been in, and who has brought them about."""
        return [
            [each.to_state.value, each.origin]
            for each in self._events
            if isinstance(each, StateChanged) and each.circuit == circuit
        ]

    async def wall_clock(self) -> float:
        return time.time()

    def _breaker(self, circuit: str) -> CircuitBreaker:
        if circuit not in self._breakers:
            self._breakers[circuit] = self._supervisor.circuit(circuit, **self._policy)
        return self._breakers[circuit]

    async def _listen(self, events: EventStream) -> None:
        async for event in events:
            if isinstance(event, FleetJoined | FleetLost | StateChanged):
                self._events.append(event)


def _script_ahead_by(key: str) -> str:
    read, rest = script().split("local CIRCUITS", 1)
    return f"{read}now = now + tonumber(redis.call('GET', '{key}'))\nlocal CIRCUITS{rest}"


async def obey() -> None:
    """Do what is asked for, until there is nothing more."""
    process = Process()
    print(json.dumps("ready"), flush=True)
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        what, *arguments = json.loads(line)
        print(json.dumps(await getattr(process, what)(*arguments)), flush=True)


def main() -> None:
    """Set the wall clock, and begin."""
    backend, ahead = sys.argv[1], float(sys.argv[2])
    right = time.time
    time.time = lambda: right() + ahead
    leasing.ANSWER_WITHIN = ANSWER_WITHIN
    leasing.PATIENCE = ANSWER_WITHIN + 0.01
    options = {"use_uvloop": backend == "uvloop"} if backend != "trio" else {}
    anyio.run(obey, backend=backend.replace("uvloop", "asyncio"), backend_options=options)


if __name__ == "__main__":
    main()
