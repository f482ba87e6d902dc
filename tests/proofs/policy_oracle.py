"""An oracle for every policy: what a circuit must look like, whatever it is told to go by.

`oracle.py` is the same for the policy that is there by default, and shorter. This one too shares
no code with the package but its records of policies and failures. It keeps what has happened as
it was, each call on its own, and goes through all of it for every question: no sums, no buckets,
no deadline that is kept. Its figures are floats computed by the formulas in
docs/explanation/policies/.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import TypeVar

from supervisor.policy.outcomes import PLAIN_FAILURE, Failure
from supervisor.policy.policy import Policy

OWN_STATES = ("closed", "open", "half_open")
"""States that a circuit enters by its policy; the others are set by hand."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that asks to be admitted, and may wait."""

    call: int
    draw: float = 0.0
    retry: bool = False
    wait_until: float = -math.inf
    wait_for: str = "closed"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that may run, and in which period, counted from 0, it was admitted."""

    period: int
    probe: bool = False
    retry: bool = False
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that must not run."""

    state: str
    retry_after: float
    last_failure: str | None
    reason: str


Answer = Admitted | Refused


@dataclass(frozen=True, slots=True)
class Changed:
    """A state entered; `period` is the number of the one that began."""

    from_state: str
    to_state: str
    at: float
    period: int
    failure_count: int
    retry_after: float
    last_failure: str | None
    metrics_only: bool


@dataclass(slots=True)
class Entry:
    """One place in the tally: a call, or a part of a failure that counts for several."""

    at: float
    failed: bool
    slow: bool = False
    call: int = 0  # that was overdue, and may still fail


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that has counted, whatever its weight."""

    at: float
    outcome: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that is remembered for some time, such as a request or a retry."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that runs."""

    call: int
    since: float
    timeout: float


@dataclass(slots=True)
class Period:
    """A stretch of time in one state."""

    number: int
    state: str  # in METRICS_ONLY: the one inside
    metrics_only: bool
    since: float
    ends: float = math.inf  # an open one
    ramps: bool = False
    patience: tuple[float, float] | None = None  # since its first probe, for so many seconds
    probes: list[Probe] = field(default_factory=list)  # that run
    verdicts: list[bool] = field(default_factory=list)  # whether probes succeeded, in order

    @property
    def shown(self) -> str:
        return "metrics_only" if self.metrics_only else self.state


Happened = TypeVar("Happened", Entry, Ended, Noted)


def recent(happened: list[Happened], seconds: float, now: float) -> list[Happened]:
    """Return what lies within ten steps of a tenth of `seconds`, that of `now` the last."""
    step = seconds / 10
    first = math.floor(now / step) - 10
    return [one for one in happened if math.floor(one.at / step) > first]


