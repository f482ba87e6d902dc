"""What `RedisSharing` is made with, which needs no server."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import pytest

from supervisor.sharing import RedisSharing, redis
from supervisor.sharing.address import read_address
from tests.support.generated import ROOT

TLS = ssl.create_default_context()

WRONG: list[tuple[Callable[[], object], str]] = [
    (RedisSharing, "either url or client is needed, and not both"),
    (
        lambda: RedisSharing("redis://h", client=lambda: None),  # type: ignore[arg-type, return-value]
        "either url or client is needed, and not both",
    ),
    (lambda: RedisSharing("redis://h", space="{a}"), r"space must have 1 to 100 .* got '{a}'"),
    (lambda: RedisSharing("redis://h", space="a" * 101), "space must have 1 to 100"),
    (lambda: RedisSharing("redis://h", quorum=0), "quorum must be at least 1, got 0"),
    (lambda: RedisSharing("redis://h", timeout=0.0), "timeout must be"),
    (lambda: RedisSharing("h"), "url must be of the form"),
    (lambda: RedisSharing(client="://:pw@h"), "^client must be a function, got str$"),  # type: ignore[arg-type]
    (
        lambda: RedisSharing("rediss://h", ssl_context=True),  # type: ignore[arg-type]
        r"ssl_context must be an ssl\.SSLContext, got True",
    ),
    (lambda: RedisSharing("redis://h", ssl_context=TLS), "ssl_context needs a url with TLS"),
    (
        lambda: RedisSharing(client=nullcontext, ssl_context=TLS),
        "ssl_context needs a url with TLS",
    ),
]


@pytest.mark.parametrize(("make", "says"), WRONG)
def test_what_is_wrong_is_said_at_once(make: Callable[[], object], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        make()


@pytest.mark.parametrize("returned", ["redis://:secret@h", None, nullcontext("redis://:secret@h")])
@pytest.mark.anyio
async def test_what_is_no_client_of_coredis(returned: Any) -> None:
    """The one that is returned, or what its block gives; there may be a password in it."""
    store = RedisSharing(client=lambda: returned)
    with pytest.raises(TypeError, match=r"coredis, got (str|NoneType)$"):
        async with store.connect("a"):
            pass


def test_a_context_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes with an address that has it, to the client."""
    given: list[object] = []

    def client_of(*arguments: object) -> AbstractAsyncContextManager[None]:
        given.extend(arguments)
        return nullcontext()

    monkeypatch.setattr(redis, "_client_of", lambda: client_of)
    RedisSharing("rediss://host", ssl_context=TLS)._client()
    assert given == [read_address("rediss://host"), 1.0, TLS]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coredis", None)
    monkeypatch.delitem(sys.modules, "supervisor.sharing.clients", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'circuit-supervisor\[redis\]'"):
        RedisSharing("redis://host")


def test_without_it_nothing_is_imported() -> None:
    code = "import sys, supervisor.sharing; assert 'coredis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
