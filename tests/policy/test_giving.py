"""How users give a policy: by fields, as a whole, or both, in every place that takes one."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from supervisor import (
    CircuitBreaker,
    Policy,
    PolicyConflictError,
    Supervisor,
    app_settings,
    create_retry_decorator,
    execute_with_retry,
    get_circuit_breaker,
    get_circuit_breaker_sync,
    retry_api_call,
    retry_scheduler_operation,
    retry_storage_operation,
    retry_worker_operation,
    with_circuit_breaker,
)
from supervisor.circuit.allowance import asks_for_more
from supervisor.policy import KINDS
from tests.support.worlds import succeed

pytestmark = pytest.mark.anyio

CAREFUL = Policy(window_calls=20, failure_rate=0.5, recovery_timeout=5, failure_threshold=7)

Take = Callable[..., Awaitable[Policy]]


async def by_constructor(**given: Any) -> Policy:
    return CircuitBreaker("x", **given).policy


async def by_supervisor(**given: Any) -> Policy:
    async with Supervisor() as supervisor:
        return supervisor.circuit("x", **given).policy


async def by_reconfiguring(**given: Any) -> Policy:
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        breaker.reconfigure(**given)
        return breaker.policy


async def by_name(**given: Any) -> Policy:
    async with Supervisor():
        return (await get_circuit_breaker("x", **given)).policy


async def of_the_only_circuit(guarded: Callable[[], Awaitable[object]]) -> Policy:
    """The policy of the circuit that a call starts."""
    app_settings.circuit_breaker.enabled = True
    async with Supervisor() as supervisor:
        await guarded()
        (breaker,) = supervisor.values()
        return breaker.policy


async def by_decorator(**given: Any) -> Policy:
    return await of_the_only_circuit(with_circuit_breaker("x", **given)(succeed))


def by_retry(decorator: Callable[..., Any]) -> Take:
    async def take(**given: Any) -> Policy:
        return await of_the_only_circuit(decorator(**given)(succeed))

    return take


PLACES: dict[str, Take] = {
    "CircuitBreaker": by_constructor,
    "Supervisor.circuit": by_supervisor,
    "CircuitBreaker.reconfigure": by_reconfiguring,
    "get_circuit_breaker": by_name,
    "with_circuit_breaker": by_decorator,
    "create_retry_decorator": by_retry(functools.partial(create_retry_decorator, "api")),
    "retry_worker_operation": by_retry(retry_worker_operation),
    "retry_storage_operation": by_retry(retry_storage_operation),
    "retry_scheduler_operation": by_retry(retry_scheduler_operation),
    "retry_api_call": by_retry(retry_api_call),
}

every_place = pytest.mark.parametrize(("name", "take"), PLACES.items(), ids=PLACES)


@every_place
async def test_a_whole_policy(name: str, take: Take) -> None:
    """It is what the circuit goes by."""
    assert await take(policy=CAREFUL) == CAREFUL


@every_place
async def test_fields_go_before_those_of_the_policy(name: str, take: Take) -> None:
    """The others remain the policy's."""
    policy = await take(policy=CAREFUL, recovery_timeout=9, probe_timeout=1)
    fields = {"window_calls": 20, "failure_rate": 0.5, "failure_threshold": 7}
    assert policy == Policy(**fields, recovery_timeout=9, probe_timeout=1)


@every_place
async def test_fields_alone(name: str, take: Take) -> None:
    """What is left out has its default."""
    fields: dict[str, Any] = {"failure_threshold": 2, "window_seconds": 10, "ignore": KeyError}
    assert await take(**fields) == Policy(**fields)


@every_place
async def test_a_misspelt_field(name: str, take: Take) -> None:
    """The error names what was called, the argument, its value, and the nearest field."""
    with pytest.raises(TypeError) as error:
        await take(failure_treshold=5)
    assert str(error.value) == (
        f"{name}() got an unexpected argument failure_treshold=5; did you mean failure_threshold?"
    )


@every_place
async def test_a_field_like_no_other(name: str, take: Take) -> None:
    """All that there are are listed."""
    with pytest.raises(TypeError, match=r"\(\) got .* zzz=1; there are .*failure_threshold"):
        await take(zzz=1)


@every_place
@pytest.mark.parametrize("policy", ["careful", {"failure_threshold": 1}, Policy])
async def test_what_is_no_policy(name: str, take: Take, policy: object) -> None:
    """A name, a dictionary or the class cannot stand for one."""
    with pytest.raises(TypeError, match=r"^policy must be a Policy, got "):
        await take(policy=policy)


@every_place
async def test_fields_that_do_not_go_with_the_policy(name: str, take: Take) -> None:
    """They are refused together."""
    with pytest.raises(ValueError, match=r"window_calls and window_seconds exclude each other"):
        await take(policy=CAREFUL, window_seconds=10)


