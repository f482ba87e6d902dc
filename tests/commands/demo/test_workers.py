"""The demo's agents: what they send, how their calls end, and what they write down."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx
import pytest

from supervisor import CircuitBreaker, Supervisor
from supervisor.commands.demo.clients import HttpxClient
from supervisor.commands.demo.passes import circuits_enabled, create_circuits
from supervisor.commands.demo.plan import Plan
from supervisor.commands.demo.workers import OPERATIONS, Agent, Call, Journal
from supervisor.integrations.httpx import CircuitTransport

pytestmark = pytest.mark.anyio

Handler = Callable[[httpx.Request], httpx.Response]

PLAN = Plan(workers=1, seconds=10.0)


async def work(handler: Handler, plan: Plan = PLAN) -> list[Call]:
    """Let one agent work for a pass, with `handler` for a server."""
    journal = Journal(anyio.current_time())
    transport = httpx.MockTransport(handler)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        await Agent(0, HttpxClient(httpx, client), journal).work(plan)
    return journal.calls


def healthy(request: httpx.Request) -> httpx.Response:
    """A server that does what it is asked to."""
    assert request.url.path in ("/chat", "/search", "/memory")
    return httpx.Response(200)


def dead(request: httpx.Request) -> httpx.Response:
    """A server that cannot."""
    return httpx.Response(503)


def unreachable(request: httpx.Request) -> httpx.Response:
    """No server at all."""
    raise httpx.ConnectError("refused", request=request)


async def test_an_agent_goes_round_its_operations() -> None:
    """One after the other, each with one request while all is well."""
    calls = await work(healthy)
    names = [operation.__name__ for operation in OPERATIONS]
    assert [call.operation for call in calls] == (names * len(calls))[: len(calls)]
    assert {(call.outcome, call.requests) for call in calls} == {("succeeded", 1)}


async def test_an_agent_ends_with_the_pass() -> None:
    """It starts no call after the end, and ends with the one that is under way."""
    calls = await work(healthy)
    assert 0 < len(calls) < 30
    assert all(call.ended < PLAN.seconds for call in calls)
    assert [call.ended for call in calls] == sorted(call.ended for call in calls)


@pytest.mark.parametrize("handler", [dead, unreachable])
async def test_failures_are_retried(handler: Handler) -> None:
    """Without circuits, a call sends all its requests before it has failed."""
    calls = await work(handler)
    assert {(call.outcome, call.requests) for call in calls} == {("failed", 5)}


async def test_an_open_circuit_rejects_without_a_request() -> None:
    """The call that opens it has failed; those after it are rejected, with nothing sent."""
    async with Supervisor() as supervisor:
        with circuits_enabled(True):
            create_circuits(supervisor, Plan(seconds=1000.0))
            calls = await work(dead, Plan(seconds=60.0))
    chats = [call for call in calls if call.operation == "complete_chat"]
    assert (chats[0].outcome, chats[0].requests) == ("failed", 5)
    assert {(call.outcome, call.requests) for call in chats[1:]} == {("rejected", 0)}


async def test_a_refused_retry_is_a_failure() -> None:
    """A call that has sent requests in vain took its time: it is none of the rejected ones."""
    tried = anyio.Event()

    def dead_server(request: httpx.Request) -> httpx.Response:
        tried.set()
        return dead(request)

    async def fail() -> None:
        raise ConnectionError

    async def open_meanwhile(breaker: CircuitBreaker) -> None:
        await tried.wait()
        await anyio.sleep(0.01)
        with pytest.raises(ConnectionError):
            await breaker.call(fail)

    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        with circuits_enabled(True):
            breaker = supervisor.circuit("api:complete_chat", failure_threshold=2)
            tasks.start_soon(open_meanwhile, breaker)
            calls = await work(dead_server, Plan(seconds=1.0, think=0.1))
    assert (calls[0].operation, calls[0].outcome, calls[0].requests) == (
        "complete_chat",
        "failed",
        1,
    )


async def test_a_refusal_by_the_clients_guard() -> None:
    """Is one like others: nothing was sent, also if it ends a call that has sent something."""
    sent = 0

    def counted(request: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        return dead(request)

    guard = CircuitTransport(httpx.MockTransport(counted), recovery_timeout=1000.0)
    journal = Journal(anyio.current_time())
    async with (
        Supervisor(),
        httpx.AsyncClient(transport=guard, base_url="http://server") as client,
    ):
        await Agent(0, HttpxClient(httpx, client), journal).work(PLAN)
    first, *others = journal.calls
    assert (first.outcome, first.requests, sent) == ("failed", 3, 3)
    assert {(call.outcome, call.requests) for call in others} == {("rejected", 0)}


async def test_the_journal_adds_up() -> None:
    """Its counts are those of the calls in it."""
    journal = Journal(anyio.current_time())
    journal.add(Call("complete_chat", 0.1, "succeeded", 0.01, requests=1))
    journal.add(Call("complete_chat", 0.2, "failed", 0.01, requests=5))
    journal.add(Call("store_memory", 0.3, "failed", 0.01, requests=2))
    assert [journal.total(outcome) for outcome in ("succeeded", "failed", "rejected")] == [1, 2, 0]
    assert journal.requests == {"complete_chat": 6, "store_memory": 2}
    assert len(journal.calls) == 3
