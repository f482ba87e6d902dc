"""A loop that is closed without a word is freed, whoever keeps a breaker that was used there."""

from __future__ import annotations

import asyncio
import gc
import selectors
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from supervisor import CircuitBreaker, Supervisor
from supervisor.loop import closing
from supervisor.supervision import current_supervisor
from tests.loop.test_event_loop import LOOPS, NewLoop, begin_on_another_loop
from tests.support.worlds import collect_garbage, fail_times, succeed

pytestmark = pytest.mark.usefixtures("known_settings")


def close_one(new_loop: NewLoop, breaker: CircuitBreaker) -> weakref.ref[Any]:
    """Use a breaker on a loop that is closed, and return that loop."""
    loop = new_loop()
    loop.run_until_complete(breaker.call(succeed))
    loop.close()
    return weakref.ref(loop)


@LOOPS
def test_a_loop_is_forgotten_in_the_moment_in_which_it_is_closed(new_loop: NewLoop) -> None:
    """So it is freed with all that waits there, and no other loop has to begin."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    loop = new_loop()
    loop.run_until_complete(fail_times(breaker, 1))
    supervisor = loop.run_until_complete(in_loop(current_supervisor))
    assert not supervisor.ended
    assert breaker.state == "open"
    loop.close()
    assert supervisor.ended
    assert breaker.statistics().last_failure is not None
    known = weakref.ref(loop)
    del loop, supervisor
    collect_garbage()
    assert known() is None


@LOOPS
def test_a_loop_is_closed_in_another_thread(new_loop: NewLoop) -> None:
    """As a server does whose own thread has ended."""
    breaker = CircuitBreaker("x")
    loops: list[weakref.ref[Any]] = []
    thread = threading.Thread(target=lambda: loops.append(close_one(new_loop, breaker)))
    thread.start()
    thread.join()
    collect_garbage()
    assert loops[0]() is None
    other = new_loop()
    other.run_until_complete(breaker.call(succeed))
    closer = threading.Thread(target=other.close)
    closer.start()
    closer.join()
    assert not breaker.statistics().running


@LOOPS
def test_nothing_is_said_of_tasks_that_were_pending(
    new_loop: NewLoop, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither when they are freed, nor of what is found out then."""
    breaker = CircuitBreaker("x")
    loop = close_one(new_loop, breaker)
    collect_garbage()
    assert loop() is None
    assert breaker.statistics().succeeded == 1
    assert "Task was destroyed" not in caplog.text + capfd.readouterr().err


def test_a_loop_whose_selector_others_have_is_freed_once_circuits_run_on_another_one() -> None:
    """Nobody is told when it is closed; the next one finds it."""
    selector = selectors.DefaultSelector()
    breaker = CircuitBreaker("x")
    loop = close_one(lambda: asyncio.SelectorEventLoop(selector), breaker)
    collect_garbage()
    assert loop() is not None
    begin_on_another_loop()
    assert loop() is None


def test_a_loop_that_is_given_another_selector_goes_on() -> None:
    """Tools that let time pass as they like do that."""
    breaker = CircuitBreaker("x")
    loop: Any = asyncio.SelectorEventLoop(selectors.PollSelector())

    async def replace() -> None:
        await breaker.call(succeed)
        old, loop._selector = loop._selector, selectors.SelectSelector()
        for key in old.get_map().values():
            loop._selector.register(key.fileobj, key.events, key.data)
        old.close()

    loop.run_until_complete(replace())
    assert breaker.statistics().running
    loop.run_until_complete(breaker.call(succeed))
    assert breaker.statistics().succeeded == 2
    loop.close()
    begin_on_another_loop()
    assert not breaker.statistics().running


def test_a_clock_of_a_subclass_sees_no_timer_of_ours() -> None:
    """One that jumps to the next timer would jump there."""
    asked: list[float] = []

    class Jumping(uvloop.Loop):
        def call_later(self, delay: float, *args: Any, **kwargs: Any) -> Any:
            asked.append(delay)
            return super().call_later(delay, *args, **kwargs)

        def call_at(self, when: float, *args: Any, **kwargs: Any) -> Any:
            asked.append(when - self.time())
            return super().call_at(when, *args, **kwargs)

    loop = close_one(Jumping, CircuitBreaker("x"))
    collect_garbage()
    assert loop() is None
    assert asked == []


def test_one_timer_of_uvloop_serves_all_supervisors_of_the_loop() -> None:
    """Or a loop that has many, one after the other, would have as many timers."""

    async def enter() -> object:
        async with Supervisor() as supervisor:
            await supervisor.circuit("x").call(succeed)
            return closing._dropped_by(asyncio.get_running_loop())

    loop = uvloop.new_event_loop()
    weights = {loop.run_until_complete(enter()) for _ in range(3)}
    assert len(weights) == 1
    known = weakref.ref(weights.pop())
    loop.close()
    gc.collect()
    assert known() is None


async def in_loop(read: Callable[[], Any]) -> Any:
    """Return what is read on the event loop."""
    return read()
