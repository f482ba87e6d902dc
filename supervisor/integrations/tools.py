"""What the guards of agents' tools have in common: circuits, what counts, and the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitStoppedError,
    Policy,
    PolicyConflictError,
    TooManyCircuitsError,
    is_retryable_error,
)
from supervisor.integrations.answers import text_for_model
from supervisor.integrations.origins import check_naming, given_name
from supervisor.integrations.policies import whole_policy, with_hints

R = TypeVar("R")

REFUSALS = (CircuitBreakerOpenError, CircuitStoppedError)
"""What says that a call was not made, by this circuit or by one inside."""

MISTAKES = (PolicyConflictError, TooManyCircuitsError)
"""What is to be told to a developer, and not to a model."""


def circuit_of_tool(name: str) -> str:
    """Return the name of a tool's circuit: `tool:` and the tool's name."""
    return f"tool:{name}"


def is_from_trouble(error: BaseException) -> bool:
    """Whether an error was raised from a server's: a lost connection, say, or a timeout."""
    reason = error.__cause__ or error.__context__
    return reason is not None and is_retryable_error(reason)


class GuardedTools:
    """Guards calls of tools, one circuit each, and answers the model where they are refused.

    Args:
        circuit: the name of a tool's circuit, by the tool's name; None: it is not guarded.
        policy: that of all circuits.
        answer_failures: whether failures are answered, too, or raised.
        nothing: what a framework raises to steer an agent: it counts as nothing, and is raised.

    Raises:
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        circuit: Callable[[str], str | None],
        policy: Policy | None,
        answer_failures: bool,
        nothing: Callable[[BaseException], bool],
    ) -> None:
        check_naming("circuit", circuit, "a tool's name")
        self._name_of = circuit
        self._policy = with_hints(with_hints(whole_policy(policy), REFUSALS), nothing)
        self._answer_failures = answer_failures
        self._nothing = nothing

    async def call(
        self, tool: str, func: Callable[[], Awaitable[R]], answer: Callable[[str], R]
    ) -> R:
        """Call `func` if the tool's circuit admits it, or `answer` with a text for the model.

        Raises:
            PolicyConflictError: the circuit's name belongs to one with another policy.
            TypeError, ValueError: what `circuit` has returned is no name, and not None.
            Exception: any error of `func` that is not answered.
        """
        name = given_name("circuit", self._name_of(tool))
        run = func
        if name is not None:
            run = partial(CircuitBreaker(name, policy=self._policy).call, func)
        try:
            return await run()
        except REFUSALS as refusal:
            return answer(text_for_model(refusal, tool))
        except MISTAKES:
            raise
        except Exception as error:
            if not self._answer_failures or self._nothing(error):
                raise
            return answer(text_for_model(error, tool))
