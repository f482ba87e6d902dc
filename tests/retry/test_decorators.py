"""Retry decorators: what is tried again, when, and how often; and what may be decorated."""

from __future__ import annotations

import functools
import inspect
import math
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast
from unittest.mock import AsyncMock

import anyio
import anyio.lowlevel
import pytest
import tenacity

from supervisor import (
    TRANSIENT_EXCEPTIONS,
    CircuitBreakerOpenError,
    RetrySettings,
    SettingsError,
    app_settings,
    create_retry_decorator,
    execute_with_retry,
    get_circuit_breaker,
    is_retryable_error,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
    with_circuit_breaker,
)
from supervisor.supervision import supervisors_here
from tests.support.retries import (
    DECORATORS,
    EACH_MODE,
    EACH_TYPE,
    Dependency,
    counted,
    down,
    forever,
    in_mode,
)

pytestmark = pytest.mark.anyio


# What is tried again


class OurTimeoutError(TimeoutError):
    """A child of a transient exception."""


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ConnectionError(), id="ConnectionError"),
        pytest.param(TimeoutError(), id="TimeoutError"),
        pytest.param(OSError(), id="OSError"),
        pytest.param(ConnectionResetError(), id="child of ConnectionError"),
        pytest.param(OurTimeoutError(), id="child of TimeoutError"),
        pytest.param(InterruptedError(), id="child of OSError"),
    ],
)
async def test_a_transient_error_is_tried_again(error: Exception) -> None:
    """Connection errors, timeouts, OS errors and their children are worth another try."""
    assert is_retryable_error(error)
    dependency = Dependency(error, "done")
    assert await retry_worker_operation()(dependency.fetch)() == "done"
    assert dependency.attempts == 2


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError(), id="ValueError"),
        pytest.param(RuntimeError(), id="RuntimeError"),
        pytest.param(CircuitBreakerOpenError("another circuit", 1.0), id="refusal"),
        pytest.param(FileNotFoundError(), id="no file"),
        pytest.param(IsADirectoryError(), id="a directory"),
        pytest.param(PermissionError(), id="no permission"),
        pytest.param(ExceptionGroup("", [ConnectionError(), ValueError()]), id="mixed group"),
        pytest.param(EOFError(), id="EOFError"),
    ],
)
@EACH_MODE
async def test_any_other_error_is_raised_at_once(mode: str, error: Exception) -> None:
    """Everything else comes through unchanged, after one attempt."""
    assert not is_retryable_error(error)
    dependency = Dependency(error)
    with pytest.raises(type(error)) as caught:
        await in_mode(mode)(dependency.fetch)()
    assert caught.value is error
    assert dependency.attempts == 1
    assert mode == "disabled" or counted("storage:fetch") == {"started": 1, "failed": 1}


class Stop(BaseException):
    """What is not even an Exception."""


@EACH_MODE
async def test_a_base_exception_is_raised_at_once(mode: str) -> None:
    """What is no Exception comes through unchanged, and counts as no failure."""
    assert not is_retryable_error(Stop())
    error = Stop()
    dependency = Dependency(ConnectionError(), error)
    with pytest.raises(Stop) as caught:
        await in_mode(mode)(dependency.fetch)()
    assert caught.value is error
    assert dependency.attempts == 2
    assert mode == "disabled" or counted("storage:fetch").get("cancelled") == 1


def test_the_transient_exceptions() -> None:
    """They are these three, and nothing else."""
    assert set(TRANSIENT_EXCEPTIONS) == {ConnectionError, TimeoutError, OSError}


@EACH_MODE
async def test_a_timeout_of_an_attempt_is_tried_again(mode: str) -> None:
    """A timeout within an attempt is a failure like others, not a cancellation of the loop."""
    attempts = 0

    async def slow_at_first() -> str:
        nonlocal attempts
        attempts += 1
        with anyio.fail_after(1):
            await anyio.sleep(10 if attempts == 1 else 0.5)
        return "done"

    assert await in_mode(mode)(slow_at_first)() == "done"
    assert attempts == 2


