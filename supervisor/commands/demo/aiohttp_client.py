"""An agent's client of aiohttp's."""

# The package need not be there when types are checked:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from types import TracebackType
from typing import Any

import aiohttp  # type: ignore[import-not-found, unused-ignore]


class AiohttpClient:
    """A `ClientSession` with these middlewares; see `AgentClient`."""

    def __init__(self, url: str, middlewares: list[Any]) -> None:
        self._url = url
        self._middlewares = middlewares

    async def __aenter__(self) -> object:
        """Open its connection."""
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=3600)
        self._session: Any = aiohttp.ClientSession(
            self._url, connector=connector, middlewares=self._middlewares
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self._session.close()

    async def post(self, path: str, body: dict[str, Any]) -> int:
        """Send one request, and return the status of the answer."""
        try:
            async with self._session.post(path, json=body) as response:
                await response.read()
                status: int = response.status
                return status
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{path}: {error!r}") from error


def new_client(guards: Any, url: str, policy: dict[str, Any] | None) -> AiohttpClient:
    """Return a client, with the guard that there is for it if there is a policy."""
    return AiohttpClient(url, [] if policy is None else [guards.CircuitMiddleware(**policy)])
