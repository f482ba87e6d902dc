"""Copies of breakers and of decorated functions: of the same name and policy, and not used yet."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    Supervisor,
    app_settings,
    get_circuit_breaker,
    retry_api_call,
    with_circuit_breaker,
)
from tests.support.worlds import Down, fail, fail_times, is_refused, succeed

pytestmark = pytest.mark.anyio

Way = Callable[[Any], Any]

WAYS: dict[str, Way] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "cloudpickle": lambda each: pickle.loads(cloudpickle.dumps(each)),
}

every_way_to_copy = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
sent = pytest.mark.parametrize("way", [WAYS["deepcopy"], WAYS["cloudpickle"]])


class Tenants(CircuitBreaker):
    """Has something more, as subclasses may."""

    tenant = ""


class Judge:
    """Has a method that decides, which is another one of each copy."""

    def is_bad(self, _: BaseException) -> bool:
        return True


@every_way_to_copy
class TestBreakers:
    """By whatever way, used or not."""

    async def test_a_used_one(self, way: Way) -> None:
        """The twin is of the same circuit here, and anew where that is not known."""
        async with Supervisor():
            breaker = CircuitBreaker("x", failure_threshold=2, ramp=3.0)
            await breaker.call(succeed)
            await fail_times(breaker, 2)
            twin = way(breaker)
            assert type(twin) is CircuitBreaker
            assert (twin.name, twin.policy) == ("x", breaker.policy)
            assert await is_refused(twin)
        async with Supervisor():
            assert await twin.call(succeed) == "fine"
            assert twin.statistics().started == 1

    async def test_one_of_a_supervisor(self, way: Way) -> None:
        """The twin is by name: it goes on elsewhere."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await fail_times(breaker, 1)
            twins = [way(breaker), way(await get_circuit_breaker("x"))]
        async with Supervisor() as supervisor:
            for twin in twins:
                assert await twin.call(succeed) == "fine"
                assert twin.failure_threshold == 1
            assert supervisor.statistics()["x"].succeeded == 2

    async def test_what_it_has_given(self, way: Way) -> None:
        """Breakers that wait, and those for plain functions."""
        breaker = CircuitBreaker("x", failure_threshold=1)
        await breaker.call(succeed)
        assert await way(breaker.waiting(1)).call(succeed) == "fine"
        assert repr(way(breaker.sync)) == repr(breaker.sync)

    async def test_one_of_a_class_of_its_own(self, way: Way) -> None:
        """Keeps what that has added."""
        breaker = Tenants("x")
        breaker.tenant = "acme"
        twin = way(breaker)
        assert (type(twin), twin.tenant, twin.name) == (Tenants, "acme", "x")


async def test_a_deep_copy_has_the_same_policy() -> None:
    """Functions and all: or two breakers of one name would not agree on it."""
    breaker = CircuitBreaker("x", failure_on=Judge().is_bad)
    assert copy.deepcopy(breaker).policy is breaker.policy
    await breaker.call(succeed)
    assert await copy.deepcopy(breaker).call(succeed) == "fine"


def by_value(decorate: Callable[[Any], Any]) -> Any:
    """Return a function that is sent by value, as those of `__main__`."""

    async def ask(answer: str) -> str:
        if answer == "down":
            raise ConnectionError("down")
        return answer

    return decorate(ask)


@sent
@pytest.mark.parametrize("kind", ["breaker", "waiting", "name", "retry", "attempts", "given"])
async def test_decorated_functions(way: Way, kind: str, enabled: None) -> None:
    """Work where they are sent, also after they have been used here, with circuits of their own."""
    breaker = CircuitBreaker("x", failure_threshold=1)
    options: dict[str, Any] = {"max_attempts": 1, "name": "x", "failure_threshold": 1}
    decorate: dict[str, Any] = {
        "breaker": breaker,
        "waiting": breaker.waiting(0.01),
        "name": with_circuit_breaker("x", failure_threshold=1),
        "retry": retry_api_call(**options),
        "attempts": retry_api_call(guard="attempt", **options),
        "given": retry_api_call(max_attempts=1, breaker=breaker),
    }
    async with Supervisor():
        ask = by_value(decorate[kind])
        assert await ask("tea") == "tea"
        with pytest.raises(ConnectionError):
            await ask("down")
        twin = way(ask)
        with pytest.raises(CircuitBreakerOpenError):
            await twin("tea")
    async with Supervisor() as supervisor:
        assert await twin("tea") == "tea"
        assert supervisor.statistics()["x"].succeeded == 1


async def test_what_is_sent_goes_by_the_settings_there() -> None:
    """The settings are the process's, and not a copy of them."""
    for way in WAYS.values():
        assert way(app_settings) is app_settings


async def test_settings_that_change(enabled: None) -> None:
    """A retried function makes its loop anew, however often they do."""

    async def ask() -> None:
        raise Down("down")

    retried = retry_api_call(guard="attempt", min_wait=0.001, max_wait=0.001)(ask)
    async with Supervisor() as supervisor:
        for attempts in (1, 2, 3, 1):
            app_settings.retry.api_max_attempts = attempts
            before = supervisor.statistics()["api:ask"].failed if supervisor else 0
            with pytest.raises(Down):
                await retried()
            assert supervisor.statistics()["api:ask"].failed - before == attempts
            supervisor["api:ask"].reset()
    with pytest.raises(Down):
        await fail()


@every_way_to_copy
@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("Supervisor", "enter another one there"),
        ("Permit", "acquire another one"),
        ("EventStream", "ask the supervisor for another one"),
        ("Recording", r"send its lines\(\)"),
    ],
)
async def test_what_belongs_to_an_event_loop_has_no_copies(
    way: Way, what: str, instead: str
) -> None:
    """Half of one, with an event loop in it, would be of no use; the error says what is."""
    async with Supervisor() as supervisor, supervisor.events() as stream:
        permit = await supervisor.circuit("x").acquire()
        recording = supervisor.record("x")
        things = {type(each).__name__: each for each in (supervisor, permit, stream, recording)}
        with pytest.raises(TypeError, match=f"^an? {what} .* elsewhere; {instead}"):
            way(things[what])
        permit.succeed()
