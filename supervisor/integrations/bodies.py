"""Bodies of responses: they are read by their parts, which tell how a request has ended."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Protocol

from supervisor import Permit


class Parts(Protocol):
    """The parts of a response's body."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return an iterator of them."""
        ...

    async def aclose(self) -> None:
        """Let nothing more come."""
        ...


class Body:
    """The rest of a client's class for a body that is read by its parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._parts)

    async def aclose(self) -> None:
        """Let nothing more come."""
        await self._parts.aclose()


class NoParts:
    """Those of a body that has been read already."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


class SettlingParts:
    """The parts of a body, which settle a permit by how they end."""

    def __init__(self, permit: Permit, stream: Any) -> None:
        self._permit = permit
        self._stream = stream
        self._has_begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        permit = self._permit
        try:
            async for part in self._stream:
                self._has_begun = True
                yield part
        except GeneratorExit:
            raise  # the reader has left: see `aclose`
        except BaseException as error:
            if not permit.settled:
                permit.__exit__(type(error), error, error.__traceback__)
            raise
        if not permit.settled:
            permit.succeed()

    async def aclose(self) -> None:
        """Close the body; whoever has read a part of it was served."""
        self._leave()
        await self._stream.aclose()

    def __del__(self) -> None:
        if not self._permit.settled:
            with suppress(RuntimeError):  # the collector runs in another thread
                self._leave()
            warnings.warn(f"the response to {self._permit!r} was never closed", ResourceWarning, 1)

    def _leave(self) -> None:
        if not self._permit.settled:
            if self._has_begun:
                self._permit.succeed()
            else:
                self._permit.ignore()
