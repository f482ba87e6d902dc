"""What a decorated function becomes: a coroutine function that guards each call of it.

To pass `*args, **kwargs` on is half of what a guarded call costs: a tuple and a dictionary are made
of the arguments, and taken apart again. So an ordinary function is given a wrapper with parameters
like its own. Its source is written once for each shape of signature and kept, as `dataclasses` do
with an `__init__`. Whatever else can be called gets the plain wrapper, which does the same.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Coroutine
from enum import Enum
from inspect import CO_VARARGS, CO_VARKEYWORDS
from keyword import iskeyword
from types import FunctionType
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from supervisor.circuit import Ticket, admit_at_once, end_once, succeed
from supervisor.guard.handle import CircuitHandle
from supervisor.guard.running import run_guarded

P = ParamSpec("P")
R = TypeVar("R")

SOURCE: Final = """\
def make($breaker, $func):
    async def guarded({parameters}):
{filled_in}        $circuit = $breaker._circuit
        if ($home := $circuit.home).where() != $home.place or $home.turn not in $home.turns:
            $circuit = await $breaker._begin()
        if $circuit.headroom > 0:
            $began = $circuit.started = $circuit.started + 1
            $grant = $circuit.grant
        elif (
            ($allowance := $circuit.allowance) is not None
            and $allowance.only_keeps_calls
            and $allowance.slack > 0
            and ($now := $allowance.clock.time()) < $allowance.next_check
        ):
            $running = $allowance.running_calls
            $grant, $began = $running.last + 1, $circuit.started + 1
            $running.under_lease[$grant], $running.last, $circuit.started = $now, $grant, $began
        else:
            $ticket = $admit_at_once($circuit)
            if $ticket is None or ($circuit.allowance and $circuit.allowance.limits_time):
                return await $run_guarded($circuit, $ticket, $func, ({args}), {{{kwargs}}})
            $grant, $began = $ticket, $circuit.started
        try:
            $awaitable = $func({arguments})
{forgotten}            $result = await $awaitable
        except $BaseException as $error:
            $circuit.ending += 1
            $end_once($circuit, $grant, $error, $began)
            raise
        if $grant is $circuit.grant:
            $circuit.unsent_successes += 1
        else:
            if ($allowance := $circuit.allowance) is not None and $allowance.only_keeps_calls:
                try:
                    $now = $allowance.clock.time()
                except $BaseException:
                    $circuit.ending += 1
                    raise
                $running = $allowance.running_calls.under_lease
                if (
                    $grant in $running
                    and not $allowance.any_outcome
                    and $now <= $allowance.run_ends
                    and $now < $allowance.overdue_at
                ):
                    del $running[$grant]
                    $circuit.unsent_successes += 1
                    return $result
            $circuit.ending += 1
            $succeed($circuit, $grant, $result, $began)
        return $result
    return guarded
"""
"""For each `$` stands what no parameter's name begins with.

Besides what the plain wrapper says, it has the calls in it that are known while they run: how they
begin, from `admit_at_once`, and how they end, from `succeed`. Such an end counts as `ending` only
once more than the clock has to be looked at, or if that look is cut short.
"""


class _LeftOut(Enum):
    LEFT_OUT = "left out"

    def __repr__(self) -> str:
        return "..."


LEFT_OUT: Final = _LeftOut.LEFT_OUT
"""The default of each parameter that has one: the function says at each call what that is."""


class Shape(NamedTuple):
    """What parameters a function has.

    Attributes:
        positional: those that may be given by position, the first `only` of them in no other way.
        only: how many those are.
        optional: how many of the positional ones, the last, may be left out.
        keyword: those that are given by name.
        optional_keyword: those of them that may be left out.
        star, stars: what takes all other arguments, if anything does.
    """

    positional: tuple[str, ...]
    only: int
    optional: int
    keyword: tuple[str, ...]
    optional_keyword: frozenset[str]
    star: tuple[str, ...]
    stars: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.positional, *self.keyword, *self.star, *self.stars)


def wrap(
    breaker: CircuitHandle, func: Callable[P, Coroutine[Any, Any, R]]
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return the coroutine function that guards calls of `func`, which is an async one."""
    if type(func) is FunctionType:
        make = _maker_for(_shape_of(func))
        if make is not None:
            return functools.update_wrapper(make(breaker, func), func)
    return wrap_plainly(breaker, func)


