"""Ways to a server, and who is let in."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import coredis
import pytest
import trustme

from supervisor.sharing import RedisSharing
from supervisor.sharing.store import NEVER, Forcing, Renewing
from tests.sharing.cases import ASKING, CLOSED, FORCED_OPEN, HOUR, OPENING, SETTLING, epoch
from tests.sharing.real.servers import KINDS, Server, free_port, running, until
from tests.support.generated import ROOT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings(  # what coredis leaves unclosed is its own
        "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

PASSWORD = "p/w:@%ü secret"
ACLS = dict(
    re.findall(
        r"^ACL SETUSER (\w+) on >\S+ (.+)$",
        (ROOT / "docs/reference/sharing.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


async def everything(store: RedisSharing) -> None:
    """Take each step once, and listen."""
    with anyio.fail_after(60):
        async with store.connect("a") as link:
            answer = await link.take(replace(OPENING, seconds=0.001), NEVER)
            await anyio.sleep(0.01)
            answer = await link.take(ASKING, NEVER)
            assert answer.outcome == "leased"
            assert answer.record is not None
            since = answer.record.epoch
            assert (await link.take(Renewing("db", since, "t1", 5.0), NEVER)).outcome == "leased"
            assert (await link.take(replace(SETTLING, epoch=since), NEVER)).outcome == "told"
            assert (await link.take(Forcing("db", CLOSED), NEVER)).outcome == "told"
            assert (await link.beat(15.0)).members == 1
            assert [list(part) async for part in link.snapshot()] == [["db"]]
            assert len(await link.news(NEVER, 5.0)) == 3
            assert (await link.beat(0.0)).members == 0


async def nothing_is_held(store: RedisSharing) -> None:
    """Take a step after which a record is void."""
    async with store.connect("a") as link:
        answer = await link.take(replace(ASKING, view=epoch(10 * 365 * 24 * HOUR)), NEVER)
        assert (answer.outcome, answer.record) == ("alone", None)


async def of_member(url: str, space: str) -> None:
    """Do all that a supervisor does."""
    await everything(RedisSharing(url, space=space))
    await nothing_is_held(RedisSharing(url, space=space, quorum=2))


async def of_onlooker(url: str, space: str) -> None:
    """Do all that `python -m supervisor fleet --follow` does."""
    async with RedisSharing(url, space=space).connect("onlooker") as link:
        await link.look()
        await link.past(3)
        await link.news(NEVER, 0.01)


async def of_operator(url: str, space: str) -> None:
    """Set a state for all, and release it, besides."""
    await of_onlooker(url, space)
    async with RedisSharing(url, space=space).connect("operator") as link:
        for state in (FORCED_OPEN, CLOSED):
            await link.take(Forcing("db", state), NEVER)


@pytest.mark.parametrize(
    ("user", "does"),
    [("circuits", of_member), ("onlooker", of_onlooker), ("operator", of_operator)],
)
async def test_what_the_page_allows_suffices(
    server: Server, space: str, user: str, does: Callable[[str, str], Awaitable[None]]
) -> None:
    allowed = ACLS[user].split()
    named = ["ACL", "SETUSER", "ü", "reset", "on", f">{PASSWORD}"]
    assert server.do(*named, *allowed) == b"+OK\r\n"
    login = f"{quote('ü')}:{quote(PASSWORD, safe='')}@"
    url = server.url.replace("//", f"//{login}")
    await does(url, space)
    for number, command in enumerate(each for each in allowed if each.startswith("+")):
        server.do("ACL", "SETUSER", "ü", f"-{command[1:]}")
        with pytest.raises(coredis.exceptions.RedisError):  # nothing is allowed in vain
            await does(url, f"{space}/{number}")
        server.do("ACL", "SETUSER", "ü", command)


async def test_a_password_is_shown_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = RedisSharing(server.url.replace("//", f"//nobody:{quote(PASSWORD, safe='')}@"))
    with pytest.raises(coredis.exceptions.RedisError) as caught:
        async with store.connect("a"):
            pass
    error: BaseException | None = caught.value
    shown = [caplog.text, repr(store), repr(vars(store))]
    while error is not None:
        shown += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert not any(secret in each for each in shown)


async def test_a_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("s")
    path = directory / "socket"
    with running("redis", directory, "--unixsocket", str(path)):
        await everything(RedisSharing(f"unix://{path}"))


async def test_tls(tmp_path: Path) -> None:
    """The server is verified; an own context may know it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca")
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    port = free_port()
    options = {"port": port, "auth-clients": "no", "ca-cert-file": tmp_path / "ca"}
    options |= {"cert-file": tmp_path / "pem", "key-file": tmp_path / "pem"}
    given = [text for name, value in options.items() for text in (f"--tls-{name}", str(value))]
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with running("redis", tmp_path, *given):
        url = f"rediss://localhost:{port}"
        await everything(RedisSharing(url, ssl_context=context))
        with pytest.raises(coredis.exceptions.ConnectionError):
            await everything(RedisSharing(url))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cluster(kind: str, tmp_path: Path) -> None:
    """All keys are in one slot; any name may stand for it."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with running(kind, tmp_path, *options) as server:
        assert server.do("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == b"+OK\r\n"
        await until(server, b"cluster_state:ok", "CLUSTER", "INFO")
        await everything(RedisSharing(f"redis+cluster://127.0.0.1:{server.port}", space="prod"))


async def test_a_sentinel(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    with running("redis", tmp_path / "first") as primary:
        configuration = tmp_path / "sentinel.conf"
        configuration.write_text(f"sentinel monitor circuits 127.0.0.1 {primary.port} 1\n")
        with running("redis", tmp_path, sentinel=configuration) as sentinel:
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/circuits"
            await everything(RedisSharing(url))


async def test_an_own_client(server: Server, space: str) -> None:
    made: list[Any] = []

    def client() -> Any:
        made.append(coredis.Redis(port=server.port, decode_responses=True))
        return made[-1]

    store = RedisSharing(client=client, space=space)
    await everything(store)
    assert len(made) == 1
    assert repr(store) == f"RedisSharing('a client of your own', space={space!r})"
