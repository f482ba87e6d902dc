"""Guards for pydantic-ai's models, which are called from agents or by `pydantic_ai.direct`."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# mypy: disable-error-code="misc, no-any-return, import-not-found, unused-ignore"

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, StreamedResponse
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.wrapper import WrapperModel

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    FirstHealthy,
    Policy,
    is_retryable_error,
)
from supervisor.integrations.policies import whole_policy, with_hints
from supervisor.integrations.pydantic_ai.errors import CircuitOpenError, is_failure, is_nothing
from supervisor.integrations.pydantic_ai.streams import Stream
from supervisor.retry import RetryOn

R = TypeVar("R")

MOVE_ON: Final[tuple[Any, ...]] = (ModelAPIError, CircuitBreakerOpenError, is_retryable_error)
"""After what the next model is asked: also after a refusal by a circuit inside, of a client's."""


class CircuitModel(WrapperModel):
    """A model whose requests go by a circuit.

    Each request is one call, and so is each stream, which has succeeded as a probe with its first
    event. Batches are not guarded. A refusal is a `CircuitOpenError`.

    Attributes:
        breaker: the circuit.
        unguarded: the same model without it. As each `FallbackModel`, it prepares the messages, and
            keeps to the deadlines itself: what comes too late has failed, and is not cancelled.

    Args:
        wrapped: the model, or its name.
        circuit: the circuit's name; by default the model's `model_id`, such as `openai:gpt-5`.
        policy: a whole policy, instead of the default one.
        fields: any field of `Policy`; they go before those of `policy`. Unless it is given,
            `failure_on` is `is_failure`. What the server has not seen is ignored. Its hints say for
            how long the circuit is open.

    Raises:
        TypeError, ValueError: an argument is unknown, of the wrong type or out of range.
        UserError: pydantic-ai does not know the model.
    """

    def __init__(
        self,
        wrapped: Model | str,
        circuit: str | None = None,
        *,
        policy: Policy | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(wrapped)
        name = self.wrapped.model_id if circuit is None else circuit
        whole = whole_policy(policy, **fields)
        if whole.failure_on is Exception:
            whole = replace(whole, failure_on=is_failure)
        self.breaker = CircuitBreaker(name, policy=with_hints(whole, is_nothing))
        self.unguarded = FallbackModel(self.wrapped, fallback_on=_never)

    async def request(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Ask the model, if the circuit admits it.

        Raises:
            CircuitOpenError: it does not.
            Exception: any error of the model.
        """
        return await self._call(self.unguarded.request, *args, **kwargs)

    async def count_tokens(self, *args: Any, **kwargs: Any) -> Any:
        """Do the same to count tokens."""
        return await self._call(self.wrapped.count_tokens, *args, **kwargs)

    async def compact_messages(self, *args: Any, **kwargs: Any) -> Any:
        """Do the same to compact messages."""
        return await self._call(self.wrapped.compact_messages, *args, **kwargs)

    @asynccontextmanager
    async def request_stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamedResponse]:
        """Ask for an answer in parts, if the circuit admits it; see `request`."""
        stream = Stream(self.unguarded.request_stream(*args, **kwargs))
        async with AsyncExitStack() as opened:
            with self._refusing():
                events = await opened.enter_async_context(
                    self.breaker.stream(stream.open, verdict="first_item")
                )
            yield stream.read_by(events)

    def prepare_messages(
        self,
        messages: list[ModelMessage],
        model_request_parameters: Any = None,  # noqa: ARG002  (pydantic-ai gives it)
    ) -> list[ModelMessage]:
        """Leave that to `unguarded`."""
        return messages

    def _start_request_deadline(self, *args: Any, **kwargs: Any) -> None:
        """Leave that to `unguarded`, too."""

    async def _call(self, func: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
        with self._refusing():
            return await self.breaker.call(func, *args, **kwargs)

    @contextmanager
    def _refusing(self) -> Generator[None]:
        """Raise refusals, also those of circuits inside, as what pydantic-ai knows as well."""
        try:
            yield
        except CircuitOpenError:
            raise
        except CircuitBreakerOpenError as refusal:
            raise CircuitOpenError(
                refusal.operation_name,
                refusal.retry_after,
                refusal.state,
                refusal.last_failure,
                refusal.reason,
                model_name=self.model_name,
            ) from refusal


class FirstHealthyModel(FallbackModel):
    """Several models, of which the first is asked whose circuit admits it; see `FirstHealthy`.

    Args:
        models: in the order in which they are asked: models, or their names. What is no
            `CircuitModel` is made one.
        move_on: the errors after which the next one is asked; by default each `ModelAPIError`, as
            of `FallbackModel`, refusals by circuits inside, and what `is_retryable_error` says.
        wait: seconds, more than 0, for which a request waits until one comes back; None: it does
            not.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range, or a circuit comes
            twice.
        UserError: pydantic-ai does not know a model.
    """

    def __init__(
        self,
        *models: Model | str,
        move_on: RetryOn | None = None,
        wait: float | None = None,
    ) -> None:
        guarded = [
            model if isinstance(model, CircuitModel) else CircuitModel(model) for model in models
        ]
        self._first = FirstHealthy(
            *(model.breaker for model in guarded),
            move_on=MOVE_ON if move_on is None else move_on,
            wait=wait,
        )
        super().__init__(*guarded)
        self._models = {model.breaker.name: model.unguarded for model in guarded}

    async def request(
        self, messages: list[ModelMessage], *args: Any, **kwargs: Any
    ) -> ModelResponse:
        """Ask the first model that is healthy; an answer that is not over goes on with its own.

        Raises:
            NoneHealthyError: each one has refused, or has failed by an error to move on after.
            Exception: any other error of a model.
        """
        if _goes_on(messages):
            return await super().request(messages, *args, **kwargs)

        async def ask(name: str) -> ModelResponse:
            return await self._models[name].request(messages, *args, **kwargs)

        return await self._first.call(ask)

    @asynccontextmanager
    async def request_stream(
        self, messages: list[ModelMessage], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[StreamedResponse]:
        """Do the same for an answer in parts; up to its first event, the next one is asked."""
        if _goes_on(messages):
            async with super().request_stream(messages, *args, **kwargs) as response:
                yield response
            return
        streams: list[Stream] = []

        def ask(name: str) -> Any:
            streams.append(Stream(self._models[name].request_stream(messages, *args, **kwargs)))
            return streams[-1].open()

        async with self._first.stream(ask, verdict="first_item") as events:
            yield streams[-1].read_by(events)


def _goes_on(messages: list[ModelMessage]) -> bool:
    """Whether a request continues an answer that its server has not ended."""
    last = messages[-1] if messages else None
    return last is not None and isinstance(last, ModelResponse) and last.state == "suspended"


def _never(error: Exception) -> bool:  # noqa: ARG001  (pydantic-ai asks about an error)
    return False
