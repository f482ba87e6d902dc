"""Whatever is passed in is taken, and then circuits behave by it; or it is refused at once, by an
error that names the argument and shows the value, and nothing is left behind.

What may be passed in is written down here a second time, and drawn from all that people pass in
by mistake.
"""

from __future__ import annotations

import functools
import math
import sys
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import anyio
import anyio.lowlevel
import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerSettings,
    CircuitOverrides,
    CircuitStarted,
    EventStream,
    Policy,
    PolicyConflictError,
    RetrySettings,
    SettingsError,
    Supervisor,
    app_settings,
    create_retry_decorator,
    execute_with_retry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    with_circuit_breaker,
)
from supervisor.arguments import unwrapped
from supervisor.loop import EventLoop
from supervisor.supervision import supervisors_here
from supervisor.testing import run_in_virtual_time as run
from tests.support.retries import DECORATORS
from tests.support.seeds import Seeds
from tests.support.worlds import (
    BACKENDS,
    Down,
    by_block,
    by_call,
    by_decorator,
    by_permit,
    crash,
    fail,
    succeed,
)

each_backend = pytest.mark.parametrize("backend", BACKENDS)

FEW = 4
"""Counts up to this one are tried out to their end."""

MONTH = 2.6e6
"""Seconds up to which times are waited for; asyncio sleeps at most a day at a time."""

MOMENT = 1e-6
"""Seconds that every clock tells apart from none at all."""


Search = Callable[..., None]


@pytest.fixture
def search(seeds: Seeds, figures: Counter[str]) -> Search:
    """Check the corners and so many examples, and count them."""

    def search(
        what: str,
        examples: int,
        strategy: st.SearchStrategy[Any],
        check: Callable[[Any], object],
        corners: Iterable[Any] = (),
    ) -> None:
        def check_one(example: Any) -> None:
            figures[f"examples of bad input: {what}"] += 1
            check(example)

        for corner in corners:
            check_one(corner)
        drawn = settings(
            max_examples=examples * seeds.effort,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        luck = next(seeds(1))
        drawn(hypothesis.seed(luck)(given(strategy)(check_one)))()

    return search


# What is passed in


class Index:
    """Looks like one of numpy's integers."""

    def __index__(self) -> int:
        return 3


class Name(str):
    """A name that knows more than its text."""


class Operation(str, Enum):  # noqa: UP042  (what it is in code for older Pythons)
    """Names as many programs keep them."""

    FETCH = "fetch"


class Mute:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise LookupError("no repr")


class ArrayLike:
    """Compares like one of numpy's arrays: not to a truth value."""

    def __eq__(self, other: object) -> Any:
        return Mixed()

    __hash__ = None  # type: ignore[assignment]


class Mixed:
    """Neither true nor false."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


class LooseName(str):
    """Has an equality of its own, and so no hash."""

    def __eq__(self, other: object) -> bool:
        return str(self).lower() == str(other).lower()

    __hash__ = None  # type: ignore[assignment]


ODD_NUMBERS = [
    *(0, -1, 1, 2, 10**18, 10**400, -(10**400), True, False, None),
    *(math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 5e-324, 1e-12, sys.float_info.max),
    *(Decimal(3), Decimal("NaN"), Decimal("-Infinity"), Fraction(1, 3), timedelta(seconds=3)),
    *("", "3", "1.5", b"3", [3], {}, 3j, Index(), object(), int, len),
]
odd_numbers = st.sampled_from(ODD_NUMBERS)
anything_numeric = odd_numbers | st.integers() | st.floats() | st.text(max_size=5) | st.decimals()
counts = st.integers(1, FEW + 2) | anything_numeric
seconds = st.floats(1e-3, 1e4) | st.integers(1, 1000) | anything_numeric

ODD_NAMES = ["", " ", "   ", "\u3000", "\n", "a\tb", "\ud800", "\x00", "\x7f", "n" * 255, "n" * 256]
names = (
    st.text(max_size=12)
    | st.text("aZ9 _-.:<>{}%\\'\"é数", min_size=1, max_size=30)
    | st.text(st.characters(codec=None, categories=["Cc", "Cs", "Zs", "Zl", "Cf"]), max_size=3)
    | st.sampled_from([1, 254, 255, 256, 10**4]).map("n".__mul__)
    | st.sampled_from([None, 7, b"api", ["api"], True, Name("api"), Name(""), Operation.FETCH])
    | st.sampled_from([math.nan, Index(), object(), str, {"name": "api"}, *ODD_NAMES])
)


# What may be passed in


def is_count(value: object, at_least: int = 1) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and at_least <= value <= 10**100


def is_seconds(value: object) -> bool:
    """Whether it is a number above 0 that a float can hold."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value <= sys.float_info.max  # type: ignore[operator]


def as_taken(value: Any, valid: Callable[[Any], bool]) -> object:
    """What a good value is kept as: times become floats."""
    return float(value) if valid is is_seconds else value


def is_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 255
        and value.isprintable()
        and not value.isspace()
    )


