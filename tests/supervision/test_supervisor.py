"""The supervisor: its block, its mapping, restarts, the three ways to give up, and the end."""

from __future__ import annotations

import contextvars
import weakref
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitCrashedError,
    CircuitState,
    CircuitStoppedError,
    PolicyConflictError,
    Supervisor,
)
from tests.support.worlds import (
    Dependency,
    Down,
    collect_garbage,
    crash,
    fail,
    fail_times,
    half_open,
    is_refused,
    poison,
    settle_down,
    succeed,
    tasks_here,
)

pytestmark = pytest.mark.anyio


class TestCircuits:
    """`supervisor.circuit` and the mapping."""

    async def test_the_same_name_gives_the_same_circuit(self) -> None:
        """Asked again, with no policy or the same, it returns the same breaker."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=5)
            assert supervisor.circuit("x") is breaker
            assert supervisor.circuit("x", failure_threshold=5) is breaker
            assert supervisor["x"] is supervisor.get("x") is breaker
            assert breaker.failure_threshold == 5

    async def test_a_different_policy_is_an_error(self) -> None:
        """The error names the circuit, the field and both values."""
        async with Supervisor() as supervisor:
            supervisor.circuit("x", failure_threshold=5)
            with pytest.raises(PolicyConflictError, match="'x' runs with failure_threshold=5"):
                supervisor.circuit("x", failure_threshold=6)

    @pytest.mark.parametrize(
        ("name", "policy", "error"),
        [
            ("", {}, ValueError),
            (None, {}, TypeError),
            ("x", {"failure_threshold": 0}, ValueError),
            ("x", {"treshold": 1}, TypeError),
        ],
    )
    async def test_bad_arguments_start_nothing(
        self, name: Any, policy: dict[str, Any], error: type[Exception]
    ) -> None:
        """A bad name or policy leaves no circuit behind."""
        async with Supervisor() as supervisor:
            with pytest.raises(error):
                supervisor.circuit(name, **policy)
            assert len(supervisor) == 0

    async def test_it_is_a_mapping(self) -> None:
        """Names can be looked up, tested, counted and iterated over."""
        async with Supervisor() as supervisor:
            for name in ("b", "a"):
                supervisor.circuit(name)
            assert list(supervisor) == ["b", "a"]
            assert len(supervisor) == 2
            assert "a" in supervisor
            assert "c" not in supervisor
            assert supervisor.get("c") is None
            with pytest.raises(KeyError):
                supervisor["c"]
            assert {name: s.started for name, s in supervisor.statistics().items()} == {
                "b": 0,
                "a": 0,
            }

    async def test_a_stopped_circuit_is_gone(self) -> None:
        """It refuses calls, answers its waiters, and leaves its name to a new one."""
        async with Supervisor() as supervisor:
            old = supervisor.circuit("x", failure_threshold=1)
            await fail_times(old, 1)
            supervisor.stop("x")
            assert "x" not in supervisor
            with pytest.raises(CircuitStoppedError):
                await old.call(succeed)
            assert supervisor.circuit("x") is not old
            assert not await is_refused(supervisor["x"])
            with pytest.raises(KeyError):
                supervisor.stop("unheard of")

    async def test_stopping_leaves_running_calls_alone(self) -> None:
        """A call that was admitted ends as it likes, and its outcome still shows."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            permit = await breaker.acquire()
            supervisor.stop("x")
            permit.succeed()
            assert breaker.statistics().succeeded == 1
            assert not breaker.statistics().running


