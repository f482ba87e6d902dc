"""Everything that can happen to a circuit, in random order, compared with an oracle.

The rules draw what happens and tell it to the oracle. The machine alone is taken along step by
step. A whole breaker is not, since an event loop cannot be left and entered between two rules:
its steps are written down with what must be seen, and played at the end.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any, NamedTuple
from unittest import mock

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    precondition,
    rule,
)

from supervisor import StateChanged, Supervisor
from supervisor.machine.machine import Machine
from supervisor.machine.messages import (
    NO_PROBE,
    Acquire,
    Grant,
    Outcome,
    Refusal,
    Reset,
    Settle,
    Withdraw,
)
from supervisor.policy.policy import Policy
from supervisor.testing import run_in_virtual_time as run
from tests.proofs.oracle import OUTCOMES, History, Limits, View
from tests.proofs.player import Player, see
from tests.proofs.search import STEPS, on_backend, search
from tests.support.seeds import Seeds
from tests.support.worlds import BACKENDS, Guarded, by_block, by_call, by_decorator, by_permit

# All times are sums of powers of two, so that floats are exact, and equal wherever they are
# computed. None is so short that an event loop takes it for nothing.
TICK = 2**-6
LONG = 2.0**17
FOR_EVER = 2 * STEPS * LONG  # comes at once if a caller is never answered

LIMITS = st.builds(
    Limits,
    failure_threshold=st.sampled_from(range(1, 6)),
    recovery_timeout=st.sampled_from([1.0, 0.5, 30.0]),
    success_threshold=st.sampled_from(range(1, 4)),
    probe_timeout=st.sampled_from([1.0, 0.25, 2.0, 60.0]),
)
WAYS = st.sampled_from([by_call, by_block, by_decorator, by_permit])
ENDS = st.sampled_from(["failed", "succeeded", "cancelled"])  # of a call; a permit has one more


class Histories(RuleBasedStateMachine):
    """What may happen. `follow` does the same to the circuit that is compared."""

    calls = Bundle("calls")  # that run, and will end by how their function ends
    permits = Bundle("permits")  # that are held, and will be settled by hand
    settled = Bundle("settled")  # permits that have been

    def __init__(self, figures: Counter[str], figure: str) -> None:
        super().__init__()
        self.figures = figures
        self.figure = figure
        self.asked = 0

    def begin(self, limits: Limits) -> None:
        self.history = History(limits)
        self.period = self.history.periods()[-1]

    def follow(self, _action: str, *_details: Any) -> None:
        """Do this to the circuit, or see to it that it will be done."""
        self.period = self.history.periods()[-1]

    @property
    def is_late(self) -> bool:
        """Whether something should have been decided before, but nobody has had a turn."""
        return self.period.deadline < self.history.now

    def take_turn(self) -> None:
        """Let everybody do what is to be done."""
        self.history.tell("turn")
        self.follow("let_actor_run")

    def ask(self, waits: bool = True) -> tuple[int, View | None]:
        """Let somebody ask, and if he waits for the answer have a turn, unless it is clear what he
        is told; return what he must see if he is refused.
        """
        self.asked += 1
        self.history.tell("asked", self.asked)
        refused = None if self.history.admits(self.asked) else self.history.view()
        if self.is_late and waits:
            self.history.tell("turn")
        return self.asked, refused

    def end_stall(self) -> None:
        """One thing may happen after a stall before the next turn, not many."""
        if self.is_late:
            self.take_turn()

    def wait(self, seconds: float, blocked: bool) -> None:
        history, until = self.history, self.history.now + seconds
        if not blocked:
            history.tell("turn")
            while (deadline := history.periods()[-1].deadline) <= until:
                history.now = deadline
                history.tell("turn")
        history.now = until
        self.follow("wait", seconds, blocked)

    @rule(target=calls, way=WAYS)
    def start(self, way: Guarded) -> Any:
        call, refused = self.ask()
        self.follow("start", call, way, refused)
        return multiple() if refused else call

    @rule(target=permits)
    def acquire(self) -> Any:
        call, refused = self.ask()
        self.follow("acquire", call, refused)
        return multiple() if refused else call

    @rule(call=consumes(calls), end=ENDS)
    def end(self, call: int, end: str) -> None:
        self.history.tell(end, call)
        self.follow("end", call, end)
        self.end_stall()

    @rule(target=settled, call=consumes(permits), outcome=st.sampled_from(OUTCOMES))
    def settle(self, call: int, outcome: str) -> int:
        self.history.tell(outcome, call)
        self.follow("settle", call, outcome)
        self.end_stall()
        return call

    @rule(way=WAYS, end=ENDS)
    def call(self, way: Guarded, end: str) -> None:
        """Start a call that ends at once."""
        call, refused = self.ask()
        if refused is None:
            self.history.tell(end, call)
        self.follow("call", call, way, end, refused)

    @precondition(lambda self: self.period.state == "closed")
    @rule(way=WAYS)
    def fail_until_open(self, way: Guarded) -> None:
        """By chance alone, circuits would hardly ever open."""
        while self.period.state == "closed":
            self.call(way, "failed")

    @rule(action=st.sampled_from(["read", "reset"]))  # one rule: each rule is as frequent
    def read_or_reset(self, action: str) -> None:
        if action == "reset":
            self.history.tell("reset")
        self.follow(action)
        self.end_stall()

    @rule(seconds=st.sampled_from([TICK, 0.25, 0.5, 1.0, LONG]), blocked=st.booleans())
    def pass_time(self, seconds: float, blocked: bool) -> None:
        self.wait(seconds, blocked)

    @precondition(lambda self: self.period.deadline < math.inf)
    @rule(off=st.sampled_from([0.0, -TICK, TICK]), blocked=st.booleans())
    def wait_for_deadline(self, off: float, blocked: bool) -> None:
        self.wait(max(0.0, self.period.deadline + off - self.history.now), blocked)


class MachineHistories(Histories):
    """Histories of a machine, compared after every step."""

    @initialize(limits=LIMITS)
    def begin(self, limits: Limits) -> None:
        super().begin(limits)
        self.machine = Machine(Policy(**asdict(limits)))
        self.grants: dict[int, Grant] = {}

    def follow(self, action: str, *details: Any) -> None:
        super().follow(action)
        getattr(self, f"do_{action}")(*details)
        self.compare()
        self.figures[self.figure] += 1

    @rule(call=consumes(Histories.calls))
    def withdraw(self, call: int) -> None:
        self.history.tell("withdrew", call)
        self.follow("withdraw", call)
        self.end_stall()

    @rule(call=Histories.settled, outcome=st.sampled_from(OUTCOMES))
    def settle_again(self, call: int, outcome: str) -> None:
        """Only probes have an identity; calls of a closed circuit are kept apart by permits."""
        if self.grants[call].probe:
            self.history.tell(outcome, call)
            self.follow("settle", call, outcome)

    @precondition(lambda self: self.period.state == "closed")
    @rule(outcome=st.sampled_from(OUTCOMES), times=st.sampled_from(range(2, 5)))
    def report_together(self, outcome: str, times: int) -> None:
        """Calls that ended alike may travel as one message without a time, if it cannot open."""
        slack = self.history.limits.failure_threshold - self.history.view().failure_count
        if outcome != "failed" or times < slack:
            calls = [self.ask()[0] for _ in range(times)]
            for call in calls:
                self.history.tell(outcome, call)
            self.follow("report", calls, outcome)

    def do_report(self, calls: list[int], outcome: str) -> None:
        self.do_acquire(calls[0], None)
        period = self.grants[calls[0]].period
        self.machine.apply(Settle(period, NO_PROBE, Outcome(outcome), times=len(calls)))

    def do_start(self, call: int, _way: Guarded, refused: View | None) -> None:
        self.do_acquire(call, refused)

    def do_acquire(self, call: int, refused: View | None) -> None:
        answer = self.machine.apply(Acquire(call, self.history.now))
        last = self.machine.last_failure
        self.machine.advance(self.history.now)
        if isinstance(answer, Grant):
            assert refused is None
            self.grants[call] = answer
        else:
            assert refused is not None
            state: Any = refused.state
            assert answer == Refusal(state, refused.retry_after, last, state)

    def do_call(self, call: int, _way: Guarded, end: str, refused: View | None) -> None:
        self.do_acquire(call, refused)
        if refused is None:
            self.do_settle(call, end)

    def do_end(self, call: int, end: str) -> None:
        self.do_settle(call, end)

    def do_settle(self, call: int, outcome: str) -> None:
        grant = self.grants[call]
        self.machine.apply(
            Settle(grant.period, grant.probe, Outcome(outcome), self.history.now, outcome)
        )

    def do_withdraw(self, call: int) -> None:
        self.machine.apply(Withdraw(call, self.history.now))

    def do_reset(self) -> None:
        self.machine.apply(Reset(self.history.now))

    def do_read(self) -> None:
        """A copy is read: see `compare`."""

    def do_let_actor_run(self) -> None:
        self.machine.advance(self.history.now)

    def do_wait(self, seconds: float, blocked: bool) -> None:
        """If nobody has a turn meanwhile, nobody tells the machine: it must catch up by itself."""
        if not blocked:
            self.machine.advance(self.history.now - seconds)
            while (deadline := self.machine.deadline) <= self.history.now:
                self.machine.advance(deadline)

    def compare(self) -> None:
        now = self.history.now
        twin = self.machine.copy()
        twin.pass_time(now)
        view = self.history.view()
        assert see(twin, twin.retry_after(now)) == view

        periods = self.history.periods()
        changes = [(t.at, t.to_state) for t in self.machine.transitions + twin.transitions]
        assert changes == [(period.since, period.state) for period in periods[1:]]

        last = periods[-1]
        assert twin.deadline == last.deadline
        lease = twin.lease()
        if last.state == "closed":
            assert lease.slack == self.history.limits.failure_threshold - view.failure_count
        else:
            assert lease.slack == 0
            assert lease.refuse_until == (-math.inf if last.places else last.deadline)
            free = 0
            while isinstance(twin.apply(Acquire(self.asked + 1 + free, now)), Grant):
                free += 1
            assert free == last.places


class Step(NamedTuple):
    """What is to be done to a breaker, and what must be seen after it."""

    action: str
    details: tuple[Any, ...]
    view: View


class BreakerHistories(Histories):
    """Histories of a breaker, its circuit, its actor and their supervisor."""

    def __init__(self, figures: Counter[str], figure: str, backend: str) -> None:
        super().__init__(figures, figure)
        self.backend = backend
        self.program: list[Step] = []

    @initialize(limits=LIMITS, read_always=st.booleans(), backlog=st.sampled_from([256, 4]))
    def begin_with(self, limits: Limits, read_always: bool, backlog: int) -> None:
        super().begin(limits)
        self.read_always = read_always
        self.backlog = backlog

    def follow(self, action: str, *details: Any) -> None:
        super().follow(action)
        self.program.append(Step(action, details, self.history.view()))

    @rule(way=WAYS, late=st.booleans())
    def withdraw(self, way: Guarded, late: bool) -> None:
        """Ask, and be cancelled while waiting for the answer; or late, when it is there."""
        call, refused = self.ask(waits=late and self.backend != "trio")
        self.history.tell("withdrew", call)
        self.follow("withdraw", way, late, refused)
        self.end_stall()

    @rule(call=Histories.settled, outcome=st.sampled_from(OUTCOMES))
    def settle_again(self, call: int, outcome: str) -> None:
        self.follow("settle_again", call, outcome)

    @rule(action=st.sampled_from(["let_actor_run", "crash", "crash_half_way"]))
    def let_run_or_crash(self, action: str) -> None:
        if action == "let_actor_run":
            self.take_turn()
        else:
            self.follow(action)
            self.end_stall()

    def teardown(self) -> None:
        if not self.program:
            return
        self.end_stall()
        # Small ones, at times: within a history's length, the backlog would never be full.
        with (
            mock.patch("supervisor.circuit.record.BACKLOG", self.backlog),
            mock.patch("supervisor.circuit.record.AT_REST", self.backlog // 4),
            mock.patch("supervisor.circuit.reading.AT_REST", self.backlog // 4),
        ):
            run(self.play, backend=self.backend)
        self.figures[self.figure] += len(self.program)

    async def play(self) -> None:
        """Do to a breaker all that has been written down."""
        async with Supervisor(max_restarts=STEPS) as supervisor:
            events = supervisor.events(buffer=STEPS * STEPS)
            player = Player(supervisor, asdict(self.history.limits))
            try:
                with anyio.fail_after(FOR_EVER):
                    for action, details, view in self.program:
                        player.view = view
                        await getattr(player, action)(*details)
                        if self.read_always:
                            await player.read()
                await player.let_actor_run()
                await player.read()
                player.check_end()
            finally:
                player.end_all()
            statistics = player.breaker.statistics()
            assert statistics.in_flight == 0
        changes = [(e.at, e.to_state) async for e in events if isinstance(e, StateChanged)]
        assert changes == self.history.changes()


def test_the_machine_agrees_with_the_oracle(seeds: Seeds, figures: Counter[str]) -> None:
    """After every step of every history, the pure machine is what the facts make of it."""
    search(
        lambda: MachineHistories(figures, "steps of the model, machine alone"),
        examples=200,
        seeds=seeds,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_breaker_agrees_with_the_oracle(
    backend: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """Whatever callers do, and in whatever way, they see what the facts make of it."""
    search(
        lambda: BreakerHistories(figures, f"steps of the model, {backend}", backend),
        examples=on_backend(160, backend),
        seeds=seeds,
    )
