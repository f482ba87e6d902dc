"""Guarded models of pydantic-ai: the real package, and servers that fail.

In virtual time, as in `test_loopback`: `make test-integrations`. Models are asked by
`pydantic_ai.direct`, which runs on trio as well.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreakerOpenError,
    CircuitState,
    NoneHealthyError,
    PolicyConflictError,
    Statistics,
    Supervisor,
)
from supervisor.testing import Backend
from tests.integrations.real.servers import HINT, HttpServer, in_virtual_time, serving
from tests.support.worlds import BACKENDS, until

pytest.importorskip("pydantic_ai")

from pydantic_ai import direct
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelQuotaExceededError,
    ModelRequestTimeout,
    UserError,
)
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel as FakeModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RequestUsage

from supervisor.integrations.answers import text_for_model
from supervisor.integrations.pydantic_ai import (
    CircuitModel,
    CircuitOpenError,
    FirstHealthyModel,
    is_failure,
)

pytestmark = [
    pytest.mark.anyio,
    # What the packages warn of, or leave unclosed, is theirs.
    pytest.mark.filterwarnings("ignore"),
]

QUESTION = [ModelRequest.user_text_prompt("hello")]
ANSWER = (
    b'{"id": "1", "object": "chat.completion", "created": 1, "model": "any", "choices": [{"index":'
    b' 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "well"}}]}'
)
PART = (
    b'data: {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "any", "choices":'
    b' [{"index": 0, "delta": {"role": "assistant", "content": "well"}, "finish_reason": %s}]}\n\n'
)
PARTS = PART % b"null" + PART % b'"stop"' + b"data: [DONE]\n\n"
SECOND = "success (no tool calls)"
"""What the fake model answers, which stands in."""


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    backend: Backend = request.param
    return in_virtual_time(backend)


@asynccontextmanager
async def calls_to(
    fault: str, body: bytes = ANSWER, **fields: Any
) -> AsyncIterator[tuple[HttpServer, Supervisor, CircuitModel]]:
    """Yield a server, the supervisor of the circuits, and a guarded model of that server's."""
    async with serving(fault, body) as server, Supervisor() as supervisor:
        provider = OpenAIProvider(base_url=f"http://127.0.0.1:{server.port}", api_key="none")
        model = OpenAIChatModel("any", provider=provider, settings={"max_retries": 0})
        async with CircuitModel(model, **{"failure_threshold": 1, **fields}) as guarded:
            yield server, supervisor, guarded


async def ask(model: Any, how: str = "whole", **settings: Any) -> str:
    """Return the text of a model's answer."""
    if how == "whole":
        whole = await direct.model_request(model, QUESTION, model_settings=settings)
    else:
        async with direct.model_request_stream(model, QUESTION, model_settings=settings) as parts:
            async for _ in parts:
                pass
        whole = parts.get()
    return "".join(part.content for part in whole.parts if isinstance(part, TextPart))


def only(supervisor: Supervisor) -> Statistics:
    (figures,) = supervisor.statistics().values()
    return figures


both = pytest.mark.parametrize("how", ["whole", "parts"])


@both
@pytest.mark.parametrize("fault", ["refused", "lost", "429", "503"])
async def test_what_fails_opens_the_circuit(fault: str, how: str) -> None:
    """After one request; and a refusal is ours and theirs, and can be pickled."""
    async with calls_to(fault) as (server, supervisor, model):
        with pytest.raises(ModelAPIError) as failure:
            await ask(model, how)
        assert not isinstance(failure.value, CircuitBreakerOpenError)
        assert only(supervisor).state is CircuitState.OPEN
        with pytest.raises(CircuitOpenError) as refusal:
            await ask(model, how)
        assert isinstance(refusal.value, ModelAPIError)
        assert isinstance(refusal.value, CircuitBreakerOpenError)
        assert refusal.value.model_name == "any"
        assert 0 < round(refusal.value.retry_after, 3) <= (HINT if fault.isdigit() else 30)
        again = pickle.loads(pickle.dumps(refusal.value))
        assert str(again) == str(refusal.value) == again.message
        assert (again.model_name, again.reason) == ("any", "open")
        figures = only(supervisor)
        assert (figures.failed, figures.rejected) == (1, 1)
        assert server.requests == (0 if fault == "refused" else 1)


