"""Restarts with a pause before them: what goes on meanwhile, who is refused, and how it ends."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitRestarted,
    CircuitState,
    CircuitStoppedError,
    Statistics,
    Supervisor,
    all_figures,
)
from tests.support.worlds import (
    crash,
    crash_on_order,
    fail_times,
    poison,
    settle_down,
    succeed,
    tasks_here,
)

pytestmark = pytest.mark.anyio


async def refusal_of(breaker: CircuitBreaker) -> CircuitBreakerOpenError:
    with pytest.raises(CircuitBreakerOpenError) as caught:
        await breaker.call(succeed)
    return caught.value


def is_balanced(figures: Statistics) -> bool:
    """Whether each call that has started has ended in one way."""
    ended = figures.succeeded + figures.failed + figures.ignored + figures.cancelled
    return figures.in_flight == 0 and figures.started == ended + figures.rejected


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"restart_pause": 0}, "restart_pause must be more than 0 and finite .*got 0"),
        ({"restart_pause": math.inf}, "restart_pause must be more than 0 and finite"),
        ({"restart_pause": 1, "max_restart_pause": 0.5}, "at least restart_pause, 1, got 0.5"),
        ({"max_restart_pause": 5}, "max_restart_pause needs a restart_pause, got 5"),
        ({"restart_pause": 1, "max_restart_pause": -1}, "max_restart_pause must be more than 0"),
    ],
)
async def test_bad_pauses(limits: dict[str, Any], message: str) -> None:
    """The error names the argument and its value."""
    with pytest.raises(ValueError, match=message):
        Supervisor(**limits)


async def test_a_pause_that_is_no_number() -> None:
    """It is a type error."""
    with pytest.raises(TypeError, match="restart_pause must be a number of seconds, got '1'"):
        Supervisor(restart_pause="1")  # type: ignore[arg-type]


async def test_no_pause_by_default() -> None:
    """The actor runs again at once, and nothing says that it pauses."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        events = supervisor.events()
        await crash_on_order(supervisor)
        assert breaker.statistics().restarts_in == 0
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN
    assert [each.pause async for each in events if isinstance(each, CircuitRestarted)] == [0.0]


async def test_pauses_grow_up_to_the_longest() -> None:
    """Each is twice as long as the one before, and `max_restart_pause` at most."""
    async with Supervisor(
        max_restarts=4, restart_pause=1, max_restart_pause=3, restart_period=100
    ) as supervisor:
        breaker = supervisor.circuit("x")
        events = supervisor.events()
        for pause in (1, 2, 3, 3):
            began = anyio.current_time()
            await crash_on_order(supervisor)
            assert breaker.statistics().restarts_in == pytest.approx(pause, abs=0.01)
            await anyio.sleep(pause + 0.01)
            assert breaker.statistics().restarts_in == 0
            assert anyio.current_time() - began < pause + 0.1
    pauses = [each.pause async for each in events if isinstance(each, CircuitRestarted)]
    assert pauses == [1, 2, 3, 3]


async def test_a_crash_that_is_long_ago_makes_no_pause_longer() -> None:
    """It is out of `restart_period`."""
    async with Supervisor(restart_pause=1, restart_period=10) as supervisor:
        breaker = supervisor.circuit("x")
        for _ in range(5):
            await crash_on_order(supervisor)
            assert breaker.statistics().restarts_in == pytest.approx(1, abs=0.01)
            await anyio.sleep(10)


async def test_without_a_longest_pause_it_still_has_an_end() -> None:
    """However often the actor has crashed: 2 to that power is no number of a float's."""
    async with Supervisor(
        max_restarts=5000, restart_pause=1e-12, max_restart_pause=1e-9, restart_period=1e6
    ) as supervisor:
        breaker = supervisor.circuit("x")
        for _ in range(1100):
            crash(supervisor, "x")
            await anyio.sleep(0.01)
        assert breaker.statistics().restarts == 1100
        assert await breaker.call(succeed) == "fine"


