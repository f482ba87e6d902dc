"""Passes of a fleet: in virtual time with a store in memory, and in processes of their own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import pairwise

import anyio
import httpx
import pytest
from rich.console import Console

from supervisor import MemorySharing
from supervisor.commands.demo.fleet import show, worker
from supervisor.commands.demo.fleet.diary import Diary, Fact, Ready
from supervisor.commands.demo.fleet.figures import FleetFigures
from supervisor.commands.demo.fleet.passes import (
    Begin,
    FleetPass,
    Scene,
    jobs_of,
    run_pass,
    started,
)
from supervisor.commands.demo.fleet.worker import Job, work
from supervisor.commands.demo.passes import Remote
from supervisor.commands.demo.plan import DemoError, Plan
from supervisor.commands.demo.process import server_process
from supervisor.commands.demo.server import Server
from supervisor.sharing import Link
from tests.commands.demo.test_process import children_of, runs, wait_until
from tests.support.generated import ROOT

PLAN = Plan(workers=40, fleet=4)


async def nobody_watches(scene: Scene) -> None:
    """Nothing is to be seen."""


Both = tuple[FleetPass, FleetPass]


@pytest.fixture(scope="module")
def known() -> dict[str, Both]:
    """The passes on each kind of event loop, for all tests that only look at them."""
    return {}


@pytest.fixture
async def both(request: pytest.FixtureRequest, known: dict[str, Both]) -> Both:
    """Both passes, with a store in memory."""
    kind = request.node.callspec.params["anyio_backend"]
    if kind not in known:
        known[kind] = await passes_in_memory(PLAN)
    return known[kind]


async def passes_in_memory(plan: Plan) -> Both:
    """Both passes, by tasks in the place of processes, with a store in memory."""
    store = MemorySharing()
    server = Server(clock=anyio.current_time)
    remote = Remote("http://server", lambda: httpx.ASGITransport(server), anyio.current_time)
    async with anyio.create_task_group() as tasks:

        @contextmanager
        def start(job: Job, diary: Diary) -> Iterator[Begin]:
            begun, began = anyio.Event(), list[float]()

            async def beginning() -> float:
                await begun.wait()
                return began[0]

            async def run() -> None:
                sharing = None if job.store is None else store
                await work(job, remote, sharing, diary.add, beginning)
                diary.ended = True

            def begin(at: float) -> None:
                began.append(at)
                begun.set()

            tasks.start_soon(run)
            yield begin

        alone = await run_pass(plan, None, remote, nobody_watches, start)
        return alone, await run_pass(plan, "in memory", remote, nobody_watches, start)


@pytest.mark.anyio
async def test_sharing_spares_a_dead_server(both: Both) -> None:
    """All learn from the first, and one probe at a time finds out for all."""
    alone, shared = both
    by_itself, together = FleetFigures.of(alone), FleetFigures.of(shared)
    assert together.dead_requests < by_itself.dead_requests
    assert together.late_requests == 0 < by_itself.late_requests
    assert together.opened_within is not None
    assert by_itself.opened_within is not None
    assert together.opened_within < 0.01 < by_itself.opened_within
    assert together.probes * 3 <= by_itself.probes
    for figures in (by_itself, together):
        assert figures.closed_within is not None
        assert 0 < figures.closed_within < PLAN.recovery_timeout(2.0)
    probes = sorted(call.at for diary in shared.diaries for call in diary.calls if call.probe)
    for before, after in pairwise(probes):
        assert after - before > PLAN.recovery_timeout(1.0)  # one in each half-open period


@pytest.mark.anyio
async def test_the_figures_add_up(both: Both) -> None:
    """What the processes have sent is what the server has counted."""
    for measured in both:
        calls = [call for diary in measured.diaries for call in diary.calls]
        sent = [call for call in calls if call.outcome != "rejected"]
        assert len(sent) == sum(measured.server.healthy) + sum(measured.server.dead)
        assert sum(call.outcome == "failed" for call in sent) == sum(measured.server.dead)
        assert {change.origin for diary in measured.diaries for change in diary.changes} == (
            {"here", "fleet"} if measured.shared else {"here"}
        )


class LateStore(MemorySharing):
    """One that is reached after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    @asynccontextmanager
    async def connect(self, owner: str) -> AsyncGenerator[Link]:
        await anyio.sleep(self._seconds)
        async with super().connect(owner) as link:
            yield link


class StoppedError(Exception):
    """In the place of the beginning of a pass."""