POLICY = {
    "failure_threshold": is_count,
    "recovery_timeout": is_seconds,
    "success_threshold": is_count,
    "probe_timeout": is_seconds,
}
policies = st.fixed_dictionaries(
    {},
    optional={field: counts if valid is is_count else seconds for field, valid in POLICY.items()},
)
ODD_POLICIES = [{field: value} for field in POLICY for value in ODD_NUMBERS]
RETRIES = {"max_attempts": is_count, "min_wait": is_seconds, "max_wait": is_seconds}


def bad_ones(values: dict[str, Any], valid: dict[str, Callable[[Any], bool]]) -> dict[str, Any]:
    return {field: value for field, value in values.items() if not valid[field](value)}


def shown(value: object) -> str:
    """What errors show of it at least: the start."""
    return repr(value)[:256]


@contextmanager
def judged(bad: dict[str, Any]) -> Iterator[None]:
    """The block takes its arguments if none is bad; else it refuses one, and says which and why."""
    try:
        yield
    except (TypeError, ValueError) as error:
        told = str(error)
        assert any(field in told and shown(value) in told for field, value in bad.items()), told
    else:
        assert not bad, "taken"


# What is left behind


@asynccontextmanager
async def nothing_left_behind(supervisor: Supervisor) -> AsyncIterator[None]:
    """The block starts no circuit and no task, tells nobody anything, and counts nothing."""
    events = supervisor.events()
    figures, tasks = supervisor.statistics(), task_ids()
    yield
    assert supervisor.statistics() == figures
    assert task_ids() == tasks
    await is_sound(supervisor, "control", events)
    supervisor.stop("control")


def task_ids() -> set[int]:
    return {task.id for task in anyio.get_running_tasks()}


async def is_sound(supervisor: Supervisor, name: str, events: EventStream) -> None:
    """A correct call works, and the start of its circuit is the next event there is."""
    assert await supervisor.circuit(name, failure_threshold=2).call(succeed) == "fine"
    event = await anext(events)
    assert isinstance(event, CircuitStarted)
    assert event.circuit == name


async def behaves_by(breaker: CircuitBreaker, policy: Policy) -> None:
    """Drive a new circuit through its states, and find its policy in what it does."""
    for calls in range(min(policy.failure_threshold, FEW)):
        assert (breaker.state, breaker.failure_count) == ("closed", calls)
        with pytest.raises(Down):
            await breaker.call(fail)
    if policy.failure_threshold > FEW:
        assert breaker.state == "closed"
        return
    opened, early_by = anyio.current_time(), EventLoop.here().early_by
    if opened + policy.recovery_timeout > opened + early_by:  # else it may be over for some already
        assert breaker.state == "open"
        assert breaker.retry_after == opened + policy.recovery_timeout - opened
        with pytest.raises(CircuitBreakerOpenError) as caught:
            await breaker.call(succeed)
        assert caught.value.retry_after == breaker.retry_after
        assert "open" in str(caught.value)
    if policy.recovery_timeout > MONTH:
        return
    await anyio.sleep(policy.recovery_timeout * 1.5 + MOMENT)
    assert breaker.state == "half_open"
    if policy.probe_timeout <= MONTH:
        permit = await breaker.acquire()
        await anyio.sleep(policy.probe_timeout * 1.5 + MOMENT)
        permit.succeed()
        assert breaker.statistics().times_opened == 2
        await anyio.sleep(policy.recovery_timeout * 1.5 + MOMENT)
    if policy.probe_timeout >= MOMENT:
        for _ in range(min(policy.success_threshold, FEW)):
            assert breaker.state == "half_open"
            await breaker.call(succeed)
        assert breaker.state == ("closed" if policy.success_threshold <= FEW else "half_open")


# Policies, and the other numbers of constructors


@pytest.mark.parametrize("make", [Policy, functools.partial(CircuitBreaker, "x")])
def test_policies(search: Search, make: Callable[..., Any]) -> None:
    """A policy is taken if all its fields are right, and then has the very values given."""

    def check(fields: dict[str, Any]) -> None:
        with judged(bad_ones(fields, POLICY)):
            made = make(**fields)
            for field, value in fields.items():
                assert getattr(made, field) == as_taken(value, POLICY[field])

    search("policies", 100, policies, check, ODD_POLICIES)


@each_backend
@pytest.mark.parametrize("ask", ["supervisor", "registry", "breaker"])
def test_circuits(search: Search, backend: str, ask: str) -> None:
    """A circuit is started by a good name and policy, and behaves by them; else nothing is."""

    async def one(name: Any, fields: dict[str, Any], start: float) -> None:
        await anyio.sleep(start)
        async with Supervisor() as supervisor:
            await supervisor.circuit("bystander").call(succeed)
            bad = bad_ones(fields, POLICY)
            if not is_name(name):
                bad["circuit's name"] = name
            if bad:
                async with nothing_left_behind(supervisor):
                    with judged(bad):
                        await make(supervisor, name, fields)
                fields = {field: value for field, value in fields.items() if field not in bad}
                name = "corrected"
            breaker = await make(supervisor, name, fields)
            await behaves_by(breaker, Policy(**fields))
            assert breaker.name == name
            assert supervisor[name].statistics() == breaker.statistics()

    async def make(supervisor: Supervisor, name: Any, fields: dict[str, Any]) -> CircuitBreaker:
        if ask == "breaker":
            return CircuitBreaker(name, **fields)
        if ask == "registry":
            return await get_circuit_breaker(name, **fields)
        return supervisor.circuit(name, **fields)

    def check(drawn: tuple[Any, dict[str, Any], float]) -> None:
        name, fields, start = drawn
        if ask == "registry":  # which takes no probe_timeout, and None for the settings' value
            fields = {
                field: value
                for field, value in fields.items()
                if field != "probe_timeout" and value is not None
            }
        run(lambda: one("x" if name == "bystander" else name, fields, start), backend=backend)

    # Times are added to the clock's: what is lost in that sum depends on how late it is.
    drawn = st.tuples(st.just("x") | names, policies, st.sampled_from([0, 1e-9, 1e6]))
    search(f"circuits, {backend}", 30, drawn, check)


