"""Notices: functions that are told of changes of state, and hold nobody up."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import CircuitBreaker, Notices, StateChanged, Supervisor, current_supervisor
from supervisor.instrumentation import use_logging
from supervisor.instrumentation.notices import BACKLOG, LAST
from tests.support.logs import Records, handled_by
from tests.support.worlds import (
    collect_garbage,
    fail_times,
    settle_down,
    succeed,
    tasks_here,
)

pytestmark = pytest.mark.anyio

Backend = tuple[str, dict[str, Any]]


class Told:
    """What a plain function was told, in short."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def __call__(self, change: StateChanged) -> None:
        self.changes.append((change.circuit, change.to_state.value))


@pytest.fixture
def told() -> Told:
    return Told()


class Lines(Records):
    """What has been logged."""

    @property
    def of_notices(self) -> list[tuple[str, str]]:
        return [
            (record.levelname, record.getMessage())
            for record in self.records
            if hasattr(record, "on_change")
        ]


@pytest.fixture
def lines() -> Iterator[Lines]:
    use_logging()
    with handled_by(Lines()) as lines:
        yield lines


def toggle(breaker: CircuitBreaker, times: int) -> None:
    """Change its state twice as often; its actor tells of that at its next turn."""
    for _ in range(times):
        breaker.force_open()
        breaker.release()


# What is told


async def test_a_function_is_told_of_each_change_in_order(told: Told) -> None:
    """Of all circuits, with all the facts; of nothing but changes of state."""
    async with Supervisor(on_change=told) as supervisor:
        first = supervisor.circuit("first", failure_threshold=1, recovery_timeout=10)
        second = supervisor.circuit("second", failure_threshold=1)
        await fail_times(first, 1)
        await settle_down()
        await fail_times(second, 1)
        await anyio.sleep(11)
        await first.call(succeed)
    assert told.changes == [
        ("first", "open"),
        ("second", "open"),
        ("first", "half_open"),
        ("first", "closed"),
    ]


async def test_it_is_given_the_event() -> None:
    """The same one as event streams deliver."""
    given: list[StateChanged] = []
    async with Supervisor(on_change=given.append) as supervisor:
        stream = supervisor.events()
        await fail_times(supervisor.circuit("x", failure_threshold=1), 1)
    (change,) = [event async for event in stream if isinstance(event, StateChanged)]
    assert given == [change]
    assert given[0] is change


async def test_of_one_circuit_only(told: Told) -> None:
    """Also before there is such a circuit, and of all that follow under its name."""
    async with Supervisor() as supervisor:
        supervisor.on_change(told, circuit="x")
        for name in ("x", "y"):
            await fail_times(supervisor.circuit(name, failure_threshold=1), 1)
        supervisor.stop("x")
        await fail_times(supervisor.circuit("x", failure_threshold=1), 1)
    assert told.changes == [("x", "open"), ("x", "open")]


async def test_before_the_block_is_entered(told: Told) -> None:
    """Nothing is missed."""
    supervisor = Supervisor()
    supervisor.on_change(told)
    async with supervisor:
        await fail_times(supervisor.circuit("x", failure_threshold=1), 1)
    assert told.changes == [("x", "open")]


async def test_circuits_of_the_default_supervisor(told: Told) -> None:
    """By the one that `current_supervisor` returns, or starts."""
    supervisor = current_supervisor()
    assert supervisor.is_default
    supervisor.on_change(told)
    await fail_times(CircuitBreaker("x", failure_threshold=1), 1)
    await settle_down()
    assert told.changes == [("x", "open")]
    assert current_supervisor() is supervisor


async def slowly(told: Told, change: StateChanged) -> None:
    await anyio.sleep(0.01)
    told(change)


class Method:
    """Functions that belong to an object."""

    def __init__(self, told: Told) -> None:
        self.told = told

    def plain(self, change: StateChanged) -> None:
        self.told(change)

    async def slow(self, change: StateChanged) -> None:
        await slowly(self.told, change)


FORMS: dict[str, Any] = {
    "object": lambda told: told,
    "plain method": lambda told: Method(told).plain,
    "async method": lambda told: Method(told).slow,
    "partial of an async function": lambda told: functools.partial(slowly, told),
    "lambda that returns a coroutine": lambda told: lambda change: slowly(told, change),
}


