"""Streams: each is one call, whatever it is opened by, and however it ends."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    GuardedStream,
    IncompleteStreamError,
    Statistics,
    Supervisor,
)
from supervisor.circuit import give_up
from supervisor.policy.outcomes import Failure
from supervisor.testing import jump, run_in_virtual_time
from tests.support.worlds import (
    Down,
    collect_garbage,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio

Open = Callable[..., Any]


async def numbers(count: int = 3, error: BaseException | None = None) -> AsyncIterator[int]:
    """Give some numbers, and then end, or fail."""
    for number in range(count):
        await anyio.lowlevel.checkpoint()
        yield number
    if error is not None:
        raise error


async def ticks(every: float, count: int = 10**6) -> AsyncIterator[int]:
    for number in range(count):
        await anyio.sleep(every)
        yield number


class Hiding(Exception):
    """Lets nobody look at its class."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            raise LookupError(name)
        return super().__getattribute__(name)


class Iterator:
    """An async iterator that cannot be closed."""

    def __init__(self, count: int = 3, error: BaseException | None = None) -> None:
        self._left = iter(range(count))
        self._error = error or StopAsyncIteration()

    def __aiter__(self) -> Iterator:
        return self

    async def __anext__(self) -> int:
        await anyio.lowlevel.checkpoint()
        for number in self._left:
            return number
        raise self._error


class Iterable:
    """What a client gives that can be iterated, and is no iterator itself."""

    def __init__(self, *args: Any) -> None:
        self._args = args

    def __aiter__(self) -> AsyncIterator[int]:
        return numbers(*self._args)


async def coroutine(*args: Any) -> AsyncIterator[int]:
    await anyio.lowlevel.checkpoint()
    return numbers(*args)


@asynccontextmanager
async def manager(*args: Any) -> AsyncIterator[AsyncIterator[int]]:
    await anyio.lowlevel.checkpoint()
    async with aclosing(numbers(*args)) as items:
        yield items


async def coroutine_of_manager(*args: Any) -> Any:
    return manager(*args)


class Anything(Iterable):
    """Some clients' answers can be awaited, entered and iterated."""

    def __await__(self) -> Any:
        raise AssertionError("it needs no waiting for")

    async def __aenter__(self) -> Anything:
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.lowlevel.checkpoint()


every_opening = pytest.mark.parametrize(
    "opens",
    [numbers, Iterator, Iterable, coroutine, manager, coroutine_of_manager, Anything],
)


async def by_block(breaker: CircuitBreaker, opens: Open, *args: Any, **options: Any) -> list[int]:
    """Read a stream to its end."""
    async with breaker.stream(opens, *args, **options) as items:
        return [item async for item in items]


async def by_decorator(
    breaker: CircuitBreaker, opens: Open, *args: Any, **options: Any
) -> list[int]:
    items = breaker.streaming(**options)(opens)(*args)
    return [item async for item in items]


async def by_waiting(breaker: CircuitBreaker, opens: Open, *args: Any, **options: Any) -> list[int]:
    async with breaker.waiting(5).stream(opens, *args, **options) as items:
        return [item async for item in items]


async def by_waiting_decorator(
    breaker: CircuitBreaker, opens: Open, *args: Any, **options: Any
) -> list[int]:
    items = breaker.waiting(5).streaming(**options)(opens)(*args)
    return [item async for item in items]


every_way = pytest.mark.parametrize(
    "read", [by_block, by_decorator, by_waiting, by_waiting_decorator]
)
each_verdict = pytest.mark.parametrize("verdict", ["end", "first_item"])


def never(item: object) -> bool:
    return False


def counted(breaker: CircuitBreaker) -> dict[str, int]:
    """Return what has been counted, once it is sure that it adds up."""
    now = breaker.statistics()
    add_up(now)
    names = ("succeeded", "failed", "ignored", "cancelled", "rejected", "in_flight")
    return {name: getattr(now, name) for name in names if getattr(now, name)}


def add_up(now: Statistics) -> None:
    ended = now.succeeded + now.failed + now.ignored + now.cancelled
    assert now.started == ended + now.rejected + now.in_flight