def test_supervisors(search: Search) -> None:
    """A supervisor is taken with a sound intensity of restarts and one of three verdicts."""
    valid = {
        "max_restarts": functools.partial(is_count, at_least=0),
        "restart_period": is_seconds,
        "on_give_up": ("escalate", "allow", "refuse").__contains__,
        "restart_pause": lambda value: value is None or is_seconds(value),
    }
    arguments = {
        "max_restarts": counts,
        "restart_period": seconds,
        "on_give_up": st.sampled_from(["escalate", "allow", "refuse"]) | odd_numbers,
        "restart_pause": seconds,
    }

    def check(given: dict[str, Any]) -> None:
        with judged(bad_ones(given, valid)):
            made = Supervisor(**given)
            for field, value in given.items():
                assert getattr(made, field) == as_taken(value, valid[field])
            assert not made

    corners = [{field: value} for field in valid for value in ODD_NUMBERS]
    search("supervisors", 100, st.fixed_dictionaries({}, optional=arguments), check, corners)


@each_backend
def test_restarts(search: Search, backend: str) -> None:
    """Whatever intensity was taken is kept: so many crashes are mended, one more is not."""

    async def one(max_restarts: int, restart_period: float, start: float) -> None:
        await anyio.sleep(start)
        async with Supervisor(
            max_restarts=max_restarts, restart_period=restart_period, on_give_up="refuse"
        ) as supervisor:
            breaker = supervisor.circuit("x")
            for crashes in range(max_restarts + 1):
                assert await breaker.call(succeed) == "fine"
                assert breaker.statistics().restarts == crashes
                crash(supervisor, "x")
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
            with pytest.raises(CircuitBreakerOpenError, match="given up"):
                await breaker.call(succeed)

    # From a period of 1e-9 s on: see `test_a_restart_period_that_the_clock_cannot_tell`.
    periods = seconds.filter(lambda period: is_seconds(period) and period > 1e-9)
    drawn = st.tuples(st.integers(0, FEW), periods, st.sampled_from([0, 1e3]))
    search(
        f"restarts, {backend}", 40, drawn, lambda drawn: run(lambda: one(*drawn), backend=backend)
    )


@each_backend
def test_buffers(search: Search, backend: str) -> None:
    """A stream of events keeps as many as its buffer says, and is not made for a bad buffer."""

    async def one(buffer: Any) -> None:
        async with Supervisor() as supervisor:
            async with nothing_left_behind(supervisor):
                with judged({} if is_count(buffer) else {"buffer": buffer}):
                    supervisor.events(buffer)
            if is_count(buffer):
                events = supervisor.events(buffer)
                for number in range(FEW):
                    supervisor.circuit(f"circuit {number}")
                kept = [await anext(events) for _ in range(min(buffer, FEW))]
                assert [event.circuit for event in kept] == list(supervisor)[:buffer]
                if buffer < FEW:
                    assert (await anext(events)).count == FEW - buffer

    search(
        f"buffers, {backend}", 60, counts, lambda drawn: run(lambda: one(drawn), backend=backend)
    )


# Names


@each_backend
def test_lookups(search: Search, backend: str) -> None:
    """Looking for what cannot be a name finds nothing, and stopping it stops nothing."""

    async def one(name: Any) -> None:
        async with Supervisor() as supervisor:
            supervisor.circuit("api")
            found = name == "api"
            async with nothing_left_behind(supervisor):
                assert (supervisor.find(name) is not None) is found
                assert (name in supervisor) is found
                assert (get_circuit_breaker_sync(name) is not None) is found
                if not found:
                    with pytest.raises(KeyError) as caught:
                        supervisor.stop(name)
                    assert caught.value.args == (name,)
                    with pytest.raises(KeyError):
                        supervisor[name]

    hashable = names.filter(lambda name: not isinstance(name, list | dict))
    search(
        f"lookups, {backend}", 60, hashable, lambda name: run(lambda: one(name), backend=backend)
    )


@each_backend
def test_operation_names(enabled: None, search: Search, backend: str) -> None:
    """Functions get their circuit by a good name; a bad one is refused before anything runs."""

    async def one(name: Any) -> None:
        calls: list[object] = []

        async def function() -> str:
            calls.append(name)
            return "fine"

        async with Supervisor() as supervisor:
            bad = {} if is_name(name) or name is None else {"circuit's name": name}
            async with nothing_left_behind(supervisor):
                with judged(bad):
                    decorated = with_circuit_breaker(name)(function)
                if bad:
                    with judged(bad):
                        await execute_with_retry(function, operation_name=name)
            assert not calls
            if not bad:
                assert await decorated() == "fine"
                assert await execute_with_retry(function, operation_name=name) == "fine"
                expected = [name] if name else [function.__qualname__, "adhoc:function"]
                assert list(supervisor) == expected
                assert app_settings.circuit_breaker.policy(expected[0]) == Policy()

    search(
        f"operation names, {backend}",
        30,
        names,
        lambda name: run(lambda: one(name), backend=backend),
        ODD_NAMES,
    )


