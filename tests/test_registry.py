"""Circuits by name: who gets which one, and the functions that reach all of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitStoppedError,
    SettingsError,
    Supervisor,
    app_settings,
    clear_circuit_breaker_registry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    reset_all_circuit_breakers,
    with_circuit_breaker,
)
from supervisor.supervision import current_supervisor, supervisors_here
from tests.support.worlds import collect_garbage

pytestmark = pytest.mark.anyio

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


@pytest.fixture
def enabled() -> None:
    app_settings.circuit_breaker.enabled = True


def loops() -> Iterator[asyncio.AbstractEventLoop]:
    """An asyncio loop that is run for a while now and then; its tasks are ended at last."""
    loop = asyncio.new_event_loop()
    yield loop
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()


@pytest.fixture
def paused_loop() -> Iterator[asyncio.AbstractEventLoop]:
    yield from loops()


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    yield from loops()


async def fail() -> None:
    raise ConnectionError


async def open_circuit(name: str) -> CircuitBreaker:
    """Return the circuit of that name, opened by failures."""
    breaker = await get_circuit_breaker(name)
    for _ in range(breaker.failure_threshold):
        with pytest.raises(ConnectionError):
            await breaker.call(fail)
    assert breaker.state is OPEN
    return breaker


def policy_of(breaker: CircuitBreaker) -> tuple[int, float, int, float]:
    return (
        breaker.failure_threshold,
        breaker.recovery_timeout,
        breaker.success_threshold,
        breaker.probe_timeout,
    )


# get_circuit_breaker


async def test_a_circuit_is_created_from_the_settings() -> None:
    """Without arguments, a new circuit has the settings as they are at that moment."""
    assert policy_of(await get_circuit_breaker("first")) == (3, 30.0, 1, 60.0)
    app_settings.circuit_breaker.failure_threshold = 5
    app_settings.circuit_breaker.probe_timeout = 7.0
    app_settings.circuit_breaker.circuits = {"api:getUser": {"recovery_timeout": 2}}  # type: ignore[dict-item]
    assert policy_of(await get_circuit_breaker("second")) == (5, 30.0, 1, 7.0)
    assert policy_of(await get_circuit_breaker("api:getUser")) == (5, 2.0, 1, 7.0)
    assert policy_of(await get_circuit_breaker("first")) == (3, 30.0, 1, 60.0)


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        pytest.param({"failure_threshold": 7}, (7, 20.0, 2, 60.0), id="failure_threshold"),
        pytest.param({"recovery_timeout": 7}, (5, 7.0, 2, 60.0), id="recovery_timeout"),
        pytest.param({"success_threshold": 7}, (5, 20.0, 7, 60.0), id="success_threshold"),
        pytest.param(
            {"failure_threshold": 7, "recovery_timeout": 8.0, "success_threshold": 9},
            (7, 8.0, 9, 60.0),
            id="all",
        ),
    ],
)
async def test_arguments_come_before_settings(
    given: dict[str, Any], policy: tuple[int, float, int, float]
) -> None:
    """An argument that is given counts; one that is None comes from the settings."""
    app_settings.circuit_breaker = type(app_settings.circuit_breaker)(
        failure_threshold=5, recovery_timeout=20.0, success_threshold=2
    )
    assert policy_of(await get_circuit_breaker("api", **given)) == policy


async def test_arguments_have_an_order() -> None:
    """Name, failure threshold, recovery timeout and success threshold may be positional."""
    assert policy_of(await get_circuit_breaker("api", 7, 8.0, 9)) == (7, 8.0, 9, 60.0)


async def test_everybody_gets_the_same_circuit() -> None:
    """Later askers get the first one's circuit, whatever arguments they bring."""
    first = await get_circuit_breaker("api", failure_threshold=7)
    app_settings.circuit_breaker.failure_threshold = 5
    assert await get_circuit_breaker("api") is first
    assert await get_circuit_breaker("api", failure_threshold=2) is first
    assert await get_circuit_breaker("API") is not first
    assert first.failure_threshold == 7


