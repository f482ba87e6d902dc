"""Real servers, each started once: what their users see of circuits, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from tests.docs.documents import ROOT
from tests.integrations.real import asgi_site

TCP: Final = {
    "uvicorn": ["uvicorn", "--fd", "{}"],
    "hypercorn": ["hypercorn", "--workers", "0", "--bind", "fd://{}"],
    "hypercorn on trio": ["hypercorn", "--worker-class", "trio", "--bind", "fd://{}"],
    "anycorn": ["anycorn", "--workers", "0", "--worker-class", "asyncio", "--bind", "fd://{}"],
    "anycorn on trio": ["anycorn", "--worker-class", "trio", "--bind", "fd://{}"],
}
"""Those that take a bound socket over: nobody else can have its port. Without workers, there is one
process less to start; on trio, that one would heed no SIGTERM.
"""

UNIX: Final = {
    "granian": ["granian", "--interface", "asgi", "--loop", "asyncio", "--uds", "{}"],
}

PATIENCE: Final = 120.0
"""Seconds, on the slowest machine; nothing here waits for that long when all is well."""


class Server:
    """A server in a process of its own, and a client of it."""

    def __init__(self, name: str, folder: Path, **variables: str) -> None:
        listener: socket.socket | None = None
        if name in TCP:
            listener = socket.create_server(("127.0.0.1", 0))
            command, place = TCP[name], str(listener.fileno())
            self.address: Any = listener.getsockname()
        else:
            command, place = UNIX[name], str(folder / "s")
            self.address = place
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                *(word.format(place) for word in command),
                f"{asgi_site.__name__}:app",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=() if listener is None else (listener.fileno(),),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
        )
        if listener is not None:
            listener.close()  # if the process ends, connections are refused
        self.client = httpx.Client(
            transport=httpx.HTTPTransport(uds=None if name in TCP else place),
            base_url=f"http://127.0.0.1:{self.address[1]}" if name in TCP else "http://server",
            timeout=PATIENCE,
        )

    def connect(self) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        connection = socket.socket(family)
        try:
            connection.settimeout(PATIENCE)
            connection.connect(self.address)
        except OSError:
            connection.close()
            raise
        return connection

    def wait(self) -> None:
        """Wait until it listens."""
        while self.process.poll() is None:
            with suppress(OSError), self.connect():
                return
            time.sleep(0.01)
        raise AssertionError(self.process.communicate()[0])

    def get(self, path: str) -> Any:
        """What a page holds as JSON."""
        response = self.client.get(path)
        assert response.status_code == 200
        return response.json()

    def upgrade(self, path: str) -> tuple[bytes, bytes]:
        """Ask for a WebSocket by hand; return the answer's head, and at least four bytes more."""
        with self.connect() as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
            )
            received = b""
            while len(received.partition(b"\r\n\r\n")[2]) < 4:
                part = connection.recv(4096)
                assert part, received
                received += part
            head, _, rest = received.partition(b"\r\n\r\n")
            return head, rest

    def said(self) -> str:
        """Wait for its end, and return what it has said."""
        self.client.close()
        said, _ = self.process.communicate(timeout=PATIENCE)
        return said


@contextmanager
def running(name: str, folder: Path, **variables: str) -> Iterator[Server]:
    server = Server(name, folder, **variables)
    try:
        yield server
    finally:
        server.client.close()
        server.process.kill()
        server.process.wait()
        if server.process.stdout is not None:
            server.process.stdout.close()


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "granian"])
def test_a_start_that_fails(name: str, tmp_path: Path) -> None:
    """The server says why, and ends."""
    with running(name, tmp_path, MOST_CIRCUITS="0") as server:
        said = server.said()
        assert "ValueError: max_circuits must be at least 1, got 0" in said


@pytest.mark.parametrize("name", [*TCP, *UNIX])
def test_a_server(name: str, tmp_path: Path) -> None:
    """One after the other, in one process: to start it takes longest."""
    with running(name, tmp_path) as server:
        server.wait()
        check(server)


def check(server: Server) -> None:
    check_health_before(server)
    check_refusals(server)
    check_circuits(server)
    check_websockets(server)
    check_events(server)
    check_end(server)


def check_health_before(server: Server) -> None:
    assert server.get("/live") == {"status": "alive"}
    assert server.get("/ready") == {"status": "ready"}


def check_refusals(server: Server) -> None:
    """The breaker was made at import, and its circuit is the server's event loop's."""
    assert server.client.get("/pay").status_code == 500
    for path in ("/pay", "/grouped", "/first"):
        refused = server.client.get(path)
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert refused.json()["circuit"] == "payments"
    with pytest.raises(httpx.RemoteProtocolError):  # and not a whole answer
        server.client.get("/second")
    assert server.client.get("/ready").json()["open"] == ["payments"]
    assert server.get("/live") == {"status": "alive"}


def check_circuits(server: Server) -> None:
    """By whatever quoting of a name, and at the mount's own path with a slash or without."""
    name = asgi_site.odd.name
    for path in ("/circuits", "/circuits/"):
        circuits = {each["name"]: each["state"] for each in server.get(path)["circuits"]}
        assert circuits == {name: "closed", "payments": "open"}
    for quoted in (quote(name, safe=""), quote(name)):
        assert server.get(f"/circuits/{quoted}")["circuit"]["name"] == name
    events = server.get("/circuits/payments")["events"]
    assert [each["type"] for each in events] == ["CircuitStarted", "StateChanged"]
    assert server.client.get("/circuits/none").status_code == 404
    posted = server.client.post("/circuits/payments")
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    head = server.client.head("/circuits/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["x-content-type-options"] == "nosniff"


def check_websockets(server: Server) -> None:
    """All of them can refuse by an answer; once accepted, a socket is closed by 1013."""
    head, body = server.upgrade("/socket")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in head.lower()
    assert body.startswith(b'{"ty')
    head, frame = server.upgrade("/accepted")
    assert head.startswith(b"HTTP/1.1 101")
    assert frame[0] == 0x88  # a close
    assert int.from_bytes(frame[2:4]) == 1013


def check_events(server: Server) -> None:
    """They come at once; a stream ends as a whole, and its reader comes back for the rest."""
    with server.client.stream("GET", "/circuits/events") as stream:
        lines = stream.iter_lines()
        began = event_in(lines)
        assert began["type"] == "Began"
        assert server.client.get("/open").text == "opened"
        for _ in lines:
            pass
    last = {"Last-Event-ID": f"{began['run']}-{began['sequence']}"}
    with server.client.stream("GET", "/circuits/events", headers=last) as stream:
        change = event_in(stream.iter_lines())
    assert (change["circuit"], change["to_state"]) == (asgi_site.odd.name, "open")


def event_in(lines: Iterator[str]) -> Any:
    """The next event of a stream."""
    return next(json.loads(line[6:]) for line in lines if line.startswith("data: "))


def check_end(server: Server) -> None:
    """With a stream that is being read: it ends, then the application, then the supervisor."""
    with server.client.stream("GET", "/circuits/events") as stream:
        lines = stream.iter_lines()
        assert event_in(lines)["type"] == "Began"
        server.process.send_signal(signal.SIGTERM)
        for _ in lines:
            pass
    said = server.said()
    own, whole = f"own end: {asgi_site.odd.name} payments\n", "the whole has ended\n"
    assert said.index(own) < said.index(whole)
    assert "CircuitBreakerOpenError" in said  # only that which broke an answer off
    assert said.count("CircuitBreakerOpenError: ") == 1
    assert "without Lifespan support" not in said
