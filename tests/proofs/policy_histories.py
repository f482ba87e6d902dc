"""Histories of what can happen to a machine under every policy, compared with an oracle.

As in test_model.py the rules draw what happens; here policies are drawn too, put together from
their parts, and so small that each part soon has its say.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

import hypothesis.strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from supervisor.machine.machine import Machine
from supervisor.machine.messages import (
    NO_PROBE,
    UNCOUNTED,
    Acquire,
    CircuitState,
    Force,
    Grant,
    Message,
    Outcome,
    Overdue,
    Reconfigure,
    Refusal,
    Reset,
    Retry,
    Settle,
    Transition,
    WaitFor,
    Withdraw,
)
from supervisor.machine.slack import UNLIMITED
from supervisor.policy.kinds import InitialState
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure
from supervisor.policy.policy import Policy
from tests.proofs.policy_oracle import (
    OWN_STATES,
    Admitted,
    Answer,
    Ask,
    Changed,
    PolicyOracle,
    Refused,
)

# All times are sums of powers of two, and so is a tenth of each window: see test_model.py.
TICK = 2**-6
SEED = 7
LONG = 2.0**17
SHORT_SECONDS = st.sampled_from([1.0, 0.5, 4.0])
TEN_STEPS = st.sampled_from([5.0, 1.25, 10.0, 80.0])
RATES = st.sampled_from([0.5, 0.3, 2 / 3, 1.0, 0.1])
DRAWS = st.sampled_from([0.0, 0.0, 0.25, 0.5, 0.75, 1 - 2**-53])
SMALL = st.sampled_from(range(1, 5))
THRESHOLDS = st.sampled_from([2, 1, 3, 4, 20])

Fields = dict[str, Any]
Wait = tuple[float, WaitFor, float]


@st.composite
def some(draw: st.DrawFn, **parts: st.SearchStrategy[Any]) -> Fields:
    """Some of these fields."""
    return {name: draw(part) for name, part in parts.items() if draw(st.booleans())}


@st.composite
def tallies(draw: st.DrawFn) -> Fields:
    """When it opens."""
    fields: Fields = {"failure_threshold": draw(THRESHOLDS)}
    match draw(st.sampled_from(["in a row", "calls", "seconds"])):
        case "in a row":
            return fields | draw(some(slow_call_duration=SHORT_SECONDS))
        case "calls":
            fields["window_calls"] = calls = draw(st.sampled_from(range(1, 8)))
            fields["failure_threshold"] = min(calls, fields["failure_threshold"])
            fields["minimum_calls"] = draw(st.sampled_from(range(1, calls + 1)))
        case _:
            fields["window_seconds"] = draw(TEN_STEPS)
            fields["minimum_calls"] = draw(THRESHOLDS)
    fields |= draw(some(failure_rate=RATES, slow_call_duration=SHORT_SECONDS))
    fields |= draw(some(failures_in_a_row=THRESHOLDS))
    if "slow_call_duration" in fields:
        fields |= draw(some(slow_call_rate=RATES))
    return fields


@st.composite
def recoveries(draw: st.DrawFn) -> Fields:
    """For how long it is open."""
    fields: Fields = {"recovery_timeout": draw(SHORT_SECONDS)}
    schedules = st.lists(SHORT_SECONDS, min_size=1, max_size=3)
    fields |= draw(some(recovery_schedule=schedules.map(tuple)))
    first = max(fields.get("recovery_schedule", (fields["recovery_timeout"],)))
    longest = st.sampled_from([first, 8.0, 10.0])
    fields |= draw(some(max_recovery_timeout=longest, recovery_jitter=RATES))
    if "max_recovery_timeout" in fields and "recovery_schedule" not in fields:
        fields |= draw(some(recovery_factor=st.sampled_from([2.0, 1.5, 1e200])))
    return fields


@st.composite
def probings(draw: st.DrawFn) -> Fields:
    """How it is tried again."""
    fields: Fields = {"success_threshold": draw(SMALL), "probe_timeout": draw(SHORT_SECONDS)}
    fields |= draw(some(probes=SMALL, half_open_timeout=st.sampled_from([2.0, 0.75, 4.0])))
    if "probes" in fields:
        fields |= draw(some(probe_failure_rate=RATES))
    if "probe_failure_rate" in fields:
        fields |= draw(some(probes_at_once=st.sampled_from(range(1, fields["probes"] + 1))))
    return fields


def shares() -> st.SearchStrategy[Fields]:
    """Which share of calls and retries is admitted."""
    ramps = some(ramp=TEN_STEPS, ramp_start=st.sampled_from([0.25, 0.5, 1.0]))
    throttles = some(
        throttle=st.sampled_from([1.01, 1.5, 2.0]), throttle_floor=st.sampled_from([0.25, 0.0625])
    )
    budgets = some(
        retry_budget=st.sampled_from([0.25, 0.5, 1.0]),
        retry_budget_minimum=st.sampled_from(range(3)),
    )
    windows = st.fixed_dictionaries(
        {"throttle_seconds": TEN_STEPS, "retry_budget_seconds": TEN_STEPS}
    )
    return st.tuples(ramps, throttles, budgets, windows).map(lambda f: f[0] | f[1] | f[2] | f[3])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies put together from their parts."""
    fields = draw(some(warm_up=SHORT_SECONDS)) if draw(st.booleans()) else {}
    for part in (tallies(), recoveries(), probings(), shares()):
        fields |= draw(part)
    return Policy(**fields)


