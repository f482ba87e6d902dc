"""Guards for the tools of pydantic-ai's agents. These run on asyncio only."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# mypy: disable-error-code="misc, no-any-return, import-not-found, unused-ignore"

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, NoReturn

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.toolsets import AbstractToolset, WrapperToolset

from supervisor import Policy
from supervisor.integrations.pydantic_ai.errors import steers
from supervisor.integrations.tools import GuardedTools, circuit_of_tool


@dataclass
class CircuitToolset(WrapperToolset[Any]):
    """A toolset each of whose tools goes by a circuit, and whose refusals are told to the model.

    A refused call raises `ToolFailed`: the model gets a text as the tool's answer, the run goes on,
    and none of the tool's retries is used.

    Args:
        wrapped: the toolset.
        circuit: the name of a tool's circuit, by the tool's name; None: it is not guarded. By
            default `tool:` and the tool's name.
        policy: that of all circuits. What a tool raises to tell the agent how to go on, such as
            `ModelRetry`, is ignored, unless it was raised from an error such as a `TimeoutError`.
        answer_failures: whether failures are answered likewise; by default they are raised, which
            ends the run.

    Raises:
        TypeError: an argument is of the wrong type.
    """

    _: KW_ONLY
    circuit: Callable[[str], str | None] = circuit_of_tool
    policy: Policy | None = None
    answer_failures: bool = False

    def __post_init__(self) -> None:
        self._tools = GuardedTools(self.circuit, self.policy, self.answer_failures, steers)

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
        """Call the tool, if its circuit admits it.

        Raises:
            ToolFailed: it does not, or the call has failed and is to be answered.
            Exception: any error of the tool.
        """

        def ask() -> Awaitable[Any]:
            return self.wrapped.call_tool(name, tool_args, ctx, tool)

        return await self._tools.call(name, ask, _tell)


def _tell(text: str) -> NoReturn:
    raise ToolFailed(text)


@dataclass
class CircuitTools(AbstractCapability[Any]):
    """A capability by which all tools of an agent are guarded; see `CircuitToolset`."""

    circuit: Callable[[str], str | None] = circuit_of_tool
    policy: Policy | None = None
    answer_failures: bool = False

    def __post_init__(self) -> None:
        GuardedTools(self.circuit, self.policy, self.answer_failures, steers)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> CircuitToolset:
        """Return the agent's tools, guarded."""
        return CircuitToolset(
            toolset,
            circuit=self.circuit,
            policy=self.policy,
            answer_failures=self.answer_failures,
        )
