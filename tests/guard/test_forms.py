"""Functions of every form, in every decorator: guarded as what they are, or refused at once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from anyio import to_thread

from supervisor import (
    CircuitBreaker,
    Supervisor,
    create_retry_decorator,
    execute_with_retry,
    retry_api_call,
    retry_storage_operation,
    retry_worker_operation,
    with_circuit_breaker,
)
from supervisor.arguments import form_of
from tests.support.worlds import Down

pytestmark = pytest.mark.anyio


class Asking:
    """Each form of function fails when its body runs, so that the circuit must hear of it."""

    async def ask(self) -> str:
        raise Down("async")

    async def read(self) -> AsyncIterator[str]:
        raise Down("async generator")
        yield ""

    def look_up(self) -> str:
        raise Down("plain")

    def pages(self) -> Iterator[str]:
        raise Down("generator")
        yield ""


class Async(Asking):
    """Its objects are called like async functions."""

    async def __call__(self) -> str:
        return await self.ask()


class AsyncGenerator(Asking):
    """Likewise, as all below."""

    async def __call__(self) -> AsyncIterator[str]:
        async for each in self.read():
            yield each


class Plain(Asking):
    """Likewise."""

    def __call__(self) -> str:
        return self.look_up()


class Generator(Asking):
    """Likewise."""

    def __call__(self) -> Iterator[str]:
        yield from self.pages()


class Again:
    """Its objects are called like an object that is called like an async function."""

    __call__ = Async()


class Static:
    """Has them as static methods."""

    @staticmethod
    async def ask() -> str:
        return await Asking().ask()

    @staticmethod
    async def read() -> AsyncIterator[str]:
        async for each in Asking().read():
            yield each

    @staticmethod
    def look_up() -> str:
        return Asking().look_up()

    @staticmethod
    def pages() -> Iterator[str]:
        yield from Asking().pages()


async def ask() -> str:
    return await Asking().ask()


async def read() -> AsyncIterator[str]:
    async for each in Asking().read():
        yield each


def look_up() -> str:
    return Asking().look_up()


def pages() -> Iterator[str]:
    yield from Asking().pages()


def in_every_dress(name: str, func: Any, method: Any, static: Any, called: Any) -> list[Any]:
    dressed = {
        "function": func,
        "partial": functools.partial(func),
        "bound method": method,
        "partial of a method": functools.partial(method),
        "static method of a class": static,
        "callable": called,
        "partial of a callable": functools.partial(called),
        "its __call__": called.__call__,
    }
    return [pytest.param(each, id=f"{name}, {dress}") for dress, each in dressed.items()]


ASYNC = [
    *in_every_dress("async", ask, Asking().ask, Static.ask, Async()),
    pytest.param(Again(), id="async, callable in a callable"),
    pytest.param(functools.partial(staticmethod(ask)), id="async, partial of a static method"),
]
STREAMS = in_every_dress("async generator", read, Asking().read, Static.read, AsyncGenerator())
PLAIN = in_every_dress("plain", look_up, Asking().look_up, Static.look_up, Plain())
GENERATORS = in_every_dress("generator", pages, Asking().pages, Static.pages, Generator())

Decorate = Callable[[CircuitBreaker], Callable[[Any], Any]]

BREAKER: Decorate = lambda breaker: breaker  # noqa: E731
WAITING: Decorate = lambda breaker: breaker.waiting(1)  # noqa: E731
STREAMING: Decorate = lambda breaker: breaker.streaming  # noqa: E731
STREAMING_WAITING: Decorate = lambda breaker: breaker.waiting(1).streaming()  # noqa: E731
SYNC: Decorate = lambda breaker: breaker.sync  # noqa: E731
REGISTRY: Decorate = lambda breaker: with_circuit_breaker(breaker.name)  # noqa: E731
RETRY: Decorate = lambda breaker: retry_api_call(min_wait=0.001, max_wait=0.001, breaker=breaker)  # noqa: E731
ATTEMPTS: Decorate = lambda breaker: create_retry_decorator(  # noqa: E731
    "worker", 1, breaker=breaker, guard="attempt"
)


def named(**decorators: Decorate) -> Any:
    return pytest.mark.parametrize("decorate", decorators.values(), ids=decorators)


async def has_heard(breaker: CircuitBreaker) -> bool:
    """Whether the circuit of that name has counted one call, which has failed."""
    figures = breaker.statistics()
    return (figures.started, figures.failed, figures.in_flight) == (1, 1, 0)


@named(
    breaker=BREAKER,
    waiting=WAITING,
    with_circuit_breaker=REGISTRY,
    retry=RETRY,
    retry_by_attempts=ATTEMPTS,
)
@pytest.mark.parametrize("func", ASYNC)
async def test_an_async_function_is_guarded(func: Any, decorate: Decorate, enabled: None) -> None:
    """However it is dressed; and what it has become is an async function."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        guarded = decorate(breaker)(func)
        assert inspect.iscoroutinefunction(guarded)
        with pytest.raises(Down, match=r"^async$"):
            await guarded()
        assert await has_heard(breaker)


