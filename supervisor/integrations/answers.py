"""What a model is told of a call that was refused, or has failed: a short text, no stack trace."""

from __future__ import annotations

import math
from typing import Final

from supervisor import (
    CircuitBreakerOpenError,
    CircuitStoppedError,
    FailedResultError,
    IncompleteStreamError,
    NoneHealthyError,
)
from supervisor.retry import hint_of

_UNITS: Final = ((3600, "hour"), (60, "minute"), (1, "second"))
"""In seconds; a time is told in the first that it has more than one of, or else in the last."""


def text_for_model(error: BaseException, what: str | None = None) -> str:
    """Return what a model is told in place of `error`.

    It says what is unavailable, for about how long if that is known, and what to do: not to call
    it again in this turn. Nothing of the error's own text is in it, and no earlier failure's.

    Args:
        error: a refusal, a `CircuitStoppedError`, or what a guarded call has raised.
        what: what the model knows it by, such as the name of the tool; by default the name of the
            circuit, where the error tells it.

    Raises:
        TypeError, ValueError: `what` is no string, or an empty one.
    """
    name = _name_of(error) if what is None else _checked(what)
    seconds = hint_of(error)
    back = "" if seconds is None else f" It may be back in about {_about(seconds)}."
    return (
        f"{name} {_happened(error)}.{back}"
        " Do not call it again in this turn: go on without it, or tell the user."
    )


def _checked(what: object) -> str:
    if not isinstance(what, str):
        raise TypeError(f"what must be a string, got {what!r}")
    if not what.strip():
        raise ValueError(f"what must say what the model knows it by, got {what!r}")
    return f"'{what}'"


def _name_of(error: BaseException) -> str:
    match error:
        case CircuitBreakerOpenError() | IncompleteStreamError() | FailedResultError():
            return f"'{error.operation_name}'"
        case NoneHealthyError():
            return "Each of " + ", ".join(f"'{name}'" for name in error.passed_over)
        case _:
            return "This service"


def _happened(error: BaseException) -> str:
    if _is_refusal(error):
        return "is unavailable and has refused this call"
    late = isinstance(error, TimeoutError)
    how = "has not answered in time" if late else "has failed"
    return f"{how}; whether this call had an effect is not known"


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, NoneHealthyError):
        return all(map(_is_refusal, error.passed_over.values()))
    return isinstance(error, CircuitBreakerOpenError | CircuitStoppedError)


def _about(seconds: float) -> str:
    """Return a time in words, rounded up: who comes back after it is not too early."""
    length, unit = next((each for each in _UNITS if seconds > each[0]), _UNITS[-1])
    count = math.ceil(seconds / length)
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
