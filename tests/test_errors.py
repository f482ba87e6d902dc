"""What callers may have to catch."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from contextlib import suppress

import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitState,
    CircuitStoppedError,
    FailedResultError,
    IncompleteStreamError,
    NoneHealthyError,
    PermitSettledError,
    PolicyConflictError,
    RecordingError,
    SettingsError,
    TooManyCircuitsError,
    app_settings,
)
from supervisor.errors import describe, new_refusal, shown_to_others
from tests.support.worlds import Down, fail, settle_down


def test_its_attributes() -> None:
    """The name and the seconds, as existing code reads them; an open circuit by default."""
    error = CircuitBreakerOpenError("payments", 5)
    assert (error.operation_name, error.retry_after) == ("payments", 5.0)
    assert isinstance(error.retry_after, float)
    assert CircuitBreakerOpenError("payments").retry_after == 0.0
    assert (error.state, error.last_failure) == (CircuitState.OPEN, None)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            CircuitBreakerOpenError("payments", 5),
            "circuit 'payments' is open; retry after 5.0 s",
        ),
        (
            CircuitBreakerOpenError("payments", 12.34, last_failure="OSError: no route"),
            "circuit 'payments' is open; retry after 12.3 s (last failure: OSError: no route)",
        ),
        (
            CircuitBreakerOpenError("payments", state=CircuitState.HALF_OPEN),
            "circuit 'payments' is half-open and its probe is still running; retry soon",
        ),
        (
            CircuitBreakerOpenError("payments", float("inf")),
            "circuit 'payments' has been given up and refuses every call",
        ),
    ],
)
def test_its_text(error: CircuitBreakerOpenError, text: str) -> None:
    """The text names the circuit and the wait, and says what to do."""
    assert str(error) == text


@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_it_travels_between_processes(duplicate: object) -> None:
    """A pickled or copied error has all of its attributes."""
    assert callable(duplicate)
    error = CircuitBreakerOpenError(
        "payments", 5, state=CircuitState.HALF_OPEN, last_failure="OSError"
    )
    twin = duplicate(error)
    assert type(twin) is CircuitBreakerOpenError
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)


REFUSAL = CircuitBreakerOpenError("prices", 12.5, CircuitState.OPEN, "ConnectionError: down")

ERRORS: list[Exception] = [
    REFUSAL,
    CircuitBreakerOpenError("prices", 0.0, CircuitState.CLOSED, None, "throttled"),
    CircuitBreakerOpenError("prices", math.inf, CircuitState.FORCED_OPEN),
    CircuitBreakerOpenError(operation_name="prices", retry_after=3.0),
    CircuitBreakerOpenError("prices", retry_after=3.0),
    CircuitBreakerOpenError("prices", 3.0, reason="ramp"),
    NoneHealthyError({"a": REFUSAL, "b": ConnectionError("down")}),
    IncompleteStreamError("prices", 3),
    FailedResultError("prices", 503),
    *(
        kind("why")
        for kind in (
            CallTimeoutError,
            CircuitCrashedError,
            CircuitStoppedError,
            PermitSettledError,
            PolicyConflictError,
            RecordingError,
            SettingsError,
            TooManyCircuitsError,
        )
    ),
]


def through_json(error: Exception) -> Exception:
    """Return it as a task queue does that writes `args` as JSON."""
    args = json.loads(json.dumps(error.args))
    return type(error)(*args)


WAYS: dict[str, Callable[[Exception], Exception]] = {
    "args": lambda error: type(error)(*error.args),
    "JSON": through_json,
    "JSON, twice": lambda error: through_json(through_json(error)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_errors_can_be_rebuilt(error: Exception, way: Callable[[Exception], Exception]) -> None:
    """However they travel, their text and what they tell is the same."""
    twin = way(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    for field in ("state", "retry_after", "reason", "operation_name"):
        value = getattr(error, field, None)
        assert getattr(twin, field, None) == value
        assert type(getattr(twin, field, None)) is type(value)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_refusal_whose_attributes_nobody_has_read_yet(
    way: Callable[[Exception], Exception],
) -> None:
    """As circuits make them: they are found in its `args`, and are attributes like any others."""
    made = CircuitBreakerOpenError("prices", 3, CircuitState.HALF_OPEN, "OSError", "ramp")
    given = "prices", 3.0, CircuitState.HALF_OPEN, "OSError", "ramp"
    error = new_refusal(*given)
    error.args += ("what somebody has added",)
    assert str(error) == str(made)
    error = way(new_refusal(*given))
    found = "operation_name", "retry_after", "state", "last_failure", "reason"
    assert tuple(getattr(error, name) for name in found) == given
    error.retry_after = 5.0  # type: ignore[attr-defined]
    assert str(error) == str(made)
    assert getattr(error, "retry_after", None) == 5.0
    with pytest.raises(
        AttributeError, match="'CircuitBreakerOpenError' object has no attribute 'x'"
    ):
        error.x  # type: ignore[attr-defined]  # noqa: B018


GIVEN = {
    "operation_name": "prices",
    "retry_after": 3.0,
    "state": CircuitState.OPEN,
    "last_failure": "OSError: somebody's secret",
    "_reason": None,
}

refusals = pytest.mark.parametrize("make", [CircuitBreakerOpenError, new_refusal])


def told_by(error: CircuitBreakerOpenError) -> dict[str, object]:
    """Its attributes."""
    return {name: getattr(error, name) for name in GIVEN}


@refusals
@pytest.mark.parametrize(
    "args", [("while paying", *GIVEN.values()), ("while paying",), ("x", 1.0), ()]
)
def test_a_refusal_whose_args_somebody_has_changed(
    make: Callable[..., CircuitBreakerOpenError], args: tuple[object, ...]
) -> None:
    """Its attributes, and what it says, stay as they were, also if nobody has read them before."""
    error, as_it_was = make(*GIVEN.values()), make(*GIVEN.values())
    error.args = args
    assert told_by(error) == GIVEN
    assert str(error) == str(as_it_was)
    assert error.args == args


@refusals
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("operation_name", "pay"),
        ("retry_after", 9.0),
        ("state", CircuitState.FORCED_OPEN),
        ("last_failure", None),
        ("_reason", "ramp"),
    ],
)
def test_what_somebody_puts_on_a_refusal(
    make: Callable[..., CircuitBreakerOpenError], name: str, value: object
) -> None:
    """It stays there, whatever is read later; and so does all that was there."""
    error = make(*GIVEN.values())
    setattr(error, name, value)
    for twin in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert told_by(twin) == {**GIVEN, name: value}


@pytest.mark.anyio
async def test_a_failure_that_is_not_to_be_shown() -> None:
    """Whoever takes it off a refusal does not find it in the text."""
    breaker = CircuitBreaker("prices", failure_threshold=1)
    with pytest.raises(Down):
        await breaker.call(fail)
    for refused in (breaker(fail), lambda: breaker.call(fail)):
        with pytest.raises(CircuitBreakerOpenError) as raised:
            await refused()
        raised.value.last_failure = None
        assert raised.value.state is CircuitState.OPEN
        assert "Down" not in str(raised.value)


class Unlike(CircuitBreakerOpenError):
    """Is made of other things, as subclasses may be."""

    def __init__(self) -> None:
        """Say nothing."""


def test_a_subclass_that_is_made_of_nothing() -> None:
    """It has none of those attributes, and says so as any object does."""
    with pytest.raises(AttributeError, match="'Unlike' object has no attribute 'retry_after'"):
        Unlike().retry_after  # noqa: B018


def test_a_state_from_json() -> None:
    """Some write infinity as null; a state that there is not is refused."""
    error = CircuitBreakerOpenError("prices", None, "forced_open")  # type: ignore[arg-type]
    assert error.retry_after == math.inf
    assert error.state is CircuitState.FORCED_OPEN
    with pytest.raises(ValueError, match="ajar"):
        CircuitBreakerOpenError("prices", 1.0, "ajar")  # type: ignore[arg-type]


def test_a_pickled_error_has_what_was_passed_over() -> None:
    """The errors themselves travel, where they can."""
    twin = pickle.loads(pickle.dumps(NoneHealthyError({"a": REFUSAL, "b": OSError("down")})))
    assert twin.retry_after == 12.5
    assert isinstance(twin.passed_over["b"], OSError)


def nested(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("unhandled errors in a TaskGroup", errors)


class TestGroups:
    """The text of a group shows what is in it."""

    def test_its_errors(self) -> None:
        """Their types first, each once, then all of their texts."""
        down = ConnectionError("down")
        assert describe(nested(down)) == (
            "ExceptionGroup[ConnectionError]: unhandled errors in a TaskGroup"
            " (ConnectionError: down)"
        )
        inner = nested(down, ConnectionError("up"), KeyError("x"))
        assert describe(ExceptionGroup("two", [OSError(), inner])) == (
            "ExceptionGroup[OSError, ConnectionError, KeyError]: two (OSError: ; ConnectionError:"
            " down; ConnectionError: up; KeyError: 'x')"
        )

    def test_many(self) -> None:
        """As many as there is room for."""
        many = nested(*(ValueError(f"number {n}") for n in range(100_000)))
        assert len(describe(many)) == 200

    def test_as_deep_as_they_like(self) -> None:
        """What is at the bottom is shown."""
        error: BaseException = OSError("down")
        for _ in range(5_000):
            error = nested(error)
        assert "(OSError: down)" in describe(error)


class TestWhatOthersAreTold:
    """A refusal is another caller's: it shows of a failure what nobody has to hide."""

    @pytest.mark.anyio
    @pytest.mark.parametrize("asked", [False, True], ids=["by the lease", "by the actor"])
    @pytest.mark.parametrize(
        ("end", "told", "whole"),
        [
            (Down("key=SECRET"), "Down", "Down: key=SECRET"),
            (nested(Down("SECRET")), "ExceptionGroup[Down]", "SECRET"),
            ("SECRET", "returned a failure", "returned 'SECRET'"),
        ],
        ids=["error", "group", "result"],
    )
    async def test_refusals(self, end: object, told: str, whole: str, asked: bool) -> None:
        """Its type only, unless the settings say so; figures have all of it."""

        async def call() -> object:
            if isinstance(end, BaseException):
                raise end
            return end

        for shows in (False, True):
            app_settings.circuit_breaker.show_failures = shows
            breaker = CircuitBreaker(
                f"x {shows}", failure_threshold=1, failure_on_result=lambda _: True
            )
            with suppress(Exception):
                await breaker.call(call)
            if not asked:
                await settle_down()
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await breaker.call(call)
            text = str(caught.value.last_failure)
            assert (whole in text) if shows else (text == told)
            assert ("SECRET" in str(caught.value)) is ("SECRET" in repr(caught.value)) is shows
            assert whole in str(breaker.statistics().last_failure)

    def test_bad_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Are no error of who is refused, and show nothing."""
        monkeypatch.setenv("BINDU_CB_SHOW_FAILURES", "perhaps")
        assert shown_to_others("Down: key=SECRET") == "Down"
        monkeypatch.setenv("BINDU_CB_SHOW_FAILURES", "true")
        assert shown_to_others("Down: key=SECRET") == "Down"  # nor is a file read for that
        app_settings.read()
        assert shown_to_others("Down: key=SECRET") == "Down: key=SECRET"
        assert shown_to_others("took 3 s") == "took 3 s"
        assert shown_to_others(None) is None
