"""Guards for MCP with the real package, its client and its server in one process: in virtual time.

What is the same over each transport is in `test_mcp_transports`.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    Outcome,
    Policy,
    Supervisor,
)
from supervisor.integrations.tool_results import REFUSED, classify_call, error_text

mcp: Any = pytest.importorskip("mcp")

from mcp.server import MCPServer, Server  # noqa: E402
from mcp.server.mcpserver import Context  # noqa: E402
from mcp.server.mcpserver.exceptions import ToolError  # noqa: E402
from pydantic import BaseModel, Field  # noqa: E402

from supervisor.integrations.mcp import GuardedSession, guarded_tool  # noqa: E402

pytestmark = [
    pytest.mark.anyio,
    # What the package warns of, or leaves unclosed, is its own.
    pytest.mark.filterwarnings("ignore"),
]

ONCE = Policy(failure_threshold=1, recovery_timeout=10.0)


class Forecasts:
    """A server whose tools fail while they are told to."""

    def __init__(self) -> None:
        self.server = MCPServer("weather")
        self.fails = True
        self.calls = 0
        self.server.tool()(self.forecast)
        self.server.tool()(self.history)

    async def forecast(self, city: str) -> str:  # noqa: ARG002
        return self._answer()

    async def history(self, city: str) -> str:  # noqa: ARG002
        return self._answer()

    def _answer(self) -> str:
        self.calls += 1
        if self.fails:
            raise ToolError("no database")
        return "sunny"


@asynccontextmanager
async def weather(**options: Any) -> AsyncIterator[tuple[Forecasts, GuardedSession, Supervisor]]:
    """Yield a server, a guard of a client of it, and the supervisor of the circuits."""
    forecasts = Forecasts()
    async with Supervisor() as supervisor, mcp.Client(forecasts.server) as client:
        yield (
            forecasts,
            GuardedSession(client, "weather", **{"policy": ONCE, **options}),
            supervisor,
        )


BERN = {"city": "Bern"}


async def test_a_refusal_as_a_result() -> None:
    """Is one with `is_error`, whose text is for the model; whichever circuit it is that refuses."""
    async with weather(on_refusal="result") as (forecasts, guard, supervisor):
        assert error_text(await guard.call_tool("forecast", BERN)) == (
            "Error executing tool forecast: no database"
        )
        refused = (
            "'forecast' is unavailable and has refused this call. It may be back in about 10"
            " seconds. Do not call it again in this turn: go on without it, or tell the user."
        )
        assert error_text(await guard.call_tool("forecast", BERN)) == refused
        assert forecasts.calls == 1
        supervisor.circuit("mcp:weather").force_open()
        text = error_text(await guard.call_tool("history", BERN))
        assert text is not None
        assert text.startswith("'history' is unavailable and has refused this call. Do not")
        text = error_text(await guard.call_tool(" ", BERN))
        assert text is not None
        assert text.startswith("'mcp:weather' is unavailable")
        assert forecasts.calls == 1


async def test_tools_that_are_worth_offering() -> None:
    """Are those whose circuit is not open; to look at them takes no probe away."""
    async with weather() as (forecasts, guard, supervisor):

        async def offered() -> list[str]:
            return [tool.name for tool in await guard.available_tools()]

        assert await offered() == ["forecast", "history"]
        await guard.call_tool("forecast", BERN)
        assert await offered() == ["history"]
        assert not guard.admits("forecast")
        await anyio.sleep(10.1)
        assert await offered() == ["forecast", "history"]
        assert guard.admits("forecast")
        forecasts.fails = False
        assert not (await guard.call_tool("forecast", BERN)).is_error
        assert supervisor.statistics()["mcp:weather:forecast"].state is CircuitState.CLOSED
        supervisor.circuit("mcp:weather").force_open()
        assert await offered() == []
        assert not guard.admits("history")


async def test_names_that_a_model_makes_up() -> None:
    """Have no circuit once the tools are known; a tool that is gone has none any more."""
    async with weather() as (forecasts, guard, supervisor):
        await guard.available_tools()
        for name in ("forcast", "", "\n", "x" * 300):
            text = error_text(await guard.call_tool(name, BERN))
            assert text == f"Unknown tool: {name}"
        assert list(supervisor) == ["mcp:weather"]
        await guard.call_tool("history", BERN)
        forecasts.server.remove_tool("history")
        await guard.available_tools()
        for _ in range(2):
            assert error_text(await guard.call_tool("history", BERN)) == "Unknown tool: history"


async def test_names_before_the_tools_are_known() -> None:
    """Have a circuit, unless a circuit cannot be called that."""
    async with weather() as (_, guard, supervisor):
        for name in ("forcast", "\n", "x" * 300):
            await guard.call_tool(name, BERN)
            assert guard.admits(name)
        assert list(supervisor) == ["mcp:weather", "mcp:weather:forcast"]


async def test_sessions_of_one_server() -> None:
    """Share its circuits, whether they are clients or sessions; other servers have their own."""
    async with weather() as (forecasts, guard, _):
        await guard.call_tool("forecast", BERN)
        async with mcp.Client(forecasts.server) as client:
            for session in (client, client.session):
                other = GuardedSession(session, "weather", policy=ONCE)
                with pytest.raises(CircuitBreakerOpenError):
                    await other.call_tool("forecast", BERN)
                assert [tool.name for tool in await other.available_tools()] == ["history"]
            await GuardedSession(client, "climate").call_tool("forecast", BERN)
        assert forecasts.calls == 2


async def test_tools_on_many_pages() -> None:
    """Are all found, by a client and by a session."""
    pages = {None: "second", "second": "third", "third": None}

    async def list_tools(context: Any, params: Any) -> Any:
        name = params.cursor or "first"
        tool = mcp.Tool(name=name, input_schema={"type": "object"})
        return mcp.ListToolsResult(tools=[tool], next_cursor=pages[params.cursor])

    async with mcp.Client(Server("many", on_list_tools=list_tools)) as client, Supervisor():
        for session in (client, client.session):
            tools = await GuardedSession(session, "many").available_tools()
            assert [tool.name for tool in tools] == ["first", "second", "third"]


async def test_a_client_that_was_left() -> None:
    """Raises what it raises, and no circuit is asked: it is the caller's mistake."""
    async with weather() as (forecasts, _, supervisor):
        async with mcp.Client(forecasts.server) as client:
            pass
        for closed in (client, mcp.Client(forecasts.server)):
            with pytest.raises(RuntimeError, match="must be used within"):
                await GuardedSession(closed, "weather", policy=ONCE).call_tool("forecast", BERN)
        assert list(supervisor) == []