class TestMeanwhile:
    """What goes on while an actor pauses."""

    async def test_calls_of_a_closed_circuit_run(self) -> None:
        """As many as may, by what the actor has said before."""
        async with Supervisor(restart_pause=5) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=3)
            await breaker.call(succeed)
            await crash_on_order(supervisor)
            for _ in range(10):
                assert await breaker.call(succeed) == "fine"
            await fail_times(breaker, 2)
            assert breaker.failure_count == 2
            await fail_times(breaker, 1)
            assert breaker.state is CircuitState.OPEN  # by what was reported: reads are exact
            refusal = await refusal_of(breaker)
            assert (refusal.reason, refusal.state) == ("restarting", CircuitState.CLOSED)
            assert breaker.statistics().succeeded == 11
            await anyio.sleep(5.01)
            assert (await refusal_of(breaker)).reason == "open"
            assert is_balanced(breaker.statistics())
            assert breaker.statistics().refusals == {"open": 1, "restarting": 1}

    async def test_who_must_ask_is_refused_at_once(self) -> None:
        """The refusal says why, and how long it takes from now on."""
        async with Supervisor(restart_pause=5) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await crash_on_order(supervisor)
            await anyio.sleep(2)
            with anyio.fail_after(0.5):
                await fail_times(breaker, 1)
                refusal = await refusal_of(breaker)
            assert refusal.retry_after == pytest.approx(3, abs=0.01)
            assert str(refusal).startswith(
                "circuit 'x' is starting again after a crash; retry after 3.0 s"
            )
            await anyio.sleep(refusal.retry_after + 0.01)
            assert breaker.state is CircuitState.OPEN
            assert is_balanced(breaker.statistics())

    async def test_an_open_circuit_refuses_as_before(self) -> None:
        """As long as it is to be open; from then on somebody has to ask."""
        async with Supervisor(restart_pause=20) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10)
            await fail_times(breaker, 1)
            await settle_down()
            await crash_on_order(supervisor)
            assert (await refusal_of(breaker)).reason == "open"
            await anyio.sleep(12)
            assert (await refusal_of(breaker)).reason == "restarting"
            assert breaker.state is CircuitState.HALF_OPEN
            await anyio.sleep(8.1)
            assert await breaker.call(succeed) == "fine"
            assert breaker.state is CircuitState.CLOSED

    async def test_orders_wait_for_the_actor(self) -> None:
        """They show at once, and are obeyed when it starts."""
        async with Supervisor(restart_pause=5) as supervisor:
            breaker = supervisor.circuit("x")
            await crash_on_order(supervisor)
            breaker.force_open()
            assert breaker.state is CircuitState.FORCED_OPEN
            assert (await refusal_of(breaker)).reason == "restarting"
            await anyio.sleep(5.01)
            assert (await refusal_of(breaker)).reason == "forced_open"

    async def test_any_thread_is_told(self) -> None:
        """`figures()` says how long it takes as well."""
        async with Supervisor(restart_pause=5) as supervisor:
            supervisor.circuit("x")
            await crash_on_order(supervisor)
            await anyio.sleep(1)
            told = await anyio.to_thread.run_sync(supervisor.figures)
            assert told.circuits["x"].restarts_in == pytest.approx(4, abs=0.01)
            assert any("x" in each.circuits for each in all_figures())


