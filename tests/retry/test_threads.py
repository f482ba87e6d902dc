"""Plain functions that are retried in worker threads: the same loops, which sleep in the thread.

In real time, since threads know no other.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import to_thread

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    Supervisor,
    app_settings,
    retry_api_call,
    retry_storage_operation,
)
from supervisor.retry import threads
from tests.support.clients import stand_in
from tests.support.retries import CLOSED, EACH_MODE, OPEN, counted, down, in_mode, statistics
from tests.support.worlds import settle_down

pytestmark = pytest.mark.anyio

REAL_TIME: dict[str, tuple[str, dict[str, object]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}

QUICK: dict[str, Any] = {"min_wait": 0.01, "max_wait": 0.02}


@pytest.fixture(params=REAL_TIME)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return REAL_TIME[request.param]


class Dependency:
    """Raises or returns what it was given, one by one, the last for ever."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []
        self.threads: set[int] = set()

    def fetch(self, *_: object) -> object:
        """Return the next outcome, or raise it."""
        self.times.append(time.monotonic())
        self.threads.add(threading.get_ident())
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def attempts(self) -> int:
        """How often it was called."""
        return len(self.times)


async def in_thread(func: Callable[..., Any], *args: object) -> Any:
    with anyio.fail_after(10):
        return await to_thread.run_sync(func, *args)


# As async functions


@EACH_MODE
async def test_it_is_tried_again(mode: str) -> None:
    """In its own thread, while the event loop goes on."""
    dependency, ticks = Dependency(*down(2), "done"), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        fetch = in_mode(mode, min_wait=0.05, max_wait=0.1)(dependency.fetch)
        assert await in_thread(fetch) == "done"
        tasks.cancel_scope.cancel()
    assert dependency.attempts == 3
    assert len(dependency.threads) == 1
    assert dependency.threads != {threading.get_ident()}
    assert ticks > 3
    await settle_down()
    expected = {
        "loop": {"started": 1, "succeeded": 1},
        "attempt": {"started": 3, "failed": 2, "succeeded": 1},
    }
    if mode != "disabled":
        assert counted("storage:fetch") == expected["loop" if mode == "loop" else "attempt"]