@EACH_MODE
@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_the_last_error_comes_out_unchanged(mode: str, attempts: int) -> None:
    """After the last attempt, its own exception is raised: the very object, unwrapped."""
    errors = down(attempts)
    app_settings.circuit_breaker.failure_threshold = 10
    dependency = Dependency(*errors)
    with pytest.raises(ConnectionError) as caught:
        await in_mode(mode, max_attempts=attempts)(dependency.fetch)()
    assert caught.value is errors[-1]
    assert dependency.attempts == attempts


@EACH_MODE
async def test_a_success_ends_the_loop(mode: str) -> None:
    """Any result ends the loop, None and False too, and nothing is waited for."""
    for result in ("done", None, False, ConnectionError):
        dependency = Dependency(result)
        started = anyio.current_time()
        assert await in_mode(mode)(dependency.fetch)() is result
        assert dependency.attempts == 1
        assert anyio.current_time() == started


# When, and how often


@pytest.mark.parametrize(
    ("operation_type", "attempts", "limits"),
    [
        pytest.param("worker", 3, [(1, 1), (1, 2)], id="worker"),
        pytest.param("scheduler", 3, [(1, 1), (1, 2)], id="scheduler"),
        pytest.param("api", 4, [(1, 1), (1, 2), (1, 4)], id="api"),
        pytest.param("storage", 5, [(0.5, 0.5), (1, 1), (2, 2), (4, 4)], id="storage"),
    ],
)
@EACH_MODE
async def test_the_waits_of_each_type(
    seeded: random.Random,
    mode: str,
    operation_type: str,
    attempts: int,
    limits: list[tuple[float, float]],
) -> None:
    """Attempts and waits are the settings'; all but storage wait with jitter."""
    app_settings.circuit_breaker.failure_threshold = 10
    dependency = Dependency(*down(attempts))
    with pytest.raises(ConnectionError):
        await in_mode(mode, operation_type)(dependency.fetch)()
    assert dependency.attempts == attempts
    assert dependency.waits == pytest.approx([seeded.uniform(*wait) for wait in limits])


@pytest.mark.parametrize("use_jitter", [True, False], ids=["jitter", "no jitter"])
@EACH_TYPE
async def test_waits_grow_between_their_limits(
    seeded: random.Random, operation_type: str, use_jitter: bool
) -> None:
    """Waits double from one limit to the other; with jitter, they are random within them."""
    decorator = create_retry_decorator(
        cast("Any", operation_type), 6, 0.25, 3, use_jitter=use_jitter
    )
    dependency = Dependency(*down(6))
    with pytest.raises(ConnectionError):
        await decorator(dependency.fetch)()
    waits: list[float] = [0.25, 0.5, 1, 2, 3]
    if use_jitter:
        waits = [seeded.uniform(0.25, wait) for wait in waits]
    assert dependency.waits == pytest.approx(waits)


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        pytest.param((3, 4), [3, 4, 4, 4], id="both"),
        pytest.param((3, 3), [3, 3, 3, 3], id="the same"),
        pytest.param((0.001, 0.002), [0.001, 0.002, 0.002, 0.002], id="milliseconds"),
        pytest.param((3, None), [3, 5, 5, 5], id="min_wait"),
        pytest.param((None, 1.5), [0.5, 1, 1.5, 1.5], id="max_wait"),
        pytest.param((None, None), [0.5, 1, 2, 4], id="none"),
        pytest.param((3600, 86_400), [3600, 7200, 14_400, 28_800], id="a day"),
    ],
)
async def test_given_waits_come_before_settings(
    waits: tuple[float | None, float | None], expected: list[float]
) -> None:
    """A limit that is given counts; one that is None comes from the settings."""
    dependency = Dependency(*down(5))
    with pytest.raises(ConnectionError):
        await retry_storage_operation(None, *waits)(dependency.fetch)()
    assert dependency.waits == pytest.approx(expected)


@EACH_TYPE
async def test_settings_are_read_at_call_time(operation_type: str) -> None:
    """A change of attempts or waits takes effect on the next call of a decorated function."""
    dependency = Dependency(ConnectionError())
    fetch = DECORATORS[operation_type]()(dependency.fetch)
    with pytest.raises(ConnectionError):
        await fetch()
    app_settings.retry = RetrySettings(
        **{
            f"{operation_type}_max_attempts": 2,
            f"{operation_type}_min_wait": 7.0,
            f"{operation_type}_max_wait": 7.0,
        }
    )
    dependency.times.clear()
    with pytest.raises(ConnectionError):
        await fetch()
    assert dependency.waits == pytest.approx([7])
    setattr(app_settings.retry, f"{operation_type}_max_attempts", 1)
    dependency.times.clear()
    with pytest.raises(ConnectionError):
        await fetch()
    assert dependency.attempts == 1


