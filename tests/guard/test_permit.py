"""What a permit tells, and a stream that is guarded by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    IncompleteStreamError,
    PermitSettledError,
    Supervisor,
)
from tests.support.worlds import (
    Down,
    collect_garbage,
    crash,
    fail,
    half_open,
    is_refused,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio

each_policy = pytest.mark.parametrize(
    "policy", [{}, {"slow_call_duration": 5}, {"timeout": 50}, {"throttle": 2}], ids=str
)
"""Some know each call that runs by a number, and some need not."""


async def numbers(
    count: int = 2, error: Exception | None = None, every: float = 0
) -> AsyncIterator[int]:
    for number in range(count):
        await anyio.sleep(every)
        yield number
    if error is not None:
        raise error


class TestIsProbe:
    """Whether a half-open circuit waits for its outcome."""

    @each_policy
    async def test_a_call_of_a_closed_circuit(self, policy: dict[str, Any]) -> None:
        """Is none."""
        permit = await CircuitBreaker("x", **policy).acquire()
        assert not permit.is_probe
        permit.succeed()
        assert not permit.is_probe

    @each_policy
    async def test_a_call_of_a_half_open_one(self, policy: dict[str, Any]) -> None:
        """Is one, until it is settled."""
        async with half_open(**policy) as breaker:
            permit = await breaker.acquire()
            assert permit.is_probe
            permit.succeed()
            assert not permit.is_probe
            with await breaker.acquire() as permit:
                assert not permit.is_probe

    async def test_one_of_several(self) -> None:
        """Each that is let through is one; calls of a state set by hand are none."""
        async with half_open(success_threshold=2) as breaker:
            permits = [await breaker.acquire(), await breaker.acquire()]
            assert [permit.is_probe for permit in permits] == [True, True]
            breaker.force_close()
            with await breaker.acquire() as permit:
                assert not permit.is_probe
            for permit in permits:
                permit.ignore()

    @pytest.mark.parametrize("circuit_is", ["slow", "restarted", "stopped"])
    async def test_it_can_always_be_asked(self, circuit_is: str) -> None:
        """Also if the call is slow already, or its circuit has been restarted, or is over."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", slow_call_duration=5)
            permit = await breaker.acquire()
            if circuit_is == "slow":
                await anyio.sleep(6)
            elif circuit_is == "restarted":
                crash(supervisor, "x")
                await settle_down()
                assert breaker.statistics().restarts == 1
            if circuit_is != "stopped":
                assert not permit.is_probe
                permit.succeed()
        if circuit_is == "stopped":
            assert not permit.is_probe
            permit.succeed()


class TestBlock:
    """A permit as a block."""

    @pytest.mark.parametrize("settle", [True, False])
    async def test_that_is_entered_once_more(self, settle: bool) -> None:
        """Counts once, by whatever comes first; calls after it are calls by themselves."""
        breaker = CircuitBreaker("x")
        permit = await breaker.acquire()
        if settle:
            permit.succeed()
        with permit, permit:
            pass
        await breaker.call(succeed)
        figures = breaker.statistics()
        assert (figures.started, figures.succeeded, figures.in_flight) == (2, 2, 0)