@named(streaming=STREAMING, waiting=STREAMING_WAITING, retry=RETRY, retry_by_attempts=ATTEMPTS)
@pytest.mark.parametrize("func", STREAMS)
async def test_an_async_generator_is_guarded(func: Any, decorate: Decorate) -> None:
    """However it is dressed, as a stream."""
    breaker = CircuitBreaker("x")
    guarded = decorate(breaker)(func)
    assert inspect.isasyncgenfunction(guarded)
    with pytest.raises(Down, match=r"^async generator$"):
        await anext(guarded())
    assert await has_heard(breaker)


@named(sync=SYNC, retry=RETRY, retry_by_attempts=ATTEMPTS)
@pytest.mark.parametrize("func", PLAIN)
async def test_a_plain_function_is_guarded(func: Any, decorate: Decorate) -> None:
    """However it is dressed, in a worker thread."""
    breaker = CircuitBreaker("x")
    guarded = decorate(breaker)(func)
    with pytest.raises(Down, match=r"^plain$"):
        await to_thread.run_sync(guarded)
    assert await has_heard(breaker)


EVERY = {
    "breaker": BREAKER,
    "waiting": WAITING,
    "streaming": STREAMING,
    "waiting_streaming": STREAMING_WAITING,
    "sync": SYNC,
    "with_circuit_breaker": REGISTRY,
    "retry": RETRY,
    "retry_by_attempts": ATTEMPTS,
}


@named(**EVERY)
@pytest.mark.parametrize("func", GENERATORS)
def test_a_generator_is_refused(func: Any, decorate: Decorate) -> None:
    """By each: its body runs while it is read, after the call. The error says what to do."""
    with pytest.raises(TypeError, match=r"needs a.* got .* `@breaker\.sync`, or .*streaming`"):
        decorate(CircuitBreaker("x"))(func)


def other(functions: list[Any], text: str, *decorators: str) -> list[Any]:
    return [
        pytest.param(EVERY[name], each.values[0], text, id=f"{name}: {each.id}")
        for name in decorators
        for each in functions
    ]


@pytest.mark.parametrize(
    ("decorate", "func", "text"),
    [
        *other(ASYNC, r"`await breaker\.call\(", "streaming", "waiting_streaming", "sync"),
        *other(
            STREAMS,
            r"by `@breaker\.streaming`",
            "breaker",
            "waiting",
            "with_circuit_breaker",
            "sync",
        ),
        *other(
            PLAIN,
            r"by `@breaker\.sync`",
            "breaker",
            "waiting",
            "with_circuit_breaker",
            "streaming",
            "waiting_streaming",
        ),
    ],
)
def test_another_form_is_refused(decorate: Decorate, func: Any, text: str) -> None:
    """By each that is not for it; the error names what is."""
    with pytest.raises(TypeError, match=text):
        decorate(CircuitBreaker("x"))(func)


FOR_FORM = {
    "ask": ("breaker", "waiting", "with_circuit_breaker", "retry", "retry_by_attempts"),
    "read": ("streaming", "waiting_streaming", "retry"),
    "look_up": ("sync", "retry"),
}
DECORATED = [
    pytest.param(EVERY[name], form, id=f"{name}: {form}")
    for form, names in FOR_FORM.items()
    for name in names
]


