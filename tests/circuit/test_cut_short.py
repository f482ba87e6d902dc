"""What is raised, or reported, in the middle of the package's own work: nothing is lost by it, and
nothing counted twice. `tests/proofs/test_interruptions.py` tries every place; here are those whose
outcome is worth a name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from supervisor import CircuitBreaker, Supervisor
from supervisor.circuit import Circuit, has_calls, in_flight, project
from supervisor.circuit.actor import catch_up
from supervisor.circuit.allowance import Allowance
from supervisor.circuit.calls import Known, RunningCalls
from supervisor.circuit.mailbox import END, Mailbox
from supervisor.circuit.turn import take_turn
from supervisor.machine import Grant, Lease, Machine, Message, Settle, Withdraw, replay
from supervisor.machine.messages import NO_PROBE
from supervisor.policy import Outcome, Policy
from tests.support.worlds import Down, fail, settle_down, succeed

pytestmark = pytest.mark.anyio


def interrupting(original: Callable[..., Any], error: BaseException, after: bool) -> Any:
    """Return a function that is interrupted once, before or after it has done its work."""
    left = [error]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if left and not after:
            raise left.pop()
        result = original(*args, **kwargs)
        if left:
            raise left.pop()
        return result

    return interrupted


def nothing(*_: object) -> None:
    pass


async def in_use(**policy: Any) -> tuple[CircuitBreaker, Circuit]:
    """Return a breaker whose circuit has taken a turn, and that circuit."""
    breaker = CircuitBreaker("x", **policy)
    await breaker.call(succeed)
    await settle_down()
    return breaker, breaker._circuit


def counts(breaker: CircuitBreaker) -> tuple[int, int, int]:
    figures = breaker.statistics()
    return figures.succeeded, figures.failed, figures.in_flight


class TestReports:
    """Runs of outcomes, and calls that become slow."""

    @pytest.mark.parametrize("decorated", [False, True])
    async def test_who_ends_is_interrupted_as_it_looks_at_the_clock(
        self, decorated: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The call has ended all the same: it counts as cancelled, and runs no more."""
        breaker, circuit = await in_use(slow_call_duration=5.0)
        assert circuit.allowance is not None
        clock = circuit.allowance.clock

        async def succeed_late() -> None:
            interrupted = SimpleNamespace(time=interrupting(clock.time, KeyboardInterrupt(), False))
            monkeypatch.setattr(circuit.allowance, "clock", interrupted)

        guarded = breaker(succeed_late) if decorated else partial(breaker.call, succeed_late)
        with pytest.raises(KeyboardInterrupt):
            await guarded()
        figures = breaker.statistics()
        assert (figures.succeeded, figures.cancelled, figures.in_flight) == (1, 1, 0)

    @pytest.mark.parametrize("policy", [{}, {"window_seconds": 10.0, "failure_rate": 0.9}])
    @pytest.mark.parametrize("work", [succeed, fail])
    async def test_a_run_is_kept(
        self, work: Any, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that cannot be put into the mailbox is put there the next time."""
        breaker, circuit = await in_use(**policy)
        with suppress(Down):
            await breaker.call(work)
        put = interrupting(Circuit._run, KeyboardInterrupt(), after=False)
        monkeypatch.setattr(Circuit, "_run", put)
        unsent = circuit.unsent_failures + circuit.unsent_successes
        if unsent:
            with pytest.raises(KeyboardInterrupt):
                circuit.messages()
            assert circuit.unsent_failures + circuit.unsent_successes == unsent
        failed = int(work is fail)
        assert counts(breaker) == (2 - failed, failed, 0)
        assert unsent or policy

    @pytest.mark.parametrize("again", [False, True])
    @pytest.mark.parametrize(
        ("work", "policy"),
        [
            (succeed, {}),
            (fail, {"failure_threshold": 9}),
            (succeed, {"window_seconds": 10.0, "failure_rate": 0.9}),
        ],
    )
    async def test_a_run_is_put_by_somebody_in_between(
        self, work: Any, policy: dict[str, Any], again: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is put once, and as many calls that end then are put as well."""
        breaker, circuit = await in_use(**policy)
        circuit.messages()
        permit = await breaker.acquire()
        with suppress(Down):
            await breaker.call(work)
        original = Circuit._run

        def put_before(circuit: Circuit, *args: Any) -> Any:
            monkeypatch.undo()
            run = original(circuit, *args)
            circuit.messages()
            if again:
                (permit.succeed if work is succeed else permit.fail)()
            return run

        monkeypatch.setattr(Circuit, "_run", put_before)
        circuit.messages()
        monkeypatch.undo()
        ended = 2 if again else 1
        succeeded, failed = (ended, 0) if work is succeed else (0, ended)
        assert counts(breaker) == (1 + succeeded, failed, 2 - ended)
        if not again:
            permit.ignore()

    async def test_a_call_that_ends_while_it_is_told_to_be_slow(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not told, and counts once."""
        breaker, circuit = await in_use(slow_call_duration=1.0, failure_threshold=5)
        permits = [await breaker.acquire()]
        await anyio.sleep(0.5)
        permits.append(await breaker.acquire())
        call = permits[0]._ticket
        assert isinstance(call, int)
        original = Circuit._call_for_many

        def end_it(circuit: Circuit) -> None:
            if permits:
                permits.pop(0).ignore()
            original(circuit)

        monkeypatch.setattr(Circuit, "_call_for_many", end_it)
        await anyio.sleep(0.6)
        monkeypatch.undo()
        assert circuit.allowance is not None
        circuit.tell_slow(circuit.allowance, call)  # which runs no more
        for permit in permits:
            permit.succeed()
        figures = breaker.statistics()
        assert (figures.ignored + figures.succeeded, figures.failed) == (3, 0)
        assert figures.in_flight == 0

    def test_a_call_that_ends_while_it_is_kept_in_another_place(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is found in neither, and what is looked after is not looked after again."""
        policy = Policy(slow_call_duration=1.0)
        grant = Grant(0, policy)
        calls = RunningCalls(grant, policy)
        calls.begin(1, grant, 0.0)
        end = lambda calls, call, _: calls.under_lease.pop(call)  # noqa: E731
        monkeypatch.setattr(RunningCalls, "_expect", end)
        calls._move(1)
        calls._move(1)
        assert (calls.under_lease, calls.others) == ({}, {})

    def test_a_call_that_ends_while_it_is_put_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is kept no more."""
        policy = Policy(slow_call_duration=1.0)
        grant = Grant(0, policy)
        calls = RunningCalls(grant, policy)
        calls.begin(1, grant, 0.0)
        calls._move(1)
        monkeypatch.setattr(RunningCalls, "_expect", lambda calls, call, _: calls.forget(call))
        assert calls.next_overdue(2.0) is None
        assert calls.others == {}

    def test_a_call_that_ends_while_the_next_slow_one_is_looked_for(self) -> None:
        """Whoever else has taken the first out of order, the next one is found."""

        class Others(dict[int, tuple[Grant, float, Known]]):
            def get(self, call: int, default: Any = None) -> Any:
                if call == 1:
                    calls._slow_at.pop(0)
                return super().get(call, default)

        policy = Policy(slow_call_duration=1.0)
        grant = Grant(0, policy)
        calls = RunningCalls(grant, policy)
        calls.others = Others({2: (grant, 0.5, Known.RUNS)})
        calls._slow_at = [(1.0, 1), (1.5, 2)]
        assert calls.next_overdue(1.5) == 2

    def test_a_run_where_time_does_not_matter(self) -> None:
        """It never ends by time."""
        policy = Policy(slow_call_duration=1.0)
        allowance = Allowance(Machine(policy).lease(), policy, clock=NeverAsked())
        allowance.begin_run(5.0)
        assert (allowance.run_began, allowance.run_ends) == (None, math.inf)

    async def test_an_inner_failure_that_is_none_for_the_outer_call(self) -> None:
        """Each is judged by the policy that it was admitted under."""
        breaker = CircuitBreaker("x", failure_on=ValueError)

        async def outer() -> None:
            breaker.reconfigure(failure_on=Exception)
            await breaker.call(fail)

        await breaker.call(succeed)
        with pytest.raises(Down):
            await breaker.call(outer)
        assert counts(breaker) == (2, 1, 0)

    async def test_a_failure_that_finds_its_lease_spent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While it puts successes into the mailbox, another one takes what is left."""
        breaker, _ = await in_use(failure_threshold=2)
        permit, other = await breaker.acquire(), await breaker.acquire()
        await breaker.call(succeed)
        original = Circuit.messages

        def fail_meanwhile(circuit: Circuit) -> list[Message]:
            monkeypatch.undo()
            other.fail(Down())
            return original(circuit)

        monkeypatch.setattr(Circuit, "messages", fail_meanwhile)
        permit.fail(Down())
        assert counts(breaker) == (2, 2, 0)
        assert breaker.state == "open"


class NeverAsked:
    """A clock."""

    @property
    def time(self) -> Callable[[], float]:
        raise AssertionError("nobody asks")


class TestAdmissions:
    """Calls that are about to be kept, or have given up asking."""

    async def test_a_call_that_is_not_kept_in_the_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has never begun."""
        breaker, circuit = await in_use(slow_call_duration=1.0)
        begin = interrupting(Allowance.begin_call, KeyboardInterrupt(), after=True)
        monkeypatch.setattr(Allowance, "begin_call", begin)
        with pytest.raises(KeyboardInterrupt):
            await breaker.call(succeed)
        assert counts(breaker) == (1, 0, 0)
        assert circuit.allowance is not None
        calls = circuit.allowance.running_calls
        assert (calls.under_lease, calls.others) == ({}, {})
        assert await breaker.call(succeed) == "fine"

    async def test_who_has_given_up_asking_runs_no_more(self) -> None:
        """As far as that shows without a copy of the machine, too."""
        _, circuit = await in_use()
        circuit.started, circuit.last_permit = circuit.started + 1, 1
        assert has_calls(circuit)
        circuit.put(Withdraw(1, circuit.now()))
        assert not has_calls(circuit)
        assert in_flight(circuit, project(circuit)) == 0


class TestTurns:
    """The actor's turn, and whoever looks on."""

    @pytest.mark.parametrize("take", [catch_up, take_turn])
    async def test_a_turn_at_the_limit_of_recursion(
        self, take: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No message is to blame for that: all of them are there for the next turn."""
        breaker, circuit = await in_use()
        await breaker.call(succeed)
        apply = interrupting(Machine.apply, RecursionError(), after=False)
        monkeypatch.setattr(Machine, "apply", apply)
        arguments = (circuit, nothing) if take is catch_up else (circuit, nothing, 0.0)
        with pytest.raises(RecursionError):
            take(*arguments)
        assert len(circuit.mailbox.messages) == 1
        await settle_down()
        assert counts(breaker) == (2, 0, 0)

    def test_a_read_at_the_limit_of_recursion(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It raises that, and drops no message."""
        machine = Machine(Policy())
        apply = interrupting(Machine.apply, RecursionError(), after=False)
        monkeypatch.setattr(Machine, "apply", apply)
        with pytest.raises(RecursionError):
            replay(machine, [Settle(0, NO_PROBE, Outcome.SUCCEEDED, 0.0)])

    async def test_a_turn_in_the_middle_of_a_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The inner one counts; the outer one leaves it at that."""
        breaker, circuit = await in_use()
        await breaker.call(succeed)
        apply = Machine.apply

        def take_one(machine: Machine, message: Message) -> Any:
            monkeypatch.undo()
            take_turn(circuit, nothing, circuit.loop.clock.time())
            return apply(machine, message)

        monkeypatch.setattr(Machine, "apply", take_one)
        take_turn(circuit, nothing, circuit.loop.clock.time())
        assert circuit.machine.succeeded == 2
        assert counts(breaker) == (2, 0, 0)

    async def test_an_interrupt_while_it_tells_a_recording(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The recording has the turn once, and the turn counts."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            await breaker.call(succeed)
            await settle_down()
            recording = supervisor.record("x")
            kind = type(recording)
            tell = interrupting(kind.turn_taken, KeyboardInterrupt(), after=False)
            monkeypatch.setattr(kind, "turn_taken", tell)
            circuit = breaker._circuit
            await breaker.call(succeed)
            with pytest.raises(KeyboardInterrupt):
                take_turn(circuit, nothing, circuit.loop.clock.time())
            monkeypatch.undo()
            assert counts(breaker) == (2, 0, 0)
            told = [json.loads(line).get("Settle") for line in recording.lines()]
            assert [each["times"] for each in told if each] == [1]

    @pytest.mark.parametrize("policy", [{}, {"throttle": 2.0}])
    async def test_mail_that_comes_while_the_next_lease_is_made(
        self, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody is admitted by it before another turn has taken that."""
        breaker, circuit = await in_use(failure_threshold=1, **policy)
        original = Machine.lease

        def report_meanwhile(machine: Machine, *args: Any) -> Lease:
            monkeypatch.undo()
            circuit.started += 1
            late = Settle(circuit.lease.grant.period, NO_PROBE, Outcome.FAILED, circuit.now())
            circuit.put(late)
            return original(machine, *args)

        monkeypatch.setattr(Machine, "lease", report_meanwhile)
        take_turn(circuit, nothing, circuit.loop.clock.time())
        assert circuit.headroom == 0
        assert circuit.allowance is None or circuit.allowance.slack == 0
        assert counts(breaker) == (1, 1, 0)
        assert breaker.state == "open"


class TestBells:
    """Rings that are cut short."""

    def test_a_ring_that_can_be_repeated(self) -> None:
        """The owner is woken by the next one."""

        class Stubborn:
            rings = 0

            def ring(self) -> None:
                self.rings += 1
                if self.rings == 1:
                    raise RecursionError

            def wait(self) -> Any:
                return None

        bell, mailbox = Stubborn(), Mailbox[str]()
        mailbox.wait(bell)
        with pytest.raises(RecursionError):
            mailbox.ring()
        mailbox.ring()
        mailbox.ring()
        assert bell.rings == 2
        mailbox.messages[END] = ("mail",)
        assert mailbox.messages == ["mail"]
