"""The machine of a circuit that is shared with a fleet.

Rules, besides those of every machine:

1. In HALF_OPEN, the fleet decides: see `leasing`.
2. What it adopts is later than all that it knows. The same epoch again changes a circuit only that
   has gone its own way meanwhile, and only as an answer: news comes late, or twice.
3. What is set by hand here goes before what the fleet says; that is taken up at the release.
4. What it does by itself, it tells; after news were missed, once more.
5. Failures that have not opened it are told as well, if the fleet counts them together; but none
   of a warm-up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

from supervisor.machine.fleet import (
    NEWS,
    Adopt,
    AskAgain,
    Decide,
    Failed,
    Forced,
    FromFleet,
    Take,
    Wait,
)
from supervisor.machine.leasing import LeasingMachine
from supervisor.machine.machine import NO_HOLDS
from supervisor.machine.messages import Force, Reconfigure, Reset, Settle
from supervisor.machine.recovery import seconds_open
from supervisor.machine.states import BY_HAND, CircuitState, Origin
from supervisor.policy import Outcome

SOONEST: Final = 0.05
"""Seconds after which the fleet is asked again at the earliest, if by the clock here the time that
it has said is over already: that is known only so well.
"""


class SharedMachine(LeasingMachine):
    """The state of one circuit that is shared, and the rules by which it follows its fleet."""

    is_shared = True

    @property
    def origin_of_state(self) -> Origin:
        """Who has brought it about."""
        return self.terms.origin

    def agrees_with(self, news: Adopt) -> bool:
        """Whether it would make no difference to rejoin a fleet where it stands so."""
        terms = self.terms
        plain = self.would_be is CircuitState.CLOSED and self.state not in BY_HAND
        as_known = news.state is CircuitState.CLOSED and news.epoch == terms.epoch
        return plain and as_known and terms.forcing == NEWS

    def _count(self, report: Settle, at: float) -> None:
        super()._count(report, at)
        failures = report.times * report.of_kind.weight
        failed = report.outcome is Outcome.FAILED and failures > 0
        closed = self.state is CircuitState.CLOSED and not self._warms_up(at)
        if failed and self.terms.counts and closed:
            seed = f"{self.seed} {self.times_opened + 1}"
            seconds = seconds_open(self.policy, report.of_kind, self.failed_recoveries, seed)
            self._tell(Failed(self.terms.epoch, failures, seconds, report.failure))

    def _slack(self) -> tuple[int, float]:
        slack, expires = super()._slack()
        return (min(slack, 1) if self.terms.counts else slack), expires  # each is to be told

    def _hear(self, message: FromFleet) -> None:
        self.pass_time(message.at)
        match message:
            case Adopt():
                self._adopt(message)
            case Take():
                self._take(message)
            case Wait():
                self._wait_for_place(message)
            case AskAgain():
                self.terms.full_until = 0.0
            case Decide():
                self._decide(message)
            case _:
                assert_never(message)
        if not isinstance(message, Decide):
            self.terms.alone = False
        self._ask_for_waiting(self.latest)

    def _wait_for_place(self, message: Wait) -> None:
        if message.answers in self.terms.asked:
            self.terms.full_until = max(message.until, message.at + SOONEST)
            self._end_question(message.answers, message.at)

    def _decide(self, message: Decide) -> None:
        """Do without the fleet what it was asked, or all of it."""
        terms = self.terms
        numbers = [message.answers]
        if message.answers == NEWS:
            terms.held.clear()
            terms.alone = self.probing is not None
            numbers = [*terms.asked, *terms.ended]
        for number in numbers:
            self._go_without(number, message.at)

    def _adopt(self, news: Adopt) -> None:
        terms = self.terms
        has_asked = news.answers in terms.asked
        terms.ended.pop(news.answers, None)
        if terms.forcing != NEWS and news.answers == terms.forcing:
            terms.forcing, terms.set_by_fleet = NEWS, self.state in BY_HAND
            later = terms.record if news.epoch < terms.epoch else news
            self._learn(later or news, follow=True)
        elif news.rejoined:
            self._rejoin(news)
        elif news.epoch > terms.epoch:
            self._learn(news, follow=True)
        elif news.epoch == terms.epoch and self._has_gone_its_own_way(news, has_asked):
            soonest = news.at + SOONEST if news.state is CircuitState.OPEN else news.at
            self._follow(replace(news, until=max(news.until, soonest)))
        self._end_question(news.answers, news.at)

    def _learn(self, news: Adopt, follow: bool) -> None:
        """Know how things stand, and be in that state unless it is set by hand here."""
        terms = self.terms
        terms.epoch, terms.record = news.epoch, news
        by_hand = self.state in BY_HAND and not terms.set_by_fleet
        if follow and not by_hand and terms.forcing == NEWS:
            self._follow(news)

    def _rejoin(self, news: Adopt) -> None:
        """Know how things stand after news were missed; tell what the fleet does not know."""
        terms = self.terms
        unknown = news.state is CircuitState.CLOSED and news.epoch <= terms.epoch
        if terms.forcing == NEWS and terms.set_by_fleet and unknown and news.lost:
            terms.forcing = terms.next_number()
        if terms.forcing != NEWS:
            state = self.state if self.state in BY_HAND else CircuitState.CLOSED
            self._tell(Forced(terms.forcing, terms.epoch, state))
        if news.epoch < terms.epoch and not news.lost:
            return  # it comes late
        is_open = self.would_be is CircuitState.OPEN and not self.metrics_only
        half_open = self.would_be is CircuitState.HALF_OPEN
        self._learn(news, follow=not (unknown and (is_open or half_open)))
        if unknown and is_open:
            self._tell_opened(hinted=False)

    def _has_gone_its_own_way(self, news: Adopt, has_asked: bool) -> bool:
        """Whether an answer says what the circuit has left, and not only what it comes from."""
        if news.answers == NEWS or self.state in BY_HAND:
            return False
        if self.would_be is CircuitState.CLOSED:
            return news.state in (CircuitState.OPEN, CircuitState.HALF_OPEN)
        half_open = self.would_be is CircuitState.HALF_OPEN
        return has_asked and half_open and news.state is CircuitState.OPEN  # our clock is ahead

    def _follow(self, news: Adopt) -> None:
        """Be in the state that the fleet says."""
        terms = self.terms
        if terms.set_by_fleet and news.state not in BY_HAND:
            terms.set_by_fleet = False
            self._force(CircuitState.CLOSED, news.at, news.origin)
        if self._waits_for_token(news):
            return
        if news.state in (CircuitState.OPEN, CircuitState.HALF_OPEN):
            self._follow_open(news)
        elif news.state is not CircuitState.CLOSED:
            terms.set_by_fleet = True
            self._force(news.state, news.at, news.origin)
        elif self.would_be is not CircuitState.CLOSED:
            self._enter(CircuitState.CLOSED, news.at, news.origin)
            self.ramp_step = 0 if self.policy.ramp is None else 1

    def _waits_for_token(self, news: Adopt) -> bool:
        """Whether it has asked for a probe, and closed alone before it has heard that it may."""
        asked_here = news.origin == "here" and news.answers == NEWS and not news.rejoined
        closed_here = self.would_be is CircuitState.CLOSED and self.terms.origin == "here"
        return asked_here and closed_here and news.state is CircuitState.HALF_OPEN

    def _follow_open(self, news: Adopt) -> None:
        closed = self.would_be is CircuitState.CLOSED
        half_open = self.would_be is CircuitState.HALF_OPEN
        reopens = half_open and news.state is CircuitState.OPEN and news.until > news.at
        self.failed_recoveries = news.failed_recoveries
        self.until = max(news.until, news.at)
        if closed or news.failure is not None:
            self.last_failure = news.failure
        if closed or reopens:
            self.times_opened += 1
            self._enter(CircuitState.OPEN, news.at, news.origin)
        self.pass_time(news.at)

    def _obey(self, order: Reset | Force | Reconfigure, at: float) -> None:
        if not isinstance(order, Force):
            super()._obey(order, at)
            return
        terms = self.terms
        releases = order.state is CircuitState.CLOSED
        if order.everywhere or not releases:
            if terms.set_by_fleet or order.everywhere:
                self.holds = NO_HOLDS  # what is set here has its own end, and for all there is one
            terms.set_by_fleet = False
            terms.forcing = terms.next_number() if order.everywhere else NEWS
            super()._obey(order, at)
            terms.alone = order.state is CircuitState.HALF_OPEN
        elif self.state in BY_HAND and not terms.set_by_fleet:
            super()._obey(order, at)
            if terms.record is not None and self.would_be is CircuitState.CLOSED:
                self._follow(replace(terms.record, at=at, origin="fleet"))
        if order.everywhere:
            self._tell(Forced(terms.forcing, terms.epoch, order.state))

    def _change(self, at: float) -> None:
        """Make the change that is due; one that was set by hand for a time gives way to the fleet,
        or decides alone if that knows of nothing.
        """
        was_forced, record = self.would_be is CircuitState.FORCED_OPEN, self.terms.record
        super()._change(at)
        if not was_forced:
            return
        if record is None or record.state is CircuitState.CLOSED:
            self.terms.alone = True
        else:
            self._follow(replace(record, at=at, origin="fleet"))

    def _add_transition(
        self,
        from_state: CircuitState,
        to_state: CircuitState,
        metrics_only: bool,
        origin: Origin,
    ) -> None:
        if to_state is CircuitState.HALF_OPEN and origin == "here":
            origin = self.terms.origin  # of what has opened it
        self.terms.origin = origin
        super()._add_transition(from_state, to_state, metrics_only, origin)
