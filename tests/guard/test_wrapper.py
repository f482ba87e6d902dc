"""What a decorated function becomes: a wrapper written for its signature, or the plain one."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import linecache
import pickle
import sys
import traceback
import weakref
from types import FunctionType
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import CircuitBreaker, CircuitBreakerOpenError, Statistics
from supervisor.guard.wrapper import wrap, wrap_plainly
from tests.support.tracing import tracing
from tests.support.worlds import Down

pytestmark = pytest.mark.anyio


async def nothing() -> tuple[()]:
    return ()


async def by_position(a: int, b: int) -> object:
    return a, b


async def by_position_only(a: int, b: int = 2, /, c: int = 3) -> object:
    return a, b, c


async def by_name(a: int, *, b: int, c: int = 3) -> object:
    return a, b, c


async def whatever(*args: int, **kwargs: int) -> object:
    return args, kwargs


async def everything(
    a: int, /, b: int, c: int = 3, *d: int, e: int, f: int = 6, **g: int
) -> object:
    return a, b, c, d, e, f, g


async def same_name(a: int, /, **kwargs: int) -> object:
    return a, kwargs


async def names_of_the_wrapper(
    _breaker: int,
    _func: int,
    __func: int,
    BaseException: int,  # noqa: A002, N803
    *,
    guarded: int = 5,
    make: int = 6,
) -> object:
    return _breaker, _func, __func, BaseException, guarded, make


FUNCTIONS: list[Any] = [
    nothing,
    by_position,
    by_position_only,
    by_name,
    whatever,
    everything,
    same_name,
    names_of_the_wrapper,
]

every_function = pytest.mark.parametrize("func", FUNCTIONS, ids=lambda func: func.__name__)
both = pytest.mark.parametrize("wrapped_by", [wrap, wrap_plainly])


async def outcome(func: Any, *args: int, **kwargs: int) -> object:
    """What a call comes to; one that does not fit does so in the words of the function."""
    try:
        return await func(*args, **kwargs)
    except TypeError as error:
        return str(error)


CALLS: list[tuple[tuple[int, ...], dict[str, int]]] = [
    (tuple(range(count)), dict.fromkeys(names, 10 * count))
    for count in range(6)
    for names in ("", "a", "b", "e", "ab", "bc", "be", "ae", "bce", "abe", "ef", "befg", "z")
]


class TestTheTwoAreTheSame:
    """The written one does in everything what the plain one does."""

    @every_function
    async def test_results(self, func: Any) -> None:
        """Of calls that fit, and of those that do not: in the words of the function.

        Those are no calls to the written one, which raises at once, as the function does itself.
        """
        written, plain = CircuitBreaker("written"), CircuitBreaker("plain", len(CALLS) + 1)
        fitting = 0
        for args, kwargs in CALLS:
            expected = await outcome(func, *args, **kwargs)
            fitting += not isinstance(expected, str)
            assert await outcome(wrap(written, func), *args, **kwargs) == expected
            assert await outcome(wrap_plainly(plain, func), *args, **kwargs) == expected
        assert fitting
        assert (written.statistics().succeeded, written.statistics().failed) == (fitting, 0)

    @pytest.mark.parametrize("policy", [{}, {"timeout": 5.0}, {"slow_call_duration": 5.0}])
    async def test_figures(self, policy: dict[str, Any]) -> None:
        """Successes, failures, cancellations, an opening and a refusal; by whatever way."""
        figures: list[Statistics] = []
        for wrapped_by in (wrap, wrap_plainly):
            breaker = CircuitBreaker(wrapped_by.__name__, failure_threshold=2, **policy)

            async def ends(error: BaseException | None) -> str:
                if error is not None:
                    raise error
                return "fine"

            guarded: Any = wrapped_by(breaker, ends)
            for _ in range(3):
                assert await guarded(None) == "fine"
            for error in (Down(), asyncio.CancelledError(), StopAsyncIteration(), Down(), Down()):
                with pytest.raises(type(error)) as raised:
                    await guarded(error)
                assert raised.value is error
                del raised
            with pytest.raises(CircuitBreakerOpenError):
                await guarded(None)
            figures.append(breaker.statistics())
        assert figures[0].rejected == 1
        written, plain = (str(each).replace("wrap_plainly", "wrap") for each in figures)
        assert written == plain

    @every_function
    def test_what_is_told_of_them(self, func: Any) -> None:
        """Each passes for the function: its signature, names and documentation."""
        for guarded in (wrap(CircuitBreaker("x"), func), wrap_plainly(CircuitBreaker("y"), func)):
            assert inspect.signature(guarded) == inspect.signature(func)
            assert inspect.unwrap(guarded) is func
            assert inspect.iscoroutinefunction(guarded)
            for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
                assert getattr(guarded, name) == getattr(func, name)

    @both
    async def test_arguments_are_freed_with_the_call(self, wrapped_by: Any) -> None:
        """Whoever is done with an argument can let go of it while the call still runs."""

        class Large:
            pass

        async def use(large: Large | None, *, named: Large | None) -> bool:
            seen = weakref.ref(large), weakref.ref(named)
            del large, named
            gc.collect()
            return all(each() is None for each in seen)

        guarded = wrapped_by(CircuitBreaker("x"), use)
        await guarded(Large(), named=Large())  # the first one has to ask
        freed = await guarded(Large(), named=Large())
        assert freed  # an assertion keeps what it shows


class TestDefaults:
    """They are the function's own, at the time of the call."""

    @both
    async def test_one_object_for_all_calls(self, wrapped_by: Any) -> None:
        """A mutable default is the same each time."""

        async def collect(item: int, into: list[int] = []) -> list[int]:  # noqa: B006
            into.append(item)
            return into

        guarded = wrapped_by(CircuitBreaker("x"), collect)
        assert await guarded(1) is await guarded(2)
        assert await guarded(3) == [1, 2, 3]
        assert await guarded(3, []) == [3]

    @both
    async def test_a_sentinel_of_the_users(self, wrapped_by: Any) -> None:
        """It is told from whatever else is given."""
        missing = object()

        async def look(value: object = missing, *, named: object = missing) -> tuple[bool, bool]:
            return value is missing, named is missing

        guarded = wrapped_by(CircuitBreaker("x"), look)
        assert await guarded() == (True, True)
        assert await guarded(None) == (False, True)
        assert await guarded(named=None) == (True, False)

    @both
    async def test_they_may_be_changed_later(self, wrapped_by: Any) -> None:
        """And taken away."""

        async def add(a: int, b: int = 1, *, c: int = 1) -> int:
            return 100 * a + 10 * b + c

        func: Any = add
        guarded = wrapped_by(CircuitBreaker("x"), func)
        assert await guarded(1) == 111
        func.__defaults__ = (2,)
        assert await guarded(1) == 121
        assert await guarded(1, 1) == 111
        func.__kwdefaults__["c"] = 3
        assert await guarded(1) == 123
        func.__kwdefaults__ = {"c": 4}
        assert await guarded(1) == 124
        func.__defaults__ = None
        assert await guarded(1, 2) == 124
        with pytest.raises(TypeError, match=r"add\(\) "):
            await guarded(1)
        func.__kwdefaults__ = None
        with pytest.raises(TypeError, match=r"add\(\) "):
            await guarded(1, 2)
        assert await guarded(1, 2, c=3) == 123

    def test_what_shows_in_their_place(self) -> None:
        """Whoever looks at the wrapper itself is told that there is one."""
        own = inspect.signature(wrap(CircuitBreaker("x"), by_name), follow_wrapped=False)
        assert str(own) == "(a: 'int', *, b: 'int', c: 'int' = ...) -> 'object'"


