"""A caller who makes another call after each refusal leaves others their turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    CircuitStoppedError,
    FirstHealthy,
    Supervisor,
    TooManyCircuitsError,
    get_circuit_breaker,
    retry_api_call,
    with_circuit_breaker,
)
from tests.support.worlds import (
    by_block,
    by_call,
    by_decorator,
    by_permit,
    crash,
    crash_on_order,
    fail_times,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio

MANY = 10_000
FEW = 1_000
IN_A_ROW = 5 * 64
"""Refusals of one task in a turn, at most; of each further one, three times 64."""

REFUSALS = (CircuitBreakerOpenError, CircuitStoppedError, TooManyCircuitsError)

Guarded = Callable[[CircuitBreaker, Callable[[], Awaitable[str]]], Awaitable[str]]


async def by_retry(breaker: CircuitBreaker, func: Callable[[], Awaitable[str]]) -> str:
    return await breaker.retry(func)


async def by_wait(breaker: CircuitBreaker, func: Callable[[], Awaitable[str]]) -> str:
    return await breaker.waiting(0.001).call(func)


async def by_fallback(breaker: CircuitBreaker, func: Callable[[], Awaitable[str]]) -> str:
    refused = object()
    if await breaker.call(func, fallback=refused) is refused:
        raise CircuitBreakerOpenError(breaker.name)
    return "fine"


async def turns_meanwhile(guarded: Guarded, breaker: CircuitBreaker, times: int) -> int:
    """Return the turns of another task while so many calls in a row are refused."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        for _ in range(times):
            with pytest.raises(REFUSALS):
                await guarded(breaker, succeed)
        tasks.cancel_scope.cancel()
    return turns


