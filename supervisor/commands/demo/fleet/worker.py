"""The process of some of the agents: an event loop, a supervisor, and a circuit of its own."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, NoReturn

import anyio
import anyio.to_thread
import httpx

from supervisor.commands.demo.clients import FAILURE_THRESHOLD, HttpxClient
from supervisor.commands.demo.fleet.diary import Call, Change, Done, Fact, Ready, Say, line_of
from supervisor.commands.demo.fleet.store import read_line, sharing_by
from supervisor.commands.demo.passes import BUFFER, Remote
from supervisor.commands.demo.plan import Backend
from supervisor.commands.demo.process import end_with
from supervisor.commands.demo.workers import CallOutcome
from supervisor.errors import CircuitBreakerOpenError
from supervisor.events import EventStream, FleetJoined, StateChanged
from supervisor.guard import CircuitBreaker
from supervisor.machine import CircuitState
from supervisor.sharing import Sharing
from supervisor.supervision import Supervisor

CIRCUIT: Final = "api:search"
PATH: Final = "/search"

JOINS_WITHIN: Final = 20.0
"""Seconds in which a process reaches the store, on a machine that is busy."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to do.

    Attributes:
        backend: its event loop.
        first, agents: the number of its first agent, and how many they are.
        url: of the server that dies.
        seconds: length of the pass.
        recovery_timeout: of the circuit.
        think: mean seconds that an agent thinks between two calls.
        store: URL of the store that circuits are shared through; None: they are not.
        space: the store's space.
    """

    backend: Backend
    first: int
    agents: int
    url: str
    seconds: float
    recovery_timeout: float
    think: float
    store: str | None
    space: str

    def line(self) -> str:
        """Return it as a line: not as arguments, which all users of a machine may read."""
        return json.dumps(asdict(self))


class Agent:
    """One agent: it thinks, calls, and thinks again.

    Args:
        client: its connection to the server.
        breaker: of its process.
        say: is told of its calls.
        clock: tells the seconds since the pass began.
    """

    def __init__(
        self, client: HttpxClient, breaker: CircuitBreaker, say: Say, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._breaker = breaker
        self._say = say
        self._clock = clock

    async def work(self, job: Job, number: int) -> None:
        """Work for the length of a pass, and end with the call that is under way then."""
        luck = random.Random(number)  # noqa: S311  (nothing to guess here)
        while self._clock() + (pause := luck.expovariate(1 / job.think)) < job.seconds:
            await anyio.sleep(pause)
            await self._call()

    async def _call(self) -> None:
        self._sent: float | None = None
        self._probes = False
        outcome: CallOutcome = "succeeded"
        try:
            await self._breaker.call(self._search)
        except CircuitBreakerOpenError:
            outcome = "rejected"
        except ConnectionError:
            outcome = "failed"
        at = self._clock() if self._sent is None else self._sent
        self._say(Call(at, outcome, self._probes))

    async def _search(self) -> None:
        self._sent = self._clock()
        self._probes = self._breaker.state is CircuitState.HALF_OPEN
        if await self._client.post(PATH, {"query": "circuit breaker"}) >= 500:
            raise ConnectionError(f"{PATH} is down")


async def work(
    job: Job,
    remote: Remote,
    sharing: Sharing | None,
    say: Say,
    began: Callable[[], Awaitable[float]],
) -> None:
    """Let the agents of a process work, and tell all that happens.

    Args:
        sharing: what its circuit is shared through.
        began: waits until the pass has begun, and returns when, by the server's clock.
    """
    async with Supervisor(sharing=sharing) as supervisor, AsyncExitStack() as clients:
        events = supervisor.events(BUFFER)
        breaker = supervisor.circuit(
            CIRCUIT, failure_threshold=FAILURE_THRESHOLD, recovery_timeout=job.recovery_timeout
        )
        agents: list[HttpxClient] = []
        for _ in range(job.agents):
            agents.append(HttpxClient(httpx, remote.client()))
            await clients.enter_async_context(agents[-1])
        if sharing is not None and not is_linked(supervisor):
            await _wait_for_link(events)
        say(Ready(is_linked(supervisor)))
        origin = await began() - remote.clock() + anyio.current_time()

        def clock() -> float:
            return anyio.current_time() - origin

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tell_changes, events, origin, say)
            async with anyio.create_task_group() as working:
                for number, client in enumerate(agents, job.first):
                    working.start_soon(Agent(client, breaker, say, clock).work, job, number)
                await anyio.sleep_until(origin + job.seconds)
            tasks.cancel_scope.cancel()
    say(Done())


def is_linked(supervisor: Supervisor) -> bool:
    """Return whether it shares circuits, and reaches the store."""
    fleet = supervisor.fleet
    return fleet is not None and fleet.linked


async def _wait_for_link(events: EventStream) -> None:
    with anyio.move_on_after(JOINS_WITHIN):
        while not isinstance(await anext(events), FleetJoined):
            pass


async def _tell_changes(events: EventStream, origin: float, say: Say) -> None:
    async for event in events:
        if isinstance(event, StateChanged):
            say(Change(event.at - origin, event.to_state, event.origin))


def run(lifeline: int = 0) -> None:
    """Do the job that is told by the file `lifeline`, and end at once when that ends."""
    line = read_line(lifeline)
    if not line:
        return
    job = Job(**json.loads(line))
    sharing = None if job.store is None else sharing_by(job.store, job.space)
    began = partial(wait_for_beginning, lifeline)
    anyio.run(work, job, Remote.at(job.url), sharing, _print, began, backend=job.backend)


async def wait_for_beginning(lifeline: int) -> float:
    """Wait until the file `lifeline` tells when the pass has begun, and watch it from then on."""
    line = await anyio.to_thread.run_sync(read_line, lifeline)
    if not line:
        vanish()
    threading.Thread(target=end_with, args=(lifeline, vanish), daemon=True).start()
    return float(line)


def vanish() -> NoReturn:
    """End this process at once: whoever has started it waits for nothing any more."""
    os._exit(1)


def _print(fact: Fact) -> None:
    print(line_of(fact), file=sys.stdout, flush=True)
