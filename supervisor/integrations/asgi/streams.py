"""Events of circuits as server-sent events (the HTML standard's `EventSource`)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl

import anyio

from supervisor import Event, EventsMissed
from supervisor.integrations.asgi.documents import event_as_json
from supervisor.integrations.asgi.history import History
from supervisor.integrations.asgi.protocol import Receive, Scope, Send, header_of
from supervisor.integrations.asgi.replies import STRICT, encoded

HEADERS: Final = encoded(
    {
        "content-type": "text/event-stream; charset=utf-8",
        **STRICT,
        "x-accel-buffering": "no",  # nginx would keep events until it has enough of them
    }
)

KEEP_ALIVE: Final = 10.0
"""Seconds of silence after which a comment is sent, so that nobody in between hangs up."""

LONGEST_NUMBER: Final = 18
"""Digits of the number of an event; a longer one is none of ours."""

COMES_BACK: Final = 500
"""Milliseconds after which a reader comes back."""


class EventResponse:
    """One answer of server-sent events, from where its reader has stopped on.

    That is told by the header `Last-Event-ID`, or by the query `last_event_id` if a reader sends no
    header, as browsers the first time. A new reader is told `Began` first; so is one that comes
    from another process or an earlier start of it, whose numbers mean nothing here. What a reader
    has missed for good is told as `EventsMissed`.

    Args:
        history: where the events are.
        seconds: how long the answer lasts at most, more than 0.
        show_failures: whether texts of failures are shown.
    """

    def __init__(self, history: History, seconds: float, show_failures: bool) -> None:
        self._history = history
        self._seconds = seconds
        self._show_failures = show_failures
        self._told = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until its time is over, the application ends, or the reader has left."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_left, receive, tasks.cancel_scope)
            with suppress(OSError):  # servers may raise one if the reader has left
                await send(_part(f"retry: {COMES_BACK}\n\n{self._beginning(scope)}"))
                await self._go_on(send)
                await send({"type": "http.response.body", "body": b""})
            tasks.cancel_scope.cancel()

    async def _go_on(self, send: Send) -> None:
        ends = anyio.current_time() + self._seconds
        while True:
            if news := self._news():
                await send(_part(news))
                continue
            left = ends - anyio.current_time()
            if self._history.ended or left <= 0:
                return
            with anyio.move_on_after(min(left, KEEP_ALIVE)) as silence:
                await self._history.more()
            if silence.cancelled_caught and left > KEEP_ALIVE:
                await send(_part(":\n\n"))

    def _beginning(self, scope: Scope) -> str:
        """Return what a reader is told first, and begin where it has stopped."""
        run, _, sequence = (header_of(scope, b"last-event-id") or _asked_for(scope)).partition("-")
        latest = self._history.latest
        is_number = sequence.isdecimal() and len(sequence) <= LONGEST_NUMBER
        if run == self._history.run and is_number and int(sequence) <= latest:
            self._told = int(sequence)
            return ""
        self._told = latest
        return self._event(latest, {"type": "Began", **state_of(self._history)})

    def _news(self) -> str:
        """Return what the reader has not been told yet."""
        news = [self._told_event(event) for event in self._history.since(self._told)]
        self._told = self._history.latest
        return "".join(news)

    def _told_event(self, event: Event | EventsMissed) -> str:
        return self._event(event.sequence, event_as_json(event, self._show_failures))

    def _event(self, sequence: int, content: Mapping[str, Any]) -> str:
        # JSON has no line breaks of its own, which would end a field.
        return f"id: {self._history.run}-{sequence}\ndata: {json.dumps(content)}\n\n"


def state_of(history: History) -> dict[str, Any]:
    """Return which process and which start this is, and how late."""
    return {
        "process": os.getpid(),
        "run": history.run,
        "sequence": history.latest,
        "now": anyio.current_time(),
    }


def _asked_for(scope: Scope) -> str:
    query: bytes = scope.get("query_string", b"")
    return dict(parse_qsl(query.decode("latin-1"))).get("last_event_id", "")


async def _cancel_when_left(receive: Receive, response: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    response.cancel()


def _part(text: str) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
