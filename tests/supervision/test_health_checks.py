"""Health checks: they probe a half-open circuit by a task of their own, so that nobody has to."""

from __future__ import annotations

import logging
from typing import Any, Literal

import anyio
import pytest
import sniffio

from supervisor import CircuitBreaker, Supervisor, current_supervisor
from supervisor.instrumentation import use_logging
from tests.support.logs import handled_by
from tests.support.worlds import Down, crash, fail_times, settle_down, succeed

pytestmark = pytest.mark.anyio


class Server:
    """What a health check asks: it says when it was, and is as it is told to be."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.is_up = True

    async def check(self) -> None:
        self.asked.append(round(anyio.current_time(), 6))
        if not self.is_up:
            raise Down("still down")

    async def slow_check(self) -> None:
        await self.check()
        await anyio.sleep(1)


async def opened(supervisor: Supervisor, **policy: Any) -> CircuitBreaker:
    breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10, **policy)
    await fail_times(breaker, 1)
    return breaker


@pytest.mark.parametrize("needed", [1, 3])
async def test_it_closes_the_circuit_without_a_call(needed: int) -> None:
    """As soon as it is half-open, by as many checks as successes are needed."""
    server = Server()
    async with Supervisor() as supervisor:
        supervisor.probe_with(server.check, "x")
        breaker = await opened(supervisor, success_threshold=needed)
        await anyio.sleep(9.5)
        assert (server.asked, breaker.state) == ([], "open")
        await anyio.sleep(1)
        assert (server.asked, breaker.state) == ([10.0] * needed, "closed")
        figures = breaker.statistics()
        assert (figures.succeeded, figures.failed, figures.in_flight) == (needed, 1, 0)


@pytest.mark.parametrize("policy", [{}, {"ignore": Down}, {"failure_on": KeyError}])
async def test_what_it_raises_is_a_failure(policy: dict[str, Any]) -> None:
    """Whatever counts as one of calls; it is asked again after each recovery timeout."""
    server = Server()
    server.is_up = False
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10, **policy)
        supervisor.probe_with(server.check, "x")
        (await breaker.acquire()).fail()
        await anyio.sleep(25)
        assert (server.asked, breaker.state) == ([10.0, 20.0], "open")
        assert breaker.statistics().last_failure == "Down: still down"
        server.is_up = True
        await anyio.sleep(6)
        assert (server.asked, breaker.state) == ([10.0, 20.0, 30.0], "closed")


async def test_what_it_waits_for_is_cancelled() -> None:
    """That is a failure, too, where it can be told from the end of the check's own task."""
    asked: list[float] = []

    async def check() -> None:
        asked.append(round(anyio.current_time(), 6))
        raise anyio.get_cancelled_exc_class()

    if sniffio.current_async_library() == "trio":
        pytest.skip("what a task waits for is never cancelled in its place")
    async with Supervisor() as supervisor:
        supervisor.probe_with(check, "x")
        breaker = await opened(supervisor)
        await anyio.sleep(25)
        assert (asked, breaker.state) == ([10.0, 20.0], "open")


async def test_what_it_returns_says_nothing() -> None:
    """Not even False."""

    async def check() -> bool:
        return False

    async with Supervisor() as supervisor:
        supervisor.probe_with(check, "x")
        breaker = await opened(supervisor)
        await anyio.sleep(11)
        assert breaker.state == "closed"


async def test_one_that_hangs() -> None:
    """It is cancelled when its time as a probe is over, and the circuit is open again."""
    ended: list[float] = []

    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(round(anyio.current_time(), 6))

    async with Supervisor() as supervisor:
        supervisor.probe_with(hang, "x")
        breaker = await opened(supervisor, probe_timeout=3)
        await anyio.sleep(14)
        assert ended == [13.0]
        assert breaker.state == "open"
        assert breaker.retry_after == pytest.approx(9.0)


async def test_callers_may_be_first() -> None:
    """The check waits for a place as they do, and ends if their verdict has come."""
    server = Server()
    async with Supervisor() as supervisor:
        breaker = await opened(supervisor, success_threshold=2, probes=1)
        await anyio.sleep(10)
        permit = await breaker.acquire()
        supervisor.probe_with(server.check, "x")
        permit.fail()
        await anyio.sleep(9)
        first = await breaker.acquire(wait=5)
        await anyio.sleep(1)
        assert server.asked == []
        first.succeed()
        await settle_down()
        assert (len(server.asked), breaker.state) == (1, "closed")


async def test_callers_whose_probe_fails() -> None:
    """Then there is nothing left to be checked."""
    server = Server()
    async with Supervisor() as supervisor:
        breaker = await opened(supervisor)
        permit = await breaker.acquire(wait=60)
        supervisor.probe_with(server.check, "x")
        permit.fail()
        await settle_down()
        assert (server.asked, breaker.state) == ([], "open")