@pytest.mark.parametrize(
    "options", [{"gaurd": "loop"}, {"wait_for_recover": True}, {"max_attempt": 3}]
)
def test_a_misspelt_option_of_a_retry_decorator(options: dict[str, Any]) -> None:
    """Its own options are among those that can be meant."""
    with pytest.raises(TypeError, match=r"did you mean (guard|wait_for_recovery|max_attempts)\?$"):
        retry_api_call(**options)


@pytest.mark.parametrize("field", ["failure_threshold", "recovery_timeout", "success_threshold"])
def test_none_is_no_default(field: str) -> None:
    """Only what is left out has its default."""
    with pytest.raises(TypeError, match=rf"^{field} must be .*, got None$"):
        CircuitBreaker("x", **{field: None})


def test_an_option_that_is_not_the_decorator_s() -> None:
    """What `create_retry_decorator` takes besides is refused in the name of what was called."""
    with pytest.raises(TypeError, match=r"^retry_api_call\(\) got an unexpected argument oper"):
        retry_api_call(operation_type="worker")  # type: ignore[call-arg]


async def test_execute_with_retry(enabled: None) -> None:
    """It takes a whole policy; fields are the function's own arguments there."""
    async with Supervisor() as supervisor:
        await execute_with_retry(succeed, policy=CAREFUL, operation_name="x")
        assert supervisor["x"].policy == CAREFUL
        with pytest.raises(TypeError, match=r"^policy must be a Policy, got 'a house rule'$"):
            await execute_with_retry(succeed, policy="a house rule")  # type: ignore[arg-type]


async def test_what_is_given_by_name_goes_before_the_settings(enabled: None) -> None:
    """Fields change single settings, a policy all of them."""
    app_settings.circuit_breaker.recovery_timeout = 77
    async with Supervisor():
        by_settings = await get_circuit_breaker("settings", window_calls=5)
        assert by_settings.policy == Policy(recovery_timeout=77, window_calls=5)
        by_policy = await get_circuit_breaker("policy", policy=Policy(window_calls=5))
        assert by_policy.policy == Policy(window_calls=5)


@pytest.mark.parametrize(
    "given", [{"failure_rate": 0.5}, {"max_recovery_timeout": 20}, {"slow_call_rate": 0.5}]
)
async def test_fields_go_with_the_settings(enabled: None, given: dict[str, Any]) -> None:
    """What a field needs may come from the settings, also if those are changed later."""
    guards = [
        with_circuit_breaker("decorated", **given)(succeed),
        retry_api_call(**given)(succeed),
    ]
    settings = app_settings.circuit_breaker
    settings.window_calls, settings.recovery_timeout, settings.slow_call_duration = 20, 5, 1
    async with Supervisor() as supervisor:
        await get_circuit_breaker("asked for", **given)
        for guard in guards:
            await guard()
        for breaker in supervisor.values():
            for field, value in given.items():
                assert getattr(breaker.policy, field) == value
            assert breaker.policy.window_calls == 20
        assert len(supervisor) == 3


async def test_fields_that_do_not_go_with_the_settings(enabled: None) -> None:
    """That is found when the circuit has to be created."""
    guarded = with_circuit_breaker("x", failure_rate=0.5)(succeed)
    async with Supervisor() as supervisor:
        with pytest.raises(ValueError, match=r"^failure_rate=0.5 needs window_calls or"):
            await guarded()
        with pytest.raises(ValueError, match=r"^failure_rate=0.5 needs window_calls or"):
            await get_circuit_breaker("x", failure_rate=0.5)
        assert not supervisor


async def test_a_part_is_switched_off(enabled: None) -> None:
    """None takes a part away that the settings have."""
    app_settings.circuit_breaker.timeout = 5
    guarded = with_circuit_breaker("x", timeout=None)(succeed)
    async with Supervisor() as supervisor:
        await guarded()
        assert supervisor["x"].policy.timeout is None
        with pytest.raises(TypeError, match=r"^minimum_calls must be .*, got None$"):
            await get_circuit_breaker("x", minimum_calls=None)  # type: ignore[arg-type]


def test_signatures_show_ranges() -> None:
    """Of settings, whose types have their checks with them."""
    assert repr(KINDS["recovery_timeout"]) == "<seconds, more than 0>"


def test_a_policy_names_what_is_nearest() -> None:
    """Where fields are misspelt most often."""
    with pytest.raises(TypeError) as error:
        Policy(failure_treshold=5)  # type: ignore[call-arg]
    assert str(error.value) == (
        "Policy() got an unexpected argument failure_treshold=5; did you mean failure_threshold?"
    )


