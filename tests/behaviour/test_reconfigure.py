"""Another policy for a circuit in use: what stays, what changes, and by what a call is judged."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    PolicyConflictError,
    Supervisor,
)
from supervisor.circuit import give_up
from supervisor.errors import CallTimeoutError
from supervisor.events import CircuitReconfigured, Event
from supervisor.policy.outcomes import Failure, Outcome
from supervisor.policy.policy import Policy
from supervisor.recording import replay_file
from supervisor.testing import run_in_virtual_time
from tests.support.worlds import (
    BACKENDS,
    Dependency,
    Down,
    Guarded,
    by_call,
    every_way,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio

WATCHED: dict[str, dict[str, Any]] = {
    "a time window": {"window_seconds": 60, "failure_rate": 0.75},
    "slow calls": {"slow_call_duration": 5},
    "a classifier": {"classify": lambda _: None},
    "results": {"failure_on_result": lambda result: result == "bad"},
    "errors": {"failure_on": ConnectionError},
    "a timeout": {"timeout": 50},
    "a throttle": {"throttle": 4},
    "a budget": {"retry_budget": 0.1},
}
"""Parts of a policy for which a circuit keeps more than the plainest one does."""

some_watched = pytest.mark.parametrize("fields", WATCHED.values(), ids=WATCHED)


class TestLive:
    """`breaker.reconfigure(...)` of a circuit that runs."""

    async def test_it_shows_on_the_next_line(self) -> None:
        """Every way to read the policy knows of it at once; other fields stay."""
        breaker = CircuitBreaker("x", 5, 60, 2, probe_timeout=90, window_calls=20)
        await breaker.call(succeed)
        breaker.reconfigure(failure_threshold=9)
        breaker.reconfigure(recovery_timeout=7, window_calls=None, window_seconds=10)
        assert breaker.policy == Policy(9, 7.0, 2, 90.0, window_seconds=10.0)
        assert (breaker.failure_threshold, breaker.recovery_timeout) == (9, 7.0)
        assert (breaker.success_threshold, breaker.probe_timeout) == (2, 90.0)

    async def test_state_and_counts_stay(self) -> None:
        """An open circuit stays open for as long as it was told to."""
        breaker = CircuitBreaker("x", 2, 30)
        await fail_times(breaker, 1)
        breaker.reconfigure(failure_threshold=3)
        assert breaker.failure_count == 1
        await fail_times(breaker, 2)
        assert (breaker.state, breaker.retry_after) == ("open", 30.0)
        breaker.reconfigure(recovery_timeout=5)
        assert (breaker.state, breaker.retry_after, breaker.failure_count) == ("open", 30.0, 3)

    @pytest.mark.parametrize("awake", [False, True])
    async def test_thresholds_are_looked_at_from_the_next_outcome_on(self, awake: bool) -> None:
        """A lower one opens nothing by itself, whether or not the actor has had its turn."""
        breaker = CircuitBreaker("x", 9)
        await fail_times(breaker, 5)
        breaker.reconfigure(failure_threshold=3)
        if awake:
            await settle_down()
        assert breaker.state is CircuitState.CLOSED
        assert not await is_refused(breaker)
        await fail_times(breaker, 3)
        assert breaker.state is CircuitState.OPEN
        assert await is_refused(breaker)

    @pytest.mark.parametrize("awake", [False, True])
    async def test_a_higher_threshold(self, awake: bool) -> None:
        """It lets as many more failures pass."""
        breaker = CircuitBreaker("x", 3)
        await fail_times(breaker, 2)
        breaker.reconfigure(failure_threshold=5)
        if awake:
            await settle_down()
        await fail_times(breaker, 2)
        assert not await is_refused(breaker)
        await fail_times(breaker, 5)
        assert await is_refused(breaker)

    @every_way
    async def test_a_plain_policy_stays_exact(self, guarded: Guarded) -> None:
        """Not one call too many is admitted, though no task runs in between."""
        breaker = CircuitBreaker("x", 3)
        await breaker.call(succeed)
        breaker.reconfigure(recovery_timeout=5)
        for _ in range(3):
            await settle_down()
            for _ in range(2):
                with pytest.raises(Down):
                    await guarded(breaker, fail)
            await guarded(breaker, succeed)
            for _ in range(3):
                with pytest.raises(Down):
                    await guarded(breaker, fail)
            with pytest.raises(CircuitBreakerOpenError):
                await guarded(breaker, fail)
            await anyio.sleep(5)
            await guarded(breaker, succeed)

    async def test_bad_arguments_change_nothing(self) -> None:
        """Unknown fields, bad values, and values that do not go together."""
        breaker = CircuitBreaker("x", 5, window_calls=20)
        await breaker.call(succeed)
        for policy, error in (
            ({"failure_treshold": 3}, TypeError),
            ({"failure_threshold": 0}, ValueError),
            ({"failure_threshold": 21}, ValueError),
            ({"window_seconds": 5}, ValueError),
            ({"failure_on": 5}, TypeError),
        ):
            with pytest.raises(error):
                breaker.reconfigure(**policy)
            assert breaker.policy == Policy(5, window_calls=20)

    async def test_an_event_tells_of_it(self) -> None:
        """With the policy that it goes by from then on; a state does not change."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            stream = supervisor.events()
            await anyio.sleep(5)
            breaker.reconfigure(failure_threshold=9)
            await settle_down()
            stream.close()
            (event,) = [event async for event in stream if isinstance(event, Event)]
            assert isinstance(event, CircuitReconfigured)
            assert (event.circuit, event.at, event.policy) == ("x", 5.0, breaker.policy)

    async def test_in_a_thread(self) -> None:
        """It says where to call it from."""
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        with pytest.raises(RuntimeError, match=r"breaker\.sync\.ask"):
            await anyio.to_thread.run_sync(lambda: breaker.reconfigure(failure_threshold=9))
        assert breaker.failure_threshold == 3


