"""What the tests of each store have in common: a clock that is set, a case that is played."""

from __future__ import annotations

from dataclasses import replace

from supervisor.sharing import Sharing
from supervisor.sharing.store import NEVER, Forcing, News, Sight, Standing
from tests.sharing.cases import (
    ASKING,
    BEGIN,
    CLOSED,
    HOUR,
    OPENING,
    SETTLING,
    Case,
    epoch,
    told,
)


class SetClock:
    """The clock of a store, in seconds, which goes only when it is set."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> float:
        return self.now


async def play(case: Case, store: Sharing, clock: SetClock) -> None:
    """Let a store, which is empty, take the steps of a case, and compare all that it says."""
    for number, turn in enumerate(case.turns):
        clock.now = BEGIN + turn.at
        async with store.connect(turn.owner) as link:
            answer = await link.take(turn.step, turn.seen)
        assert told(answer) == turn.expected(), f"{case.story}: turn {number}"
        if turn.why is not None:
            assert answer.record is not None
            assert (answer.record.failed_recoveries, answer.record.failure) == turn.why
    async with store.connect("a listener") as link:
        news = await link.news(NEVER, 0.01) if case.news else []
        assert [each.record and each.record.state for each in news] == list(case.news)
        assert_in_order(news)


async def look_on(store: Sharing, of_two: Sharing, clock: SetClock) -> None:
    """Look at what a store holds after each kind of it has come to be; `of_two` is the same one for
    those whose quorum is 2.
    """
    async with store.connect("onlooker") as link:
        assert await link.look() == Sight(BEGIN, NEVER, {}, {})
        assert await link.past(3) == []
    async with store.connect("a") as link:
        await link.beat(15.0)
        await link.take(replace(ASKING, needed=2, at_once=2), NEVER)
        settling = replace(SETTLING, epoch=epoch(0), needed=2)
        half_open = (await link.take(settling, NEVER)).record
        closed = (await link.take(Forcing("closed", CLOSED), NEVER)).record
        assert half_open is not None
        assert closed is not None
    clock.now += 1
    async with of_two.connect("b") as link:
        await link.beat(15.0)
        await link.take(replace(ASKING, token="t2", needed=2, at_once=2), NEVER)
        await link.take(replace(OPENING, circuit="votes"), NEVER)
    clock.now += 2
    async with store.connect("onlooker") as link:
        assert await link.look() == Sight(
            BEGIN + 3,
            closed.epoch,
            {"a": BEGIN, "b": BEGIN + 1},
            {
                "db": Standing(half_open, 1, {"t2": BEGIN + 6}, {}),
                "closed": Standing(closed, 0, {}, {}),
                "votes": Standing(None, 0, {}, {"b": BEGIN + 31}),
            },
        )
        everything = await link.news(NEVER, 0.01)
        assert len(everything) == 3
        assert await link.past(10) == everything
        assert await link.past(2) == everything[1:]
    clock.now += 3 + 24 * HOUR
    async with store.connect("onlooker") as link:
        sight = await link.look()
        assert (sight.members, sight.circuits) == ({"a": BEGIN, "b": BEGIN + 1}, {})


def assert_in_order(news: list[News]) -> None:
    """Each says which one was before it."""
    before = NEVER
    for each in news:
        assert each.before == before < each.epoch
        assert each.record is None or each.record.epoch == each.epoch
        before = each.epoch