class TestOpening:
    """What a stream may be opened by."""

    @every_opening
    async def test_to_the_end(self, opens: Open) -> None:
        """The items come as they are; the end is a success."""
        breaker = CircuitBreaker("x")
        assert await by_block(breaker, opens) == [0, 1, 2]
        assert counted(breaker) == {"succeeded": 1}

    @every_opening
    async def test_an_error(self, opens: Open) -> None:
        """It comes through, and is one failure."""
        breaker = CircuitBreaker("x", 2)
        with pytest.raises(Down):
            await by_block(breaker, opens, 2, Down("down"))
        assert counted(breaker) == {"failed": 1}

    @every_opening
    async def test_left_early(self, opens: Open) -> None:
        """Nothing goes on, and no more comes."""
        breaker = CircuitBreaker("x")
        async with breaker.stream(opens) as items:
            assert await anext(items) == 0
        assert [item async for item in items] == []
        assert counted(breaker) == {"succeeded": 1}

    async def test_what_opens_it_may_fail(self) -> None:
        """Whatever the policy says of such an error, and nothing is left open."""
        left = []

        @asynccontextmanager
        async def broken() -> AsyncIterator[AsyncIterator[int]]:
            try:
                raise Down("down")
                yield numbers()
            finally:
                left.append("it")

        async def refused() -> AsyncIterator[int]:
            raise KeyError("no such model")

        breaker = CircuitBreaker("x", 5, ignore=KeyError)
        for opens in (fail, broken):
            with pytest.raises(Down):
                await by_block(breaker, opens)
        with pytest.raises(KeyError):
            await by_block(breaker, refused)
        assert counted(breaker) == {"failed": 2, "ignored": 1}
        assert left == ["it"]

    async def test_it_gets_its_arguments(self) -> None:
        """All of them, by place and by name; a partial hides names that we have ourselves."""

        async def all_of(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            yield args, kwargs

        breaker = CircuitBreaker("x")
        assert await by_block(breaker, all_of, 1, func=2, self=3) == [
            ((1,), {"func": 2, "self": 3})
        ]
        hidden = partial(all_of, verdict="guilty", complete=1)
        got = await by_block(breaker, hidden, verdict="first_item")
        assert got == [((), {"verdict": "guilty", "complete": 1})]

    @pytest.mark.parametrize("given", [7, succeed, lambda: None, lambda: [1, 2]])
    async def test_no_stream(self, given: Any) -> None:
        """An error that says what there was; it is nothing that the dependency has done."""
        breaker = CircuitBreaker("x", 1)
        with pytest.raises(TypeError, match=r"CircuitBreaker\.stream needs a function that"):
            await by_block(breaker, given)
        assert counted(breaker) in ({}, {"ignored": 1})

    async def test_a_manager_of_no_stream_is_left(self) -> None:
        left = []

        @asynccontextmanager
        async def wrong() -> AsyncIterator[int]:
            yield 7
            left.append("it")

        @asynccontextmanager
        async def wrong_and_closed_with_errors() -> AsyncIterator[int]:
            try:
                yield 7
            finally:
                left.append("it")

        breaker = CircuitBreaker("x", 1)
        with pytest.raises(TypeError, match="has given 7"):
            await by_block(breaker, wrong_and_closed_with_errors)
        assert (left, counted(breaker)) == (["it"], {"ignored": 1})

    async def test_called_with_wrong_arguments(self) -> None:
        """As ever: that is the caller's mistake."""
        breaker = CircuitBreaker("x", 1)
        with pytest.raises(TypeError, match="unexpected keyword argument 'cuont'"):
            await by_block(breaker, numbers, cuont=1)
        assert counted(breaker) == {"ignored": 1}

    async def test_a_type_error_of_its_own(self) -> None:
        """It may be the dependency's answer that it cannot handle."""

        def opens() -> AsyncIterator[int]:
            return numbers(len(7))  # type: ignore[arg-type]

        breaker = CircuitBreaker("x", 5)
        with pytest.raises(TypeError, match="has no len"):
            await by_block(breaker, opens)
        assert counted(breaker) == {"failed": 1}

    async def test_bad_options(self) -> None:
        """Each is named, with its value, before anything is asked."""
        breaker: Any = CircuitBreaker("x")
        verdicts = "verdict must be one of end, first_item; got 'start'"
        with pytest.raises(ValueError, match=verdicts):
            breaker.stream(numbers, verdict="start")
        with pytest.raises(ValueError, match=verdicts):
            breaker.streaming(verdict="start")
        for complete in (7, succeed):
            with pytest.raises(
                TypeError, match="complete must be a plain function of an item, got"
            ):
                breaker.stream(numbers, complete=complete)
        with pytest.raises(TypeError, match="needs a function that opens a stream, got 7"):
            breaker.stream(7)
        assert counted(breaker) == {}

    async def test_bad_options_of_a_permit(self) -> None:
        """Are told as well before anything begins; it is still held then."""
        breaker = CircuitBreaker("x")
        permit: Any = await breaker.acquire()
        with pytest.raises(ValueError, match="verdict must be one of end, first_item; got 'start'"):
            permit.stream(numbers, verdict="start")
        for complete in (7, succeed):
            with pytest.raises(TypeError, match="complete must be a plain function of an item"):
                permit.stream(numbers, complete=complete)
        with pytest.raises(TypeError, match=r"Permit\.stream needs a function that .*, got 7"):
            permit.stream(7)
        permit.ignore()
        assert counted(breaker) == {"ignored": 1}


class TestDecorator:
    """`@breaker.streaming`."""

    async def test_the_function_stays_what_it_is(self) -> None:
        """An async generator function, with its name and its signature; methods, too."""
        breaker = CircuitBreaker("x")

        class Client:
            @breaker.streaming
            async def up_to(self, count: int) -> AsyncIterator[int]:
                """Count."""
                async for number in numbers(count):
                    yield number

        assert inspect.isasyncgenfunction(Client.up_to)
        assert (Client.up_to.__name__, Client.up_to.__doc__) == ("up_to", "Count.")
        assert [*inspect.signature(Client.up_to).parameters] == ["self", "count"]
        assert [number async for number in Client().up_to(2)] == [0, 1]
        assert counted(breaker) == {"succeeded": 1}

    async def test_it_asks_for_the_first_item(self) -> None:
        """Not before, as any async generator does nothing before."""
        breaker = CircuitBreaker("x", 1)
        items = breaker.streaming(numbers)()
        await fail_times(breaker, 1)
        with pytest.raises(CircuitBreakerOpenError):
            await anext(items)
        assert counted(breaker) == {"failed": 1, "rejected": 1}

    async def test_closed_early(self) -> None:
        """The inner one is, too."""
        breaker, closed = CircuitBreaker("x"), []

        @breaker.streaming
        async def endless() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
            finally:
                await anyio.lowlevel.checkpoint()
                closed.append("it")

        async with aclosing(endless()) as items:
            async for _ in items:
                break
        await endless().aclose()  # it has never begun
        assert (closed, counted(breaker)) == (["it"], {"succeeded": 1})

    async def test_what_is_sent_or_thrown_in_does_not_reach_the_function(self) -> None:
        """The first is dropped, the second closes it, as a reader that leaves."""
        seen: list[object] = []

        async def echo() -> AsyncGenerator[int, str]:
            try:
                while True:
                    seen.append((yield 1))
            except GeneratorExit:
                seen.append("closed")
                raise

        breaker = CircuitBreaker("x")
        items: Any = breaker.streaming(echo)()
        assert await anext(items) == await items.asend("hello") == 1
        with pytest.raises(Down):
            await items.athrow(Down())
        assert seen == [None, "closed"]
        assert (breaker.statistics().succeeded, breaker.statistics().failed) == (1, 0)

    @pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio says so
    async def test_left_to_the_garbage_collector(self) -> None:
        """The event loop closes it then, as it does with any async generator."""
        async with half_open() as breaker:
            async for _ in breaker.streaming(numbers)():
                break
            collect_garbage()
            await settle_down()
            assert counted(breaker) == {"failed": 1, "succeeded": 1}
            assert breaker.state == "closed"

    @pytest.mark.parametrize("func", [succeed, Iterator, len, 7])
    async def test_anything_else(self, func: Any) -> None:
        breaker = CircuitBreaker("x")
        with pytest.raises(TypeError, match=r"needs an async generator function .* got "):
            breaker.streaming(func)
        with pytest.raises(TypeError, match=r"for `async with breaker.stream\(...\) as items:`"):
            breaker.streaming()(func)

    async def test_other_decorators_say_so(self) -> None:
        with pytest.raises(TypeError, match=r"async generator is guarded by `@breaker\.streaming`"):
            CircuitBreaker("x")(numbers)  # type: ignore[arg-type]


class TestOneOutcome:
    """By the first thing that tells."""

    @every_way
    @each_verdict
    @pytest.mark.parametrize("count", [0, 1, 5])
    async def test_the_end(self, read: Any, verdict: str, count: int) -> None:
        """A success, also of an empty stream."""
        breaker = CircuitBreaker("x")
        assert await read(breaker, numbers, count, verdict=verdict) == [*range(count)]
        assert counted(breaker) == {"succeeded": 1}

    @every_way
    @pytest.mark.parametrize("at", [0, 1, 5])
    async def test_an_error(self, read: Any, at: int) -> None:
        """Wherever it comes; the circuit knows it."""
        breaker = CircuitBreaker("x", 1)
        with pytest.raises(Down):
            await read(breaker, numbers, at, Down("down"))
        assert counted(breaker) == {"failed": 1}
        assert breaker.statistics().last_failure == "Down: down"

    async def test_an_error_that_hides_its_class(self) -> None:
        """It is no reader's that has had enough."""
        breaker = CircuitBreaker("x")
        with suppress(LookupError, Hiding):  # which not even pytest may look at
            await by_block(breaker, Iterator, 1, Hiding())
        assert counted(breaker) == {"failed": 1}

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (Down("down"), "failed"),
            (KeyError("key"), "ignored"),
            (ValueError("busy"), "failed"),
            (TypeError("what"), "succeeded"),
            (ExceptionGroup("all", [KeyError("key"), Down("down")]), "failed"),
            (ExceptionGroup("all", [KeyError("key")]), "ignored"),
            (SystemExit("stop"), "cancelled"),
        ],
    )
    async def test_by_the_policy(self, error: BaseException, outcome: str) -> None:
        """As any call's error."""

        def classify(ended: object) -> Failure | None:
            return Failure("busy") if isinstance(ended, ValueError) else None

        breaker = CircuitBreaker("x", failure_on=OSError, ignore=KeyError, classify=classify)
        with pytest.raises(type(error)):
            await by_block(breaker, Iterator, 1, error)
        assert counted(breaker) == {outcome: 1}

    async def test_its_end_is_no_error(self) -> None:
        """Even if the policy means a `StopAsyncIteration`, which is for calls like `anext`."""
        breaker = CircuitBreaker("x", failure_on=StopAsyncIteration)
        assert await by_block(breaker, numbers) == [0, 1, 2]
        with pytest.raises(StopAsyncIteration):
            await by_block(breaker, partial(anext, numbers(0)))
        assert counted(breaker) == {"succeeded": 1, "failed": 1}

    @pytest.mark.parametrize("at", [0, 1, 3])
    async def test_left_early(self, at: int) -> None:
        """A success, if anything has come; else it counts as nothing."""
        breaker = CircuitBreaker("x")
        async with breaker.stream(numbers, 5) as items:
            for _ in range(at):
                await anext(items)
            assert counted(breaker) == {"in_flight": 1}
        assert counted(breaker) == {"succeeded" if at else "cancelled": 1}

    @pytest.mark.parametrize("at", [0, 1])
    async def test_the_reader_has_an_error_of_its_own(self, at: int) -> None:
        """That is not the stream's: it has been left."""
        breaker = CircuitBreaker("x", 1)
        with pytest.raises(ZeroDivisionError):
            async with breaker.stream(numbers) as items:
                for _ in range(at):
                    await anext(items)
                raise ZeroDivisionError
        assert counted(breaker) == {"succeeded" if at else "cancelled": 1}

    async def test_after_its_outcome(self) -> None:
        """What the reader does with the error, or after the end, changes nothing."""
        breaker = CircuitBreaker("x", 5)
        with pytest.raises(RuntimeError, match="after it"):
            async with breaker.stream(numbers, 1, Down("down")) as items:
                assert await anext(items) == 0
                with pytest.raises(Down):
                    await anext(items)
                raise RuntimeError("after it")
        async with breaker.stream(numbers, 0) as items:
            for _ in range(3):
                with pytest.raises(StopAsyncIteration):
                    await anext(items)
        assert counted(breaker) == {"failed": 1, "succeeded": 1}

    async def test_an_iterator_may_go_on_after_an_error(self) -> None:
        """Whoever can read on may, but the outcome is reported."""
        told = []

        class Bumpy(Iterator):
            async def __anext__(self) -> int:
                told.append("asked")
                if len(told) == 2:
                    raise Down("a bump")
                return await super().__anext__()

        breaker = CircuitBreaker("x", 5)
        async with breaker.stream(Bumpy) as items:
            assert await anext(items) == 0
            with pytest.raises(Down):
                await anext(items)
            assert [item async for item in items] == [1, 2]
        assert counted(breaker) == {"failed": 1}

    async def test_an_error_while_it_is_closed(self) -> None:
        """It comes through; the outcome has been told before."""

        async def badly_closed() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                raise Down("while closing")

        breaker = CircuitBreaker("x", 1)
        with pytest.raises(Down, match="while closing"):
            async with breaker.stream(badly_closed) as items:
                await anext(items)
        assert counted(breaker) == {"succeeded": 1}

    async def test_a_manager_hears_of_the_reader(self) -> None:
        """As in a block of its own, and may hide the error."""

        @asynccontextmanager
        async def hides() -> AsyncIterator[AsyncIterator[int]]:
            with suppress(ZeroDivisionError):
                yield numbers()

        breaker = CircuitBreaker("x", 1)
        async with breaker.stream(hides) as items:
            assert await anext(items) == 0
            raise ZeroDivisionError
        assert counted(breaker) == {"succeeded": 1}

    async def test_refused(self) -> None:
        """Before anything is opened, by the block itself: a web response has not begun yet."""
        breaker, opened = CircuitBreaker("x", 1), []
        await fail_times(breaker, 1)
        stream = breaker.stream(opened.append)
        with pytest.raises(CircuitBreakerOpenError):
            await stream.__aenter__()
        await stream.aclose()
        assert (opened, counted(breaker)) == ([], {"failed": 1, "rejected": 1})

    @pytest.mark.parametrize("how", ["allow", "refuse"])
    async def test_given_up(self, how: Any) -> None:
        """Without an actor nothing is counted."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            circuit = supervisor.find("x")
            assert circuit is not None
            give_up(circuit, how)
            for verdict in ("end", "first_item"):
                expected = Down if how == "allow" else CircuitBreakerOpenError
                with pytest.raises(expected):
                    await by_block(breaker, numbers, 1, Down("down"), verdict=verdict)
            assert counted(breaker) == ({} if how == "allow" else {"rejected": 2})

    @pytest.mark.parametrize("how", [None, "allow", "refuse"], ids=str)
    async def test_its_circuit_ends_before_the_first_item(self, how: Any) -> None:
        """The time of that item would be looked at: it comes all the same."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", slow_call_duration=10)
            async with breaker.stream(numbers) as items:
                circuit = supervisor.find("x")
                assert circuit is not None
                supervisor.stop("x") if how is None else give_up(circuit, how)
                assert [item async for item in items] == [0, 1, 2]
            assert breaker.statistics().in_flight == 0


