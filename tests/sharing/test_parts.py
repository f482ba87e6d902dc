"""The parts of a member, each by itself."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import pytest

from supervisor import CircuitState, MemorySharing, Supervisor
from supervisor.loop import EventLoop
from supervisor.machine import Adopt, Failed
from supervisor.sharing.clocks import StoreClock
from supervisor.sharing.failures import PARTS, Failures
from supervisor.sharing.hearing import BEAT, Hearing
from supervisor.sharing.held import REMEMBERED_CLOSED, REMEMBERED_OPEN
from supervisor.sharing.known import Known
from supervisor.sharing.store import NEVER, Answer, Beat, Epoch, Link, News, Record
from supervisor.sharing.translation import Reader
from tests.support.worlds import settle_down

CLOSED, OPEN = CircuitState.CLOSED, CircuitState.OPEN


def record(state: CircuitState, epoch: int, until: float = 0.0, seconds: float = 0.0) -> Record:
    return Record(state, Epoch(epoch, 0), until, seconds, 0, None, "somebody")


def knowing(**records: Record) -> Known:
    known = Known()
    for name, each in records.items():
        known.add(name, each)
    return known


class TestKnown:
    """What a member remembers."""

    def test_the_latest_counts(self) -> None:
        """Whatever comes after it."""
        known = Known()
        for epoch, state in ((1, OPEN), (3, CLOSED), (2, OPEN)):
            known.add("x", record(state, epoch))
        assert known.of("x") == record(CLOSED, 3)
        assert (known.of("y"), known.latest) == (None, Epoch(3, 0))
        known.become(knowing(y=record(OPEN, 2)), Epoch(3, 0))
        assert (known.of("x"), known.of("y")) == (None, record(OPEN, 2))
        assert known.latest == Epoch(3, 0)

    def test_what_has_been_closed_for_long_is_forgotten(self) -> None:
        """So names do not add up; what is open stays."""
        known = knowing(x=record(CLOSED, 1000), y=record(CLOSED, 5000), z=record(OPEN, 1))
        known.forget_old(1.0 + REMEMBERED_CLOSED / 1000)
        assert [known.of(name) is None for name in "xyz"] == [True, False, False]

    def test_what_could_be_probed_for_long_is_forgotten(self) -> None:
        """As in the store; but not what is set by hand."""
        known = Known()
        states = (OPEN, CircuitState.HALF_OPEN, CircuitState.FORCED_OPEN, CircuitState.DISABLED)
        for state in states:
            known.add(state, record(state, 1, until=10.0))
        known.forget_old(9.9 + REMEMBERED_OPEN / 1000)
        assert all(known.of(state) for state in states)
        known.forget_old(10.0 + REMEMBERED_OPEN / 1000)
        assert [known.of(state) is None for state in states] == [True, True, False, False]


class Slow:
    """A link to a store without records, whose snapshot takes long enough to hear of something."""

    def __init__(self, known: Known, heard: Record) -> None:
        self._known = known
        self._heard = heard

    async def beat(self, seconds: float) -> Beat:  # noqa: ARG002
        return Beat(0.0, Epoch(5, 0), 1)

    async def snapshot(self) -> AsyncIterator[dict[str, Record]]:
        self._known.add("x", self._heard)
        yield {}


@pytest.mark.anyio
@pytest.mark.parametrize(("before", "remains"), [(4, True), (5, True), (7, False)])
async def test_what_is_heard_during_a_snapshot(before: int, remains: bool) -> None:
    """It is not forgotten, unless it may be from before the store came back older."""
    clock = StoreClock()
    known, heard = knowing(y=record(OPEN, before)), record(OPEN, 6)
    hearing = Hearing({}, known, clock, Reader("me", clock, 5.0))
    await hearing.begin(cast("Link", Slow(known, heard)), EventLoop.here())
    assert known.of("x") == (heard if remains else None)
    assert known.of("y") is None


class Late:
    """A link to a store whose beats are answered late: news comes meanwhile, and they know less."""

    def __init__(self) -> None:
        self.latest = Epoch(5, 0)
        self.snapshots = 0
        self._told = anyio.Event()

    async def beat(self, seconds: float) -> Beat:  # noqa: ARG002
        latest = self.latest
        self._told.set()
        await settle_down()
        return Beat(0.0, latest, 1)

    async def snapshot(self) -> AsyncIterator[dict[str, Record]]:
        self.snapshots += 1
        yield {}

    async def news(self, after: Epoch, seconds: float) -> list[News]:  # noqa: ARG002
        self._told = anyio.Event()
        await self._told.wait()
        self.latest = after._replace(number=after.number + 1)
        return [News("x", self.latest, after, record(OPEN, 5))]


@pytest.mark.anyio
@pytest.mark.parametrize("loses", [False, True])
async def test_what_is_heard_during_a_beat(loses: bool) -> None:
    """Is not taken for something that the store has lost; what it has lost, is."""
    clock, link, loop = StoreClock(), Late(), EventLoop.here()
    hearing = Hearing({}, Known(), clock, Reader("me", clock, 5.0))
    async with anyio.create_task_group() as tasks:
        await hearing.begin(cast("Link", link), loop)
        tasks.start_soon(hearing.listen, link, loop)
        tasks.start_soon(hearing.give_signs, link, loop)
        await anyio.sleep(1.5 * BEAT)
        link.latest = NEVER if loses else link.latest
        await anyio.sleep(0.7 * BEAT)  # there are two beats, and no third one
        tasks.cancel_scope.cancel()
    assert link.snapshots == 1 + loses


class Lossy(Reader):
    """A reader of whom is known what it was told of the store."""

    lost: bool | None = None

    def rejoin(self, record: Record | None, now: float, known: Epoch, lost: bool) -> Adopt:
        self.lost = lost
        return super().rejoin(record, now, known, lost)


class Answered(Slow):
    """A link to a store that is heard of by an answer while a beat is under way."""

    async def beat(self, seconds: float) -> Beat:
        self._known.add("x", self._heard)
        return await super().beat(seconds)


@pytest.mark.anyio
@pytest.mark.parametrize(("before", "is_lost"), [(5, False), (6, True)])
async def test_what_is_answered_during_a_beat(before: int, is_lost: bool) -> None:
    """Likewise: circuits are told that the store has lost something only if it has."""
    async with Supervisor(sharing=MemorySharing()) as supervisor:
        supervisor.circuit("x")
        clock, known = StoreClock(), knowing(y=record(OPEN, before))
        reader = Lossy("me", clock, 5.0)
        hearing = Hearing(supervisor._circuits, known, clock, reader)
        link = Answered(known, record(OPEN, 8))
        await hearing.begin(cast("Link", link), EventLoop.here())
        assert reader.lost is is_lost


class TestClock:
    """The store's clock."""

    def test_it_is_known_up_to_half_a_round_trip(self) -> None:
        """Of the best reading; whatever the delays are."""
        chance, clock, ahead = random.Random(1), StoreClock(), 5000.0
        for now in range(200):
            there, back = chance.uniform(0.001, 0.05), chance.uniform(0.001, 0.05)
            clock.read(now + there + ahead, now, now + there + back)
            later = now + 10.0
            assert clock.here(later + ahead, now) == pytest.approx(later, abs=0.05)

    def test_a_clock_that_is_set_is_noticed_at_once(self) -> None:
        """Although an earlier reading was better."""
        clock = StoreClock()
        clock.read(5000.0, 0.0, 0.001)
        clock.read(8601.0, 0.9, 1.1)
        assert clock.here(8611.0, 1.1) == pytest.approx(11.0, abs=0.2)

    def test_an_old_reading_is_replaced(self) -> None:
        """By a worse one: clocks drift."""
        clock = StoreClock()
        clock.read(5000.0, 0.0, 0.001)
        clock.read(5061.1, 61.0, 61.1)
        assert clock.here(5071.0, 61.1) == pytest.approx(70.95, abs=0.001)

    def test_no_time_is_farther_away_than_it_may_be(self) -> None:
        """Nor in the past."""
        clock = StoreClock()
        clock.read(5000.0, 0.0, 0.0)
        assert [clock.here(at, 1.0, 10.0) for at in (4000.0, 5005.0, 9000.0)] == [1.0, 5.0, 11.0]