class TestWhatWasAdmittedBefore:
    """It is judged by the policy of its time, at whatever moment it ends."""

    @pytest.mark.parametrize("awake", [False, True])
    @pytest.mark.parametrize(
        ("before", "after", "failures"),
        [
            ({"ignore": Down}, {"ignore": ()}, 0),
            ({"ignore": ()}, {"ignore": Down}, 1),
            ({"failure_on": KeyError}, {"failure_on": Exception}, 0),
            ({"classify": lambda _: Failure(weight=3)}, {"classify": None}, 3),
            ({"classify": None}, {"classify": lambda _: Failure(weight=3)}, 1),
            ({"classify": lambda _: Outcome.IGNORED}, {"classify": None}, 0),
            ({"classify": lambda _: Outcome.IGNORED}, {"classify": None, "timeout": 9}, 0),
        ],
    )
    async def test_errors(
        self,
        before: dict[str, Any],
        after: dict[str, Any],
        failures: int,
        awake: bool,
    ) -> None:
        """Whether an error is a failure, and what for one."""
        breaker = CircuitBreaker("x", 9, **before)
        with_block, by_hand = await breaker.acquire(), await breaker.acquire()
        breaker.reconfigure(**after)
        if awake:
            await settle_down()
        by_hand.ignore()
        with pytest.raises(Down), with_block:
            await fail()
        assert breaker.failure_count == failures

    @pytest.mark.parametrize("awake", [False, True])
    @pytest.mark.parametrize(
        ("before", "after", "failures"),
        [
            ({"failure_on_result": bool}, {"failure_on_result": None}, 1),
            ({"failure_on_result": bool}, {"failure_on_result": None, "timeout": 99}, 1),
            ({"failure_on_result": bool}, {"failure_on_result": None, "window_calls": 50}, 1),
            (
                {"failure_on_result": bool},
                {"failure_on_result": None, "slow_call_duration": 99},
                1,
            ),
            ({"failure_on_result": None}, {"failure_on_result": bool}, 0),
            ({"classify": None}, {"classify": lambda _: Failure()}, 0),
            ({"classify": lambda _: Failure()}, {"classify": None, "window_seconds": 99}, 1),
        ],
    )
    async def test_results(
        self, before: dict[str, Any], after: dict[str, Any], failures: int, awake: bool
    ) -> None:
        """Whether a result is a failure."""
        breaker = CircuitBreaker("x", 9, **before)
        dependency = Dependency()

        @breaker
        async def decorated() -> str:
            return await dependency.call()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.call, dependency.call)
            tasks.start_soon(decorated)
            await settle_down()
            breaker.reconfigure(**after)
            if awake:
                await settle_down()
            dependency.let_go()
        assert breaker.failure_count == 2 * failures

    @every_way
    @pytest.mark.parametrize(("before", "after"), [(5, 50), (50, 5), (None, 5), (5, None)])
    async def test_slow_limit(
        self, guarded: Guarded, before: float | None, after: float | None
    ) -> None:
        """What is slow, and when it is overdue."""
        breaker = CircuitBreaker("x", 9, slow_call_duration=before)
        dependency = Dependency()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guarded, breaker, dependency.call)
            await settle_down()
            breaker.reconfigure(slow_call_duration=after)
            await anyio.sleep(20)
            assert breaker.failure_count == (1 if before == 5 else 0)
            dependency.let_go()
        assert breaker.failure_count == (1 if before == 5 else 0)

    async def test_what_hangs_is_overdue_though_another_field_changes(self) -> None:
        """The circuit opens while everything hangs."""
        breaker = CircuitBreaker("x", 3, slow_call_duration=5)
        dependency = Dependency()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(breaker.call, dependency.call)
            await anyio.sleep(1)
            breaker.reconfigure(recovery_timeout=60)
            await anyio.sleep(4)
            assert (breaker.state, breaker.retry_after) == ("open", 60.0)
            dependency.let_go()

    @pytest.mark.parametrize(("before", "after"), [(5, 50), (50, 5), (None, 5), (5, None)])
    async def test_timeout(self, before: float | None, after: float | None) -> None:
        """When it is cancelled."""
        breaker = CircuitBreaker("x", 9, timeout=before)
        ended: list[float] = []

        async def call(guarded: Guarded) -> None:
            with anyio.move_on_after(20):
                with pytest.raises(CallTimeoutError):
                    await guarded(breaker, partial(anyio.sleep, 80_000))
            ended.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, by_call)
            await settle_down()
            breaker.reconfigure(timeout=after)
        assert ended == [5.0 if before == 5 else 20.0]

    async def test_probe_timeout(self) -> None:
        """How long a probe may run."""
        async with half_open(probe_timeout=20) as breaker:
            permit = await breaker.acquire()
            breaker.reconfigure(probe_timeout=5)
            await anyio.sleep(19)
            assert breaker.state == "half_open"
            await anyio.sleep(1)
            assert breaker.statistics().last_failure == "probe still running after 20 s"
            permit.succeed()

    async def test_a_retry(self) -> None:
        """An attempt that was taken from a budget may end when there is none any more."""
        breaker = CircuitBreaker("x", 9, retry_budget=0.5)
        dependency = Dependency()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.retry, dependency.call)
            await settle_down()
            breaker.reconfigure(retry_budget=None)
            dependency.let_go()
        assert breaker.statistics().succeeded == 1