class TestStream:
    """`permit.stream(…)`: it settles the permit, by how the stream ends."""

    @each_policy
    async def test_a_stream_that_ends(self, policy: dict[str, Any]) -> None:
        """Is one success; the arguments are passed on, and the permit is settled by then."""
        breaker = CircuitBreaker("x", **policy)
        permit = await breaker.acquire()
        async with permit.stream(numbers, 3, error=None) as items:
            assert permit.settled
            assert [item async for item in items] == [0, 1, 2]
        figures = breaker.statistics()
        assert (figures.started, figures.succeeded, figures.in_flight) == (1, 1, 0)

    @each_policy
    async def test_a_stream_that_fails(self, policy: dict[str, Any]) -> None:
        """Is one failure, and raises its error."""
        breaker = CircuitBreaker("x", 1, **policy)
        permit = await breaker.acquire()
        async with permit.stream(numbers, 1, error=Down("down")) as items:
            assert await anext(items) == 0
            with pytest.raises(Down):
                await anext(items)
        figures = breaker.statistics()
        assert (figures.started, figures.failed, figures.state) == (1, 1, CircuitState.OPEN)

    async def test_a_stream_that_cannot_be_opened(self) -> None:
        """Is one failure."""
        breaker = CircuitBreaker("x", 1)
        permit = await breaker.acquire()
        with pytest.raises(Down):
            await permit.stream(fail).__aenter__()
        assert breaker.statistics().last_failure == "Down: down"

    @pytest.mark.parametrize(("read", "outcome"), [(0, "cancelled"), (1, "succeeded")])
    async def test_a_stream_that_is_left(self, read: int, outcome: str) -> None:
        """Has succeeded if an item has come."""
        breaker = CircuitBreaker("x")
        permit = await breaker.acquire()
        async with permit.stream(numbers, 5) as items:
            for _ in range(read):
                await anext(items)
        figures = breaker.statistics()
        assert (figures.started, getattr(figures, outcome)) == (1, 1)

    async def test_whether_it_is_complete(self) -> None:
        """May be asked of its items."""
        breaker = CircuitBreaker("x", 1)
        permit = await breaker.acquire()
        async with permit.stream(numbers, complete=lambda number: number == 9) as items:
            with pytest.raises(IncompleteStreamError):
                async for _ in items:
                    pass
        assert breaker.state is CircuitState.OPEN

    @pytest.mark.parametrize(
        ("verdict", "state"),
        [("end", CircuitState.HALF_OPEN), ("first_item", CircuitState.CLOSED)],
    )
    async def test_a_probe(self, verdict: Any, state: CircuitState) -> None:
        """Is decided by the first item, or by the end; each item shows that it is alive."""
        async with half_open(probe_timeout=10) as breaker:
            permit = await breaker.acquire()
            async with permit.stream(numbers, 4, every=9, verdict=verdict) as items:
                async for _ in items:
                    assert breaker.state is state
            assert breaker.state is CircuitState.CLOSED
            assert breaker.statistics().stale == 0

    async def test_the_policys_timeout(self) -> None:
        """Limits each wait for an item, as that of other streams."""
        breaker = CircuitBreaker("x", 1, timeout=5)
        permit = await breaker.acquire()
        async with permit.stream(numbers, 9, every=4) as items:
            assert [await anext(items), await anext(items)] == [0, 1]
        permit = await breaker.acquire()
        async with permit.stream(numbers, every=6) as items:
            with pytest.raises(CallTimeoutError):
                await anext(items)
        assert breaker.state is CircuitState.OPEN

    async def test_what_is_slow(self) -> None:
        """Is the time from the admission to the first item."""
        breaker = CircuitBreaker("x", 1, slow_call_duration=5)
        permit = await breaker.acquire()
        await anyio.sleep(3)
        async with permit.stream(numbers, every=3) as items:
            await anyio.sleep(1)
            assert breaker.state is CircuitState.CLOSED
            await anext(items)
            assert breaker.state is CircuitState.OPEN
        assert breaker.statistics().failed == 1

    @pytest.mark.parametrize("settle", ["succeed", "fail", "ignore"])
    async def test_a_permit_that_is_settled(self, settle: str) -> None:
        """Guards no stream: nothing is opened, and nothing counts twice."""
        breaker = CircuitBreaker("x", 9)
        opened: list[int] = []
        permit = await breaker.acquire()
        stream = permit.stream(opened.append, 1)
        getattr(permit, settle)()
        with pytest.raises(PermitSettledError, match="this permit of 'x' is settled already"):
            await stream.__aenter__()
        assert opened == []
        assert breaker.statistics().started == 1

    async def test_a_permit_whose_stream_has_begun(self) -> None:
        """Is not to be settled otherwise, nor to guard another stream."""
        breaker = CircuitBreaker("x")
        permit = await breaker.acquire()
        async with permit.stream(numbers) as items:
            for settle in (permit.succeed, permit.fail, permit.ignore):
                with pytest.raises(PermitSettledError):
                    settle()
            with pytest.raises(PermitSettledError):
                await permit.stream(numbers).__aenter__()
            assert [item async for item in items] == [0, 1]
        figures = breaker.statistics()
        assert (figures.started, figures.succeeded) == (1, 1)

    async def test_a_stream_that_is_never_entered(self) -> None:
        """Leaves the permit as it is: held, and reported if it is dropped."""
        breaker = CircuitBreaker("x")
        permit = await breaker.acquire()
        permit.stream(numbers)
        assert not permit.settled
        permit.ignore()
        stream = (await breaker.acquire()).stream(numbers)
        with pytest.warns(ResourceWarning, match="'x' held> was never settled"):
            del stream
            collect_garbage()

    async def test_a_stream_that_is_never_closed(self) -> None:
        """Is reported as a stream, and not as a permit."""
        breaker = CircuitBreaker("x")
        items = await (await breaker.acquire()).stream(Silent).__aenter__()
        with pytest.warns(
            ResourceWarning, match="a stream by circuit 'x' was never closed"
        ) as all_:
            del items
            collect_garbage()
        assert len(all_) == 1
        assert breaker.statistics().cancelled == 1

    @each_policy
    async def test_within_a_block(self, policy: dict[str, Any]) -> None:
        """The stream takes over: what the reader does then is not inside it, nor is it counted."""
        breaker = CircuitBreaker("x", 9, **policy)
        with pytest.raises(Down):
            with await breaker.acquire() as permit:
                async with permit.stream(numbers) as items:
                    async for _ in items:
                        await breaker.call(succeed)
                raise Down("the reader's own")
        figures = breaker.statistics()
        assert (figures.started, figures.succeeded, figures.failed) == (3, 3, 0)

    async def test_after_a_block(self) -> None:
        """The block has settled the permit."""
        breaker = CircuitBreaker("x")
        with await breaker.acquire() as permit:
            pass
        with pytest.raises(PermitSettledError):
            await permit.stream(numbers).__aenter__()

    async def test_in_another_thread(self) -> None:
        """It does not begin, and the permit is held as before."""
        breaker = CircuitBreaker("x")
        permit = await breaker.acquire()

        def use() -> None:
            with pytest.raises(RuntimeError, match="belongs to the event loop of another thread"):
                permit.stream(numbers).__aenter__().send(None)

        await anyio.to_thread.run_sync(use)
        assert not permit.settled
        async with permit.stream(numbers) as items:
            assert [item async for item in items] == [0, 1]
        assert breaker.statistics().succeeded == 1

    async def test_its_reader_is_cancelled(self) -> None:
        """A probe that says nothing hands its place on."""
        async with half_open() as breaker:
            permit = await breaker.acquire()
            with anyio.move_on_after(1):
                async with permit.stream(numbers, every=5) as items:
                    await anext(items)
            assert breaker.statistics().cancelled == 1
            assert not await is_refused(breaker)

    async def test_the_circuit_has_been_stopped(self) -> None:
        """The stream is read as any, and counts in its figures."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            permit = await breaker.acquire()
        async with permit.stream(numbers) as items:
            assert [item async for item in items] == [0, 1]
        assert breaker.statistics().succeeded == 1


class Silent:
    """A stream that cannot be closed, and whose items are not asked for."""

    def __aiter__(self) -> Silent:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration


async def test_what_is_waited_for_is_looked_at_without_a_wait() -> None:
    """A permit is given at once all the same, or nothing is."""
    breaker = CircuitBreaker("x", 1)
    (await breaker.acquire(wait_for="verdict")).fail()
    with pytest.raises(CircuitBreakerOpenError):
        await breaker.acquire(wait_for="verdict")
