"""Functions of a policy's that are given the arguments of the call, after the error or result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitState,
    Failure,
    Outcome,
    Policy,
    PolicyConflictError,
    Supervisor,
    create_retry_decorator,
    execute_with_retry,
    with_arguments,
    with_circuit_breaker,
)
from tests.support.worlds import Down, settle_down

pytestmark = pytest.mark.anyio

Told = list[tuple[Any, tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def told() -> Told:
    """What the function was asked."""
    return []


@pytest.fixture
def classify(told: Told) -> Callable[[Any], Failure | Outcome | None]:
    """It takes whatever it is given, and leaves the judgement to the rest."""

    @with_arguments
    def judge(about: Any, *args: Any, **kwargs: Any) -> Failure | Outcome | None:
        told.append((type(about) if isinstance(about, Exception) else about, args, kwargs))
        return None

    return judge


async def fetch(url: str, *, attempt: int = 1) -> str:
    if url == "down":
        raise Down(url)
    return f"{url} {attempt}"


WAYS: dict[str, Callable[[CircuitBreaker], Callable[..., Any]]] = {
    "call": lambda breaker: partial(breaker.call, fetch),
    "call of a partial": lambda breaker: (
        lambda *args, **kwargs: breaker.call(partial(fetch, *args, **kwargs))
    ),
    "decorator": lambda breaker: breaker(fetch),
    "plain decorator": lambda breaker: breaker(partial(fetch)),
    "fallback": lambda breaker: partial(breaker.call, fetch, fallback="none"),
    "decorated fallback": lambda breaker: breaker.with_fallback("none")(fetch),
    "waiting": lambda breaker: partial(breaker.waiting(1).call, fetch),
    "waiting decorator": lambda breaker: breaker.waiting(1)(fetch),
    "another attempt": lambda breaker: partial(breaker.retry, fetch),
    "by name": lambda breaker: with_circuit_breaker("x", policy=breaker.policy)(fetch),
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_into_a_guard(way: str, told: Told, classify: Any, enabled: None) -> None:
    """The error or the result, and then what the function was called with, as ever it was."""
    breaker = CircuitBreaker("x", classify=classify, failure_threshold=9)
    guarded = WAYS[way](breaker)
    for _ in range(2):  # the first one asks the actor
        told.clear()
        await guarded("up", attempt=2)
        with pytest.raises(Down) if "fallback" not in way else anyio.CancelScope():
            await guarded("down", attempt=3)
        assert told == [("up 2", ("up",), {"attempt": 2}), (Down, ("down",), {"attempt": 3})]
        await settle_down()
    assert breaker.statistics().failed == 2


@pytest.mark.parametrize("guard", ["loop", "attempt"])
@pytest.mark.parametrize("options", [{}, {"deadline": 9}, {"retry_budget": 0.5}])
async def test_retries(guard: Any, options: dict[str, Any], told: Told, classify: Any) -> None:
    """Those of the decorated function, whatever makes its attempts."""
    budget = {"retry_budget": options.pop("retry_budget")} if "retry_budget" in options else {}
    breaker = CircuitBreaker("x", classify=classify, failure_threshold=9, **budget)
    decorate = create_retry_decorator(
        "api", max_attempts=2, min_wait=0.1, guard=guard, breaker=breaker, **options
    )
    with pytest.raises(Down):
        await decorate(fetch)("down", attempt=3)
    times = 1 if guard == "loop" else 2
    assert told == [(Down, ("down",), {"attempt": 3})] * times
    told.clear()
    assert await execute_with_retry(fetch, "up", breaker=breaker) == "up 1"
    assert told == [("up 1", ("up",), {})]


@pytest.mark.parametrize("guard", ["loop", "attempt", None])
async def test_worker_threads(guard: Any, told: Told, classify: Any) -> None:
    """The function is asked there, with the arguments of the plain function."""

    def plain(url: str, *, attempt: int) -> None:
        raise Down(url, attempt)

    breaker = CircuitBreaker("x", classify=classify, failure_threshold=9)
    guarded = breaker.sync(plain)
    if guard is not None:
        decorate = create_retry_decorator("api", max_attempts=1, guard=guard, breaker=breaker)
        guarded = decorate(plain)
    with pytest.raises(Down):
        await anyio.to_thread.run_sync(partial(guarded, "down", attempt=3))
    assert told == [(Down, ("down",), {"attempt": 3})]


async def test_methods(told: Told, classify: Any) -> None:
    """`self` is an argument like others."""
    breaker = CircuitBreaker("x", classify=classify)

    class Client:
        @breaker
        async def fetch(self, url: str) -> str:
            return url

    client = Client()
    await client.fetch("up")
    assert told == [("up", (client, "up"), {})]


async def test_blocks_permits_and_streams(told: Told, classify: Any) -> None:
    """They have none."""

    async def items(url: str) -> AsyncIterator[str]:
        yield url
        raise Down

    breaker = CircuitBreaker("x", classify=classify, failure_threshold=9)
    for _ in range(2):
        with pytest.raises(Down):
            async with breaker:
                raise Down
        with pytest.raises(Down):
            with await breaker.acquire():
                raise Down
        with pytest.raises(Down):
            async with breaker.stream(items, "down") as stream:
                async for _item in stream:
                    pass
        await settle_down()
    assert told == [(Down, (), {})] * 6
    assert breaker.statistics().failed == 6


async def test_every_function_of_a_policy() -> None:
    """Each decides by the arguments, alone or among types."""

    def is_mine(about: object, owner: str = "") -> bool:
        return owner == "me"

    async def of(owner: str) -> str:
        if owner == "nobody":
            raise LookupError
        raise Down(owner)

    async def result_of(owner: str) -> str:
        return owner

    async with Supervisor() as supervisor:
        ignoring = supervisor.circuit("i", ignore=(LookupError, with_arguments(is_mine)))
        failing = supervisor.circuit("f", failure_on=[with_arguments(is_mine)])
        judging = supervisor.circuit("r", failure_on_result=with_arguments(is_mine))
        hinted = supervisor.circuit(
            "h", recovery_from=with_arguments(lambda _, owner: 77.0 if owner == "me" else None)
        )
        for breaker in (ignoring, failing, hinted):
            for owner in ("me", "you", "nobody"):
                with pytest.raises((Down, LookupError)):
                    await breaker.call(of, owner)
        for owner in ("me", "you"):
            await judging.call(result_of, owner)
        counts = {
            name: (each.failed, each.ignored, each.succeeded)
            for name, each in supervisor.statistics().items()
        }
        assert counts == {"i": (1, 2, 0), "f": (1, 0, 2), "r": (1, 0, 1), "h": (3, 0, 0)}
        assert hinted.state is CircuitState.OPEN
        assert hinted.retry_after == pytest.approx(30, abs=0.1)  # that of the last failure


async def test_slow_calls_and_windows(told: Told, classify: Any) -> None:
    """Whatever else the policy asks for."""
    for fields in ({"slow_call_duration": 5.0}, {"window_seconds": 9.0}, {"timeout": 5.0}):
        breaker = CircuitBreaker(f"x{fields}", classify=classify, failure_threshold=9, **fields)
        for _ in range(3):
            told.clear()
            with pytest.raises(Down):
                await breaker.call(fetch, "down")
            assert told == [(Down, ("down",), {})]
            await settle_down()


async def test_a_circuit_that_is_reconfigured(told: Told, classify: Any) -> None:
    """From the next call on; a call that runs is judged as it began."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=9)
        guarded = breaker(fetch)
        await guarded("up")
        breaker.reconfigure(failure_threshold=9, ignore=with_arguments(judge_one))
        with pytest.raises(Down):
            await guarded("down")
        breaker.reconfigure(failure_threshold=9, ignore=(), classify=classify)
        with pytest.raises(Down):
            await guarded("down")
        assert (breaker.statistics().ignored, breaker.statistics().failed) == (1, 1)
        assert told == [(Down, ("down",), {"attempt": 1})]