async def test_what_a_call_passes_on() -> None:
    """All arguments that the session's own `call_tool` has."""
    given: list[Any] = []

    class Session:
        async def call_tool(self, *args: Any, **kwargs: Any) -> str:
            given.append((args, kwargs))
            return "fine"

    async with Supervisor():
        guard = GuardedSession(Session(), "weather")
        assert await guard.call_tool("forecast", BERN, 5.0, print, meta={"a": 1}) == "fine"
        await guard.call_tool("forecast")
    assert given == [
        (("forecast", BERN, 5.0, print), {"meta": {"a": 1}}),
        (("forecast", None, None, None), {}),
    ]
    ours = list(inspect.signature(GuardedSession.call_tool).parameters)[:5]
    assert ours == list(inspect.signature(mcp.Client.call_tool).parameters)[:5]


async def test_a_classifier_of_ones_own() -> None:
    """Goes before the ready-made one, and may ask it."""

    def judge(ended_with: Any) -> Any:
        text = error_text(ended_with)
        if text is not None and text.endswith("no database"):
            return Outcome.SUCCEEDED
        return classify_call(ended_with)

    policy = Policy(failure_threshold=1, classify=judge)
    async with weather(policy=policy) as (_, guard, supervisor):
        await guard.call_tool("forecast", BERN)
        await guard.call_tool("forecast", {})
        figures = supervisor.statistics()["mcp:weather:forecast"]
        assert (figures.succeeded, figures.ignored, figures.failed) == (1, 1, 0)