async def test_settings_come_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts and waits can be set from outside."""
    for field, value in (("MAX_ATTEMPTS", "2"), ("MIN_WAIT", "7"), ("MAX_WAIT", "7.5")):
        monkeypatch.setenv(f"BINDU_RETRY_STORAGE_{field}", value)
    dependency = Dependency(ConnectionError())
    with pytest.raises(ConnectionError):
        await retry_storage_operation()(dependency.fetch)()
    assert dependency.waits == pytest.approx([7])


# Arguments


BAD_ARGUMENTS = [
    pytest.param({"max_attempts": 0}, ValueError, "max_attempts .*, got 0", id="attempts: 0"),
    pytest.param({"max_attempts": -1}, ValueError, "max_attempts .*, got -1", id="attempts: < 0"),
    pytest.param(
        {"max_attempts": True}, TypeError, "max_attempts .*, got True", id="attempts: bool"
    ),
    pytest.param({"max_attempts": False}, TypeError, "max_attempts", id="attempts: False"),
    pytest.param({"max_attempts": "3"}, TypeError, "max_attempts .*, got '3'", id="attempts: str"),
    pytest.param(
        {"max_attempts": 2.0}, TypeError, "max_attempts .*, got 2.0", id="attempts: float"
    ),
    pytest.param({"max_attempts": math.nan}, TypeError, "max_attempts", id="attempts: NaN"),
    pytest.param({"min_wait": 0}, ValueError, "min_wait .*, got 0", id="min_wait: 0"),
    pytest.param({"min_wait": -0.5}, ValueError, "min_wait .*, got -0.5", id="min_wait: < 0"),
    pytest.param({"min_wait": math.nan}, ValueError, "min_wait .*, got nan", id="min_wait: NaN"),
    pytest.param({"min_wait": math.inf}, ValueError, "min_wait .*, got inf", id="min_wait: inf"),
    pytest.param({"min_wait": True}, TypeError, "min_wait .*, got True", id="min_wait: bool"),
    pytest.param({"min_wait": "1"}, TypeError, "min_wait .*, got '1'", id="min_wait: str"),
    pytest.param({"max_wait": 0}, ValueError, "max_wait .*, got 0", id="max_wait: 0"),
    pytest.param({"max_wait": -1}, ValueError, "max_wait .*, got -1", id="max_wait: < 0"),
    pytest.param({"max_wait": math.nan}, ValueError, "max_wait .*, got nan", id="max_wait: NaN"),
    pytest.param({"max_wait": math.inf}, ValueError, "max_wait .*, got inf", id="max_wait: inf"),
    pytest.param({"max_wait": False}, TypeError, "max_wait .*, got False", id="max_wait: bool"),
    pytest.param(
        {"min_wait": 2, "max_wait": 1},
        ValueError,
        "min_wait .* max_wait, got 2 and 1",
        id="min > max",
    ),
]


@pytest.mark.parametrize(("given", "error", "text"), BAD_ARGUMENTS)
@EACH_TYPE
def test_arguments_are_checked_when_decorating(
    operation_type: str, given: dict[str, Any], error: type[Exception], text: str
) -> None:
    """A bad argument raises before any call, and the error names it; 0 is no `default`."""
    with pytest.raises(error, match=text):
        DECORATORS[operation_type](**given)
    with pytest.raises(error, match=text):
        create_retry_decorator(cast("Any", operation_type), **given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param(
            {"guard": "call"}, "guard must be one of loop, attempt; got 'call'", id="guard"
        ),
        pytest.param({"guard": None}, "guard must be one of loop, attempt; got None", id="None"),
        pytest.param({"wait_for_recovery": True}, "needs guard='attempt'", id="default guard"),
        pytest.param(
            {"wait_for_recovery": True, "guard": "loop"}, "needs guard='attempt'", id="loop"
        ),
    ],
)
@EACH_TYPE
def test_guards_are_checked_when_decorating(
    operation_type: str, given: dict[str, Any], text: str
) -> None:
    """There are two guards, and only one of them can wait for a recovery."""
    with pytest.raises(ValueError, match=text):
        DECORATORS[operation_type](**given)


@pytest.mark.parametrize("operation_type", ["database", "", "API", None, 5])
def test_there_are_four_types(operation_type: Any) -> None:
    """Any other type is an error that names the four and what was given."""
    text = f"worker, storage, scheduler, api; got {operation_type!r}$"
    with pytest.raises(ValueError, match=text):
        create_retry_decorator(operation_type)


@pytest.mark.parametrize(
    ("given", "settings", "text"),
    [
        pytest.param({"min_wait": 6}, {}, "got 6 and 5.0", id="min_wait above the setting"),
        pytest.param({"max_wait": 0.25}, {}, "got 0.5 and 0.25", id="max_wait below the setting"),
        pytest.param({}, {"storage_min_wait": 6}, "got 6.0 and 5.0", id="settings"),
    ],
)
def test_limits_that_exclude_each_other_are_found_when_decorating(
    given: dict[str, float], settings: dict[str, float], text: str
) -> None:
    """Arguments and settings together have to make sense, too."""
    for field, value in settings.items():
        setattr(app_settings.retry, field, value)
    with pytest.raises(ValueError, match=rf"min_wait must not exceed max_wait, {text}"):
        retry_storage_operation(**given)(Dependency("done").fetch)


class AsyncCallable:
    """An object that is called like an async function; the class itself is not one."""

    async def __call__(self, key: str = "called") -> str:
        return key


def generator() -> Any:
    yield


class GeneratorCallable:
    """An object that is called like a generator function."""

    def __call__(self) -> Any:
        yield


@pytest.mark.parametrize(
    "func",
    [
        pytest.param(AsyncCallable, id="class"),
        pytest.param(generator, id="generator"),
        pytest.param(functools.partial(generator), id="partial"),
        pytest.param(GeneratorCallable(), id="generator object"),
        pytest.param(None, id="None"),
    ],
)
@EACH_TYPE
def test_only_functions_can_be_decorated(operation_type: str, func: Any) -> None:
    """The error says so when decorating."""
    with pytest.raises(TypeError, match=r"a retry decorator needs an async function .*, got"):
        DECORATORS[operation_type]()(func)


@pytest.mark.parametrize("decorator", DECORATORS.values(), ids=DECORATORS)
def test_a_forgotten_pair_of_brackets_is_an_error(decorator: Callable[..., Any]) -> None:
    """`@retry_api_call` without brackets is refused at once."""
    with pytest.raises(TypeError, match="needs parentheses, got <function"):
        decorator(Service.fetch)
    with pytest.raises(TypeError, match="needs parentheses, got <class"):
        decorator(Service)


# What can be decorated


class Service:
    """Its first attempt fails."""

    def __init__(self) -> None:
        self.attempts = 0

    @retry_worker_operation()
    async def fetch(self, key: str, *, upper: bool = False) -> str:
        """Return the key."""
        self.attempts += 1
        if self.attempts == 1:
            raise ConnectionError
        return key.upper() if upper else key

    @staticmethod
    @retry_storage_operation()
    async def static(key: str) -> str:
        return key

    @classmethod
    @retry_scheduler_operation()
    async def of_class(cls, key: str) -> str:
        return f"{cls.__name__} {key}"

    async def bare(self, key: str) -> str:
        """Return the key."""
        return key

    assigned = retry_api_call()(bare)


@pytest.mark.usefixtures("enabled")
async def test_methods_are_retried() -> None:
    """Methods get their instance or class and arguments of all kinds, on each attempt."""
    service = Service()
    assert await service.fetch("key", upper=True) == "KEY"
    assert service.attempts == 2
    assert await Service.fetch(service, key="key") == "key"
    assert await service.static("key") == "key"
    assert await Service.static("key") == "key"
    assert await service.of_class("key") == "Service key"
    assert await service.assigned("key") == "key"
    assert await retry_api_call()(service.bare)("key") == "key"
    [supervisor] = supervisors_here()
    assert set(supervisor) == {
        "worker:fetch",
        "storage:static",
        "scheduler:of_class",
        "api:bare",
    }
    assert counted("api:bare") == {"started": 2, "succeeded": 2}


class Flaky:
    """An async callable whose first attempt fails."""

    def __init__(self) -> None:
        self.attempts = 0

    async def __call__(self, key: str = "key") -> str:
        return await self.fetch(key)

    async def fetch(self, key: str) -> str:
        """Return the key."""
        self.attempts += 1
        if self.attempts == 1:
            raise ConnectionError
        return key


@EACH_MODE
@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(lambda flaky: flaky, "Flaky", id="async callable"),
        pytest.param(lambda flaky: functools.partial(flaky, "key"), "Flaky", id="its partial"),
        pytest.param(lambda flaky: functools.partial(flaky.fetch, "key"), "fetch", id="partial"),
        pytest.param(
            lambda _: AsyncMock(side_effect=[ConnectionError, "key"]), "AsyncMock", id="AsyncMock"
        ),
    ],
)
async def test_any_async_callable_is_retried(
    mode: str, make: Callable[[Flaky], Callable[[], Coroutine[Any, Any, str]]], name: str
) -> None:
    """Whatever gives a coroutine can be decorated; a partial has the name of its function."""
    assert await in_mode(mode)(make(Flaky()))() == "key"
    assert mode == "disabled" or [list(each) for each in supervisors_here()] == [
        [f"storage:{name}"]
    ]


@EACH_TYPE
def test_a_decorated_function_looks_like_itself(operation_type: str) -> None:
    """Signature, names, documentation and being async survive the decorators."""
    decorated = DECORATORS[operation_type]()(Service.bare)
    assert inspect.signature(decorated) == inspect.signature(Service.bare)
    assert decorated.__name__ == "bare"
    assert decorated.__qualname__ == "Service.bare"
    assert decorated.__module__ == __name__
    assert decorated.__doc__ == "Return the key."
    assert inspect.iscoroutinefunction(decorated)


@pytest.mark.usefixtures("enabled")
async def test_decorators_can_be_stacked() -> None:
    """A retried function can be decorated again, each decorator with a circuit of its own."""
    dependency = Dependency(ConnectionError(), "done")
    fetch = with_circuit_breaker("outer")(retry_storage_operation()(dependency.fetch))
    assert await fetch() == "done"
    assert counted("outer") == counted("storage:fetch") == {"started": 1, "succeeded": 1}


# Circuits disabled


SCRIPTS = [
    pytest.param(["done"], id="success"),
    pytest.param([ConnectionError("1"), "done"], id="success at last"),
    pytest.param([OSError("1"), TimeoutError("2"), ConnectionError("3")], id="exhausted"),
    pytest.param([OSError("1"), ValueError("2")], id="not transient"),
]


@pytest.mark.parametrize("script", SCRIPTS)
@EACH_TYPE
async def test_disabled_is_plain_tenacity(operation_type: str, script: list[object]) -> None:
    """With circuits disabled, attempts, waits and outcome are those of tenacity's own."""
    kind = (
        tenacity.wait_exponential
        if operation_type == "storage"
        else (tenacity.wait_random_exponential)
    )
    settings = app_settings.retry.model_dump()
    plain = tenacity.retry(
        sleep=anyio.sleep,
        stop=tenacity.stop_after_attempt(settings[f"{operation_type}_max_attempts"]),
        wait=kind(
            multiplier=settings[f"{operation_type}_min_wait"],
            min=settings[f"{operation_type}_min_wait"],
            max=settings[f"{operation_type}_max_wait"],
        ),
        retry=tenacity.retry_if_exception_type((ConnectionError, TimeoutError, OSError)),
        reraise=True,
    )
    histories = []
    for decorator in (plain, DECORATORS[operation_type]()):
        dependency = Dependency(*script)
        random.seed(5)
        try:
            outcome = await decorator(dependency.fetch)()
        except Exception as error:
            outcome = error
        histories.append((outcome, dependency.waits))
    (expected, expected_waits), (outcome, waits) = histories
    assert outcome is expected
    assert waits == pytest.approx(expected_waits)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("way", ["loop", "attempt", "patient", "execute_with_retry"])