async def test_tasks_that_ask_at_once_get_the_same_circuit() -> None:
    """A hundred tasks that ask for the first time together start one circuit, one supervisor."""
    got: list[CircuitBreaker] = []

    async def ask() -> None:
        got.append(await get_circuit_breaker("api"))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    assert len(got) == 100
    assert len(set(map(id, got))) == 1
    assert [list(supervisor) for supervisor in supervisors_here()] == [["api"]]


@pytest.mark.parametrize(
    ("backend", "options"),
    [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})],
    ids=["asyncio", "uvloop", "trio"],
)
def test_another_event_loop_has_other_circuits(backend: str, options: dict[str, Any]) -> None:
    """Nothing is carried over: the next event loop has a new circuit of that name, closed."""

    async def use() -> tuple[CircuitBreaker, CircuitState]:
        assert get_circuit_breaker_sync("api") is None
        before = (await get_circuit_breaker("api")).state
        return await open_circuit("api"), before

    first, _ = anyio.run(use, backend=backend, backend_options=options)
    second, state_before = anyio.run(use, backend=backend, backend_options=options)
    assert first is not second
    assert state_before is CLOSED
    assert get_circuit_breaker_sync("api") is None


async def test_circuits_belong_to_the_supervisor_that_was_entered() -> None:
    """Inside a Supervisor's block, circuits are its own, also the first; nothing else starts."""
    async with Supervisor() as supervisor:
        breaker = await get_circuit_breaker("api")
        assert supervisor["api"] is breaker
        assert get_circuit_breaker_sync("api") is breaker
        assert supervisors_here() == [supervisor]
    assert get_circuit_breaker_sync("api") is None


async def test_the_innermost_supervisor_counts() -> None:
    """Where one name runs in two supervisors, everybody gets the one that was entered last."""
    outer = await get_circuit_breaker("api")
    async with Supervisor():
        inner = await get_circuit_breaker("api")
        assert inner is not outer
        assert get_circuit_breaker_sync("api") is inner
    assert get_circuit_breaker_sync("api") is outer
    assert await get_circuit_breaker("api") is outer


async def test_a_decorated_function_finds_the_innermost_supervisor() -> None:
    """Also one that was entered, left, or had its circuit stopped since the call before."""
    app_settings.circuit_breaker.enabled = True

    @with_circuit_breaker("x")
    async def func() -> None:
        pass

    def counts(*supervisors: Supervisor) -> list[int]:
        return [each["x"].statistics().started if "x" in each else 0 for each in supervisors]

    async with Supervisor() as outer:
        await func()
        async with Supervisor() as inner:
            await func()
            await func()
            assert counts(outer, inner) == [1, 2]
        await func()
        assert counts(outer) == [2]
        outer.stop("x")
        await func()
        assert counts(outer) == [1]


async def test_a_decorated_function_serves_several_threads() -> None:
    """Each has the circuit of its own event loop."""
    app_settings.circuit_breaker.enabled = True
    seen = []

    @with_circuit_breaker("x")
    async def func() -> None:
        await anyio.lowlevel.checkpoint()

    async def calls() -> None:
        async with Supervisor() as supervisor:
            for _ in range(50):
                await func()
            seen.append(supervisor["x"].statistics().succeeded)

    async with anyio.create_task_group() as tasks:
        for backend in ("asyncio", "trio"):
            tasks.start_soon(
                anyio.to_thread.run_sync, lambda b=backend: anyio.run(calls, backend=b)
            )
    assert seen == [50, 50]