@pytest.mark.parametrize("operation_type", DECORATORS)
def test_functions_own_names(search: Search, operation_type: str) -> None:
    """A function whose own name makes no circuit's name is refused when it is decorated."""

    def check(name: Any) -> None:
        async def function() -> None: ...

        text = isinstance(name, str)
        function.__name__ = function.__qualname__ = name if text else "function"
        key = f"{operation_type}:{function.__name__}"
        with judged({} if is_name(key) else {"circuit's name": key}):
            DECORATORS[operation_type]()(function)
        with judged({} if is_name(function.__name__) else {"circuit's name": function.__name__}):
            with_circuit_breaker()(function)

    search("functions' own names", 30, names, check, ODD_NAMES)


# Retries


waits = st.none() | seconds
retry_arguments = st.fixed_dictionaries(
    {}, optional={"max_attempts": st.none() | counts, "min_wait": waits, "max_wait": waits}
)


@each_backend
@pytest.mark.parametrize("way", [*DECORATORS, "execute"])
def test_retries(enabled: None, search: Search, backend: str, way: str) -> None:
    """So many attempts are made as were asked for, with waits in their range; or none at all."""

    async def one(given: dict[str, Any]) -> None:
        times: list[float] = []

        async def function() -> None:
            times.append(anyio.current_time())
            if len(times) <= FEW:
                raise Down

        async with Supervisor() as supervisor:
            wanted = with_defaults(given)
            bad = bad_ones(wanted, RETRIES)
            if not bad and wanted["min_wait"] > wanted["max_wait"]:
                bad = {"min_wait": wanted["min_wait"], "max_wait": wanted["max_wait"]}
            if bad:
                async with nothing_left_behind(supervisor):
                    with judged(bad):
                        await prepare(function, given)()
                assert not times
                given, wanted = {}, with_defaults({})
            if wanted["max_wait"] > MONTH:
                return
            if wanted["max_attempts"] > FEW:
                await prepare(function, given)()
            else:
                with pytest.raises(Down):
                    await prepare(function, given)()
            assert len(times) == min(wanted["max_attempts"], FEW + 1)
            for before, after in pairwise(times):
                assert after - before >= wanted["min_wait"] - MOMENT
                assert after - before <= wanted["max_wait"] + MOMENT

    def with_defaults(given: dict[str, Any]) -> dict[str, Any]:
        if way == "execute":  # where None is no value
            return {"max_attempts": 3, "min_wait": 1, "max_wait": 10, **given}
        explicit = {field: value for field, value in given.items() if value is not None}
        return {
            field: explicit.get(field, getattr(app_settings.retry, f"{way}_{field}"))
            for field in RETRIES
        }

    def prepare(
        function: Callable[[], Awaitable[None]], given: dict[str, Any]
    ) -> Callable[[], Awaitable[None]]:
        if way == "execute":
            return functools.partial(execute_with_retry, function, **given)
        decorated: Callable[[], Awaitable[None]] = DECORATORS[way](**given)(function)
        return decorated

    search(
        f"retries, {backend}",
        40,
        retry_arguments,
        lambda drawn: run(lambda: one(drawn), backend=backend),
    )


def test_choices(search: Search) -> None:
    """What is one of a few words is nothing else."""
    valid = {"operation_type": DECORATORS.__contains__, "guard": ("loop", "attempt").__contains__}
    words = st.sampled_from([*DECORATORS, "loop", "attempt", "API", " api", Name("api")])
    strange = names.filter(lambda name: not isinstance(name, list | dict))

    def check(drawn: tuple[Any, Any]) -> None:
        operation_type, guard = drawn
        with judged(bad_ones({"operation_type": operation_type, "guard": guard}, valid)):
            create_retry_decorator(operation_type, guard=guard)(succeed)

    search("choices", 70, st.tuples(words | strange, words | strange), check)


# Functions


async def coroutine_function(*_: object) -> str:
    return "fine"


def generator(*_: object) -> Iterator[str]:
    yield "fine"


async def async_generator(*_: object) -> AsyncIterator[str]:
    yield "fine"


class Methods:
    """Functions in all places where a class can have them."""

    async def method(self, *_: object) -> str:
        return "fine"

    @classmethod
    async def of_class(cls, *_: object) -> str:
        return "fine"

    @staticmethod
    async def static(*_: object) -> str:
        return "fine"

    async def __call__(self, *_: object) -> str:
        return "fine"


class Plain:
    """An object that can be called, and awaits nothing."""

    def __init__(self, *_: object) -> None: ...

    def __call__(self, *_: object) -> str:
        return "fine"


class Pending:
    """A class whose instances can be awaited."""

    def __init__(self, *_: object) -> None: ...

    def __await__(self) -> Iterator[Any]:
        return coroutine_function().__await__()