def failures(kind: str) -> st.SearchStrategy[Failure]:
    return st.builds(
        Failure,
        kind=st.just(kind),
        weight=st.sampled_from([1, 0, 2, 3]),
        threshold=st.sampled_from([None, 1, 2, 3]),
        recovery_timeout=st.sampled_from([None, None, 2.0, 16.0]),
        retry_after=st.sampled_from([None, None, None, 0.25, 32.0]),
    )


KINDS = st.tuples(failures("busy"), failures("broken"))


@dataclass(frozen=True)
class End:
    """How a call ends."""

    outcome: str
    slow: bool = False
    of_kind: int = 0


SUCCEEDED, FAILED = End("succeeded"), End("failed")
ENDS = st.builds(
    End,
    outcome=st.sampled_from(["succeeded", "failed", "failed", "ignored", "cancelled"]),
    slow=st.booleans(),
    of_kind=st.sampled_from([0, 0, 0, 1, 2]),
)
WAITS = st.tuples(
    st.sampled_from([TICK, 0.25, 1.0, 8.0, LONG]),
    st.sampled_from(["closed", "verdict"]),
    st.sampled_from([TICK, 0.5, 2.0, 8.0, math.inf, math.inf]),
)
"""For how long, for what, and how long the caller has at most when it asks."""


BEGINNINGS: Final = get_args(InitialState)[1:]
"""The states that a policy may begin with, but for CLOSED."""