async def test_a_circuit_of_a_supervisor_is_found_by_name() -> None:
    """A circuit that code has started keeps its policy, whatever arguments an asker brings."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("api", failure_threshold=7)
        assert await get_circuit_breaker("api", failure_threshold=2) is breaker


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        pytest.param({"name": ""}, ValueError, "name", id="empty name"),
        pytest.param({"name": None}, TypeError, "name", id="no name"),
        pytest.param({"name": ["api"]}, TypeError, "name must be a string", id="list as a name"),
        pytest.param({"failure_threshold": 0}, ValueError, "failure_threshold", id="zero"),
        pytest.param({"failure_threshold": True}, TypeError, "failure_threshold", id="bool"),
        pytest.param({"recovery_timeout": 0}, ValueError, "recovery_timeout", id="no seconds"),
        pytest.param({"recovery_timeout": math.nan}, ValueError, "recovery_timeout", id="NaN"),
        pytest.param({"success_threshold": -1}, ValueError, "success_threshold", id="negative"),
        pytest.param({"success_threshold": "1"}, TypeError, "success_threshold", id="str"),
    ],
)
async def test_bad_arguments_start_no_circuit(
    given: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The error names the argument, and no circuit is created; zero is not `the default`."""
    with pytest.raises(error, match=text):
        await get_circuit_breaker(**{"name": "api", **given})
    assert get_circuit_breaker_sync("api") is None
    assert not any(supervisors_here())