class TestHandling:
    """Whatever else may be done with one."""

    async def test_closed_twice(self) -> None:
        breaker = CircuitBreaker("x")
        async with breaker.stream(numbers) as items:
            await anext(items)
            await items.aclose()
            await items.aclose()
            assert [item async for item in items] == []
        assert counted(breaker) == {"succeeded": 1}

    async def test_never_entered(self) -> None:
        """Nothing has happened, and nothing is reported."""
        breaker = CircuitBreaker("x")
        stream = breaker.stream(numbers)
        assert repr(stream) == "<GuardedStream, not entered>"
        with pytest.raises(RuntimeError, match="has to be entered: `async with"):
            await anext(stream)
        await stream.aclose()
        del stream
        collect_garbage()
        assert counted(breaker) == {}

    async def test_entered_twice(self) -> None:
        breaker = CircuitBreaker("x")
        async with breaker.stream(numbers) as items:
            assert repr(items) == "<GuardedStream 'x' open>"
            with pytest.raises(RuntimeError, match="can be entered once"):
                await items.__aenter__()
        assert repr(items) == "<GuardedStream 'x' over>"
        assert counted(breaker) == {"cancelled": 1}

    async def test_entered_by_two_at_once(self) -> None:
        """While the first one asks, too; or nobody would give the place of one of them back."""
        told: list[str] = []
        async with half_open(success_threshold=2) as breaker:
            stream = breaker.stream(numbers)

            async def enter() -> None:
                try:
                    await stream.__aenter__()
                except RuntimeError as error:
                    told.append(str(error))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(enter)
                tasks.start_soon(enter)
            await stream.aclose()
            assert breaker.statistics().in_flight == 0
        assert told == ["a guarded stream can be entered once; ask the breaker for another"]

    async def test_two_readers(self) -> None:
        """The second is told; it is nothing that the dependency has done."""
        breaker = CircuitBreaker("x", 1)
        async with anyio.create_task_group() as tasks:
            async with breaker.stream(ticks, 5, 1) as items:
                tasks.start_soon(anext, items)
                await settle_down()
                with pytest.raises(RuntimeError, match="somebody else waits for the next item"):
                    await anext(items)
                await anyio.sleep(6)
        assert counted(breaker) == {"succeeded": 1}

    async def test_in_another_task(self) -> None:
        """A web framework may send the body of a response in another task than it begins it."""
        breaker, got = CircuitBreaker("x"), []
        stream = breaker.stream(numbers)
        items = await stream.__aenter__()

        async def send() -> None:
            async with aclosing(items):
                got.extend([item async for item in items])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
        assert (got, counted(breaker)) == ([0, 1, 2], {"succeeded": 1})

    @pytest.mark.parametrize("at", [0, 1])
    async def test_nobody_closes_it(self, at: int) -> None:
        """The garbage collector does not keep its place, and warns."""
        async with half_open() as breaker:
            items = await breaker.stream(Iterator).__aenter__()
            for _ in range(at):
                await anext(items)
            with pytest.warns(ResourceWarning, match="a stream by circuit 'dependency' was never"):
                del items
                collect_garbage()
            assert breaker.state == ("closed" if at else "half_open")
            assert counted(breaker) == {"failed": 1, "succeeded" if at else "cancelled": 1}
            assert not await is_refused(breaker)

    async def test_read_to_its_end_and_not_closed(self) -> None:
        """There is nothing to warn of."""
        breaker = CircuitBreaker("x")
        items = await breaker.stream(numbers).__aenter__()
        assert [item async for item in items] == [0, 1, 2]
        del items
        collect_garbage()
        assert counted(breaker) == {"succeeded": 1}

    async def test_in_another_thread(self) -> None:
        """It is not reported there; the garbage collector may run anywhere."""
        breaker = CircuitBreaker("x")
        held = [await breaker.stream(Iterator).__aenter__()]

        def use() -> None:
            with pytest.raises(RuntimeError, match="belongs to the event loop of another thread"):
                held[0].aclose().send(None)

        await anyio.to_thread.run_sync(use)

        def drop() -> None:
            with pytest.warns(ResourceWarning, match="was never closed"):
                held.clear()
                collect_garbage()

        assert counted(breaker) == {"in_flight": 1}
        await anyio.to_thread.run_sync(drop)
        assert counted(breaker) == {"in_flight": 1}

    async def test_an_interrupt_before_it_begins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has been admitted, and is given back."""

        def interrupted(*_: object) -> NoReturn:
            raise KeyboardInterrupt

        async with half_open() as breaker:
            monkeypatch.setattr("supervisor.guard.stream.StreamCall", interrupted)
            with pytest.raises(KeyboardInterrupt):
                await breaker.stream(numbers).__aenter__()
            assert counted(breaker) == {"failed": 1, "cancelled": 1}
            assert not await is_refused(breaker)

    async def test_nothing_is_kept(self) -> None:
        """Neither errors nor streams wait for the garbage collector."""
        breaker, kept = CircuitBreaker("x", 9), []

        async def breaks() -> AsyncIterator[int]:
            yield 1
            raise Down("down")

        async def read(**options: Any) -> None:
            try:
                await by_block(breaker, breaks, **options)
            except (Down, IncompleteStreamError) as error:
                kept.append(weakref.ref(error))
            try:
                await by_block(breaker, numbers, complete=lambda item: item == 7, **options)
            except IncompleteStreamError as error:
                kept.append(weakref.ref(error))

        gc.disable()
        try:
            for verdict in ("end", "first_item"):
                await read(verdict=verdict)
            assert [error() for error in kept] == [None] * 4
        finally:
            gc.enable()


class TestCancelled:
    """Wherever that comes."""

    @pytest.mark.parametrize("failure_on_cancel", [False, True])
    @pytest.mark.parametrize("where", ["opening", "first item", "second item"])
    async def test_while_it_is_waited_for(self, where: str, failure_on_cancel: bool) -> None:
        """Nothing; or a failure, if the policy says so."""

        async def opens() -> AsyncIterator[int]:
            if where == "opening":
                await anyio.sleep(100)
            return ticks(100 if where == "first item" else 1)

        breaker = CircuitBreaker("x", failure_on_cancel=failure_on_cancel)
        with anyio.move_on_after(1.5):
            await by_block(breaker, opens)
        assert anyio.current_time() == 1.5
        assert counted(breaker) == {"failed" if failure_on_cancel else "cancelled": 1}

    async def test_in_the_readers_own_code(self) -> None:
        """Nothing: it is not the stream that has taken so long."""
        breaker = CircuitBreaker("x", failure_on_cancel=True)
        with anyio.move_on_after(1):
            async with breaker.stream(numbers) as items:
                async for _ in items:
                    await anyio.sleep(100)
        assert counted(breaker) == {"cancelled": 1}

    async def test_while_it_is_closed(self) -> None:
        """The outcome has been told by then, and nobody waits for what cannot be waited for."""
        breaker, closing = CircuitBreaker("x"), []

        async def slowly_closed() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                closing.append(counted(breaker))
                await anyio.sleep(100)

        with anyio.move_on_after(1):
            async with breaker.stream(slowly_closed) as items:
                await anext(items)
        assert anyio.current_time() == 1
        with anyio.move_on_after(1):
            async with breaker.stream(slowly_closed) as items:
                await anext(items)
                await anyio.sleep(50)
        assert anyio.current_time() == 2
        assert closing == [{"succeeded": 1}, {"succeeded": 1, "cancelled": 1}]
        assert counted(breaker) == {"succeeded": 1, "cancelled": 1}

    async def test_while_it_asks(self) -> None:
        """It has never been there, and the place of a probe is free."""
        async with half_open() as breaker:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await by_block(breaker, numbers)
            assert counted(breaker) == {"failed": 1, "cancelled": 1}
            assert not await is_refused(breaker)

    @each_verdict
    @pytest.mark.usefixtures("known_settings")
    async def test_at_each_turn(self, verdict: str) -> None:
        """However far a stream has come, there is one outcome, and none is in flight."""
        breaker = CircuitBreaker("x", 10**6)
        for turns in range(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(by_block, breaker, manager, 6, verdict=verdict))
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            now = breaker.statistics()
            add_up(now)
            assert (now.started, now.in_flight, now.failed) == (turns + 1, 0, 0)
        assert now.cancelled > 0
        assert now.succeeded > 0

    async def test_a_reader_may_wait_for_an_item_for_a_while(self) -> None:
        """Some iterators stand that; the first signal is the outcome."""
        send, receive = anyio.create_memory_object_stream[int](1)
        breaker = CircuitBreaker("x")
        async with send, breaker.stream(lambda: receive) as items:
            with anyio.move_on_after(1):
                await anext(items)
            send.send_nowait(7)
            assert await anext(items) == 7
        assert counted(breaker) == {"cancelled": 1}


class TestProbes:
    """Streams while the circuit is half-open."""

    async def test_a_long_stream_holds_its_place(self) -> None:
        """Until it ends, by default."""
        async with half_open() as breaker:
            async with breaker.stream(ticks, 1) as items:
                for _ in range(90):
                    await anext(items)
                    assert breaker.state == "half_open"
                    assert await is_refused(breaker)
            assert breaker.state == "closed"

    async def test_by_its_first_item(self) -> None:
        """It is an answer, and others need not wait for the rest."""
        async with half_open() as breaker:
            async with breaker.stream(ticks, 1, verdict="first_item") as items:
                assert await is_refused(breaker)
                await anext(items)
                assert breaker.state == "closed"
                assert not await is_refused(breaker)
                for _ in range(90):
                    await anext(items)
            assert breaker.state == "closed"
            assert counted(breaker) == {"failed": 1, "succeeded": 2, "rejected": 1}

    async def test_silence_is_what_is_measured(self) -> None:
        """A healthy stream may take as long as it likes."""
        async with half_open(probe_timeout=10) as breaker:
            assert len(await by_block(breaker, ticks, 9, 100)) == 100
            assert breaker.state == "closed"
            assert counted(breaker) == {"failed": 1, "succeeded": 1}

    @pytest.mark.parametrize("at", [0, 1, 5])
    async def test_silent_for_too_long(self, at: int) -> None:
        """From the last item on."""

        async def hangs() -> AsyncIterator[int]:
            for number in range(at):
                await anyio.sleep(3)
                yield number
            await anyio.sleep(10**6)

        async with half_open(probe_timeout=10, recovery_timeout=30) as breaker:
            began = anyio.current_time()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(by_block, breaker, hangs)
                await anyio.sleep(3 * at + 9.9)
                assert breaker.state == "half_open"
                await anyio.sleep(0.1)
                assert anyio.current_time() == pytest.approx(began + 3 * at + 10)
                await settle_down()
                now = breaker.statistics()
                assert (now.state, now.in_flight) == ("open", 1)
                assert now.last_failure == "probe still running after 10 s"
                tasks.cancel_scope.cancel()
            assert counted(breaker) == {"failed": 1, "cancelled": 1}

    async def test_a_torrent(self) -> None:
        """So many items tell no more than is needed."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            await anyio.sleep(30)
            circuit = supervisor.find("x")
            assert circuit is not None

            async def torrent() -> AsyncIterator[int]:
                for number in range(10_000):
                    yield number
                assert len(circuit.mailbox.messages) <= 1

            await by_block(breaker, torrent)
            assert breaker.state == "closed"

    async def test_one_place_of_several(self) -> None:
        """Each probe's silence is its own."""
        async with half_open(probes=2, success_threshold=2, probe_timeout=10) as breaker:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(by_block, breaker, ticks, 9, 5)
                tasks.start_soon(by_block, breaker, ticks, 4, 12)
                await anyio.sleep(44)
                assert breaker.state == "half_open"
            assert breaker.state == "closed"

    async def test_a_policy_with_running_calls(self) -> None:
        """A probe that is known by number is renewed like others."""
        async with half_open(probe_timeout=10, slow_call_duration=10) as breaker:
            assert len(await by_block(breaker, ticks, 9, 10)) == 10
            assert breaker.state == "closed"