class TestThoseWhoAskAlready:
    """Callers who have asked before the crash."""

    async def test_they_are_refused(self) -> None:
        """All but the one by whose request it came; and a probe's place is free afterwards."""
        errors: list[Exception] = []

        async def ask(breaker: CircuitBreaker) -> None:
            try:
                await breaker.call(succeed)
            except (CircuitBreakerOpenError, CircuitCrashedError) as error:
                errors.append(error)

        async with Supervisor(restart_pause=5) as supervisor, anyio.create_task_group() as tasks:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=1)
            await fail_times(breaker, 1)
            await anyio.sleep(1.01)
            circuit = supervisor.find("x")
            assert circuit is not None
            poison(circuit)
            tasks.start_soon(ask, breaker)
            tasks.start_soon(ask, breaker)
            with anyio.fail_after(1):
                await settle_down()
            assert [getattr(each, "reason", None) for each in errors] == ["restarting"] * 2
            figures = breaker.statistics()
            assert (figures.rejected, figures.cancelled) == (2, 0)
            assert is_balanced(figures)
            await anyio.sleep(5.01)
            assert await breaker.call(succeed) == "fine"
            assert breaker.state is CircuitState.CLOSED
            assert is_balanced(breaker.statistics())

    async def test_who_is_patient_waits_the_pause_out(self) -> None:
        """Who would wait for less than that is refused at once, before the crash or after it."""
        ended: list[tuple[str, float]] = []

        async def wait(breaker: CircuitBreaker, seconds: float) -> None:
            try:
                await breaker.waiting(seconds).call(succeed)
                ended.append(("ran", anyio.current_time() - began))
            except CircuitBreakerOpenError as error:
                ended.append((error.reason, anyio.current_time() - began))

        async with (
            Supervisor(restart_pause=5) as supervisor,
            anyio.create_task_group() as tasks,
        ):
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=2)
            await fail_times(breaker, 1)
            began = anyio.current_time()
            tasks.start_soon(wait, breaker, 3)
            tasks.start_soon(wait, breaker, 30)
            await settle_down()
            assert breaker.statistics().waiting == 2
            await crash_on_order(supervisor)
            assert breaker.statistics().waiting == 1
            tasks.start_soon(wait, breaker, 4)
            tasks.start_soon(wait, breaker, 40)
            await settle_down()
        assert [what for what, _ in ended] == ["restarting", "restarting", "ran", "ran"]
        assert [when for _, when in ended] == pytest.approx([0, 0, 5, 5], abs=0.05)

    async def test_retries_are_refused_as_well(self) -> None:
        """Another attempt asks for the budget, and does not hang."""
        async with Supervisor(restart_pause=5) as supervisor:
            breaker = supervisor.circuit("x", retry_budget=0.5)
            await crash_on_order(supervisor)
            with anyio.fail_after(1), pytest.raises(CircuitBreakerOpenError, match="starting"):
                await breaker.spend_retry()
            assert is_balanced(breaker.statistics())

    async def test_a_probe_decides_after_the_pause(self) -> None:
        """Its report is kept, and read at once."""
        async with Supervisor(restart_pause=5) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=1)
            await fail_times(breaker, 1)
            await anyio.sleep(1.01)
            permit = await breaker.acquire()
            await crash_on_order(supervisor)
            permit.succeed()
            assert breaker.state is CircuitState.CLOSED
            assert (await refusal_of(breaker)).reason == "restarting"
            await anyio.sleep(5.01)
            assert await breaker.call(succeed) == "fine"


class TestTheEnd:
    """A pause that ends before its time."""

    @pytest.mark.parametrize("leave", ["block", "stop", "cancellation"])
    async def test_nobody_waits_for_it(self, leave: str) -> None:
        """Neither the block, nor a task, nor a caller who waits."""
        before, began = tasks_here(), anyio.current_time()
        answers: list[BaseException] = []

        async def wait(breaker: CircuitBreaker) -> None:
            try:
                await breaker.waiting(5000).call(succeed)
            except CircuitStoppedError as error:
                answers.append(error)

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                async with Supervisor(restart_pause=1000) as supervisor:
                    breaker = supervisor.circuit("x", failure_threshold=1)
                    await fail_times(breaker, 1)
                    tasks.start_soon(wait, breaker)
                    await settle_down()
                    await crash_on_order(supervisor)
                    if leave == "stop":
                        supervisor.stop("x")
                        await settle_down()
                        assert tasks_here() < before + 5
                        assert len(answers) == 1
                    elif leave == "cancellation":
                        scope.cancel()
                        await anyio.sleep_forever()
        assert len(answers) == 1
        await settle_down()
        assert tasks_here() == before
        assert anyio.current_time() - began < 1

    async def test_a_retired_circuit(self) -> None:
        """An idle one may be retired meanwhile: its successor has an actor."""
        async with Supervisor(restart_pause=1000, idle_timeout=10) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await crash_on_order(supervisor)
            await anyio.sleep(20)
            assert "x" not in supervisor
            await fail_times(breaker, 1)
            assert (await refusal_of(breaker)).reason == "open"

    @pytest.mark.parametrize("verdict", ["escalate", "allow", "refuse"])
    async def test_it_is_given_up_as_ever(self, verdict: Any) -> None:
        """At one crash more than `max_restarts` within the period, pauses included."""
        supervisor = Supervisor(
            max_restarts=2, restart_pause=1, restart_period=10, on_give_up=verdict
        )
        try:
            async with supervisor:
                breaker = supervisor.circuit("x")
                for pause in (1, 2):
                    await crash_on_order(supervisor)
                    assert breaker.statistics().running
                    await anyio.sleep(pause + 0.01)
                await crash_on_order(supervisor)
                figures = breaker.statistics()
                assert (figures.running, figures.restarts_in) == (False, 0)
                if verdict == "refuse":
                    assert (await refusal_of(breaker)).retry_after == math.inf
                else:
                    assert await breaker.call(succeed) == "fine"
        except CircuitCrashedError:
            assert verdict == "escalate"
        else:
            assert verdict != "escalate"
