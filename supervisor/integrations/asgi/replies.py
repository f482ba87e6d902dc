"""Whole answers, problems among them (RFC 9457), and what an application of ours answers to."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from supervisor.integrations.asgi.protocol import Receive, Scope, Send

STRICT: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
"""Headers of every answer here: kept nowhere, and taken for nothing that runs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer; an ASGI application that gives it to every request.

    Attributes:
        status: the HTTP status.
        headers: by names in lower case.
        body: what a HEAD request is not sent.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it, as the answer to a request, or as the refusal of a WebSocket."""
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        await send(
            {"type": f"{kind}.start", "status": self.status, "headers": encoded(self.headers)}
        )
        body = b"" if scope.get("method") == "HEAD" else self.body
        await send({"type": f"{kind}.body", "body": body})


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI takes them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def document(
    content: Mapping[str, Any],
    status: int = 200,
    kind: str = "application/json",
    **headers: str,
) -> Reply:
    """Return JSON as an answer."""
    body = json.dumps(content, allow_nan=False).encode()
    whole = {"content-type": kind, "content-length": str(len(body)), **STRICT, **headers}
    return Reply(status, whole, body)


def problem(status: int, detail: str, headers: Mapping[str, str] = {}, **members: Any) -> Reply:
    """Return a problem as an answer: what went wrong, for programs and people."""
    # "about:blank": the problem is what its status says, and is looked up nowhere.
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    return document(content, status, "application/problem+json", **headers)


class HttpApp(ABC):
    """An application that is read from, by GET and HEAD."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a WebSocket is closed before it is accepted."""
        match scope["type"]:
            case "http":
                if scope["method"] not in (methods := self.methods(scope)):
                    allow = {"allow": ", ".join(methods)}
                    reply = problem(405, f"{scope['method']} is not understood here", allow)
                    await reply(scope, receive, send)
                else:
                    await self.answer(scope, receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1000})
            case other:  # as an application does that has no lifespan
                raise RuntimeError(f"{type(self).__name__} answers HTTP requests only, not {other}")

    def methods(self, scope: Scope) -> tuple[str, ...]:  # noqa: ARG002
        """Return by which methods a path may be asked."""
        return ("GET", "HEAD")

    @abstractmethod
    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose method is one of its `methods`."""
