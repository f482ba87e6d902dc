"""Processes that share circuits, one on each event loop: what becomes of a server, and the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from supervisor.testing import Backend
from tests.sharing.real.processes import Crew, Fleet, joined
from tests.sharing.real.servers import KINDS, Server, Way, free_port, running, wait_until
from tests.sharing.real.test_processes import HOUR, UNHURRIED, each_in_turn, one_probe_succeeds
from tests.support.worlds import BACKENDS

TIMEOUT: Final = 3.0
"""Seconds: a busy machine answers in time, and silence is noticed."""

STAYS_OPEN: Final[dict[str, Any]] = {"recovery_timeout": HOUR}


def all_hear_of_each(fleet: Fleet, what: str) -> None:
    """What opens in any of them is open in all."""
    names = [f"{what} {number}" for number in range(len(fleet.workers))]
    for each, name in zip(fleet.workers, names, strict=True):
        assert each.ask("fail", name)
    fleet.until_all("open", *names)


def test_connections_are_killed(crew: Crew, server: Server, space: str) -> None:
    with joined(
        crew.on(BACKENDS), server.url, policy=STAYS_OPEN, space=space, timeout=UNHURRIED
    ) as fleet:
        all_hear_of_each(fleet, "before")
        server.do("CLIENT", "KILL", "TYPE", "normal")
        fleet.until_lost_and_found()
        all_hear_of_each(fleet, "after")


def test_connections_are_reset(crew: Crew, server: Server, space: str) -> None:
    """Nobody knows whether what was asked for last has arrived."""
    way = Way(server)
    with joined(
        crew.on(BACKENDS), way.url, policy=STAYS_OPEN, space=space, timeout=UNHURRIED
    ) as fleet:
        way.resets = True
        for number, each in enumerate(fleet.workers):
            assert each.ask("fail", f"x{number}")
        fleet.until(lambda: all("FleetLost" in links for links in fleet.of_all("links")))
        way.resets = False
        fleet.until_lost_and_found()
        fleet.until_all("open", *[f"x{number}" for number in range(len(BACKENDS))])
    way.close()


def test_a_long_way(crew: Crew, server: Server, space: str) -> None:
    """A tenth of a second there and back: what opens is heard of, and one of all probes."""
    way = Way(server)
    way.delay = 0.05
    policy = {"recovery_timeout": 1.0}
    with joined(crew.on(BACKENDS), way.url, policy=policy, space=space, timeout=UNHURRIED) as fleet:
        assert fleet.workers[0].ask("fail", "x")
        fleet.until_all("half_open", "x")
        one_probe_succeeds(fleet, "x")
        fleet.until_all("closed", "x")
        for changes in fleet.of_all("changes", "x"):
            assert [state for state, _ in changes] == ["open", "half_open", "closed"]
    way.close()


@each_in_turn
def test_news_that_is_not_there_any_more(
    crew: Crew, backends: Sequence[Backend], server: Server, space: str
) -> None:
    """Who was frozen for long sees that some is missing, and reads how all stands."""
    with joined(
        crew.on(backends), server.url, policy=STAYS_OPEN, space=space, timeout=UNHURRIED
    ) as fleet:
        late, one, another = fleet.workers
        late.freeze()
        assert one.ask("fail", "x", "y", "z") == 3
        fleet.until(lambda: another.ask("states", "x", "y", "z") == {"open": 3})
        server.do("XTRIM", f"circuits:{{{space}}}:news", "MAXLEN", "1")
        late.go_on()
        fleet.until_all("open", "x", "y", "z")


@each_in_turn
def test_one_is_in_a_black_hole(
    crew: Crew, backends: Sequence[Backend], servers: dict[str, Server], space: str
) -> None:
    """It is by itself, and so are the others; later, what is open in either is open in both."""
    server = servers["valkey"]
    way = Way(server)
    urls = [way.url, server.url, server.url]
    with joined(crew.on(backends), urls, policy=STAYS_OPEN, space=space, timeout=TIMEOUT) as fleet:
        cut_off, *others = fleet.workers
        way.is_black_hole = True
        fleet.until(lambda: not cut_off.ask("linked"))
        assert cut_off.ask("fail", "here")
        assert others[0].ask("fail", "there")
        fleet.until(lambda: others[1].ask("state", "there") == "open")
        assert cut_off.ask("state", "there") == "closed"
        assert [each.ask("state", "here") for each in others] == ["closed", "closed"]
        way.is_black_hole = False
        fleet.until_all("open", "here", "there")
    way.close()


def test_scripts_are_forgotten(crew: Crew, server: Server, space: str) -> None:
    """Nobody notices."""
    with joined(
        crew.on(BACKENDS), server.url, policy=STAYS_OPEN, space=space, timeout=UNHURRIED
    ) as fleet:
        for what in ("once", "again"):
            server.do("SCRIPT", "FLUSH")
            all_hear_of_each(fleet, what)
        assert fleet.of_all("links") == [["FleetJoined"]] * len(BACKENDS)


ON_DISK: Final = ["--appendonly", "yes", "--appendfsync", "always"]
MANY: Final = 4000
SLOWLY: Final = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]
"""A millisecond for each key."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_loads_what_it_has_on_disk(
    crew: Crew, kind: str, tmp_path: Path, space: str
) -> None:
    """It says so for seconds; circuits stay open, and one probe of all of them decides."""
    policy = {"recovery_timeout": 10.0}
    with (
        running(kind, tmp_path, *ON_DISK) as server,
        joined(crew.on(BACKENDS), server.url, policy=policy, space=space, timeout=TIMEOUT) as fleet,
    ):
        opened = time.monotonic()
        assert fleet.workers[0].ask("fail", "x")
        fleet.until_all("open", "x")
        server.do("MSET", *[text for number in range(MANY) for text in (str(number), "x")])
        server.do("BGREWRITEAOF")
        wait_until_it_says(server, b"aof_rewrites:1", "INFO", "persistence")
        wait_until_it_says(server, b"aof_rewrite_in_progress:0", "INFO", "persistence")
        server.kill()
        fleet.until_linked(False)
        server.start(*SLOWLY)
        assert server.do("PING").startswith(b"-LOADING")
        assert not any(fleet.of_all("linked"))
        wait_until(lambda: server.do("PING") == b"+PONG\r\n")
        fleet.until_linked()
        one_probe_succeeds(fleet, "x")
        assert time.monotonic() - opened > 9.9
        fleet.until_all("closed", "x")
        for changes in fleet.of_all("changes", "x"):
            assert [state for state, _ in changes] == ["open", "half_open", "closed"]


