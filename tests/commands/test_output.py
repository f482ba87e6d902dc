"""Where the output of a command goes may end, or never have been there: nothing has a traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.__main__ import main
from supervisor.commands.simulate import command

SIMULATE = ["simulate", "my.toml", "--generate", "outage"]


@pytest.fixture(autouse=True)
def policies() -> None:
    """So many that no pipe holds what is printed of them."""
    names = "".join(f"[circuits.x{number}]\n" for number in range(500))
    Path("my.toml").write_text("recovery_timeout = 2\n" + names)
    Path("few.toml").write_text("recovery_timeout = 2\n")


def test_a_pipe_that_is_closed() -> None:
    """Whoever reads has seen enough: that is no error."""
    arguments = [sys.executable, "-m", "supervisor", "check", "--file", "my.toml", "--all"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


class Closed(io.StringIO):
    """A pipe that nobody reads from any more, and its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def fileno(self) -> int:
        return self._number

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("arguments", [["check"], ["simulate", "few.toml", "--generate", "hang"]])
def test_what_is_behind_a_closed_pipe(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes nowhere from then on, so that Python's end has nothing to complain of."""
    with Path("out").open("wb") as out:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Closed(out.fileno()))
            assert main(arguments) == 0
        os.write(out.fileno(), b"more")
    assert Path("out").read_bytes() == b""


def test_a_pipe_that_is_closed_while_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a command that takes other faults of files for mistakes."""

    class ClosedAtOnce(Closed):
        def write(self, _text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with Path("out").open("wb") as out, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", ClosedAtOnce(out.fileno()))
        assert main(["simulate", "few.toml", "--generate", "hang"]) == 0


def test_a_disk_that_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line tells why."""

    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        assert main(["check"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("[Errno 28] No space left on device: make sure that it can be ")
    assert err.count("\n") == 1


def test_no_output_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As services may be started; the status tells."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["simulate", "few.toml", "--generate", "hang"]) == 0


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is that of a shell's."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "play", interrupt)
    assert main(["simulate", "few.toml", "--generate", "hang"]) == 130