class TestBlock:
    """Entering and leaving."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"max_restarts": -1}, "max_restarts must be at least 0, got -1"),
            ({"restart_period": 0}, "restart_period must be more than 0"),
            ({"on_give_up": "explode"}, "on_give_up must be one of .*got 'explode'"),
        ],
    )
    def test_bad_arguments(self, arguments: dict[str, Any], message: str) -> None:
        """The error names the argument, the value and what is allowed."""
        with pytest.raises(ValueError, match=message):
            Supervisor(**arguments)

    async def test_only_inside_the_block(self) -> None:
        """Before the block and after it no circuit can be started."""
        supervisor = Supervisor()
        with pytest.raises(RuntimeError, match="enter the supervisor first"):
            supervisor.circuit("x")
        async with supervisor:
            pass
        with pytest.raises(RuntimeError, match="has ended"):
            supervisor.circuit("x")
        with pytest.raises(RuntimeError, match="only once"):
            async with supervisor:
                pytest.fail("entered twice")

    async def test_leaving_ends_every_actor(self) -> None:
        """After the block no task is left, and every circuit has stopped."""
        before = tasks_here()
        async with Supervisor() as supervisor:
            breakers = [supervisor.circuit(f"c{number}") for number in range(50)]
            await settle_down()
            assert tasks_here() > before
        assert tasks_here() == before
        assert not any(breaker.statistics().running for breaker in breakers)

    async def test_an_error_comes_out_as_it_is(self) -> None:
        """An exception of the block is neither wrapped nor lost, and ends the actors."""
        error = ValueError("mine")
        breaker = CircuitBreaker("x")
        with pytest.raises(ValueError, match="mine") as caught:
            async with Supervisor():
                await breaker.call(succeed)
                raise error
        assert caught.value is error
        assert not breaker.statistics().running

    async def test_a_cancellation_ends_it(self) -> None:
        """A cancelled block ends its circuits, which still answer while it cleans up."""
        answers: list[str] = []
        with anyio.move_on_after(1) as scope:
            async with Supervisor() as supervisor:
                breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=5)
                await fail_times(breaker, 1)
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(5)
                        answers.append(await breaker.call(succeed))
        assert scope.cancelled_caught
        assert answers == ["fine"]
        assert not breaker.statistics().running

    async def test_those_who_wait_are_answered(self) -> None:
        """Leaving the block while a call waits to be admitted refuses that call."""
        errors: list[Exception] = []

        async def caller(breaker: CircuitBreaker) -> None:
            try:
                await breaker.call(succeed)
            except CircuitStoppedError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            async with Supervisor() as supervisor:
                tasks.start_soon(caller, supervisor.circuit("x"))
                await anyio.lowlevel.cancel_shielded_checkpoint()
        # It may have been admitted before; then it has succeeded. It has not been left waiting.
        assert len(errors) <= 1

    async def test_blocks_may_overlap(self) -> None:
        """The supervisor entered last is current; when it leaves, the other one is again."""
        async with Supervisor() as outer:
            async with Supervisor() as inner:
                await CircuitBreaker("a").call(succeed)
                assert (list(inner), list(outer)) == (["a"], [])
            await CircuitBreaker("b").call(succeed)
            assert list(outer) == ["b"]

    async def test_blocks_may_leave_in_any_order(self) -> None:
        """A supervisor that leaves first does not take the other one's place with it."""
        first, second = Supervisor(), Supervisor()
        entered, leave = anyio.Event(), anyio.Event()

        async def hold() -> None:
            async with first:
                entered.set()
                await leave.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await entered.wait()
            async with second:
                leave.set()
                await settle_down()
                await CircuitBreaker("x").call(succeed)
                assert "x" in second

    async def test_actors_do_not_keep_a_callers_context(self) -> None:
        """What a request has in its context variables is not kept alive by a circuit."""

        class Request:
            pass

        variable: contextvars.ContextVar[Request] = contextvars.ContextVar("variable")
        seen: list[weakref.ref[Request]] = []

        async def handle() -> None:
            request = Request()
            variable.set(request)
            seen.append(weakref.ref(request))
            await CircuitBreaker("x").call(succeed)

        async with Supervisor():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(handle)
            collect_garbage()
            assert seen[0]() is None


