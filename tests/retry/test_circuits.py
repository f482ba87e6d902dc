"""Which circuit guards a retried function: a generated name, a given one, or a breaker."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    Policy,
    SupervisorWarning,
    execute_with_retry,
    get_circuit_breaker_sync,
    retry_api_call,
)
from tests.support.retries import DECORATORS, EACH_TYPE, Dependency, counted, open_circuit

pytestmark = pytest.mark.anyio


# name


@EACH_TYPE
@pytest.mark.usefixtures("enabled")
async def test_a_given_name_is_the_circuits(operation_type: str) -> None:
    """In the place of the generated one."""
    dependency = Dependency("done")
    await DECORATORS[operation_type](name="search")(dependency.fetch)()
    await execute_with_retry(dependency.fetch, name="search")
    assert counted("search") == {"started": 2, "succeeded": 2}
    assert get_circuit_breaker_sync(f"{operation_type}:fetch") is None
    assert get_circuit_breaker_sync("adhoc:fetch") is None


@pytest.mark.usefixtures("enabled")
async def test_fields_go_with_a_name() -> None:
    """They count when the circuit has to be created."""
    await retry_api_call(name="search", failure_threshold=7)(Dependency("done").fetch)()
    breaker = get_circuit_breaker_sync("search")
    assert breaker is not None
    assert breaker.failure_threshold == 7


# breaker


@EACH_TYPE
@pytest.mark.parametrize("guard", ["loop", "attempt"])
async def test_a_given_breaker_guards_also_while_circuits_are_disabled(
    operation_type: str, guard: Any
) -> None:
    """The user has made it: it does not depend on settings."""
    breaker = CircuitBreaker("search", failure_threshold=1)
    retry = DECORATORS[operation_type](1, guard=guard, breaker=breaker)
    fetch = retry(Dependency(ConnectionError()).fetch)
    with pytest.raises(ConnectionError):
        await fetch()
    with pytest.raises(CircuitBreakerOpenError, match=r"^circuit 'search' is open"):
        await fetch()
    with pytest.raises(CircuitBreakerOpenError, match=r"^circuit 'search' is open"):
        await execute_with_retry(Dependency("done").fetch, breaker=breaker)


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_waits_for_a_given_breaker() -> None:
    """As for a circuit of a name."""
    breaker = await open_circuit("search")
    dependency = Dependency("done")
    retry = retry_api_call(breaker=breaker, guard="attempt", wait_for_recovery=True)
    assert await retry(dependency.fetch)() == "done"
    assert breaker.statistics().rejected == 1


# What is checked


@EACH_TYPE
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"name": ""},
            ValueError,
            "a circuit's name must have 1 to 255 printable characters, got ''",
        ),
        ({"name": 5}, TypeError, "a circuit's name must be a string, got 5"),
        ({"breaker": "search"}, TypeError, "breaker must be a CircuitBreaker, got 'search'"),
        (
            {"breaker": CircuitBreaker("a"), "name": "b"},
            ValueError,
            "name='b' and breaker=.* exclude each other",
        ),
        (
            {"breaker": CircuitBreaker("a"), "policy": Policy()},
            ValueError,
            r"policy=Policy\(.* and breaker=.* exclude each other",
        ),
    ],
    ids=repr,
)
async def test_names_and_breakers_are_checked_when_decorating(
    operation_type: str, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The error names what is wrong."""
    with pytest.raises(error, match=f"^{text}"):
        DECORATORS[operation_type](**options)
    with pytest.raises(error, match=f"^{text}"):
        await execute_with_retry(Dependency("done").fetch, **options)


def test_fields_do_not_go_with_a_breaker() -> None:
    """It has its own policy."""
    with pytest.raises(ValueError, match=r"^failure_threshold=5 and breaker=.* exclude each other"):
        retry_api_call(breaker=CircuitBreaker("a"), failure_threshold=5)


async def test_execute_takes_one_name() -> None:
    """`operation_name` and `name` mean the same."""
    done = Dependency("done").fetch
    with pytest.raises(ValueError, match=r"^operation_name='a' and name='b' exclude each other$"):
        await execute_with_retry(done, operation_name="a", name="b")


# Generated names


NUMBERS = itertools.count()
"""For names that no other test has: what is said once is said once in a process."""


def service(name: str, method: str) -> Any:
    """A retried method of one of several services."""

    async def run() -> str:
        return "done"

    run.__name__, run.__qualname__ = method, f"{name}.{method}"
    return retry_api_call()(run)


@pytest.mark.usefixtures("enabled")
async def test_functions_that_share_a_generated_name_are_told_once() -> None:
    """Not when one is decorated or called again, nor with the third."""
    method = f"run_{next(NUMBERS)}"
    with pytest.warns(SupervisorWarning) as caught:
        for name in ("Mail", "Mail", "Chat", "News"):
            run = service(name, method)
            await run()
            await run()
    (warning,) = caught
    assert str(warning.message) == (
        f"circuit api:{method}: shared by {__name__}.Mail.{method} and {__name__}.Chat.{method},"
        " whose failures count together; name=... tells them apart"
    )


@pytest.mark.usefixtures("enabled")
async def test_given_names_are_shared_on_purpose() -> None:
    """Nothing is said of those."""
    with warnings.catch_warnings(action="error"):
        for _ in range(2):
            await retry_api_call(name="search")(Dependency("done").fetch)()
            await execute_with_retry(Dependency("done").fetch, operation_name="search")
