"""`breaker.sync`, for plain functions in worker threads; and which event loop a thread finds."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import to_thread

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    PolicyConflictError,
    Supervisor,
)
from supervisor.testing import Backend, run_in_virtual_time
from tests.support.worlds import BACKENDS, Down

pytestmark = pytest.mark.anyio


def double(number: int, *, plus: int = 0) -> int:
    """Say twice the number."""
    return 2 * number + plus


def fail() -> None:
    raise Down("down")


class TestDecorator:
    """`@breaker.sync`."""

    async def test_it_is_guarded(self) -> None:
        """Like any call; what it takes and returns stays."""
        breaker = CircuitBreaker("x", failure_threshold=2)
        guarded = breaker.sync(double)
        assert await to_thread.run_sync(lambda: guarded(2, plus=1)) == 5
        assert (guarded.__name__, guarded.__doc__) == ("double", "Say twice the number.")
        assert inspect.signature(guarded) == inspect.signature(double)
        failing = breaker.sync(fail)
        for _ in range(2):
            with pytest.raises(Down):
                await to_thread.run_sync(failing)
        with pytest.raises(CircuitBreakerOpenError):
            await to_thread.run_sync(failing)
        figures = breaker.statistics()
        assert (figures.succeeded, figures.failed, figures.rejected) == (1, 2, 1)

    async def test_a_method(self) -> None:
        """Gets its object."""

        class Index:
            breaker = CircuitBreaker("x")
            word = "tea"

            @breaker.sync
            def look_up(self) -> str:
                return self.word

        assert await to_thread.run_sync(Index().look_up) == "tea"

    async def test_a_call(self) -> None:
        """Without decorating."""
        breaker = CircuitBreaker("x")
        assert await to_thread.run_sync(lambda: breaker.sync.call(double, 2, plus=1)) == 5
        assert repr(breaker.sync) == "<CircuitBreaker 'x' closed>.sync"

    @pytest.mark.parametrize("what", [1, int, anyio.sleep])
    def test_what_is_no_plain_function(self, what: Any) -> None:
        """Is told while it is decorated."""
        with pytest.raises(TypeError, match=r"CircuitBreaker\.sync needs a plain function, got"):
            CircuitBreaker("x").sync(what)

    async def test_on_the_event_loop(self) -> None:
        """It would block it."""
        with pytest.raises(RuntimeError, match="would block the event loop"):
            CircuitBreaker("x").sync(double)(1)


class TestRetries:
    """`breaker.sync.retry` and `breaker.sync.spend_retry`."""

    async def test_without_a_budget(self) -> None:
        """They are calls like others."""
        breaker = CircuitBreaker("x")
        assert await to_thread.run_sync(lambda: breaker.sync.retry(double, 2, plus=1)) == 5
        await to_thread.run_sync(breaker.sync.spend_retry)
        assert breaker.statistics().succeeded == 1

    async def test_a_budget_that_is_spent(self) -> None:
        """Refuses both; calls are admitted all the same."""
        breaker = CircuitBreaker("x", 100, retry_budget=0.1, retry_budget_minimum=2)
        assert await to_thread.run_sync(lambda: breaker.sync.retry(double, 2)) == 4
        await to_thread.run_sync(breaker.sync.spend_retry)
        for spends in (breaker.sync.spend_retry, lambda: breaker.sync.retry(double, 2)):
            with pytest.raises(CircuitBreakerOpenError) as refused:
                await to_thread.run_sync(spends)
            assert refused.value.reason == "retry_budget"
        assert await to_thread.run_sync(lambda: breaker.sync.call(double, 2)) == 4
        figures = breaker.statistics()
        assert (figures.succeeded, figures.rejected, figures.in_flight) == (2, 1, 0)

    async def test_a_circuit_that_cannot_be_joined(self) -> None:
        """Is told to who asks, as for calls."""
        async with Supervisor() as supervisor:
            supervisor.circuit("x", failure_threshold=5)
            breaker = CircuitBreaker("x", 6)
            with pytest.raises(PolicyConflictError):
                await to_thread.run_sync(breaker.sync.spend_retry)
            with pytest.raises(PolicyConflictError):
                await to_thread.run_sync(lambda: breaker.sync.retry(double, 2))


class TestAsking:
    """`breaker.sync.ask`."""

    async def test_what_the_event_loop_knows(self) -> None:
        """Is returned, or raised, in the thread."""
        breaker = CircuitBreaker("x")
        await breaker.call(anyio.sleep, 0)
        assert (await to_thread.run_sync(breaker.sync.ask, breaker.statistics)).succeeded == 1
        with pytest.raises(Down):
            await to_thread.run_sync(breaker.sync.ask, fail)
        with pytest.raises(RuntimeError, match="would block the event loop"):
            breaker.sync.ask(fail)


def in_a_thread(work: Callable[[], object]) -> object:
    """Return what it returns or raises in a thread that knows no event loop."""
    said: list[object] = []

    def run() -> None:
        try:
            said.append(work())
        except Exception as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return said[0]


class TestWhichLoop:
    """A thread that no event loop has started, and a breaker that has not been used yet."""

    async def test_the_only_one_with_a_supervisor(self) -> None:
        """Is joined."""
        breaker = CircuitBreaker("x")
        async with Supervisor() as supervisor:
            assert await to_thread.run_sync(in_a_thread, lambda: breaker.sync.call(double, 2)) == 4
            assert supervisor.statistics()["x"].succeeded == 1

    async def test_none(self) -> None:
        """Is an error that says what to do."""
        breaker = CircuitBreaker("x")
        error = await to_thread.run_sync(in_a_thread, lambda: breaker.sync.call(double, 2))
        assert str(error) == (
            "circuit 'x' is on no running event loop that this thread could ask, and none has a"
            " supervisor; start the thread by anyio.to_thread.run_sync, or use the circuit on its"
            " event loop first"
        )

    @pytest.mark.parametrize("other", BACKENDS)
    async def test_several(self, other: Backend) -> None:
        """Likewise: nobody knows which one is meant. When one of them is over, the other is."""
        breaker = CircuitBreaker("x")
        entered, over = threading.Event(), threading.Event()

        async def supervise() -> None:
            async with Supervisor():
                entered.set()
                over.wait()

        def ask() -> object:
            return in_a_thread(lambda: breaker.sync.call(double, 2))

        async with Supervisor() as supervisor:
            thread = threading.Thread(target=lambda: run_in_virtual_time(supervise, backend=other))
            thread.start()
            await to_thread.run_sync(entered.wait)
            error = await to_thread.run_sync(ask)
            assert "and several event loops have supervisors; start" in str(error)
            over.set()
            await to_thread.run_sync(thread.join)
            assert await to_thread.run_sync(ask) == 4
            assert supervisor.statistics()["x"].succeeded == 1

    async def test_the_one_it_was_used_on(self) -> None:
        """Goes before others."""
        breaker = CircuitBreaker("x")
        async with Supervisor() as outer, Supervisor() as inner:
            outer.circuit("y")
            await breaker.call(anyio.sleep, 0)
            assert await to_thread.run_sync(in_a_thread, lambda: breaker.sync.call(double, 2)) == 4
            assert inner.statistics()["x"].succeeded == 2
