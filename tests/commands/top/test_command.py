"""`python -m supervisor top`: its arguments, what it needs, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from supervisor.__main__ import main
from supervisor.commands.demo.process import server_process
from supervisor.commands.top import show
from supervisor.commands.top.command import VARIABLE
from supervisor.commands.top.plan import Plan
from tests.support.interrupts import heeding_ctrl_c

URL = "http://127.0.0.1:1/circuits/"


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that would have been carried out."""
    plans: list[Plan] = []

    def watch(plan: Plan) -> int:
        plans.append(plan)
        return 0

    monkeypatch.setattr(show, "show", watch)
    monkeypatch.delenv(VARIABLE, raising=False)
    return plans


def test_defaults(plans: list[Plan]) -> None:
    """A URL is all that is needed."""
    assert main(["top", URL]) == 0
    assert plans == [Plan((URL,), (), 1.0, "name", "*", once=False)]


def test_arguments(plans: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them arrives; of headers, also the environment's."""
    monkeypatch.setenv(VARIABLE, "Authorization: Bearer x")
    options = ["--once", "--interval", "0.5", "--sort", "in-flight", "--filter", "db:*"]
    headers = ["--header", "X-Team:  a b ", "--header", "Empty:"]
    assert main(["top", URL, "http://b/", *options, *headers]) == 0
    told = (("Authorization", "Bearer x"), ("X-Team", "a b "), ("Empty", ""))
    assert plans == [Plan((URL, "http://b/"), told, 0.5, "in-flight", "db:*", once=True)]


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--interval", "0", "'0' is not a number of seconds from 0.1 to 3600"),
        ("--interval", "inf", "'inf' is not a number of seconds"),
        ("--interval", "nan", "'nan' is not a number of seconds"),
        ("--interval", "soon", "'soon' is not a number of seconds"),
        ("--sort", "colour", "invalid choice: 'colour'"),
    ],
)
def test_bad_arguments(
    option: str,
    value: str,
    complaint: str,
    plans: list[Plan],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are told by name and value."""
    with pytest.raises(SystemExit) as end:
        main(["top", URL, option, value])
    assert end.value.code == 2
    assert f"argument {option}: {complaint}" in capsys.readouterr().err
    assert plans == []


@pytest.mark.parametrize("header", ["", "secret", "a b: secret", "a: secret\n", "a: sécret"])
def test_a_header_that_is_none(
    header: str,
    plans: list[Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is told where it comes from, and not what it is: it may be a secret."""
    told = "is no header: write it as 'Authorization: Bearer ...'\n"
    assert main(["top", URL, "--header", header]) == 2
    assert capsys.readouterr().err == f"--header {told}"
    monkeypatch.setenv(VARIABLE, header)
    assert main(["top", URL]) == 2
    assert capsys.readouterr().err == f"{VARIABLE} {told}"
    assert plans == []


def test_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what it should look like."""
    assert main(["top", "localhost:8000"]) == 2
    line = "'localhost:8000' is no address such as http://127.0.0.1:8000/circuits/\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("missing", ["httpx", "rich.console"])
def test_a_missing_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line tells what to install."""
    forget_top(monkeypatch)
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["top", URL]) == 2
    package = missing.partition(".")[0]
    line = f"top needs {package}: pip install {package}\n"
    assert capsys.readouterr().err == line


def test_another_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the extra does not bring is a bug, and its traceback stays."""
    forget_top(monkeypatch)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ModuleNotFoundError, match="pydantic"):
        main(["top", URL])


def forget_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let its modules be imported anew."""
    for name in list(sys.modules):
        if name.startswith("supervisor.commands.top.") and not name.endswith(("command", "plan")):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])]
)
def test_an_interrupt(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is how it ends, with the status that shells expect."""
    monkeypatch.setattr(show, "show", raising(error))
    assert main(["top", URL]) == 130


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [(BrokenPipeError(32, "gone"), 0, ""), (OSError("disk full"), 2, "disk full: make sure")],
)
def test_lines_that_nobody_takes(
    error: OSError,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A reader that has gone knows why; all else is told."""
    monkeypatch.setattr(show, "show", raising(error))
    assert main(["top", URL]) == status
    assert capfd.readouterr().err.startswith(told)


def raising(error: BaseException) -> Callable[[Plan], int]:
    def show(plan: Plan) -> int:
        raise error

    return show


# In a process of its own


@contextmanager
def top(*arguments: str, output: int | IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The command as a shell runs it."""
    command = [sys.executable, "-m", "supervisor", "top", *arguments]
    with heeding_ctrl_c():
        started = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
    with started as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_server_that_is_another() -> None:
    """Over real sockets, what it says is one line more, and no traceback."""
    with server_process() as url, top(url, "--once", output=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
    assert out == f"No answer\n{url}: it answers 500\n"


def test_ctrl_c() -> None:
    """It ends with its status, and says nothing more."""
    with top(URL, output=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert first.endswith("No answer\n")
    assert out.count("\n") <= 1
    assert (process.returncode, err) == (130, "")


@pytest.mark.parametrize("options", [[], ["--once"]], ids=str)
def test_a_closed_pipe(options: list[str]) -> None:
    """Whoever read the lines has gone: it ends."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe, top(URL, *options, output=pipe) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_a_full_disk() -> None:
    """What cannot be written is told in one line."""
    with Path("/dev/full").open("w") as full, top(URL, output=full) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("[Errno 28] No space left on device: make sure")
