"""An oracle: what a circuit must look like, worked out from everything that has happened to it.

It keeps a list of facts and nothing else, and goes through all of them again for every question.
It shares no code with the package. The rules, as the guide has them:

    CLOSED     runs every call; `failure_threshold` failures in a row lead to OPEN
    OPEN       runs no call; `recovery_timeout` after it began, it leads to HALF_OPEN
    HALF_OPEN  runs as many calls at once as it still needs successes: `success_threshold` of
               them lead to CLOSED; one failure, or one that runs for `probe_timeout`, to OPEN
    a reset    leads from any state to CLOSED

What comes of a call counts only in the period in which the call was admitted. A call that has run
for `probe_timeout` while nobody had a turn is given as much time again, from the next turn on and
only once, and at most its whole time; and if nobody has a turn at the end of that, the next turn
decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

OUTCOMES = ("succeeded", "failed", "ignored", "cancelled")


@dataclass(frozen=True, slots=True)
class Limits:
    """The policy of the circuit."""

    failure_threshold: int
    recovery_timeout: float
    success_threshold: int
    probe_timeout: float


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that has happened: "asked", "withdrew", "reset", or one of `OUTCOMES`; or "turn",
    when everybody could do what was to be done.
    """

    at: float
    what: str
    call: int | None


@dataclass(frozen=True, slots=True)
class View:
    """What must be seen at one moment."""

    state: str
    failure_count: int
    retry_after: float
    succeeded: int
    failed: int
    ignored: int
    cancelled: int
    stale: int
    times_opened: int


@dataclass(slots=True)
class Running:
    """A call that runs, and when it has run for too long."""

    ends: float
    put_off: bool = False


class Period:
    """A stretch of time in one state."""

    def __init__(self, state: str, since: float, limits: Limits) -> None:
        self.state = state
        self.since = since
        self.limits = limits
        self.admitted: set[int | None] = set()
        self.running: dict[int | None, Running] = {}  # those of the admitted
        self.counted: list[str] = []  # outcomes, in order

    @property
    def deadline(self) -> float:
        """When it ends of itself."""
        if self.state == "open":
            return self.since + self.limits.recovery_timeout
        if self.state == "half_open" and self.running:
            return min(call.ends for call in self.running.values())
        return math.inf

    def is_over(self, fact: Fact) -> bool:
        """Whether it has ended of itself when this happens."""
        if self.state == "half_open" and self.deadline < fact.at:
            if fact.what != "turn":
                return False
            for call in self.running.values():
                if call.ends < fact.at and not call.put_off:
                    call.ends = fact.at + min(fact.at - call.ends, self.limits.probe_timeout)
                    call.put_off = True
        return self.deadline <= fact.at

    @property
    def places(self) -> float:
        """How many more calls may run now."""
        if self.state == "half_open":
            needed = self.limits.success_threshold - self.counted.count("succeeded")
            return needed - len(self.running)
        return math.inf if self.state == "closed" else 0

    @property
    def failures_in_a_row(self) -> int:
        """The failures since the last success."""
        verdicts = [outcome for outcome in self.counted if outcome in ("succeeded", "failed")]
        return next((n for n, v in enumerate(reversed(verdicts)) if v != "failed"), len(verdicts))

    def take(self, fact: Fact) -> str | None:
        """Let this happen, and return the state that it leads to if it ends the period."""
        if fact.what == "reset":
            return "closed"
        if fact.what == "asked" and self.places > 0:
            self.admitted.add(fact.call)
            self.running[fact.call] = Running(fact.at + self.limits.probe_timeout)
        elif fact.what == "withdrew":
            self.running.pop(fact.call, None)
        elif fact.what in OUTCOMES and fact.call in self.running:
            del self.running[fact.call]
            self.counted.append(fact.what)
            return self.verdict
        return None

    @property
    def verdict(self) -> str | None:
        """The state that the outcomes lead to, if they lead to another one."""
        if self.state == "closed":
            return "open" if self.failures_in_a_row >= self.limits.failure_threshold else None
        if "failed" in self.counted:
            return "open"
        enough = self.counted.count("succeeded") >= self.limits.success_threshold
        return "closed" if enough else None


class History:
    """All that has happened to a circuit up to `now`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.facts: list[Fact] = []
        self.now = 0.0

    def tell(self, what: str, call: int | None = None) -> None:
        """Add what happens now."""
        self.facts.append(Fact(self.now, what, call))

    def periods(self) -> list[Period]:
        """Cut the history into periods."""
        periods = [Period("closed", 0.0, self.limits)]
        for fact in [*self.facts, Fact(self.now, "read", None)]:
            while periods[-1].is_over(fact):
                after = "half_open" if periods[-1].state == "open" else "open"
                periods.append(Period(after, periods[-1].deadline, self.limits))
            after_fact = periods[-1].take(fact)
            if after_fact is not None:
                periods.append(Period(after_fact, fact.at, self.limits))
        return periods

    def admits(self, call: int) -> bool:
        """Whether a call that has asked may run."""
        return any(call in period.admitted for period in self.periods())

    def view(self) -> View:
        """Return what must be seen now."""
        periods = self.periods()
        states = [period.state for period in periods]
        last = periods[-1]
        closed = max(n for n, state in enumerate(states) if state == "closed")
        # The first opening came of failures that are counted already, each further one of a probe.
        further_failures = max(0, states[closed:].count("open") - 1)
        told = [fact.what for fact in self.facts]
        return View(
            state=last.state,
            failure_count=periods[closed].failures_in_a_row + further_failures,
            retry_after=last.deadline - self.now if last.state == "open" else 0.0,
            succeeded=told.count("succeeded"),
            failed=told.count("failed"),
            ignored=told.count("ignored"),
            cancelled=told.count("cancelled") + told.count("withdrew"),
            stale=sum(what in OUTCOMES for what in told) - sum(len(p.counted) for p in periods),
            times_opened=states.count("open"),
        )

    def changes(self) -> list[tuple[float, str]]:
        """Return when the circuit came to be in another state, and in which."""
        return [
            (after.since, after.state)
            for before, after in pairwise(self.periods())
            if before.state != after.state
        ]
