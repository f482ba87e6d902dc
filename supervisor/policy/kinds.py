"""What values a policy's fields may have: their types, each with its check, its unit and range."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast, get_args

from supervisor.arguments import (
    check_count,
    check_factor,
    check_seconds,
    check_share,
    check_window,
    check_window_calls,
    shown,
)
from supervisor.policy.functions import check_judge
from supervisor.policy.outcomes import Failure, Outcome

OneOfErrors = type[BaseException] | Callable[[BaseException], bool]
Errors = OneOfErrors | tuple[OneOfErrors, ...]
"""Which errors are meant: of a type, or those that a function returns true for; or several of
either.
"""

MOST_KEPT: Final = 100
"""Failures that a circuit keeps for whoever reads it: each new one copies the others."""

Classifier = Callable[[Any], Failure | Outcome | None]
"""What an error that was raised, or a result that was returned, counts as; None: by the rest."""


InitialState = Literal["closed", "open", "forced_open", "forced_closed", "disabled", "metrics_only"]
"""The states that a circuit may begin in."""


@dataclass(frozen=True, slots=True, repr=False)
class Kind:
    """What a field may be.

    Attributes:
        check: returns the value in its one form, or raises what names field and value.
        range: which values those are, and their unit, in words.
        for_callers: whether it decides only on what is reported, so that no machine looks at it.
    """

    check: Callable[[str, object], object]
    range: str
    for_callers: bool = False

    def __repr__(self) -> str:
        return f"<{self.range}>"


def _check_errors(field: str, value: object) -> object:
    several = isinstance(value, list | tuple)
    parts = cast("Sequence[object]", value if several else (value,))
    if not all(_means_errors(part) for part in parts):
        needed = "types of exceptions" if several or isinstance(value, type) else "a function"
        needed += " or functions" * several
        raise TypeError(f"{field} must be {needed}, got {shown(value)}")  # pyright: ignore[reportUnknownArgumentType]
    for part in parts:
        if not isinstance(part, type):
            check_judge(field, part, "an error")
    return tuple(parts) if isinstance(value, list) else value


def _means_errors(part: object) -> bool:
    return issubclass(part, BaseException) if isinstance(part, type) else callable(part)


def _check_failures(field: str, value: object) -> object:
    if isinstance(value, list | tuple) and not value:
        raise ValueError(
            f"{field} must be types of errors, at least one, or nothing would ever fail; got"
            f" {shown(value)}"  # pyright: ignore[reportUnknownArgumentType]
        )
    return _check_errors(field, value)  # pyright: ignore[reportUnknownArgumentType]


def check_flag(field: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{field} must be True or False, got {shown(value)}")
    return value


def _check_state(field: str, value: object) -> object:
    """Return the very word for a state, also of what is equal to it."""
    is_text = isinstance(value, str)
    for state in _STATES:
        if is_text and state == value:
            return state
    wrong = ValueError if is_text else TypeError
    raise wrong(f"{field} must be one of {', '.join(_STATES)}, got {shown(value)}")


_STATES: Final = get_args(InitialState)


def _check_few(field: str, value: object) -> int:
    few = check_count(field, value)
    if few > MOST_KEPT:
        raise ValueError(f"{field} must be at most {MOST_KEPT}, got {shown(value)}")
    return few


def _check_schedule(field: str, value: object) -> tuple[float, ...]:
    wrong = f"{field} must be several seconds, each more than 0 and finite, got {shown(value)}"
    given = cast("Sequence[object]", value if isinstance(value, list | tuple) else ())
    if not given:
        raise TypeError(wrong)
    try:
        return tuple(check_seconds(field, each) for each in given)
    except (TypeError, ValueError) as error:
        raise type(error)(wrong) from None


_check_count_from_zero = functools.partial(check_count, at_least=0)
_check_requests = functools.partial(check_factor, at_least=1.01)
_check_judge_of_results = functools.partial(check_judge, about="a result")
_check_judge_of_errors = functools.partial(check_judge, about="an error")
_check_share_from_zero = functools.partial(check_share, zero=True)

Count = Annotated[int, Kind(check_count, "whole number, 1 or more")]
CountFromZero = Annotated[int, Kind(_check_count_from_zero, "whole number, 0 or more")]
WindowCalls = Annotated[int, Kind(check_window_calls, "whole number, 1 to 1,000,000")]
Seconds = Annotated[float, Kind(check_seconds, "seconds, more than 0")]
TimeLimit = Annotated[float, Kind(check_seconds, "seconds, more than 0", for_callers=True)]
Schedule = Annotated[
    tuple[float, ...], Kind(_check_schedule, "seconds, each more than 0, at least one")
]
WindowSeconds = Annotated[float, Kind(check_window, "seconds, 0.001 to 1e9")]
Share = Annotated[float, Kind(check_share, "share, more than 0, at most 1")]
ShareFromZero = Annotated[float, Kind(_check_share_from_zero, "share, 0 to 1")]
Factor = Annotated[float, Kind(check_factor, "1 or more")]
# With less, a throttle would hardly, or never, let a server have its calls back.
Requests = Annotated[float, Kind(_check_requests, "1.01 or more")]
SomeErrors = Annotated[
    Errors, Kind(_check_errors, "types or functions of an error, or several", for_callers=True)
]
Failures = Annotated[
    Errors, Kind(_check_failures, "types or functions of an error, or several", for_callers=True)
]
Few = Annotated[int, Kind(_check_few, "whole number, 1 to 100", for_callers=True)]
Flag = Annotated[bool, Kind(check_flag, "True or False", for_callers=True)]
JudgeOfResults = Annotated[
    Callable[[Any], bool], Kind(_check_judge_of_results, "a function of a result", for_callers=True)
]
JudgeOfBoth = Annotated[
    Classifier, Kind(check_judge, "a function of an error or a result", for_callers=True)
]
State = Annotated[InitialState, Kind(_check_state, "the word for a state", for_callers=True)]
JudgeOfTime = Annotated[
    Callable[[BaseException], float | None],
    Kind(_check_judge_of_errors, "a function of an error", for_callers=True),
]