@st.composite
def functions(draw: st.DrawFn) -> FunctionType:
    """An async function of whatever signature, that returns all its arguments."""
    names = draw(
        st.lists(st.sampled_from(["a", "_a", "__a", "make", "größe", "ARGS", "args"]), unique=True)
    )
    cut = sorted(draw(st.tuples(*[st.integers(0, len(names))] * 3)))
    only, either, keyword = names[: cut[0]], names[cut[0] : cut[1]], names[cut[1] : cut[2]]
    optional = draw(st.integers(0, cut[1]))
    each = [
        f"{name}={number}" if number >= cut[1] - optional else name
        for number, name in enumerate([*only, *either])
    ]
    if only:
        each.insert(len(only), "/")
    star, stars = draw(st.booleans()), draw(st.booleans())
    each += ["*rest"] if star else ["*"] if keyword else []
    each += [name + draw(st.sampled_from(["", "=7"])) for name in keyword]
    each += ["**more"] * stars
    space: dict[str, Any] = {}
    exec(f"async def func({', '.join(each)}): return sorted(locals().items())", space)
    func: FunctionType = space["func"]
    return func


@given(
    functions(),
    st.lists(st.integers(), max_size=5),
    st.dictionaries(
        st.sampled_from(["a", "_a", "__a", "make", "größe", "ARGS", "z"]), st.integers()
    ),
)
def test_whatever_is_called_with_whatever(
    func: FunctionType, args: list[int], kwargs: dict[str, int]
) -> None:
    """It comes to what the function itself comes to, in result and words."""

    async def all_three() -> list[object]:
        ways = [func, *(each(CircuitBreaker("x"), func) for each in (wrap, wrap_plainly))]
        return [await outcome(way, *args, **kwargs) for way in ways]

    plainly, written, plain = asyncio.run(all_three())
    assert plainly == written == plain