class TestCrashes:
    """A crashed actor is restarted with its state."""

    async def test_the_state_is_kept(self) -> None:
        """Failures before a crash still count after it, and the restart shows."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=3)
            await fail_times(breaker, 2)
            crash(supervisor, "x")
            await fail_times(breaker, 1)
            assert breaker.state is CircuitState.OPEN
            await settle_down()
            assert breaker.statistics().restarts == 1

    async def test_an_open_circuit_stays_open_for_its_time(self) -> None:
        """A crash neither closes the circuit nor prolongs its timeout."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10)
            await fail_times(breaker, 1)
            await anyio.sleep(6)
            crash(supervisor, "x")
            await settle_down()
            assert breaker.retry_after == pytest.approx(4)
            await anyio.sleep(4)
            assert not await is_refused(breaker)

    async def test_a_probe_keeps_its_permit(self) -> None:
        """The probe that runs during a crash still decides."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=1)
            await fail_times(breaker, 1)
            await anyio.sleep(1)
            permit = await breaker.acquire()
            crash(supervisor, "x")
            await settle_down()
            assert await is_refused(breaker)
            permit.succeed()
            assert breaker.state is CircuitState.CLOSED

    async def test_reads_leave_the_poison_out(self) -> None:
        """A read between the poison and the crash shows what the circuit will be after it."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=9)
            await fail_times(breaker, 1)
            circuit = supervisor.find("x")
            assert circuit is not None
            poison(circuit)
            await fail_times(breaker, 1)
            assert breaker.failure_count == 2

    async def test_messages_behind_the_poison_are_not_lost(self) -> None:
        """Reports before and after several poisonous messages all count."""
        async with Supervisor(max_restarts=5) as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=9)
            permits = [await breaker.acquire() for _ in range(4)]
            circuit = supervisor.find("x")
            assert circuit is not None
            for permit in permits:
                permit.fail()
                poison(circuit)
            circuit.mailbox.ring()
            await settle_down()
            assert (breaker.failure_count, breaker.statistics().restarts) == (4, 4)

    async def test_askers_behind_the_poison_only_wait(self) -> None:
        """A call that asks while the actor crashes is answered after the restart."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            circuit = supervisor.find("x")
            assert circuit is not None
            poison(circuit)
            assert await breaker.call(succeed) == "fine"
            assert breaker.statistics().restarts == 1

    async def test_the_intensity_is_per_period(self) -> None:
        """Crashes that are far enough apart are mended for ever."""
        async with Supervisor(max_restarts=1, restart_period=10) as supervisor:
            breaker = supervisor.circuit("x")
            for _ in range(5):
                crash(supervisor, "x")
                await anyio.sleep(10)
            assert await breaker.call(succeed) == "fine"
            assert breaker.statistics().restarts == 5

    async def test_other_circuits_do_not_notice(self) -> None:
        """Only the circuit that crashes is restarted or given up."""
        async with Supervisor(max_restarts=0, on_give_up="refuse") as supervisor:
            other = supervisor.circuit("other")
            supervisor.circuit("x")
            crash(supervisor, "x")
            await settle_down()
            assert await other.call(succeed) == "fine"
            assert other.statistics().restarts == 0


class Alarm(BaseException):
    """What a signal handler raises."""


async def test_a_signal_handler_raises_in_a_turn() -> None:
    """It is no crash of the actor's, which goes on: the event loop is handed what was raised. Trio
    ends by that, as wherever none of its tasks can be blamed.
    """
    handed: list[object] = []
    async with Supervisor(max_restarts=0) as supervisor:
        breaker = supervisor.circuit("x")
        circuit = supervisor.find("x")
        assert circuit is not None
        await settle_down()
        loop = circuit.loop.asyncio_loop
        if loop is None:
            with pytest.raises(Alarm):
                supervisor._restarts._mend_crash(circuit, Alarm())
            return
        loop.set_exception_handler(lambda _, what: handed.append(what["exception"]))

        class Signalled:
            def turn_taken(self, *_: object, **__: object) -> None:
                circuit.observers = ()
                raise Alarm

        circuit.observers = (Signalled(),)
        circuit.call_actor()
        await settle_down()
        await fail_times(breaker, 3)
        assert await is_refused(breaker)
        assert breaker.statistics().restarts == 0
        assert [type(each) for each in handed] == [Alarm]


class TestGivingUp:
    """One crash more than `max_restarts` within `restart_period`."""

    @pytest.mark.parametrize("max_restarts", [0, 2])
    async def test_escalate(self, max_restarts: int) -> None:
        """The block is cancelled, and raises an error that names the circuit and its crash."""
        cleaned_up = False
        breaker = None
        with pytest.raises(CircuitCrashedError, match="'x' crashed more than") as caught:
            async with Supervisor(max_restarts=max_restarts) as supervisor:
                breaker = supervisor.circuit("x")
                try:
                    for _ in range(max_restarts + 1):
                        crash(supervisor, "x")
                        await settle_down()
                    await anyio.sleep_forever()
                finally:
                    cleaned_up = True
                    with anyio.CancelScope(shield=True), pytest.raises(CircuitStoppedError):
                        await breaker.call(succeed)
        assert cleaned_up
        assert isinstance(caught.value.__cause__, AssertionError)
        assert breaker is not None
        assert breaker.statistics().restarts == max_restarts

    async def test_escalate_while_the_block_fails(self) -> None:
        """The crash is raised, and the block's own error is kept as its context."""
        with pytest.raises(CircuitCrashedError) as caught:
            async with Supervisor(max_restarts=0) as supervisor:
                supervisor.circuit("x")
                crash(supervisor, "x")
                with anyio.CancelScope(shield=True):
                    await settle_down()
                raise ValueError("mine")
        assert isinstance(caught.value.__context__, ValueError)

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    async def test_escalate_while_the_program_exits(self, error: type[BaseException]) -> None:
        """An exit or interrupt of the block goes before the crash."""
        caught: BaseException | None = None
        try:
            async with Supervisor(max_restarts=0) as supervisor:
                supervisor.circuit("x")
                crash(supervisor, "x")
                with anyio.CancelScope(shield=True):
                    await settle_down()
                raise error
        except BaseException as exc:
            caught = exc
        assert type(caught) is error

    async def test_escalate_while_callers_fail(self) -> None:
        """Errors that the end of the circuits causes in the block do not hide the crash."""
        with pytest.raises(CircuitCrashedError):
            async with Supervisor(max_restarts=0) as supervisor:
                breaker = supervisor.circuit("x")
                await breaker.call(succeed)
                async with anyio.create_task_group() as tasks:
                    crash(supervisor, "x")
                    tasks.start_soon(breaker.call, anyio.sleep_forever)
                    await settle_down()
                    await breaker.call(succeed)

    async def test_allow(self) -> None:
        """Calls pass unguarded, whatever they do; nothing is counted any more."""
        async with Supervisor(max_restarts=0, on_give_up="allow") as supervisor:
            breaker = supervisor.circuit("x", failure_threshold=1)
            held = await breaker.acquire()
            crash(supervisor, "x")
            await settle_down()
            for _ in range(5000):
                with pytest.raises(Down):
                    await breaker.call(fail)
                async with breaker:
                    await succeed()
            held.succeed()
            now = breaker.statistics()
            assert (now.running, now.state, now.failed) == (False, "closed", 0)
            assert (now.started, now.succeeded, now.in_flight) == (1, 1, 0)

    async def test_refuse(self) -> None:
        """Calls are refused like by an open circuit, without an end in sight."""
        async with Supervisor(max_restarts=0, on_give_up="refuse") as supervisor:
            breaker = supervisor.circuit("x")
            crash(supervisor, "x")
            await settle_down()
            with pytest.raises(CircuitBreakerOpenError) as refusal:
                await breaker.call(succeed)
            assert refusal.value.retry_after == float("inf")
            await anyio.sleep(86_400)
            assert await is_refused(breaker)

    @pytest.mark.parametrize(
        ("on_give_up", "answer"),
        [
            ("allow", {"fine"}),
            ("refuse", {CircuitBreakerOpenError}),
            ("escalate", {"fine", CircuitStoppedError}),  # it may be admitted at the last moment
        ],
    )
    async def test_those_who_wait_are_answered(self, on_give_up: Any, answer: set[object]) -> None:
        """A call that waits for the actor when it is given up gets exactly one answer."""
        answers: list[object] = []

        async def caller(breaker: CircuitBreaker) -> None:
            try:
                answers.append(await breaker.call(succeed))
            except Exception as error:
                answers.append(type(error))

        async def run() -> None:
            async with Supervisor(max_restarts=0, on_give_up=on_give_up) as supervisor:
                breaker = supervisor.circuit("x")
                circuit = supervisor.find("x")
                assert circuit is not None
                poison(circuit)
                tasks.start_soon(caller, breaker)
                await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            if on_give_up == "escalate":
                with pytest.raises(CircuitCrashedError):
                    await run()
            else:
                await run()
        assert len(answers) == 1
        assert set(answers) <= answer

    async def test_a_new_circuit_can_take_its_place(self) -> None:
        """After `stop` the name can be used again."""
        async with Supervisor(max_restarts=0, on_give_up="refuse") as supervisor:
            supervisor.circuit("x")
            crash(supervisor, "x")
            await settle_down()
            supervisor.stop("x")
            assert await supervisor.circuit("x").call(succeed) == "fine"

    async def test_leaving_the_block_in_the_middle(self) -> None:
        """A block that ends right after a crash ends cleanly."""
        async with Supervisor(max_restarts=1) as supervisor:
            supervisor.circuit("x")
            await settle_down()
            crash(supervisor, "x")


