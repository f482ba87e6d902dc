"""Who looks on while a store takes steps, and knows what must follow from what was there before.

It says nothing of how the rules come to it: it remembers who was allowed what, and until when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from supervisor.machine import CircuitState
from supervisor.policy import Policy
from supervisor.sharing.held import NOTHING, Held, milliseconds, record_of
from supervisor.sharing.rules import EARLY, Asker
from supervisor.sharing.store import (
    NEVER,
    Answer,
    Asking,
    Counting,
    Epoch,
    Forcing,
    News,
    Opening,
    Renewing,
    Settling,
    Step,
)

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
LONGEST_HINT = 12.0


@dataclass
class Right:
    """What somebody may say or do once: a probe, or a vote.

    Attributes:
        ends: by the store's clock.
        settings: how often that clock had been set when it was given, or prolonged.
    """

    owner: str
    epoch: Epoch
    ends: int
    settings: int


@dataclass
class Witness:
    """Looks on at one circuit of a space, from its beginning on.

    Attributes:
        settings: how often the store's clock has been set.
        tokens: of probes that run.
        votes: that it is open, since the last change.
        counts: failures of members, likewise.
        won: successes of probes in this period of HALF_OPEN.
        opened: by whom, and for how long, when that was told last: told twice, it has no effect.
    """

    policy: Policy
    quorum: int
    settings: int = 0
    tokens: dict[str, Right] = field(default_factory=dict[str, Right])
    votes: dict[str, Right] = field(default_factory=dict[str, Right])
    counts: dict[str, tuple[Right, int]] = field(default_factory=dict[str, tuple[Right, int]])
    won: int = 0
    opened: tuple[str, int] | None = None

    def begin_anew(self) -> None:
        """Forget all: the store has, or may have."""
        self.tokens.clear()
        self.votes.clear()
        self.counts.clear()
        self.won = 0
        self.opened = None

    def saw(
        self,
        asker: Asker,
        step: Step,
        before: Held,
        after: Held,
        answer: Answer,
        now: int,
        latest: Epoch,
        told: Sequence[News],
    ) -> None:
        """See a step be taken; `latest` is the epoch of the news before it, `told` what is new."""
        self._check_terms(after, now)
        owner = asker.owner
        changed = after.epoch != before.epoch and after.epoch != NEVER
        if changed:
            assert after.epoch > max(before.epoch, asker.seen, latest), "an epoch is not later"
            assert after.owner == owner
        frees = isinstance(step, Settling) and after != before and not changed
        assert len(told) == changed + frees, "what happens is not told, or told twice"
        for news in told:
            assert (news.circuit, news.before) == (step.circuit, latest)
            assert (news.record is None) == frees
            assert frees or news.record == record_of(after)
        match step:
            case Opening():
                self._saw_opening(owner, step, before, after, changed, now)
            case Asking():
                self._saw_asking(owner, step, before, after, changed, answer, now)
            case Settling():
                self._saw_settling(owner, step, before, after, changed, answer, now)
            case Renewing():
                self._saw_renewing(step, before, after, changed, answer, now)
            case Counting():
                self._saw_counting(owner, step, before, after, changed, now)
            case Forcing():
                assert after.state is step.state
                was_so = before.state is step.state and before.epoch != NEVER
                assert changed != (was_so and before.epoch >= step.view)
        if changed:
            self.votes.clear()
            self.counts.clear()
            self.won = 0 if after.state is HALF_OPEN else self.won
            self.opened = (owner, after.length) if after.state is OPEN else None
            if not isinstance(step, Asking):
                self.tokens.clear()
        assert set(after.leases) <= set(self.tokens), "a token that nobody was given"

    def _check_terms(self, held: Held, now: int) -> None:
        longest = milliseconds(longest_open(self.policy))
        assert held.length <= longest
        assert held.ends <= now + held.length, "open for longer than was asked for"
        for ends, length, *_ in [
            *held.leases.values(),
            *held.votes.values(),
            *held.counts.values(),
        ]:
            assert now < ends <= now + length, "what has ended is kept"

    def _saw_opening(
        self, owner: str, step: Opening, before: Held, after: Held, changed: bool, now: int
    ) -> None:
        length = milliseconds(step.seconds)
        void = before.epoch < step.view
        was = CLOSED if void else before.state
        told_before = step.view < before.epoch and self.opened == (owner, length)
        if was is OPEN and step.hinted and not changed:
            assert after.ends >= now + length or told_before, "a hint is not heard"
        if was is CLOSED and step.view >= before.epoch:
            self.votes[owner] = Right(owner, step.view, now + length, self.settings)
            lasting = [v for v in self.votes.values() if now < v.ends]
            certain = [v for v in self.votes.values() if v.settings == self.settings]
            if changed:
                assert len(self.votes) >= self.quorum, "fewer have opened it than must have"
                if len(certain) == len(self.votes):
                    assert len(lasting) >= self.quorum, "old votes count"
            elif len(certain) == len(self.votes):
                assert len(lasting) < self.quorum, "as many have opened it as must have"
        if not changed:
            return
        assert after.state is OPEN
        assert was in (CLOSED, OPEN), "an opening ends what is not over"
        if was is CLOSED:
            assert step.view >= before.epoch, "an opening of the past counts"
            assert (after.ends, after.length) == (now + length, length)
        else:
            assert step.hinted, "open again, without a hint"
            assert after.ends == now + length > before.ends, "a hint shortens"
            assert not told_before, "a hint counts twice"
            assert not after.leases

    def _saw_counting(
        self, owner: str, step: Counting, before: Held, after: Held, changed: bool, now: int
    ) -> None:
        was = CLOSED if before.epoch < step.view else before.state
        if was is not CLOSED or step.view < before.epoch:
            assert not changed, "failures of the past count"
            return
        right = Right(owner, step.view, now + milliseconds(step.within), self.settings)
        self.counts[owner] = right, step.failures
        told = [(each, failures) for each, failures in self.counts.values() if failures]
        is_certain = all(each.settings == self.settings for each, _ in told)
        lasting = [failures for each, failures in told if now < each.ends or not is_certain]
        is_enough = sum(lasting) >= step.threshold and len(lasting) >= self.quorum
        assert is_enough or not changed, "too few failures open it"
        assert changed or not (is_enough and is_certain), "failures do not open it"
        if changed:
            assert after.state is OPEN
            assert (after.ends, after.length) == (
                now + milliseconds(step.seconds),
                milliseconds(step.seconds),
            )

    def _saw_asking(
        self,
        owner: str,
        step: Asking,
        before: Held,
        after: Held,
        changed: bool,
        answer: Answer,
        now: int,
    ) -> None:
        if changed:
            assert after.state is HALF_OPEN
            self.tokens.clear()
            grown = before if before.epoch >= step.view and before.state is OPEN else step
            assert after.failed_recoveries == grown.failed_recoveries, "it grows otherwise"
            if before.epoch >= step.view and before.state is OPEN:
                assert now + EARLY >= before.ends, "probed before its time"
            elif before.epoch >= step.view:
                assert before.state is CLOSED
                assert step.view >= before.epoch, "probed for an outage of the past"
                assert self.quorum == 1, "probed though it is open at one only"
        if answer.outcome == "leased":
            assert after.state is HALF_OPEN
            assert step.token in after.leases
            right = Right(owner, after.epoch, now + milliseconds(step.seconds), self.settings)
            assert after.leases[step.token].ends == right.ends
            self.tokens[step.token] = right
            others = len(after.leases) - 1
            won = 0 if changed else self.won
            assert others < max(1, min(step.at_once, step.needed - won)), "too many probe"
        elif before.state is HALF_OPEN and before.epoch >= step.view:
            assert before.leases, "a place is kept from whoever asks"
            assert answer.outcome == "busy"

    def _saw_settling(
        self,
        owner: str,
        step: Settling,
        before: Held,
        after: Held,
        changed: bool,
        answer: Answer,
        now: int,
    ) -> None:
        right = self.tokens.get(step.token)
        if after == before:
            assert answer.outcome == ("alone" if before.epoch < step.epoch else "fenced")
            assert right is None or step.token not in before.leases, "a verdict does not count"
            return
        assert right is not None, "a verdict without a token counts"
        assert right.owner == owner
        assert right.epoch == step.epoch == before.epoch, "a verdict on another period counts"
        if right.settings == self.settings:
            assert now < right.ends, "a verdict under a token that has ended counts"
        self.tokens.pop(step.token)
        self.won += step.verdict == "succeeded"
        if step.verdict == "failed":
            assert changed
            assert after.state is OPEN
            assert after.length == milliseconds(step.seconds)
            assert after.failed_recoveries == step.failed_recoveries
        elif step.verdict == "succeeded" and self.won >= step.needed:
            assert changed
            assert after.state is CLOSED, "it does not close"
        else:
            assert not changed, "it closes too soon"

    def _saw_renewing(
        self,
        step: Renewing,
        before: Held,
        after: Held,
        changed: bool,
        answer: Answer,
        now: int,
    ) -> None:
        assert not changed
        right = self.tokens.get(step.token)
        if answer.outcome == "leased":
            assert right is not None
            assert right.epoch == before.epoch
            if right.settings == self.settings:
                assert now < right.ends, "a token that has ended is renewed"
            ends = now + milliseconds(step.seconds)
            assert after.leases[step.token].ends == ends
            self.tokens[step.token] = Right(right.owner, right.epoch, ends, self.settings)
        else:
            assert answer.outcome == "fenced"
            assert after in (before, NOTHING)


def longest_open(policy: Policy) -> float:
    """Return for how long a circuit is open at the longest, in seconds."""
    return max(policy.recovery_timeout, policy.max_recovery_timeout or 0.0, LONGEST_HINT)