LATER = partial(numbers, 1, Down("later"))


class TestLaterBreaks:
    """Streams of probes that fail after they have succeeded with their first item."""

    @pytest.mark.parametrize("at", [1, 2, 5])
    async def test_a_failure_of_the_present_period(self, at: int) -> None:
        """It is another call, which has started and failed."""
        async with half_open() as breaker:
            with pytest.raises(Down):
                await by_block(breaker, numbers, at, Down("later"), verdict="first_item")
            now = breaker.statistics()
            assert (now.state, now.stale, now.last_failure) == ("open", 0, "Down: later")
            assert now.started == 3
            assert counted(breaker) == {"failed": 2, "succeeded": 1}

    async def test_towards_the_threshold(self) -> None:
        """As a call by itself would; streams of the closed circuit have one outcome each."""
        async with half_open() as breaker:
            breaker.reconfigure(failure_threshold=3)
            for failures in range(1, 4):
                assert breaker.state == ("closed" if failures > 1 else "half_open")
                with pytest.raises(Down):
                    await by_block(breaker, LATER, verdict="first_item")
                assert breaker.failure_count == failures
            assert breaker.state == "open"
            assert counted(breaker) == {"failed": 4, "succeeded": 1}

    @pytest.mark.parametrize("error", [KeyError("key"), TypeError("what"), SystemExit("stop")])
    async def test_what_is_no_failure(self, error: BaseException) -> None:
        """It adds nothing: the stream has been counted."""
        async with half_open(ignore=KeyError, failure_on=OSError) as breaker:
            with pytest.raises(type(error)):
                await by_block(breaker, Iterator, 1, error, verdict="first_item")
            assert breaker.state == "closed"
            assert counted(breaker) == {"failed": 1, "succeeded": 1}

    @pytest.mark.parametrize("failure_on_cancel", [False, True])
    async def test_cancelled(self, failure_on_cancel: bool) -> None:
        """By the policy, too."""
        async with half_open(failure_on_cancel=failure_on_cancel) as breaker:
            with anyio.move_on_after(1.5):
                await by_block(breaker, ticks, 1, verdict="first_item")
            assert counted(breaker) == {"failed": 1 + failure_on_cancel, "succeeded": 1}

    async def test_once(self) -> None:
        """An iterator that fails again and again has failed."""
        async with half_open() as breaker:
            async with breaker.stream(Iterator, 1, Down("later"), verdict="first_item") as items:
                await anext(items)
                for _ in range(3):
                    with pytest.raises(Down):
                        await anext(items)
            assert counted(breaker) == {"failed": 2, "succeeded": 1}

    async def test_before_the_first_item(self) -> None:
        """There has been no answer yet, so that it is the stream's own outcome."""
        async with half_open() as breaker:
            with pytest.raises(Down):
                await by_block(breaker, numbers, 0, Down("down"), verdict="first_item")
            assert counted(breaker) == {"failed": 2}

    async def test_while_the_circuit_is_half_open(self) -> None:
        """A recovery that breaks off is none, whatever others have answered."""
        async with half_open(success_threshold=3) as breaker:
            async with breaker.stream(LATER, verdict="first_item") as items:
                await anext(items)
                assert breaker.state == "half_open"
                with pytest.raises(Down):
                    await anext(items)
            now = breaker.statistics()
            assert (now.state, now.last_failure, now.stale) == ("open", "Down: later", 0)
            assert counted(breaker) == {"failed": 2, "succeeded": 1}

    async def test_while_the_circuit_is_open(self) -> None:
        """It is open already."""
        async with half_open() as breaker:
            async with breaker.stream(LATER, verdict="first_item") as items:
                await anext(items)
                await fail_times(breaker, 1)
                until = breaker.retry_after
                with pytest.raises(Down):
                    await anext(items)
            assert (breaker.state, breaker.retry_after) == ("open", until)
            assert counted(breaker) == {"failed": 3, "succeeded": 1}

    @pytest.mark.parametrize("method", ["disable", "only_measure", "force_close", "force_open"])
    async def test_in_a_state_by_hand(self, method: str) -> None:
        """It is counted, and that is all, unless the circuit measures."""
        async with half_open() as breaker:
            async with breaker.stream(LATER, verdict="first_item") as items:
                await anext(items)
                getattr(breaker, method)()
                with pytest.raises(Down):
                    await anext(items)
            now = breaker.statistics()
            assert now.would_be == ("open" if method == "only_measure" else now.state)
            assert counted(breaker) == {"failed": 2, "succeeded": 1}

    async def test_a_circuit_that_measures(self) -> None:
        """Its probes are as those of others; who would have been refused counts for nothing."""
        breaker = CircuitBreaker("x", 1, 10)
        await breaker.call(succeed)
        breaker.only_measure()
        await fail_times(breaker, 1)
        with pytest.raises(Down):
            await by_block(breaker, LATER, verdict="first_item")
        now = breaker.statistics()
        assert (now.would_be, now.would_have_refused, now.times_opened) == ("open", 1, 1)
        await anyio.sleep(10)
        with pytest.raises(Down):
            await by_block(breaker, LATER, verdict="first_item")
        now = breaker.statistics()
        assert (now.would_be, now.would_have_refused, now.times_opened) == ("open", 1, 2)
        assert counted(breaker) == {"failed": 3, "succeeded": 2}

    async def test_other_streams(self) -> None:
        """They hold no place of a probe: one outcome, which may come too late to count."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=2)
            async with breaker.stream(LATER, verdict="first_item") as items:
                await anext(items)
                assert counted(breaker) == {"in_flight": 1}
                with pytest.raises(Down):
                    await anext(items)
            assert counted(breaker) == {"failed": 1}
            async with breaker.stream(LATER, verdict="first_item") as items:
                await anext(items)
                breaker.reset()
                with pytest.raises(Down):
                    await anext(items)
            assert (breaker.failure_count, breaker.statistics().stale) == (0, 1)
            assert counted(breaker) == {"failed": 2}

    async def test_nothing_for_retries(self) -> None:
        """A stream brings as much into the retry budget as any call."""

        async def left(breaks: bool) -> int:
            budget: dict[str, Any] = {"retry_budget": 1.0, "retry_budget_minimum": 0}
            async with half_open(f"breaks {breaks}", **budget) as breaker:
                with suppress(Down):
                    error = Down("later") if breaks else None
                    await by_block(breaker, numbers, 1, error, verdict="first_item")
                breaker.reset()
                for retries in range(100):
                    try:
                        await breaker.retry(succeed)
                    except CircuitBreakerOpenError:
                        return retries
            raise AssertionError("no end")

        assert await left(breaks=False) == 1
        assert await left(breaks=True) == 1


class TestTimes:
    """`timeout`, and what counts as slow."""

    @each_verdict
    @every_way
    async def test_the_timeout_limits_each_wait(self, read: Any, verdict: str) -> None:
        """Not the whole stream."""
        breaker = CircuitBreaker("x", timeout=5)
        assert len(await read(breaker, ticks, 4, 50, verdict=verdict)) == 50
        assert counted(breaker) == {"succeeded": 1}

    @pytest.mark.parametrize("at", [0, 1, 3])
    @every_way
    async def test_no_item_in_time(self, read: Any, at: int) -> None:
        """The stream is ended, and fails."""

        async def hangs() -> AsyncIterator[int]:
            for number in range(at):
                yield number
            await anyio.sleep(10**6)

        breaker = CircuitBreaker("x", 1, timeout=5)
        with pytest.raises(CallTimeoutError):
            await read(breaker, hangs)
        assert anyio.current_time() == 5
        assert (breaker.state, counted(breaker)) == ("open", {"failed": 1})

    async def test_opening_takes_too_long(self) -> None:
        async def hangs() -> AsyncIterator[int]:
            await anyio.sleep(10**6)
            return numbers()

        breaker = CircuitBreaker("x", 1, timeout=5)
        with pytest.raises(CallTimeoutError):
            await by_block(breaker, hangs)
        assert counted(breaker) == {"failed": 1}

    async def test_the_readers_time_is_its_own(self) -> None:
        breaker = CircuitBreaker("x", 1, timeout=5)
        async with breaker.stream(numbers) as items:
            async for _ in items:
                await anyio.sleep(50)
        assert counted(breaker) == {"succeeded": 1}

    @each_verdict
    @pytest.mark.parametrize("given", [{}, {"slow_call_rate": 0.5, "window_calls": 4}])
    async def test_a_long_stream_is_not_slow(self, verdict: str, given: dict[str, Any]) -> None:
        """What counts is the time to its first item."""
        breaker = CircuitBreaker("x", 1, slow_call_duration=5, minimum_calls=1, **given)
        for _ in range(4):
            assert len(await by_block(breaker, ticks, 4, 50, verdict=verdict)) == 50
        assert (breaker.state, counted(breaker)) == ("closed", {"succeeded": 4})

    @each_verdict
    async def test_the_first_item_is_slow(self, verdict: str) -> None:
        """It counts at the moment when it is slow, and once."""
        breaker = CircuitBreaker("x", 2, slow_call_duration=5)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(by_block, breaker, ticks, 6, 3, verdict=verdict))
            await anyio.sleep(5)
            assert breaker.failure_count == 1
            await anyio.sleep(3)
            assert breaker.failure_count == 1
        assert (breaker.state, breaker.failure_count) == ("closed", 1)
        assert counted(breaker) == {"failed": 1}

    @each_verdict
    async def test_slow_probe(self, verdict: str) -> None:
        """By its first item; or it comes in time, and the rest may take long."""
        async with half_open(slow_call_duration=5) as breaker:
            assert len(await by_block(breaker, ticks, 4, 9, verdict=verdict)) == 9
            assert breaker.state == "closed"
        async with half_open("other", slow_call_duration=5) as breaker:
            await by_block(breaker, ticks, 6, 2, verdict=verdict)
            assert breaker.state == "open"

    @each_verdict
    async def test_slow_by_itself(self, verdict: str) -> None:
        """Nobody has had a turn in between: it has taken the time itself."""

        async def blocks() -> AsyncIterator[int]:
            jump(6)
            yield 1
            await anyio.sleep(1)

        breaker = CircuitBreaker("x", 5, slow_call_duration=5)
        await breaker.call(succeed)
        await by_block(breaker, blocks, verdict=verdict)
        assert counted(breaker) == {"succeeded": 1, "failed": 1}

    def test_without_a_task(self) -> None:
        """What cannot be limited does not begin; a callback of asyncio's is in no task."""
        raised = []

        async def main() -> None:
            breaker = CircuitBreaker("x", timeout=5)
            await breaker.call(succeed)

            def callback() -> None:
                try:
                    breaker.stream(numbers).__aenter__().send(None)
                except RuntimeError as error:
                    raised.append(str(error))

            asyncio.get_running_loop().call_soon(callback)
            await settle_down()
            assert counted(breaker) == {"succeeded": 1, "ignored": 1}

        run_in_virtual_time(main, backend="asyncio")
        assert raised == ["a limit to the time of a call needs a task that can be cancelled"]