ASYNC = [coroutine_function, Methods(), Methods().method, Methods.of_class, Methods.static]
STATIC = Methods.__dict__["static"]
AWAITABLE = [lambda *_: coroutine_function(), Pending, STATIC]
SYNC = [generator, async_generator, Plain(), lambda *_: 42, Plain, Methods.method, print]
GENERATORS = [generator, async_generator]
RETRIED = [each for each in (*AWAITABLE, *SYNC) if each not in (generator, Plain, Pending)]
NO_FUNCTION = [None, 42, "succeed", Methods.__dict__["of_class"], object(), ...]

Kind = str
functions = st.one_of(
    *(
        st.tuples(st.just(kind), st.sampled_from(examples), st.integers(0, 3))
        for kind, examples in {"async": ASYNC, "awaitable": AWAITABLE, "sync": SYNC}.items()
    ),
    st.tuples(st.just("none"), st.sampled_from(NO_FUNCTION), st.just(0)),
)


def wrapped(function: Any, times: int) -> Any:
    for _ in range(times):
        function = functools.partial(function, "argument")
    return function


@each_backend
def test_functions_to_decorate(enabled: None, search: Search, backend: str) -> None:
    """A decorator takes what is sure to be async, and refuses the rest before any call; those that
    retry take plain functions and async generator functions as well.
    """

    async def one(kind: Kind, function: Any, times: int) -> None:
        function = wrapped(function, times)
        async with Supervisor() as supervisor:
            plainest: list[Callable[[Any], Any]] = [
                CircuitBreaker("x"),
                supervisor.circuit("y"),
                with_circuit_breaker(),
            ]
            retries = [make(guard=guard) for make in DECORATORS.values() for guard in GUARDS]
            for decorate in [*plainest, *retries]:
                takes = kind == "async" or (decorate in retries and unwrapped(function) in RETRIED)
                if isinstance(unwrapped(function), staticmethod | classmethod):
                    takes = True  # what is in it is decorated
                async with nothing_left_behind(supervisor):
                    with judged({} if takes else {"async function": function}):
                        decorated = decorate(function)
                if kind == "async":
                    assert await decorated("more") == "fine"

    # `Methods.method` lacks its `self`: that is found by the call.
    drawn = functions.filter(lambda drawn: drawn[1] is not Methods.method)
    search(
        f"functions to decorate, {backend}",
        30,
        drawn,
        lambda drawn: run(lambda: one(*drawn), backend=backend),
    )


GUARDS = ("loop", "attempt")


@each_backend
def test_functions_to_call(search: Search, backend: str) -> None:
    """`call` runs what can be awaited; the rest is a mistake that does not count, in any state."""

    async def one(kind: Kind, function: Any, times: int, state: str) -> None:
        function = wrapped(function, times)
        async with Supervisor() as supervisor:
            breaker = await circuit_in(supervisor, state)
            before = breaker.statistics()
            if kind in ("async", "awaitable"):
                assert await breaker.call(function, "more") == "fine"
                assert breaker.state == "closed"
                return
            with pytest.raises(TypeError, match="needs an async function"):
                await breaker.call(function)
            after = breaker.statistics()
            assert (after.state, after.failed) == (before.state, before.failed)
            assert (after.ignored, after.in_flight) == (before.ignored + 1, 0)
            assert await breaker.call(succeed) == "fine"

    # `Methods.method` without its `self` is an async function that is called wrongly.
    drawn = st.tuples(
        functions.filter(lambda drawn: drawn[1] is not Methods.method), st.sampled_from(STATES)
    )
    search(
        f"functions to call, {backend}",
        30,
        drawn,
        lambda drawn: run(lambda: one(*drawn[0], drawn[1]), backend=backend),
    )


@each_backend
def test_functions_to_retry(search: Search, backend: str) -> None:
    """What cannot be awaited is called at most once; none, or a generator, starts nothing."""

    async def one(enabled: bool, kind: Kind, function: Any, times: int) -> None:
        function = wrapped(function, times)
        app_settings.circuit_breaker.enabled = enabled
        async with Supervisor() as supervisor:
            if kind in ("async", "awaitable"):
                assert await execute_with_retry(function, "more") == "fine"
            elif kind == "none" or unwrapped(function) in GENERATORS:
                async with nothing_left_behind(supervisor):
                    with judged({"async function": function}):
                        await execute_with_retry(function)
            else:
                with pytest.raises(TypeError, match="async function is needed") as caught:
                    await execute_with_retry(function, Plain())
                assert repr(function) in str(caught.value)

    drawn = functions.filter(lambda drawn: drawn[1] not in (Methods.method, Methods.of_class))
    drawn = drawn.filter(lambda drawn: not isinstance(drawn[1], classmethod))
    search(
        f"functions to retry, {backend}",
        30,
        st.tuples(st.booleans(), drawn),
        lambda drawn: run(lambda: one(drawn[0], *drawn[1]), backend=backend),
    )


# Errors of the guarded functions


class Hostile(Exception):
    """Everything that might be done with an error raises."""

    def __str__(self) -> str:
        raise LookupError("no text")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise LookupError("no equality")

    def __hash__(self) -> int:
        raise LookupError("no hash")


