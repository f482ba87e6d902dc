"""The server's process: it starts, it answers, and it ends with whoever started it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from supervisor.commands.demo.plan import DemoError
from supervisor.commands.demo.process import serve, server_process

PATIENCE = 30.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process or thread is about to do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def children_of(process: int) -> set[int]:
    """The process ids of a process's children."""
    files = Path(f"/proc/{process}/task").glob("*/children")
    return {int(child) for file in files for child in file.read_text().split()}


def runs(process: int) -> bool:
    """Whether a process has not ended; one that nobody waits for yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def answers(url: str) -> bool:
    """Whether a server is there."""
    with httpx.Client(trust_env=False) as client:
        return client.get(f"{url}/control/report").status_code == 200


def test_a_process_for_the_block() -> None:
    """The server answers while the block lasts, and is gone after it."""
    with server_process() as url:
        assert answers(url)
    with pytest.raises(httpx.ConnectError):
        answers(url)


def test_an_error_ends_it_too() -> None:
    """A block that raises leaves no server behind, and the error comes out."""
    before = children_of(os.getpid())
    with pytest.raises(LookupError), server_process():
        raise LookupError
    assert children_of(os.getpid()) == before


def test_a_server_that_hangs_is_killed() -> None:
    """One that does not end by itself ends all the same."""
    before = children_of(os.getpid())
    with server_process(patience=0.1):
        (child,) = children_of(os.getpid()) - before
        os.kill(child, signal.SIGSTOP)
    assert not runs(child)


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that says so, not an endless wait."""
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(DemoError, match="has not started"), server_process():
        pytest.fail("there is no server")


def test_it_serves_until_its_lifeline_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """What the process runs: it prints its port, serves, and returns at the end of a file."""
    lifeline, held = os.pipe()
    server = threading.Thread(target=serve, args=(lifeline,))
    server.start()
    printed: list[str] = []

    def announced() -> bool:
        printed.append(capfd.readouterr().out)
        return "\n" in "".join(printed)

    try:
        wait_until(announced)
        assert answers(f"http://127.0.0.1:{int(''.join(printed))}")
        os.write(held, b"go on")
    finally:
        os.close(held)
        server.join(PATIENCE)
    assert not server.is_alive()
    os.close(lifeline)