async def test_a_function_that_does_not_fit() -> None:
    """Its own error comes through, and the call is counted as a failure."""
    breaker = CircuitBreaker("x", ignore=with_arguments(lambda _error: True))
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        await breaker.call(fetch, "down")
    assert breaker.statistics().failed == 1


async def test_an_async_function() -> None:
    """It is refused when it is given, or if it shows only then, when it is asked."""

    async def judge(about: object, *args: object, **kwargs: object) -> bool:
        return True

    with pytest.raises(TypeError, match=r"^with_arguments must be a plain function, got .*judge"):
        with_arguments(judge)
    asking: Any = with_arguments(lambda _, url: judge(url))
    breaker = CircuitBreaker("x", failure_on_result=asking)
    with pytest.raises(TypeError, match=r"^failure_on_result must be a plain .* to be awaited$"):
        await breaker.call(fetch, "up")


def judge_one(_about: object, *_: object, **__: object) -> bool:
    return True


async def test_policies_with_the_same_functions_are_equal() -> None:
    """So that a circuit may be asked for again; another function is another policy."""
    one = Policy(ignore=with_arguments(judge_one))
    assert one == Policy(ignore=with_arguments(judge_one)) != Policy(ignore=judge_one)
    assert repr(one.ignore) == f"with_arguments({judge_one!r})"
    async with Supervisor() as supervisor:
        supervisor.circuit("x", one)
        supervisor.circuit("x", ignore=with_arguments(judge_one))
        with pytest.raises(PolicyConflictError):
            supervisor.circuit("x", ignore=judge_one)


@pytest.mark.parametrize("value", [None, 7, "judge"])
def test_what_is_no_function(value: Any) -> None:
    """It is refused when it is marked."""
    with pytest.raises(TypeError, match="with_arguments must be a function, got"):
        with_arguments(value)
