"""Servers on loopback that fail as they are told."""

from __future__ import annotations

import asyncio
import math
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from supervisor.testing import Backend, virtual_time

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None]"]

BODY = b'{"error": {"message": "busy", "status": "BUSY", "code": %d}}'


@asynccontextmanager
async def failing(fault: str, greeting: bytes = b"") -> AsyncIterator[int]:
    """The port of a server that refuses, closes each connection, hangs, or answers a status.

    "429" has a hint of 7 seconds, "429 at once" one of 0, "429 without a hint" has none.
    """
    if fault == "refused":
        with socket.socket() as bound:  # that does not listen
            bound.bind(("127.0.0.1", 0))
            yield bound.getsockname()[1]
        return
    ends = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(greeting)
            if fault == "hang":
                await ends.wait()
            elif fault == "lost":
                await reader.read(1)
            elif fault.startswith("reply "):
                await reader.read(1)
                writer.write(fault.removeprefix("reply ").encode() + b"\r\n")
                await ends.wait()
            else:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer(fault))
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ends.set()
        server.close()


def answer(fault: str) -> bytes:
    """An answer with a status, and perhaps a hint; a cut one is shorter than it says."""
    status, _, rest = fault.partition(" ")
    code = 200 if status == "cut" else int(status)
    body = BODY % code
    head = [
        f"HTTP/1.1 {code} Busy",
        "Content-Type: application/json",
        f"Content-Length: {len(body) + (99 if status == 'cut' else 0)}",
        "Connection: close",
    ]
    if code == 429 and rest != "without a hint":
        head.append(f"Retry-After: {0 if rest == 'at once' else 7}")
    return "\r\n".join([*head, "", ""]).encode() + body


REAL_TIME: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
"""For `anyio_backend`, where clients or servers have clocks or processes of their own."""


def in_virtual_time(backend: Backend) -> tuple[str, dict[str, object]]:
    """For `anyio_backend`, where all that a test waits for is on its event loop, or a socket.

    Only what would last forever comes to its timeout, however slow the machine is: time stands
    still while anybody has something to do. Sockets know no such time, so it waits for them before
    it jumps; from one end of them to the other, nothing takes so long on one machine.
    """
    return virtual_time(backend, patience=0.05)


CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

WHOLE: Final = b"abcdef"
HINT: Final = 700
"""Seconds for which a server asks to be left alone: far more than any test lasts."""

LIMITED: Final = 2
"""Seconds for which a server is "limited"."""


@dataclass
class HttpServer:
    """An HTTP server that answers each request alike, on whatever event loop runs.

    Attributes:
        fault: a status; or "lost" for no answer, "cut" for half of one; or "hang", "headers" and
            "stalls", where the rest never comes; or "drips" for a byte every ten seconds, and
            "late" for a body that comes after its headers; or "limited" for 429 in the first
            `LIMITED` seconds; or "to " a URL that it redirects to.
        body: what it sends; where it breaks off or stalls, it would have been twice as long.
        hint: seconds for which it asks to be left alone if its status is none of success; 0: none.
        port: where it listens; with "refused", nobody does.
        connections: how many there were.
        requests: how many have come.
        asked: set when one has come.
        told: how many were told that it is limited.
        has_told: set when the first of them is.
        together: how many requests have to come before the first of them is told.
    """

    fault: str
    body: bytes = WHOLE
    hint: int = HINT
    port: int = 0
    connections: int = 0
    requests: int = 0
    asked: anyio.Event = field(default_factory=anyio.Event)
    told: int = 0
    has_told: anyio.Event = field(default_factory=anyio.Event)
    together: int = 1
    _limited_until: float = math.inf
    _enough: anyio.Event = field(default_factory=anyio.Event)

    async def serve(self, connection: SocketStream) -> None:
        """Answer the requests of a connection: with a status, or not as a server should."""
        self.connections += 1
        async with connection:
            received = BufferedByteReceiveStream(connection)
            try:
                while True:
                    head = await received.receive_until(b"\r\n\r\n", 65536)
                    for length in CONTENT_LENGTH.findall(head):
                        # What is not read would make the end of the connection an abrupt one.
                        await received.receive_exactly(int(length))
                    self.requests += 1
                    self.asked.set()
                    if not await self._answer(connection):
                        return
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                return  # the client has left

    async def _answer(self, connection: SocketStream) -> bool:
        """Answer one request, and return whether the connection stays."""
        match self.fault:
            case "lost":
                return False
            case "hang":
                await anyio.sleep_forever()
            case "headers":
                await connection.send(_head(200, len(self.body)))
                await anyio.sleep_forever()
            case "stalls":
                await connection.send(_head(200, 2 * len(self.body)) + self.body)
                await anyio.sleep_forever()
            case "cut":
                await connection.send(_head(200, 2 * len(self.body)) + self.body)
                return False
            case "late":
                await connection.send(_head(200, len(self.body)))
                await anyio.sleep(0.001)
                await connection.send(self.body)
            case "drips":
                await connection.send(_head(200, len(self.body)))
                for byte in self.body:
                    await anyio.sleep(10)
                    await connection.send(bytes([byte]))
            case "limited":
                if self.requests >= self.together:
                    self._enough.set()
                await self._enough.wait()
                await connection.send(self._limited())
            case redirect if redirect.startswith("to "):
                await connection.send(_head(307, 0, f"Location: {redirect.removeprefix('to ')}"))
            case status:
                head = _head(int(status), len(self.body), hint=self.hint)
                await connection.send(head + self.body)
        return True

    def _limited(self) -> bytes:
        """Answer a request by what is left of the limit, which begins with the first of them."""
        now = anyio.current_time()
        self._limited_until = min(self._limited_until, now + LIMITED)
        if now >= self._limited_until:
            return _head(200, len(self.body)) + self.body
        self.told += 1
        self.has_told.set()
        seconds = math.ceil(self._limited_until - now)
        return _head(429, len(self.body), hint=seconds) + self.body


def _head(status: int, length: int, *lines_of_ours: str, hint: int = 0) -> bytes:
    lines = [
        f"HTTP/1.1 {status} As told",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        *lines_of_ours,
    ]
    if status >= 400 and hint:
        lines.append(f"Retry-After: {hint}")
    return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def serving(fault: str, body: bytes = WHOLE, hint: int = HINT) -> AsyncIterator[HttpServer]:
    """Run an HTTP server that refuses ("refused"), or answers as its `fault` says."""
    server = HttpServer(fault, body, hint)
    if fault == "refused":
        with socket.socket() as bound:  # that does not listen
            bound.bind(("127.0.0.1", 0))
            server.port = bound.getsockname()[1]
            yield server
        return
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()
