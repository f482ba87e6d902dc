"""Agents of pydantic-ai whose models and tools are guarded: the real package, and models made up.

Agents run on asyncio only, and in real time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from supervisor import CircuitState, Policy, Supervisor
from tests.integrations.real.servers import REAL_TIME

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.exceptions import (
    CallDeferred,
    ModelAPIError,
    ModelRetry,
    ToolFailed,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel as FakeModel
from pydantic_ai.toolsets import FunctionToolset

from supervisor.integrations.pydantic_ai import (
    CircuitModel,
    CircuitOpenError,
    CircuitTools,
    CircuitToolset,
    FirstHealthyModel,
)

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore")]

STRICT = Policy(failure_threshold=1)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return REAL_TIME[request.param]


def told(messages: list[ModelMessage]) -> list[ToolReturnPart]:
    """What the model has been told by tools."""
    parts = [part for message in messages for part in message.parts]
    return [part for part in parts if isinstance(part, ToolReturnPart)]


class Calling:
    """A model that calls a tool so many times, one after the other, and then is content."""

    def __init__(self, tool: str = "search", times: int = 1) -> None:
        self.tool = tool
        self.times = times

    def whole(self, messages: list[ModelMessage], _: object) -> ModelResponse:
        """Answer at once."""
        if self._calls_again(messages):
            return ModelResponse(parts=[ToolCallPart(self.tool, {})])
        return ModelResponse(parts=[TextPart("content")])

    async def parts(
        self, messages: list[ModelMessage], _: object
    ) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        """Answer in parts."""
        if self._calls_again(messages):
            yield {0: DeltaToolCall(self.tool, "{}")}
        else:
            yield "con"
            yield "tent"

    def _calls_again(self, messages: list[ModelMessage]) -> bool:
        return sum(isinstance(message, ModelResponse) for message in messages) < self.times

    @property
    def model(self) -> FunctionModel:
        """What pydantic-ai takes."""
        return FunctionModel(self.whole, stream_function=self.parts)


def agent_with(
    tool: Callable[[], Any], capability: CircuitTools, model: Any = None, **options: Any
) -> Agent[None, str]:
    """Return an agent with one tool, called `search`."""
    agent = Agent(model or Calling().model, capabilities=[capability])
    agent.tool_plain(tool, name="search", **options)
    return agent


def failing(*errors: Exception | None) -> Callable[[], Any]:
    """Return a tool that raises one after the other, and then answers."""
    left = list(errors)

    async def search() -> str:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return "found"

    return search


class TestTools:
    """Calls of tools."""

    async def test_a_refusal_is_told(self) -> None:
        """The run goes on, however often the model asks, though a tool has one retry only."""
        agent = agent_with(
            failing(ConnectionError("down")), CircuitTools(policy=STRICT), Calling(times=5).model
        )
        async with Supervisor() as supervisor:
            with pytest.raises(ConnectionError):
                await agent.run("hello")
            result = await agent.run("hello")
            assert result.output == "content"
            answers = told(result.all_messages())
            assert len(answers) == 5
            assert {answer.outcome for answer in answers} == {"failed"}
            text = answers[0].model_response_str()
            assert "'search' is unavailable and has refused this call." in text
            assert "It may be back in about 30 seconds. Do not call it again in this turn" in text
            figures = supervisor["tool:search"].statistics()
            assert (figures.failed, figures.rejected) == (1, 5)

    async def test_siblings(self) -> None:
        """Of a call that is refused go on."""

        def model(messages: list[ModelMessage], _: object) -> ModelResponse:
            if told(messages):
                return ModelResponse(parts=[TextPart("content")])
            return ModelResponse(parts=[ToolCallPart("search", {}), ToolCallPart("other", {})])

        agent = agent_with(
            failing(ConnectionError("down")), CircuitTools(policy=STRICT), FunctionModel(model)
        )

        @agent.tool_plain
        async def other() -> str:
            await anyio.sleep(0.01)
            return "well"

        async with Supervisor() as supervisor:
            with pytest.raises(ConnectionError):
                await agent.run("hello")
            result = await agent.run("hello")
            outcomes = {part.tool_name: part.outcome for part in told(result.all_messages())}
            assert outcomes == {"search": "failed", "other": "success"}
            assert supervisor["tool:other"].statistics().failed == 0

    async def test_a_failure_may_be_told(self) -> None:
        """It counts, and no word of it gets to the model."""
        capability = CircuitTools(policy=STRICT, answer_failures=True)
        agent = agent_with(failing(ConnectionError("the password is 1234")), capability)
        async with Supervisor() as supervisor:
            (answer,) = told((await agent.run("hello")).all_messages())
            assert answer.outcome == "failed"
            assert "'search' has failed; " in answer.model_response_str()
            assert "1234" not in answer.model_response_str()
            assert supervisor["tool:search"].state is CircuitState.OPEN

    @pytest.mark.parametrize("answer_failures", [True, False])
    async def test_what_steers_the_agent(self, answer_failures: bool) -> None:
        """Does so as before, and counts as nothing."""
        tool = failing(ModelRetry("what is that?"), ToolFailed("no such word"))
        capability = CircuitTools(policy=STRICT, answer_failures=answer_failures)
        agent = agent_with(tool, capability, Calling(times=3).model)
        async with Supervisor() as supervisor:
            result = await agent.run("hello")
            assert [part.content for part in told(result.all_messages())][-2:] == [
                "no such word",
                "found",
            ]
            figures = supervisor["tool:search"].statistics()
            assert (figures.ignored, figures.succeeded, figures.failed) == (2, 1, 0)

    @pytest.mark.parametrize("error", [UserError("what?"), UsageLimitExceeded("enough")])
    async def test_what_no_server_is_to_blame_for(self, error: Exception) -> None:
        """Is raised, and counts as nothing."""
        agent = agent_with(failing(error), CircuitTools(policy=STRICT, answer_failures=True))
        async with Supervisor() as supervisor:
            with pytest.raises(type(error)):
                await agent.run("hello")
            assert supervisor["tool:search"].statistics().ignored == 1

    async def test_a_deferred_call(self) -> None:
        """Comes out of the run."""
        agent: Any = Agent(
            Calling().model,
            capabilities=[CircuitTools(policy=STRICT, answer_failures=True)],
            output_type=[str, DeferredToolRequests],
        )
        agent.tool_plain(failing(CallDeferred()), name="search")
        async with Supervisor() as supervisor:
            assert isinstance((await agent.run("hello")).output, DeferredToolRequests)
            assert supervisor["tool:search"].statistics().ignored == 1

    async def test_a_tools_own_timeout(self) -> None:
        """Is a failure, though it asks the model to try again."""

        async def search() -> None:
            await anyio.sleep_forever()

        agent = agent_with(
            search, CircuitTools(policy=STRICT), Calling(times=2).model, timeout=0.01
        )
        async with Supervisor() as supervisor:
            result = await agent.run("hello")
            assert supervisor["tool:search"].statistics().failed == 1
            *_, refused = told(result.all_messages())
            assert "is unavailable" in refused.model_response_str()

    async def test_a_retry_for_a_reason(self) -> None:
        """That is a server's trouble is a failure; any other is the model's own mistake."""
        reasons = [KeyError("no such word"), ConnectionError("down")]

        async def search() -> None:
            try:
                raise reasons.pop(0)
            except (ConnectionError, KeyError) as error:
                raise ModelRetry("try again") from error

        agent = agent_with(search, CircuitTools(policy=Policy()))
        counts = []
        async with Supervisor() as supervisor:
            while reasons:
                await agent.run("hello")
                figures = supervisor["tool:search"].statistics()
                counts.append((figures.ignored, figures.failed))
        assert counts == [(1, 0), (1, 1)]

    async def test_a_function_that_is_not_async(self) -> None:
        """It runs in a thread of pydantic-ai's, and is guarded all the same."""

        def search() -> str:
            raise ConnectionError("down")

        agent = agent_with(search, CircuitTools(policy=STRICT))
        async with Supervisor():
            with pytest.raises(ConnectionError):
                await agent.run("hello")
            assert (await agent.run("hello")).output == "content"

    async def test_one_toolset(self) -> None:
        """With a policy and circuits of its own, beside tools that have none."""
        toolset = FunctionToolset([failing(ConnectionError("down"))])
        guarded = CircuitToolset(toolset.prefixed("web"), circuit=lambda _: "web", policy=STRICT)
        agent = Agent(Calling("web_search").model, toolsets=[guarded])
        async with Supervisor() as supervisor:
            async with agent:
                with pytest.raises(ConnectionError):
                    await agent.run("hello")
                (answer,) = told((await agent.run("hello")).all_messages())
            assert "'web_search' is unavailable" in answer.model_response_str()
            assert list(supervisor) == ["web"]

    def test_bad_arguments(self) -> None:
        """Are errors at once."""
        bad: Any = "search"
        with pytest.raises(TypeError, match="circuit must be a plain function"):
            CircuitTools(circuit=bad)
        with pytest.raises(TypeError, match="policy"):
            CircuitToolset(FunctionToolset(), policy=bad)


