"""What the tests of each store have in common: a clock that is set, a case that is played."""

from __future__ import annotations

from supervisor.sharing.store import NEVER, News, Store
from tests.sharing.cases import BEGIN, Case, told


class SetClock:
    """The clock of a store, in seconds, which goes only when it is set."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> float:
        return self.now


async def play(case: Case, store: Store, clock: SetClock) -> None:
    """Let a store, which is empty, take the steps of a case, and compare all that it says."""
    for number, turn in enumerate(case.turns):
        clock.now = BEGIN + turn.at
        async with store.connect(turn.owner) as link:
            answer = await link.take(turn.step, turn.seen)
        assert told(answer) == turn.expected(), f"{case.story}: turn {number}"
    async with store.connect("a listener") as link:
        news = await link.news(NEVER, 0.01) if case.news else []
        assert [each.record and each.record.state for each in news] == list(case.news)
        assert_in_order(news)


def assert_in_order(news: list[News]) -> None:
    """Each says which one was before it."""
    before = NEVER
    for each in news:
        assert each.before == before < each.epoch
        assert each.record is None or each.record.epoch == each.epoch
        before = each.epoch
