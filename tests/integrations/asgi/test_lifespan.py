"""A supervisor lives as long as the application, whatever lifespan that has of its own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, CircuitCrashedError, Supervisor
from supervisor.integrations.asgi import SupervisorMiddleware
from tests.integrations.asgi.driver import Lifespan, serving
from tests.support.worlds import crash, settle_down, succeed

pytestmark = pytest.mark.anyio


async def without(scope: Any, receive: Any, send: Any) -> None:
    """An application that has no lifespan."""
    if scope["type"] != "http":
        raise ValueError("HTTP only")
    await call(scope, receive, send)


async def call(scope: Any, receive: Any, send: Any) -> None:
    """Call by a breaker that was made while nothing ran, and say where its circuit is."""
    await BREAKER.call(succeed)
    is_there = BREAKER.name in scope["state"]["supervisor"]
    await send({"type": "http.response.start", "status": 200 if is_there else 500, "headers": []})
    await send({"type": "http.response.body"})


BREAKER = CircuitBreaker("made at import")


def with_lifespan(told: list[str]) -> Any:
    """An application whose own lifespan uses circuits, and tells of its end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await call(scope, receive, send)
            return
        assert (await receive())["type"] == "lifespan.startup"
        await BREAKER.call(succeed)
        scope["state"]["own"] = "kept"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await BREAKER.call(succeed)
        told.append("own end")
        await send({"type": "lifespan.shutdown.complete"})

    return app


@asynccontextmanager
async def started(app: Any, **options: Any) -> AsyncIterator[Lifespan]:
    """A lifespan that has said something, or ended."""
    lifespan = Lifespan(SupervisorMiddleware(app, **options))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lifespan.run)
        await lifespan.started.wait()
        yield lifespan
        await lifespan.end()


async def test_requests_share_the_circuits_of_its_supervisor() -> None:
    """Also by a breaker from before, and although they run in tasks of their own."""
    told: list[str] = []
    async with serving(with_lifespan(told)) as client:
        assert (await client.ask("/")).status == 200
        assert client.state["own"] == "kept"
        supervisor = client.supervisor
        assert supervisor[BREAKER.name].statistics().succeeded == 2
        assert not supervisor.events().closed
    assert told == ["own end"]
    assert supervisor.events().closed


async def test_an_application_without_a_lifespan_has_one(caplog: pytest.LogCaptureFixture) -> None:
    """It starts and ends like any other."""
    with caplog.at_level(logging.INFO):
        async with serving(without) as client:
            assert (await client.ask("/")).status == 200
            supervisor = client.supervisor
    assert supervisor.events().closed
    assert caplog.messages == ["the application has no lifespan of its own (ValueError)"]


async def test_an_application_that_returns_at_once_has_one() -> None:
    """As it does if it asks for the scope's type, and does nothing about a lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await call(scope, receive, send)

    async with serving(app) as client:
        assert (await client.ask("/")).status == 200


async def test_an_application_that_takes_a_lifespan_for_a_request() -> None:
    """It hears the start, answers by a response, and is told that this is none."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async with serving(app) as client:
        assert (await client.ask("/")).status == 200