async def test_bad_settings_start_no_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is reported to whoever asks for a new circuit."""
    monkeypatch.setenv("BINDU_CB_FAILURE_THRESHOLD", "0")
    with pytest.raises(SettingsError, match="BINDU_CB_FAILURE_THRESHOLD"):
        await get_circuit_breaker("api")
    assert get_circuit_breaker_sync("api") is None


# get_circuit_breaker_sync


async def test_a_look_up_starts_nothing() -> None:
    """Looking up, resetting and clearing where there is nothing start no task."""
    before = len(anyio.get_running_tasks())
    assert get_circuit_breaker_sync("api") is None
    reset_all_circuit_breakers()
    clear_circuit_breaker_registry()
    await anyio.sleep(1)
    assert len(anyio.get_running_tasks()) == before
    assert supervisors_here() == []


async def test_a_look_up_finds_the_circuit() -> None:
    """The circuit that was got is found, and no other."""
    breaker = await get_circuit_breaker("api")
    assert get_circuit_breaker_sync("api") is breaker
    assert get_circuit_breaker_sync("other") is None
    assert len(current_supervisor()) == 1


def test_everything_can_be_called_without_an_event_loop() -> None:
    """Where no event loop runs or ever ran, there is nothing to find, reset or clear."""
    assert get_circuit_breaker_sync("api") is None
    reset_all_circuit_breakers()
    clear_circuit_breaker_registry()


def test_a_look_up_between_two_runs(paused_loop: asyncio.AbstractEventLoop) -> None:
    """While a loop is paused, its circuits can be found and read."""
    breaker = paused_loop.run_until_complete(open_circuit("api"))
    assert get_circuit_breaker_sync("api") is breaker
    assert breaker.state is OPEN
    assert paused_loop.run_until_complete(get_circuit_breaker("api")) is breaker


# reset_all_circuit_breakers


async def test_a_reset_closes_every_circuit() -> None:
    """Open circuits and counted failures of every circuit are gone on the next line."""
    opened = await open_circuit("opened")
    counting = await get_circuit_breaker("counting")
    with pytest.raises(ConnectionError):
        await counting.call(fail)
    reset_all_circuit_breakers()
    assert (opened.state, opened.failure_count) == (CLOSED, 0)
    assert (counting.state, counting.failure_count) == (CLOSED, 0)
    with pytest.raises(ConnectionError):
        await opened.call(fail)
    assert get_circuit_breaker_sync("opened") is opened


async def test_a_reset_reaches_all_supervisors_of_the_loop() -> None:
    """A reset closes the circuits of the default supervisor and of one entered since."""
    outer = await open_circuit("outer")
    async with Supervisor():
        inner = await open_circuit("inner")
        reset_all_circuit_breakers()
        assert (outer.state, inner.state) == (CLOSED, CLOSED)


def test_a_reset_between_two_runs(paused_loop: asyncio.AbstractEventLoop) -> None:
    """Where no loop runs, a reset closes the circuits of a paused one, which then admit calls."""
    breaker = paused_loop.run_until_complete(open_circuit("api"))
    reset_all_circuit_breakers()
    assert breaker.state is CLOSED
    with pytest.raises(ConnectionError):
        paused_loop.run_until_complete(breaker.call(fail))


# clear_circuit_breaker_registry


async def test_a_clear_stops_every_circuit() -> None:
    """After a clear, the names are free, old breakers refuse, and all actors have ended."""
    current_supervisor()
    await anyio.sleep(1)
    without_circuits = len(anyio.get_running_tasks())
    old = [await open_circuit(f"api:{number}") for number in range(3)]
    await anyio.sleep(1)
    assert len(anyio.get_running_tasks()) == without_circuits + 3
    clear_circuit_breaker_registry()
    assert get_circuit_breaker_sync("api:0") is None
    await anyio.sleep(1)
    assert len(anyio.get_running_tasks()) == without_circuits
    with pytest.raises(CircuitStoppedError):
        await old[0].call(fail)
    new = await get_circuit_breaker("api:0")
    assert new is not old[0]
    assert new.state is CLOSED


async def test_a_clear_reaches_all_supervisors_of_the_loop() -> None:
    """A clear stops the circuits of the default supervisor and of one entered since."""
    await get_circuit_breaker("outer")
    async with Supervisor():
        await get_circuit_breaker("inner")
        clear_circuit_breaker_registry()
        assert not any(supervisors_here())


@pytest.mark.parametrize("settled", [True, False], ids=["actors run", "actors not started yet"])
def test_a_clear_between_two_runs(paused_loop: asyncio.AbstractEventLoop, settled: bool) -> None:
    """One turn after a clear of a paused loop, no task of its circuits is left running."""

    async def start() -> set[asyncio.Task[Any]]:
        current_supervisor()
        await asyncio.sleep(0.001)
        before = asyncio.all_tasks() - {asyncio.current_task()}
        for number in range(3):
            await get_circuit_breaker(f"api:{number}")
        await asyncio.sleep(0.001 if settled else 0)
        return before

    without_circuits = paused_loop.run_until_complete(start())
    assert len(asyncio.all_tasks(paused_loop)) == len(without_circuits) + 3
    clear_circuit_breaker_registry()
    paused_loop.run_until_complete(asyncio.sleep(0))
    assert asyncio.all_tasks(paused_loop) == without_circuits
    assert get_circuit_breaker_sync("api:0") is None


def test_a_clear_before_the_first_supervisor_has_run(
    paused_loop: asyncio.AbstractEventLoop,
) -> None:
    """A circuit can be cleared before its supervisor had its first turn; a new one works."""

    async def use() -> CircuitBreaker:
        return await open_circuit("api")

    paused_loop.run_until_complete(get_circuit_breaker("api"))
    clear_circuit_breaker_registry()
    assert get_circuit_breaker_sync("api") is None
    assert paused_loop.run_until_complete(use()).state is OPEN


def test_a_running_loop_leaves_a_paused_one_alone(paused_loop: asyncio.AbstractEventLoop) -> None:
    """A reset or clear where a loop runs concerns that loop only."""
    breaker = paused_loop.run_until_complete(open_circuit("api"))

    async def elsewhere() -> None:
        assert get_circuit_breaker_sync("api") is None
        await get_circuit_breaker("api")
        reset_all_circuit_breakers()
        clear_circuit_breaker_registry()

    anyio.run(elsewhere)
    assert get_circuit_breaker_sync("api") is breaker
    assert breaker.state is OPEN


def test_all_paused_loops_are_reached(
    paused_loop: asyncio.AbstractEventLoop, other_loop: asyncio.AbstractEventLoop
) -> None:
    """Where no loop runs, the circuits of every paused loop are found, reset and cleared."""
    first = paused_loop.run_until_complete(open_circuit("first"))
    second = other_loop.run_until_complete(open_circuit("second"))
    assert get_circuit_breaker_sync("first") is first
    assert get_circuit_breaker_sync("second") is second
    reset_all_circuit_breakers()
    assert (first.state, second.state) == (CLOSED, CLOSED)
    clear_circuit_breaker_registry()
    assert get_circuit_breaker_sync("first") is get_circuit_breaker_sync("second") is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see the end of it
def test_a_loop_that_was_closed_half_way_is_no_obstacle() -> None:
    """Where a loop was closed without its tasks being ended, all functions still work."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(open_circuit("api"))
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    reset_all_circuit_breakers()
    clear_circuit_breaker_registry()
    assert get_circuit_breaker_sync("api") is None
    collect_garbage()  # asyncio complains of the tasks that were left behind: they are the loop's