async def test_callers_whose_probe_succeeds() -> None:
    """Nor then: a check of a closed circuit could open it, while calls succeed."""
    server = Server()
    async with Supervisor() as supervisor:
        breaker = await opened(supervisor)
        supervisor.probe_with(server.check, "x")
        breaker.half_open()
        permit = await breaker.acquire()
        await settle_down()
        permit.succeed()
        await settle_down()
        assert (server.asked, breaker.state) == ([], "closed")
        figures = breaker.statistics()
        assert (figures.ignored, figures.in_flight) == (1, 0)


@pytest.mark.parametrize("on_give_up", ["allow", "refuse"])
async def test_a_circuit_that_is_given_up_meanwhile(on_give_up: Literal["allow", "refuse"]) -> None:
    """Without its actor there is no verdict to come, so nothing is asked for ever."""
    server = Server()
    async with Supervisor(max_restarts=0, on_give_up=on_give_up) as supervisor:
        supervisor.probe_with(server.slow_check, "x")
        await opened(supervisor, success_threshold=2)
        await anyio.sleep(10.5)
        crash(supervisor, "x")
        await settle_down()
        await anyio.sleep(60)
        assert server.asked == [10.0]


async def test_an_actor_that_pauses_meanwhile() -> None:
    """The check waits for the end of the pause, however long that is, and lets others run."""
    server = Server()
    async with Supervisor(restart_pause=50) as supervisor:
        supervisor.probe_with(server.slow_check, "x")
        breaker = await opened(supervisor, success_threshold=2, probe_timeout=5)
        await anyio.sleep(10.5)
        crash(supervisor, "x")
        await settle_down()
        await anyio.sleep(40)
        assert (server.asked, breaker.state) == ([10.0], "half_open")
        await anyio.sleep(20)
        assert (server.asked, breaker.state) == ([10.0, 60.5], "closed")


async def test_it_ends_by_its_handle() -> None:
    """Then callers probe, as ever."""
    server = Server()
    async with Supervisor() as supervisor:
        checks = supervisor.probe_with(server.check, "x")
        breaker = await opened(supervisor)
        checks.end()
        await anyio.sleep(20)
        assert (server.asked, breaker.state) == ([], "half_open")
        assert await breaker.call(succeed) == "fine"


async def test_only_measuring_checks_nothing() -> None:
    """A circuit that refuses nobody needs no probe."""
    server = Server()
    async with Supervisor() as supervisor:
        supervisor.probe_with(server.check, "x")
        breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10)
        breaker.only_measure()
        await fail_times(breaker, 1)
        await anyio.sleep(20)
        assert (server.asked, breaker.statistics().would_be) == ([], "half_open")


async def test_the_end_waits_for_no_check() -> None:
    """Nor is a line logged for the one that was cut short; nor if its circuit has gone."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                lines.append(record.getMessage())

    async def hang() -> None:
        await anyio.sleep_forever()

    use_logging()
    with handled_by(Lines()):
        async with Supervisor() as supervisor:
            supervisor.probe_with(hang, "x")
            await opened(supervisor)
            await anyio.sleep(11)
            lines.clear()
            before = anyio.current_time()
        assert anyio.current_time() == before
    assert lines == []


async def test_a_circuit_that_is_stopped_meanwhile() -> None:
    """The check ends, and goes on with the next circuit of that name."""
    server = Server()
    async with Supervisor() as supervisor:
        breaker = await opened(supervisor)
        await anyio.sleep(10)
        permit = await breaker.acquire()
        supervisor.probe_with(server.check, "x")
        permit.fail()
        breaker.half_open()
        held = await breaker.acquire()
        await settle_down()
        supervisor.stop("x")
        held.ignore()
        await settle_down()
        assert server.asked == []
        await opened(supervisor)
        await anyio.sleep(10.5)
        assert (len(server.asked), supervisor["x"].state) == (1, "closed")


async def test_circuits_of_the_default_supervisor() -> None:
    """Of whoever has made none."""
    server = Server()
    current_supervisor().probe_with(server.check, "x")
    breaker = CircuitBreaker("x", 1, 10)
    await fail_times(breaker, 1)
    await anyio.sleep(10.5)
    assert (len(server.asked), breaker.state) == (1, "closed")


async def test_what_cannot_be() -> None:
    """It is told at once."""
    server = Server()
    async with Supervisor() as supervisor:
        with pytest.raises(TypeError, match=r"needs an async function .* `await anyio.to_thread"):
            supervisor.probe_with(len, "x")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="name"):
            supervisor.probe_with(server.check, "")
    with pytest.raises(RuntimeError, match="the supervisor has ended"):
        supervisor.probe_with(server.check, "x")