async def test_a_lifespan_that_dies_takes_no_circuits_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Servers go on then, and so do circuits; it is logged."""
    dies = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await call(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await dies.wait()
        raise OSError("the pool is gone")

    async with serving(app) as client:
        dies.set()
        await settle_down()
        assert (await client.ask("/")).status == 200
    assert "the application's lifespan has failed" in caplog.text
    assert "the pool is gone" in caplog.text


async def test_a_start_that_fails_is_told_as_the_application_tells_it() -> None:
    """Its message and its error reach the server, once the supervisor has been left."""
    left: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            raise OSError("no database")
        except OSError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    async with started(app) as lifespan:
        left.append(lifespan.state["supervisor"].events().closed)
    assert lifespan.sent == [{"type": "lifespan.startup.failed", "message": "no database"}]
    assert isinstance(lifespan.error, OSError)
    assert left == [True]


async def test_an_end_that_fails_is_told_as_the_application_tells_it() -> None:
    """By a message, or by an error alone."""

    def app_that(says: bool) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            if says:
                await send({"type": "lifespan.shutdown.failed", "message": "stuck"})
            raise OSError("stuck")

        return app

    for says in (True, False):
        async with started(app_that(says)) as lifespan:
            pass
        assert lifespan.said == ["startup.complete", *["shutdown.failed"] * says]
        assert isinstance(lifespan.error, OSError)


async def test_a_server_that_raises_is_heard() -> None:
    """In `send`, as hypercorn does when a start has failed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    lifespan = Lifespan(SupervisorMiddleware(app))
    lifespan.refuses.add("lifespan.startup.failed")
    await lifespan.run()
    assert isinstance(lifespan.error, ConnectionAbortedError)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Supervisor(max_circuits=0), "max_circuits must be at least 1, got 0"),
        (lambda: None, "make must return a new Supervisor, got None"),
    ],
    ids=["raises", "returns something else"],
)
async def test_a_supervisor_that_cannot_be_made_is_a_failed_start(make: Any, text: str) -> None:
    """It is told as one, with the place where it happened, and the application does not begin."""
    begun: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["type"])

    async with started(app, make=make) as lifespan:
        pass
    assert lifespan.said == ["startup.failed"]
    assert text in lifespan.sent[0]["message"]
    assert "Traceback" in lifespan.sent[0]["message"]
    assert isinstance(lifespan.error, TypeError | ValueError)
    assert begun == []


async def test_a_supervisor_that_cannot_be_entered_is_a_failed_start() -> None:
    """Such as the same one at a second start."""
    supervisor = Supervisor()
    for said in (["startup.complete", "shutdown.complete"], ["startup.failed"]):
        async with started(without, make=lambda: supervisor) as lifespan:
            pass
        assert lifespan.said == said
    assert "can be entered only once" in lifespan.sent[0]["message"]


async def test_an_application_may_start_again() -> None:
    """Each start has a supervisor of its own, and a breaker of before joins it."""
    app = SupervisorMiddleware(without)
    supervisors = []
    for _ in range(2):
        async with serving(app, supervised=False) as client:
            assert (await client.ask("/")).status == 200
            supervisors.append(client.supervisor)
    assert supervisors[0] is not supervisors[1]


async def test_an_escalation_is_contained_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The application and its own lifespan go on, and end as ever."""
    told: list[str] = []
    app = with_lifespan(told)

    def make() -> Supervisor:
        return Supervisor(max_restarts=0)

    other = CircuitBreaker("other")

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:
            told.append(type(error).__name__)
            raise

    async with started(watched, make=make) as lifespan:
        supervisor = lifespan.state["supervisor"]
        await other.call(succeed)
        crash(supervisor, "other")
        await settle_down()
        assert supervisor.events().closed
        assert told == []
    assert told == ["CircuitStoppedError"]  # what its own end calls is refused
    (record,) = (each for each in caplog.records if each.levelno == logging.CRITICAL)
    assert "the supervisor has ended" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is CircuitCrashedError


async def test_by_default_a_circuit_that_is_given_up_ends_nothing() -> None:
    """Its calls pass unguarded, since a server has nobody to escalate to."""
    async with serving(without) as client:
        supervisor = client.supervisor
        await BREAKER.call(succeed)
        for _ in range(supervisor.max_restarts + 1):
            crash(supervisor, BREAKER.name)
            await settle_down()
        assert not supervisor[BREAKER.name].statistics().running
        assert (await client.ask("/")).status == 200


async def test_a_lifespan_that_is_cancelled_ends() -> None:
    """As hypercorn on trio cancels one that takes too long to end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await anyio.sleep_forever()

    lifespan = Lifespan(SupervisorMiddleware(app))
    with anyio.move_on_after(1):
        await lifespan.run()
    assert lifespan.said == ["startup.complete"]
    assert lifespan.state["supervisor"].events().closed


def test_what_is_no_application_or_no_function_is_refused() -> None:
    """A supervisor itself could be entered only once."""
    with pytest.raises(TypeError, match="app must be an ASGI application, got None"):
        SupervisorMiddleware(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="make must be a function that returns a new Supervisor"):
        SupervisorMiddleware(without, make=Supervisor())  # type: ignore[arg-type]
