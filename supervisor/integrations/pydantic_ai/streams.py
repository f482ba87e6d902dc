"""Responses of pydantic-ai's that come in parts, read through a guard."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# mypy: disable-error-code="misc, no-any-return, import-not-found, unused-ignore"

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pydantic_ai.models import StreamedResponse

from supervisor.integrations.pydantic_ai.errors import CancelledStream


class Stream:
    """A response in parts, whose events are read through a guard.

    Args:
        opening: what opens it, and waits for its first event, as a `FallbackModel` does.
    """

    def __init__(self, opening: AbstractAsyncContextManager[StreamedResponse]) -> None:
        self._opening = opening
        self._response: Any = None
        self._events: Any = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Stream]:
        """Send the request; what is guarded are the events that come from this very object."""
        async with self._opening as response:
            self._response, self._events = response, aiter(response)
            yield self

    def read_by(self, events: AsyncIterator[Any]) -> StreamedResponse:
        """Return the response, whose events are those from now on."""
        response = self._response
        response._event_iterator = _Events(events)  # as `FallbackModel` does itself
        return response

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            raise
        except Exception as error:
            if self._response.cancelled:
                raise CancelledStream(error) from None
            raise


class _Events:
    """Guarded events, as pydantic-ai knows them."""

    def __init__(self, guarded: AsyncIterator[Any]) -> None:
        self._guarded = guarded

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._guarded)
        except CancelledStream as end:
            error = end.error
        try:
            raise error  # out here it keeps its own cause and context
        finally:
            del error
