"""An open circuit is no reason for a restart, and may be one to send no requests."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from supervisor import Supervisor
from supervisor.integrations.asgi import Liveness, Readiness, SupervisorMiddleware
from tests.integrations.asgi.driver import Client, Exchange, serving
from tests.support.worlds import crash, fail_times, settle_down, succeed

pytestmark = pytest.mark.anyio

ENDED = "the supervisor has ended, so that guarded calls are refused: restart the process"


async def by_path(scope: Any, receive: Any, send: Any) -> None:
    """Both, as an application would have them."""
    if scope["path"] == "/live":
        await Liveness()(scope, receive, send)
    else:
        await Readiness("payments", "db:*", "odd[1]")(scope, receive, send)


async def test_liveness_does_not_fail_for_an_open_circuit() -> None:
    """Nor where there is no supervisor at all."""
    async with serving(Liveness()) as client:
        await fail_times(client.supervisor.circuit("payments", failure_threshold=1), 1)
        client.supervisor.circuit("mail").force_open()
        shown = await client.ask("/")
        assert (shown.status, shown.json) == (200, {"status": "alive"})
        assert shown.headers["cache-control"] == "no-store"
        assert (await client.ask("/", method="HEAD")).body == b""
    alone = Exchange(Liveness(), {"type": "http", "method": "GET", "path": "/live"})
    await alone.run()
    assert alone.status == 200


@pytest.mark.parametrize("name", ["payments", "db:users", "odd[1]"])
async def test_readiness_fails_while_a_chosen_circuit_is_open(name: str) -> None:
    """And says which ones; half-open, it is ready, or no call would come to close it."""
    async with serving(by_path) as client:
        breaker = client.supervisor.circuit(name, failure_threshold=1, recovery_timeout=5.0)
        other = client.supervisor.circuit("mail", failure_threshold=1)
        assert (await client.ask("/")).json == {"status": "ready"}
        await fail_times(other, 1)
        assert (await client.ask("/")).status == 200
        await fail_times(breaker, 1)
        shown = await client.ask("/")
        assert shown.status == 503
        assert shown.headers["content-type"] == "application/problem+json"
        assert shown.json["title"] == "Service Unavailable"
        assert shown.json["open"] == [name]
        await anyio.sleep(5.0)
        assert breaker.state == "half_open"
        assert (await client.ask("/")).status == 200
        breaker.force_open()
        assert (await client.ask("/")).json["open"] == [name]


async def turns_of_others(client: Client) -> int:
    """Return how often another task has its turn while the process is asked whether it is ready."""
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        assert (await client.ask("/")).status == 200
        tasks.cancel_scope.cancel()
    return turns


async def test_others_have_their_turns_while_readiness_looks_at_many_circuits() -> None:
    """One that is stopped meanwhile is nothing to it any more."""
    async with serving(Readiness("c*")) as client:
        before = await turns_of_others(client)
        for number in range(500):
            client.supervisor.circuit(f"c{number}")
        assert await turns_of_others(client) > before + 5  # on trio, some share one
        client.supervisor["c499"].force_open()
        asked = client.begin("/")
        await checkpoint()
        await checkpoint()  # it has looked at the first circuits
        client.supervisor.stop("c499")
        await asked.ended.wait()
        assert asked.status == 200


async def test_no_circuit_takes_a_turn_since_somebody_asks_whether_the_process_is_well() -> None:
    """With thousands of circuits, all those turns would hold up every other task."""
    async with serving(by_path) as client:
        await client.supervisor.circuit("mail").call(succeed)
        await client.supervisor["mail"].call(succeed)
        await anyio.sleep(5.0)
        for path in ("/live", "/ready"):
            assert (await client.ask(path)).status == 200
        assert client.supervisor.figures().circuits["mail"].age >= 5.0


async def test_readiness_by_no_circuit_is_always_there() -> None:
    """As long as the supervisor is."""
    async with serving(Readiness()) as client:
        client.supervisor.circuit("payments").force_open()
        assert (await client.ask("/")).status == 200


async def test_a_circuit_that_refuses_since_it_was_given_up_is_open() -> None:
    """One whose calls pass unguarded is not."""
    for on_give_up, status in (("refuse", 503), ("allow", 200)):

        def make(verdict: Any = on_give_up) -> Supervisor:
            return Supervisor(max_restarts=0, on_give_up=verdict)

        async with serving(SupervisorMiddleware(by_path, make=make), supervised=False) as client:
            await client.supervisor.circuit("payments").call(succeed)
            crash(client.supervisor, "payments")
            await settle_down()
            assert (await client.ask("/")).status == status


async def test_a_supervisor_that_has_ended_is_a_reason_for_a_restart() -> None:
    """Then neither is right any more."""
    app = SupervisorMiddleware(by_path, make=lambda: Supervisor(max_restarts=0))
    async with serving(app, supervised=False) as client:
        assert (await client.ask("/live")).status == 200
        await client.supervisor.circuit("search").call(succeed)
        crash(client.supervisor, "search")
        await settle_down()
        for path in ("/live", "/ready"):
            shown = await client.ask(path)
            assert (shown.status, shown.json["detail"]) == (503, ENDED)


def test_bad_names_are_refused() -> None:
    """At once, and not when it matters."""
    with pytest.raises(TypeError, match="circuits must be names or patterns, got 3"):
        Readiness("payments", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="circuits must be names or patterns, got an empty one"):
        Readiness("")