def wrap_plainly(
    breaker: CircuitHandle, func: Callable[P, Coroutine[Any, Any, R]]
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return one that passes all arguments on."""

    @functools.wraps(func)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        circuit = breaker._circuit  # pyright: ignore[reportPrivateUsage]
        if (home := circuit.home).where() != home.place or home.turn not in home.turns:
            circuit = await breaker._begin()  # pyright: ignore[reportPrivateUsage]
        if circuit.headroom > 0:
            began = circuit.started = circuit.started + 1
            grant: Ticket = circuit.grant
        else:
            ticket = admit_at_once(circuit)
            if ticket is None or (circuit.allowance and circuit.allowance.limits_time):
                return await run_guarded(circuit, ticket, func, args, kwargs)  # type: ignore[no-any-return]
            grant, began = ticket, circuit.started
        try:
            awaitable = func(*args, **kwargs)
            del args, kwargs
            result = await awaitable
        except BaseException as error:
            circuit.ending += 1
            end_once(circuit, grant, error, began)
            raise
        if grant is circuit.grant:
            circuit.unsent_successes += 1
        else:
            circuit.ending += 1
            succeed(circuit, grant, result, began)
        return result

    return guarded


def _shape_of(func: FunctionType) -> Shape:
    code = func.__code__
    count, names = code.co_argcount, code.co_varnames
    end = count + code.co_kwonlyargcount
    after = end + bool(code.co_flags & CO_VARARGS)
    return Shape(
        positional=names[:count],
        only=code.co_posonlyargcount,
        optional=len(func.__defaults__ or ()),
        keyword=names[count:end],
        optional_keyword=frozenset(func.__kwdefaults__ or ()),
        star=names[end:after],
        stars=names[after : after + bool(code.co_flags & CO_VARKEYWORDS)],
    )


@functools.lru_cache(maxsize=1024)
def _maker_for(shape: Shape) -> Callable[..., Callable[..., Coroutine[Any, Any, Any]]] | None:
    """Return what makes wrappers of that shape, for a breaker and a function.

    None: it has a name that no source can have, since a program has made the function.
    """
    if not all(map(_can_be_written, shape.names)):
        return None
    prefix = "_"
    while any(name.startswith(prefix) for name in shape.names):
        prefix += "_"
    source = source_for(shape, prefix)
    filename = f"<circuit breaker around ({_parameters(shape, '...')})>"
    # So that tracebacks and debuggers show its lines.
    linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
    space: dict[str, Any] = {prefix + name: known for name, known in _KNOWN.items()}
    space["__name__"] = __name__
    exec(compile(source, filename, "exec"), space)  # noqa: S102  (names of parameters, and no more)
    made: Callable[..., Any] = space["make"]
    return made


def _can_be_written(name: str) -> bool:
    if not name.isidentifier() or iskeyword(name):
        return False
    return compile(name, "name", "eval").co_names == (name,)  # Python reads some letters as others


def source_for(shape: Shape, prefix: str) -> str:
    """Return the source of what makes wrappers of that shape; its own names have the prefix."""
    args = [*shape.positional, *(f"*{name}" for name in shape.star)]
    rest = [f"**{name}" for name in shape.stars]
    return SOURCE.replace("$", prefix).format(
        parameters=_parameters(shape, f"{prefix}LEFT_OUT"),
        filled_in=_filled_in(shape, prefix),
        args="".join(f"{each}, " for each in args),
        kwargs=", ".join([*(f"{name!r}: {name}" for name in shape.keyword), *rest]),
        arguments=", ".join([*args, *(f"{name}={name}" for name in shape.keyword), *rest]),
        forgotten=f"            del {', '.join(shape.names)}\n" if shape.names else "",
    )


def _parameters(shape: Shape, default: str) -> str:
    first = len(shape.positional) - shape.optional
    each = [
        f"{name}={default}" if number >= first else name
        for number, name in enumerate(shape.positional)
    ]
    if shape.only:
        each.insert(shape.only, "/")
    each += [f"*{name}" for name in shape.star] or ["*"] * bool(shape.keyword)
    each += [
        f"{name}={default}" if name in shape.optional_keyword else name for name in shape.keyword
    ]
    return ", ".join([*each, *(f"**{name}" for name in shape.stars)])


def _filled_in(shape: Shape, prefix: str) -> str:
    """Return the lines that look up what has been left out, in the function as it is now."""
    last = zip(range(1, shape.optional + 1), reversed(shape.positional), strict=False)
    defaults = {name: f"__defaults__[-{number}]" for number, name in last}
    by_name = [name for name in shape.keyword if name in shape.optional_keyword]
    defaults |= {name: f"__kwdefaults__[{name!r}]" for name in by_name}
    if not defaults:
        return ""
    return "".join(
        [
            "        try:\n",
            *(
                f"            if {name} is {prefix}LEFT_OUT:\n"
                f"                {name} = {prefix}func.{default}\n"
                for name, default in defaults.items()
            ),
            f"        except {prefix}Exception:\n",
            f"            raise {prefix}gone({prefix}func) from None\n",
        ]
    )


def _gone(func: FunctionType) -> TypeError:
    return TypeError(f"{func.__qualname__}() was called without what has no default any more")


_KNOWN: Final[dict[str, object]] = {
    "BaseException": BaseException,
    "Exception": Exception,
    "LEFT_OUT": LEFT_OUT,
    "admit_at_once": admit_at_once,
    "end_once": end_once,
    "gone": _gone,
    "run_guarded": run_guarded,
    "succeed": succeed,
}
"""What a written wrapper uses."""
