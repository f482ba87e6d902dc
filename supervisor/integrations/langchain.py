"""A guard for the models and tools of LangChain's agents. These run on asyncio only."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# mypy: disable-error-code="misc, no-any-return, import-not-found, unused-ignore"

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp

from supervisor import CircuitBreaker, Policy
from supervisor.integrations.http import FAILURES
from supervisor.integrations.origins import check_naming, given_name
from supervisor.integrations.policies import whole_policy, with_hints
from supervisor.integrations.tools import (
    REFUSALS,
    GuardedTools,
    circuit_of_tool,
    is_from_trouble,
)
from supervisor.retry import status_of

R = TypeVar("R")


def circuit_of_model(model: Any) -> str:
    """Return the name of a model's circuit: its provider and its name, such as `openai:gpt-5`."""
    parameters = model._get_ls_params()  # what every chat model tells a tracer
    parts = (parameters.get("ls_provider"), parameters.get("ls_model_name"))
    return ":".join(filter(None, parts)) or type(model).__name__


def is_failure(error: BaseException) -> bool:
    """Whether an error of a model's is a failure of its server; others say that it has answered.

    The `failure_on` of `CircuitMiddleware` for models. Of errors that tell an HTTP status, those
    with 429 and 500 to 599 are failures; errors that tell none all are.
    """
    status = status_of(error)
    return status is None or status in FAILURES


def _steers(error: BaseException) -> bool:
    """Whether a tool tells the graph or the model how to go on, and not from a server's trouble."""
    if isinstance(error, ToolException):
        return not is_from_trouble(error)
    return isinstance(error, GraphBubbleUp)


class CircuitMiddleware(AgentMiddleware):
    """Guards each model and each tool of an agent by a circuit of its own. On asyncio only.

    A refused model raises `CircuitBreakerOpenError`: within a `ModelFallbackMiddleware`, the next
    one is asked. A refused tool is answered by a `ToolMessage` whose status is "error", so that the
    run goes on, and the other tools that were called with it do.

    Args:
        model_circuit: the name of a model's circuit, by the model; None: it is not guarded.
        tool_circuit: the name of a tool's circuit, by the tool's name; None: it is not guarded.
        model_policy: that of all models' circuits. Unless it has a `failure_on`, that is
            `is_failure`.
        tool_policy: that of all tools' circuits.
        answer_failures: whether a tool's failures are answered likewise; by default they are
            raised, which ends the run.

    Raises:
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        *,
        model_circuit: Callable[[Any], str | None] = circuit_of_model,
        tool_circuit: Callable[[str], str | None] = circuit_of_tool,
        model_policy: Policy | None = None,
        tool_policy: Policy | None = None,
        answer_failures: bool = False,
    ) -> None:
        super().__init__()
        check_naming("model_circuit", model_circuit, "a model")
        whole = whole_policy(model_policy)
        if whole.failure_on is Exception:
            whole = replace(whole, failure_on=is_failure)
        self._model_circuit = model_circuit
        self._model_policy = with_hints(whole, (GraphBubbleUp, *REFUSALS))
        self._tools = GuardedTools(tool_circuit, tool_policy, answer_failures, _steers)

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[R]]) -> R:
        """Ask the model, if its circuit admits it.

        Raises:
            CircuitBreakerOpenError: it does not.
            Exception: any error of the model.
        """
        name = given_name("model_circuit", self._model_circuit(request.model))
        if name is None:
            return await handler(request)
        return await CircuitBreaker(name, policy=self._model_policy).call(handler, request)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Call the tool if its circuit admits it; if not, answer in its place.

        Raises:
            Exception: any error of the tool that is not answered.
        """
        call = request.tool_call

        def answer(text: str) -> Any:
            return ToolMessage(text, tool_call_id=call["id"], name=call["name"], status="error")

        return await self._tools.call(call["name"], lambda: handler(request), answer)
