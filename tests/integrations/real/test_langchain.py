"""Agents of LangChain whose models and tools are guarded: the real packages, and servers that fail.

Agents run on asyncio only, and in real time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreakerOpenError, CircuitState, Policy, Supervisor
from tests.integrations.real.servers import HINT, REAL_TIME, HttpServer, serving

pytest.importorskip("langchain")

from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import StructuredTool, ToolException
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt

from supervisor.integrations.langchain import CircuitMiddleware, circuit_of_model

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore")]

STRICT = Policy(failure_threshold=1)
NUMBERS = count()
HELLO: Any = {"messages": [("user", "hello")]}
ANSWER = (
    b'{"id": "1", "object": "chat.completion", "created": 1, "model": "any", "choices": [{"index":'
    b' 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "well"}}]}'
)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return REAL_TIME[request.param]


class Calling(GenericFakeChatModel):
    """A model that calls these tools at once, and then is content."""

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        """Return itself, which knows what it will do."""
        return self


def calling(*names: str) -> Calling:
    calls: Any = [{"name": name, "args": {}, "id": name} for name in names]
    messages = [AIMessage("", tool_calls=calls)] if names else []
    return Calling(messages=iter([*messages, AIMessage("content")]))


def tool(name: str, *errors: Exception) -> StructuredTool:
    """Return a tool that raises one error after the other, and then answers."""
    left = list(errors)

    async def call() -> str:
        """Do something."""
        await anyio.sleep(0.01)
        if left:
            raise left.pop(0)
        return f"{name} is well"

    return StructuredTool.from_function(coroutine=call, name=name)


async def told(middleware: CircuitMiddleware, *tools: StructuredTool) -> list[ToolMessage]:
    """Call all tools at once, in a run, and return what the model is told."""
    agent = create_agent(
        calling(*(each.name for each in tools)), list(tools), middleware=[middleware]
    )
    messages = (await agent.ainvoke(HELLO))["messages"]
    assert messages[-1].content == "content"
    return [message for message in messages if isinstance(message, ToolMessage)]


class TestTools:
    """Calls of tools."""

    async def test_a_refusal_is_told(self) -> None:
        """The run goes on, and those that were called with it do."""
        middleware = CircuitMiddleware(tool_policy=STRICT)
        search, other = tool("search", ConnectionError("down")), tool("other")
        async with Supervisor() as supervisor:
            with pytest.raises(ConnectionError):
                await told(middleware, search)
            refused, answered = await told(middleware, search, other)
            assert (refused.status, refused.name, refused.tool_call_id) == (
                "error",
                "search",
                "search",
            )
            text = str(refused.content)
            assert text.startswith("'search' is unavailable and has refused this call. It may")
            assert (answered.status, answered.content) == ("success", "other is well")
            figures = supervisor["tool:search"].statistics()
            assert (figures.failed, figures.rejected) == (1, 1)

    async def test_a_failure_may_be_told(self) -> None:
        """It counts, no word of it gets to the model, and nobody else is cancelled."""
        middleware = CircuitMiddleware(tool_policy=STRICT, answer_failures=True)
        search = tool("search", ConnectionError("the password is 1234"))
        async with Supervisor() as supervisor:
            failed, answered = await told(middleware, search, tool("other"))
            assert failed.status == "error"
            assert str(failed.content).startswith("'search' has failed; ")
            assert "1234" not in str(failed.content)
            assert answered.status == "success"
            assert supervisor["tool:search"].state is CircuitState.OPEN

    @pytest.mark.parametrize("answer_failures", [True, False])
    async def test_what_steers(self, answer_failures: bool) -> None:
        """Comes through, and counts as nothing."""
        middleware = CircuitMiddleware(tool_policy=STRICT, answer_failures=answer_failures)
        async with Supervisor() as supervisor:
            with pytest.raises(ToolException):
                await told(middleware, tool("search", ToolException("no such word")))
            assert supervisor["tool:search"].statistics().ignored == 1
            lost = ToolException("lost")
            lost.__cause__ = ConnectionError()
            if answer_failures:
                await told(middleware, tool("search", lost))
            else:
                with pytest.raises(ToolException):
                    await told(middleware, tool("search", lost))
            assert supervisor["tool:search"].statistics().failed == 1

    async def test_an_interrupt(self) -> None:
        """Of a graph that waits for a human is no failure."""

        async def ask() -> str:
            """Ask a human."""
            return str(interrupt("may I?"))

        human = StructuredTool.from_function(coroutine=ask, name="ask")
        middleware = CircuitMiddleware(tool_policy=STRICT, answer_failures=True)
        agent = create_agent(calling("ask"), [human], middleware=[middleware])
        async with Supervisor() as supervisor:
            result = await agent.ainvoke(HELLO)
            assert result["__interrupt__"][0].value == "may I?"
            assert supervisor["tool:ask"].statistics().ignored == 1

    async def test_a_graph_of_your_own(self) -> None:
        """Its `ToolNode` takes the same function."""
        middleware = CircuitMiddleware(tool_policy=STRICT, answer_failures=True)
        search = tool("search", ConnectionError("down"))
        node = ToolNode([search], awrap_tool_call=middleware.awrap_tool_call)
        graph = StateGraph(MessagesState)
        graph.add_node("tools", node)
        graph.add_edge(START, "tools")
        tools: Any = graph.compile()
        call: Any = {"name": "search", "args": {}, "id": "1", "type": "tool_call"}
        async with Supervisor():
            for text in ("'search' has failed; ", "'search' is unavailable"):
                result = await tools.ainvoke({"messages": [AIMessage("", tool_calls=[call])]})
                assert str(result["messages"][-1].content).startswith(text)

    async def test_a_function_that_is_not_async(self) -> None:
        """It runs in a thread of LangChain's, and is guarded all the same."""

        def call() -> str:
            """Do something."""
            raise ConnectionError("down")

        middleware = CircuitMiddleware(tool_policy=STRICT, answer_failures=True)
        search = StructuredTool.from_function(call, name="search")
        async with Supervisor() as supervisor:
            for outcome in ("failed", "rejected"):
                (answer,) = await told(middleware, search)
                assert answer.status == "error"
                assert getattr(supervisor["tool:search"].statistics(), outcome) == 1

    async def test_a_tool_that_has_no_circuit(self) -> None:
        """Is called."""
        async with Supervisor() as supervisor:
            middleware = CircuitMiddleware(tool_circuit=lambda _: None)
            (answered,) = await told(middleware, tool("search"))
            assert answered.status == "success"
            assert list(supervisor) == ["calling"]


