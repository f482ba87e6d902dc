"""One pass: all processes at work, each by itself or sharing the circuit."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from supervisor.commands.demo.fleet.diary import Diary
from supervisor.commands.demo.fleet.worker import Job
from supervisor.commands.demo.passes import Remote, begin, report
from supervisor.commands.demo.plan import Backend, DemoError, Plan
from supervisor.commands.demo.process import kept_process, tell
from supervisor.commands.demo.server import ServerReport

LOOPS: tuple[Backend, Backend] = ("asyncio", "trio")

Begin = Callable[[float], None]
"""Tells a process when the pass has begun."""

Start = Callable[[Job, Diary], AbstractContextManager[Begin]]
"""Starts a process, which lasts as long as the block, and writes down what it tells."""


@dataclass(frozen=True, slots=True)
class FleetPass:
    """What was measured in one pass.

    Attributes:
        shared: whether the processes shared the circuit.
        server: what the server saw.
        diaries: what each process saw.
    """

    shared: bool
    server: ServerReport
    diaries: tuple[Diary, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see of a pass that is under way.

    Attributes:
        origin: the event loop's time at which it began.
    """

    plan: Plan
    shared: bool
    diaries: Sequence[Diary]
    origin: float

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return anyio.current_time() - self.origin


@contextmanager
def started(job: Job, diary: Diary) -> Generator[Begin, None, None]:
    """Start a process for a job."""
    with kept_process("supervisor.commands.demo.fleet.worker", "run") as child:
        assert child.stdout is not None
        tell(child, job.line())
        threading.Thread(target=diary.write, args=(child.stdout,), daemon=True).start()
        yield lambda began: tell(child, str(began))


def jobs_of(plan: Plan, store: str | None, url: str) -> list[Job]:
    """Return what each process is to do: the agents are shared out evenly."""
    space = f"demo/{secrets.token_hex(4)}"
    firsts = [plan.workers * number // plan.fleet for number in range(plan.fleet + 1)]
    return [
        Job(
            backend=LOOPS[number % len(LOOPS)],
            first=firsts[number],
            agents=firsts[number + 1] - firsts[number],
            url=url,
            seconds=plan.seconds,
            recovery_timeout=plan.recovery_timeout(1.0),
            think=plan.think,
            store=store,
            space=space,
        )
        for number in range(plan.fleet)
    ]


async def run_pass(
    plan: Plan,
    store: str | None,
    remote: Remote,
    watch: Callable[[Scene], Coroutine[Any, Any, None]],
    start: Start = started,
) -> FleetPass:
    """Let all processes work for the length of one pass, and return what was measured.

    `watch` runs meanwhile, and is cancelled at the end.

    Args:
        store: the URL of what the circuit is shared through; None: it is not.

    Raises:
        DemoError: a process has ended before its time, or has not reached the store.
        httpx.HTTPError: the server is gone.
    """
    jobs = jobs_of(plan, store, remote.url)
    diaries = [Diary(number, job.backend) for number, job in enumerate(jobs, 1)]
    async with remote.client() as control:
        with ExitStack() as processes:
            beginnings = [
                processes.enter_context(start(job, diary))
                for job, diary in zip(jobs, diaries, strict=True)
            ]
            await _all(diaries, lambda diary: diary.ready is not None)
            if store is not None and not all(each.ready and each.ready.linked for each in diaries):
                raise DemoError("a process has not reached the store in time; try again")
            origin = await begin(control, plan, remote.clock)
            began = remote.clock() - (anyio.current_time() - origin)
            for begin_at in beginnings:
                begin_at(began)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, Scene(plan, store is not None, diaries, origin))
                await _all(diaries, lambda diary: diary.ended)
                tasks.cancel_scope.cancel()
        return FleetPass(store is not None, await report(control), tuple(diaries))


async def _all(diaries: Sequence[Diary], holds: Callable[[Diary], bool]) -> None:
    while not all(map(holds, diaries)):
        broken = [diary.number for diary in diaries if diary.ended and not diary.done]
        if broken:
            raise DemoError(f"process {broken[0]} has ended before its time")
        await anyio.sleep(0.02)