class TestPartsThatComeAndGo:
    """Plain, with some part, and plain again."""

    @some_watched
    @every_way
    async def test_there_and_back(self, guarded: Guarded, fields: dict[str, Any]) -> None:
        """Each call is counted once, and the circuit opens at its threshold."""
        breaker = CircuitBreaker("x", 3, 10, minimum_calls=4)
        plain = {field: getattr(Policy(), field) for field in fields}
        for change in ({}, fields, plain, fields, plain):
            breaker.reconfigure(**change)
            for awake in (False, True):
                breaker.reset()
                before = breaker.statistics()
                if awake:
                    await settle_down()
                await guarded(breaker, succeed)
                for _ in range(3):
                    assert breaker.state is CircuitState.CLOSED
                    with pytest.raises(Down):
                        await guarded(breaker, fail)
                assert breaker.state is CircuitState.OPEN
                with pytest.raises(CircuitBreakerOpenError):
                    await guarded(breaker, succeed)
                now = breaker.statistics()
                assert (now.succeeded, now.failed) == (before.succeeded + 1, before.failed + 3)
                assert (now.rejected, now.in_flight) == (before.rejected + 1, 0)

    @some_watched
    async def test_while_calls_are_under_way(self, fields: dict[str, Any]) -> None:
        """However many changes a call lives through, it is counted once."""
        breaker = CircuitBreaker("x", 1000)
        plain = {field: getattr(Policy(), field) for field in fields}
        started = 0

        async def call(number: int) -> None:
            with anyio.CancelScope() as scope:
                try:
                    async with breaker:
                        await anyio.sleep(number % 5)
                        if number % 3 == 1:
                            raise Down
                        if number % 3 == 2:
                            scope.cancel()
                            await anyio.lowlevel.checkpoint()
                except Down:
                    pass

        async with anyio.create_task_group() as tasks:
            for round_ in range(20):
                breaker.reconfigure(**(fields if round_ % 2 else plain))
                for _ in range(9):
                    tasks.start_soon(call, started)
                    started += 1
                await anyio.sleep(0.7)
        now = breaker.statistics()
        assert (now.started, now.in_flight, now.rejected) == (180, 0, 0)
        assert (now.succeeded, now.failed, now.cancelled) == (60, 60, 60)
        assert now.failure_count <= 60

    async def test_a_window_takes_over_what_was_counted(self) -> None:
        """Failures in a row become entries of the window, and back."""
        breaker = CircuitBreaker("x", 9)
        await breaker.call(succeed)
        await fail_times(breaker, 4)
        breaker.reconfigure(window_calls=10)
        await breaker.call(succeed)
        await fail_times(breaker, 1)
        assert breaker.failure_count == 5
        breaker.reconfigure(window_calls=None)
        assert breaker.failure_count == 1


