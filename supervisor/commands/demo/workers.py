"""The agents, and the operations that they call the server by."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import anyio

from supervisor.commands.demo.clients import AgentClient
from supervisor.commands.demo.plan import Plan
from supervisor.errors import CircuitBreakerOpenError
from supervisor.retry import retry_api_call

CallOutcome = Literal["succeeded", "failed", "rejected"]
"""How a call ended: it is "rejected" if a circuit refused it before any request was sent."""

OUTCOMES: Final[tuple[CallOutcome, ...]] = ("succeeded", "failed", "rejected")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation, retries included.

    Attributes:
        operation: its name.
        ended: seconds since the pass began.
        latency: seconds that the agent waited for the outcome.
        requests: how many the call has sent.
    """

    operation: str
    ended: float
    outcome: CallOutcome
    latency: float
    requests: int


@dataclass(slots=True)
class Journal:
    """The calls of all agents in one pass, as they end.

    Attributes:
        origin: the event loop's time at which the pass began.
        counts: calls by operation and outcome.
        requests: by operation.
    """

    origin: float
    calls: list[Call] = field(default_factory=list[Call])
    counts: Counter[tuple[str, CallOutcome]] = field(
        default_factory=Counter[tuple[str, CallOutcome]]
    )
    requests: Counter[str] = field(default_factory=Counter[str])

    @property
    def now(self) -> float:
        """Seconds since the pass began."""
        return anyio.current_time() - self.origin

    def total(self, outcome: CallOutcome) -> int:
        """Return how many calls ended so."""
        return sum(self.counts[operation.__name__, outcome] for operation in OPERATIONS)

    def add(self, call: Call) -> None:
        """Write down a call that has ended."""
        self.calls.append(call)
        self.counts[call.operation, call.outcome] += 1
        self.requests[call.operation] += call.requests


class Agent:
    """One agent: it thinks, calls, and thinks again, whatever comes of its calls."""

    def __init__(self, number: int, client: AgentClient, journal: Journal) -> None:
        self._client = client
        self._journal = journal
        self._requests = 0
        self._random = random.Random(number)  # noqa: S311  (nothing to guess here)
        self._jobs = itertools.islice(itertools.cycle(OPERATIONS), number % len(OPERATIONS), None)

    async def work(self, plan: Plan) -> None:
        """Work for the length of a pass, and end with the call that is under way then."""
        # Thoughts of exponential length make a steady crowd from the first second on.
        while (
            self._journal.now + (pause := self._random.expovariate(1 / plan.think)) < plan.seconds
        ):
            await anyio.sleep(pause)
            await self._call(next(self._jobs))

    async def post(self, path: str, body: dict[str, Any]) -> None:
        """Send one request.

        Raises:
            CircuitBreakerOpenError: the client's own guard has refused it.
            ConnectionError: the server could not be reached, or could not do it.
        """
        self._requests += 1
        try:
            status = await self._client.post(path, body)
        except CircuitBreakerOpenError:
            self._requests -= 1  # it was not sent
            raise
        if status >= 500:
            raise ConnectionError(f"{path} answered {status}")

    async def _call(self, operation: Operation) -> None:
        requests, started = self._requests, time.perf_counter()
        outcome: CallOutcome = "succeeded"
        try:
            await operation(self)
        except CircuitBreakerOpenError:
            # Also a retry may be refused: that call has failed, and took its time.
            outcome = "rejected" if self._requests == requests else "failed"
        except ConnectionError:
            outcome = "failed"
        latency = time.perf_counter() - started
        sent = self._requests - requests
        self._journal.add(
            Call(operation.__name__, self._journal.now, outcome, latency, requests=sent)
        )


_retried = retry_api_call(max_attempts=5, min_wait=0.05, max_wait=0.25, guard="attempt")


@_retried
async def complete_chat(agent: Agent) -> None:
    """Ask the language model."""
    await agent.post("/chat", {"prompt": "What next?"})


@_retried
async def search_tool(agent: Agent) -> None:
    """Look something up."""
    await agent.post("/search", {"query": "circuit breaker"})


@_retried
async def store_memory(agent: Agent) -> None:
    """Keep what was found."""
    await agent.post("/memory", {"note": "found"})


Operation = Callable[[Agent], Awaitable[None]]

OPERATIONS: Final = (complete_chat, search_tool, store_memory)

OPERATION_AT: Final[Mapping[str, str]] = {
    "/chat": "complete_chat",
    "/search": "search_tool",
    "/memory": "store_memory",
}
"""The operation of each of the server's paths."""
