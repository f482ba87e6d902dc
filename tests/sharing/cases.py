"""What becomes of steps, as a table that each store is asked to follow, by a clock that is set.

Times are in seconds since the beginning of a case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from supervisor import CircuitState
from supervisor.sharing.store import (
    LONGEST_FAILURE,
    LONGEST_NAME,
    NEVER,
    Answer,
    Asking,
    Counting,
    Epoch,
    Forcing,
    Opening,
    Outcome,
    Renewing,
    Settling,
    Step,
)

BEGIN: Final = 1_700_000_000.0
HOUR: Final = 3600.0
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN = CircuitState.FORCED_OPEN


def epoch(at: float, number: int = 0) -> Epoch:
    """That of the first change at that time."""
    return Epoch(round((BEGIN + at) * 1000), number)


OPENING = Opening("db", NEVER, 30.0, 0, hinted=False, failure=None)
ASKING = Asking("db", NEVER, "t1", 5.0, needed=1, at_once=1, failed_recoveries=0, failure=None)
SETTLING = Settling("db", epoch(30), "t1", "succeeded", 1, 60.0, 1, failure=None)
COUNTING = Counting("db", NEVER, 2, 10.0, 5, 30.0, failed_recoveries=0, failure=None)
RENEWING = Renewing("db", epoch(30), "t1", 5.0)


@dataclass(frozen=True)
class Turn:
    """A step, and what is expected to be answered.

    Attributes:
        at: when it is taken, by the store's clock.
        state, since, until: of the record afterwards, its epoch being that of a first change then.
        free: until when the answer says that something holds.
        seen: by the asker.
        why: how many recoveries have failed, and what has, by the record; None: whatever it says.
    """

    at: float
    step: Step
    outcome: Outcome
    state: CircuitState | None = None
    since: float | Epoch = 0.0
    until: float = 0.0
    free: float | None = None
    owner: str = "a"
    seen: Epoch = NEVER
    why: tuple[int, str | None] | None = None

    def expected(self) -> tuple[object, ...]:
        """What `told` makes of the answer that is expected."""
        since = self.since if isinstance(self.since, Epoch) else epoch(self.since)
        record = None if self.state is None else (self.state, since, round(self.until, 3))
        return self.outcome, record, self.free and round(self.free, 3), round(self.at, 3)


def told(answer: Answer) -> tuple[object, ...]:
    """Return what an answer says, in seconds since the beginning."""
    record = answer.record
    what = None if record is None else (record.state, record.epoch, _since_begin(record.until))
    return answer.outcome, what, _since_begin(answer.until), _since_begin(answer.now)


def _since_begin(at: float) -> float | None:
    return round(at - BEGIN, 3) if at else None


@dataclass(frozen=True)
class Case:
    """One story.

    Attributes:
        news: what is told of: states, or None for a place that is free.
    """

    story: str
    turns: Sequence[Turn]
    news: Sequence[CircuitState | None]
    quorum: int = 1


OPENED = Turn(0, OPENING, "told", OPEN, 0, 30)
LEASED = Turn(30, ASKING, "leased", HALF_OPEN, 30, 30, free=35)
CLOSES = Turn(31, SETTLING, "told", CLOSED, 31, 31)

CASES = [
    Case("the first opening counts", [OPENED, replace(OPENED, at=1, owner="b")], [OPEN]),
    Case("an opening is told twice", [OPENED, replace(OPENED, at=0.5)], [OPEN]),
    Case(
        "an opening that has not seen the recovery does not count",
        [
            OPENED,
            LEASED,
            CLOSES,
            Turn(32, OPENING, "told", CLOSED, 31, 31, owner="b"),
            Turn(33, replace(OPENING, view=epoch(31)), "told", OPEN, 33, 63, owner="b"),
        ],
        [OPEN, HALF_OPEN, CLOSED, OPEN],
    ),
    Case(
        "a hint prolongs, and does not shorten",
        [
            OPENED,
            Turn(1, replace(OPENING, seconds=9, hinted=True), "told", OPEN, 0, 30, owner="b"),
            Turn(1, replace(OPENING, seconds=29, hinted=True), "told", OPEN, 0, 30, owner="b"),
            Turn(
                2,
                replace(OPENING, seconds=90, hinted=True, failed_recoveries=3, failure="busy"),
                "told",
                OPEN,
                2,
                92,
                owner="b",
                why=(0, None),
            ),
            Turn(3, replace(OPENING, seconds=90, hinted=True), "told", OPEN, 2, 92, owner="b"),
            Turn(3, replace(OPENING, seconds=100), "told", OPEN, 2, 92, owner="c"),
        ],
        [OPEN, OPEN],
    ),
    Case(
        "a hint that is told twice prolongs once",
        [
            Turn(0, replace(OPENING, hinted=True), "told", OPEN, 0, 30),
            Turn(1, replace(OPENING, hinted=True), "told", OPEN, 0, 30),
            Turn(2, replace(OPENING, view=epoch(0), hinted=True), "told", OPEN, 2, 32),
            Turn(3, replace(OPENING, hinted=True), "told", OPEN, 3, 33, owner="b"),
        ],
        [OPEN, OPEN, OPEN],
    ),
    Case(
        "a hint is heard of who has opened it otherwise, and does not know that",
        [
            Turn(0, replace(COUNTING, failures=5), "told", OPEN, 0, 30),
            Turn(1, replace(OPENING, hinted=True, seconds=29.5), "told", OPEN, 1, 30.5),
            Turn(2, replace(OPENING, hinted=True, seconds=90), "told", OPEN, 2, 92),
            Turn(3, replace(OPENING, hinted=True, seconds=90), "told", OPEN, 2, 92),
        ],
        [OPEN, OPEN, OPEN],
    ),
    Case(
        "a hint does not end a probe",
        [OPENED, LEASED, Turn(31, replace(OPENING, hinted=True), "told", HALF_OPEN, 30, 30)],
        [OPEN, HALF_OPEN],
    ),
    Case(
        "one is not many",
        [
            Turn(0, OPENING, "alone"),
            Turn(1, OPENING, "alone"),
            Turn(2, ASKING, "alone"),
            Turn(2, OPENING, "told", OPEN, 2, 32, owner="b"),
        ],
        [OPEN],
        quorum=2,
    ),
    Case(
        "a vote lasts as long as its voter is open",
        [Turn(0, OPENING, "alone"), Turn(30, OPENING, "alone", owner="b")],
        [],
        quorum=2,
    ),
    Case(
        "a vote that is told again lasts from then on",
        [
            Turn(0, OPENING, "alone"),
            Turn(20, OPENING, "alone"),
            Turn(49, OPENING, "told", OPEN, 49, 79, owner="b"),
        ],
        [OPEN],
        quorum=2,
    ),
    Case(
        "after a recovery, a quorum is needed anew",
        [
            Turn(0, OPENING, "alone"),
            Turn(0, OPENING, "told", OPEN, 0, 30, owner="b"),
            LEASED,
            CLOSES,
            Turn(32, replace(OPENING, view=epoch(31)), "alone", CLOSED, 31, 31),
            Turn(33, replace(ASKING, view=epoch(31)), "alone", CLOSED, 31, 31),
            Turn(34, replace(OPENING, view=epoch(31)), "told", OPEN, 34, 64, owner="b"),
        ],
        [OPEN, HALF_OPEN, CLOSED, OPEN],
        quorum=2,
    ),
    Case(
        "failures of all count together",
        [
            Turn(0, COUNTING, "alone"),
            Turn(1, replace(COUNTING, failures=3), "told", OPEN, 1, 31, owner="b"),
            Turn(2, replace(COUNTING, failures=9), "told", OPEN, 1, 31, owner="c"),
            Turn(2, replace(COUNTING, view=epoch(1)), "told", OPEN, 1, 31),
        ],
        [OPEN],
    ),
    Case(
        "what a member has told before is void",
        [
            Turn(0, replace(COUNTING, failures=4), "alone"),
            Turn(1, COUNTING, "alone"),
            Turn(1, COUNTING, "alone"),
            Turn(2, COUNTING, "alone", owner="b"),
            Turn(3, replace(COUNTING, failures=0), "alone"),
            Turn(4, COUNTING, "alone", owner="c"),
            Turn(4, replace(COUNTING, failures=3), "told", OPEN, 4, 34, owner="b"),
        ],
        [OPEN],
    ),
    Case(
        "failures count for as long as they were said to",
        [
            Turn(0, COUNTING, "alone"),
            Turn(10, replace(COUNTING, failures=3), "alone", owner="b"),
            Turn(19, COUNTING, "told", OPEN, 19, 49),
        ],
        [OPEN],
    ),
    Case(
        "the store's clock goes back: failures count as long again, at most",
        [
            Turn(0, COUNTING, "alone"),
            Turn(-HOUR, replace(COUNTING, failures=1), "alone", owner="b"),
            Turn(10 - HOUR, replace(COUNTING, failures=4), "alone", owner="c"),
        ],
        [],
    ),
    Case(
        "failures of one do not open it for many, and are no votes",
        [
            Turn(0, replace(COUNTING, failures=7), "alone"),
            Turn(0, OPENING, "alone", owner="b"),
            Turn(1, replace(COUNTING, failures=1), "told", OPEN, 1, 31, owner="b"),
        ],
        [OPEN],
        quorum=2,
    ),
    Case(
        "who has none is not among the many",
        [
            Turn(0, replace(COUNTING, failures=7), "alone"),
            Turn(0, replace(COUNTING, failures=0), "alone", owner="b"),
        ],
        [],
        quorum=2,
    ),
    Case(
        "failures of before a recovery do not count",
        [
            OPENED,
            LEASED,
            CLOSES,
            Turn(32, replace(COUNTING, failures=9), "told", CLOSED, 31, 31, owner="b"),
            Turn(33, replace(COUNTING, view=epoch(31)), "alone", CLOSED, 31, 31),
            Turn(
                33, replace(COUNTING, view=epoch(31), failures=3), "told", OPEN, 33, 63, owner="b"
            ),
            Turn(34, replace(COUNTING, view=epoch(40), failures=4), "alone"),
            Turn(
                35, replace(COUNTING, view=epoch(40), failures=1), "told", OPEN, 35, 65, owner="b"
            ),
        ],
        [OPEN, HALF_OPEN, CLOSED, OPEN, OPEN],
    ),
    Case(
        "nobody probes while it is open, but for a moment at its end",
        [
            OPENED,
            Turn(29.9, ASKING, "told", OPEN, 0, 30),
            Turn(29.95, ASKING, "leased", HALF_OPEN, 29.95, 29.95, free=34.95),
        ],
        [OPEN, HALF_OPEN],
    ),
    Case(
        "there is one place, and it is lost with its lease",
        [
            OPENED,
            LEASED,
            Turn(31, replace(ASKING, token="t2"), "busy", HALF_OPEN, 30, 30, free=35, owner="b"),
            Turn(32, ASKING, "leased", HALF_OPEN, 30, 30, free=37),
            Turn(37, replace(ASKING, token="t2"), "leased", HALF_OPEN, 30, 30, free=42, owner="b"),
            Turn(38, SETTLING, "fenced", HALF_OPEN, 30, 30),
            Turn(38, RENEWING, "fenced", HALF_OPEN, 30, 30),
            Turn(42, replace(SETTLING, token="t2"), "fenced", HALF_OPEN, 30, 30, owner="b"),
        ],
        [OPEN, HALF_OPEN],
    ),
    Case(
        "a probe that lasts keeps its place",
        [
            OPENED,
            LEASED,
            Turn(34, RENEWING, "leased", HALF_OPEN, 30, 30, free=39),
            Turn(34, RENEWING, "leased", HALF_OPEN, 30, 30, free=39),
            Turn(38, replace(ASKING, token="t2"), "busy", HALF_OPEN, 30, 30, free=39, owner="b"),
            Turn(38, SETTLING, "told", CLOSED, 38, 38),
        ],
        [OPEN, HALF_OPEN, CLOSED],
    ),
    Case(
        "a verdict is told twice",
        [OPENED, LEASED, CLOSES, Turn(32, SETTLING, "fenced", CLOSED, 31, 31)],
        [OPEN, HALF_OPEN, CLOSED],
    ),
    Case(
        "a probe that fails opens it for as long as it says",
        [
            OPENED,
            LEASED,
            Turn(31, replace(SETTLING, verdict="failed"), "told", OPEN, 31, 91),
            Turn(32, replace(SETTLING, verdict="failed"), "fenced", OPEN, 31, 91),
        ],
        [OPEN, HALF_OPEN, OPEN],
    ),
    Case(
        "it is known what has opened it, and after how many recoveries; a long text in part",
        [
            Turn(
                0,
                replace(OPENING, failed_recoveries=2, failure="down" * LONGEST_FAILURE),
                "told",
                OPEN,
                0,
                30,
                why=(2, ("down" * LONGEST_FAILURE)[:LONGEST_FAILURE]),
            ),
            replace(
                LEASED,
                step=replace(ASKING, failed_recoveries=7, failure="not here"),
                why=(2, ("down" * LONGEST_FAILURE)[:LONGEST_FAILURE]),
            ),
            Turn(
                31,
                replace(SETTLING, verdict="failed", failed_recoveries=3, failure="again"),
                "told",
                OPEN,
                31,
                91,
                why=(3, "again"),
            ),
            Turn(
                32,
                replace(
                    ASKING, view=epoch(32), failed_recoveries=4, failure="?" * (LONGEST_FAILURE + 1)
                ),
                "leased",
                HALF_OPEN,
                32,
                32,
                free=37,
                why=(4, "?" * LONGEST_FAILURE),
            ),
        ],
        [OPEN, HALF_OPEN, OPEN, HALF_OPEN],
    ),
    Case(
        "a probe that is given back leaves a place",
        [
            OPENED,
            LEASED,
            Turn(31, replace(SETTLING, verdict="given back"), "told", HALF_OPEN, 30, 30),
            Turn(31, replace(ASKING, token="t2"), "leased", HALF_OPEN, 30, 30, free=36, owner="b"),
        ],
        [OPEN, HALF_OPEN, None],
    ),
    Case(
        "three successes are needed, two may run",
        [
            OPENED,
            replace(LEASED, step=replace(ASKING, needed=3, at_once=2)),
            replace(LEASED, step=replace(ASKING, needed=3, at_once=2, token="t2")),
            replace(LEASED, step=replace(ASKING, needed=3, at_once=2, token="t3"), outcome="busy"),
            Turn(31, replace(SETTLING, needed=3), "told", HALF_OPEN, 30, 30),
            Turn(31, replace(SETTLING, needed=3), "fenced", HALF_OPEN, 30, 30),
            Turn(31, replace(SETTLING, needed=3, token="t2"), "told", HALF_OPEN, 30, 30),
            Turn(
                31,
                replace(ASKING, needed=3, at_once=2, token="t4"),
                "leased",
                HALF_OPEN,
                30,
                30,
                36,
            ),
            Turn(
                31, replace(ASKING, needed=3, at_once=2, token="t5"), "busy", HALF_OPEN, 30, 30, 36
            ),
            Turn(32, replace(SETTLING, needed=3, token="t4"), "told", CLOSED, 32, 32),
        ],
        [OPEN, HALF_OPEN, None, None, CLOSED],
    ),
    Case(
        "members whose policies differ do not wait for each other for ever",
        [
            OPENED,
            replace(LEASED, step=replace(ASKING, needed=3)),
            Turn(31, replace(SETTLING, needed=3), "told", HALF_OPEN, 30, 30),
            Turn(31, replace(ASKING, token="t2"), "leased", HALF_OPEN, 30, 30, free=36, owner="b"),
            Turn(31, replace(ASKING, token="t2", at_once=0), "leased", HALF_OPEN, 30, 30, 36, "b"),
            Turn(
                31, replace(SETTLING, token="t2", verdict="given back"), "told", HALF_OPEN, 30, 30
            ),
            Turn(31, replace(ASKING, token="t3"), "leased", HALF_OPEN, 30, 30, free=36, owner="b"),
            Turn(32, replace(SETTLING, token="t3"), "told", CLOSED, 32, 32, owner="b"),
        ],
        [OPEN, HALF_OPEN, None, None, CLOSED],
    ),
    Case(
        "a verdict of another period is void",
        [
            OPENED,
            LEASED,
            Turn(31, replace(SETTLING, verdict="failed"), "told", OPEN, 31, 91),
            Turn(91, ASKING, "leased", HALF_OPEN, 91, 91, free=96),
            Turn(92, SETTLING, "fenced", HALF_OPEN, 91, 91),
            Turn(92, RENEWING, "fenced", HALF_OPEN, 91, 91),
        ],
        [OPEN, HALF_OPEN, OPEN, HALF_OPEN],
    ),
    Case(
        "what is open here is probed, though the store knows nothing of it",
        [
            Turn(0, ASKING, "leased", HALF_OPEN, 0, 0, free=5),
            Turn(1, replace(SETTLING, epoch=epoch(0)), "told", CLOSED, 1, 1),
            Turn(2, ASKING, "told", CLOSED, 1, 1, owner="b"),
            Turn(2, replace(ASKING, view=epoch(1)), "leased", HALF_OPEN, 2, 2, free=7, owner="b"),
        ],
        [HALF_OPEN, CLOSED, HALF_OPEN],
    ),
    Case(
        "a store that has lost everything leaves the verdict to the asker",
        [Turn(31, SETTLING, "alone"), Turn(31, RENEWING, "fenced")],
        [],
    ),
    Case(
        "an old copy of the store does not bring back what is over",
        [
            OPENED,
            Turn(40, replace(SETTLING, epoch=epoch(39)), "alone", OPEN, 0, 30),
            Turn(40, replace(OPENING, view=epoch(39)), "told", OPEN, 40, 70),
            Turn(41, replace(ASKING, view=epoch(41)), "leased", HALF_OPEN, 41, 41, free=46),
        ],
        [OPEN, OPEN, HALF_OPEN],
    ),
    Case(
        "set by hand for all, and released",
        [
            Turn(0, Forcing("db", FORCED_OPEN), "told", FORCED_OPEN, 0, 0),
            Turn(1, Forcing("db", FORCED_OPEN), "told", FORCED_OPEN, 0, 0, owner="b"),
            Turn(2, OPENING, "told", FORCED_OPEN, 0, 0, owner="b"),
            Turn(2, ASKING, "told", FORCED_OPEN, 0, 0, owner="b"),
            Turn(3, SETTLING, "alone", FORCED_OPEN, 0, 0),
            Turn(25 * HOUR, OPENING, "told", FORCED_OPEN, 0, 0, owner="b"),
            Turn(26 * HOUR, Forcing("db", CLOSED), "told", CLOSED, 26 * HOUR, 26 * HOUR),
            Turn(26 * HOUR, Forcing("db", CLOSED), "told", CLOSED, 26 * HOUR, 26 * HOUR),
        ],
        [FORCED_OPEN, CLOSED],
    ),
    Case(
        "what is set by hand is news to who knew of something later",
        [
            Turn(0, Forcing("db", CLOSED), "told", CLOSED, 0, 0),
            Turn(1, Forcing("db", CLOSED, epoch(0)), "told", CLOSED, 0, 0),
            Turn(2, Forcing("db", CLOSED, epoch(1)), "told", CLOSED, 2, 2),
            Turn(3, Forcing("db", CLOSED, epoch(1)), "told", CLOSED, 2, 2),
        ],
        [CLOSED, CLOSED],
    ),
    Case(
        "a release ends an opening, also one that the store does not know",
        [
            OPENED,
            Turn(1, Forcing("db", CLOSED), "told", CLOSED, 1, 1),
            Turn(1, Forcing("http", CLOSED), "told", CLOSED, epoch(1, 1), 1),
            Turn(2, replace(OPENING, circuit="http"), "told", CLOSED, epoch(1, 1), 1),
        ],
        [OPEN, CLOSED, CLOSED],
    ),
    Case(
        "that it has closed is known for an hour",
        [
            Turn(0, Forcing("db", CLOSED), "told", CLOSED),
            Turn(HOUR - 1, OPENING, "told", CLOSED),
            Turn(HOUR, OPENING, "told", OPEN, HOUR, HOUR + 30),
        ],
        [CLOSED, OPEN],
    ),
    Case(
        "that it was open is known for a day",
        [
            OPENED,
            Turn(24 * HOUR + 29, OPENING, "told", OPEN, 0, 30),
            Turn(24 * HOUR + 30, replace(SETTLING, epoch=epoch(0)), "alone"),
        ],
        [OPEN],
    ),
    Case(
        "a probe of a whole day is not forgotten",
        [
            OPENED,
            replace(LEASED, step=replace(ASKING, seconds=25 * HOUR), free=25 * HOUR + 30),
            Turn(24.5 * HOUR, RENEWING, "leased", HALF_OPEN, 30, 30, free=24.5 * HOUR + 5),
        ],
        [OPEN, HALF_OPEN],
    ),
    Case(
        "the store's clock goes back: open as long again, at most, and epochs go on",
        [
            OPENED,
            Turn(-HOUR, ASKING, "told", OPEN, 0, 30 - HOUR, owner="b"),
            Turn(10 - HOUR, ASKING, "told", OPEN, 0, 30 - HOUR, owner="b"),
            Turn(30 - HOUR, ASKING, "leased", HALF_OPEN, epoch(0, 1), 30 - HOUR, free=35 - HOUR),
            Turn(
                31 - HOUR,
                replace(SETTLING, epoch=epoch(0, 1)),
                "told",
                CLOSED,
                epoch(0, 2),
                31 - HOUR,
            ),
        ],
        [OPEN, HALF_OPEN, CLOSED],
    ),
    Case(
        "the store's clock goes back: a lease ends with its length, at most",
        [
            OPENED,
            LEASED,
            Turn(-HOUR, replace(ASKING, token="t2"), "busy", HALF_OPEN, 30, -HOUR, free=5 - HOUR),
            Turn(4 - HOUR, RENEWING, "leased", HALF_OPEN, 30, -HOUR, free=9 - HOUR),
            Turn(9 - HOUR, replace(ASKING, token="t2"), "leased", HALF_OPEN, 30, -HOUR, 14 - HOUR),
            Turn(10 - HOUR, SETTLING, "fenced", HALF_OPEN, 30, -HOUR),
        ],
        [OPEN, HALF_OPEN],
    ),
    Case(
        "the store's clock goes forth: probed early",
        [
            OPENED,
            Turn(HOUR, ASKING, "leased", HALF_OPEN, HOUR, HOUR, free=HOUR + 5),
            Turn(2 * HOUR, SETTLING, "fenced", HALF_OPEN, HOUR, HOUR),
        ],
        [OPEN, HALF_OPEN],
    ),
    Case(
        "an epoch is later than what the asker has seen elsewhere",
        [Turn(0, OPENING, "told", OPEN, epoch(HOUR, 8), 30, seen=epoch(HOUR, 7))],
        [OPEN],
    ),
    Case(
        "two changes in one millisecond",
        [
            OPENED,
            Turn(0, Forcing("db", FORCED_OPEN), "told", FORCED_OPEN, epoch(0, 1), 0),
            Turn(0, Forcing("db", CLOSED), "told", CLOSED, epoch(0, 2), 0),
        ],
        [OPEN, FORCED_OPEN, CLOSED],
    ),
    Case(
        "a name that is too long is not shared",
        [Turn(0, replace(OPENING, circuit="ü" * (LONGEST_NAME // 2) + "."), "alone")],
        [],
    ),
    Case(
        "a name may be anything",
        [
            Turn(0, replace(OPENING, circuit=name), "told", OPEN, epoch(0, number), 30)
            for number, name in enumerate(
                [
                    '"',
                    "{other}",
                    "\x00\n",
                    "a b=1;c",
                    "ü" * (LONGEST_NAME // 2),
                    "\udcff",
                    "*",
                    "]]",
                ]
            )
        ],
        [OPEN] * 8,
    ),
    Case(
        "a time may be for ever, or no time at all",
        [
            Turn(0, replace(OPENING, seconds=math.inf), "told", OPEN, 0, 1e9),
            Turn(0, replace(OPENING, circuit="b", seconds=1e-9), "told", OPEN, epoch(0, 1), 0.001),
        ],
        [OPEN, OPEN],
    ),
]