@EACH_MODE
async def test_the_last_error_comes_out(mode: str) -> None:
    """Unchanged, when there are no more attempts, or at once if it is not worth one."""
    errors = down(2)
    with pytest.raises(ConnectionError) as caught:
        await in_thread(in_mode(mode, max_attempts=2, **QUICK)(Dependency(*errors).fetch))
    assert caught.value is errors[1]
    dependency = Dependency(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await in_thread(in_mode(mode, **QUICK)(dependency.fetch))
    assert dependency.attempts == 1


@pytest.mark.usefixtures("enabled")
async def test_a_loop_is_one_call() -> None:
    """Three that fail open the circuit; the next is refused before its first attempt."""
    dependency = Dependency(ConnectionError())
    fetch = retry_storage_operation(2, **QUICK)(dependency.fetch)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await in_thread(fetch)
    await settle_down()
    assert statistics("storage:fetch").state is OPEN
    with pytest.raises(CircuitBreakerOpenError):
        await in_thread(fetch)
    assert dependency.attempts == 6


@pytest.mark.usefixtures("enabled")
async def test_a_loop_ends_when_its_circuit_opens() -> None:
    """The attempt that opens it is the last."""
    errors = down(5)
    dependency = Dependency(*errors)
    with pytest.raises(ConnectionError) as caught:
        await in_thread(retry_storage_operation(5, **QUICK, guard="attempt")(dependency.fetch))
    assert caught.value is errors[2]
    await settle_down()
    assert counted("storage:fetch") == {"started": 3, "failed": 3}


@pytest.mark.parametrize("guard", ["loop", "attempt"])
async def test_an_open_circuit_refuses(guard: Any) -> None:
    """Before the first attempt, and it is not asked again."""
    breaker = CircuitBreaker("x")
    (await breaker.acquire()).ignore()
    breaker.force_open()
    dependency = Dependency("done")
    with pytest.raises(CircuitBreakerOpenError):
        await in_thread(retry_storage_operation(guard=guard, breaker=breaker)(dependency.fetch))
    assert (dependency.attempts, breaker.statistics().rejected) == (0, 1)


async def test_a_loop_may_wait_for_the_recovery() -> None:
    """It sleeps while the circuit is open."""
    breaker = CircuitBreaker("x", failure_threshold=1, recovery_timeout=0.1)
    dependency = Dependency(ConnectionError(), "done")
    retry = retry_storage_operation(
        3, **QUICK, guard="attempt", wait_for_recovery=True, breaker=breaker
    )
    assert await in_thread(retry(dependency.fetch)) == "done"
    assert dependency.times[1] - dependency.times[0] >= 0.099
    await settle_down()
    assert breaker.state is CLOSED


@pytest.mark.parametrize("guard", ["loop", "attempt"])
async def test_attempts_are_taken_from_the_budget(guard: Any) -> None:
    """When it is spent, the error of the last attempt comes out, with a note."""
    breaker = CircuitBreaker("x", 100, retry_budget=0.1, retry_budget_minimum=1)
    dependency = Dependency(*down(5))
    retry = retry_storage_operation(5, **QUICK, guard=guard, breaker=breaker)
    with pytest.raises(ConnectionError, match="attempt 1") as caught:
        await in_thread(retry(dependency.fetch))
    [note] = caught.value.__notes__
    assert note.startswith("not tried again, since circuit 'x' has seen too many retries")
    assert dependency.attempts == 2
    await settle_down()
    figures = breaker.statistics()
    assert (figures.failed, figures.in_flight) == (1 if guard == "loop" else 2, 0)


@EACH_MODE
async def test_the_server_says_when(mode: str) -> None:
    """The wait is as long as it asks; if that is too long, there is no other attempt."""
    busy = [ConnectionError(), ConnectionError()]
    busy[0].retry_after = 0.1  # type: ignore[attr-defined]
    busy[1].retry_after = 7  # type: ignore[attr-defined]
    dependency = Dependency(*busy)
    with pytest.raises(ConnectionError) as caught:
        await in_thread(in_mode(mode, min_wait=0.01, max_wait=0.2)(dependency.fetch))
    assert caught.value.__notes__ == [
        "not tried again, since the server asks to wait 7 s, and max_wait is 0.2 s"
    ]
    assert dependency.attempts == 2
    assert dependency.times[1] - dependency.times[0] >= 0.1


async def test_a_status_decides_as_for_async_functions() -> None:
    """What is tried again is the same."""
    busy = stand_in("httpx", "HTTPStatusError", status_code=503)
    fetch = retry_api_call(**QUICK)(Dependency(busy, "done").fetch)
    assert await in_thread(fetch) == "done"


# The deadline


@EACH_MODE
async def test_nothing_is_begun_that_cannot_end_in_time(mode: str) -> None:
    """Neither a wait, nor an attempt."""
    dependency = Dependency(ConnectionError())
    fetch = in_mode(mode, min_wait=9, max_wait=9, deadline=5)(dependency.fetch)
    with pytest.raises(ConnectionError) as caught:
        await in_thread(fetch)
    assert caught.value.__notes__ == ["not tried again, since the deadline of 5 s would be over"]
    assert dependency.attempts == 1


async def test_an_attempt_that_runs_goes_on() -> None:
    """Nothing can end it; its result counts."""

    @retry_storage_operation(deadline=0.01)
    def slow() -> str:
        time.sleep(0.05)
        return "done"

    assert await in_thread(slow) == "done"


async def test_a_sleeper_that_is_woken_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes no other attempt: its time is over."""
    now = 0.0

    def oversleep(seconds: float) -> None:
        nonlocal now
        now += 100 * seconds

    clock = SimpleNamespace(monotonic=lambda: now, sleep=oversleep)
    monkeypatch.setattr(threads, "time", clock)
    dependency = Dependency(ConnectionError())
    fetch = retry_storage_operation(min_wait=1, max_wait=1, deadline=5)(dependency.fetch)
    with pytest.raises(ConnectionError) as caught:
        await in_thread(fetch)
    assert caught.value.__notes__ == ["not tried again, since the deadline of 5 s would be over"]
    assert dependency.attempts == 1


async def test_a_deadline_that_is_kept() -> None:
    """Attempts are made as without one."""
    dependency = Dependency(*down(2), "done")
    assert await in_thread(retry_storage_operation(**QUICK, deadline=9)(dependency.fetch)) == "done"


# Threads


@EACH_MODE
async def test_a_sleeping_thread_is_cancelled_with_its_host_task(mode: str) -> None:
    """Soon, and not after the wait; the loop counts as nothing, an attempt as what it was."""
    failed = threading.Event()

    def fetch() -> None:
        failed.set()
        raise ConnectionError

    retried = in_mode(mode, min_wait=60, max_wait=60)(fetch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, retried)
        with anyio.fail_after(10):
            while not failed.is_set():  # noqa: ASYNC110
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
    await settle_down()
    if mode == "loop":
        assert counted("storage:fetch") == {"started": 1, "cancelled": 1}
    elif mode != "disabled":
        assert counted("storage:fetch") == {"started": 1, "failed": 1}


@EACH_MODE
async def test_on_the_event_loop(mode: str) -> None:
    """It would block it, with circuits or without."""
    dependency = Dependency("done")
    fetch = in_mode(mode)(dependency.fetch)
    with pytest.raises(RuntimeError, match="would block the event loop, with its attempts"):
        fetch()
    assert dependency.attempts == 0


def test_without_an_event_loop() -> None:
    """While circuits are disabled, nobody asks for one; else it is an error that says so."""
    dependency = Dependency(*down(2), "done", "done")
    fetch = retry_storage_operation(**QUICK)(dependency.fetch)
    assert fetch() == "done"
    app_settings.circuit_breaker.enabled = True
    with pytest.raises(RuntimeError, match="is on no running event loop that this thread could"):
        fetch()
    assert dependency.attempts == 3


@pytest.mark.usefixtures("enabled")
async def test_a_thread_of_its_own() -> None:
    """Finds the event loop as `call_from_thread` does: by a supervisor, or as the last time."""
    dependency = Dependency(*down(2), "done")
    fetch = retry_storage_operation(**QUICK)(dependency.fetch)

    def run() -> object:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(fetch()))
        thread.start()
        thread.join()
        return found[0]

    async with Supervisor() as supervisor:
        for times in (1, 2):
            assert await in_thread(run) == "done"
            await settle_down()
            assert supervisor["storage:fetch"].statistics().succeeded == times


async def test_a_nested_call_is_a_part_of_it() -> None:
    """What fails in both is one failure."""
    breaker = CircuitBreaker("x", 100)
    dependency = Dependency(ConnectionError())
    inner = breaker.sync(dependency.fetch)

    @retry_storage_operation(2, **QUICK, breaker=breaker)
    def outer() -> object:
        return inner()

    with pytest.raises(ConnectionError):
        await in_thread(outer)
    await settle_down()
    figures = breaker.statistics()
    assert (figures.failed, figures.ignored, figures.in_flight) == (2, 1, 0)


# What can be decorated


class Service:
    """Its first attempt fails."""

    def __init__(self) -> None:
        self.attempts = 0

    @retry_api_call(**QUICK)
    def fetch(self, key: str, *, upper: bool = False) -> str:
        """Return the key."""
        self.attempts += 1
        if self.attempts == 1:
            raise ConnectionError
        return key.upper() if upper else key


async def test_methods() -> None:
    """Get their object, and arguments of all kinds."""
    service = Service()
    assert await in_thread(lambda: service.fetch("key", upper=True)) == "KEY"
    assert service.attempts == 2


def test_a_plain_function_stays_plain() -> None:
    """With its name, its words and its signature."""
    fetch = Service.fetch
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Return the key.")
    assert not inspect.iscoroutinefunction(fetch)
    assert str(inspect.signature(fetch)) == "(self, key: 'str', *, upper: 'bool' = False) -> 'str'"


async def test_a_partial() -> None:
    """Has the circuit of its function."""
    app_settings.circuit_breaker.enabled = True
    fetch = retry_storage_operation(**QUICK)(functools.partial(Dependency("done").fetch, 1))
    assert await in_thread(fetch) == "done"
    await settle_down()
    assert counted("storage:fetch") == {"started": 1, "succeeded": 1}


class Promise:
    """Can be awaited, and is no coroutine."""

    @classmethod
    def new(cls) -> Promise:
        return cls()

    def __await__(self) -> Any:
        raise NotImplementedError


@EACH_MODE
@pytest.mark.parametrize("makes", [lambda: anyio.sleep(1), Promise.new], ids=["coroutine", "other"])
async def test_what_returns_something_to_be_awaited(mode: str, makes: Any) -> None:
    """Is no plain function, though it looks like one."""
    with pytest.raises(TypeError, match=r"^a plain function is needed, but .* to be awaited"):
        await in_thread(in_mode(mode)(makes))
