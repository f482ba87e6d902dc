"""Loops that are asyncio's but odd: no abstract class, few methods, no infinity, broken ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, CircuitBreakerOpenError, CircuitState, Policy, Supervisor
from supervisor.circuit.askers import Asker
from supervisor.circuit.record import Circuit
from supervisor.circuit.turn import answer_asker
from supervisor.loop import LONGEST_TIMER, EventLoop, has_closed, post
from supervisor.machine import Grant
from tests.support.odd_loops import PlainLoop, WorkflowLoop
from tests.support.worlds import fail, fail_times, is_refused, succeed

every_loop = pytest.mark.parametrize("new_loop", [PlainLoop, WorkflowLoop])

NewLoop = Callable[[], PlainLoop]


async def see_it_recover(breaker: CircuitBreaker) -> None:
    assert await breaker.call(succeed) == "fine"
    await fail_times(breaker, 1)
    assert breaker.state is CircuitState.OPEN
    assert await is_refused(breaker)
    assert await breaker.waiting(1.0).call(succeed) == "fine"
    async with breaker:
        await asyncio.sleep(0)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.statistics().in_flight == 0


# Few methods


@every_loop
def test_circuits_on_a_loop_of_few_methods(new_loop: NewLoop) -> None:
    """They start, open, recover and stop, without and with a supervisor, on one after another."""
    alone = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.02, timeout=1.0)

    @CircuitBreaker("named", timeout=0.02)
    async def too_long() -> None:
        await asyncio.sleep(2)

    async def main() -> None:
        await see_it_recover(alone)
        with pytest.raises(TimeoutError):
            await too_long()
        async with Supervisor(idle_timeout=0.05) as supervisor:
            breaker = supervisor.circuit("x", alone.policy)
            await see_it_recover(breaker)
            await asyncio.sleep(0.1)
            assert list(supervisor) == []
            await see_it_recover(breaker)

    for _ in range(2):
        loop = new_loop()
        loop.run(main())
        assert loop.unhandled == []


@every_loop
def test_what_a_loop_does_not_say(new_loop: NewLoop) -> None:
    """It is taken to be open, and to run as the case may be; a closed one is not made up."""
    loop: Any = new_loop()

    async def main() -> None:
        here = EventLoop.here()
        assert (here.runs_here(), here.is_running(), has_closed(loop)) == (True, True, False)

    loop.run(main())


@every_loop
def test_a_loop_that_takes_nothing_from_threads(new_loop: NewLoop) -> None:
    """A thread is told so, and does not wait for it."""
    loop: Any = new_loop()
    with pytest.raises(NotImplementedError, match="takes nothing from other threads"):
        post(loop, print)


# No infinity


@every_loop
def test_no_time_is_endless(new_loop: NewLoop) -> None:
    """What is longer than a life is long on a loop that takes infinity for no time at all."""
    policy: dict[str, Any] = {"failure_threshold": 1, "timeout": 1e300, "recovery_timeout": 1e300}
    breaker = CircuitBreaker("x", **policy)

    async def main() -> None:
        async def last() -> str:
            await asyncio.sleep(0.02)
            return "fine"

        async with Supervisor(idle_timeout=1e300) as supervisor:
            for each in (breaker, supervisor.circuit("y", breaker.policy)):
                assert await each.call(last) == "fine"
                await fail_times(each, 1)
            used = time.process_time()
            await asyncio.sleep(0.1)
            assert time.process_time() - used < 0.08  # or somebody spins
            assert len(supervisor) == 2
            assert await is_refused(breaker)

    new_loop().run(main())


@every_loop
def test_an_alarm_is_never_too_early_or_too_late(new_loop: NewLoop) -> None:
    """One for a time that has passed rings at once, and one for never does not ring."""

    async def main() -> None:
        here = EventLoop.here()
        for at, rings in [(here.clock.time() - 5, True), (float("inf"), False), (1e300, False)]:
            bell = here.new_bell()
            with here.alarm(at, bell):
                with anyio.move_on_after(0.02) as patience:
                    await bell.wait()
            assert patience.cancelled_caught is not rings
        assert LONGEST_TIMER < 3e9

    new_loop().run(main())


# Broken ones

ONCE, OFTEN, ALWAYS = 1, 3, 10**9  # times

broken = pytest.mark.parametrize("method", ["time", "call_at", "create_future"])
how_often = pytest.mark.parametrize("times", [ONCE, OFTEN, ALWAYS])


async def use(loop: PlainLoop, breaker: CircuitBreaker, method: str, times: int) -> list[str]:
    """Let several callers use a circuit while `method` is out of order, and say how they ended."""
    ended: list[str] = []

    async def call_it(func: Any) -> None:
        for _ in range(5):
            try:
                await breaker.call(func)
            except Exception as error:
                ended.append(type(error).__name__)
            else:
                ended.append("fine")
            await asyncio.sleep(0)

    callers = [asyncio.ensure_future(call_it(func)) for func in (succeed, fail, succeed)]
    await asyncio.sleep(0)  # they ask
    loop.failures[method] = repeat(True, times)
    while not all(caller.done() for caller in callers):  # noqa: ASYNC110  (nothing else works)
        await asyncio.sleep(0)
    loop.failures.clear()
    return ended


@every_loop
@broken
@how_often
def test_everybody_is_answered_by_a_broken_loop(new_loop: NewLoop, method: str, times: int) -> None:
    """Each call ends, whatever the loop refuses; and circuits work when it is mended."""
    loop = new_loop()
    breaker = CircuitBreaker("x", failure_threshold=2, recovery_timeout=0.02)

    async def main() -> None:
        ended = await use(loop, breaker, method, times)
        assert len(ended) == 15
        assert "fine" in ended or times == ALWAYS
        await asyncio.sleep(0.05)
        await ends(breaker.call(succeed))

    loop.run(main())


@every_loop
@broken
@how_often
@pytest.mark.parametrize("then", ["allow", "refuse", "escalate"])
def test_a_supervisor_on_a_broken_loop_ends(
    new_loop: NewLoop, method: str, times: int, then: Any
) -> None:
    """It restarts actors, gives them up at last, answers everybody, and its block can be left."""
    loop = new_loop()

    async def main() -> None:
        try:
            async with Supervisor(on_give_up=then, max_restarts=1) as supervisor:
                breaker = supervisor.circuit("x", failure_threshold=2, recovery_timeout=0.02)
                ended = await use(loop, breaker, method, times)
                assert len(ended) == 15
        except Exception as error:
            assert then == "escalate", error

    loop.run(main())


async def ends(work: Any) -> None:
    """See it end, in whatever way."""
    with anyio.fail_after(1), suppress(CircuitBreakerOpenError):
        await work


@every_loop
def test_a_task_that_cannot_be_started(new_loop: NewLoop) -> None:
    """Who has asked for it is told, and the next one gets it."""
    loop = new_loop()
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.02)

    async def main() -> None:
        loop.failures["call_soon"] = repeat(True, 1)
        with pytest.raises(OSError, match="call_soon is out of order"):
            await breaker.call(succeed)
        await see_it_recover(breaker)
        async with Supervisor(idle_timeout=0.05) as supervisor:
            loop.failures["call_soon"] = iter([False, True])  # that which looks for idle ones
            with pytest.raises(OSError, match="call_soon is out of order"):
                supervisor.circuit("y")
            supervisor.circuit("z")
            await asyncio.sleep(0.2)
            assert list(supervisor) == []

    loop.run(main())


def test_an_answer_whose_ring_was_cut_short() -> None:
    """It is given again, and stays the same; whoever waits for it is forgotten only then."""

    class Bell:
        rings = 0

        def ring(self) -> None:
            self.rings += 1
            if self.rings == 1:
                raise OSError("out of order")

    circuit, asker, bell = Circuit("x", Policy()), Asker(), Bell()
    circuit.askers = {1: asker}
    asker.answered = bell  # type: ignore[assignment]
    first, second = Grant(0, Policy()), Grant(1, Policy())
    with pytest.raises(OSError, match="out of order"):
        answer_asker(circuit, 1, first)
    answer_asker(circuit, 1, second)
    answer_asker(circuit, 1, second)
    assert (asker.answer, bell.rings, len(circuit.askers)) == (first, 2, 0)