class PolicyOracle:
    """A circuit, told what happens to it in the order of time; set `now`, then tell.

    Args:
        policy: what it goes by.
        opening_ends: when the circuit under test had been open for long enough, each time that
            it was: where chance decides, it must only lie within its limits.
    """

    def __init__(self, policy: Policy, opening_ends: list[float]) -> None:
        self.policy = policy
        self.opening_ends = opening_ends
        self.now = 0.0
        self.periods = [Period(0, "closed", metrics_only=False, since=0.0)]
        self.changes: list[Changed] = []
        self.answered: list[tuple[int, Answer]] = []  # those who waited
        self.waiting: list[Ask] = []
        self.calls: dict[int, Admitted] = {}
        self.entries: list[Entry] = []  # since the tally was last emptied
        self.ended: list[Ended] = []  # the same
        self.requests: list[Noted] = []  # the same; "accepted" or "not"
        self.budget: list[Noted] = []  # "call" or "retry"
        self.overdue_calls: set[int] = set()  # reported in this period
        self.last_failure: str | None = None
        self.figures: Counter[str] = Counter()

    # What is seen

    @property
    def period(self) -> Period:
        return self.periods[-1]

    @property
    def state(self) -> str:
        return self.period.shown

    @property
    def would_be(self) -> str:
        return self.period.state

    @property
    def retry_after(self) -> float:
        if self.state == "forced_open":
            return math.inf
        return self.period.ends - self.now if self.state == "open" else 0.0

    @property
    def times_opened(self) -> int:
        return sum(
            after.state == "open" and before.state != "open"
            for before, after in pairwise(self.periods)
        )

    @property
    def failure_count(self) -> int:
        return sum(entry.failed for entry in self.held())

    def held(self) -> list[Entry]:
        """What the tally holds: what is in the window, or else the failures in a row."""
        if self.policy.window_calls is not None:
            return self.entries[-self.policy.window_calls :]
        if self.policy.window_seconds is not None:
            return recent(self.entries, self.policy.window_seconds, self.now)
        return list(takewhile(lambda entry: entry.failed, reversed(self.entries)))[::-1]

    def failures_of(self, kind: str | None) -> int:
        """How many failures of that kind there are, in a row or in the window."""
        if self.policy.window_calls is not None:
            ended = self.ended[-self.policy.window_calls :]
        elif self.policy.window_seconds is not None:
            ended = recent(self.ended, self.policy.window_seconds, self.now)
        else:
            ended = list(takewhile(lambda one: one.outcome != "succeeded", reversed(self.ended)))
        return sum(one.outcome == "failed" and one.kind == kind for one in ended)

    @property
    def share(self) -> tuple[float, str]:
        """Which share of the calls a closed circuit admits, and why no more."""
        share, why = 1.0, "ramp"
        if self.ramping:
            since, start = self.period.since, self.policy.ramp_start
            assert self.policy.ramp is not None
            share = start + (1 - start) * (self.now - since) / self.policy.ramp
        if self.policy.throttle is not None:
            noted = recent(self.requests, self.policy.throttle_seconds, self.now)
            accepts = sum(one.what == "accepted" for one in noted)
            surplus = (len(noted) - self.policy.throttle * accepts) / (len(noted) + 1)
            throttled = 1 - min(max(0.0, surplus), 1 - self.policy.throttle_floor)
            if throttled < share:
                share, why = throttled, "throttled"
        return share, why

    @property
    def ramping(self) -> bool:
        return self.now < self.ramp_ends

    @property
    def ramp_ends(self) -> float:
        ramp = self.policy.ramp
        return self.period.since + ramp if self.period.ramps and ramp else -math.inf

    @property
    def places(self) -> int:
        """How many more probes may run."""
        period, policy = self.period, self.policy
        if policy.probe_failure_rate is not None:
            assert policy.probes is not None
            places = policy.probes - len(period.verdicts) - len(period.probes)
        elif policy.probes is not None:
            places = policy.probes - len(period.probes)
        else:
            places = policy.success_threshold - sum(period.verdicts) - len(period.probes)
        # A policy that asks for less may come when there is enough, and only a probe can tell.
        return places if period.probes else max(1, places)

    @property
    def next_event(self) -> float:
        """When something happens of itself."""
        return min((at for at, _, _ in self.events()), default=math.inf)

    # What happens of itself

    def advance(self, now: float) -> None:
        """Let time pass."""
        while self.next_event <= now:
            self.now, _, happen = min(self.events(), key=lambda event: event[:2])
            happen()
        self.now = now

    def events(self) -> Iterator[tuple[float, int, Callable[[], None]]]:
        """Yield what will happen and when; of what happens at once, the lower number first."""
        period = self.period
        if period.state == "open":
            yield period.ends, 0, lambda: self.enter("half_open")
        if period.state == "half_open":
            for probe in period.probes:
                text = f"probe still running after {probe.timeout:g} s"
                yield (
                    probe.since + probe.timeout,
                    0,
                    lambda probe=probe, text=text: self.end_probe(  # type: ignore[misc]
                        probe.call, succeeded=False, failure=text
                    ),
                )
            if period.patience is not None:
                since, seconds = period.patience
                text = f"no verdict within {seconds:g} s"
                yield since + seconds, 1, lambda: self.give_up(text)
        if period.state == "closed" and self.ramping:
            assert self.policy.ramp is not None
            for tenth in range(1, 11):
                at = period.since + self.policy.ramp * tenth / 10
                if at > self.now and self.waiting:
                    yield at, 2, self.ask_anew
        for ask in self.waiting:
            yield ask.wait_until, 3, self.give_final_answers

    # What is told

    def ask(self, ask: Ask) -> Answer | None:
        answer = self.answer(ask, final=ask.wait_until <= self.now)
        if answer is None:
            self.waiting.append(ask)
        return answer

    def ask_for_retry(self) -> bool:
        """Whether a call that has been admitted may make one more attempt."""
        taken = self.take_retry()
        if not taken and self.state == "metrics_only":
            self.figures["would_have_refused"] += 1
            return True
        return taken

    def withdraw(self, call: int) -> None:
        self.figures["cancelled"] += 1
        self.waiting = [ask for ask in self.waiting if ask.call != call]
        self.free_place(call)

    def settle(
        self,
        call: int,
        outcome: str,
        failure: str | None = None,
        of_kind: Failure = PLAIN_FAILURE,
        slow: bool = False,
    ) -> None:
        self.figures[outcome] += 1
        admitted = self.calls[call]
        if outcome in ("succeeded", "failed") and not admitted.retry:
            self.note_in_budget("call")
        if not admitted.counted:
            return
        current = admitted.period == self.period.number
        if not current or (admitted.probe and not self.is_running(call)):
            self.figures["stale"] += 1
        elif outcome in ("ignored", "cancelled"):
            self.free_place(call)
        elif admitted.probe:
            succeeded = outcome == "succeeded" and not slow
            self.end_probe(call, succeeded, failure, of_kind)
        elif self.period.state in ("closed", "forced_closed"):
            self.count(call, outcome, failure, of_kind, slow)

    def overdue(self, call: int, after: float, failed: bool) -> None:
        admitted = self.calls[call]
        if (
            admitted.period != self.period.number
            or not admitted.counted
            or self.period.state not in ("closed", "forced_closed")
        ):
            return
        self.overdue_calls.add(call)
        if failed or self.records_successes(self.policy):
            self.entries.append(Entry(self.now, failed, slow=not failed, call=call))
        self.judge(failed, f"still running after {after:g} s")

    def reset(self) -> None:
        state = self.period.state if self.period.state not in OWN_STATES else "closed"
        self.empty()
        self.enter(state, metrics_only=self.period.metrics_only)

    def force(self, state: str) -> None:
        by_hand = self.state not in OWN_STATES
        if state == self.state or (state == "closed" and not by_hand):
            return  # there is nothing to be released from
        metrics_only = state == "metrics_only"
        inside = "closed" if metrics_only else state
        if inside == "closed":
            self.empty()
        self.enter(inside, metrics_only)

    def reconfigure(self, policy: Policy) -> None:
        self.entries = self.converted(policy)
        self.period.ramps = self.ramping and policy.ramp is not None  # none begins by this
        if policy.throttle is None:
            self.requests.clear()
        if policy.retry_budget is None:
            self.budget.clear()
        self.policy = policy
        self.ask_anew()

    # How

    def answer(self, ask: Ask, final: bool = False) -> Answer | None:
        """Answer somebody; None: not yet."""
        refused = self.refusal(ask)
        if refused is not None and self.state == "metrics_only":
            self.figures["would_have_refused"] += 1
            self.note_refusal(refused)
            return self.admit(ask, counted=False)
        if refused is not None:
            waits = not final and refused.reason != "throttled"
            if waits and (ask.wait_for == "closed" or self.period.state == "half_open"):
                return None
            self.note_refusal(refused)
            return refused
        if ask.retry and not self.take_retry():
            if self.state == "metrics_only":
                self.figures["would_have_refused"] += 1
                return self.admit(ask, counted=False)
            return Refused(self.state, 0.0, self.last_failure, "retry_budget")
        return self.admit(ask)

    def refusal(self, ask: Ask) -> Refused | None:
        """How the state refuses the call, if it does."""
        state, last = self.period.state, self.last_failure
        match state:
            case "forced_open":
                return Refused(state, math.inf, last, state)
            case "open":
                return Refused(state, self.period.ends - self.now, last, state)
            case "half_open":
                return None if self.places > 0 else Refused(state, 0.0, last, state)
            case "closed":
                share, why = self.share
                return None if ask.draw < share else Refused(state, 0.0, last, why)
            case _:
                return None

    def note_refusal(self, refused: Refused) -> None:
        if refused.reason in ("ramp", "throttled"):
            self.note_request("not")

    def admit(self, ask: Ask, counted: bool = True) -> Admitted:
        period = self.period
        probe = period.state == "half_open" and counted
        if probe:
            period.probes.append(Probe(ask.call, self.now, self.policy.probe_timeout))
            if period.patience is None and self.policy.half_open_timeout is not None:
                period.patience = self.now, self.policy.half_open_timeout
        admitted = Admitted(period.number, probe, ask.retry, counted)
        self.calls[ask.call] = admitted
        return admitted

    def ask_anew(self) -> None:
        """Answer those who wait, in order, as far as there is an answer."""
        changes_again = any(at <= self.now and rank < 2 for at, rank, _ in self.events())
        for ask in list(self.waiting):
            answer = self.answer(ask, final=ask.wait_until <= self.now and not changes_again)
            if answer is not None:
                self.waiting.remove(ask)
                self.answered.append((ask.call, answer))

    def give_final_answers(self) -> None:
        """Answer those who have waited for as long as they would."""
        for ask in [ask for ask in self.waiting if ask.wait_until <= self.now]:
            self.waiting.remove(ask)
            answer = self.answer(ask, final=True)
            assert answer is not None
            self.answered.append((ask.call, answer))

    def is_running(self, call: int) -> bool:
        return any(probe.call == call for probe in self.period.probes)

    def free_place(self, call: int) -> None:
        """End a probe, if it is one, without a verdict."""
        if self.is_running(call):
            self.period.probes = [probe for probe in self.period.probes if probe.call != call]
            self.ask_anew()

    def end_probe(
        self,
        call: int,
        succeeded: bool,
        failure: str | None,
        of_kind: Failure = PLAIN_FAILURE,
    ) -> None:
        period, policy = self.period, self.policy
        period.probes = [probe for probe in period.probes if probe.call != call]
        period.verdicts.append(succeeded)
        if not succeeded:
            self.entries.append(Entry(self.now, failed=True))
        successes = sum(period.verdicts)
        failures = len(period.verdicts) - successes
        if policy.probe_failure_rate is None:
            opens = not succeeded
            closes = successes >= policy.success_threshold
        else:
            n = policy.probes
            assert n is not None
            opens = failures / n >= policy.probe_failure_rate
            enough = min(k for k in range(1, n + 1) if k / n >= policy.probe_failure_rate)
            closes = successes > n - enough
        if not succeeded and (opens or of_kind.retry_after is not None):
            self.enter_open(failure, of_kind)
        elif closes:
            self.empty()
            self.enter("closed", ramps=True)
        else:
            self.ask_anew()

    def give_up(self, failure: str) -> None:
        """Open since the probes have come to no verdict."""
        self.entries.append(Entry(self.now, failed=True))
        self.enter_open(failure)

    def count(
        self, call: int, outcome: str, failure: str | None, of_kind: Failure, slow: bool
    ) -> None:
        """Count the outcome of a call while the circuit is closed."""
        failed = outcome == "failed"
        self.note_request("not" if failed else "accepted")
        self.ended.append(Ended(self.now, outcome, of_kind.kind if failed else None))
        if call in self.overdue_calls:
            looked_at = self.change_overdue(call) if failed else False
        else:
            weight = of_kind.weight if failed else 1
            looked_at = weight > 0
            if failed or self.records_successes(self.policy):
                self.entries += [Entry(self.now, failed, slow) for _ in range(weight)]
        asked_to = failed and of_kind.retry_after is not None
        of_its_kind = (
            failed
            and of_kind.threshold is not None
            and self.failures_of(of_kind.kind) >= of_kind.threshold
        )
        if asked_to or of_its_kind:
            self.open(failure, of_kind)
        elif looked_at:
            self.judge(failed, failure, of_kind)

    def change_overdue(self, call: int) -> bool:
        """Let an entry of a slow call be one of a failure; return whether there is one."""
        for entry in self.held():
            if entry.call == call and not entry.failed:
                entry.failed = True
                return True
        return False

    def judge(self, failed: bool, failure: str | None, of_kind: Failure = PLAIN_FAILURE) -> None:
        """Open if what has counted gives reason to."""
        policy, held = self.policy, self.held()
        failures = sum(entry.failed for entry in held)
        slow = sum(entry.slow for entry in held)
        calls = len(held)
        enough = calls >= policy.minimum_calls
        rate, slow_rate = policy.failure_rate, policy.slow_call_rate
        if slow_rate is not None and enough and slow / calls >= slow_rate:
            self.open(failure or f"{slow} of {calls} calls were slow", of_kind)
        elif rate is not None and enough and failures / calls >= rate:
            self.open(failure or f"{failures} of {calls} calls failed", of_kind)
        elif rate is None and failed and failures >= policy.failure_threshold:
            self.open(failure, of_kind)

    def open(self, failure: str | None, of_kind: Failure) -> None:
        if self.period.state == "closed":
            self.enter_open(failure, of_kind)

    def enter_open(self, failure: str | None, of_kind: Failure = PLAIN_FAILURE) -> None:
        self.last_failure = failure
        self.enter("open", ends=self.end_of_opening(of_kind))

    def enter(
        self,
        state: str,
        metrics_only: bool | None = None,
        ends: float = math.inf,
        ramps: bool = False,
    ) -> None:
        """Begin a period; by the policy, unless `metrics_only` is given."""
        before = self.period
        by_policy = metrics_only is None
        after = Period(
            number=before.number + 1,
            state=state,
            metrics_only=before.metrics_only if metrics_only is None else metrics_only,
            since=self.now,
            ends=ends,
            ramps=ramps,
        )
        self.periods.append(after)
        self.overdue_calls.clear()
        inside = after.metrics_only and (by_policy or before.metrics_only)
        self.changes.append(
            Changed(
                before.state if inside else before.shown,
                after.state if inside else after.shown,
                self.now,
                after.number,
                self.failure_count,
                ends - self.now if state == "open" else self.retry_after,
                self.last_failure,
                inside,
            )
        )
        self.ask_anew()

    def end_of_opening(self, of_kind: Failure) -> float:
        """When it has been open for long enough if such a failure opens it now."""
        policy = self.policy
        longest = math.inf
        if policy.max_recovery_timeout is not None:
            longest = policy.max_recovery_timeout
        try:
            growth = policy.recovery_factor**self.failed_recoveries
        except OverflowError:
            growth = math.inf
        base = of_kind.recovery_timeout or policy.recovery_timeout
        seconds = min(base * growth, longest)
        jitter = policy.recovery_jitter
        shortest, longest_now = (
            self.now + max(min(seconds * stretched, longest), of_kind.retry_after or 0.0)
            for stretched in (1 - jitter, 1 + jitter)
        )
        if shortest == longest_now:
            return shortest
        drawn = self.opening_ends[self.times_opened]
        assert shortest <= drawn <= longest_now
        return drawn

    @property
    def failed_recoveries(self) -> int:
        """How often it has opened again since it was last closed."""
        states = [period.state for period in self.periods]
        since = max((n for n, state in enumerate(states) if state not in ("open", "half_open")))
        return sum(
            before == "open" and after == "half_open" for before, after in pairwise(states[since:])
        )

    def empty(self) -> None:
        self.entries.clear()
        self.ended.clear()
        self.requests.clear()

    def note_request(self, what: str) -> None:
        if self.policy.throttle is not None and self.period.state == "closed":
            self.requests.append(Noted(self.now, what))

    def note_in_budget(self, what: str) -> None:
        if self.policy.retry_budget is not None:
            self.budget.append(Noted(self.now, what))

    def take_retry(self) -> bool:
        """Take a retry from the budget; return whether there is one."""
        policy = self.policy
        if policy.retry_budget is None or self.period.state in ("forced_closed", "disabled"):
            return True  # those two admit everything
        noted = recent(self.budget, policy.retry_budget_seconds, self.now)
        retries = sum(one.what == "retry" for one in noted)
        calls = len(noted) - retries
        if retries + 1 > policy.retry_budget_minimum + policy.retry_budget * calls:
            return False
        self.note_in_budget("retry")
        return True

    def converted(self, policy: Policy) -> list[Entry]:
        """Return what another policy's tally takes over of what this one's holds."""
        held = self.held()
        windows = (policy.window_calls, policy.window_seconds)
        if windows == (self.policy.window_calls, self.policy.window_seconds):
            return self.entries
        if (self.policy.window_calls, self.policy.window_seconds) == (None, None):
            held = [Entry(self.now, failed=True) for _ in held]
        elif self.policy.window_seconds is not None:
            step = self.policy.window_seconds / 10  # within which nobody knows the order
            held.sort(key=lambda entry: (math.floor(entry.at / step), entry.failed))
        if policy.window_seconds is not None:
            held = [Entry(self.now, entry.failed, entry.slow, entry.call) for entry in held]
        return [entry for entry in held if entry.failed or self.records_successes(policy)]

    @staticmethod
    def records_successes(policy: Policy) -> bool:
        return (
            policy.window_seconds is None
            or policy.failure_rate is not None
            or policy.slow_call_rate is not None
        )