@asynccontextmanager
async def asking(fault: str) -> AsyncIterator[tuple[HttpServer, Supervisor, ChatOpenAI]]:
    """Yield a server, the supervisor of the circuits, and a model of that server's."""
    async with serving(fault, ANSWER) as server, Supervisor() as supervisor:
        # Models of one URL share a client, also the one that was closed before on the same port.
        url: Any = f"http://127.0.0.1:{server.port}/{next(NUMBERS)}"
        key: Any = "none"
        model = ChatOpenAI(model="any", base_url=url, api_key=key, max_retries=0)
        yield server, supervisor, model
        await model.root_async_client.close()


class TestModels:
    """Requests of models."""

    @pytest.mark.parametrize("fault", ["refused", "lost", "429", "503"])
    async def test_what_fails_opens_the_circuit(self, fault: str) -> None:
        """And the next run ends at once, by a refusal."""
        async with asking(fault) as (server, supervisor, model):
            agent = create_agent(model, middleware=[CircuitMiddleware(model_policy=STRICT)])
            with pytest.raises(Exception) as failure:  # noqa: PT011  (of openai's classes)
                await agent.ainvoke(HELLO)
            assert not isinstance(failure.value, CircuitBreakerOpenError)
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await agent.ainvoke(HELLO)
            assert 0 < round(refusal.value.retry_after, 3) <= (HINT if fault.isdigit() else 30)
            assert refusal.value.operation_name == circuit_of_model(model) == "openai:any"
            assert supervisor["openai:any"].statistics().failed == 1
            assert server.requests == (0 if fault == "refused" else 1)

    @pytest.mark.parametrize("status", ["400", "401", "404"])
    async def test_what_the_server_has_answered(self, status: str) -> None:
        """Is no failure."""
        async with asking(status) as (_, supervisor, model):
            agent = create_agent(model, middleware=[CircuitMiddleware(model_policy=STRICT)])
            with pytest.raises(Exception, match=status):
                await agent.ainvoke(HELLO)
            assert supervisor["openai:any"].statistics().succeeded == 1

    async def test_what_succeeds(self) -> None:
        """Counts as a success."""
        async with asking("200") as (_, supervisor, model):
            agent = create_agent(model, middleware=[CircuitMiddleware()])
            assert (await agent.ainvoke(HELLO))["messages"][-1].content == "well"
            assert supervisor["openai:any"].statistics().succeeded == 1

    async def test_the_next_model(self) -> None:
        """Is asked by LangChain's own middleware round ours; one that is down is not."""
        async with asking("503") as (server, supervisor, model):
            for _ in range(3):
                middleware: list[Any] = [
                    ModelFallbackMiddleware(calling()),
                    CircuitMiddleware(model_policy=STRICT),
                ]
                result = await create_agent(model, middleware=middleware).ainvoke(HELLO)
                assert result["messages"][-1].content == "content"
            assert server.requests == 1
            assert supervisor["calling"].statistics().succeeded == 3

    @pytest.mark.parametrize("failures_on", [KeyError, lambda error: isinstance(error, KeyError)])
    async def test_the_policy_is_yours(self, failures_on: Any) -> None:
        """What is a failure may be said otherwise."""
        async with asking("503") as (_, supervisor, model):
            policy = Policy(failure_threshold=1, failure_on=failures_on)
            agent = create_agent(model, middleware=[CircuitMiddleware(model_policy=policy)])
            with pytest.raises(Exception, match="503"):
                await agent.ainvoke(HELLO)
            assert supervisor["openai:any"].state is CircuitState.CLOSED

    async def test_a_model_that_has_no_circuit(self) -> None:
        """Is asked."""
        async with Supervisor() as supervisor:
            middleware = CircuitMiddleware(model_circuit=lambda _: None)
            await create_agent(calling(), middleware=[middleware]).ainvoke(HELLO)
            assert list(supervisor) == []

    async def test_a_circuit_that_is_no_name(self) -> None:
        """Is a mistake that names the value."""
        wrong: Any = lambda _: 7  # noqa: E731
        for middleware, field in (
            (CircuitMiddleware(model_circuit=wrong), "model_circuit"),
            (CircuitMiddleware(tool_circuit=wrong, answer_failures=True), "circuit"),
        ):
            agent = create_agent(calling("search"), [tool("search")], middleware=[middleware])
            text = rf"^{field} must return a circuit's name, or None, got 7\b"
            with pytest.raises(TypeError, match=text):
                await agent.ainvoke(HELLO)

    async def test_a_run_that_is_cancelled(self) -> None:
        """Gives its permits back."""
        async with asking("hang") as (server, supervisor, model):
            agent = create_agent(model, middleware=[CircuitMiddleware()])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.ainvoke, HELLO)
                await server.asked.wait()
                tasks.cancel_scope.cancel()
            figures = supervisor["openai:any"].statistics()
            assert (figures.cancelled, figures.in_flight) == (1, 0)


def test_what_is_not_async() -> None:
    """LangChain says that there is no guard for it, and asks nobody."""
    agent = create_agent(calling(), middleware=[CircuitMiddleware()])
    with pytest.raises(NotImplementedError, match="Synchronous implementation of wrap_model_call"):
        agent.invoke(HELLO)


def test_bad_arguments() -> None:
    """Are errors at once."""

    async def name(model: object) -> str:
        return str(model)

    bad: Any
    for bad in (name, "model"):
        with pytest.raises(TypeError, match="model_circuit must be a plain function of a model"):
            CircuitMiddleware(model_circuit=bad)
        with pytest.raises(TypeError, match="circuit must be a plain function of a tool's name"):
            CircuitMiddleware(tool_circuit=bad)
    bad = {}
    with pytest.raises(TypeError, match="policy"):
        CircuitMiddleware(model_policy=bad)