class TestDefaultSupervisor:
    """Where nobody entered one."""

    async def test_it_is_started_on_first_use(self) -> None:
        """A breaker works without any set-up, and its task is not the caller's."""
        before = tasks_here()
        breaker = CircuitBreaker("x", failure_threshold=1)
        assert await breaker.call(succeed) == "fine"
        assert tasks_here() > before
        await fail_times(breaker, 1)
        assert await is_refused(breaker)

    async def test_it_lets_calls_pass_when_it_gives_up(self) -> None:
        """There is nobody to escalate to."""
        breaker = CircuitBreaker("x")
        await breaker.call(succeed)
        circuit = breaker._circuit
        for _ in range(4):
            poison(circuit)
            circuit.mailbox.ring()
            await settle_down()
        assert circuit.instead == "allow"
        assert await breaker.call(succeed) == "fine"

    async def test_an_explicit_one_takes_over(self) -> None:
        """Breakers that have joined the default stay there, new ones join the block's."""
        old, new = CircuitBreaker("old"), CircuitBreaker("new")
        await old.call(succeed)
        async with Supervisor() as supervisor:
            await old.call(succeed)
            await new.call(succeed)
            assert list(supervisor) == ["new"]
        assert old.statistics().succeeded == 2


async def test_half_open_world() -> None:
    """The helper that other tests use yields what it says."""
    async with half_open("name", success_threshold=2) as breaker:
        assert (breaker.name, breaker.success_threshold) == ("name", 2)
        dependency = Dependency()
        dependency.let_go()
        assert await breaker.call(dependency.call) == "fine"