def wait_until_it_says(server: Server, text: bytes, *command: str) -> None:
    """Wait until that is in its answer to a command."""
    wait_until(lambda: text in server.do(*command))


@contextmanager
def watched(kind: str, directory: Path) -> Iterator[tuple[str, Server]]:
    """A URL of a sentinel, and the primary that it watches, which has a replica."""
    with ExitStack() as stack:
        servers: list[Server] = []
        for role in ("primary", "replica"):
            (directory / role).mkdir()
            servers.append(stack.enter_context(running(kind, directory / role)))
        primary, replica = servers
        replica.do("REPLICAOF", "127.0.0.1", str(primary.port))
        wait_until_it_says(primary, b"state=online", "INFO", "replication")
        configuration = directory / "sentinel.conf"
        configuration.write_text(
            f"sentinel monitor circuits 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds circuits 3000\n"
        )
        sentinel = stack.enter_context(running(kind, directory, sentinel=configuration))
        known = str(replica.port).encode()
        wait_until_it_says(sentinel, known, "SENTINEL", "REPLICAS", "circuits")
        yield f"redis+sentinel://127.0.0.1:{sentinel.port}/circuits", primary


SLOTS: Final = [("1", "16382"), ("0", "0"), ("16383", "16383")]
"""Of three primaries, of which the first has all that matter; the others elect its replica."""


@contextmanager
def clustered(kind: str, directory: Path) -> Iterator[tuple[str, Server]]:
    """A URL of a cluster, and the primary that holds the circuits, which has a replica."""
    with ExitStack() as stack:
        servers: list[Server] = []
        for number in range(len(SLOTS) + 1):
            (directory / str(number)).mkdir()
            options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
            options += ["--cluster-node-timeout", "5000"]
            servers.append(stack.enter_context(running(kind, directory / str(number), *options)))
        first, *others = servers
        for each in others:
            bus = each.do("CONFIG", "GET", "cluster-port").split()[-1].decode()
            assert first.do("CLUSTER", "MEET", "127.0.0.1", str(each.port), bus) == b"+OK\r\n"
        for each, slots in zip(servers, SLOTS, strict=False):
            assert each.do("CLUSTER", "ADDSLOTSRANGE", *slots) == b"+OK\r\n"
        for each in servers:
            wait_until_it_says(each, b"cluster_state:ok", "CLUSTER", "INFO")
            wait_until_it_says(each, b"cluster_known_nodes:4", "CLUSTER", "INFO")
        name = first.do("CLUSTER", "MYID").split()[1].decode()
        assert others[-1].do("CLUSTER", "REPLICATE", name) == b"+OK\r\n"
        wait_until_it_says(first, b"state=online", "INFO", "replication")
        for each in others:
            wait_until_it_says(each, b"slave " + name.encode(), "CLUSTER", "NODES")
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in servers)
        yield f"redis+cluster://{hosts}", first


@pytest.mark.parametrize("of", [watched, clustered], ids=["sentinel", "cluster"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_primary_is_killed(
    crew: Crew, of: Callable[[str, Path], Any], kind: str, tmp_path: Path
) -> None:
    """Its replica takes over with all that it has heard; meanwhile, each is by itself."""
    with (
        of(kind, tmp_path) as (url, primary),
        joined(crew.on(BACKENDS), url, policy=STAYS_OPEN, space="prod", timeout=TIMEOUT) as fleet,
    ):
        all_hear_of_each(fleet, "before")
        wait_until_it_says(primary, b"lag=0", "INFO", "replication")
        primary.kill()
        fleet.until(lambda: all("FleetLost" in links for links in fleet.of_all("links")))
        assert fleet.workers[0].ask("fail", "meanwhile")
        fleet.until_all("open", "meanwhile")
        all_hear_of_each(fleet, "after")