async def test_bad_arguments() -> None:
    """Are errors at once."""
    session: Any = object()
    wrong: Any
    with pytest.raises(ValueError, match=r"^on_refusal must be one of error, result; got 'raise'$"):
        wrong = "raise"
        GuardedSession(session, "weather", on_refusal=wrong)
    for name in ("policy", "server_policy"):
        with pytest.raises(TypeError, match=f"^{name} must be a Policy, got {{}}$"):
            wrong = {name: {}}
            GuardedSession(session, "weather", **wrong)
    with pytest.raises(TypeError, match=r"^server must be a string, got 7$"):
        wrong = 7
        GuardedSession(session, wrong)
    for name in ("", "a:b"):
        with pytest.raises(
            ValueError, match=f"^server must be a name without a colon, got '{name}'$"
        ):
            GuardedSession(session, name)
    with pytest.raises(ValueError, match="255"):
        GuardedSession(session, "x" * 252)
    with pytest.raises(TypeError, match=r"^guarded_tool needs a CircuitBreaker, got 'database'$"):
        wrong = "database"
        guarded_tool(wrong)


# A server's own tools


class Weather(BaseModel):
    """What a tool returns."""

    degrees: int


async def forecast(
    city: Annotated[str, Field(description="where")], context: Context, days: int = 3
) -> Weather:
    """Tell the weather."""
    await context.report_progress(1)
    return Weather(degrees=days)


def history(city: str, years: int = 1) -> Weather:
    """Tell what the weather was."""
    return Weather(degrees=years)


class Forecaster:
    """Tell the weather."""

    async def __call__(
        self, city: Annotated[str, Field(description="where")], context: Context, days: int = 3
    ) -> Weather:
        return await forecast(city, context, days)

    forecast = __call__


class Historian:
    """Tell what the weather was."""

    def __call__(self, city: str, years: int = 1) -> Weather:
        return history(city, years)


@pytest.mark.parametrize(
    ("dressed", "func", "name"),
    [
        (functools.partial(forecast), forecast, "forecast"),
        (functools.partial(forecast, days=3), forecast, "forecast"),
        (Forecaster(), forecast, "Forecaster"),
        (functools.partial(Forecaster()), forecast, "Forecaster"),
        (functools.partial(functools.partial(history)), history, "history"),
        (Historian(), history, "Historian"),
    ],
    ids=["partial", "bound", "callable", "partial of one", "plain partial", "plain callable"],
)
async def test_a_guarded_tool_of_something_else(dressed: Any, func: Any, name: str) -> None:
    """Than a function is told to clients as that function, by a name that can be known."""
    told: list[Any] = []
    async with Supervisor() as supervisor:
        guarded = guarded_tool(CircuitBreaker("database"))(dressed)
        assert inspect.iscoroutinefunction(guarded) is inspect.iscoroutinefunction(func)
        for tool in (func, guarded):
            server = MCPServer("weather")
            server.tool()(tool)
            async with mcp.Client(server) as client:
                answer = await client.call_tool(tool.__name__, BERN)
                (listed,) = (await client.list_tools()).tools
                assert listed.name == tool.__name__
                shown = json.dumps(listed.model_dump(exclude={"name"}))
                told.append((shown.replace(listed.name, func.__name__), answer.structured_content))
        assert guarded.__name__ == name
        assert told[0] == told[1]
        assert supervisor.statistics()["database"].succeeded == 1
        supervisor.circuit("database").force_open()
        async with mcp.Client(server) as client:
            with pytest.raises(mcp.MCPError, match=f"^'{name}' is unavailable"):
                await client.call_tool(name, BERN)


async def test_types_that_are_not_there() -> None:
    """Are no reason not to guard a tool: the server says what it needs."""

    class Translator:
        async def __call__(self, text: "Text") -> str:  # type: ignore[name-defined]  # noqa: F821, UP037
            return str(text)

    async with Supervisor():
        guarded = guarded_tool(CircuitBreaker("translator"))(Translator())
        assert guarded.__name__ == "Translator"
        assert list(inspect.signature(guarded).parameters) == ["text"]
        assert await cast("Any", guarded)("tea") == "tea"


async def test_methods_that_are_tools() -> None:
    """Have the name, the types and the words of a function anyway."""
    for method, name in ((Forecaster().forecast, "__call__"), (Historian().__call__, "__call__")):
        guarded = guarded_tool(CircuitBreaker("database"))(method)
        assert guarded.__name__ == name
        assert inspect.signature(guarded) == inspect.signature(method)