async def test_disabled_starts_nothing(way: str, script: list[object]) -> None:
    """With circuits disabled, no supervisor and no task is started, before or during a call."""
    tasks = len(anyio.get_running_tasks())
    dependency = Dependency(*script)

    async def fetch() -> object:
        assert len(anyio.get_running_tasks()) == tasks
        return await dependency.fetch()

    run = {
        "loop": retry_worker_operation()(fetch),
        "attempt": retry_worker_operation(guard="attempt")(fetch),
        "patient": retry_worker_operation(guard="attempt", wait_for_recovery=True)(fetch),
        "execute_with_retry": functools.partial(execute_with_retry, fetch),
    }[way]
    try:
        await run()
    except Exception as error:
        assert error is dependency.outcomes[-1]
    assert len(anyio.get_running_tasks()) == tasks
    assert supervisors_here() == []


async def test_circuits_can_be_switched_at_run_time() -> None:
    """Switching circuits on or off takes effect on the next call."""
    app_settings.circuit_breaker.failure_threshold = 1
    dependency = Dependency(ConnectionError())
    fetch = retry_storage_operation(1)(dependency.fetch)

    async def outcome() -> type[Exception]:
        with pytest.raises((ConnectionError, CircuitBreakerOpenError)) as caught:
            await fetch()
        return caught.type

    assert [await outcome(), await outcome()] == [ConnectionError] * 2
    app_settings.circuit_breaker.enabled = True
    assert [await outcome(), await outcome()] == [ConnectionError, CircuitBreakerOpenError]
    app_settings.circuit_breaker.enabled = False
    assert await outcome() is ConnectionError
    app_settings.circuit_breaker.enabled = True
    assert await outcome() is CircuitBreakerOpenError
    assert dependency.attempts == 4


