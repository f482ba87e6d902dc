"""Supervisors whose users are elsewhere: in another task, in another thread, or late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import anyio
import anyio.abc
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from supervisor import (
    CircuitBreaker,
    CircuitCrashedError,
    PolicyConflictError,
    StateChanged,
    Supervisor,
    clear_circuit_breaker_registry,
    reset_all_circuit_breakers,
)
from tests.support.worlds import crash, fail_times, is_refused, settle_down, succeed

pytestmark = pytest.mark.anyio


class TestLateListeners:
    """Hear of what happens from then on, also if the actor has not had a turn since."""

    async def test_a_stream(self) -> None:
        """Of what was before, it hears nothing."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            others = supervisor.circuit("y")
            await others.call(succeed)
            await settle_down()
            async with supervisor.events() as before:
                await fail_times(breaker, 1)
                async with supervisor.events() as after:
                    breaker.reset()
                    told = [await anext(before), await anext(before)]
                    late = await anext(after)
            assert [each.to_state for each in told if isinstance(each, StateChanged)] == [
                "open",
                "closed",
            ]
            assert late == told[1]

    async def test_a_function(self) -> None:
        """Likewise."""
        told: list[StateChanged] = []
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            supervisor.on_change(told.append)
            await settle_down()
            breaker.reset()
        assert [each.to_state for each in told] == ["closed"]


class TestAdopted:
    """Breakers of modules, before anybody has called them."""

    async def test_they_are_there(self) -> None:
        """They are in the figures, and can be forced, as after a call."""
        first, second = CircuitBreaker("x", ramp=3), CircuitBreaker("y")
        async with Supervisor() as supervisor:
            supervisor.adopt(first, second)
            supervisor.adopt(first)
            assert list(supervisor.statistics()) == ["x", "y"]
            assert supervisor["x"].policy.ramp == 3
            first.force_open()
            assert supervisor["x"].state == "forced_open"
            assert await is_refused(first)
            with pytest.raises(PolicyConflictError, match="ramp"):
                supervisor.adopt(CircuitBreaker("x"))

    async def test_what_is_no_breaker(self) -> None:
        """Is refused, and nothing is started."""
        wrong: Any = "y"
        async with Supervisor() as supervisor:
            with pytest.raises(TypeError, match="adopt needs breakers, got 'y'"):
                supervisor.adopt(CircuitBreaker("x"), wrong)
            assert not supervisor


class TestStopped:
    """A breaker by name whose circuit was stopped reads as what its next call begins."""

    @pytest.mark.parametrize("how", ["stop", "clear"])
    async def test_before_its_next_call(self, how: str) -> None:
        """State, figures and text are those of a new circuit."""
        async with Supervisor() as supervisor:
            breaker = CircuitBreaker("x", failure_threshold=1)
            await fail_times(breaker, 1)
            assert breaker.state == "open"
            if how == "stop":
                supervisor.stop("x")
            else:
                clear_circuit_breaker_registry()
            figures = breaker.statistics()
            assert (breaker.state, figures.started, figures.running) == ("closed", 0, False)
            assert repr(breaker) == "<CircuitBreaker 'x' closed>"
            assert await breaker.call(succeed) == "fine"
            assert breaker.statistics().started == 1

    async def test_in_an_outer_block(self) -> None:
        """One whose block was left goes on in the block round that."""
        async with Supervisor():
            breaker = CircuitBreaker("x", failure_threshold=1)
            async with Supervisor():
                await fail_times(breaker, 1)
            assert breaker.state == "closed"
            assert not await is_refused(breaker)


Way = Literal["allow", "refuse"]


class TestTwoTasks:
    """Entered by one task and left by another, as by many fixtures and frameworks."""

    @pytest.mark.parametrize("on_give_up", ["allow", "refuse"])
    @pytest.mark.parametrize("anyio_backend", ["asyncio", "uvloop"], indirect=True)
    async def test_on_asyncio(self, on_give_up: Way) -> None:
        """It works, unless the block would have to be cancelled."""
        supervisor = Supervisor(on_give_up=on_give_up)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.__aenter__)
        breaker = CircuitBreaker("x")
        assert await breaker.call(succeed) == "fine"
        assert "x" in supervisor
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.__aexit__, None, None, None)
        assert not supervisor
        async with Supervisor():
            assert await CircuitBreaker("x").call(succeed) == "fine"

    async def test_one_that_is_to_escalate_later(self) -> None:
        """Nothing can cancel its block on asyncio; but its end raises the crash."""
        supervisor = Supervisor(on_give_up="allow", max_restarts=0)
        with pytest.raises(CircuitCrashedError):
            async with supervisor:
                supervisor.circuit("x")
                await settle_down()
                supervisor.on_give_up = "escalate"
                crash(supervisor, "x")
                await settle_down()


LOOPS: dict[str, Any] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def portal(request: pytest.FixtureRequest) -> Iterator[BlockingPortal]:
    """An event loop in another thread, as test clients of web frameworks have one."""
    with start_blocking_portal(**request.param) as portal:
        yield portal


class TestOtherThreads:
    """What a test sees and does whose application runs in another thread."""

    def test_it_is_told_how_to_read(self, portal: BlockingPortal) -> None:
        """By what works there."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        with portal.wrap_async_context_manager(Supervisor()) as supervisor:
            portal.call(fail_times, breaker, 1)
            for each in (breaker, supervisor["x"]):
                with pytest.raises(RuntimeError, match=r"`breaker\.sync\.ask\(lambda: breaker\.st"):
                    _ = each.state
                assert breaker.sync.ask(lambda: breaker.state) == "open"

    @pytest.mark.parametrize("forget", [reset_all_circuit_breakers, clear_circuit_breaker_registry])
    def test_it_can_begin_anew(self, portal: BlockingPortal, forget: Any) -> None:
        """All circuits of that event loop are reset, or cleared, before it is asked again."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        with portal.wrap_async_context_manager(Supervisor()):
            portal.call(fail_times, breaker, 1)
            assert portal.call(is_refused, breaker)
            forget()
            assert breaker.sync.ask(lambda: breaker.state) == "closed"
            assert not portal.call(is_refused, breaker)

    def test_a_worker_thread(self, portal: BlockingPortal) -> None:
        """Means the event loop that has started it, and no other one."""
        here, there = CircuitBreaker("x", 1), CircuitBreaker("x", 1)

        async def main() -> bool:
            async with Supervisor():
                await fail_times(here, 1)
                await to_thread.run_sync(reset_all_circuit_breakers)
                return here.state == "closed"

        with portal.wrap_async_context_manager(Supervisor()):
            portal.call(fail_times, there, 1)
            with start_blocking_portal() as other:
                assert other.call(main)
            assert there.sync.ask(lambda: there.state) == "open"

    async def test_the_event_loop_itself(self) -> None:
        """Asks no other one."""
        there = CircuitBreaker("x", 1)
        with start_blocking_portal() as other, other.wrap_async_context_manager(Supervisor()):
            other.call(fail_times, there, 1)
            reset_all_circuit_breakers()
            assert await to_thread.run_sync(lambda: other.call(lambda: there.state)) == "open"
