"""The ASGI application: it decides when it is dead, and counts what reaches it.

`POST /control/begin` starts a pass, `GET /control/report` tells what was counted in it. Every
other path is the work, which fails slowly while the server is dead, as an overloaded one does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import anyio

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LATENCY: Final[Mapping[str, float]] = {"/chat": 0.06, "/search": 0.03, "/memory": 0.01}
"""Seconds that the work takes, by path, while the server is healthy."""

DEAD_LATENCY: Final = 0.1
"""Seconds after which the dead server gives up on a request."""


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What the server saw in one pass; all times are seconds since the pass began.

    Attributes:
        dead_from, dead_until: the outage.
        bucket: the length of the periods that requests are counted by.
        healthy, dead: requests in each of these periods, by what the server was.
    """

    dead_from: float
    dead_until: float
    bucket: float
    healthy: list[int]
    dead: list[int]

    @property
    def rates(self) -> list[float]:
        """Requests per second in each period."""
        return [sum(both) / self.bucket for both in zip(self.healthy, self.dead, strict=True)]


class Server:
    """Healthy, dead, and healthy again, by the schedule of the pass.

    Args:
        clock: seconds; the default is one that all processes of the machine share.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._report = ServerReport(0.0, 0.0, 1.0, [], [])

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Receive,  # noqa: ARG002  (ASGI passes it; the work needs no body)
        send: Send,
    ) -> None:
        """Answer one request."""
        match scope["path"]:
            case "/control/begin":
                self._begin(dict(parse_qsl(scope["query_string"].decode())))
                await _answer(send, 200)
            case "/control/report":
                await _answer(send, 200, json.dumps(asdict(self._report)).encode())
            case path:
                await _answer(send, await self._work(path))

    def _begin(self, schedule: Mapping[str, str]) -> None:
        numbers = {field: float(value) for field, value in schedule.items()}
        self._began = numbers.pop("began")
        self._report = ServerReport(**numbers, healthy=[], dead=[])

    async def _work(self, path: str) -> int:
        """Count a request as it comes in, do its work, and return the HTTP status."""
        now = self._clock() - self._began
        dead = self._report.dead_from <= now < self._report.dead_until
        self._count(now, dead)
        await anyio.sleep(DEAD_LATENCY if dead else LATENCY[path])
        return 503 if dead else 200

    def _count(self, now: float, dead: bool) -> None:
        report = self._report
        period = int(now / report.bucket)
        for counts in (report.healthy, report.dead):
            counts.extend([0] * (period + 1 - len(counts)))
        (report.dead if dead else report.healthy)[period] += 1


async def _answer(send: Send, status: int, body: bytes = b"{}") -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