class TestComplete:
    """A stream that just stops is told from one that is over."""

    @every_way
    @pytest.mark.parametrize("last", [0, 2])
    async def test_it_is(self, read: Any, last: int) -> None:
        """As soon as the function says so, whatever comes after it."""
        asked = []

        def complete(item: int) -> bool:
            asked.append(item)
            return item == last

        breaker = CircuitBreaker("x", 1)
        assert await read(breaker, numbers, complete=complete) == [0, 1, 2]
        assert asked == [*range(last + 1)]
        assert counted(breaker) == {"succeeded": 1}

    @every_way
    @pytest.mark.parametrize(("count", "text"), [(0, "0 items"), (1, "1 item"), (2, "2 items")])
    async def test_it_just_stops(self, read: Any, count: int, text: str) -> None:
        """The reader hears of it, and the circuit."""
        breaker = CircuitBreaker("x", 1, failure_on=OSError)
        with pytest.raises(IncompleteStreamError) as caught:
            await read(breaker, numbers, count, complete=lambda item: item == 2)
        assert str(caught.value) == f"a stream by circuit 'x' ended after {text}, incomplete"
        assert (caught.value.operation_name, caught.value.items) == ("x", count)
        assert caught.value.__suppress_context__
        now = breaker.statistics()
        assert (now.state, now.last_failure) == ("open", f"IncompleteStreamError: {caught.value}")
        assert counted(breaker) == {"failed": 1}

    async def test_later(self) -> None:
        """After the first item of a probe has been a success."""
        async with half_open() as breaker:
            with pytest.raises(IncompleteStreamError):
                await by_block(breaker, numbers, complete=never, verdict="first_item")
            assert breaker.state == "open"
            assert counted(breaker) == {"succeeded": 1, "failed": 2}

    async def test_the_policy_may_ignore_it(self) -> None:
        breaker = CircuitBreaker("x", 1, ignore=IncompleteStreamError)
        with pytest.raises(IncompleteStreamError):
            await by_block(breaker, numbers, complete=never)
        assert counted(breaker) == {"ignored": 1}

    async def test_left_early(self) -> None:
        """Whoever wants no more has not been cut short."""
        breaker = CircuitBreaker("x", 1)
        async with breaker.stream(numbers, complete=never) as items:
            await anext(items)
        assert counted(breaker) == {"succeeded": 1}

    async def test_left_while_somebody_waits(self) -> None:
        """Whoever waited for an item hears of the end, and not of a fault."""
        goes_on = anyio.Event()
        got: list[int] = []

        class Waiting(Iterator):
            async def __anext__(self) -> int:
                if got:
                    await goes_on.wait()
                return await super().__anext__()

        async def read() -> None:
            async for item in items:
                got.append(item)  # noqa: PERF401  (the iterator looks at it)

        breaker = CircuitBreaker("x", 1)
        async with anyio.create_task_group() as tasks:
            async with breaker.stream(Waiting, 1, complete=never) as items:
                tasks.start_soon(read)
                await settle_down()
                await items.aclose()
                goes_on.set()
        assert (got, counted(breaker)) == ([0], {"succeeded": 1})

    async def test_the_function_raises(self) -> None:
        """That is the reader's own error."""
        breaker = CircuitBreaker("x", 1)
        with pytest.raises(ZeroDivisionError):
            await by_block(breaker, numbers, complete=lambda item: 1 / item)
        assert counted(breaker) == {"succeeded": 1}

    async def test_the_function_has_to_be_awaited(self) -> None:
        """That does not show before; what it says would always be yes."""

        def later(item: int) -> Any:
            return coroutine(item)

        async with CircuitBreaker("x").stream(numbers, complete=later) as items:
            with pytest.raises(TypeError, match="complete must be a plain function, got <function"):
                await anext(items)

    async def test_the_error_travels(self) -> None:
        """From one process to another."""
        error = pickle.loads(pickle.dumps(IncompleteStreamError("x", 7)))
        assert (error.operation_name, error.items) == ("x", 7)


