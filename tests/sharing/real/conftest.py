"""Servers for a whole session, and for one test; everything in real time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.sharing.real.processes import Crew
from tests.sharing.real.servers import KINDS, Server, running
from tests.support.worlds import BACKENDS


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """An event loop whose time is real, since that of a server is."""
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """One server of each kind, which tests share and leave as they found it."""
    redis, valkey = (tmp_path_factory.mktemp(kind) for kind in KINDS)
    with running("redis", redis) as first, running("valkey", valkey) as second:
        yield {"redis": first, "valkey": second}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    """A server that other tests use as well."""
    return servers[request.param]


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server to which anything may happen."""
    with running(request.param, tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    """Processes on all event loops."""
    crew = Crew()
    try:
        yield crew
    finally:
        crew.kill()


@pytest.fixture
def space() -> str:
    """One that nobody else uses."""
    return uuid4().hex
