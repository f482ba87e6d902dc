"""The arguments of `fleet`, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from supervisor import MemorySharing
from supervisor.__main__ import main
from supervisor.commands.fleet import command
from supervisor.sharing import NEVER, Link
from tests.sharing.cases import OPENING

SECRET = "redis://user:secret@here:1/0"


class Store(MemorySharing):
    """A store in memory in the place of a server, with one member and one circuit that is open.

    Attributes:
        asked: what it was made with.
        fails: what happens to who connects.
    """

    where = "redis://here:1/0"
    asked: tuple[Any, ...]
    fails: Callable[[], None] | None = None

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        Store.asked = (url, options)

    @asynccontextmanager
    async def connect(self, owner: str) -> AsyncIterator[Link]:
        if Store.fails is not None:
            Store.fails()
        async with super().connect("a") as member:
            await member.beat(15.0)
            await member.take(OPENING, NEVER)
        async with super().connect(owner) as link:
            yield link


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "fails", None)
    monkeypatch.setattr(command, "RedisSharing", Store)


@pytest.mark.usefixtures("store")
def test_a_fleet_by_its_url(capsys: pytest.CaptureFixture[str]) -> None:
    """In the space that is named, or the default one; nothing is said of the password."""
    assert main(["fleet", SECRET]) == 0
    out, err = capsys.readouterr()
    assert Store.asked == (SECRET, {"space": "default", "timeout": 5.0})
    assert out.startswith("1 supervisor shares circuits in space 'default'; 1 circuit not ")
    assert "secret" not in out
    assert err == ""
    assert main(["fleet", SECRET, "--space", "shop", "--history", "0", "--json"]) == 0
    out, _ = capsys.readouterr()
    assert Store.asked == (SECRET, {"space": "shop", "timeout": 5.0})
    assert '"space": "shop"' in out
    assert '"history": []' in out


@pytest.mark.usefixtures("store")
def test_a_fleet_by_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that the supervisors have; so the password is no argument, which others see."""
    monkeypatch.setenv("BINDU_CB_SHARING_URL", SECRET)
    monkeypatch.setenv("BINDU_CB_SHARING_SPACE", "shop")
    assert main(["fleet"]) == 0
    assert Store.asked == (SECRET, {"space": "shop", "timeout": 5.0})
    assert "secret" not in capsys.readouterr().out
    assert main(["fleet", "--space", "other"]) == 0
    assert Store.asked[1]["space"] == "other"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--force-open", "mail"], "mail: forced open for all, was closed\n"),
        (["--release", "db"], "db: released for all, was open\n"),
    ],
)
def test_what_is_done_by_hand(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["fleet", SECRET, *arguments]) == 0
    assert capsys.readouterr() == (told, "")


def test_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says what to install."""
    monkeypatch.setitem(sys.modules, "coredis", None)
    monkeypatch.delitem(sys.modules, "supervisor.sharing.clients", raising=False)
    assert main(["fleet", SECRET]) == 2
    said = "RedisSharing needs coredis: pip install 'circuit-supervisor[redis]'\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the URL of the store, or set BINDU_CB_SHARING_URL\n"),
        (["http://user:secret@here"], "url must be of the form redis://"),
        ([SECRET, "--space", "{}"], "space must have 1 to 100 letters, digits or . _ : / -, got "),
    ],
)
def test_what_is_no_fleet(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """One line, in which there is no password."""
    assert main(["fleet", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1
    assert "secret" not in err


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("option", ["--force-open", "--release"])
@pytest.mark.parametrize("name", ["", "\x1b[2J"])
def test_no_name_of_a_circuit(capsys: pytest.CaptureFixture[str], option: str, name: str) -> None:
    """It is refused before anybody is asked."""
    assert main(["fleet", SECRET, option, name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("a circuit's name must have 1 to 255 printable characters, got ")
    assert err[:-1].isprintable()


@pytest.mark.parametrize("history", ["-1", "ten", "10001"])
def test_no_number_of_changes(capsys: pytest.CaptureFixture[str], history: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fleet", SECRET, f"--history={history}"])
    assert caught.value.code == 2
    assert f"'{history}' is not a whole number from 0 to 10000" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_a_misspelt_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told, since the space would come from there."""
    monkeypatch.setenv("BINDU_CB_SHARING_SPACEE", "shop")
    assert main(["fleet", SECRET]) == 2
    assert "BINDU_CB_SHARING_SPACEE" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_the_store_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(Store, "fails", refuse)
    assert main(["fleet", SECRET]) == 2
    said = "space 'default' of redis://here:1/0: ConnectionError: refused\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.usefixtures("store")
def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "fails", interrupt)
    assert main(["fleet", SECRET, "--follow"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.usefixtures("store")
def test_a_reader_who_has_seen_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ends it, also while it follows; that is no error."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:  # noqa: PTH123  (a descriptor has no path)
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["fleet", SECRET, "--follow"]) == 0
        pipe.flush()
    assert capsys.readouterr().err == ""
