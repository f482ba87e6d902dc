"""The demo as a user runs it: real time, a real server process, both event loops."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from supervisor.__main__ import main
from tests.commands.demo.test_process import PATIENCE, children_of, runs, wait_until
from tests.support.interrupts import heeding_ctrl_c

LINE = r"^{} circuits, \d s: server \w+; \d+ succeeded, {}"
PAGE = r"Circuits, live: (http://127\.0\.0\.1:\d+)\n"
PNG = b"\x89PNG\r\n\x1a\n"


SECONDS = (2, 4, 8)
"""How long a short demo lasts: a machine that is busy with other things may need more."""


@pytest.mark.parametrize(
    ("backend", "client"), [("asyncio", None), ("trio", None), ("trio", "httpx2")]
)
def test_a_short_demo(backend: str, client: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints its progress, the figures and the path of the picture; they make sense."""
    run_demo(capsys, backend, client)


def run_demo(capsys: pytest.CaptureFixture[str], backend: str, client: str | None = None) -> None:
    """Run a short one, and check what it shows."""
    by_client = ["--client", client] if client else []
    for seconds in SECONDS:
        demo = ["demo", "--workers", "100", "--seconds", str(seconds), "--backend", backend]
        assert main([*demo, *by_client]) == 0
        if check_output(capsys, backend, client):
            return
    pytest.fail("the circuits have not spared the server")


def check_output(capsys: pytest.CaptureFixture[str], backend: str, client: str | None) -> bool:
    """Check what a demo has printed, and drawn, and return whether it shows what circuits do."""
    printed = capsys.readouterr()
    assert printed.err == ""
    title = f"100 agents on {backend}{f' by {client}' if client else ''},"
    assert title in printed.out
    lines = LINE.format("without", r"\d+ failed$"), LINE.format("with", r".*; api:search_tool \w+;")
    if not all(re.search(line, printed.out, re.MULTILINE) for line in lines):
        return False  # it has had no turn in any second

    hits, spared = figures(printed.out, "requests that hit the dead server")
    unguarded, rejected = figures(printed.out, "calls that were rejected")
    assert unguarded == 0
    for total, dead, succeeded in zip(
        figures(printed.out, "requests in all"),
        (hits, spared),
        figures(printed.out, "calls that succeeded"),
        strict=True,
    ):
        assert total == dead + succeeded  # a healthy server fails no request

    path = Path(printed.out.splitlines()[-1].removeprefix("Timeline: "))
    assert path == Path("demo.png").resolve()
    assert path.read_bytes().startswith(PNG)
    opened = figures(printed.out, "circuits opened")[1]
    return 0 < spared < hits and rejected > 0 and opened >= 3


def figures(text: str, label: str) -> tuple[int, int]:
    """A row of whole numbers in the table."""
    found = re.search(rf"{label} +([\d,]+) +([\d,]+)", text)
    assert found, label
    without, guarded = (int(number.replace(",", "")) for number in found.groups())
    return without, guarded


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_interrupted_demo(backend: str) -> None:
    """Ctrl-C ends it in the midst of a pass: no traceback, no server left behind."""
    with running(backend) as (demo, server):
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=PATIENCE)
        assert (demo.returncode, errors) == (130, "\nInterrupted.\n")
        assert not runs(server)


def test_a_reader_who_has_seen_enough() -> None:
    """It ends as every command does, and so does its server."""
    with running("asyncio") as (demo, server):
        assert demo.stdout
        demo.stdout.close()
        assert demo.stderr
        errors = demo.stderr.read()
        assert (demo.wait(timeout=PATIENCE), errors) == (0, "")
        assert not runs(server)


def test_a_killed_demo() -> None:
    """Even if it gets no chance to clean up, its server ends."""
    with running("asyncio") as (demo, server):
        demo.kill()
        wait_until(lambda: not runs(server))


@contextmanager
def running(backend: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A demo in its first pass, and the process id of its server."""
    command = [sys.executable, "-m", "supervisor", "demo", "--backend", backend, "--workers", "5"]
    with heeding_ctrl_c():
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    with process as demo:
        try:
            assert demo.stdout
            page = re.fullmatch(PAGE, demo.stdout.readline())
            assert page
            shown = httpx.get(page[1], headers={"accept": "text/html"}, timeout=PATIENCE)
            assert "<title>Circuits</title>" in shown.text
            assert demo.stdout.readline().startswith("without circuits, ")
            (server,) = children_of(demo.pid)
            yield demo, server
        finally:
            demo.kill()