class TestChoice:
    """Which circuits are shared."""

    def test_the_longest_pattern_decides(self) -> None:
        """Of two that are as long, the local one."""
        sharing = MemorySharing(shared=("http:*", "a*"), local=["http:internal:*", "*z", "[x]*"])
        names = {"http:a": True, "http:internal:b": False, "az": False, "ab": True, "x": False}
        assert {name: sharing.shares(name) for name in names} == names
        assert MemorySharing().shares("anything\n")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"shared": "http:*"}, "shared must be a tuple of patterns of names, got 'http:*'"),
            ({"local": ("", "x")}, "local must be a tuple of patterns"),
            ({"local": (1,)}, "local must be a tuple of patterns"),
            ({"quorum": 0}, "quorum must be"),
            ({"lease": 0}, "lease must be"),
            ({"failures": 0}, "failures must be"),
            ({"failures_within": 0.5}, "failures_within must be at least 1.0 (seconds), got 0.5"),
            ({"lease": 0.09}, "lease must be at least 0.1 (seconds), got 0.09"),
            ({"share_failures": "no"}, "share_failures must be True or False, got 'no'"),
            ({"clock": 5.0}, "clock must be a function, got 5.0"),
        ],
    )
    def test_bad_options(self, options: dict[str, Any], message: str) -> None:
        """Are refused at once."""
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            MemorySharing(**options)