@pytest.mark.anyio
async def test_joining_takes_a_policy() -> None:
    """Whoever calls it without one starts nothing."""
    async with Supervisor() as supervisor:
        with pytest.raises(TypeError, match="policy must be a Policy, got 'junk'"):
            supervisor.join("x", "junk")  # type: ignore[arg-type]
        assert len(supervisor) == 0


async def test_a_block_that_another_task_leaves() -> None:
    """Is an error that says what to do, and all circuits have ended."""
    supervisor, entered, left = Supervisor(), anyio.Event(), anyio.Event()
    told: list[str] = []

    async def enter() -> None:
        await supervisor.__aenter__()
        await supervisor.circuit("x").call(succeed)
        entered.set()
        await left.wait()

    async def leave() -> None:
        await entered.wait()
        try:
            await supervisor.__aexit__(None, None, None)
        except RuntimeError as error:
            told.append(str(error))
        left.set()

    with suppress(BaseExceptionGroup):  # trio tells the task that has entered it, too
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            tasks.start_soon(leave)
    assert told[0].startswith("a Supervisor's block must be left by the task that has entered it")
    assert "by any task, if it has on_give_up='allow' or 'refuse'" in told[0]
    assert not supervisor.statistics()
    await CircuitBreaker("x").call(succeed)
