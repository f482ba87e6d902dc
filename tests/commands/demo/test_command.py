"""`python -m supervisor demo`: its arguments, what it needs, and how it ends."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.__main__ import main
from supervisor.commands.demo import show
from supervisor.commands.demo.fleet import show as fleets_show
from supervisor.commands.demo.plan import DemoError, Plan


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that would have been carried out."""
    plans: list[Plan] = []
    monkeypatch.setattr(show, "show", plans.append)
    monkeypatch.setattr(fleets_show, "show", plans.append)
    return plans


def test_defaults(plans: list[Plan]) -> None:
    """Without arguments: asyncio, 200 agents, 12 s a pass, `demo.png` in this folder."""
    assert main(["demo"]) == 0
    assert plans == [Plan("asyncio", 200, 12.0, Path("demo.png"), None)]


def test_arguments(plans: list[Plan], tmp_path: Path) -> None:
    """Each of them arrives."""
    output = tmp_path / "x.png"
    arguments = ["--backend", "trio", "--workers", "3", "--seconds", "2.5", "--output", str(output)]
    assert main(["demo", *arguments, "--client", "httpx2"]) == 0
    assert plans == [Plan("trio", 3, 2.5, output, "httpx2")]


def test_a_fleet(plans: list[Plan], tmp_path: Path) -> None:
    """By default with ten agents for each process, a picture of its own, and no store's URL."""
    assert main(["demo", "--fleet", "4"]) == 0
    output = tmp_path / "x.png"
    arguments = ["--workers", "3", "--output", str(output), "--store", "redis://host"]
    assert main(["demo", "--fleet", "3", "--seconds", "2", *arguments]) == 0
    assert plans == [
        Plan(workers=40, output=Path("fleet-demo.svg"), fleet=4),
        Plan(workers=3, seconds=2.0, output=output, fleet=3, store="redis://host"),
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--store", "redis://h"], "--store goes with --fleet only"),
        (["--fleet", "2", "--backend", "trio"], "--backend does not go with --fleet, "),
        (["--fleet", "2", "--client", "httpx"], "--client does not go with --fleet, "),
        (["--fleet", "4", "--workers", "3"], "--workers 3 are too few for --fleet 4"),
    ],
)
def test_arguments_that_do_not_go_with_each_other(
    arguments: list[str],
    complaint: str,
    plans: list[Plan],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are told in one line before anything is started."""
    assert main(["demo", *arguments]) == 2
    assert capsys.readouterr().err.startswith(complaint)
    assert plans == []


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--backend", "curio", "invalid choice: 'curio'"),
        ("--client", "requests", "invalid choice: 'requests'"),
        ("--workers", "0", "'0' is not a whole number from 1 to 500"),
        ("--workers", "501", "'501' is not a whole number"),
        ("--workers", "2.5", "'2.5' is not a whole number"),
        ("--fleet", "1", "'1' is not a whole number from 2 to 16"),
        ("--fleet", "17", "'17' is not a whole number"),
        ("--fleet", "four", "'four' is not a whole number"),
        ("--seconds", "nan", "'nan' is not a number of at least 2"),
        ("--seconds", "inf", "'inf' is not a number of at least 2"),
        ("--seconds", "1.9", "'1.9' is not a number of at least 2"),
        ("--seconds", "ten", "'ten' is not a number of at least 2"),
        ("--output", ".", "'.' is not a file that can be written"),
        ("--output", "missing/x.png", "'missing/x.png' is not a file that can be written"),
        ("--output", "file/x.png", "'file/x.png' is not a file that can be written"),
    ],
)
def test_bad_arguments(
    option: str,
    value: str,
    complaint: str,
    plans: list[Plan],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are told by name and value before anything is started."""
    Path("file").touch()
    with pytest.raises(SystemExit) as end:
        main(["demo", option, value])
    assert end.value.code == 2
    assert f"argument {option}: {complaint}" in capsys.readouterr().err
    assert plans == []


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """One has to be named."""
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "required: COMMAND" in capsys.readouterr().err


def test_the_package_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m supervisor` is this command line."""
    monkeypatch.delitem(sys.modules, "supervisor.__main__")
    monkeypatch.setattr(sys, "argv", ["supervisor", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("supervisor", run_name="__main__")
    assert end.value.code == 0
    assert "demo" in capsys.readouterr().out


def test_importing_the_package_needs_no_extra() -> None:
    """Neither the package nor its command line imports what only the demo needs."""
    code = (
        "import sys, supervisor, supervisor.__main__\n"
        "print({'anycorn', 'httpx', 'matplotlib', 'rich', 'uvicorn'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout == "set()\n"


@pytest.mark.parametrize(
    "missing", ["anycorn", "httpx", "matplotlib.figure", "rich.console", "uvicorn"]
)
def test_a_missing_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line tells what to install."""
    forget_demo(monkeypatch)
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["demo"]) == 1
    package = missing.partition(".")[0]
    line = f"the demo needs {package}: pip install {package}\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("client", ["httpx", "httpx2", "aiohttp"])
def test_a_missing_client(
    client: str,
    plans: list[Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line tells what to install, before anything is started."""
    monkeypatch.delitem(sys.modules, f"supervisor.integrations.{client}", raising=False)
    monkeypatch.setitem(sys.modules, client, None)
    assert main(["demo", "--client", client]) == 2
    line = f"--client {client} needs {client}: pip install {client}\n"
    assert (capsys.readouterr().err, plans) == (line, [])


def test_a_client_that_lacks_something_else(
    plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is a bug, and its traceback stays."""
    monkeypatch.delitem(sys.modules, "supervisor.integrations.httpx", raising=False)
    monkeypatch.setitem(sys.modules, "supervisor.integrations.transports", None)
    with pytest.raises(ModuleNotFoundError, match=r"supervisor\.integrations\.transports"):
        main(["demo", "--client", "httpx"])
    assert plans == []


def test_a_client_of_asyncio_on_trio(plans: list[Plan], capsys: pytest.CaptureFixture[str]) -> None:
    """It would not run there, installed or not."""
    assert main(["demo", "--client", "aiohttp", "--backend", "trio"]) == 2
    line = "--client aiohttp runs on asyncio, and not on --backend trio\n"
    assert (capsys.readouterr().err, plans) == (line, [])


def test_another_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no extra brings is a bug, and its traceback stays."""
    forget_demo(monkeypatch)
    monkeypatch.setitem(sys.modules, "supervisor.commands.demo.passes", None)
    with pytest.raises(ModuleNotFoundError, match=r"supervisor\.commands\.demo\.passes"):
        main(["demo"])


def forget_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo's modules be imported anew."""
    parts = ("supervisor.commands.demo.", "supervisor.commands.pictures")
    for name in list(sys.modules):
        if name.startswith(parts) and not name.endswith((".command", ".plan", ".clients")):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])]
)
def test_an_interrupt(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends it with the status that shells expect, wherever it struck."""
    monkeypatch.setattr(show, "show", raising(error))
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


@pytest.mark.parametrize("error", [DemoError("no server"), OSError("disk full")])
def test_an_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the user can do something about is one line."""
    monkeypatch.setattr(show, "show", raising(error))
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == f"{error}\n"


def test_a_reader_who_has_seen_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told of no error."""
    monkeypatch.setattr(show, "show", raising(BrokenPipeError(32, "gone")))
    assert main(["demo"]) == 0
    assert capsys.readouterr().err == ""


def raising(error: BaseException) -> Callable[[Plan], None]:
    """A demo that ends so."""

    def show(plan: Plan) -> None:
        raise error

    return show