def test_help_tells_units_ranges_and_defaults() -> None:
    """Of every field, as the source does."""
    text = " ".join((Policy.__doc__ or "").split())
    for field, kind in KINDS.items():
        assert f" {field}: " in text
        assert f"[{kind.range}; " in text
    assert (
        "recovery_timeout: Seconds that the circuit stays open. [seconds, more than 0; 30.0]"
        in text
    )


async def test_what_is_given_counts_only_for_a_new_circuit() -> None:
    """Who comes later gets the circuit that there is; bad arguments are refused all the same."""
    async with Supervisor():
        first = await get_circuit_breaker("x", policy=CAREFUL)
        assert await get_circuit_breaker("x", policy=Policy(), timeout=3) is first
        assert get_circuit_breaker_sync("x") is first
        assert first.policy == CAREFUL
        with pytest.raises(ValueError, match=r"^timeout must be more than 0"):
            await get_circuit_breaker("x", timeout=-3)


class TestConflicts:
    """The name belongs to a circuit with another policy."""

    async def test_a_whole_policy_is_compared_as_a_whole(self) -> None:
        """A field that it leaves to the default counts, too."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", policy=CAREFUL)
            assert supervisor.circuit("x") is breaker
            assert supervisor.circuit("x", recovery_timeout=5) is breaker
            with pytest.raises(PolicyConflictError, match=r"failure_threshold=7, not 3; choose"):
                supervisor.circuit("x", policy=Policy(window_calls=20, failure_rate=0.5))

    async def test_functions_that_only_look_the_same(self) -> None:
        """A lambda in a request handler is another one each time; the error says what to do."""

        def handle(supervisor: Supervisor) -> None:
            supervisor.circuit("x", classify=lambda _: None)

        async with Supervisor() as supervisor:
            handle(supervisor)
            with pytest.raises(PolicyConflictError) as error:
                handle(supervisor)
        text = str(error.value)
        assert text.startswith("circuit 'x' runs with classify=<function TestConflicts.")
        assert "make the function once, outside the code that runs again and again" in text

    async def test_methods_of_two_objects(self) -> None:
        """Those of one object are the same."""

        class Judge:
            def judge(self, result: object) -> bool:
                return result is None

        first, second = Judge(), Judge()
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_on_result=first.judge)
            assert supervisor.circuit("x", failure_on_result=first.judge) is breaker
            with pytest.raises(
                PolicyConflictError, match=r"failure_on_result=.* of another object"
            ):
                supervisor.circuit("x", failure_on_result=second.judge)

    @pytest.mark.parametrize("asked", [KeyError, (KeyError,), lambda _: True])
    async def test_types_and_functions(self, asked: Any) -> None:
        """Where one of the two is a type, the advice is about names."""
        async with Supervisor() as supervisor:
            supervisor.circuit("x", ignore=OSError)
            with pytest.raises(PolicyConflictError, match=r"; choose another name, or stop"):
                supervisor.circuit("x", ignore=asked)


def test_what_is_left_out_shows_as_such() -> None:
    """The signature of a breaker says that a default stands there, and not None."""
    signature = str(inspect.signature(CircuitBreaker))
    assert "failure_threshold: 'int' = DEFAULT" in signature


@pytest.mark.parametrize("copy", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_arguments_that_are_left_out_can_be_kept(copy: Callable[[Any], Any]) -> None:
    """Who stores the arguments of a breaker, with defaults applied, can make it from them."""
    bound = inspect.signature(CircuitBreaker).bind("x")
    bound.apply_defaults()
    assert CircuitBreaker(*copy(bound.args), **copy(bound.kwargs)).policy == Policy()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (CircuitBreaker, "CircuitBreaker.__init__()"),
        (lambda: Supervisor().circuit(), "Supervisor.circuit()"),  # type: ignore[call-arg]
    ],
)
def test_python_s_own_errors_name_what_is_public(make: Callable[[], object], name: str) -> None:
    """And not the classes that those are put together from."""
    with pytest.raises(TypeError, match=f"^{re.escape(name)} missing 1 required"):
        make()


async def test_a_window_displaces_that_of_the_settings(enabled: None) -> None:
    """As a circuit's own window does among the settings."""
    app_settings.circuit_breaker.window_seconds = 5
    async with Supervisor():
        breaker = await get_circuit_breaker("x", window_calls=10)
        assert breaker.policy == Policy(window_calls=10)


def test_a_judge_that_compares_in_its_own_way() -> None:
    """Some libraries make predicates whose `==` is another predicate, and true."""

    class Predicate:
        def __call__(self, result: object) -> bool:
            return result == "bad"

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert asks_for_more(Policy(failure_on_result=Predicate()))