def test_an_answer_that_nobody_needs() -> None:
    """It is none."""
    reader = Reader("me", StoreClock(), 5.0)
    assert reader.answer(Answer("alone", 0.0, None), 0.0, 0, "") is None


class TestFailures:
    """Those that a member has seen in the last parts of the time."""

    @staticmethod
    def failed(failures: int = 1, view: int = 0) -> Failed:
        return Failed((view, 0), failures, 30.0, None)

    @staticmethod
    def told(failures: Failures[str]) -> dict[str, int]:
        return {circuit: number for circuit, number, _ in failures.end_part()}

    def test_all_of_the_time_are_told_when_there_are_more_or_fewer(self) -> None:
        """And not again while there are as many, but of one part and another."""
        failures: Failures[str] = Failures()
        for _ in range(2):
            failures.add("x", self.failed(2))
        failures.add("y", self.failed())
        assert self.told(failures) == {"x": 4, "y": 1}
        for _ in range(PARTS - 2):
            assert self.told(failures) == {}
        failures.add("x", self.failed())
        assert self.told(failures) == {"x": 5}
        assert self.told(failures) == {"x": 1, "y": 0}
        failures.add("y", self.failed(3))
        assert self.told(failures) == {"y": 3}

    def test_as_many_as_have_gone_are_told_again(self) -> None:
        """They have a new end."""
        failures: Failures[str] = Failures()
        for _ in range(3 * PARTS):
            failures.add("x", self.failed())
            assert self.told(failures)

    def test_what_has_failed_before_a_change_is_over(self) -> None:
        """Of the fleet's, in which it was open for all."""
        failures: Failures[str] = Failures()
        failures.add("x", self.failed(5))
        failures.add("x", self.failed(1, view=7))
        ((_, number, last),) = failures.end_part()
        assert (number, last.view) == (1, (7, 0))

    def test_all_is_forgotten(self) -> None:
        failures: Failures[str] = Failures()
        failures.add("x", self.failed())
        failures.clear()
        assert self.told(failures) == {}