@pytest.mark.parametrize("form", FORMS)
async def test_functions_of_all_forms(told: Told, form: str) -> None:
    """Whatever can be awaited is."""
    async with Supervisor(on_change=FORMS[form](told)) as supervisor:
        await fail_times(supervisor.circuit("x", failure_threshold=1), 1)
        await anyio.sleep(1)
        assert told.changes == [("x", "open")]


async def test_a_function_may_use_circuits(told: Told) -> None:
    """The one that it is told of, too; and ask for more notices."""
    async with Supervisor() as supervisor:

        async def probe(change: StateChanged) -> None:
            if change.to_state == "half_open":
                supervisor.on_change(told)
                await supervisor[change.circuit].call(succeed)

        supervisor.on_change(probe)
        breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=5)
        await fail_times(breaker, 1)
        await anyio.sleep(6)
        assert breaker.state == "closed"
    assert told.changes == [("x", "closed")]


async def test_what_a_function_sets_in_its_context_is_its_own() -> None:
    """Neither another function nor an actor has it; what the block has, all have."""
    request: ContextVar[str] = ContextVar("request")
    seen: list[str] = []

    def tell(change: StateChanged) -> None:
        seen.append(request.get())
        request.set("of the function")

    request.set("of the block")
    async with Supervisor(on_change=tell) as supervisor:
        supervisor.on_change(tell)
        await fail_times(supervisor.circuit("x", failure_threshold=1), 1)
    assert seen == ["of the block", "of the block"]
    assert request.get() == "of the block"


# Functions that raise


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_one_that_raises_is_logged_and_goes_on(lines: Lines, is_async: bool) -> None:
    """It is told of the next change, and so are others; calls and circuits know nothing of it."""
    told, others = Told(), Told()

    def broken(change: StateChanged) -> None:
        told(change)
        raise ValueError("no webhook")

    async def broken_later(change: StateChanged) -> None:
        await anyio.lowlevel.checkpoint()
        broken(change)

    async with Supervisor(
        max_restarts=0, on_change=broken_later if is_async else broken
    ) as supervisor:
        supervisor.on_change(others)
        breaker = supervisor.circuit("x")
        toggle(breaker, 1)
        await breaker.call(succeed)
    assert told.changes == others.changes == [("x", "forced_open"), ("x", "closed")]
    name = f"{test_one_that_raises_is_logged_and_goes_on.__qualname__}.<locals>.broken"
    name += "_later" if is_async else ""
    says = f"circuit x: {name}, which was told of a change of state, raised ValueError: no webhook"
    assert lines.of_notices == [("ERROR", says)] * 2
    record = next(record for record in lines.records if hasattr(record, "on_change"))
    fields = {"circuit": "x", "on_change": name, "error": "ValueError: no webhook"}
    assert fields.items() <= vars(record).items()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


class Odd(BaseException):
    """No `Exception`, and nothing else that is known."""