class Doubtful(Hostile):
    """Has no truth value either."""

    def __bool__(self) -> bool:
        raise LookupError("no truth value")


class Empty(ConnectionError):
    """A collection of errors that has none in it, and so is false."""

    def __len__(self) -> int:
        return 0


class Textless(Exception):
    """Its text is none."""

    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307


class Exit(BaseException):
    """Not for those who catch an `Exception`."""


ERRORS: list[Callable[[], BaseException]] = [
    Hostile,
    Textless,
    StopIteration,
    StopAsyncIteration,
    Exit,
    lambda: TypeError("of the function's own"),
    lambda: ValueError("x" * 10**6),
    lambda: ValueError("\ud800\x00\n{}"),
    lambda: RuntimeError(Mute()),
    lambda: ExceptionGroup("several", [Hostile(), Down()]),
    lambda: BaseExceptionGroup("several", [Exit()]),
    lambda: CircuitBreakerOpenError("another circuit", math.inf),
    type("E" * 500, (Exception,), {}),
]
DOUBTFUL: list[Callable[[], BaseException]] = [Doubtful, Empty]
STATES = ["closed", "about to open", "half_open"]


async def circuit_in(supervisor: Supervisor, state: str) -> CircuitBreaker:
    """A circuit that has come to that state, in which a failure opens it unless it is closed."""
    breaker = supervisor.circuit("x", failure_threshold=3 if state == "closed" else 1)
    if state == "half_open":
        with pytest.raises(Down):
            await breaker.call(fail)
        await anyio.sleep(breaker.recovery_timeout)
    return breaker


@each_backend
def test_errors(search: Search, backend: str) -> None:
    """Whatever a function raises comes out as it is and is counted once, in each way and state."""

    async def one(
        make: Callable[[], BaseException],
        early: bool,
        way: Callable[..., Awaitable[str]],
        state: str,
    ) -> None:
        error = make()

        def function() -> Awaitable[str]:
            if early:
                raise error
            return late()

        async def late() -> str:
            raise error

        async with Supervisor() as supervisor:
            breaker = await circuit_in(supervisor, state)
            before = breaker.statistics()
            with pytest.raises(BaseException) as caught:  # noqa: PT011
                await way(breaker, function)
            # No coroutine can raise a StopIteration: Python puts another error round it.
            turned = isinstance(error, StopIteration)
            assert (caught.value.__cause__ if turned else caught.value) is error
            failed = isinstance(error, Exception) and not isinstance(error, StopAsyncIteration)
            after = breaker.statistics()
            assert after.failed == before.failed + failed
            assert after.cancelled == before.cancelled + (not isinstance(error, Exception))
            assert after.in_flight == after.ignored == 0
            assert (after.state == "open") is (failed and state != "closed")
            if after.state == "open":
                assert after.last_failure
                assert type(error).__name__[:200] in after.last_failure or turned
                assert len(after.last_failure) <= 200
                await anyio.sleep(breaker.recovery_timeout)
            assert await breaker.call(succeed) == "fine"
            assert breaker.state == "closed"

    ways = [by_call, by_block, by_decorator, by_permit]
    drawn = st.tuples(
        st.sampled_from(ERRORS + DOUBTFUL),
        st.booleans(),
        st.sampled_from(ways),
        st.sampled_from(STATES),
    )
    search(
        f"errors, {backend}", 150, drawn, lambda drawn: run(lambda: one(*drawn), backend=backend)
    )


@each_backend
def test_errors_in_retries(search: Search, backend: str) -> None:
    """Retries pass on what they do not retry, and count it once; hostile arguments harm nobody."""

    async def one(make: Callable[[], BaseException], guard: Any, enabled: bool) -> None:
        app_settings.circuit_breaker.enabled = enabled
        error, argument = make(), Mute()
        calls: list[object] = []

        @create_retry_decorator("api", 3, guard=guard)
        async def function(given: object) -> str:
            calls.append(given)
            if len(calls) == 1:
                raise Down(Mute())  # which is tried again, and logged
            if len(calls) == 2:
                raise error
            return "fine"

        async with Supervisor() as supervisor:
            with pytest.raises(BaseException) as caught:  # noqa: PT011
                await function(argument)
            turned = isinstance(error, StopIteration)
            assert (caught.value.__cause__ if turned else caught.value) is error
            assert calls == [argument] * 2
            assert await function(argument) == "fine"
            assert list(supervisor) == (["api:function"] if enabled else [])
            for figures in supervisor.statistics().values():
                failed = isinstance(error, Exception) and not isinstance(error, StopAsyncIteration)
                assert figures.failed == failed + (guard == "attempt")
                assert (figures.cancelled, figures.in_flight) == (
                    not isinstance(error, Exception),
                    0,
                )

    # Errors that are false: see `test_an_error_that_is_false_is_retried`.
    drawn = st.tuples(st.sampled_from(ERRORS), st.sampled_from(GUARDS), st.booleans())
    search(
        f"errors in retries, {backend}", 60, drawn, lambda d: run(lambda: one(*d), backend=backend)
    )


