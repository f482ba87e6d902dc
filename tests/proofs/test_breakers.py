"""Everything that callers can do to a breaker under every policy, compared with an oracle.

As in test_model.py the steps are written down with what must be seen, and played at the end. Time
decides here which calls are slow, exceptions decide of what kind a failure is, and those who wait
do so in tasks of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple
from unittest import mock

import anyio
import anyio.abc
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, precondition, rule

from supervisor import (
    CircuitBreakerOpenError,
    Isolation,
    Permit,
    StateChanged,
    Supervisor,
)
from supervisor.errors import describe
from supervisor.machine.messages import NO_PROBE, UNCOUNTED
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import Policy
from supervisor.testing import run_in_virtual_time as run
from tests.proofs.judgements import (
    MOODS,
    WHAT_COUNTS,
    Mistaken,
    Moody,
    Sorted,
    cancellation,
    judged,
)
from tests.proofs.oracle import View
from tests.proofs.player import Call, Player, held, settle
from tests.proofs.policy_histories import (
    KINDS,
    LONG,
    SEED,
    TICK,
    End,
    PolicyHistories,
    Wait,
    policies,
)
from tests.proofs.policy_oracle import Admitted, Answer, Changed, Refused, is_late
from tests.proofs.search import STEPS, on_backend, search
from tests.support.seeds import Seeds
from tests.support.worlds import (
    BACKENDS,
    Down,
    by_block,
    by_call,
    by_decorator,
    by_permit,
    settle_down,
)

FOR_EVER = 4 * STEPS * LONG  # comes at once if a caller is never answered
WAYS = (by_call, by_block, by_decorator, by_permit)


pytestmark = pytest.mark.usefixtures("whole_failures")


@dataclass(frozen=True, slots=True)
class PolicyView(View):
    """What must be seen at one moment, of whatever policy."""

    would_be: str
    would_have_refused: int
    waiting: int
    last_failure: str | None


class Step(NamedTuple):
    """What is to be done to a breaker, and what must be seen after it."""

    action: str
    details: tuple[Any, ...]
    view: PolicyView
    answers: dict[int, Answer]  # to those who waited


class BreakerHistories(PolicyHistories):
    """Histories of a breaker, its circuit, its actor and their supervisor."""

    def __init__(self, figures: Counter[str], figure: str, backend: str) -> None:
        super().__init__(figures, figure)
        self.backend = backend
        self.program: list[Step] = []
        self.began: dict[int, float] = {}
        self.were_put_off: set[int] = set()
        self.first_policy: Policy | None = None

    @initialize(
        data=st.data(),
        kinds=st.none() | KINDS,
        scene=st.sampled_from(["closed", "recovered", "half_open"]),
        mood=st.sampled_from(range(len(MOODS))),
        read_always=st.booleans(),
        backlog=st.sampled_from([256, 4]),
    )
    def begin(  # type: ignore[override]
        self,
        data: st.DataObject,
        kinds: tuple[Failure, Failure] | None,
        scene: str,
        mood: int,
        read_always: bool,
        backlog: int,
    ) -> None:
        self.classify = None if kinds is None else Moody(mood)
        self.first_mood = mood
        self.how: dict[int, str] = {}  # calls are guarded
        self.read_always = read_always
        self.backlog = backlog
        super().begin(data, kinds or (Failure(), Failure()), scene)

    def draw_policy(self, data: st.DataObject) -> Policy:
        policy = data.draw(policies(), "policy")
        classify = data.draw(st.sampled_from([self.classify] * 3 + [None]), "classify")
        policy = replace(policy, classify=classify, **data.draw(WHAT_COUNTS, "what counts"))
        self.first_policy = self.first_policy or policy
        return policy

    def welcome(self, now: float) -> None:
        """Let those who have waited begin."""
        for (call, answer), (_, expected) in zip(self.answers, self.oracle.answered, strict=True):
            if isinstance(expected, Admitted) and call not in self.grants:
                self.began[call] = now
                self.check_answer(call, answer, expected)

    # What callers do

    def ask_both(
        self, draw: float, retry: bool = False, wait: Wait | None = None
    ) -> tuple[int, Answer | None]:
        self.began[self.asked + 1] = self.now
        self.how[self.asked + 1] = how_guarded(self.asked + 1, retry, wait)
        if wait is not None:
            wait = (*wait[:2], math.inf)  # a limit of time would cancel whoever waits, too
        return super().ask_both(draw, retry and wait is None, wait)

    def counts_as_retry(self, retry: bool) -> bool:
        """Only where there is a budget: for one that comes later, it is a call as any other."""
        return retry and self.oracle.policy.retry_budget is not None

    def judged(self, call: int, end: End) -> tuple[str, Failure]:
        policy, how = self.grants[call].policy, self.how[call]
        if end.outcome == "succeeded":
            return judged(policy, "fine") if how == "with result" else ("succeeded", PLAIN_FAILURE)
        if how == "permit" and end.outcome == "ignored":
            return "ignored", PLAIN_FAILURE
        outcome, kind = judged(policy, error_of(end, self.kinds, self.backend))
        by_permit = how == "permit" and end.outcome == "failed"  # which has the last word
        return "failed" if by_permit else outcome, kind

    def is_slow(self, call: int, _end: End) -> bool:
        duration = self.grants[call].policy.slow_call_duration
        return duration is not None and self.now >= self.began[call] + duration

    def text_of(self, call: int, end: End, outcome: str) -> str | None:
        if self.judged(call, end)[0] == "failed":
            if end.outcome == "succeeded":
                return "returned 'fine'"
            return describe(error_of(end, self.kinds, self.backend))
        if self.is_slow(call, end) and outcome in ("succeeded", "failed"):
            return f"took {self.now - self.began[call]:g} s"
        return None

    def done(self, what: str, *details: Any) -> None:
        super().done(what, *details)
        self.welcome(self.now)
        oracle, figures = self.oracle, self.oracle.figures
        view = PolicyView(
            state=oracle.state,
            failure_count=oracle.failure_count,
            retry_after=oracle.retry_after,
            succeeded=figures["succeeded"],
            failed=figures["failed"],
            ignored=figures["ignored"],
            cancelled=figures["cancelled"],
            stale=figures["stale"],
            times_opened=oracle.times_opened,
            would_be=oracle.would_be,
            would_have_refused=figures["would_have_refused"],
            waiting=len(oracle.waiting),
            last_failure=oracle.last_failure,
        )
        self.program.append(Step(what, details, view, dict(oracle.answered)))

    def compare(self) -> None:
        """Another test has compared the machine by itself."""

    def become_overdue(self) -> None:  # type: ignore[override]
        """Not by rule: time decides."""

    def report_together(self) -> None:  # type: ignore[override]
        """Not by rule: they do so of themselves."""

    @precondition(lambda self: self.oracle.waiting)
    @rule(pick=st.sampled_from(range(8)))
    def withdraw(self, pick: int) -> None:
        waiting = self.oracle.waiting
        self.withdraw_both(waiting[pick % len(waiting)].call)

    @precondition(lambda self: self.classify is not None)
    @rule(mood=st.sampled_from(range(len(MOODS))))
    def change_mood(self, mood: int) -> None:
        """Let the classifier say something else from now on."""
        assert self.classify is not None
        self.classify.mood = mood
        self.done("change_mood", self.classify, mood)

    @rule(action=st.sampled_from(["let_actor_run", "crash", "read"]))
    def read(self, action: str) -> None:  # type: ignore[override]
        self.done(action)

    @rule(
        seconds=st.sampled_from([TICK, 0.125, 0.25, 0.5, 0.5, 1.0, 4.0, LONG]),
        blocked=st.booleans(),
    )
    def pass_time(self, seconds: float, blocked: bool) -> None:  # type: ignore[override]
        self.go_on(self.now + seconds, blocked)

    @rule(off=st.sampled_from([0.0, 0.0, -TICK, TICK]), blocked=st.booleans())
    def wait_for_event(self, off: float, blocked: bool = False) -> None:
        next_event = self.next_event(self.lease.period, blocked=False)
        if next_event < math.inf:
            tick = math.ceil(next_event / TICK) * TICK  # the event loop's times stay exact
            self.go_on(max(self.now, tick + off), blocked)

    def go_on(self, now: float, blocked: bool = False) -> None:
        before, period = self.now, self.lease.period
        if blocked:
            self.put_off(now)
        while (next_event := self.next_event(period, blocked)) <= now:
            self.now = next_event
            if not blocked:
                self.take_turn()
                self.welcome(self.now)
                period = self.lease.period
            overdue, call = self.next_overdue(period)
            if overdue <= self.now:
                self.report_overdue(call)
                if not blocked:
                    self.welcome(self.now)
        self.now = now
        self.take_turn()
        self.done("wait", now - before, blocked)

    def next_event(self, period: int, blocked: bool) -> float:
        """When something happens for which there need not be a turn, if the last one was in that
        period.
        """
        overdue = self.next_overdue(period)[0]
        return overdue if blocked else min(self.oracle.next_event, overdue)

    def put_off(self, now: float) -> None:
        """Leave out, once for each call that becomes slow while the loop is blocked, for how long
        it is so when others have a turn, and as much time again: it may have ended.
        """
        for call in self.running:
            grant = self.grants[call]
            limit = grant.policy.slow_call_duration
            if limit is None or grant.probe == UNCOUNTED or call in self.overdue_calls:
                continue
            slow_at = self.began[call] + limit
            if self.now < slow_at and is_late(slow_at, now) and call not in self.were_put_off:
                late = now - slow_at
                self.were_put_off.add(call)
                self.began[call] += late + min(late, limit)

    def next_overdue(self, period: int) -> tuple[float, int]:
        """When a running call of that period will be slow, and which: nobody is told of others."""
        return min(
            (
                (self.began[call] + duration, call)
                for call in self.running
                if (duration := self.grants[call].policy.slow_call_duration) is not None
                and self.grants[call].probe == NO_PROBE
                and self.grants[call].period == period
                and call not in self.overdue_calls
            ),
            default=(math.inf, 0),
        )

    # How it is played

    def teardown(self) -> None:
        if not self.program:
            return
        self.draws = Draws()
        if self.classify is not None:
            self.classify.mood = self.first_mood
        with (
            mock.patch("supervisor.circuit.record.BACKLOG", self.backlog),
            mock.patch("supervisor.circuit.record.AT_REST", self.backlog // 4),
            mock.patch("supervisor.circuit.reading.AT_REST", self.backlog // 4),
            mock.patch("supervisor.circuit.beginning.random", self.draws),
            mock.patch("supervisor.circuit.asking.random", self.draws),
        ):
            self.play_all()
        self.figures[self.figure] += len(self.program)

    def play_all(self) -> None:
        """Do to a breaker all that has been written down, on an event loop."""
        run(self.play, backend=self.backend)

    async def play(self) -> None:
        """Do to a breaker all that has been written down."""
        async with Supervisor(max_restarts=STEPS * STEPS) as supervisor:
            events = supervisor.events(buffer=STEPS * STEPS)
            async with anyio.create_task_group() as tasks:
                assert self.first_policy is not None
                player = PolicyPlayer(supervisor, self.first_policy, self.kinds)
                player.backend = self.backend
                player.draws, player.tasks = self.draws, tasks
                try:
                    with anyio.fail_after(FOR_EVER):
                        for step in self.program:
                            await player.take(step)
                            if self.read_always:
                                await player.read()
                    await player.let_actor_run()
                    await player.read()
                    player.check_end()
                finally:
                    player.end_all()
                    tasks.cancel_scope.cancel()
        changes = [as_changed(event) async for event in events if isinstance(event, StateChanged)]
        assert changes == [
            change for change in self.oracle.changes if change.from_state != change.to_state
        ]


class Draws:
    """Stands for the module `random`: the test draws."""

    next = 0.0
    seed = SEED

    def random(self) -> float:
        return self.next

    def getrandbits(self, _bits: int) -> int:
        return self.seed


class PolicyPlayer(Player):
    """Does to a breaker of some policy what it is told."""

    view: PolicyView
    backend: str
    draws: Draws
    tasks: anyio.abc.TaskGroup

    def __init__(self, supervisor: Supervisor, policy: Policy, kinds: tuple[Failure, ...]) -> None:
        super().__init__(supervisor, as_fields(policy))
        self.kinds = kinds
        self.scopes: dict[int, anyio.CancelScope] = {}  # of those who wait
        self.answers: dict[int, Permit | CircuitBreakerOpenError] = {}  # to them
        self.isolations: dict[int, Isolation] = {}

    async def take(self, step: Step) -> None:
        self.view = step.view
        await getattr(self, step.action)(*step.details)
        if self.scopes:
            await settle_down()
        for call, expected in step.answers.items():
            self.check_answer(call, expected)

    async def ask(
        self, call: int, draw: float, retry: bool, wait: Wait | None, expected: Answer | None
    ) -> None:
        self.draws.next = draw
        if wait is not None:
            seconds, wait_for, _ = wait
            self.scopes[call] = anyio.CancelScope()
            self.tasks.start_soon(self.stand_in_line, call, seconds, wait_for)
            await settle_down()
            if expected is not None:
                self.check_answer(call, expected)
            return
        try:
            if how_guarded(call, retry, wait) != "permit":
                way = WAYS[call % 4]
                guarded = self.breaker.retry(held) if retry else way(self.breaker, held)  # type: ignore[arg-type]
                self.calls[call] = Call(guarded)  # type: ignore[arg-type]
                await self.calls[call]
            else:
                self.permits[call] = await self.breaker.acquire()
        except CircuitBreakerOpenError as refusal:
            self.calls.pop(call, None)
            self.rejected += 1
            assert as_refused(refusal) == expected
        else:
            assert isinstance(expected, Admitted)

    async def stand_in_line(self, call: int, seconds: float, wait_for: Any) -> None:
        with self.scopes[call]:
            try:
                permit = await self.breaker.acquire(wait=seconds, wait_for=wait_for)
            except CircuitBreakerOpenError as refusal:
                self.rejected += 1
                self.answers[call] = refusal
            else:
                self.answers[call] = self.permits[call] = permit
        del self.scopes[call]

    def check_answer(self, call: int, expected: Answer) -> None:
        answer = self.answers[call]
        if isinstance(answer, CircuitBreakerOpenError):
            assert as_refused(answer) == expected
        else:
            assert isinstance(expected, Admitted)

    async def end(self, call: int, end: End) -> None:  # type: ignore[override]
        if call in self.calls:
            running = self.calls.pop(call)
            if end.outcome == "succeeded":
                running.end("succeeded")
            else:
                running.throw(error_of(end, self.kinds, self.backend))
        elif end.outcome == "failed":
            self.permits[call].fail(error_of(end, self.kinds, self.backend))
        elif end.outcome == "cancelled":
            cancelled = cancellation(self.backend)
            with pytest.raises(type(cancelled)), self.permits[call]:
                raise cancelled
        else:
            settle(self.permits[call], end.outcome)

    async def change_mood(self, classify: Moody, mood: int) -> None:
        classify.mood = mood

    async def withdraw(self, call: int) -> None:  # type: ignore[override]
        self.scopes[call].cancel()
        await settle_down()
        assert call not in self.answers

    async def spend_retry(self, granted: bool) -> None:
        try:
            await self.breaker.spend_retry()
        except CircuitBreakerOpenError as refusal:
            assert not granted
            last = self.view.last_failure
            assert as_refused(refusal) == Refused(self.view.state, 0.0, last, "retry_budget")
        else:
            assert granted

    async def wait(self, seconds: float, blocked: bool) -> None:
        await super().wait(seconds, blocked)
        await settle_down()  # a stall ends with a turn

    async def isolate(self, owner: int, seconds: float) -> None:
        length = None if seconds == math.inf else seconds
        if owner == 0:
            self.breaker.force_open(seconds=length)
            return
        before = self.isolations.get(owner)
        self.isolations[owner] = self.breaker.isolate(length)
        if before is not None:  # an owner who asks again has two of them
            before.release()

    async def let_go(self, owner: int) -> None:
        if owner in self.isolations:
            self.isolations[owner].release()

    async def force(self, state: str) -> None:
        match state:
            case "half_open":
                self.breaker.half_open()
            case "forced_closed":
                self.breaker.force_close()
            case "disabled":
                self.breaker.disable()
            case "metrics_only":
                self.breaker.only_measure()
            case "closed":
                self.breaker.release()

    async def reconfigure(self, policy: Policy, seed: int) -> None:
        self.draws.seed = seed
        self.breaker.reconfigure(**as_fields(policy))
        assert self.breaker.policy == policy

    async def read(self) -> None:
        statistics = self.breaker.statistics()
        for name in fields(PolicyView):
            assert getattr(statistics, name.name) == getattr(self.view, name.name), name.name
        assert (self.breaker.state, self.breaker.failure_count, self.breaker.retry_after) == (
            self.view.state,
            self.view.failure_count,
            self.view.retry_after,
        )
        under_way = sum(not permit.settled for permit in self.permits.values()) + len(self.calls)
        assert statistics.in_flight == under_way + len(self.scopes)
        assert statistics.rejected == self.rejected


def how_guarded(call: int, retry: bool, wait: Wait | None) -> str:
    """How a call is guarded: by a permit, or so that its result is looked at, or not."""
    if wait is not None or not (retry or call % 5):
        return "permit"
    return "with result" if retry or WAYS[call % 4] in (by_call, by_decorator) else "without"


def as_fields(policy: Policy) -> dict[str, Any]:
    return {field.name: getattr(policy, field.name) for field in fields(Policy)}


def as_changed(event: StateChanged, ahead: float = 0.0) -> Changed:
    """Return what an event tells, by a clock that is so many seconds ahead of its loop's."""
    return Changed(
        str(event.from_state.value),
        str(event.to_state.value),
        event.at + ahead,
        event.period,
        event.failure_count,
        event.retry_after,
        event.last_failure,
        event.metrics_only,
    )


def as_refused(refusal: CircuitBreakerOpenError) -> Refused:
    return Refused(
        str(refusal.state.value), refusal.retry_after, refusal.last_failure, refusal.reason
    )


def error_of(end: End, kinds: tuple[Failure, ...], backend: str) -> BaseException:
    """What a call raises that ends so."""
    match end.outcome:
        case "failed":
            return Sorted(kinds[end.of_kind]) if end.of_kind else Down("down")
        case "ignored":
            return Sorted(Outcome.IGNORED) if end.of_kind else Mistaken("mistaken")
        case _:
            return cancellation(backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_breaker_agrees_with_the_oracle_under_every_policy(
    backend: str, seeds: Seeds, figures: Counter[str]
) -> None:
    """Whatever callers do under whatever policy, they see what it makes of the facts."""
    search(
        lambda: BreakerHistories(figures, f"steps under every policy, {backend}", backend),
        examples=on_backend(50, backend),
        seeds=seeds,
    )
