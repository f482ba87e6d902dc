"""What a link raises when its server fails, how soon, and that a new one works afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import anyio
import pytest
from coredis.exceptions import ConnectionError as Lost
from coredis.exceptions import ReadOnlyError, ResponseError

from supervisor.sharing import Link, RedisSharing
from supervisor.sharing.store import NEVER, News
from tests.sharing.cases import OPENING
from tests.sharing.real.servers import Server, Way, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings(  # what coredis leaves unclosed is its own
        "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

TIMEOUT = 0.3
SOON = 30.0
"""Seconds: far longer than `TIMEOUT`, and far shorter than for ever."""


@dataclass(frozen=True)
class Fault:
    """What happens to a server.

    Attributes:
        lasts: whether it lasts until it is mended, also for new links.
        error, text: what steps raise, and what it says.
        of_news: what a listener raises; None if it does not notice.
    """

    name: str
    happens: Callable[[Server], object]
    error: type[Exception]
    text: str | None = None
    of_news: type[Exception] | None = Lost
    is_mended: Callable[[Server], object] | None = None


FAULTS = [
    Fault("killed", Server.kill, Lost, is_mended=Server.start),
    Fault("frozen", Server.freeze, TimeoutError, None, TimeoutError, Server.go_on),
    Fault("connections killed", lambda server: server.do("CLIENT", "KILL", "TYPE", "normal"), Lost),
    Fault(
        "demoted",
        lambda server: server.do("REPLICAOF", "127.0.0.1", "1"),
        ReadOnlyError,
        "read only",
        ResponseError,
        lambda server: server.do("REPLICAOF", "NO", "ONE"),
    ),
    Fault(
        "full",
        lambda server: server.set("maxmemory", "1"),
        ResponseError,
        "OOM",
        None,
        lambda server: server.set("maxmemory", "0"),
    ),
]
every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
every_lasting_fault = pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each.is_mended], ids=lambda fault: fault.name
)


def store_of(server: Server | Way) -> RedisSharing:
    return RedisSharing(server.url, timeout=TIMEOUT)


async def works(server: Server | Way) -> None:
    """A new link takes steps, hears of them, and is left without an error."""
    with anyio.fail_after(SOON):
        async with store_of(server).connect("new") as link:
            beat = await link.beat(15.0)
            opening = replace(OPENING, circuit=f"after {beat.now}")
            assert (await link.take(opening, beat.latest)).outcome == "told"
            assert [each.circuit for each in await link.news(beat.latest, 5.0)] == [opening.circuit]


@every_lasting_fault
@pytest.mark.parametrize(
    "asks",
    [lambda link: link.take(OPENING, NEVER), lambda link: link.beat(15.0)],
    ids=["step", "beat"],
)
async def test_a_step_raises(
    fault: Fault, asks: Callable[[Link], object], own_server: Server
) -> None:
    with anyio.fail_after(SOON):
        async with store_of(own_server).connect("a") as link:
            await link.beat(15.0)
            fault.happens(own_server)
            with pytest.raises(fault.error, match=fault.text):
                await asks(link)  # type: ignore[misc]
        with pytest.raises(fault.error, match=fault.text):
            async with store_of(own_server).connect("b") as link:
                await link.beat(15.0)
        assert fault.is_mended is not None
        fault.is_mended(own_server)
    await works(own_server)


@every_fault
async def test_a_listener_hears_of_it(fault: Fault, own_server: Server) -> None:
    """It raises; or it goes on, where nothing is in its way."""
    raised: list[Exception] = []
    heard: list[News] = []

    async def listen(link: Link) -> None:
        try:
            heard.extend(await link.news(NEVER, 1.0))
        except Exception as error:
            raised.append(error)

    with anyio.fail_after(SOON):
        async with store_of(own_server).connect("a") as link:
            async with anyio.create_task_group() as group:
                group.start_soon(listen, link)
                await until(own_server, b"blocked_clients:1", "INFO", "clients")
                fault.happens(own_server)
        if fault.of_news is None:
            assert (raised, heard) == ([], [])
        else:
            assert isinstance(raised[0], fault.of_news)
        if fault.is_mended is not None:
            fault.is_mended(own_server)
    await works(own_server)


async def test_restarted_it_is_empty(own_server: Server) -> None:
    """A beat shows it: the latest epoch is an earlier one."""
    async with store_of(own_server).connect("a") as link:
        await link.take(OPENING, NEVER)
        assert (await link.beat(15.0)).latest > NEVER
        own_server.kill()
        own_server.start()
    async with store_of(own_server).connect("a") as link:
        assert (await link.beat(15.0)).latest == NEVER
        assert [part async for part in link.snapshot()] == [{}]
    await works(own_server)


async def test_forgotten_scripts_are_not_noticed(own_server: Server) -> None:
    async with store_of(own_server).connect("a") as link:
        own_server.do("SCRIPT", "FLUSH")
        assert (await link.take(OPENING, NEVER)).outcome == "told"
        own_server.do("SCRIPT", "FLUSH")
        assert (await link.beat(15.0)).members == 1


@pytest.fixture
def way(server: Server) -> Iterator[Way]:
    way = Way(server)
    try:
        yield way
    finally:
        way.close()


async def test_a_black_hole(way: Way) -> None:
    """Nothing is refused, nothing arrives."""
    with anyio.fail_after(SOON):
        async with store_of(way).connect("a") as link:
            way.is_black_hole = True
            with pytest.raises(TimeoutError):
                await link.beat(15.0)
            with pytest.raises(TimeoutError):
                await link.news(NEVER, 0.1)
        with pytest.raises(TimeoutError):
            async with store_of(way).connect("b"):
                pass
        way.is_black_hole = False
    await works(way)


@pytest.mark.parametrize(
    "waits",
    [lambda link: link.news(NEVER, 600.0), lambda link: link.beat(15.0)],
    ids=["news", "beat"],
)
async def test_a_cancellation_is_one(waits: Callable[[Link], object], way: Way) -> None:
    """Whatever the client is in, and leaving it is no error."""
    store = RedisSharing(way.url, timeout=600.0)
    with anyio.fail_after(SOON):
        async with store.connect("a") as link:
            way.is_black_hole = True
            with anyio.move_on_after(0.1) as scope:
                await waits(link)  # type: ignore[misc]
            assert scope.cancelled_caught
        with anyio.move_on_after(0.1) as scope:
            async with store.connect("a"):
                pass
        assert scope.cancelled_caught