@each_backend
def test_permits(search: Search, backend: str) -> None:
    """A permit settled with whatever as its error is one failure, and is settled."""

    async def one(make: Callable[[], object], state: str) -> None:
        async with Supervisor() as supervisor:
            breaker = await circuit_in(supervisor, state)
            before = breaker.statistics()
            permit = await breaker.acquire()
            permit.fail(make())  # type: ignore[arg-type]
            after = breaker.statistics()
            assert permit.settled
            assert (after.failed, after.in_flight) == (before.failed + 1, 0)
            assert (after.state == "open") is (state != "closed")

    strange = st.sampled_from([None, "text", 42, Mute(), ValueError]).map(lambda it: lambda: it)
    drawn = st.tuples(st.sampled_from(ERRORS) | strange, st.sampled_from(STATES))
    search(
        f"permits, {backend}", 60, drawn, lambda drawn: run(lambda: one(*drawn), backend=backend)
    )


# Settings


GROUPS = {"BINDU_CB_": CircuitBreakerSettings, "BINDU_RETRY_": RetrySettings}
NUMBERS = {
    prefix + field.upper(): (group, field, is_count if kind is int else is_seconds)
    for prefix, group in GROUPS.items()
    for field, info in group.model_fields.items()
    if (kind := info.annotation) in (int, float)
    and (
        group is RetrySettings or field in POLICY
    )  # the other fields: tests/settings/test_settings.py
}


def number_of(value: Any, kind: Callable[[Any], float]) -> float:
    """The number that a setting is taken for, since settings are also read from text."""
    return float(value) if isinstance(value, str) else kind(value)


def test_settings(search: Search) -> None:
    """A setting is taken as the number that it means, or refused under its variable's name."""

    def check(drawn: tuple[str, Any]) -> None:
        variable, value = drawn
        group, field, valid = NUMBERS[variable]
        kept = group()
        for put in (lambda: group(**{field: value}), lambda: assigned(group(), field, value)):
            try:
                made = put()
            except SettingsError as error:
                assert variable in str(error)
                if "must not exceed" not in str(error):  # the one bound by itself is right
                    assert not valid(value)
                    assert shown(value) in str(error)
            else:
                taken = getattr(made, field)
                assert valid(taken)
                assert not isinstance(value, bool)
                assert taken == number_of(value, type(taken))
        with pytest.raises(SettingsError, match=variable):
            setattr(kept, field, -1)
        assert kept == group()

    def assigned(group: Any, field: str, value: Any) -> Any:
        setattr(group, field, value)
        return group

    search(
        "settings",
        100,
        st.tuples(st.sampled_from(sorted(NUMBERS)), counts | seconds),
        check,
        product(sorted(NUMBERS), ODD_NUMBERS),
    )


def test_settings_of_single_circuits(search: Search) -> None:
    """What a circuit's own settings take makes a policy; what they refuse is named and shown."""

    def check(fields: dict[str, Any]) -> None:
        try:
            made = CircuitOverrides(**fields)
        except ValueError as error:
            assert any(field in str(error) for field in fields)
            with pytest.raises(SettingsError) as caught:
                CircuitBreakerSettings(circuits={"x": fields})
            assert any(
                f"BINDU_CB_CIRCUITS__X__{field}".upper() in str(caught.value)
                and shown(value) in str(caught.value)
                for field, value in fields.items()
            )
        else:
            given = made.model_dump(exclude_none=True)
            own = CircuitBreakerSettings(circuits={"x": fields})
            assert own.policy("x") == Policy(**given)
            assert own.policy("other") == Policy()
        bad = bad_ones(fields, POLICY)
        assert bad or asdict(own.policy("x")) == asdict(Policy(**fields))

    search("settings of single circuits", 70, policies, check, ODD_POLICIES)


@pytest.mark.parametrize("group", [CircuitBreakerSettings, RetrySettings, CircuitOverrides])
def test_names_of_settings(search: Search, group: Any) -> None:
    """A keyword that is no setting is an error that names it."""

    def check(name: str) -> None:
        with pytest.raises(ValueError, match=r"(?i)unknown setting|not permitted") as caught:
            group(**{name: 3})
        assert name.upper() in str(caught.value).upper()

    known = set(group.model_fields)
    letters = st.text("abcdeflrstuy_", min_size=1, max_size=12)
    near = st.sampled_from(sorted(known)).map(lambda name: name[:-1])
    # Names with a leading underscore: see `test_a_setting_with_an_underscore_too_many`.
    drawn = (letters | near).filter(lambda name: name not in known and not name.startswith("_"))
    search("names of settings", 30, drawn, check)


# What was found, and has been mended


@each_backend
def test_a_restart_period_that_the_clock_cannot_tell(backend: str) -> None:
    """A period that is lost in the clock's time still lets crashes be mended."""

    async def main() -> None:
        await anyio.sleep(1e3)
        async with Supervisor(restart_period=5e-324) as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            crash(supervisor, "x")
            await anyio.sleep(1)
            assert await breaker.call(succeed) == "fine"
            assert breaker.statistics().restarts == 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trio's, about the tasks that died of the crash
        run(main, backend=backend)


@pytest.mark.parametrize("make", [*DOUBTFUL, type("Minor", (Empty, ValueError), {})])
@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.anyio
async def test_an_error_that_is_false_is_retried(enabled: None, guard: Any, make: Any) -> None:
    """A retried function raises what it raises, whatever that says of itself."""
    error = make()

    @create_retry_decorator("api", 2, guard=guard)
    async def function() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await function()
    assert caught.value is error