class TestNested:
    """Calls and streams of a circuit inside one of its streams, and the other way round."""

    async def test_inside_a_stream(self) -> None:
        """What a probe's stream calls itself is part of it."""
        async with half_open() as breaker:

            async def opens() -> AsyncIterator[int]:
                await breaker.call(succeed)
                async for number in breaker.streaming(numbers)():
                    yield number

            assert await by_block(breaker, opens) == [0, 1, 2]
            assert breaker.state == "closed"
            assert counted(breaker) == {"failed": 1, "succeeded": 1}

    async def test_what_its_reader_calls(self) -> None:
        """That is not inside it."""
        async with half_open() as breaker:
            async with breaker.stream(numbers) as items:
                async for _ in items:
                    assert await is_refused(breaker)
            assert counted(breaker) == {"failed": 1, "succeeded": 1, "rejected": 3}

    @each_verdict
    @pytest.mark.parametrize("at", [0, 2])
    async def test_one_failure_is_counted_once(self, verdict: str, at: int) -> None:
        """Through however many guards it comes."""
        breaker = CircuitBreaker("x", 10)

        async def opens() -> AsyncIterator[int]:
            async for number in numbers(at):
                yield number
            await breaker.call(fail)

        with pytest.raises(Down):
            await breaker.call(by_block, breaker, opens, verdict=verdict)
        assert breaker.failure_count == 1
        add_up(breaker.statistics())

    @each_verdict
    async def test_a_stream_inside_a_call(self, verdict: str) -> None:
        """The call is what has failed, once."""
        breaker = CircuitBreaker("x", 10)
        with pytest.raises(Down):
            await breaker.call(by_block, breaker, numbers, 2, Down("down"), verdict=verdict)
        assert breaker.failure_count == 1
        add_up(breaker.statistics())

    @each_verdict
    @pytest.mark.parametrize("error", [None, Down("down")])
    async def test_a_stream_inside_a_probe(self, verdict: str, error: Exception | None) -> None:
        """It is part of the probe, which reports for it."""
        async with half_open() as breaker:
            with suppress(Down):
                await breaker.call(by_block, breaker, numbers, 2, error, verdict=verdict)
            assert breaker.state == ("open" if error else "closed")
            assert counted(breaker) == ({"failed": 2} if error else {"failed": 1, "succeeded": 1})