class TestOthersThanOrdinaryFunctions:
    """They get the plain wrapper, and are guarded all the same."""

    async def test_an_object_that_is_called(self) -> None:
        """By its `__call__`."""

        class Client:
            async def __call__(self, x: int) -> int:
                return x

        breaker = CircuitBreaker("x")
        assert await breaker(Client())(3) == 3
        assert breaker.statistics().succeeded == 1

    @pytest.mark.parametrize(
        "names",
        [
            (".0", "class"),
            ("__debug__", "b"),
            ("\N{LATIN SMALL LIGATURE FI}", "b"),
            ("\N{LATIN SMALL LIGATURE FI}", "fi"),
            ("a", "\N{FEMININE ORDINAL INDICATOR}"),
        ],
        ids=ascii,
    )
    async def test_names_that_are_none(self, names: tuple[str, str]) -> None:
        """A code object that was made by a program may have parameters of any name, also of those
        that Python reads as others in a source.
        """
        odd = FunctionType(by_position.__code__.replace(co_varnames=names), {})
        breaker = CircuitBreaker("x")
        guarded = breaker(odd)
        assert await guarded(1, 2) == (1, 2)
        assert await guarded(**dict(zip(names, (1, 2), strict=True))) == (1, 2)
        assert await outcome(guarded, fi=1) == await outcome(odd, fi=1)
        assert breaker.statistics().succeeded == 2


decorated = CircuitBreaker("decorated")(everything)


class TestToolsThatLookInside:
    """What reads, copies and follows functions."""

    def test_one_source_for_one_shape(self) -> None:
        """Functions that differ in other things share it."""

        async def other(a: int, b: str) -> None:
            """Another one."""

        breaker: Any = CircuitBreaker("x")
        one, two = breaker(by_position), breaker(other)
        assert one.__code__ is two.__code__
        assert one.__code__ is not breaker(by_name).__code__

    async def test_tracebacks_show_its_lines(self) -> None:
        """Also after whoever prints one has looked for files that have changed."""

        async def fails(x: int) -> int:
            raise Down(x)

        guarded = CircuitBreaker("x")(fails)
        with pytest.raises(Down):
            await guarded(1)  # the first one has to ask
        linecache.checkcache()
        with pytest.raises(Down) as raised:
            await guarded(1)
        frame = next(
            each for each in traceback.extract_tb(raised.tb) if each.filename.startswith("<circuit")
        )
        assert frame.name == "guarded"
        assert frame.filename == "<circuit breaker around (x)>"
        assert frame.line == "_result = await _awaitable"

    async def test_a_debugger_finds_every_line(self) -> None:
        """Each that is stepped through is one of its source."""
        seen: list[str] = []

        def trace(frame: Any, event: str, _: object) -> Any:
            code = frame.f_code
            if code.co_name == "guarded" and event == "line":
                seen.append(linecache.getline(code.co_filename, frame.f_lineno).strip())
            return trace

        guarded = CircuitBreaker("x")(by_position)
        await guarded(1, 2)
        with tracing(trace):
            await guarded(1, 2)
        assert seen[0] == "_circuit = _breaker._circuit"
        assert seen[-1] == "return _result"
        assert "" not in seen

    async def test_copies(self) -> None:
        """It is sent by its name, or with its code, and is one and the same in a deep copy."""
        assert copy.deepcopy(decorated) is decorated
        here = cloudpickle.loads(cloudpickle.dumps(wrap(CircuitBreaker("x"), everything)))
        assert here is not decorated
        assert await here(1, 2, e=5) == (1, 2, 3, (), 5, 6, {})

    def test_pickling_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As `@` leaves it in its module."""
        guarded = CircuitBreaker("x")(everything)
        monkeypatch.setattr(sys.modules[__name__], "everything", guarded)
        assert pickle.loads(pickle.dumps(guarded)) is guarded

    async def test_methods(self) -> None:
        """Of objects and classes, and static ones, whose private names are their own."""
        breaker = CircuitBreaker("x")

        class Client:
            @breaker
            async def method(self, __x: int) -> object:
                return self, __x

            @classmethod
            @breaker
            async def of_class(cls, x: int = 1) -> object:
                return cls, x

            @staticmethod
            @breaker
            async def static(x: int) -> int:
                return x

        client = Client()
        assert await client.method(1) == (client, 1)
        assert await client.of_class() == await Client.of_class() == (Client, 1)
        assert await client.static(2) == await Client.static(2) == 2
        assert breaker.statistics().succeeded == 5
