"""What people do to circuits by hand: who may, from where, and how it is asked for."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from supervisor import CircuitBreaker, Supervisor
from supervisor.integrations.asgi.history import History
from supervisor.integrations.asgi.protocol import Receive, Scope, header_of, lived_of
from supervisor.integrations.asgi.replies import Reply, problem

Authorize = Callable[[Scope], bool | Awaitable[bool]]

ACTIONS: Final[Mapping[str, Callable[[CircuitBreaker], None]]] = {
    "force_open": CircuitBreaker.force_open,
    "release": CircuitBreaker.release,
    "reset": CircuitBreaker.reset,
}

_MOST_BYTES: Final = 65_536
"""Of a request's body: names are shorter."""

_FORM: Final = f'send {{"circuit": NAME, "action": one of {", ".join(ACTIONS)}}}'


async def is_authorized(authorize: Authorize, scope: Scope) -> bool:
    """Return what the application says of a request.

    Raises:
        TypeError: it says neither yes nor no; what looks like a yes may be meant otherwise.
    """
    answer: Any = authorize(scope)
    if inspect.isawaitable(answer):
        answer = await answer
    if not isinstance(answer, bool):
        raise TypeError(f"authorize must return True or False, got {answer!r}")
    return answer


async def act(authorize: Authorize, scope: Scope, receive: Receive) -> Reply | CircuitBreaker:
    """Do what a request asks for, and return to which circuit; or the problem with it."""
    if not _is_from_here(scope):
        return problem(403, "this was sent by a page of another site's")
    if not await is_authorized(authorize, scope):
        return problem(403, "you may not change circuits")
    # What a form of another site's can send without the browser's asking first is none of this.
    kind = (header_of(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return problem(415, "the content-type must be application/json")
    body = await _body(receive)
    if body is None:
        return problem(413, f"the body has more than {_MOST_BYTES} bytes")
    return _act(*lived_of(scope), body)


def _act(supervisor: Supervisor, history: History, body: bytes) -> Reply | CircuitBreaker:
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        return problem(400, f"the body is no JSON; {_FORM}")
    match asked:
        case {"run": run} if run != history.run:  # its page shows the circuits of another one
            return problem(409, "another process has answered; try again")
        case {"circuit": str(name), "action": str(action)} if action in ACTIONS:
            if name not in supervisor:
                return problem(404, "there is no circuit of this name")
            breaker = supervisor[name]
            if not breaker.statistics().running:
                return problem(409, "the circuit was given up, and heeds nobody any more")
            ACTIONS[action](breaker)
            return breaker
        case _:
            return problem(400, _FORM)


def _is_from_here(scope: Scope) -> bool:
    """Return whether a request comes from a page of this server's, or from no page at all.

    Browsers say so; to a server that they do not trust, since it has neither TLS nor this machine's
    own name, only by the origin. Its scheme may be another one in front of a proxy.
    """
    site = header_of(scope, b"sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = header_of(scope, b"origin")
    if origin is None:
        return True
    host = origin.partition("://")[2]
    return host != "" and host.lower() == (header_of(scope, b"host") or "").lower()


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request, which is empty if the client has left; None: it is too long."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > _MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return body