class PolicyHistories(RuleBasedStateMachine):
    """Histories of a machine under some policy, compared after every step."""

    def __init__(self, figures: Counter[str], figure: str) -> None:
        super().__init__()
        self.figures = figures
        self.figure = figure

    @initialize(
        data=st.data(),
        kinds=KINDS,
        scene=st.sampled_from(["closed", "closed", "recovered", "half_open", *BEGINNINGS]),
    )
    def begin(
        self,
        data: st.DataObject,
        kinds: tuple[Failure, Failure],
        scene: str,
    ) -> None:
        self.kinds = (PLAIN_FAILURE, *kinds)
        policy = self.draw_policy(data)
        self.now = 0.0
        self.asked = 0
        self.opening_ends: dict[int, float] = {}  # by period
        self.oracle = PolicyOracle(policy, [])
        self.seed = SEED
        self.machine = Machine(policy, self.seed)
        self.changes: list[Transition] = []
        self.answered: list[tuple[int, Grant | Refusal]] = []
        self.grants: dict[int, Grant] = {}
        self.running: list[int] = []  # admitted, not yet settled
        self.overdue_calls: set[int] = set()
        self.look()
        if scene in BEGINNINGS:
            self.begin_in(scene)
            return
        if scene != "closed":
            self.fail_until_open()
            self.wait_for_event(0.0)
        if scene == "recovered":
            self.probe_until_verdict(SUCCEEDED)

    def begin_in(self, state: str) -> None:
        """Let both begin in that state, as their policy says."""
        policy = replace(self.oracle.policy, initial_state=state)  # type: ignore[arg-type]
        self.oracle = PolicyOracle(policy, [])
        self.machine = Machine(policy, self.seed)
        self.machine.begin(self.now)
        self.look()
        self.oracle.begin(state)
        self.compare()

    def draw_policy(self, data: st.DataObject) -> Policy:
        return data.draw(policies(), "policy")

    def done(self, what: str, *details: Any) -> None:  # noqa: ARG002  (subclasses need them)
        """See what has been done; for those who do the same elsewhere. Then the turn ends."""
        self.take_turn()

    def take_turn(self) -> None:
        self.machine.advance(self.now)
        self.look()
        self.oracle.advance(self.now)

    # What is done to both

    def tell(self, message: Message) -> Any:
        """Tell the machine what happens now, and let time pass for the oracle."""
        answer = self.machine.apply(message)
        self.look()
        self.oracle.advance(self.now, in_turn=False)
        return answer

    def look(self) -> None:
        """See what the machine has done, and would do by now: its copy is exact."""
        self.changes += [c for c in self.machine.transitions if isinstance(c, Transition)]
        self.answered += self.machine.released
        self.machine.transitions.clear()
        self.machine.released = []
        self.twin = self.machine.copy()
        self.twin.advance(self.now)
        self.lease = self.twin.lease()
        self.seen = self.changes + [c for c in self.twin.transitions if isinstance(c, Transition)]
        self.answers = self.answered + list(self.twin.released)
        for change, after in itertools.pairwise([*self.seen, None]):
            assert change is not None
            if change.to_state == "open" and after is None:
                in_force = self.lease.state == "open"
                self.opening_ends[change.period] = (
                    self.lease.refuse_until if in_force else self.twin.deadline
                )
            elif change.to_state == "open" and after.to_state == "half_open":
                self.opening_ends[change.period] = after.at
        self.oracle.opening_ends = [
            self.opening_ends[change.period] for change in self.seen if change.to_state == "open"
        ]

    def ask_both(
        self, draw: float, retry: bool = False, wait: Wait | None = None
    ) -> tuple[int, Answer | None]:
        self.asked += 1
        call, counts = self.asked, self.counts_as_retry(retry)
        if wait is None:
            answer = self.tell(Acquire(call, self.now, draw, counts))
            expected = self.oracle.ask(Ask(call, draw, counts))
        else:
            seconds, wait_for, limit = wait
            until, deadline = self.now + seconds, self.now + limit
            answer = self.tell(Acquire(call, self.now, draw, counts, until, wait_for, deadline))
            expected = self.oracle.ask(Ask(call, draw, counts, until, wait_for, deadline))
        self.check_answer(call, answer, expected)
        self.done("ask", call, draw, retry, wait, expected)
        return call, expected

    def counts_as_retry(self, retry: bool) -> bool:
        """Whether a call is known as a retry, which brings nothing into a budget."""
        return retry

    def check_answer(
        self, call: int, answer: Grant | Refusal | None, expected: Answer | None
    ) -> None:
        match expected:
            case None:
                assert answer is None
            case Refused():
                assert answer == Refusal(
                    CircuitState(expected.state),
                    expected.retry_after,
                    expected.last_failure,
                    expected.reason,  # type: ignore[arg-type]
                )
            case Admitted():
                probe = call if expected.probe else NO_PROBE
                probe = probe if expected.counted else UNCOUNTED
                grant = Grant(expected.period, self.oracle.policy, probe, expected.retry)
                assert answer == grant
                if call not in self.grants:
                    self.grants[call] = grant
                    self.running.append(call)

    def end_both(self, call: int, end: End) -> None:
        grant = self.grants[call]
        outcome, kind = self.judged(call, end)
        slow = self.is_slow(call, end)
        if slow and outcome == "succeeded" and grant.policy.slow_call_rate is None:
            outcome = "failed"  # whoever reports it has seen to that
        text = self.text_of(call, end, outcome)
        self.running.remove(call)
        self.tell(
            Settle(
                grant.period,
                grant.probe,
                Outcome(outcome),
                self.now,
                text,
                of_kind=kind,
                slow=slow,
                retry=grant.retry,
                call=call if call in self.overdue_calls else 0,
            )
        )
        self.oracle.settle(call, outcome, text, kind, slow)
        self.done("end", call, end)

    def judged(self, _call: int, end: End) -> tuple[str, Failure]:
        """Return what such an end counts as, before it is looked at how long the call took."""
        failed = end.outcome == "failed"
        return end.outcome, self.kinds[end.of_kind] if failed else PLAIN_FAILURE

    def is_slow(self, call: int, end: End) -> bool:
        slow = end.slow or call in self.overdue_calls
        return slow and self.grants[call].policy.slow_call_duration is not None

    def text_of(self, call: int, _end: End, outcome: str) -> str | None:
        return f"{call} failed" if outcome == "failed" else None

    def report_overdue(self, call: int) -> None:
        policy = self.grants[call].policy
        assert policy.slow_call_duration is not None
        self.overdue_calls.add(call)
        failed = policy.slow_call_rate is None
        period = self.grants[call].period
        self.tell(Overdue(period, call, self.now, policy.slow_call_duration, failed))
        self.oracle.overdue(call, policy.slow_call_duration, failed)

    # What may happen

    @rule(draw=DRAWS, retry=st.booleans(), wait=st.none() | WAITS)
    def ask(self, draw: float, retry: bool, wait: Wait | None) -> None:
        self.ask_both(draw, retry, wait)
        self.compare()

    @rule(wait=WAITS, draws=st.lists(DRAWS, min_size=1, max_size=4))
    def queue(self, wait: Wait, draws: list[float]) -> None:
        """Ask for several that are ready to wait."""
        for draw in draws:
            self.ask_both(draw, wait=wait)
        self.compare()

    @rule(draw=DRAWS, retry=st.sampled_from([False, False, True]), end=ENDS)
    def call(self, draw: float, retry: bool, end: End) -> None:
        """Start a call that ends at once."""
        call, answer = self.ask_both(draw, retry)
        if isinstance(answer, Admitted):
            self.end_both(call, end)
        self.compare()

    @precondition(lambda self: self.oracle.would_be not in ("open", "forced_open"))
    @rule(ends=st.lists(ENDS, min_size=2, max_size=6))
    def several_calls(self, ends: list[End]) -> None:
        for end in ends:
            self.call(0.0, retry=False, end=end)

    @precondition(lambda self: self.oracle.would_be == "closed")
    @rule()
    def fail_until_open(self) -> None:
        """By chance alone, circuits would not open often enough."""
        for _ in range(20):
            if self.oracle.would_be == "closed":
                self.call(0.0, retry=False, end=FAILED)

    @precondition(lambda self: self.oracle.would_be in ("open", "half_open"))
    @rule(end=st.sampled_from([SUCCEEDED, SUCCEEDED, SUCCEEDED, FAILED]))
    def probe_until_verdict(self, end: End) -> None:
        if self.oracle.would_be == "open":
            self.wait_for_event(0.0)
        for _ in range(4):
            if self.oracle.would_be == "half_open":
                self.call(0.0, retry=False, end=end)

    @precondition(lambda self: self.running)
    @rule(pick=st.sampled_from(range(8)), end=ENDS)
    def end(self, pick: int, end: End) -> None:
        self.end_both(self.running[pick % len(self.running)], end)
        self.compare()

    @precondition(lambda self: self.running)
    @rule(pick=st.sampled_from(range(8)))
    def become_overdue(self, pick: int) -> None:
        call = self.running[pick % len(self.running)]
        grant = self.grants[call]
        may_be = grant.policy.slow_call_duration is not None and grant.probe != UNCOUNTED
        if may_be and call not in self.overdue_calls:
            self.report_overdue(call)
            self.compare()

    @precondition(lambda self: self.running or self.oracle.waiting)
    @rule(pick=st.sampled_from(range(8)))
    def withdraw(self, pick: int) -> None:
        calls = self.running + [ask.call for ask in self.oracle.waiting]
        call = calls[pick % len(calls)]
        if call in self.running:
            self.running.remove(call)
        self.withdraw_both(call)
        self.compare()

    def withdraw_both(self, call: int) -> None:
        self.tell(Withdraw(call, self.now))
        self.oracle.withdraw(call)
        self.done("withdraw", call)

    @rule(pick=st.sampled_from(range(1, 9)))
    def retry(self, pick: int) -> None:
        answer = self.tell(Retry(pick, self.now))
        granted = self.oracle.ask_for_retry()
        if granted:
            assert isinstance(answer, Grant)
        else:
            state = CircuitState(self.oracle.state)
            assert answer == Refusal(state, 0.0, self.oracle.last_failure, "retry_budget")
        self.done("spend_retry", granted)
        self.compare()

    @rule(
        state=st.sampled_from(["reset", "metrics_only", "forced_open", "forced_closed", "disabled"])
    )
    def by_hand(self, state: str) -> None:
        """Forced states last for a step or two, since not much can happen there."""
        if self.oracle.state not in (*OWN_STATES, "metrics_only") and state != "reset":
            state = "closed"
        if state == "reset":
            self.reset_both()
        else:
            self.force_both(state)
        self.compare()

    @precondition(lambda self: self.oracle.state not in OWN_STATES)
    @rule()
    def release(self) -> None:
        self.force_both("closed")
        self.compare()

    @rule(owner=st.sampled_from([0, 1, 2]), seconds=SHORT_SECONDS | st.just(math.inf))
    def isolate(self, owner: int, seconds: float) -> None:
        self.tell(Force(CircuitState.FORCED_OPEN, self.now, hold=owner, seconds=seconds))
        self.oracle.isolate(owner, seconds)
        self.done("isolate", owner, seconds)
        self.compare()

    @precondition(lambda self: self.oracle.owners)
    @rule(owner=st.sampled_from([1, 2, 3]))
    def let_go(self, owner: int) -> None:
        """Of owners there may be none of any more."""
        self.tell(Force(CircuitState.CLOSED, self.now, hold=owner))
        self.oracle.let_go(owner)
        self.done("let_go", owner)
        self.compare()

    @precondition(lambda self: self.oracle.state != "half_open")
    @rule()
    def half_open(self) -> None:
        self.force_both("half_open")
        self.compare()

    def reset_both(self) -> None:
        self.tell(Reset(self.now))
        self.oracle.reset()
        self.done("reset")

    def force_both(self, state: str) -> None:
        if state == "forced_open":
            self.isolate(0, math.inf)
            return
        self.tell(Force(CircuitState(state), self.now))
        self.oracle.force(state)
        self.done("force", state)

    @rule(data=st.data(), likely=st.sampled_from([False, True]))
    def reconfigure(self, data: st.DataObject, likely: bool) -> None:
        if not likely:
            return
        policy = self.draw_policy(data)
        before = self.twin
        self.seed += 1
        self.tell(Reconfigure(policy, self.now, self.seed))
        self.oracle.reconfigure(policy)
        self.done("reconfigure", policy, self.seed)
        for name in ("state", "would_be", "period", "retry_after", "failed", "stale"):
            now, then = getattr(self.twin, name), getattr(before, name)
            assert now(self.now) == then(self.now) if callable(now) else now == then
        assert self.twin.failure_count <= before.failure_count
        self.compare()

    @rule(data=st.data(), ends=st.lists(ENDS, min_size=1, max_size=3))
    def outlive_a_policy(self, data: st.DataObject, ends: list[End]) -> None:
        """Let calls end by the policy that admitted them, while the circuit goes by another."""
        asked = [self.ask_both(0.0)[0] for _ in ends]
        self.reconfigure(data, likely=True)
        for call, end in zip(asked, ends, strict=True):
            if call in self.running:
                self.end_both(call, end)
        self.compare()

    @rule(end=ENDS, times=st.sampled_from(range(2, 5)), timed=st.booleans())
    def report_together(self, end: End, times: int, timed: bool) -> None:
        """Calls that ended alike may travel as one message, if they cannot open it."""
        lease = self.lease
        if end.of_kind or times >= lease.slack or self.now >= lease.expires:
            return
        if not timed:
            self.tell(Settle(-1, NO_PROBE, Outcome.IGNORED, self.now))  # by now, it knows the time
            self.oracle.figures["ignored"] += 1
            self.oracle.figures["stale"] += 1
        slow = end.slow and self.oracle.policy.slow_call_rate is not None
        text = "together" if end.outcome == "failed" else None
        for _ in range(times):
            self.asked += 1
            assert isinstance(self.oracle.ask(Ask(self.asked)), Admitted)
            self.oracle.settle(self.asked, end.outcome, text, PLAIN_FAILURE, slow)
        grant = lease.grant
        self.machine.apply(
            Settle(
                grant.period,
                grant.probe,
                Outcome(end.outcome),
                self.now if timed else None,
                text,
                times=times,
                slow=slow,
            )
        )
        self.look()
        self.compare()

    @rule()
    def read(self) -> None:
        self.machine.advance(self.now)
        self.look()
        self.compare()

    @rule(
        seconds=st.sampled_from([TICK, 0.125, 0.125, 0.25, 0.5, 0.5, 1.0, 4.0, LONG]),
        blocked=st.booleans(),
    )
    def pass_time(self, seconds: float, blocked: bool) -> None:
        self.go_on(self.now + seconds, blocked)

    @rule(off=st.sampled_from([0.0, 0.0, -TICK, TICK]), blocked=st.booleans())
    def wait_for_event(self, off: float, blocked: bool = False) -> None:
        if self.oracle.next_event < math.inf:
            self.go_on(max(self.now, self.oracle.next_event + off), blocked)

    def go_on(self, now: float, blocked: bool = False) -> None:
        """Let time pass; if the event loop is blocked, there is no turn before the end of it."""
        while not blocked and (next_event := self.oracle.next_event) <= now:
            self.now = next_event
            self.take_turn()
        self.now = now
        self.take_turn()
        self.compare()

    # What must be seen

    def compare(self) -> None:
        self.figures[self.figure] += 1
        twin, oracle = self.twin, self.oracle
        figures = ("succeeded", "failed", "ignored", "cancelled", "stale", "would_have_refused")
        for name in ("state", "would_be", "failure_count", "times_opened", *figures):
            expected = oracle.figures[name] if name in figures else getattr(oracle, name)
            assert getattr(twin, name) == expected, name
        assert twin.retry_after(self.now) == oracle.retry_after
        assert [self.as_changed(change) for change in self.seen] == oracle.changes
        assert [call for call, _ in self.answers] == [call for call, _ in oracle.answered]
        for (call, answer), (_, expected) in zip(self.answers, oracle.answered, strict=True):
            if isinstance(expected, Admitted) and call in self.grants:
                assert answer == self.grants[call]
            else:
                self.check_answer(call, answer, expected)
        assert self.now < twin.deadline <= oracle.next_event
        if twin.deadline < oracle.next_event:  # a new lease is due
            assert twin.deadline in (oracle.ramp_ends, self.lease.expires)
        self.check_lease()

    def as_changed(self, change: Transition) -> Changed:
        return Changed(
            str(change.from_state.value),
            str(change.to_state.value),
            change.at,
            change.period,
            change.failure_count,
            change.retry_after,
            change.last_failure,
            change.metrics_only,
        )

    def check_lease(self) -> None:
        lease = self.lease
        assert lease.state == self.oracle.state
        assert lease.last_failure == self.oracle.last_failure
        match self.oracle.state:
            case "closed":
                all_admitted = not self.oracle.ramping and self.oracle.share[0] == 1.0
                assert (lease.slack > 0) == all_admitted
                assert lease.expires > self.now
                if all_admitted and self.oracle.warming:
                    assert lease.expires < self.oracle.warm_up_ends
            case "forced_closed" | "disabled":
                assert lease.slack == UNLIMITED
            case "open" | "forced_open":
                assert lease.slack == 0
                ends = self.oracle.period.ends
                assert lease.refuse_until == ends
            case "half_open":
                assert lease.slack == 0