@pytest.mark.parametrize(
    "guarded", [by_call, by_block, by_decorator, by_permit, by_retry, by_fallback]
)
@pytest.mark.parametrize("forced", [False, True])
async def test_other_tasks_have_their_turns_while_calls_are_refused(
    guarded: Guarded, forced: bool
) -> None:
    """Neither a timer nor a cancellation may have to wait for a caller to give up."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency", failure_threshold=1)
        await fail_times(breaker, 1)
        if forced:
            breaker.force_open()
        assert await turns_meanwhile(guarded, breaker, MANY) >= MANY // IN_A_ROW
        assert breaker.statistics().rejected == MANY


@pytest.mark.parametrize("guarded", [by_call, by_block, by_decorator, by_permit, by_retry, by_wait])
async def test_an_actor_that_pauses_can_go_on(guarded: Guarded) -> None:
    """The end of its pause is a timer, too: before, no such caller let it come."""
    async with Supervisor(restart_pause=60.0) as supervisor:
        breaker = supervisor.circuit("dependency", failure_threshold=1)
        await crash_on_order(supervisor, "dependency")
        await fail_times(breaker, 1)
        assert await turns_meanwhile(guarded, breaker, FEW) >= FEW // IN_A_ROW
        assert breaker.statistics().refusals["restarting"] == FEW


@pytest.mark.parametrize("guarded", [by_call, by_block, by_decorator, by_permit, by_retry, by_wait])
async def test_a_circuit_without_an_actor(guarded: Guarded) -> None:
    """One that has been given up, or stopped, refuses for ever; others go on."""
    async with Supervisor(max_restarts=0, on_give_up="refuse") as supervisor:
        given_up, stopped = supervisor.circuit("given up"), supervisor.circuit("stopped")
        crash(supervisor, "given up")
        supervisor.stop("stopped")
        await settle_down()
        for breaker in (given_up, stopped):
            assert await turns_meanwhile(guarded, breaker, FEW) >= FEW // IN_A_ROW


@pytest.mark.parametrize("instead", ["pauses", "stopped", "given up"])
async def test_retries_that_no_actor_decides_on(instead: str) -> None:
    """They are refused at once, whoever asks, and however often."""
    async with Supervisor(
        restart_pause=60.0, max_restarts=int(instead == "pauses"), on_give_up="refuse"
    ) as supervisor:
        breaker = supervisor.circuit("x", retry_budget=0.5)
        if instead == "stopped":
            supervisor.stop("x")
        else:
            await crash_on_order(supervisor)

        async def spend(breaker: CircuitBreaker, _: Callable[..., object]) -> str:
            await breaker.spend_retry()
            return "allowed"

        assert await turns_meanwhile(spend, breaker, FEW) >= FEW // IN_A_ROW


async def test_calls_that_a_circuit_without_an_actor_admits_need_not_wait() -> None:
    """Where it allows all calls, they are as they would be without any circuit."""
    async with Supervisor(max_restarts=0, on_give_up="allow") as supervisor:
        breaker = supervisor.circuit("given up")
        crash(supervisor, "given up")
        await settle_down()

        async def refused_after_all(breaker: CircuitBreaker, func: Callable[..., object]) -> str:
            await breaker.call(succeed)
            raise CircuitBreakerOpenError(breaker.name)

        assert await turns_meanwhile(refused_after_all, breaker, FEW) <= 1


@pytest.mark.parametrize("guarded", [by_call, by_block, by_decorator, by_permit, by_retry])
async def test_a_name_that_there_is_no_room_for(guarded: Guarded) -> None:
    """Room is made by whoever comes to an end, and has to have a turn for that."""
    async with Supervisor(max_circuits=1, on_full="refuse") as supervisor:
        supervisor.circuit("first")
        breaker = CircuitBreaker("second")
        assert await turns_meanwhile(guarded, breaker, FEW) >= FEW // IN_A_ROW


@with_circuit_breaker("second")
async def by_name() -> str:
    return "fine"


@retry_api_call(name="second")
async def retried() -> str:
    return "fine"


async def asked_for() -> str:
    return (await get_circuit_breaker("second")).name


async def first_healthy() -> str:
    return await FirstHealthy("second", "third").call(nothing_of)


async def nothing_of(name: str) -> str:
    return name


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("named", [by_name, retried, asked_for, first_healthy])
async def test_whatever_goes_by_a_name_that_there_is_no_room_for(
    named: Callable[[], Awaitable[str]],
) -> None:
    """Their circuit is to be started, and is not."""
    async with Supervisor(max_circuits=1, on_full="refuse") as supervisor:
        first = supervisor.circuit("first")

        async def guarded(_: CircuitBreaker, __: Callable[..., object]) -> str:
            return await named()

        assert await turns_meanwhile(guarded, first, FEW) >= FEW // IN_A_ROW
        supervisor.stop("first")
        assert await named() in ("fine", "second")


async def test_one_of_several_that_are_all_open() -> None:
    """Who goes from one circuit to the next, and begins again, comes by each of them."""
    async with Supervisor() as supervisor:
        breakers = [supervisor.circuit(name, failure_threshold=1) for name in "abc"]
        for each in breakers:
            await fail_times(each, 1)

        async def by_all(_breaker: CircuitBreaker, func: Callable[[], Awaitable[str]]) -> str:
            for each in breakers:
                with pytest.raises(CircuitBreakerOpenError):
                    await each.call(func)
            raise CircuitBreakerOpenError("all")

        assert await turns_meanwhile(by_all, breakers[0], FEW) >= FEW // IN_A_ROW


async def test_many_that_loop_have_few_refusals_each_in_a_turn() -> None:
    """Ten such callers keep the others from their turns for ten times as long, and no longer."""
    async with Supervisor() as supervisor, anyio.create_task_group() as tasks:
        breaker = supervisor.circuit("dependency", failure_threshold=1)
        await fail_times(breaker, 1)
        refused = 0

        async def caller() -> None:
            nonlocal refused
            while True:
                with pytest.raises(CircuitBreakerOpenError):
                    await breaker.call(succeed)
                refused += 1

        for _ in range(10):
            tasks.start_soon(caller)
        for _ in range(100):
            before = refused
            await anyio.lowlevel.checkpoint()
            assert refused - before <= IN_A_ROW + 9 * 3 * 64
        tasks.cancel_scope.cancel()


async def test_many_that_are_refused_once_each_have_no_need_to_wait() -> None:
    """A herd of tasks is refused without a turn more than they have: none of them goes on."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("dependency", failure_threshold=1)
        await fail_times(breaker, 1)
        awaited = 0

        async def caller() -> None:
            nonlocal awaited
            call = breaker.call(succeed)
            try:
                call.send(None)
            except CircuitBreakerOpenError:
                return
            awaited += 1
            call.close()

        async with anyio.create_task_group() as tasks:
            for _ in range(FEW):
                tasks.start_soon(caller)
        assert breaker.state is CircuitState.OPEN
        assert awaited == 0