@both
@pytest.mark.parametrize("status", ["400", "401", "404", "422"])
async def test_what_the_server_has_answered(status: str, how: str) -> None:
    """Is no failure: it has other things to say to other requests."""
    async with calls_to(status) as (_, supervisor, model):
        with pytest.raises(ModelAPIError):
            await ask(model, how)
        assert only(supervisor).succeeded == 1


@both
async def test_what_succeeds(how: str) -> None:
    """Counts as a success, by a circuit with the model's name."""
    async with calls_to("200", ANSWER if how == "whole" else PARTS) as (_, supervisor, model):
        assert await ask(model, how) == ("well" if how == "whole" else "wellwell")
        assert list(supervisor) == [model.breaker.name] == ["openai:any"]
        assert only(supervisor).succeeded == 1


@pytest.mark.parametrize(
    ("how", "setting"),
    [
        ("whole", "timeout"),
        ("whole", "request_timeout"),
        ("parts", "timeout"),
        ("parts", "request_timeout"),
        ("parts", "first_event_timeout"),
    ],
)
async def test_a_time_that_is_over(setting: str, how: str) -> None:
    """Is a failure, whoever measures it: also pydantic-ai's own deadlines."""
    async with calls_to("hang") as (_, supervisor, model):
        error = ModelConnectionError if setting == "timeout" else ModelRequestTimeout
        with pytest.raises(error):
            await ask(model, how, **{setting: 5.0})
        assert only(supervisor).failed == 1


async def test_a_stream_is_one_call() -> None:
    """From the question to its last event."""
    async with calls_to("200", PARTS) as (_, supervisor, model):
        async with direct.model_request_stream(model, QUESTION) as parts:
            assert only(supervisor).in_flight == 1
            async for _ in parts:
                pass
            assert (only(supervisor).in_flight, only(supervisor).succeeded) == (0, 1)
        assert parts.get().state == "complete"


async def test_a_stream_that_breaks_off() -> None:
    """Is a failure, though it had begun well."""
    async with calls_to("cut", PART % b"null") as (server, supervisor, model):
        with pytest.raises(ModelConnectionError):
            await ask(model, "parts")
        assert only(supervisor).failed == 1
        with pytest.raises(CircuitOpenError):
            await ask(model, "parts")
        assert server.requests == 1


async def test_a_stream_that_is_left() -> None:
    """Is a success if an event has come; nobody waits for the rest."""
    async with calls_to("stalls", PART % b"null") as (_, supervisor, model):
        async with direct.model_request_stream(model, QUESTION) as parts:
            async for _ in parts:
                break
        assert only(supervisor).succeeded == 1


async def test_a_stream_that_is_cancelled() -> None:
    """By its reader, while that waits for more: what comes of it is as it was, and no failure."""
    async with calls_to("stalls", PART % b"null") as (_, supervisor, model):
        states = []
        for each in (model.wrapped, model):
            async with direct.model_request_stream(each, QUESTION) as parts:
                async with anyio.create_task_group() as tasks:
                    with pytest.raises(ModelConnectionError):  # by 2.68.0
                        async for event in parts:
                            if event.event_kind == "final_result":
                                tasks.start_soon(parts.cancel)
            states.append(parts.get().state)
        assert states == ["interrupted", "interrupted"]
        figures = only(supervisor)
        assert (figures.failed, figures.ignored, figures.in_flight) == (0, 1, 0)


async def test_a_probe() -> None:
    """Has succeeded with the first event of its stream."""
    fields: dict[str, Any] = {"recovery_from": lambda _: 10.0}
    async with calls_to("503", PART % b"null", **fields) as (server, supervisor, model):
        with pytest.raises(ModelAPIError):
            await ask(model)
        server.fault = "stalls"
        await anyio.sleep(10)
        async with direct.model_request_stream(model, QUESTION) as parts:
            assert only(supervisor).in_flight == 1
            await anext(aiter(parts))
            await until(lambda: only(supervisor).state is CircuitState.CLOSED)


@both
async def test_within_a_fallback_model(how: str) -> None:
    """The next model is asked, and one that is known to be down is not."""
    async with calls_to("503") as (server, _, model):
        fallback = FallbackModel(model, FakeModel())
        for _ in range(3):
            assert await ask(fallback, how) == SECOND
        assert server.requests == 1