@pytest.mark.parametrize("func", [forecast, history], ids=["async", "plain"])
async def test_a_guarded_tool_is_the_same(func: Callable[..., Any]) -> None:
    """To the client: its name, what it says, both of its schemas, and what it answers."""
    told: list[Any] = []
    async with Supervisor() as supervisor:
        for tool in (func, guarded_tool(CircuitBreaker("database"))(func)):
            assert inspect.signature(tool) == inspect.signature(func)
            server = MCPServer("weather")
            server.tool()(tool)
            async with mcp.Client(server) as client:
                answer = await client.call_tool(func.__name__, BERN)
                told.append(((await client.list_tools()).tools, answer.structured_content))
        assert told[0] == told[1]
        assert supervisor.statistics()["database"].succeeded == 1


@asynccontextmanager
async def served(
    breaker: CircuitBreaker, func: Callable[..., Any]
) -> AsyncIterator[tuple[Any, Supervisor]]:
    """Yield a client of a server whose only tool is guarded, and the supervisor of the circuits."""
    server = MCPServer("weather")
    server.tool()(guarded_tool(breaker)(func))
    async with Supervisor() as supervisor, mcp.Client(server) as client:
        yield client, supervisor


async def fails(city: str) -> str:
    raise ConnectionError("down")


def fails_in_a_thread(city: str) -> str:
    raise ConnectionError("down")


@pytest.mark.parametrize("func", [fails, fails_in_a_thread], ids=["async", "plain"])
async def test_a_refusal_of_a_server(func: Callable[..., Any]) -> None:
    """Is an `MCPError` that tells when the tool may be back, if anybody knows."""
    breaker = CircuitBreaker("database", failure_threshold=1, recovery_timeout=1e6)
    async with served(breaker, func) as (client, supervisor):
        assert (await client.call_tool(func.__name__, BERN)).is_error
        with pytest.raises(mcp.MCPError) as error:
            await client.call_tool(func.__name__, BERN)
        assert error.value.code == REFUSED
        assert error.value.message.startswith(f"'{func.__name__}' is unavailable and has refused")
        assert error.value.data["circuit"] == "database"
        assert error.value.data["retry_after"] == pytest.approx(1e6, rel=0.001)
        supervisor.circuit("database").force_open()
        with pytest.raises(mcp.MCPError) as error:
            await client.call_tool(func.__name__, BERN)
        assert error.value.data == {"retry_after": None, "circuit": "database"}


async def test_a_refusal_of_a_server_opens_the_clients_circuit() -> None:
    """For as long as the server says; a refusal without a time is a failure like any other."""
    breaker = CircuitBreaker("database", failure_threshold=1, recovery_timeout=100.0)
    async with served(breaker, fails) as (client, supervisor):
        guard = GuardedSession(client, "weather")
        await guard.call_tool("fails", BERN)
        with pytest.raises(mcp.MCPError):
            await guard.call_tool("fails", BERN)
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            await guard.call_tool("fails", BERN)
        assert refusal.value.retry_after == pytest.approx(100.0)
        supervisor.circuit("database").force_open()
        guard = GuardedSession(client, "other")
        with pytest.raises(mcp.MCPError):
            await guard.call_tool("fails", BERN)
        figures = supervisor.statistics()["mcp:other:fails"]
        assert (figures.failed, figures.state) == (1, CircuitState.CLOSED)


async def hangs(city: str) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("policy", "patience", "opens"),
    [
        (Policy(failure_threshold=2), 30.0, False),
        (Policy(failure_threshold=2, slow_call_duration=20.0), 30.0, False),
        (Policy(failure_threshold=1, slow_call_duration=20.0), 30.0, True),
        (Policy(failure_threshold=2, failure_on_cancel=True), 10.0, True),
    ],
    ids=["by default", "slow, taken back", "slow, opened before", "all that are left"],
)
async def test_a_tool_that_hangs(policy: Policy, patience: float, opens: bool) -> None:
    """Until its clients give up: it counts if the policy says so."""
    async with served(CircuitBreaker("database", policy=policy), hangs) as (client, supervisor):
        for _ in range(2):
            with pytest.raises(mcp.MCPError):
                await client.call_tool("hangs", BERN, read_timeout_seconds=patience)
        figures = supervisor.statistics()["database"]
        assert figures.in_flight == 0
        assert figures.state is (CircuitState.OPEN if opens else CircuitState.CLOSED)


async def test_what_cannot_be_guarded() -> None:
    """Is an error when it is decorated."""
    wrong: Any = 7
    with pytest.raises(TypeError, match=r"^CircuitBreaker\.sync needs a plain function, got 7$"):
        guarded_tool(CircuitBreaker("database"))(wrong)