@pytest.mark.anyio
@pytest.mark.parametrize(("seconds", "linked"), [(3.0, True), (600.0, False)])
async def test_a_store_that_is_reached_late(seconds: float, linked: bool) -> None:
    """A process waits for it, but not for ever."""
    facts: list[Fact] = []

    async def stop() -> float:
        raise StoppedError

    remote = Remote("http://server", lambda: httpx.ASGITransport(Server()))
    with pytest.raises(StoppedError):
        await work(job(), remote, LateStore(seconds), facts.append, stop)
    assert facts == [Ready(linked)]


def test_agents_are_shared_out() -> None:
    """Evenly, each to one process; the loops take turns, and all share one space."""
    jobs = jobs_of(replace(PLAN, workers=10), "redis://h", "http://server")
    assert [(job.first, job.agents) for job in jobs] == [(0, 2), (2, 3), (5, 2), (7, 3)]
    assert [job.backend for job in jobs] == ["asyncio", "trio", "asyncio", "trio"]
    assert len({job.space for job in jobs}) == 1
    (another, *_) = jobs_of(PLAN, "redis://h", "http://server")
    assert another.space != jobs[0].space


SHORT = Plan(workers=8, seconds=2.0, fleet=2)


def test_processes() -> None:
    """They do real calls on loops of both kinds, tell of them, and are gone then."""
    before = children_of(os.getpid())
    with server_process() as url:
        measured = anyio.run(run_pass, SHORT, None, Remote.at(url), nobody_watches)
        (_,) = children_of(os.getpid()) - before
    assert [diary.backend for diary in measured.diaries] == ["asyncio", "trio"]
    for diary in measured.diaries:
        assert (diary.ready, diary.done) == (Ready(linked=False), True)
        assert diary.calls
    assert sum(measured.server.healthy) + sum(measured.server.dead) > 0


def test_a_process_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is told, and nobody waits for it."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    remote = Remote.at("http://127.0.0.1:9")
    with pytest.raises(DemoError, match=r"^process 1 has ended before its time$"):
        anyio.run(run_pass, SHORT, None, remote, nobody_watches)


def job() -> Job:
    """One that is not begun."""
    return jobs_of(SHORT, None, "http://127.0.0.1:9")[0]


@pytest.mark.anyio
async def test_a_process_that_has_not_reached_the_store() -> None:
    """There would be nothing to be seen."""

    @contextmanager
    def start(job: Job, diary: Diary) -> Iterator[Begin]:
        diary.ready = Ready(linked=False)
        yield lambda _: pytest.fail("it has begun")

    with pytest.raises(DemoError, match="has not reached the store in time"):
        remote = Remote("http://server", lambda: httpx.ASGITransport(Server()))
        await run_pass(SHORT, "redis://h", remote, nobody_watches, start)


def test_a_process_ends_with_whoever_started_it() -> None:
    """Also if that is killed, while it waits for the beginning."""
    code = (
        "import sys, time\n"
        "from supervisor.commands.demo.fleet.diary import Diary\n"
        "from supervisor.commands.demo.fleet.passes import started\n"
        "from tests.commands.demo.fleet.test_passes import job\n"
        "diary = Diary(1, 'asyncio')\n"
        "with started(job(), diary):\n"
        "    while diary.ready is None:\n"
        "        time.sleep(0.01)\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as demo:
        assert demo.stdout
        assert demo.stdout.readline() == "ready\n"
        (child,) = children_of(demo.pid)
        demo.kill()
        wait_until(lambda: not runs(child))


def test_a_process_that_is_to_do_nothing() -> None:
    """Who is gone before a job was told needs nobody."""
    reading, writing = os.pipe()
    os.close(writing)
    worker.run(reading)
    os.close(reading)


class GoneError(Exception):
    """In the place of the end of this process."""


def test_it_is_gone_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the other end of its lifeline is closed, before the beginning or after it."""
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        raise GoneError

    monkeypatch.setattr(os, "_exit", end)
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(GoneError):
        anyio.run(worker.wait_for_beginning, reading)
    with pytest.raises(GoneError):
        worker.vanish()
    assert statuses == [1, 1]
    os.close(reading)


def test_a_server_that_is_gone() -> None:
    """It is told in one line."""
    remote = Remote.at("http://127.0.0.1:9")
    console = Console(file=io.StringIO())
    with pytest.raises(DemoError, match="the demo's server is gone"):
        anyio.run(show.run_passes, SHORT, "redis://h", remote, console)


def test_a_line_to_a_process_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is lost; that it has ended is seen by what it does not tell."""
    diary = Diary(1, "asyncio")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with started(job(), diary) as begin:
        wait_until(lambda: diary.ended)
        begin(1.0)
    assert not diary.done
