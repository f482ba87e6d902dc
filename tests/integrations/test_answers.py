"""What a model is told: what is unavailable, for how long, and what to do; and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitStoppedError,
    FailedResultError,
    IncompleteStreamError,
    NoneHealthyError,
)
from supervisor.integrations.answers import text_for_model

ADVICE = " Do not call it again in this turn: go on without it, or tell the user."
REFUSED = "is unavailable and has refused this call."
UNKNOWN = "; whether this call had an effect is not known."


def refusal(retry_after: float = 0.0) -> CircuitBreakerOpenError:
    return CircuitBreakerOpenError(
        "search", retry_after, CircuitState.OPEN, "ValueError: the password is 1234"
    )


class Busy(Exception):
    """What a client raises that is asked to wait."""

    retry_after = 7


TEXTS: dict[str, tuple[Exception, str]] = {
    "a refusal": (refusal(20), f"'search' {REFUSED} It may be back in about 20 seconds."),
    "one that tells no time": (refusal(), f"'search' {REFUSED}"),
    "one for ever": (refusal(math.inf), f"'search' {REFUSED}"),
    "a stopped circuit": (CircuitStoppedError("it was stopped"), f"This service {REFUSED}"),
    "refusals of several": (
        NoneHealthyError({"a": refusal(5), "b": refusal(3)}),
        f"Each of 'a', 'b' {REFUSED} It may be back in about 3 seconds.",
    ),
    "a failure among them": (
        NoneHealthyError({"a": OSError(), "b": refusal()}),
        f"Each of 'a', 'b' has failed{UNKNOWN}",
    ),
    "a failure": (OSError("gone"), f"This service has failed{UNKNOWN}"),
    "a failure with a hint": (
        Busy(),
        f"This service has failed{UNKNOWN} It may be back in about 7 seconds.",
    ),
    "a timeout": (CallTimeoutError("7"), f"This service has not answered in time{UNKNOWN}"),
    "half a stream": (IncompleteStreamError("search", 3), f"'search' has failed{UNKNOWN}"),
    "a failed result": (FailedResultError("search", 3), f"'search' has failed{UNKNOWN}"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_what_it_says(case: str) -> None:
    """What is unavailable, for about how long if that is known, and the advice."""
    error, says = TEXTS[case]
    assert text_for_model(error) == says + ADVICE


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (1, "1 second"),
        (1.01, "2 seconds"),
        (60, "60 seconds"),
        (61, "2 minutes"),
        (3600, "60 minutes"),
        (3601, "2 hours"),
        (90_000, "25 hours"),
    ],
)
def test_how_long(seconds: float, words: str) -> None:
    """In words, and rounded up."""
    assert f" in about {words}. " in text_for_model(refusal(seconds))


@pytest.mark.parametrize("error", [refusal(20), OSError("the password is 1234")])
def test_no_text_of_an_error_is_in_it(error: Exception) -> None:
    """Neither of its own, nor of the failure that opened the circuit."""
    text = text_for_model(error, "web_search")
    assert text.startswith("'web_search' ")
    assert "1234" not in text
    assert "Error" not in text


@pytest.mark.parametrize(("what", "error"), [(7, TypeError), ("", ValueError), (" ", ValueError)])
def test_what_is_no_name(what: Any, error: type[Exception]) -> None:
    """Is told at once."""
    with pytest.raises(error, match=r"^what must .*, got "):
        text_for_model(refusal(), what)