@pytest.mark.parametrize("wrap", [staticmethod, classmethod])
@pytest.mark.parametrize(("decorate", "form"), DECORATED)
async def test_methods_of_classes(decorate: Decorate, form: str, wrap: Any, enabled: None) -> None:
    """Decorated above `@staticmethod` or `@classmethod`: the same as in the other order."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")

        class Client:
            async def ask(*cls: object) -> str:
                return str(cls)

            async def read(*cls: object) -> AsyncIterator[str]:
                yield str(cls)

            def look_up(*cls: object) -> str:
                return str(cls)

            method = decorate(breaker)(wrap(vars()[form]))

        asked: list[str] = []
        for each in (Client, Client()):
            method: Any = each.method
            match form:
                case "ask":
                    asked.append(await method())
                case "read":
                    asked += [item async for item in method()]
                case _:
                    asked.append(await to_thread.run_sync(method))
        assert asked == [str((Client,) if wrap is classmethod else ())] * 2
        assert breaker.statistics().succeeded == 2


@named(**EVERY)
@pytest.mark.parametrize("wrap", [staticmethod, classmethod])
def test_methods_of_classes_of_another_form(wrap: Any, decorate: Decorate) -> None:
    """Are refused, too."""
    with pytest.raises(TypeError, match=r"needs a.* got .* `@breaker\.sync`, or .*streaming`"):
        decorate(CircuitBreaker("x"))(wrap(pages))


async def test_the_other_order() -> None:
    """Is as good."""
    breaker = CircuitBreaker("x")

    class Client:
        @staticmethod
        @breaker
        async def ask(word: str) -> str:
            return word

        @classmethod
        @breaker
        async def name(cls) -> str:
            return cls.__name__

    assert (await Client().ask("tea"), await Client.ask("tea")) == ("tea", "tea")
    assert (await Client().name(), await Client.name()) == ("Client", "Client")
    assert breaker.statistics().succeeded == 4


@pytest.mark.parametrize("func", [*STREAMS, *GENERATORS])
async def test_calls_in_threads(func: Any) -> None:
    """What would run later is refused, and nothing is counted."""
    breaker = CircuitBreaker("x")
    for call in (breaker.call_from_thread, breaker.sync.call, breaker.sync.retry):
        with pytest.raises(TypeError, match=r"^call_from_thread needs a plain .*streaming`"):
            await to_thread.run_sync(call, func)
        with pytest.raises(TypeError, match=r"^call_from_thread needs .*, got 'func'$"):
            await to_thread.run_sync(call, "func")
    assert breaker.statistics().started == 0


@pytest.mark.parametrize("func", [*STREAMS, *GENERATORS])
async def test_a_retry_without_decorating(func: Any) -> None:
    """Likewise."""
    breaker = CircuitBreaker("x")
    with pytest.raises(TypeError, match=r"^execute_with_retry needs an async .*streaming`"):
        await execute_with_retry(func, breaker=breaker)
    assert breaker.statistics().started == 0


def test_an_object_that_is_called_by_itself() -> None:
    """Has no function in the end: looking for it ends all the same."""

    class Circle:
        pass

    Circle.__call__ = Circle()  # type: ignore[attr-defined]
    assert form_of(Circle()) == "plain"


# What is decorated without parentheses


async def test_a_name_of_its_own(enabled: None) -> None:
    """`@with_circuit_breaker` goes by the function's name, as with parentheses."""

    class Client:
        @with_circuit_breaker
        async def ask(self) -> str:
            return "tea"

        @with_circuit_breaker
        @staticmethod
        async def name() -> str:
            return "Client"

    async with Supervisor() as supervisor:
        assert (await Client().ask(), await Client.name()) == ("tea", "Client")
        assert [name.rpartition(".")[2] for name in supervisor] == ["ask", "name"]


def test_parentheses_are_needed() -> None:
    """Where something has to be said; the error says what to write."""
    bare: Any
    for bare in (retry_api_call, retry_worker_operation, retry_storage_operation):
        for func in (ask, staticmethod(ask)):
            with pytest.raises(TypeError, match=rf"got .*; write `@{bare.__name__}\(\)` above"):
                bare(func)
    breaker: Any = CircuitBreaker
    with pytest.raises(TypeError, match=r'got .*; .* write `@CircuitBreaker\("name"\)`'):
        breaker(ask)


# Streams that are called


class TestStreams:
    """A call is over when it returns, and nothing of a stream has run by then."""

    async def test_an_async_generator_function(self) -> None:
        """Is no function to call; the error says what guards it."""
        breaker = CircuitBreaker("x")
        call: Any = breaker.call
        for again in (1, 2, 3):
            with pytest.raises(TypeError, match=r"^CircuitBreaker\.call needs .*breaker\.stream\("):
                await call(read)
            assert breaker.statistics().ignored == again

    async def test_what_returns_an_async_generator(self) -> None:
        """Is refused as soon as it is looked at, by a circuit's first call at the latest."""

        async def opens() -> AsyncIterator[str]:
            return read()

        breaker = CircuitBreaker("x", timeout=5)
        for again in range(1, 4):
            with pytest.raises(TypeError, match=r"nothing has run yet; .*breaker\.stream\("):
                await breaker.call(opens)
            assert breaker.statistics().ignored == again
        with pytest.raises(TypeError, match=r"nothing has run yet; .*breaker\.stream\("):
            await CircuitBreaker("first")(opens)()
