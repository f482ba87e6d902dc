"""One pass: all agents at work, with or without circuits."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpx

from supervisor.commands.demo.clients import (
    FAILURE_THRESHOLD,
    AgentClient,
    HttpxClient,
    new_client,
    own_transport,
)
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.server import ServerReport
from supervisor.commands.demo.workers import OPERATION_AT, OPERATIONS, Agent, Call, Journal
from supervisor.events import EventStream, StateChanged
from supervisor.machine import CircuitState
from supervisor.settings import app_settings
from supervisor.supervision import Supervisor

PATIENCE: Final[Mapping[str, float]] = {
    "complete_chat": 1.0,
    "search_tool": 0.75,
    "store_memory": 0.5,
}
"""How long each circuit stays open, as a multiple of what fits the pass."""

BUFFER: Final = 100_000
"""State changes that are kept until the end of the pass: more than ever come."""


@dataclass(frozen=True, slots=True)
class Change:
    """A circuit's new state, and the seconds from the pass's beginning to it."""

    at: float
    operation: str
    state: CircuitState


@dataclass(frozen=True, slots=True)
class Pass:
    """What was measured in one pass; all times are seconds since it began.

    Attributes:
        guarded: whether there were circuits.
        server: what the server saw.
        calls: what the agents saw, in the order in which the calls ended.
        changes: what the circuits did.
    """

    guarded: bool
    server: ServerReport
    calls: tuple[Call, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see of a pass that is under way."""

    plan: Plan
    guarded: bool
    journal: Journal
    supervisor: Supervisor


@dataclass(frozen=True, slots=True)
class Remote:
    """The server, as the agents reach it.

    Attributes:
        transport: makes an agent's own connection.
        clock: the clock that the server reads.
    """

    url: str
    transport: Callable[[], httpx.AsyncBaseTransport]
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def at(cls, url: str) -> Remote:
        """Return the server at that URL."""
        return cls(url, lambda: own_transport(httpx))

    def client(self) -> httpx.AsyncClient:
        """Return a client that nothing guards."""
        return httpx.AsyncClient(base_url=self.url, transport=self.transport(), trust_env=False)

    def agents_client(self, plan: Plan, guarded: bool) -> AgentClient:
        """Return a client of its own for one agent."""
        if plan.client is None:
            return HttpxClient(httpx, self.client())
        return new_client(plan, guarded, self.url, _circuit_of_request)


async def run_pass(
    plan: Plan,
    guarded: bool,
    remote: Remote,
    supervisor: Supervisor,
    watch: Callable[[Scene], Coroutine[Any, Any, None]],
) -> Pass:
    """Let all agents work for the length of one pass, and return what was measured.

    There are no circuits yet if it is guarded. `watch` runs meanwhile, and is cancelled at the end.

    Raises:
        httpx.HTTPError: the server is gone.
    """
    async with remote.client() as control:
        by_decorators = guarded and plan.client is None
        with circuits_enabled(by_decorators):
            if by_decorators:
                create_circuits(supervisor, plan)
            events = supervisor.events(BUFFER)
            journal = Journal(await begin(control, plan, remote.clock))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, Scene(plan, guarded, journal, supervisor))
                await _work(plan, guarded, remote, journal)
                tasks.cancel_scope.cancel()
            return Pass(
                guarded=guarded,
                server=await report(control),
                calls=tuple(journal.calls),
                changes=await _changes(events, journal.origin),
            )


@contextmanager
def circuits_enabled(enabled: bool) -> Generator[None, None, None]:
    """Switch the retry decorators' circuits on or off, for the length of the block."""
    before = app_settings.circuit_breaker.enabled
    app_settings.circuit_breaker.enabled = enabled
    try:
        yield
    finally:
        app_settings.circuit_breaker.enabled = before


def create_circuits(supervisor: Supervisor, plan: Plan) -> None:
    """Create the operations' circuits, with recovery timeouts that fit into the outage."""
    for operation in OPERATIONS:
        name = operation.__name__
        supervisor.circuit(
            circuit_of(name),
            failure_threshold=FAILURE_THRESHOLD,
            recovery_timeout=plan.recovery_timeout(PATIENCE[name]),
        )


def circuit_of(operation: str) -> str:
    """Return the name of the circuit that `retry_api_call` gives to an operation."""
    return f"api:{operation}"


def _circuit_of_request(request: Any) -> str:
    return circuit_of(OPERATION_AT[request.url.path])


async def _work(plan: Plan, guarded: bool, remote: Remote, journal: Journal) -> None:
    async with AsyncExitStack() as clients, anyio.create_task_group() as tasks:
        for number in range(plan.workers):
            client = remote.agents_client(plan, guarded)
            await clients.enter_async_context(client)
            tasks.start_soon(Agent(number, client, journal).work, plan)


async def begin(control: httpx.AsyncClient, plan: Plan, clock: Callable[[], float]) -> float:
    """Start the server's schedule, and return the event loop's time at that moment."""
    origin, began = anyio.current_time(), clock()
    schedule = {
        "began": began,
        "dead_from": plan.dead_from,
        "dead_until": plan.dead_until,
        "bucket": plan.bucket,
    }
    response = await control.post("/control/begin", params=schedule)
    response.raise_for_status()
    return origin


async def report(control: httpx.AsyncClient) -> ServerReport:
    """Return what the server has seen since the schedule began."""
    response = await control.get("/control/report")
    return ServerReport(**response.raise_for_status().json())


async def _changes(events: EventStream, origin: float) -> tuple[Change, ...]:
    events.close()
    return tuple(
        [
            Change(event.at - origin, event.circuit.removeprefix("api:"), event.to_state)
            async for event in events
            if isinstance(event, StateChanged)
        ]
    )