async def test_many_at_once() -> None:
    """Whatever they do, the sums are right, and nobody is lost."""
    times: dict[str, Any] = {"probe_timeout": 2, "slow_call_duration": 1.5, "timeout": 3}
    breaker = CircuitBreaker("x", 3, 1.0, window_calls=20, **times)

    async def one(number: int) -> None:
        await anyio.sleep(number % 17 / 4)
        error = Down("down") if number % 3 == 0 else None
        opens = (
            partial(numbers, number % 5, error) if number % 2 else partial(ticks, 0.4, number % 6)
        )
        options: dict[str, Any] = {"verdict": "first_item"} if number % 4 < 2 else {}
        if number % 7 == 0:
            options["complete"] = lambda item: item == 3
        with suppress(Down, CircuitBreakerOpenError, IncompleteStreamError):
            with anyio.move_on_after(0.3 + number % 5):
                async with breaker.stream(opens, **options) as items:
                    async for item in items:
                        if item == 2 and number % 11 == 0:
                            break

    async with anyio.create_task_group() as tasks:
        for number in range(400):
            tasks.start_soon(one, number)
    now = breaker.statistics()
    add_up(now)
    assert now.in_flight == 0
    assert min(now.succeeded, now.failed, now.rejected, now.cancelled, now.times_opened) > 0


async def test_a_stream_can_be_named() -> None:
    """By its type, for whoever hands it on."""
    stream: GuardedStream[int] = CircuitBreaker("x").stream(numbers)
    assert aiter(stream) is stream
