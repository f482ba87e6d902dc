"""How every command ends: with a status and one line, whatever the world does to it."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.__main__ import main
from supervisor.commands.ending import ended


@pytest.mark.parametrize("command", [["check"], ["--help"]], ids=["report", "help"])
def test_a_reader_who_has_seen_enough(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """A closed pipe is no error, and what is left does not trouble the interpreter."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:  # noqa: PTH123  (a descriptor has no path)
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(command) == 0
        pipe.flush()
    assert capfd.readouterr() == ("", "")


class Full(io.StringIO):
    """A file on a disk that is full."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self) -> int:
        return self.descriptor

    descriptor: int


def test_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told in one line, and the rest goes nowhere."""
    full = Full()
    with (tmp_path / "file").open("w") as file:
        full.descriptor = file.fileno()
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["check"]) == 2
        file.write("what the interpreter would still print")
    assert (tmp_path / "file").read_text() == ""
    err = capsys.readouterr().err
    assert err.startswith("[Errno 28] No space left on device: make sure")
    assert err.count("\n") == 1


def test_no_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status tells, and standard error."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["check"]) == 0
    assert main(["check", "--file", "missing.toml"]) == 2
    assert sys.stdout is None
    assert capsys.readouterr().err.startswith("a file of settings must be a TOML file")


def test_nor_a_place_for_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the status tells it alone."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EBADF, text)

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", Closed())
    assert ended(interrupted) == 130


def test_a_name_that_the_terminal_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is escaped."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["check", "数据"]) == 0
    assert b"\ncircuit \\u6570\\u636e\n" in terminal.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RecursionError(), 2, "what is given is too much (RecursionError): make it smaller"),
        (MemoryError(), 2, "what is given is too much (MemoryError): make it smaller"),
        (
            PermissionError(errno.EACCES, "Permission denied", "x.csv"),
            2,
            (
                "[Errno 13] Permission denied: 'x.csv': make sure that it can be read or written,"
                " and try again"
            ),
        ),
    ],
    ids=["Ctrl-C", "deep", "large", "file"],
)
def test_what_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, text: str
) -> None:
    """Ctrl-C, and what no command has foreseen."""

    def command() -> int:
        raise error

    assert ended(command) == status
    assert capsys.readouterr() == ("", f"{text}\n")


def test_what_tasks_have_met_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """However deep in groups."""

    def command() -> int:
        raise BaseExceptionGroup("", [BaseExceptionGroup("", [KeyboardInterrupt()])])

    assert ended(command) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_what_is_wrong_here_is_not_hidden() -> None:
    """Any other error is a fault of a command's, whose traceback is needed to mend it."""

    def command() -> int:
        raise KeyError("a fault")

    with pytest.raises(KeyError):
        ended(command)


def test_a_whole_process(tmp_path: Path) -> None:
    """Nothing is left for the interpreter to complain of when it ends."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "supervisor", "check", "--all"],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, b"")
