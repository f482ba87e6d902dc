"""The demo's server: its schedule, its counts, and that these end with the pass."""

from __future__ import annotations

import anyio
import httpx
import pytest

from supervisor.commands.demo.server import DEAD_LATENCY, LATENCY, Server, ServerReport

pytestmark = pytest.mark.anyio


class Client(httpx.AsyncClient):
    """Talks to a server that runs in this very event loop, by its virtual clock."""

    def __init__(self) -> None:
        self.server = Server(clock=anyio.current_time)
        super().__init__(transport=httpx.ASGITransport(self.server), base_url="http://server")

    async def begin(self, dead_from: float, dead_until: float, bucket: float) -> None:
        schedule = {"dead_from": dead_from, "dead_until": dead_until, "bucket": bucket}
        await self.post("/control/begin", params={"began": anyio.current_time(), **schedule})

    async def report(self) -> ServerReport:
        return ServerReport(**(await self.get("/control/report")).json())


async def test_it_dies_and_comes_back_by_its_schedule() -> None:
    """Requests fail from `dead_from` up to, but not at, `dead_until`."""
    async with Client() as client:
        await client.begin(1.0, 2.0, bucket=0.5)
        statuses: list[int] = []
        for _ in range(6):  # half a second from one to the next
            statuses.append((await client.post("/memory")).status_code)
            await anyio.sleep(0.5 - (LATENCY["/memory"] if statuses[-1] == 200 else DEAD_LATENCY))
    assert statuses == [200, 200, 503, 503, 200, 200]


@pytest.mark.parametrize("path", LATENCY)
async def test_the_work_takes_its_time(path: str) -> None:
    """A healthy request takes as long as its work, a dead one as long as giving up."""
    async with Client() as client:
        for dead_until, seconds in ((0.0, LATENCY[path]), (1.0, DEAD_LATENCY)):
            await client.begin(0.0, dead_until, bucket=1.0)
            started = anyio.current_time()
            await client.post(path)
            assert anyio.current_time() - started == pytest.approx(seconds)


async def test_requests_count_when_they_come_in() -> None:
    """Each one counts once, in the period it came in, by what the server was then."""
    async with Client() as client:
        await client.begin(0.9, 2.0, bucket=1.0)
        async with anyio.create_task_group() as tasks:
            for at in (0.0, 0.5, 0.95, 1.5, 1.99, 3.5):
                tasks.start_soon(later, client, at)
        report = await client.report()
    assert report.healthy == [2, 0, 0, 1]
    assert report.dead == [1, 2, 0, 0]
    assert report.rates == [3.0, 2.0, 0.0, 1.0]
    assert (report.dead_from, report.dead_until, report.bucket) == (0.9, 2.0, 1.0)


async def later(client: Client, seconds: float) -> None:
    await anyio.sleep(seconds)
    await client.post("/chat")


async def test_a_pass_begins_from_nothing() -> None:
    """What an earlier pass has counted is forgotten, and control requests never count."""
    async with Client() as client:
        await client.begin(0.0, 1.0, bucket=1.0)
        await client.post("/chat")
        await client.begin(0.0, 1.0, bucket=1.0)
        for _ in range(3):
            report = await client.report()
    assert (report.healthy, report.dead, report.rates) == ([], [], [])