class TestOtherBreakersOfThatName:
    """They need not be told."""

    @pytest.mark.parametrize("awake", [False, True])
    async def test_one_that_has_joined(self, awake: bool) -> None:
        """It goes by the same circuit."""
        first, second = CircuitBreaker("x", 3), CircuitBreaker("x", 3)
        await first.call(succeed)
        await second.call(succeed)
        first.reconfigure(failure_threshold=1)
        if awake:
            await settle_down()
        assert second.failure_threshold == 1
        await fail_times(second, 1)
        assert first.state is CircuitState.OPEN

    @pytest.mark.parametrize("awake", [False, True])
    async def test_one_that_joins_later(self, awake: bool) -> None:
        """It asks for the policy that was there first, and gets that of now."""
        first, second = CircuitBreaker("x", 3), CircuitBreaker("x", 3)
        await first.call(succeed)
        for threshold in (1, 2):
            first.reconfigure(failure_threshold=threshold)
        if awake:
            await settle_down()
        assert second.failure_threshold == 2
        await fail_times(second, 2)
        assert first.state is second.state is CircuitState.OPEN

    async def test_one_that_asks_for_the_policy_of_now(self) -> None:
        """It may join, too; any other policy is a conflict."""
        await CircuitBreaker("x", 3).call(succeed)
        CircuitBreaker("x", 3).reconfigure(failure_threshold=1)
        await CircuitBreaker("x", 1).call(succeed)
        with pytest.raises(PolicyConflictError, match="failure_threshold=1, not 2"):
            await CircuitBreaker("x", 2).call(succeed)

    async def test_a_supervisors_own(self) -> None:
        """The breaker that a supervisor keeps is of that circuit."""
        async with Supervisor() as supervisor:
            breaker = CircuitBreaker("x", 3)
            await breaker.call(succeed)
            breaker.reconfigure(failure_threshold=1)
            await settle_down()
            assert supervisor["x"].failure_threshold == 1
            assert supervisor.circuit("x", failure_threshold=3) is supervisor["x"]


class TestBeforeUse:
    """A breaker that has not joined a circuit yet."""

    def test_outside_an_event_loop(self) -> None:
        """It will join by the policy that it has then."""
        breaker = CircuitBreaker("x", 3)
        breaker.reconfigure(failure_threshold=1, window_calls=5)
        breaker.reconfigure(recovery_timeout=5)
        assert breaker.policy == Policy(1, 5.0, window_calls=5)
        with pytest.raises(ValueError, match="window_calls"):
            breaker.reconfigure(window_seconds=5)
        assert breaker.policy == Policy(1, 5.0, window_calls=5)

    def test_unknown_fields(self) -> None:
        """They are refused as those of a new breaker are."""
        for policy in ({"failure_treshold": 3}, {"name": "y"}):
            with pytest.raises(TypeError, match=r"failure_treshold|name"):
                CircuitBreaker("x").reconfigure(**policy)
            with pytest.raises(TypeError, match=r"failure_treshold|name"):
                CircuitBreaker("x", **policy)

    async def test_on_an_event_loop(self) -> None:
        """Nothing is started by it."""
        breaker = CircuitBreaker("x", 3)
        async with Supervisor() as supervisor:
            breaker.reconfigure(failure_threshold=1)
            assert "x" not in supervisor
            await fail_times(breaker, 1)
            assert supervisor["x"].state is CircuitState.OPEN

    async def test_one_of_a_circuit_that_is_there(self) -> None:
        """It is that circuit that is changed."""
        async with Supervisor() as supervisor:
            owned = supervisor.circuit("x", failure_threshold=3)
            CircuitBreaker("x", 3).reconfigure(failure_threshold=1)
            assert owned.failure_threshold == 1

    @pytest.mark.parametrize("awake", [False, True])
    async def test_after_its_supervisor_has_gone(self, awake: bool) -> None:
        """The next circuit goes by it, too; the last change counts, heard of or not."""
        breaker = CircuitBreaker("x", 3)
        async with Supervisor():
            await breaker.call(succeed)
            breaker.reconfigure(failure_threshold=2)
            if awake:
                await settle_down()
        async with Supervisor():
            assert breaker.failure_threshold == 2
            await fail_times(breaker, 2)
            assert breaker.state is CircuitState.OPEN
        breaker.reconfigure(failure_threshold=1)
        async with Supervisor():
            await fail_times(breaker, 1)
            assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])  # where tasks start in their order
