"""`python -m supervisor demo --fleet`: whole, by a URL, and interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.__main__ import main
from tests.commands.demo.test_process import PATIENCE, children_of, runs, wait_until
from tests.sharing.real.servers import Server, free_port
from tests.support.interrupts import heeding_ctrl_c

pytestmark = pytest.mark.filterwarnings(  # what coredis leaves unclosed is its own
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def test_a_short_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """Its processes probe together, and nothing of it is left."""
    before = children_of(os.getpid())
    for seconds in (4, 8, 16):  # a machine that is busy with other things may need more
        assert main(["demo", "--fleet", "3", "--workers", "24", "--seconds", str(seconds)]) == 0
        assert children_of(os.getpid()) == before
        assert Path("fleet-demo.svg").read_text(encoding="utf-8").startswith("<?xml")
        printed = capsys.readouterr()
        assert printed.err == ""
        assert "24 agents in 3 processes" in printed.out
        alone, shared = row(printed.out, "probes")
        if shared < alone:
            return
    pytest.fail("sharing has not spared the server")


def row(text: str, label: str) -> tuple[int, int]:
    """A row of whole numbers in the table."""
    found = re.search(rf"^ +{label} +([\d,]+) +([\d,]+)", text, re.MULTILINE)
    assert found, label
    alone, shared = (int(number.replace(",", "")) for number in found.groups())
    return alone, shared


def test_a_server_that_is_there(own_server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """It is used, and left as it was found."""
    demo = ["demo", "--fleet", "2", "--workers", "4", "--seconds", "2", "--store", own_server.url]
    assert b"cmdstat_evalsha" not in own_server.do("INFO", "commandstats")
    assert main(demo) == 0
    assert b"cmdstat_evalsha" in own_server.do("INFO", "commandstats")


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told in one line before anything is started."""
    url = f"redis://127.0.0.1:{free_port()}"
    assert main(["demo", "--fleet", "2", "--store", url]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    told = rf"RedisSharing\('{url}/0', space='demo'\) cannot be reached: ConnectionError\(.+\)\n"
    assert re.fullmatch(told, printed.err)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_in_the_midst(how: signal.Signals) -> None:
    """Ctrl-C ends it without a traceback; whatever ends it, no process is left, and no file."""
    with heeding_ctrl_c():
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "demo", "--fleet", "2", "--seconds", "600"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process as demo:
        try:
            assert demo.stdout
            assert demo.stdout.readline().startswith("without sharing, ")
            children = children_of(demo.pid)
            stores = {each for child in children for each in children_of(child)}
            assert (len(children), len(stores)) == (4, 1)  # store, server, and two of agents
            (directory,) = {Path(f"/proc/{store}/cwd").readlink() for store in stores}
            demo.send_signal(how)
            _, errors = demo.communicate(timeout=PATIENCE)
            if how is signal.SIGINT:
                assert (demo.returncode, errors) == (130, "\nInterrupted.\n")
            wait_until(lambda: not any(map(runs, children | stores)))
            assert not directory.exists()
        finally:
            demo.kill()
    assert not list(Path().iterdir())
