"""What is worth another try: by default, by the origin's rule, and by `retry_on`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from supervisor import (
    CircuitBreakerOpenError,
    RetrySettings,
    app_settings,
    execute_with_retry,
    is_retryable_error,
    retry_storage_operation,
)
from supervisor.retry.worth import worth_by
from tests.support.clients import nested, shared
from tests.support.retries import (
    DECORATORS,
    EACH_MODE,
    EACH_TYPE,
    Dependency,
    counted,
    in_mode,
    open_circuit,
)

pytestmark = pytest.mark.anyio


class Busy(Exception):
    """What a user's client may raise."""


class VeryBusy(Busy):
    """A child of it."""


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", errors)


def is_busy(error: Exception) -> bool:
    return isinstance(error, Busy)


# By default


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (group(ConnectionError()), True),
        (group(ConnectionError(), TimeoutError()), True),
        (group(group(ConnectionError()), OSError()), True),
        (group(ConnectionError(), ValueError()), False),
        (group(group(FileNotFoundError()), ConnectionError()), False),
        (group(ConnectionError(), asyncio.CancelledError()), False),
        (group(ConnectionError(), KeyboardInterrupt()), False),
    ],
    ids=repr,
)
def test_a_group_is_worth_it_if_each_of_its_errors_is(error: Exception, expected: bool) -> None:
    """However deep they are: what another try cannot mend stays."""
    assert is_retryable_error(error) is expected


@EACH_MODE
@pytest.mark.parametrize("retry_on", [None, ConnectionError, [is_busy, ConnectionError]])
async def test_groups_may_be_in_each_other_as_deep_as_they_like(mode: str, retry_on: Any) -> None:
    """Nothing calls itself for each of them, which would end in a `RecursionError`."""
    dependency = Dependency(nested(ConnectionError()), nested(ValueError()))
    with pytest.raises(ExceptionGroup) as caught:
        await in_mode(mode, retry_on=retry_on)(dependency.fetch)()
    assert caught.value is dependency.outcomes[0]
    assert dependency.attempts == 2


@pytest.mark.parametrize("retry_on", [None, ConnectionError, [is_busy, ConnectionError]])
def test_what_is_in_several_groups_is_looked_at_once(retry_on: Any) -> None:
    """Else it would take for ever."""
    assert worth_by(retry_on)(shared(ConnectionError()))
    assert not worth_by(retry_on)(shared(ValueError()))


@EACH_MODE
async def test_a_group_is_tried_again(mode: str) -> None:
    """It is an attempt that has failed, like any other."""
    dependency = Dependency(group(ConnectionError()), "done")
    assert await in_mode(mode)(dependency.fetch)() == "done"
    assert dependency.attempts == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(), True),
        (PermissionError(), True),
        (IsADirectoryError(), True),
        (ConnectionError(), True),
        (group(ConnectionError()), False),
        (type("NetworkError", (Exception,), {"__module__": "httpx"})(), False),
    ],
    ids=repr,
)
async def test_the_origins_rule(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: bool
) -> None:
    """With `BINDU_RETRY_CLIENT_ERRORS=false`, the three types and nothing else are worth it."""
    monkeypatch.setenv("BINDU_RETRY_CLIENT_ERRORS", "false")
    assert is_retryable_error(error) is expected
    dependency = Dependency(error)
    with pytest.raises(type(error)):
        await retry_storage_operation(3)(dependency.fetch)()
    assert dependency.attempts == (3 if expected else 1)
    app_settings.retry = RetrySettings(client_errors=True)
    assert is_retryable_error(error) is not expected or isinstance(error, ConnectionError)


# retry_on


@EACH_TYPE
@pytest.mark.parametrize(
    "retry_on",
    [Busy, (Busy,), [KeyError, Busy], is_busy, [KeyError, is_busy], (is_busy, KeyError), Exception],
)
@pytest.mark.parametrize(
    "error", [Busy(), VeryBusy(), group(VeryBusy(), group(Busy()))], ids=["own", "child", "group"]
)
async def test_what_retry_on_means_is_tried_again(
    operation_type: str, retry_on: Any, error: Exception
) -> None:
    """A type, a function, or one of several."""
    dependency = Dependency(error, "done")
    retry = DECORATORS[operation_type](retry_on=retry_on)
    assert await retry(dependency.fetch)() == "done"
    dependency = Dependency(error, "done")
    assert await execute_with_retry(dependency.fetch, retry_on=retry_on) == "done"


@EACH_MODE
@pytest.mark.parametrize(
    "error", [ConnectionError(), group(Busy(), ConnectionError())], ids=["another", "mixed"]
)
async def test_what_retry_on_does_not_mean_is_raised_at_once(mode: str, error: Exception) -> None:
    """It takes the place of the default, and all errors of a group must be meant."""
    dependency = Dependency(error)
    with pytest.raises(type(error)) as caught:
        await in_mode(mode, retry_on=(Busy, is_busy))(dependency.fetch)()
    assert caught.value is error
    assert dependency.attempts == 1


async def test_the_default_may_be_a_part_of_it() -> None:
    """`is_retryable_error` is a function like others."""
    dependency = Dependency(Busy(), ConnectionError(), "done")
    retry = retry_storage_operation(retry_on=[Busy, is_retryable_error])
    assert await retry(dependency.fetch)() == "done"