# execute_with_retry


@pytest.mark.parametrize("switch", [False, True], ids=["disabled", "enabled"])
async def test_execute_retries(switch: bool) -> None:
    """The function gets its arguments on each attempt, and its result is returned."""
    app_settings.circuit_breaker.enabled = switch
    calls: list[tuple[object, ...]] = []

    async def fetch(*args: object, **kwargs: object) -> str:
        calls.append((args, kwargs))
        if len(calls) < 3:
            raise ConnectionError
        return "done"

    assert await execute_with_retry(fetch, 1, 2, key="value", kind="x") == "done"
    assert calls == [((1, 2), {"key": "value", "kind": "x"})] * 3


async def test_execute_has_defaults(seeded: random.Random) -> None:
    """Three attempts, with random waits between 1 and 10 s, whatever the settings say."""
    app_settings.retry = RetrySettings(worker_max_attempts=9)
    errors = down(3)
    dependency = Dependency(*errors)
    with pytest.raises(ConnectionError) as caught:
        await execute_with_retry(dependency.fetch)
    assert caught.value is errors[2]
    assert dependency.waits == pytest.approx([seeded.uniform(1, 1), seeded.uniform(1, 2)])


async def test_execute_has_options(seeded: random.Random) -> None:
    """Attempts and the limits of the waits can be given."""
    dependency = Dependency(*down(5))
    with pytest.raises(ConnectionError):
        await execute_with_retry(dependency.fetch, max_attempts=5, min_wait=0.25, max_wait=1.5)
    assert dependency.waits == pytest.approx(
        [seeded.uniform(0.25, high) for high in (0.25, 0.5, 1, 1.5)]
    )


