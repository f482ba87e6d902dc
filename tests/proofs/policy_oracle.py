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
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise, takewhile
from typing import TypeVar

from supervisor.policy.outcomes import PLAIN_FAILURE, Failure
from supervisor.policy.policy import Policy

OWN_STATES = ("closed", "open", "half_open")
"""States that a circuit enters by its policy; the others are set by hand."""

DELAY = 0.005
"""Seconds by which a turn may be late, and it is no stall: docs/explanation/event-loops.md."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that asks to be admitted, and may wait."""

    call: int
    draw: float = 0.0
    retry: bool = False
    wait_until: float = -math.inf
    wait_for: str = "closed"
    deadline: float = math.inf


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
    taken_back: bool = False  # its place stays empty


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that has counted, whatever its weight."""

    at: float
    outcome: str
    kind: str | None = None


@dataclass(slots=True)
class InRow:
    """A success or a failure, in the order of their coming."""

    failed: bool
    call: int = 0  # that still ran
    taken_back: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that is remembered for some time, such as a request or a retry."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long a verdict of probes is waited for."""

    ends: float
    seconds: float
    put_off: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that runs."""

    call: int
    ends: float
    timeout: float
    put_off: bool = False


@dataclass(slots=True)
class Period:
    """A stretch of time in one state."""

    number: int
    state: str  # in METRICS_ONLY: the one inside
    metrics_only: bool
    since: float
    ends: float = math.inf  # an open one, or one that is forced open for a time
    forgetful: bool = False  # begun by a reset
    ramps: bool = False
    warms: bool = False  # begun otherwise than by its own verdicts
    patience: Patience | None = None  # from its first probe on
    probes: list[Probe] = field(default_factory=list)  # that run
    verdicts: list[bool] = field(default_factory=list)  # whether probes succeeded, in order

    @property
    def shown(self) -> str:
        return "metrics_only" if self.metrics_only else self.state


Happened = TypeVar("Happened", Entry, Ended, Noted)
Timed = TypeVar("Timed", Probe, Patience)


def as_written(share: float) -> Decimal:
    """Return the decimal number that somebody has written as a float."""
    return Decimal(repr(share))


def is_late(due: float, now: float) -> bool:
    """Whether nobody had a turn when something was due."""
    return now > due + DELAY


def recent(happened: list[Happened], seconds: float, now: float) -> list[Happened]:
    """Return what lies within ten steps of a tenth of `seconds`, that of `now` the last."""
    step = seconds / 10
    first = math.floor(now / step) - 10
    return [one for one in happened if math.floor(one.at / step) > first]


Happening = tuple[float, bool, bool]
"""When a call ended, whether it had failed, and whether it was slow."""


def in_steps(happened: list[Happening], seconds: float, now: float) -> list[Happening]:
    """Return what is known if only the numbers in each tenth of `seconds` are: when, but for half
    a step; that failures came last; and of failed and slow calls that as few were the same as can
    be.
    """
    step = seconds / 10
    known: list[Happening] = []
    for number in sorted({math.floor(at / step) for at, _, _ in happened}):
        at = min((number + 0.5) * step, now)
        calls = [one for one in happened if math.floor(one[0] / step) == number]
        failures = sum(failed for _, failed, _ in calls)
        slow = sum(slow for _, _, slow in calls)
        both = max(0, failures + slow - len(calls))
        known += [(at, False, False)] * (len(calls) - failures - slow + both)
        known += [(at, False, True)] * (slow - both)
        known += [(at, True, True)] * both
        known += [(at, True, False)] * (failures - both)
    return known


def moved(noted: list[Noted], seconds: float, now: float) -> list[Noted]:
    """Return what another window in time learns of what was noted in this one."""
    step = seconds / 10
    return [
        Noted(min((math.floor(one.at / step) + 0.5) * step, now), one.what)
        for one in recent(noted, seconds, now)
    ]


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
        self.now = self.turn = 0.0  # of what happens; and when somebody can be answered
        self.in_turn = True  # or only a fact is told
        self.periods = [Period(0, "closed", metrics_only=False, since=0.0, warms=True)]
        self.changes: list[Changed] = []
        self.answered: list[tuple[int, Answer]] = []  # those who waited
        self.waiting: list[Ask] = []
        self.calls: dict[int, Admitted] = {}
        self.entries: list[Entry] = []  # since the tally was last emptied
        self.ended: list[Ended] = []  # the same
        self.order: list[InRow] = []  # the same, whatever the window
        self.before: dict[str | None, list[Ended]] = {}  # another kind of window, by kinds
        self.requests: list[Noted] = []  # the same; "accepted" or "not"
        self.budget: list[Noted] = []  # "call" or "retry"
        self.overdue_calls: set[int] = set()  # reported in this period
        self.last_failure: str | None = None
        self.owners: dict[int, float] = {}  # who keeps it forced open, and until when
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
        return self.period.ends - self.now if self.state in ("open", "forced_open") else 0.0

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
        entries = self.entries
        if self.policy.window_calls is not None:
            entries = self.entries[-self.policy.window_calls :]
        elif self.policy.window_seconds is not None:
            entries = recent(self.entries, self.policy.window_seconds, self.now)
        else:
            row = [entry for entry in entries if not (entry.failed and entry.taken_back)]
            return list(takewhile(lambda entry: entry.failed, reversed(row)))[::-1]
        return [entry for entry in entries if not entry.taken_back]

    @property
    def row(self) -> int:
        """The failures since the last success."""
        standing = [one for one in self.order if not one.taken_back]
        return sum(1 for _ in takewhile(lambda one: one.failed, reversed(standing)))

    @property
    def warming(self) -> bool:
        return self.period.warms and self.now < self.warm_up_ends

    @property
    def warm_up_ends(self) -> float:
        return self.period.since + (self.policy.warm_up or 0.0)

    def failures_of(self, kind: str | None) -> int:
        """How many failures of that kind there are, in a row or in the window."""
        ended = self.ended_in_window(kind)
        return sum(one.outcome == "failed" and one.kind == kind for one in ended)

    def ended_in_window(self, kind: str | None) -> list[Ended]:
        """Return the calls that are looked at for failures of that kind."""
        ended = self.before.get(kind, []) + self.ended
        if self.policy.window_calls is not None:
            return ended[-self.policy.window_calls :]
        if self.policy.window_seconds is not None:
            return recent(ended, self.policy.window_seconds, self.now)
        return list(takewhile(lambda one: one.outcome != "succeeded", reversed(ended)))[::-1]

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
            surplus = len(noted) - as_written(self.policy.throttle) * accepts
            surplus = max(Decimal(0), surplus) / (len(noted) + 1)
            throttled = max(float(1 - surplus), self.policy.throttle_floor)
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
            if policy.probes_at_once is not None:
                places = min(places, policy.probes_at_once - len(period.probes))
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

    def advance(self, now: float, in_turn: bool = True) -> None:
        """Let time pass, at the end of which everybody has a turn, or else only a fact is told.

        Who waits can be answered only then, and begins then. Nor are probes judged at an earlier
        time, which may have ended since: a turn puts that off, once.
        """
        self.turn, self.in_turn = now, in_turn
        if in_turn:
            self.begin_probes(now)
            self.put_off(now)
        while self.next_event <= now:
            at, rank, happen = min(self.events(), key=lambda event: event[:2])
            if is_late(at, now) and rank < 2 and self.period.state == "half_open" and not in_turn:
                break
            self.now = at
            happen()
        self.now = now

    def begin_probes(self, now: float) -> None:
        """Let the time of those begin that have been admitted by a fact since the last turn."""

        def begun(what: Timed, seconds: float) -> Timed:
            return replace(what, ends=now + seconds) if what.ends == math.inf else what

        period = self.period
        period.probes = [begun(probe, probe.timeout) for probe in period.probes]
        if period.patience is not None:
            period.patience = begun(period.patience, period.patience.seconds)

    def put_off(self, now: float) -> None:
        """Give time again where it is over since before the turn."""

        def later(what: Timed, seconds: float) -> Timed:
            if not is_late(what.ends, now) or what.put_off:
                return what
            return replace(what, ends=now + min(now - what.ends, seconds), put_off=True)

        period = self.period
        period.probes = [later(probe, probe.timeout) for probe in period.probes]
        if period.patience is not None:
            period.patience = later(period.patience, period.patience.seconds)

    @contextmanager
    def at_the_turn(self) -> Iterator[None]:
        """Do something when everybody has a turn, though it follows from what was before."""
        at, self.now = self.now, self.turn
        yield
        self.now = at

    def events(self) -> Iterator[tuple[float, int, Callable[[], None]]]:
        """Yield what will happen and when; of what happens at once, the lower number first."""
        period = self.period
        if period.state in ("open", "forced_open"):
            yield period.ends, 0, lambda: self.enter("half_open")
        if period.state == "half_open":
            for probe in period.probes:
                text = f"probe still running after {probe.timeout:g} s"
                yield (
                    probe.ends,
                    0,
                    lambda probe=probe, text=text: self.end_probe(  # type: ignore[misc]
                        probe.call, succeeded=False, failure=text
                    ),
                )
            if period.patience is not None:
                text = f"no verdict within {period.patience.seconds:g} s"
                yield period.patience.ends, 1, lambda: self.give_up(text)
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
            self.take_back(call)
        elif admitted.probe:
            succeeded = outcome == "succeeded" and not slow
            self.end_probe(call, succeeded, failure, of_kind)
        elif self.period.state in ("closed", "forced_closed"):
            self.count(call, outcome, failure, of_kind, slow)

    def take_back(self, call: int) -> None:
        """Let a call count no more that has been reported as slow in this period."""
        for entry in self.entries:
            if entry.call == call and call in self.overdue_calls:
                entry.taken_back = True
        for one in self.order:
            if one.call == call:
                one.taken_back = True

    def overdue(self, call: int, after: float, failed: bool) -> None:
        admitted = self.calls[call]
        if (
            admitted.period != self.period.number
            or not admitted.counted
            or self.period.state not in ("closed", "forced_closed")
        ):
            return
        self.overdue_calls.add(call)
        # Also where successes are not recorded: by now another policy may, and it may still fail.
        self.entries.append(Entry(self.now, failed, slow=not failed, call=call))
        if failed:
            self.order.append(InRow(failed, call))
        text = f"still running after {after:g} s"
        if self.is_row_too_long(int(failed)):
            self.open(text, PLAIN_FAILURE)
        self.judge(failed, text)

    def reset(self) -> None:
        state = self.period.state if self.period.state not in OWN_STATES else "closed"
        self.empty()
        self.last_failure = None
        self.enter(
            state,
            metrics_only=self.period.metrics_only,
            ends=self.period.ends if state == "forced_open" else math.inf,
            forgetful=True,
            warms=True,
        )

    def isolate(self, owner: int, seconds: float = math.inf) -> None:
        """Keep it forced open, for a time perhaps; owner 0 is whoever does so by `force_open`."""
        if self.state != "forced_open":
            self.owners.clear()
        self.owners[owner] = self.now + seconds
        ends = max(self.owners.values())
        if self.state == "forced_open":
            self.period.ends = ends
        else:
            self.enter("forced_open", metrics_only=False, ends=ends)

    def let_go(self, owner: int) -> None:
        """End what one owner has asked for."""
        if self.state != "forced_open" or owner not in self.owners:
            return
        del self.owners[owner]
        ends = max(self.owners.values(), default=-math.inf)
        if ends > self.now:
            self.period.ends = ends
        else:
            self.force("closed")

    def force(self, state: str) -> None:
        by_hand = self.state not in OWN_STATES
        if state == self.state or (state == "closed" and not by_hand):
            return  # there is nothing to be released from
        metrics_only = state == "metrics_only"
        inside = "closed" if metrics_only else state
        if inside == "closed":
            self.empty()
        self.enter(inside, metrics_only, warms=True)

    def begin(self, state: str) -> None:
        """Be in the state that a policy begins with."""
        if state == "open":
            self.enter_open(None)
        elif state == "forced_open":
            self.isolate(0)
        else:
            self.force(state)

    def reconfigure(self, policy: Policy) -> None:
        if policy.failures_in_a_row is None or self.policy.failures_in_a_row is None:
            in_a_row = self.policy.window_calls is self.policy.window_seconds is None
            self.order = [InRow(True, one.call) for one in self.held()] if in_a_row else []
        windows = (policy.window_calls, policy.window_seconds)
        if windows != (self.policy.window_calls, self.policy.window_seconds):
            self.take_over()
        self.requests = moved(self.requests, self.policy.throttle_seconds, self.now)
        self.budget = moved(self.budget, self.policy.retry_budget_seconds, self.now)
        self.period.ramps = self.ramping and policy.ramp is not None  # none begins by this
        self.period.warms = self.warming and policy.warm_up is not None  # likewise
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
            too_late = ask.deadline <= self.period.ends < math.inf
            waits = not final and not too_late and refused.reason != "throttled"
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
            case "forced_open" | "open":
                return Refused(state, max(0.0, self.period.ends - self.now), last, state)
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
            begins = self.now if self.in_turn else math.inf
            timeout, patience = self.policy.probe_timeout, self.policy.half_open_timeout
            period.probes.append(Probe(ask.call, begins + timeout, timeout))
            if period.patience is None and patience is not None:
                period.patience = Patience(begins + patience, patience)
        admitted = Admitted(period.number, probe, ask.retry, counted)
        self.calls[ask.call] = admitted
        return admitted

    def ask_anew(self) -> None:
        """Answer those who wait, in order, as far as there is an answer."""
        with self.at_the_turn():
            changes_again = any(at <= self.now and rank < 2 for at, rank, _ in self.events())
            for ask in list(self.waiting):
                answer = self.answer(ask, final=ask.wait_until <= self.now and not changes_again)
                if answer is not None:
                    self.waiting.remove(ask)
                    self.answered.append((ask.call, answer))

    def give_final_answers(self) -> None:
        """Answer those who have waited for as long as they would."""
        over = [ask for ask in self.waiting if ask.wait_until <= self.now]
        with self.at_the_turn():
            for ask in over:
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
            needed = as_written(policy.probe_failure_rate) * n
            opens = failures >= needed
            enough = min(k for k in range(1, n + 1) if k >= needed)
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
        new = self.new_failures(call, of_kind) if failed else 0
        self.order += [InRow(failed=True) for _ in range(new)] if failed else [InRow(failed=False)]
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
        if asked_to or of_its_kind or self.is_row_too_long(new):
            self.open(failure, of_kind)
        elif looked_at:
            self.judge(failed, failure, of_kind)

    def new_failures(self, call: int, of_kind: Failure) -> int:
        """For how many failures one counts in a row: none, if it did before it ended."""
        if call not in self.overdue_calls:
            return of_kind.weight
        return sum(entry.call == call and not entry.failed for entry in self.entries)

    def is_row_too_long(self, new: int) -> bool:
        longest = self.policy.failures_in_a_row
        return longest is not None and new > 0 and self.row >= longest

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
        if slow_rate is not None and enough and slow >= as_written(slow_rate) * calls:
            self.open(failure or f"{slow} of {calls} calls were slow", of_kind)
        elif rate is not None and enough and failures >= as_written(rate) * calls:
            self.open(failure or f"{failures} of {calls} calls failed", of_kind)
        elif rate is None and failed and failures >= policy.failure_threshold:
            self.open(failure, of_kind)

    def open(self, failure: str | None, of_kind: Failure) -> None:
        if self.period.state != "closed":
            return
        if of_kind.retry_after is not None or not self.warming:
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
        forgetful: bool = False,
        warms: bool = False,
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
            forgetful=forgetful,
            warms=warms,
        )
        self.periods.append(after)
        if state in ("closed", "forced_closed", "disabled"):
            self.last_failure = None
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
        planned = [*(policy.recovery_schedule or [policy.recovery_timeout])]
        planned += planned[-1:] * self.failed_recoveries
        base = of_kind.recovery_timeout or planned[self.failed_recoveries]
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
        """How often probes have failed since it last let all calls through, or was reset."""
        since = max(
            n
            for n, period in enumerate(self.periods)
            if period.forgetful or period.state not in ("open", "half_open", "forced_open")
        )
        states = [period.state for period in self.periods[since:]]
        reopened = sum(pair == ("half_open", "open") for pair in pairwise(states))
        return reopened + (self.period.state == "half_open")  # which is about to

    def empty(self) -> None:
        self.entries.clear()
        self.ended.clear()
        self.order.clear()
        self.before.clear()
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
        if retries + 1 > policy.retry_budget_minimum + as_written(policy.retry_budget) * calls:
            return False
        self.note_in_budget("retry")
        return True

    def take_over(self) -> None:
        """Keep what another kind of window learns of this one, in which each call is known."""
        seconds = self.policy.window_seconds
        self.before = {
            kind: [
                Ended(at, "failed" if failed else "succeeded", kind if failed else None)
                for at, failed, _ in self.learnt(self.happened_to(kind))
            ]
            for kind in {one.kind for one in self.ended if one.kind} | set(self.before)
        }
        self.ended.clear()
        held = [(entry.at, entry.failed, entry.slow) for entry in self.held()]
        if seconds is None and self.policy.window_calls is None:
            held = [(at, failed, False) for at, failed, _ in held]
        self.entries = [Entry(at, failed, slow) for at, failed, slow in self.learnt(held)]

    def happened_to(self, kind: str) -> list[Happening]:
        """Return what a window knows of a kind of failure."""
        ended = self.ended_in_window(kind)
        if self.policy.window_calls is None:
            ended = [one for one in ended if one.outcome == "succeeded" or one.kind == kind]
        return [(one.at, one.kind == kind, False) for one in ended]

    def learnt(self, held: list[Happening]) -> list[Happening]:
        """Return when that was, as far as the window knows it."""
        if self.policy.window_seconds is None:
            return [(self.now, failed, slow) for _, failed, slow in held]
        return in_steps(held, self.policy.window_seconds, self.now)

    @staticmethod
    def records_successes(policy: Policy) -> bool:
        return (
            policy.window_seconds is None
            or policy.failure_rate is not None
            or policy.slow_call_rate is not None
        )