@both
async def test_round_a_fallback_model(how: str) -> None:
    """It has failed if all its models have."""
    async with calls_to("503") as (server, supervisor, model):
        outer = CircuitModel(FallbackModel(model.wrapped), "all", failure_threshold=1)
        with pytest.raises(ExceptionGroup):
            await ask(outer, how)
        with pytest.raises(CircuitOpenError):
            await ask(outer, how)
        assert supervisor["all"].statistics().failed == server.requests == 1


@both
async def test_a_refusal_inside(how: str) -> None:
    """Such as one of the client's own circuits, is one of pydantic-ai's errors as well."""
    inside = CircuitBreakerOpenError("inside", 5.0)

    def refuse(*_: object) -> Any:
        raise inside

    async with Supervisor() as supervisor:
        model = CircuitModel(FunctionModel(refuse, stream_function=refuse))
        with pytest.raises(CircuitOpenError) as refusal:
            await ask(model, how)
        assert (refusal.value.operation_name, refusal.value.retry_after) == ("inside", 5.0)
        assert only(supervisor).ignored == 1


async def test_a_model_of_ours_inside() -> None:
    """Its refusal comes out as it is."""
    async with calls_to("503") as (server, supervisor, model):
        with pytest.raises(ModelAPIError):
            await ask(model)
        with pytest.raises(CircuitOpenError) as refusal:
            await ask(CircuitModel(model, "outer"))
        assert refusal.value.operation_name == "openai:any"
        assert supervisor["outer"].statistics().ignored == server.requests == 1


@pytest.mark.parametrize("error", [UserError("what is that?"), ModelConnectionError("any", "full")])
async def test_what_was_not_sent(error: Exception) -> None:
    """Counts as nothing."""
    if isinstance(error, ModelConnectionError):
        error.phase = "pool"

    async def fail(*_: object) -> Any:
        raise error

    async with Supervisor() as supervisor:
        with pytest.raises(type(error)):
            await ask(CircuitModel(FunctionModel(fail)))
        assert only(supervisor).ignored == 1


def test_what_is_a_failure() -> None:
    """Also what no server has said plainly."""
    assert is_failure(ModelQuotaExceededError("any", "no credit"))
    assert is_failure(ModelAPIError("any", "no JSON"))
    assert is_failure(ValueError())
    assert not is_failure(ContentFilterError("no"))


async def test_tokens_that_are_counted() -> None:
    """By the circuit, and messages that are compacted, too."""

    class Counting(FakeModel):
        async def count_tokens(self, *_: Any) -> RequestUsage:
            return RequestUsage(input_tokens=7)

        async def compact_messages(self, *_: Any, **__: Any) -> ModelResponse:
            return ModelResponse(parts=[TextPart("short")])

    async with Supervisor() as supervisor:
        model = CircuitModel(Counting())
        assert (await model.count_tokens(QUESTION, None, Any)).input_tokens == 7
        assert (await model.compact_messages(Any, instructions="be short")).text == "short"
        assert only(supervisor).succeeded == 2


async def test_the_policy_is_yours() -> None:
    """What is a failure, and what counts as nothing, may be said otherwise."""
    fields: dict[str, Any] = {"failure_on": lambda error: error.status_code == 404}
    async with calls_to("404", **fields) as (_, supervisor, model):
        with pytest.raises(ModelAPIError):
            await ask(model)
        assert only(supervisor).state is CircuitState.OPEN
        other = CircuitModel(model.wrapped)
        with pytest.raises(PolicyConflictError):
            await ask(other)
        assert await ask(CircuitModel(FakeModel(), "mine")) == SECOND
        assert supervisor["mine"].statistics().succeeded == 1


@both
async def test_the_first_healthy_one(how: str) -> None:
    """Is asked; after that nobody asks the one that is down, until it comes back."""
    async with calls_to("503", recovery_from=lambda _: 10.0) as (server, supervisor, model):
        models = FirstHealthyModel(model, FakeModel())
        for _ in range(3):
            assert await ask(models, how) == SECOND
        assert server.requests == 1
        assert supervisor["test:test"].statistics().succeeded == 3
        server.fault, server.body = "200", ANSWER if how == "whole" else PARTS
        await anyio.sleep(10)
        assert (await ask(models, how)).startswith("well")
        assert server.requests == 2