@pytest.mark.usefixtures("enabled")
async def test_execute_is_guarded() -> None:
    """The circuit counts each exhausted loop once, and refuses without an attempt when open."""
    dependency = Dependency(ConnectionError())
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await execute_with_retry(dependency.fetch, max_attempts=2)
    with pytest.raises(CircuitBreakerOpenError) as refused:
        await execute_with_retry(dependency.fetch, max_attempts=2)
    assert refused.value.operation_name == "adhoc:fetch"
    assert dependency.attempts == 6


def plain_function(key: str) -> Coroutine[Any, Any, str]:
    return AsyncCallable()(key)


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    ("func", "name"),
    [
        pytest.param(Service.static, "adhoc:static", id="function"),
        pytest.param(Service().bare, "adhoc:bare", id="method"),
        pytest.param(functools.partial(Service.static), "adhoc:static", id="partial"),
        pytest.param(functools.partial(Service().bare), "adhoc:bare", id="partial of method"),
        pytest.param(lambda key: Service.static(key=key), "adhoc:<lambda>", id="lambda"),
        pytest.param(plain_function, "adhoc:plain_function", id="plain function"),
        pytest.param(AsyncCallable(), "adhoc:AsyncCallable", id="async callable"),
        pytest.param(
            functools.partial(AsyncCallable()), "adhoc:AsyncCallable", id="partial of callable"
        ),
        pytest.param(AsyncMock(return_value="key"), "adhoc:AsyncMock", id="AsyncMock"),
    ],
)
async def test_execute_names_the_circuit(func: Callable[[str], Awaitable[str]], name: str) -> None:
    """By default the circuit is `adhoc:NAME`, for whatever returns an awaitable."""
    assert await execute_with_retry(func, "key") == "key"
    assert counted(name) == {"started": 1, "succeeded": 1}