async def test_whatever_a_function_raises_is_its_own(lines: Lines, told: Told) -> None:
    """Also what is no `Exception`, alone or in a group."""

    def tell(change: StateChanged) -> None:
        told(change)
        raise Odd if change.to_state == "closed" else BaseExceptionGroup("", [Odd()])

    async with Supervisor(on_change=tell) as supervisor:
        toggle(supervisor.circuit("x"), 1)
        await settle_down()
        assert [level for level, _ in lines.of_notices] == ["ERROR", "ERROR"]
    assert len(told.changes) == 2


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_a_function_that_is_cancelled_by_what_it_awaits(lines: Lines, told: Told) -> None:
    """It has raised that, since nobody has cancelled its task."""

    async def tell(change: StateChanged) -> None:
        told(change)
        waiting = asyncio.ensure_future(anyio.sleep(1))
        waiting.cancel()
        await waiting

    async with Supervisor(on_change=tell) as supervisor:
        toggle(supervisor.circuit("x"), 1)
    assert len(told.changes) == 2
    assert [level for level, _ in lines.of_notices] == ["ERROR", "ERROR"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_handed_to_the_event_loop(
    anyio_backend: Backend, interrupt: type[BaseException], lines: Lines, told: Told
) -> None:
    """Asyncio's ends by it, as if a task had been interrupted; trio keeps it from such tasks."""
    name, options = anyio_backend

    def tell(change: StateChanged) -> None:
        told(change)
        raise interrupt

    async def main() -> None:
        async with Supervisor(on_change=tell) as supervisor:
            toggle(supervisor.circuit("x"), 1)
            await anyio.sleep(1)

    if name == "trio":
        anyio.run(main, backend=name, backend_options=options)
        assert len(told.changes) == 2
    else:
        with pytest.raises(interrupt):
            anyio.run(main, backend=name, backend_options=options)
    assert len(lines.of_notices) == len(told.changes)


# Functions that are slow


async def test_a_slow_function_holds_up_nobody(told: Told) -> None:
    """Neither calls nor other functions; it is told of one change after the other."""
    running = most = 0

    async def slow(change: StateChanged) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(100)
        running -= 1

    async with Supervisor(on_change=slow) as supervisor:
        supervisor.on_change(told)
        breaker = supervisor.circuit("x")
        toggle(breaker, 2)
        before = anyio.current_time()
        await breaker.call(succeed)
        await settle_down()
        assert anyio.current_time() == before
        assert len(told.changes) == 4
        await anyio.sleep(500)
    assert (running, most) == (0, 1)


async def test_what_waits_for_a_slow_function_is_bounded(lines: Lines, told: Told) -> None:
    """It misses what comes beyond that, which is logged in its place; others miss nothing."""
    go = anyio.Event()
    slow = Told()

    async def tell(change: StateChanged) -> None:
        await go.wait()
        slow(change)

    async with Supervisor() as supervisor:
        supervisor.on_change(tell, circuit="x")
        supervisor.on_change(told)
        breaker = supervisor.circuit("x")
        breaker.force_open()
        await settle_down()
        for _ in range(BACKLOG // 2):
            breaker.release()
            breaker.force_open()
        await settle_down()
        breaker.release()  # one too many
        toggle(supervisor.circuit("y"), 1)  # which is not for it
        await settle_down()
        assert len(told.changes) == BACKLOG + 4
        go.set()
        await anyio.sleep(1)
        assert len(slow.changes) == BACKLOG + 1
        toggle(breaker, 1)
    assert len(slow.changes) == BACKLOG + 3
    name = f"{test_what_waits_for_a_slow_function_is_bounded.__qualname__}.<locals>.tell"
    says = f"{name} was not told of changes of state, since there was no time for it: 1"
    assert lines.of_notices == [("WARNING", says)]


# The end of notices


async def test_notices_end_by_their_handle(told: Told) -> None:
    """Also what waits is not told then; twice is as good as once."""
    async with Supervisor() as supervisor:
        before = tasks_here()
        notices = supervisor.on_change(told)
        assert isinstance(notices, Notices)
        await settle_down()
        breaker = supervisor.circuit("x")
        await settle_down()
        assert tasks_here() == before + 2
        toggle(breaker, 1)
        await settle_down()
        assert len(told.changes) == 2
        toggle(breaker, 1)
        notices.end()
        notices.end()
        await settle_down()
        assert tasks_here() == before + 1
        assert len(told.changes) == 2


async def test_a_function_may_end_its_own_notices(told: Told) -> None:
    """It is told of nothing more."""

    async def once(change: StateChanged) -> None:
        told(change)
        notices.end()
        await anyio.sleep(1)
        told(change)

    supervisor = Supervisor()
    notices = supervisor.on_change(once)
    async with supervisor:
        toggle(supervisor.circuit("x"), 1)
        await anyio.sleep(2)
    assert told.changes == [("x", "forced_open")] * 2


async def test_notices_may_end_before_the_block_is_entered(told: Told) -> None:
    """As if nobody had asked for them."""
    supervisor = Supervisor()
    supervisor.on_change(told).end()
    async with supervisor:
        toggle(supervisor.circuit("x"), 1)
    assert told.changes == []


@pytest.mark.parametrize("seconds", [0, LAST / 4])
async def test_what_waits_at_the_end_is_still_told(told: Told, seconds: float) -> None:
    """The block waits for that."""

    async def tell(change: StateChanged) -> None:
        await anyio.sleep(seconds)
        told(change)

    async with Supervisor(on_change=tell) as supervisor:
        supervisor.on_change(told)
        breaker = supervisor.circuit("x", failure_threshold=1)
        await fail_times(breaker, 1)
        breaker.reset()
    assert told.changes.count(("x", "open")) == 2
    assert told.changes.count(("x", "closed")) == 2


async def test_a_function_that_hangs_does_not_hang_the_end(lines: Lines) -> None:
    """It is cut short after a while, and what it was not told is logged."""
    ends: list[str] = []

    async def hang(change: StateChanged) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ends.append(change.to_state.value)

    async with Supervisor(on_change=hang) as supervisor:
        toggle(supervisor.circuit("x"), 2)
        await anyio.sleep(50)
        before = anyio.current_time()
    assert anyio.current_time() - before == pytest.approx(LAST, abs=0.01)
    assert ends == ["forced_open"]
    ((level, line),) = lines.of_notices
    assert level == "WARNING"
    assert line.endswith("was not told of changes of state, since there was no time for it: 4")


async def test_nor_does_it_hang_a_block_that_is_cancelled() -> None:
    """The same time is all that it gets."""

    async def hang(change: StateChanged) -> None:
        await anyio.sleep_forever()

    before = anyio.current_time()
    with anyio.move_on_after(1):
        async with Supervisor(on_change=hang) as supervisor:
            toggle(supervisor.circuit("x"), 2)
            await anyio.sleep_forever()
    assert anyio.current_time() - before == pytest.approx(1 + LAST, abs=0.01)


def test_what_waits_at_the_end_of_an_event_loop_is_told(
    anyio_backend: Backend, told: Told, lines: Lines
) -> None:
    """Of a default supervisor, which ends with it; one that hangs does not hang the loop's end."""
    name, options = anyio_backend
    began = ended = 0.0

    async def tell(change: StateChanged) -> None:
        await anyio.sleep(LAST / 8)
        told(change)

    async def hang(change: StateChanged) -> None:
        nonlocal ended
        try:
            await anyio.sleep_forever()
        finally:
            ended = anyio.current_time()

    async def main() -> None:
        nonlocal began
        began = anyio.current_time()
        supervisor = current_supervisor()
        for function in (told, tell, hang):
            supervisor.on_change(function)
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        breaker.reset()
        await breaker.call(succeed)

    anyio.run(main, backend=name, backend_options=options)
    assert told.changes.count(("x", "closed")) == 2
    assert told.changes.count(("x", "open")) >= 1  # the other may have been begun, and cut short
    assert ended - began <= LAST + 0.01
    assert any("hang" in line for _, line in lines.of_notices)


def test_an_event_loop_may_be_closed_without_ending_its_tasks(told: Told) -> None:
    """They are forgotten without a word."""

    async def main() -> None:
        current_supervisor().on_change(told)
        breaker = CircuitBreaker("x", failure_threshold=1)
        await fail_times(breaker, 1)
        await settle_down()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    del loop
    collect_garbage()
    assert told.changes == [("x", "open")]


# What is refused


async def generator(change: StateChanged) -> AsyncIterator[StateChanged]:
    yield change


@pytest.mark.parametrize(
    "func",
    [5, None, "print", Told, generator],
    ids=["number", "none", "text", "class", "generator"],
)
async def test_what_is_no_function_is_refused(func: Any) -> None:
    """The error names the value; a generator would never run."""
    text = "^on_change must be a plain or an async function, got "
    async with Supervisor() as supervisor:
        with pytest.raises(TypeError, match=text):
            supervisor.on_change(func)
    if func is not None:
        with pytest.raises(TypeError, match=text):
            Supervisor(on_change=func)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (5, TypeError)])
async def test_a_circuit_that_cannot_be_is_refused(
    told: Told, name: Any, error: type[Exception]
) -> None:
    """As where a circuit is asked for."""
    with pytest.raises(error, match=r"^a circuit's name must"):
        Supervisor().on_change(told, circuit=name)


async def test_after_the_end_there_is_nothing_to_tell(told: Told) -> None:
    """So it is an error to ask for it; and none to end what has ended."""
    async with Supervisor() as supervisor:
        notices = supervisor.on_change(told)
    notices.end()
    with pytest.raises(RuntimeError, match=r"^the supervisor has ended"):
        supervisor.on_change(told)


async def test_other_threads_are_refused(told: Told) -> None:
    """Both when they ask for notices, and when they end some."""
    async with Supervisor() as supervisor:
        notices = supervisor.on_change(told)
        await settle_down()
        errors: list[str] = []

        def elsewhere() -> None:
            for act in (lambda: supervisor.on_change(told), notices.end):
                try:
                    act()
                except RuntimeError as error:
                    errors.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert errors == [
        "notices must be asked for on the supervisor's event loop",
        "notices must be ended on the supervisor's event loop",
    ]
