"""`python -m supervisor fleet` against servers, and against what is none."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from supervisor.__main__ import main
from supervisor.commands.fleet import command as module
from supervisor.commands.fleet.plan import FleetError, Plan
from supervisor.commands.fleet.show import show
from supervisor.sharing import NEVER, RedisSharing
from tests.sharing.cases import OPENING
from tests.sharing.real.servers import Server, free_port
from tests.support.generated import ROOT
from tests.support.interrupts import heeding_ctrl_c

pytestmark = pytest.mark.filterwarnings(  # what coredis leaves unclosed is its own
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

SECRET = "p4ssw0rd"


class Command:
    """The command, run here to its end, and what it has said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def says(self, *arguments: str) -> str:
        """What it says on standard output, if all is well."""
        status = main(["fleet", *arguments])
        out, err = self._capsys.readouterr()
        assert (status, err) == (0, "")
        return out

    def complains(self, *arguments: str) -> str:
        """The only line that it says if it cannot do what it is asked for."""
        status = main(["fleet", *arguments])
        out, err = self._capsys.readouterr()
        assert (status, out) == (2, "")
        (line,) = err.splitlines()
        assert SECRET not in line
        return str(line)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@contextmanager
def following(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, which follows a fleet; in the end, it is not there."""
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "fleet", *arguments, "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        late = threading.Timer(120, process.kill)
        late.start()
        try:
            yield process
        finally:
            late.cancel()
            process.kill()


async def somebody(server: Server, space: str, circuit: str = "db") -> None:
    """Let there be a supervisor that has opened a circuit."""
    async with RedisSharing(server.url, space=space, share_failures=True).connect("a") as link:
        await link.take(
            replace(OPENING, circuit=circuit, seconds=3600.0, failure="down \x1b[2J"), NEVER
        )
        await link.beat(15.0)


@pytest.mark.anyio
async def test_what_is_seen(server: Server, space: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On every event loop; by the server's time."""
    await somebody(server, space)
    await show(Plan(server.url, space), RedisSharing(server.url, space=space, timeout=30.0))
    head, _, _, member, _, _, row, _, change = capsys.readouterr().out.splitlines()
    assert head == (
        f"1 supervisor shares circuits in space {space!r}; 1 circuit not plainly closed"
    )
    assert member.startswith("a ")
    assert row.split()[:2] == ["db", "open"]
    assert row.endswith(r"a   down \x1b[2J")
    assert change.endswith(r" UTC  db  open for 60 min  a  down \x1b[2J")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_answer_on_every_event_loop(backend: str) -> None:
    """It is the same error, whatever groups of them a client makes."""
    plan = Plan("there", "default")
    store = RedisSharing(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(FleetError, match="ConnectionError: Unable to establish a connection"):
        anyio.run(show, plan, store, backend=backend)


def test_the_command(server: Server, space: str, command: Command) -> None:
    """It shows, opens, releases, and says what has become of it."""
    anyio.run(somebody, server, space)
    of = (server.url, "--space", space)
    document: dict[str, Any] = json.loads(command.says(*of, "--json"))
    assert [each["owner"] for each in document["members"]] == ["a"]
    assert [each["state"] for each in document["circuits"]] == ["open"]
    assert command.says(*of, "--force-open", "db") == "db: forced open for all, was open\n"
    assert command.says(*of, "--release", "db") == "db: released for all, was forced open\n"
    history = json.loads(command.says(*of, "--json"))["history"]
    assert [each["state"] for each in history] == ["open", "forced_open", "closed"]


def test_following(server: Server, space: str) -> None:
    """A line for each change as it comes, until Ctrl-C."""
    anyio.run(somebody, server, space)
    with heeding_ctrl_c(), following(server.url, "--space", space, "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        anyio.run(somebody, server, space, "other")
        assert json.loads(process.stdout.readline())["circuit"] == "other"
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "interrupted\n")
        assert process.returncode == 130


def test_a_server_that_is_killed_while_it_is_followed(own_server: Server) -> None:
    """It is said once; when there is one again, that is said, and what comes then."""
    anyio.run(somebody, own_server, "default")
    with heeding_ctrl_c(), following(own_server.url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        own_server.kill()
        lost = process.stderr.readline()
        assert lost.startswith("space 'default' of redis://127.0.0.1:")
        assert lost.endswith("; trying again\n")
        own_server.start()
        back = process.stderr.readline()
        assert back.endswith(": it answers again, but does not remember all that has happened\n")
        anyio.run(somebody, own_server, "default", "other")
        while "  other  open for" not in process.stdout.readline():
            pass  # the report
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "interrupted\n")
        assert process.returncode == 130


def test_no_server(command: Command) -> None:
    """Absent, silent, or another one."""
    port = free_port()
    assert command.complains(f"redis://u:{SECRET}@127.0.0.1:{port}") == (
        f"space 'default' of redis://127.0.0.1:{port}/0: ConnectionError: Unable to establish a"
        f" connection to 127.0.0.1:{port}"
    )
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        said = command.complains(url)
    assert "that is no server of Redis or Valkey (InvalidResponse: " in said


def test_a_silent_server(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with answering(b"") as url:
        assert ": no answer in time (" in command.complains(url)


def test_no_fleet(server: Server, space: str, command: Command) -> None:
    """An empty space, and one in which there is something else."""
    said = "no supervisor shares circuits there; are URL, database and --space right?"
    of = (server.url, "--space", space)
    assert command.complains(*of).endswith(said)
    assert command.complains(*of, "--force-open", "db").endswith(said)
    server.do("SET", f"circuits:{{{space}}}:members", "x")
    assert ": what is there is no fleet's (WrongTypeError: " in command.complains(*of)


def test_who_is_not_let_in(server: Server, space: str, command: Command) -> None:
    """By a wrong password, and with rights that are too few."""
    url = server.url.replace("//", f"//nobody:{SECRET}@")
    assert ": the user or the password is missing or wrong (" in command.complains(url)
    url = server.url.replace("//", f"//few:{SECRET}@")
    rights = ["+script|load", "+evalsha", "+time", "+xrevrange", "+hscan"]
    user = ["ACL", "SETUSER", "few", "reset", "on", f">{SECRET}", "~circuits:*"]
    for allowed in ([], rights[:1], rights):
        server.do(*user, *allowed)
        assert ": this user is not allowed to (" in command.complains(url, "--space", space)


def test_without_a_password(own_server: Server, command: Command) -> None:
    """Where one is needed."""
    own_server.set("requirepass", SECRET)
    assert ": the user or the password is missing or wrong (" in command.complains(own_server.url)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The URL of what says that, or nothing, whatever it is asked."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                held.append(connection)
                if answer:
                    connection.recv(1000)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(60)
            for each in held:
                each.close()