@pytest.mark.usefixtures("enabled")
async def test_execute_takes_a_name() -> None:
    """`operation_name` is the circuit's whole name, shared with all who use it."""
    breaker = await get_circuit_breaker("billing")
    assert await execute_with_retry(Service.static, "key", operation_name="billing") == "key"
    assert breaker.statistics().succeeded == 1


@pytest.mark.parametrize("switch", [False, True], ids=["disabled", "enabled"])
@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        *BAD_ARGUMENTS,
        pytest.param({"max_attempts": None}, TypeError, "max_attempts .*, got None", id="attempts"),
        pytest.param({"min_wait": None}, TypeError, "min_wait .*, got None", id="min_wait: None"),
        pytest.param({"max_wait": None}, TypeError, "max_wait .*, got None", id="max_wait: None"),
        pytest.param({"operation_name": ""}, ValueError, "name must", id="name: empty"),
        pytest.param({"operation_name": 5}, TypeError, "name must", id="name: number"),
        pytest.param({"operation_name": 0}, TypeError, "name must", id="name: 0"),
    ],
)
async def test_execute_checks_its_arguments(
    switch: bool, given: dict[str, Any], error: type[Exception], text: str
) -> None:
    """A bad argument is an error that names it, and nothing is called or started."""
    app_settings.circuit_breaker.enabled = switch
    dependency = Dependency("done")
    with pytest.raises(error, match=text):
        await execute_with_retry(dependency.fetch, **given)
    assert dependency.attempts == 0
    assert not any(supervisors_here())


async def test_execute_needs_a_function() -> None:
    """A coroutine instead of its function cannot be tried twice, and is refused."""
    coroutine = Service.static("key")
    with pytest.raises(TypeError, match=r"needs an async function, got <coroutine"):
        await execute_with_retry(cast("Any", coroutine))
    coroutine.close()


@pytest.mark.parametrize("switch", [False, True], ids=["disabled", "enabled"])
async def test_execute_needs_an_awaitable(switch: bool) -> None:
    """A function that returns no awaitable is a TypeError, raised after one attempt."""
    app_settings.circuit_breaker.enabled = switch
    calls: list[str] = []
    with pytest.raises(TypeError, match=r"async function is needed, but .* returned None"):
        await execute_with_retry(cast("Any", calls.append), "key")
    assert calls == ["key"]


@pytest.mark.parametrize("switch", [False, True], ids=["disabled", "enabled"])
async def test_execute_can_be_cancelled(switch: bool) -> None:
    """A cancellation comes through, in an attempt as in a wait, and counts as no failure."""
    app_settings.circuit_breaker.enabled = switch
    for func in (forever, Dependency(ConnectionError()).fetch):
        with anyio.move_on_after(0.5) as scope:
            await execute_with_retry(func, operation_name="job")
        assert scope.cancelled_caught
    assert not switch or counted("job") == {"started": 2, "cancelled": 2}


async def test_execute_reports_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped variable is reported, and nothing is called."""
    monkeypatch.setenv("BINDU_CB_ENABLE", "1")
    dependency = Dependency("done")
    with pytest.raises(SettingsError, match=r"BINDU_CB_ENABLE\b.*did you mean"):
        await execute_with_retry(dependency.fetch)
    assert dependency.attempts == 0
