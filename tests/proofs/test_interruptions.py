"""Whatever comes in the middle of the package's work, at whatever instruction, all is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import pytest

from supervisor import Supervisor
from supervisor.testing import Backend, loop_factory, run_in_virtual_time
from tests.proofs.interrupted_stories import (
    POLICIES,
    Life,
    closed,
    half_open,
    opened,
    streamed,
    streamed_probes,
)
from tests.proofs.interruptions import Interruption
from tests.support.worlds import BACKENDS, succeed

Story = Callable[[Life], Awaitable[Callable[[], Awaitable[None]]]]

ENDS: Final = ("failed", "ignored", "cancelled", "succeeded")
STEP: Final = 96
NEVER: Final = -1
OF_PROBES: Final = ("in a row", "last calls", "slow calls", "throttle", "timeout")
AFTER_PROBES: Final = {"failed": "open", "succeeded": "closed"}


async def live(story: Story, policy: dict[str, Any], ends: str, at: int) -> Interruption:
    """Let a call end at one place of a story, and look at what has come of all."""
    async with Supervisor() as supervisor:
        life = Life(supervisor, policy, ends)
        go_on = await story(life)
        interruption = Interruption("call", at, life.end_one)
        with interruption.here():
            await go_on()
        life.end_one()
        try:
            await finish(story, life, ends)
        except AssertionError as error:
            error.add_note(f"{ends} at place {at}, {interruption.where}")
            raise
    return interruption


async def finish(story: Story, life: Life, ends: str) -> None:
    if story in (closed, streamed):
        life.check("closed")
        await life.open()
    elif story is opened:
        life.check("closed")
        assert life.breaker.statistics().stale == 1
    else:
        life.check(AFTER_PROBES.get(ends, "half_open"))
        if ends not in AFTER_PROBES:
            await life.call(succeed)
            life.check("closed")


def everywhere(backend: Backend, story: Story, policy: dict[str, Any], effort: int) -> int:
    """Let a call end at places of a story, one each time, and return how many there were: every
    `STEP`th, or all with as many times the effort.
    """
    ends = [
        each
        for each in ENDS
        if not (each == "succeeded" and len(policy) == 1)  # what it would forget is not certain
        and not (each == "cancelled" and "timeout" in policy)  # a scope is left by its own task
    ]
    place, places, tried = 0, 1, 0
    while place < places:
        seen = run_in_virtual_time(
            live, story, policy, ends[tried % len(ends)], place, backend=backend
        )
        place, places, tried = place + max(1, STEP // effort), seen.places, tried + 1
    return tried


@pytest.mark.parametrize("policy", POLICIES)
def test_a_call_ends_in_the_middle_of_a_closed_circuits_work(
    policy: str, effort: int, figures: Counter[str]
) -> None:
    """Each is counted once; the circuit opens at the very failure that is the last one allowed."""
    figures["places where a call ended"] += everywhere("asyncio", closed, POLICIES[policy], effort)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_call_ends_in_the_middle_of_a_stream(
    policy: str, effort: int, figures: Counter[str]
) -> None:
    """Of a closed circuit: each of both is counted once."""
    figures["places where a call ended"] += everywhere(
        "asyncio", streamed, POLICIES[policy], effort
    )


@pytest.mark.parametrize("story", [half_open, opened, streamed_probes])
@pytest.mark.parametrize("policy", OF_PROBES)
def test_a_call_ends_in_the_middle_of_a_recovery(
    policy: str, story: Story, effort: int, figures: Counter[str]
) -> None:
    """A probe's place is given back, its verdict stands, and a stale outcome changes nothing."""
    limits = {"failure_threshold": 1, "success_threshold": 1 if story is opened else 3}
    figures["places where a call ended"] += everywhere(
        "asyncio", story, {**POLICIES[policy], **limits}, effort
    )


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_call_ends_in_the_middle_of_work_on_other_event_loops(
    backend: Backend, effort: int, figures: Counter[str]
) -> None:
    """A wake-up is interrupted as well."""
    figures["places where a call ended"] += everywhere(
        backend, closed, POLICIES["in a row"], effort
    )


async def survive(story: Story, policy: dict[str, Any], at: int) -> Interruption:
    """Interrupt a story at one place, and look whether all that is left of it goes on."""
    async with Supervisor() as supervisor:
        life = Life(supervisor, policy, "ignored")
        go_on = await story(life)
        interruption = Interruption("interrupt", at, _interrupt)
        with suppress(KeyboardInterrupt), interruption.here():
            try:
                await go_on()
            except* KeyboardInterrupt:  # in a task of its own
                pass
        try:
            await life.outlive()
        except Exception as error:
            error.add_note(f"interrupted at place {at}, {interruption.where}")
            raise
    return interruption


def _interrupt() -> None:
    raise KeyboardInterrupt


def run_on(backend: Backend, *args: Any) -> Interruption:
    """Run `survive` to its end, again after each interrupt that ends the event loop."""
    if backend == "trio":
        return run_in_virtual_time(survive, *args, backend=backend)
    with asyncio.Runner(loop_factory=loop_factory(backend)) as runner:
        loop = runner.get_loop()
        task = loop.create_task(survive(*args))
        while True:
            try:
                return loop.run_until_complete(task)
            except KeyboardInterrupt:
                assert not task.done()


@pytest.mark.filterwarnings("ignore:.* was never awaited:RuntimeWarning")  # what it comes before
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("story", [closed, half_open, opened, streamed, streamed_probes])
@pytest.mark.parametrize("policy", ["in a row", "slow calls", "timeout"])
def test_an_interrupt_in_the_middle_of_a_circuits_work(
    backend: Backend, policy: str, story: Story, effort: int, figures: Counter[str]
) -> None:
    """Nobody waits for ever, no call stays in flight, what is counted adds up, the actor lives."""
    limits = {"failure_threshold": 1, "success_threshold": 1 if story is opened else 3}
    whole = POLICIES[policy] if story in (closed, streamed) else {**POLICIES[policy], **limits}
    for place in range(0, run_on(backend, story, whole, NEVER).places, max(1, STEP // effort)):
        run_on(backend, story, whole, place)
        figures["places where an interrupt came"] += 1