class TestModels:
    """Requests of models."""

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_the_first_healthy_one(self, streamed: bool) -> None:
        """Answers each request of a run, and each run."""
        asked: list[str] = []

        def down(*_: object) -> Any:
            asked.append("down")
            raise ModelAPIError("down", "it is")

        broken = FunctionModel(down, stream_function=down, model_name="down")
        calling = Calling(times=2)
        models = FirstHealthyModel(CircuitModel(broken, failure_threshold=2), calling.model)
        agent = agent_with(failing(), CircuitTools(), models)
        async with Supervisor() as supervisor:
            for _ in range(3):
                if streamed:
                    async with agent.run_stream("hello") as result:
                        assert await result.get_output() == "content"
                else:
                    assert (await agent.run("hello")).output == "content"
            assert asked == ["down", "down"]
            assert supervisor["tool:search"].statistics().succeeded == 6
            in_flight = [each.in_flight for each in supervisor.statistics().values()]
            assert in_flight == [0] * len(in_flight)

    async def test_a_refused_model(self) -> None:
        """Ends the run, with an error that pydantic-ai knows."""

        async def down(*_: object) -> ModelResponse:
            raise ModelAPIError("down", "it is")

        agent = Agent(CircuitModel(FunctionModel(down), "model", policy=STRICT))
        async with Supervisor():
            with pytest.raises(ModelAPIError, match="it is"):
                await agent.run("hello")
            with pytest.raises(CircuitOpenError):
                await agent.run("hello")

    async def test_a_bad_answer(self) -> None:
        """Of the model is its own business: the server has answered."""
        agent = Agent(CircuitModel(Calling("nobody", times=9).model, "model"))
        async with Supervisor() as supervisor:
            with pytest.raises(UnexpectedModelBehavior):
                await agent.run("hello")
            assert supervisor["model"].statistics().failed == 0

    async def test_a_run_that_is_cancelled(self) -> None:
        """Gives its permits back."""
        asked = anyio.Event()

        async def hang(*_: object) -> ModelResponse:
            asked.set()
            await anyio.sleep_forever()
            raise AssertionError

        agent = Agent(FirstHealthyModel(FunctionModel(hang), FakeModel()))
        async with Supervisor() as supervisor:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.run, "hello")
                await asked.wait()
                tasks.cancel_scope.cancel()
            (figures,) = supervisor.statistics().values()
            assert (figures.cancelled, figures.in_flight) == (1, 0)
