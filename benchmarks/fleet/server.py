"""A server of Redis's or Valkey's for the length of a block, on a port of loopback's."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Final

from supervisor.commands.demo.fleet.store import read_line
from supervisor.commands.demo.process import end_with, kept_process, tell

STARTS_WITHIN: Final = 30.0
"""Seconds that it gets to answer."""


@contextmanager
def running(program: str) -> Generator[str, None, None]:
    """Run that program, which keeps nothing on disk, and give its URL.

    Raises:
        RuntimeError: it has not started.
    """
    with kept_process(__name__, "keep") as child:
        assert child.stdout is not None
        tell(child, program)
        url = child.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"{program} has not started")
        yield url


def keep() -> None:
    """Run the program that the standard input tells, until that ends."""
    program = read_line(sys.stdin.fileno())
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    with TemporaryDirectory(prefix="circuits-") as directory:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            if _answers(port, server):
                print(f"redis://127.0.0.1:{port}", flush=True)
                end_with(sys.stdin.fileno(), server.kill)
        finally:
            server.kill()
            server.wait()


def _answers(port: int, server: subprocess.Popen[bytes]) -> bool:
    ends = time.monotonic() + STARTS_WITHIN
    while server.poll() is None and time.monotonic() < ends:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(16).startswith(b"+PONG"):
                return True
        time.sleep(0.01)
    return False