async def test_a_type_of_groups_means_the_group() -> None:
    """Whatever it holds."""
    dependency = Dependency(ExceptionGroup("", [KeyError()]), "done")
    assert await retry_storage_operation(retry_on=ExceptionGroup)(dependency.fetch)() == "done"


@EACH_MODE
async def test_an_interrupt_is_never_tried_again(mode: str) -> None:
    """Not even in a group of errors of which each other one is meant."""
    error = group(Busy(), KeyboardInterrupt())
    dependency = Dependency(error)
    with pytest.raises(BaseExceptionGroup) as caught:
        await in_mode(mode, retry_on=[Exception, is_busy])(dependency.fetch)()
    assert caught.value is error
    assert dependency.attempts == 1


@EACH_MODE
async def test_what_the_function_raises_comes_out(mode: str) -> None:
    """It is the user's code. Its context is the call's own error, as where errors are handled."""

    def broken(error: Exception) -> bool:
        raise LookupError("broken")

    def broken_otherwise(error: Exception) -> bool:
        try:
            raise KeyError("reason")
        except KeyError:
            raise LookupError("broken") from None

    def again(error: Exception) -> bool:
        raise error

    error = Busy()
    with pytest.raises(LookupError, match="broken") as caught:
        await in_mode(mode, retry_on=broken)(Dependency(error).fetch)()
    assert caught.value.__context__ is error
    with pytest.raises(LookupError, match="broken") as caught:
        await in_mode(mode, retry_on=broken_otherwise)(Dependency(error).fetch)()
    assert isinstance(caught.value.__context__, KeyError)
    with pytest.raises(Busy) as same:
        await in_mode(mode, retry_on=again)(Dependency(error).fetch)()
    assert same.value is error
    assert error.__context__ is None


@EACH_MODE
async def test_what_the_function_raises_about_a_later_error_comes_out(mode: str) -> None:
    """Likewise, with that as its context."""
    first, later = Busy(), Busy()

    def broken(error: Exception) -> bool:
        if error is later:
            raise LookupError("broken")
        return True

    with pytest.raises(LookupError, match="broken") as caught:
        await in_mode(mode, retry_on=broken)(Dependency(first, later).fetch)()
    assert caught.value.__context__ is later


async def test_a_function_that_is_to_be_awaited_is_an_error() -> None:
    """Also if that shows only when it is asked."""

    async def later() -> bool:
        return True

    with pytest.raises(TypeError, match=r"^retry_on must be a plain function, got .*awaited$"):
        await retry_storage_operation(retry_on=lambda _: later())(Dependency(Busy()).fetch)()


async def is_slowly_busy(error: Exception) -> bool:
    return True


@EACH_TYPE
@pytest.mark.parametrize(
    ("retry_on", "error", "text"),
    [
        (5, TypeError, "got 5"),
        ("OSError", TypeError, "got 'OSError'"),
        (int, TypeError, "got <class 'int'>"),
        (BaseException, TypeError, "got <class 'BaseException'>"),
        (asyncio.CancelledError, TypeError, "got <class 'asyncio.*CancelledError'>"),
        (is_slowly_busy, TypeError, "got <function is_slowly_busy .*>"),
        ([OSError, None], TypeError, "got None"),
        ([[OSError]], TypeError, r"got \[<class 'OSError'>\]"),
        ((), ValueError, r"got \(\)"),
        ([], ValueError, r"got \[\]"),
    ],
)
async def test_retry_on_is_checked_when_decorating(
    operation_type: str, retry_on: Any, error: type[Exception], text: str
) -> None:
    """The error tells what there is instead."""
    with pytest.raises(error, match=rf"^retry_on must .*{text}$"):
        DECORATORS[operation_type](retry_on=retry_on)
    with pytest.raises(error, match=rf"^retry_on must .*{text}$"):
        await execute_with_retry(Dependency("done").fetch, retry_on=retry_on)


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("guard", ["loop", "attempt"])
async def test_a_refusal_by_its_own_circuit_is_never_meant(guard: Any) -> None:
    """It would use up the attempts, and nothing could come of them."""
    await open_circuit("storage:fetch")
    dependency = Dependency("done")
    retry = retry_storage_operation(guard=guard, retry_on=Exception)
    with pytest.raises(CircuitBreakerOpenError):
        await retry(dependency.fetch)()
    assert counted("storage:fetch")["rejected"] == 1


@pytest.mark.usefixtures("enabled")
async def test_a_spent_budget_ends_a_loop_whatever_is_meant() -> None:
    """Its refusal is not an error of the dependency."""
    dependency = Dependency(Busy())
    retry = retry_storage_operation(
        guard="attempt",
        retry_on=Exception,
        failure_threshold=9,
        retry_budget=0.1,
        retry_budget_minimum=1,
    )
    with pytest.raises(Busy):
        await retry(dependency.fetch)()
    assert dependency.attempts == 2


async def test_another_circuits_refusal_may_be_meant() -> None:
    """Then it is waited for as long as it says."""
    dependency = Dependency(CircuitBreakerOpenError("another", 3.0), "done")
    retry = retry_storage_operation(retry_on=CircuitBreakerOpenError)
    assert await retry(dependency.fetch)() == "done"
    assert dependency.waits == [pytest.approx(3.0)]
