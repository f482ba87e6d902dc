"""A refused call, answered: 503, and when to come back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, cast

from supervisor import (
    CircuitBreakerOpenError,
    CircuitStoppedError,
    NoneHealthyError,
    TooManyCircuitsError,
)
from supervisor.integrations.asgi.protocol import App, Message, Receive, Scope, Send, check_app
from supervisor.integrations.asgi.replies import Reply, problem

_Told = tuple[float, str, dict[str, Any]]
"""Seconds until a call may be admitted, what has happened, and further members of the problem."""

_TRY_AGAIN_LATER: Final = 1013

_NOISE: Final = 1e-6
"""Seconds by which the difference of two times may be too long: it is not to cost a whole one."""


class RefusalMiddleware:
    """Answers a request by 503 if what comes out of the application is a refusal; see `problem_of`.

    The start of a response is held back until its first part comes, as ASGI asks of servers: so a
    stream that is refused at its first item is answered, too. Once a part has been sent, the
    refusal goes on, and the server breaks the connection off. All other errors go on.

    A WebSocket is refused by the same answer if the server can send it. Else, and once it has been
    accepted, it is closed with code 1013, "try again later".

    Args:
        app: the application.

    Raises:
        TypeError: `app` cannot be called.
    """

    def __init__(self, app: App) -> None:
        self._app = check_app(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and answer for it if need be."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        begun = False

        async def sending(message: Message) -> None:
            nonlocal start, begun
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                begun = True
                held, start = start, None
                await send(held)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            reply = None if begun else problem_of(error)
            if reply is None:
                raise
            await reply(scope, receive, send)
        else:
            if start is not None:  # its body never came: that is for the server to judge
                await send(start)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = ended = False

        async def sending(message: Message) -> None:
            nonlocal accepted, ended
            accepted = accepted or message["type"] == "websocket.accept"
            ended = ended or message["type"] in ("websocket.close", "websocket.http.response.start")
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            reply = None if ended else problem_of(error)
            if reply is None:
                raise
            if not accepted and "websocket.http.response" in (scope.get("extensions") or {}):
                await reply(scope, receive, send)
            else:
                await send(
                    {
                        "type": "websocket.close",
                        "code": _TRY_AGAIN_LATER,
                        "reason": "try again later",
                    }
                )


def problem_of(error: BaseException) -> Reply | None:
    """Return the answer to a request that was refused, or None if `error` is no refusal.

    A group is a refusal if all errors in it are, however deep. If one of them is anything else,
    that must be seen. The same goes for a `NoneHealthyError`.

    The answer is a 503, with `Retry-After` in whole seconds, 1 or more, rounded up, unless it is
    not known when a call may be admitted. Its body is a problem (RFC 9457) with the members `type`,
    `title`, `status` and `detail`, and of a circuit that has refused `circuit`, `reason` and
    `retry_after` (seconds as in the header, or null). Of several, it is the one that takes longest
    to come back. No failure's text is in it.
    """
    told: list[_Told] = []
    for each in _leaves(error):
        refusal = _told_of(each)
        if refusal is None:
            return None
        told.append(refusal)
    seconds, detail, members = max(told, key=lambda each: each[0])
    whole = None if seconds == math.inf else max(1, math.ceil(seconds - _NOISE))
    headers = {} if whole is None else {"retry-after": str(whole)}
    return problem(503, detail, headers, **members, retry_after=whole)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group, however deep; of any other one, itself."""
    groups = [error]
    while groups:
        each = groups.pop()
        if isinstance(each, BaseExceptionGroup):
            groups.extend(cast("BaseExceptionGroup[BaseException]", each).exceptions)
        else:
            yield each


def _told_of(error: BaseException) -> _Told | None:
    """Return what is told of a refusal; None: it is none."""
    match error:
        case CircuitBreakerOpenError():
            # Its own text has that of the failure in it which somebody else has met with.
            reason = cast("Any", error.reason)
            name, seconds = error.operation_name, error.retry_after
            text = str(CircuitBreakerOpenError(name, seconds, error.state, reason=reason))
            return seconds, text, {"circuit": name, "reason": error.reason}
        case NoneHealthyError() if all(map(_told_of, error.passed_over.values())):
            names = list(error.passed_over)
            text = f"none of {len(names)} circuits admits a call"
            return error.retry_after, text, {"circuits": names}
        case CircuitStoppedError():
            return math.inf, "the circuit takes no more calls", {}
        case TooManyCircuitsError():
            return math.inf, "there are as many circuits as there may be", {}
        case _:
            return None
