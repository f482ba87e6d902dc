"""Which errors are meant by types or functions that users give; what they are asked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from inspect import isawaitable, iscoroutine
from typing import Any, cast

from supervisor.arguments import shown, unwrapped
from supervisor.policy.kinds import Errors, OneOfErrors


def held_by(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors of a group; none if it is no group."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def unseen(errors: Iterable[BaseException], seen: set[int]) -> list[BaseException]:
    """Return the errors that come for the first time: several groups may hold the same ones."""
    new = {id(each): each for each in errors if id(each) not in seen}
    seen.update(new)
    return list(new.values())


def within(error: BaseException) -> Iterator[BaseException]:
    """Return an error, and all that it holds, however deep: each group before what is in it."""
    seen, left = {id(error)}, [error]
    while left:  # not by recursion, which would end at a thousand groups in each other
        each = left.pop()
        yield each
        left += reversed(unseen(held_by(each), seen))


def inside_out(error: BaseException) -> list[BaseException]:
    """Return an error, and all that it holds, however deep: each group after what is in it."""
    seen: set[int] = set()
    found: list[BaseException] = []
    left = [(error, False)]
    while left:
        each, what_it_holds_is_found = left.pop()
        if what_it_holds_is_found:
            found.append(each)
        elif id(each) not in seen:
            seen.add(id(each))
            left.append((each, True))
            left += [(one, False) for one in held_by(each)]
    return found


def is_meant(field: str, errors: Errors, error: BaseException) -> bool:
    """Return whether `errors` mean this one; functions are asked about an `Exception` only.

    Raises:
        TypeError: it is an async function; see `ask`.
    """
    return any(_means(field, each, error) for each in parts_of(errors))


def is_group_meant(field: str, errors: Errors, group: BaseException) -> bool:
    """Return whether `errors` mean a group as a whole, not since they would mean any error: by a
    type of groups, or by a function about a group of a type of its own.

    Raises:
        TypeError: it is an async function; see `ask`.
    """
    is_plain = type(group) in (ExceptionGroup, BaseExceptionGroup)
    about_groups = (
        each
        for each in parts_of(errors)
        if (issubclass(each, BaseExceptionGroup) if isinstance(each, type) else not is_plain)
    )
    return any(_means(field, each, group) for each in about_groups)


def parts_of(errors: Errors) -> tuple[OneOfErrors, ...]:
    """Return the types and functions of which any may mean an error."""
    return errors if isinstance(errors, tuple) else (errors,)  # pyright: ignore[reportUnknownVariableType]


def _means(field: str, part: OneOfErrors, error: BaseException) -> bool:
    if isinstance(part, type):
        return isinstance(error, part)
    return isinstance(error, Exception) and bool(ask(field, part, error))


def ask(field: str, func: Callable[[Any], object], about: object) -> object:
    """Return what a function that a user has given says, unless that would have to be awaited.

    Raises:
        TypeError: it would.
    """
    return plain_answer(field, func, func(about))


def plain_answer(field: str, func: Callable[[Any], object], answer: object) -> object:
    """Return what such a function has said; see `ask`."""
    if isawaitable(answer):
        if iscoroutine(answer):
            answer.close()  # or it would warn that nobody has awaited it
        raise TypeError(
            f"{field} must be a plain function, got {shown(unwrapped(func))}, which is to be"
            " awaited"
        )
    return answer
