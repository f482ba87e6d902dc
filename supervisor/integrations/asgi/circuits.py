"""An application that shows all circuits, one of them, and what happens to them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import anyio.lowlevel

from supervisor import CircuitBreaker, Supervisor
from supervisor.integrations.asgi.actions import Authorize, act, is_authorized
from supervisor.integrations.asgi.documents import as_json, event_as_json
from supervisor.integrations.asgi.history import History
from supervisor.integrations.asgi.page import file_of, page_of, prefers_page
from supervisor.integrations.asgi.protocol import Receive, Scope, Send, lived_of, paths_of
from supervisor.integrations.asgi.replies import STRICT, HttpApp, Reply, document, encoded, problem
from supervisor.integrations.asgi.streams import EventResponse, state_of

_AT_A_TIME: Final = 25
"""Circuits that are put into JSON between two turns of the event loop: a few milliseconds."""


class CircuitsApp(HttpApp):
    """Shows circuits: mount it where only those who may see them have access.

    `/` is all of them: a live page for browsers, JSON for all others. `/NAME` is one of them with
    its last events, as JSON, and `/events` a stream of server-sent events. A circuit that is called
    "events" is shown by `/` only. Numbers that are infinite are null.

    With `authorize`, `POST /` changes a circuit by hand: by the JSON `{"circuit": NAME, "action":
    "force_open"}`, or "release", or "reset". It answers with the circuit, or by a problem: 403 if
    it must not be, 404 if there is no such circuit, 409 if that was given up. The page has buttons
    for it. Pages of other sites cannot use what a browser knows of its user.

    It needs a `SupervisorMiddleware` around the application.

    Args:
        show_failures: whether the texts of failures are shown, in which anything may be.
        stream_seconds: how long a stream of events lasts, more than 0 and finite; its reader comes
            back by itself, and misses nothing. Some servers wait for streams when they end or
            reload, and do not tell the application before: so long.
        authorize: whether a request may change circuits, by its scope; a plain function or an async
            one. It is asked for each action, and when the page is opened, which else has no
            buttons. What it raises is the application's to answer. None: nobody may.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """

    def __init__(
        self,
        *,
        show_failures: bool = False,
        stream_seconds: float = 5.0,
        authorize: Authorize | None = None,
    ) -> None:
        self._show_failures = _checked_flag(show_failures)
        self._stream_seconds = _checked_seconds(stream_seconds)
        self._authorize = _checked_function(authorize)

    def methods(self, scope: Scope) -> tuple[str, ...]:
        """Return by which methods a path may be asked: all circuits may be told by POST."""
        is_root = next(paths_of(scope)) == ""
        reading = super().methods(scope)
        return reading if self._authorize is None or not is_root else (*reading, "POST")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by what the path says."""
        supervisor, history = lived_of(scope)
        paths = list(paths_of(scope))
        match paths:
            case ["", *_]:
                await self._answer_all(scope, receive, send)
            case ["events" | "events/", *_]:
                stream = EventResponse(history, self._stream_seconds, self._show_failures)
                await stream(scope, receive, send)
            case _:
                reply = file_of(paths, scope) or self._reply(paths, supervisor, history)
                await reply(scope, receive, send)

    async def _answer_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        supervisor, history = lived_of(scope)
        authorize = self._authorize
        if scope["method"] == "POST" and authorize is not None:
            done = await act(authorize, scope, receive)
            reply = done if isinstance(done, Reply) else self._circuit(done, history)
            await reply(scope, receive, send)
        elif prefers_page(scope):
            has_buttons = authorize is not None and await is_authorized(authorize, scope)
            await page_of(scope, has_buttons)(scope, receive, send)
        else:
            await self._show_all(supervisor, history, scope, send)

    def _reply(self, paths: list[str], supervisor: Supervisor, history: History) -> Reply:
        name = next((name for name in paths if name in supervisor), None)
        if name is None:
            return problem(404, "there is no circuit of this name")
        return self._circuit(supervisor[name], history)

    def _circuit(self, breaker: CircuitBreaker, history: History) -> Reply:
        circuit = self._as_json(breaker, history)
        events = [event_as_json(each, self._show_failures) for each in history.of(breaker.name)]
        return document({**state_of(history), "circuit": circuit, "events": events})

    async def _show_all(
        self, supervisor: Supervisor, history: History, scope: Scope, send: Send
    ) -> None:
        """Send all circuits in parts: there may be ten thousand, and others wait meanwhile."""
        headers = encoded({"content-type": "application/json", **STRICT, "vary": "accept"})
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            for part in self._parts(supervisor, history):
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.body", "body": b""})

    def _parts(self, supervisor: Supervisor, history: History) -> Iterator[bytes]:
        told = state_of(history)
        if (fleet := supervisor.fleet) is not None:
            told["fleet"] = as_json(fleet, self._show_failures)
        begin = json.dumps(told).removesuffix("}")
        yield f'{begin}, "circuits": ['.encode()
        left = iter(list(supervisor))
        comma = ""
        while names := list(islice(left, _AT_A_TIME)):
            some = [
                self._as_json(supervisor[name], history)
                for name in names
                if name in supervisor  # and has not been stopped meanwhile
            ]
            if some:
                yield f"{comma}{json.dumps(some, allow_nan=False)[1:-1]}".encode()
                comma = ", "
        yield b"]}"

    def _as_json(self, breaker: CircuitBreaker, history: History) -> dict[str, Any]:
        figures = as_json(breaker.statistics(), self._show_failures)
        return {**figures, "since": history.entered(breaker.name)}


def _checked_flag(show_failures: object) -> bool:
    if not isinstance(show_failures, bool):
        raise TypeError(f"show_failures must be true or false, got {show_failures!r}")
    return show_failures


def _checked_seconds(seconds: object) -> float:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"stream_seconds must be a number of seconds, got {seconds!r}")
    if not 0 < seconds < math.inf:
        raise ValueError(f"stream_seconds must be more than 0 and finite, got {seconds!r}")
    return seconds


def _checked_function(authorize: Authorize | None) -> Authorize | None:
    if authorize is not None and not callable(authorize):
        raise TypeError(f"authorize must be a function of a request's scope, got {authorize!r}")
    return authorize