def test_a_call_that_is_admitted_while_the_policy_changes(backend: str) -> None:
    """It goes by the one that there was when it asked, though that is gone when it begins."""

    async def main() -> None:
        breaker = CircuitBreaker("x", 9, timeout=5, slow_call_duration=3)
        ended: list[float] = []

        async def call() -> None:
            with pytest.raises(CallTimeoutError):
                await breaker.call(anyio.sleep, 80_000)
            ended.append(anyio.current_time())

        async def reconfigure() -> None:
            breaker.reconfigure(timeout=None, slow_call_duration=None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            tasks.start_soon(reconfigure)
            await anyio.sleep(4)
            assert (breaker.policy.timeout, breaker.failure_count) == (None, 1)
        assert ended == [5.0]

    run_in_virtual_time(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("awake", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_a_module_level_breaker(backend: str, awake: bool, within: bool) -> None:
    """It keeps its policy from one event loop to the next, where its counts begin anew."""
    breaker = CircuitBreaker("x", 3)

    async def use(threshold: int) -> None:
        assert breaker.failure_threshold == threshold
        await fail_times(breaker, threshold)
        assert breaker.state is CircuitState.OPEN
        if within:
            breaker.reconfigure(failure_threshold=threshold + 1)
        if awake:
            await settle_down()

    for threshold in (3, 4, 5):
        run_in_virtual_time(use, threshold, backend=backend)
        if not within:
            breaker.reconfigure(failure_threshold=threshold + 1)
        assert breaker.failure_threshold == threshold + 1


async def test_a_circuit_that_has_been_given_up() -> None:
    """Nobody goes by any policy of its; it is no error."""
    async with Supervisor(max_restarts=0, on_give_up="allow") as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=3)
        circuit = supervisor.find("x")
        assert circuit is not None
        give_up(circuit, "allow")
        breaker.reconfigure(failure_threshold=1)
        await fail_times(breaker, 5)
        assert not await is_refused(breaker)


class TestJitter:
    """A policy with jitter for circuits that were made without."""

    async def test_each_circuit_has_times_of_its_own(self) -> None:
        """Or all of them would probe at once."""
        async with Supervisor() as supervisor:
            times: set[float] = set()
            for number in range(20):
                breaker = supervisor.circuit(f"x{number}", failure_threshold=1)
                breaker.reconfigure(recovery_jitter=0.5)
                await fail_times(breaker, 1)
                times.add(breaker.retry_after)
            assert len(times) == 20

    async def test_switched_off_and_on_again(self) -> None:
        """Likewise; and without it, the time is the plain one."""
        async with Supervisor() as supervisor:
            times: set[float] = set()
            for number in range(20):
                breaker = supervisor.circuit(f"x{number}", failure_threshold=1, recovery_jitter=0.5)
                breaker.reconfigure(recovery_jitter=0.0)
                await fail_times(breaker, 1)
                assert breaker.retry_after == 30.0
                breaker.reset()
                breaker.reconfigure(recovery_jitter=0.5)
                await fail_times(breaker, 1)
                times.add(breaker.retry_after)
            assert len(times) == 20

    async def test_a_recording_holds_what_was_drawn(self, tmp_path: Path) -> None:
        """Played again, it comes to the same times."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            recording = supervisor.record("x")
            breaker.reconfigure(recovery_jitter=0.5)
            for _ in range(3):
                await fail_times(breaker, 1)
                await anyio.sleep(breaker.retry_after)
            recording.write(tmp_path / "x.jsonl")
        replay = replay_file(tmp_path / "x.jsonl")
        assert replay.agrees
        opened = [each for each in replay.transitions if getattr(each, "to_state", None) == "open"]
        assert len({each.retry_after for each in opened}) == 3  # type: ignore[union-attr]
