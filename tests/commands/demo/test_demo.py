"""The demo as a user runs it: real time, a real server process, both event loops."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.__main__ import main
from tests.commands.demo.test_process import PATIENCE, children_of, runs, wait_until

LINE = r"^{} circuits, \d s: server \w+; \d+ succeeded, {}"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_short_demo(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints its progress, the figures and the path of the picture; they make sense."""
    assert main(["demo", "--backend", backend, "--workers", "100", "--seconds", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert re.search(LINE.format("without", r"\d+ failed$"), printed.out, re.MULTILINE)
    assert re.search(LINE.format("with", r".*; api:search_tool \w+;"), printed.out, re.MULTILINE)

    hits, spared = figures(printed.out, "requests that hit the dead server")
    assert 0 < spared < hits
    assert figures(printed.out, "calls that were rejected")[0] == 0
    assert figures(printed.out, "calls that were rejected")[1] > 0
    assert figures(printed.out, "circuits opened")[1] >= 3
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


def test_a_killed_demo() -> None:
    """Even if it gets no chance to clean up, its server ends."""
    with running("asyncio") as (demo, server):
        demo.kill()
        wait_until(lambda: not runs(server))


@contextmanager
def running(backend: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A demo in its first pass, and the process id of its server."""
    command = [sys.executable, "-m", "supervisor", "demo", "--backend", backend, "--workers", "5"]
    # Tests in the background of a shell may ignore Ctrl-C, and what they start would do so, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        signal.signal(signal.SIGINT, before)
        try:
            assert demo.stdout
            assert demo.stdout.readline().startswith("without circuits, ")
            (server,) = children_of(demo.pid)
            yield demo, server
        finally:
            demo.kill()