@both
@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("down"),
        TimeoutError(),
        ModelAPIError("a", ""),
        CircuitBreakerOpenError("inside"),
    ],
)
async def test_the_reasons_to_move_on(error: Exception, how: str) -> None:
    """What `FallbackModel` moves on after, and what it raises since it is nobody's it knows."""

    def fail(*_: object) -> Any:
        raise error

    async with Supervisor():
        down = FunctionModel(fail, stream_function=fail, model_name="down")
        assert await ask(FirstHealthyModel(down, FakeModel()), how) == SECOND
        with pytest.raises(type(error)):
            await ask(FirstHealthyModel(down, FakeModel(), move_on=KeyError), how)


@both
async def test_nobody_is_healthy(how: str) -> None:
    """Why is told of each."""
    async with calls_to("503") as (server, supervisor, model):
        other = CircuitModel(FakeModel(), "other")
        supervisor.circuit("other", policy=other.breaker.policy).force_open()
        models = FirstHealthyModel(model, other)
        with pytest.raises(NoneHealthyError) as none:
            await ask(models, how)
        assert list(none.value.passed_over) == ["openai:any", "other"]
        assert none.value.retry_after == math.inf
        assert text_for_model(none.value).startswith("Each of 'openai:any', 'other' has failed; ")
        assert server.requests == 1


async def test_it_waits() -> None:
    """For one that comes back, if it may."""
    async with calls_to("503", recovery_from=lambda _: 10.0) as (server, _, model):
        with pytest.raises(ModelAPIError):
            await ask(model)
        server.fault = "200"
        assert await ask(FirstHealthyModel(model, wait=30)) == "well"


async def test_a_later_failure_of_its_stream() -> None:
    """Counts, and is raised: half an answer cannot be begun again unnoticed."""
    async with calls_to("cut", PART % b"null") as (_, supervisor, model):
        with pytest.raises(ModelConnectionError):
            await ask(FirstHealthyModel(model, FakeModel()), "parts")
        assert only(supervisor).failed == 1


@both
async def test_an_answer_that_goes_on(how: str) -> None:
    """Goes on with the model that has begun it, by its circuit."""
    asked: list[str] = []

    def model(name: str) -> FunctionModel:
        def answer(*_: object) -> ModelResponse:
            asked.append(name)
            state: Any = "suspended" if asked == ["b"] else "complete"
            return ModelResponse(parts=[TextPart(name)], state=state)

        async def parts(*_: object) -> AsyncIterator[str]:
            asked.append(name)
            yield name

        return FunctionModel(answer, stream_function=parts, model_name=name)

    async with Supervisor() as supervisor:
        names = [model(name) for name in ("a", "b")]
        models = FirstHealthyModel(*names)
        supervisor.circuit("function:a", policy=models.models[0].breaker.policy).force_open()  # type: ignore[attr-defined]
        begun = await direct.model_request(models, QUESTION)
        assert begun.state == "suspended"
        supervisor["function:a"].release()
        history = [*QUESTION, begun]
        if how == "whole":
            await direct.model_request(models, history)
        else:
            async with direct.model_request_stream(models, history) as response:
                async for _ in response:
                    pass
        assert asked == ["b", "b"]
        assert supervisor["function:b"].statistics().succeeded == 2


def test_bad_arguments() -> None:
    """Are errors at once."""
    with pytest.raises(ValueError, match="one circuit at least"):
        FirstHealthyModel()
    with pytest.raises(ValueError, match="circuit 'test:test' twice"):
        FirstHealthyModel(FakeModel(), FakeModel())
    with pytest.raises(UserError):
        CircuitModel("nobody:knows")
    with pytest.raises(ValueError, match="failure_threshold"):
        CircuitModel(FakeModel(), failure_threshold=0)
    with pytest.raises(ValueError, match="1 to 255 printable"):
        CircuitModel(FakeModel(), "")
    bad: Any = "0"
    with pytest.raises(TypeError, match="wait"):
        FirstHealthyModel(FakeModel(), wait=bad)
