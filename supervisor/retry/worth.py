"""Which errors are worth another try: by default, or by what `retry_on` means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

from supervisor.arguments import form_of, shown
from supervisor.policy import check_takes, held_by, is_meant, unseen, within
from supervisor.retry.clients import verdict_on
from supervisor.settings import app_settings

RetryOne = type[Exception] | Callable[[Any], bool]
RetryOn = RetryOne | Sequence[RetryOne]
"""Types of errors, or a function that returns true for some, or several of either."""

Worth = Callable[[BaseException], bool]

TRANSIENT_EXCEPTIONS: Final = (ConnectionError, TimeoutError, OSError)
"""What is worth another try, subclasses included, but for `HOPELESS` and clients' own."""

HOPELESS: Final = (FileNotFoundError, IsADirectoryError, PermissionError)
"""What will be the same at the next try, though each is an `OSError`."""


def is_retryable_error(exc: BaseException) -> bool:
    """Return whether the retry decorators try again after `exc` if they have no `retry_on`.

    They do after `TRANSIENT_EXCEPTIONS`, but for a `FileNotFoundError`, an `IsADirectoryError` or
    a `PermissionError`; and after what well-known clients raise if a server refuses, is lost,
    takes too long, or is busy. A group of errors is worth it if each of its errors is.

    With `app_settings.retry.client_errors` false: after `TRANSIENT_EXCEPTIONS` only, and no group.

    Raises:
        SettingsError: a `BINDU_RETRY_*` variable is misspelt or out of range.
    """
    if not app_settings.retry.client_errors:
        return isinstance(exc, TRANSIENT_EXCEPTIONS)
    return all(_is_worth_it(each) for each in within(exc) if not held_by(each))


def _is_worth_it(error: BaseException) -> bool:
    verdict = verdict_on(error)
    if verdict is not None:
        return verdict
    return isinstance(error, TRANSIENT_EXCEPTIONS) and not isinstance(error, HOPELESS)


def worth_by(retry_on: RetryOn | None, field: str = "retry_on") -> Worth:
    """Return which errors are worth another try.

    Raises:
        TypeError, ValueError: `retry_on` means nothing, or has something else in it.
    """
    if retry_on is None:
        return is_retryable_error
    several = isinstance(retry_on, list | tuple)
    parts = cast("Sequence[object]", retry_on if several else (retry_on,))
    if not parts:
        raise ValueError(f"{field} must mean some errors, got {shown(parts)}")
    checked = tuple(_checked(part, field) for part in parts)
    types = tuple(part for part in checked if isinstance(part, type))
    functions = [part for part in checked if not isinstance(part, type)]
    return partial(_is_one_of, field, types, functions)


def _checked(part: object, field: str) -> RetryOne:
    if form_of(part) == "plain":
        check_takes(field, part, "an error")
        return cast("Worth", part)
    if inspect.isclass(part) and issubclass(part, Exception):
        return part
    raise TypeError(
        f"{field} must be types of `Exception`, plain functions of an error, or a list of these,"
        f" got {shown(part)}"
    )


def _is_one_of(
    field: str,
    types: tuple[type[Exception], ...],
    functions: Sequence[Worth],
    error: BaseException,
) -> bool:
    """Whether a type or a function means the error, or each of the errors that it holds."""
    seen, left = {id(error)}, [error]
    while left:
        each = left.pop()
        if isinstance(each, types):  # may be the type of a group, or `Exception`
            continue
        held = held_by(each)
        if not held and not any(is_meant(field, function, each) for function in functions):
            return False
        left += reversed(unseen(held, seen))
    return True