UNSHOWABLE = [pytest.param(Mute(), id="no repr"), pytest.param(-(10**5000), id="5,000 digits")]


@pytest.mark.parametrize("value", UNSHOWABLE)
@pytest.mark.parametrize(
    ("take", "argument"),
    [
        (CircuitBreaker, "name"),
        (lambda value: Policy(failure_threshold=value), "failure_threshold"),
        (lambda value: Policy(recovery_timeout=value), "recovery_timeout"),
        (lambda value: Supervisor(on_give_up=value), "on_give_up"),
        (lambda value: Supervisor().events(value), "buffer"),
        (create_retry_decorator, "operation_type"),
        (lambda value: create_retry_decorator("api", min_wait=value), "min_wait"),
        (with_circuit_breaker(), "async function"),
        (lambda value: CircuitBreakerSettings(failure_threshold=value), "FAILURE_THRESHOLD"),
        (lambda value: CircuitBreakerSettings(bogus=value), "BOGUS"),
    ],
)
def test_what_cannot_be_shown(take: Callable[[Any], object], argument: str, value: Any) -> None:
    """The error still names the argument."""
    with pytest.raises((TypeError, ValueError), match=argument):
        take(value)


@pytest.mark.anyio
async def test_a_conflict_about_a_huge_threshold() -> None:
    """A threshold that is taken can also be told when another is asked for."""
    async with Supervisor() as supervisor:
        supervisor.circuit("x", failure_threshold=10**100)
        with pytest.raises(PolicyConflictError, match="failure_threshold"):
            supervisor.circuit("x", failure_threshold=3)


@pytest.mark.parametrize(
    ("take", "argument"),
    [
        (lambda value: Supervisor(on_give_up=value), "on_give_up"),
        (create_retry_decorator, "operation_type"),
        (lambda value: create_retry_decorator("api", guard=value), "guard"),
    ],
)
def test_a_choice_that_cannot_be_compared(take: Callable[[Any], object], argument: str) -> None:
    """An array in the place of a word is refused like any other value."""
    with pytest.raises((TypeError, ValueError), match=argument):
        take(ArrayLike())


@pytest.mark.anyio
async def test_bad_arguments_for_a_circuit_that_exists() -> None:
    """Who asks for a circuit by bad arguments is told so, whoever has asked before."""
    await get_circuit_breaker("x")
    with pytest.raises(ValueError, match="failure_threshold"):
        await get_circuit_breaker("x", failure_threshold=-1)


@pytest.mark.anyio
async def test_bad_arguments_start_no_supervisor() -> None:
    """A request that is refused starts no task."""
    tasks = task_ids()
    with pytest.raises(ValueError, match="failure_threshold"):
        await get_circuit_breaker("x", failure_threshold=0)
    assert task_ids() == tasks
    assert not supervisors_here()


@pytest.mark.anyio
async def test_a_type_error_without_a_traceback() -> None:
    """A TypeError of an awaitable is a failure, also if no Python code of its own raised it."""

    class Failed:
        def __await__(self) -> Iterator[Any]:
            return map(int, [None]).__iter__()  # type: ignore[list-item]

    breaker = CircuitBreaker("x", failure_threshold=1)
    with pytest.raises(TypeError):
        await breaker.call(Failed)
    assert breaker.statistics().failed == 1


@pytest.mark.parametrize("buffer", [0, -1, None, "3", math.nan])
def test_the_buffer_of_a_stream_of_ones_own(buffer: Any) -> None:
    """EventStream is public, and checks its argument itself."""
    with pytest.raises((TypeError, ValueError), match="buffer"):
        EventStream(buffer)


@pytest.mark.parametrize("state", ["about to open", "half_open"])
@pytest.mark.anyio
async def test_a_text_that_exits(state: str) -> None:
    """An error whose text raises a BaseException is counted all the same."""

    class Worse(Exception):
        def __str__(self) -> str:
            raise Exit

    async def function() -> None:
        raise Worse

    async with Supervisor() as supervisor:
        breaker = await circuit_in(supervisor, state)
        with pytest.raises((Worse, Exit)):
            await breaker.call(function)
        assert breaker.statistics().in_flight == 0


@pytest.mark.parametrize("group", [CircuitBreakerSettings, RetrySettings])
def test_a_setting_with_an_underscore_too_many(group: Callable[..., object]) -> None:
    """A keyword that is neither a setting nor an option is an error."""
    with pytest.raises(SettingsError, match="FAILURE_THRESHOLD"):
        group(_failure_threshold=7)


@pytest.mark.anyio
async def test_a_name_without_a_hash() -> None:
    """A name that was taken works, or is refused at once."""
    breaker = CircuitBreaker(LooseName("api"))
    assert await breaker.call(succeed) == "fine"


@pytest.mark.parametrize(("name", "policy"), [("", Policy()), (7, Policy()), ("x", "junk")])
@pytest.mark.anyio
async def test_joining_by_bad_arguments(name: Any, policy: Any) -> None:
    """What `circuit` refuses is not started by `join`."""
    async with Supervisor(on_give_up="allow") as supervisor:
        with pytest.raises((TypeError, ValueError)):
            supervisor.join(name, policy)