@pytest.mark.parametrize("turns", range(4))
def test_an_event_loop_ends_without_complaint(turns: int) -> None:
    """`asyncio.run` ends the default supervisor silently, however far it has got."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, complaint: complaints.append(complaint)
        )
        await get_circuit_breaker("api")
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(main())
    reset_all_circuit_breakers()
    clear_circuit_breaker_registry()
    assert complaints == []
    assert get_circuit_breaker_sync("api") is None


# with_circuit_breaker


class Service:
    """Counts what reaches it, and fails while `down`."""

    def __init__(self) -> None:
        self.calls = 0
        self.down: Exception | None = None

    @with_circuit_breaker()
    async def fetch(self, key: str, *, upper: bool = False) -> str:
        """Return the key."""
        self.calls += 1
        if self.down:
            raise self.down
        return key.upper() if upper else key

    @staticmethod
    @with_circuit_breaker("service:static")
    async def static(key: str) -> str:
        return key

    @classmethod
    @with_circuit_breaker("service:class")
    async def of_class(cls, key: str) -> str:
        return f"{cls.__name__} {key}"


async def test_the_decorator_passes_through_while_disabled() -> None:
    """While circuits are disabled, failures are not counted and nothing is started."""
    service = Service()
    service.down = ConnectionError("down")
    before = len(anyio.get_running_tasks())
    for _ in range(10):
        with pytest.raises(ConnectionError) as caught:
            await service.fetch("key")
        assert caught.value is service.down
    assert service.calls == 10
    assert len(anyio.get_running_tasks()) == before
    assert supervisors_here() == []


@pytest.mark.usefixtures("enabled")
async def test_the_decorator_guards_while_enabled() -> None:
    """While circuits are enabled, failures open the circuit, which refuses further calls."""
    service = Service()
    service.down = ConnectionError("down")
    for _ in range(3):
        with pytest.raises(ConnectionError) as caught:
            await service.fetch("key")
        assert caught.value is service.down
    with pytest.raises(CircuitBreakerOpenError) as refused:
        await service.fetch("key")
    assert refused.value.operation_name == "Service.fetch"
    assert refused.value.retry_after == pytest.approx(30)
    assert service.calls == 3
    service.down = None
    await anyio.sleep(30)
    assert await service.fetch("key") == "key"
    breaker = get_circuit_breaker_sync("Service.fetch")
    assert breaker is not None
    assert breaker.state is CLOSED


@pytest.mark.usefixtures("enabled")
async def test_a_decorated_function_may_have_a_fallback_of_its_own() -> None:
    """What `call` understands as an option is an argument like any other here."""

    @with_circuit_breaker("choice")
    async def choose(key: str, fallback: str = "none") -> str:
        return f"{key} or {fallback}"

    assert await choose("tea", fallback="water") == "tea or water"
    assert await choose("tea") == "tea or none"


async def test_the_decorator_can_be_switched_at_run_time() -> None:
    """Switching circuits on or off takes effect on the next call, and loses no state."""
    service = Service()
    service.down = ConnectionError()
    settings = app_settings.circuit_breaker

    async def fails() -> type[Exception] | None:
        try:
            await service.fetch("key")
        except Exception as error:
            return type(error)
        return None

    assert await fails() is ConnectionError
    assert get_circuit_breaker_sync("Service.fetch") is None
    settings.enabled, settings.failure_threshold = True, 1
    assert [await fails(), await fails()] == [ConnectionError, CircuitBreakerOpenError]
    settings.enabled = False
    assert await fails() is ConnectionError
    settings.enabled = True
    assert await fails() is CircuitBreakerOpenError


@pytest.mark.usefixtures("enabled")
async def test_a_decorated_circuit_takes_its_settings_when_created() -> None:
    """Thresholds that change after decorating, but before the first call, still count."""
    app_settings.circuit_breaker.circuits = {"Service.fetch": {"failure_threshold": 8}}  # type: ignore[dict-item]
    assert await Service().fetch("key") == "key"
    app_settings.circuit_breaker.circuits = {}
    assert await Service().fetch("key") == "key"
    assert (await get_circuit_breaker("Service.fetch")).failure_threshold == 8


@pytest.mark.usefixtures("enabled")
async def test_functions_may_share_a_circuit() -> None:
    """Decorators that name the same circuit, and direct calls of it, count together."""
    shared = with_circuit_breaker("shared")
    one, two = shared(fail), shared(fail)
    for func in (one, two, functools.partial((await get_circuit_breaker("shared")).call, fail)):
        with pytest.raises(ConnectionError):
            await func()
    with pytest.raises(CircuitBreakerOpenError):
        await one()


@pytest.mark.usefixtures("enabled")
async def test_methods_are_guarded() -> None:
    """Methods get their instance or class, arguments of all kinds, and one circuit per name."""
    service = Service()
    assert await service.fetch("key", upper=True) == "KEY"
    assert await Service.fetch(service, key="key") == "key"
    assert await Service.static("key") == "key"
    assert await service.of_class("key") == "Service key"
    assert set(current_supervisor()) == {"Service.fetch", "service:static", "service:class"}


class AsyncCallable:
    """An object that is called like an async function."""

    async def __call__(self) -> str:
        return "called"


def a_local_function() -> Callable[[], Coroutine[Any, Any, None]]:
    async def local() -> None: ...

    return local


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    ("func", "name"),
    [
        pytest.param(fail, "fail", id="function"),
        pytest.param(a_local_function(), "a_local_function.<locals>.local", id="local function"),
        pytest.param(AsyncCallable().__call__, "AsyncCallable.__call__", id="method"),
        pytest.param(AsyncCallable(), "AsyncCallable", id="async callable"),
        pytest.param(functools.partial(fail), "fail", id="partial"),
    ],
)
async def test_the_default_name(func: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """A circuit is named like its function, by the `__qualname__`."""
    with contextlib.suppress(ConnectionError):
        await with_circuit_breaker()(func)()
    assert list(current_supervisor()) == [name]


def test_a_decorated_function_looks_like_itself() -> None:
    """Signature, names, documentation and being async survive the decorator."""
    parameters = inspect.signature(Service.fetch).parameters
    assert list(parameters) == ["self", "key", "upper"]
    assert parameters["upper"].default is False
    assert Service.fetch.__name__ == "fetch"
    assert Service.fetch.__qualname__ == "Service.fetch"
    assert Service.fetch.__module__ == __name__
    assert Service.fetch.__doc__ == "Return the key."
    assert inspect.iscoroutinefunction(Service.fetch)


def returns_a_coroutine() -> Coroutine[Any, Any, None]:
    return fail()


@pytest.mark.parametrize(
    "func",
    [
        pytest.param(print, id="built-in"),
        pytest.param(returns_a_coroutine, id="plain function"),
        pytest.param(AsyncCallable, id="class"),
        pytest.param(None, id="None"),
    ],
)
def test_only_async_functions_can_be_decorated(func: Any) -> None:
    """The error says so when decorating, and does not wait for a call."""
    with pytest.raises(TypeError, match="with_circuit_breaker needs an async function"):
        with_circuit_breaker()(func)


@pytest.mark.parametrize(
    ("name", "error"),
    [("", ValueError), ("a\n", ValueError), ("a" * 256, ValueError), (5, TypeError)],
    ids=["empty", "line feed", "too long", "number"],
)
def test_a_bad_name_is_found_when_decorating(name: Any, error: type[Exception]) -> None:
    """A name that no circuit can have is refused before any function is decorated."""
    with pytest.raises(error, match="a circuit's name must"):
        with_circuit_breaker(name)
