"""What is remembered of ended calls, compared with a plain list of all of them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from itertools import takewhile

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from supervisor.machine.slack import UNLIMITED, fewest
from supervisor.machine.time_windows import BUCKETS, TimeWindow, bucket_of, last_time
from supervisor.machine.windows import CallWindow, InARow, Tally, take_over

always_the_same = settings(derandomize=True, deadline=None, database=None)


@dataclass
class Call:
    """One call that has ended."""

    at: float
    failed: bool
    slow: bool = False
    taken_back: bool = False  # its place stays empty


class Everything:
    """All calls, ever; `shape` is the calls or the seconds of a window, or None."""

    def __init__(self, shape: int | float | None) -> None:
        self.shape = shape
        self.calls: list[Call] = []
        self.now = 0.0

    def held(self) -> list[Call]:
        """Those that count now, oldest first."""
        match self.shape:
            case None:
                held = list(takewhile(lambda call: call.failed, reversed(self.calls)))[::-1]
            case int():
                held = self.calls[-self.shape :]
            case seconds:
                step = seconds / 10
                first = math.floor(self.now / step) - 9
                held = [call for call in self.calls if math.floor(call.at / step) >= first]
        return [call for call in held if not call.taken_back]

    def add(self, at: float, times: int, failed: bool, slow: bool) -> None:
        self.now = max(self.now, at)
        self.calls += [Call(self.now, failed, slow) for _ in range(times)]

    def figures(self) -> tuple[int, int, int]:
        held = self.held()
        failures, slow = sum(call.failed for call in held), sum(call.slow for call in held)
        return (0, failures, 0) if self.shape is None else (len(held), failures, slow)


def tally_of(shape: int | float | None) -> Tally:
    match shape:
        case None:
            return InARow()
        case int():
            return CallWindow(shape)
        case seconds:
            return TimeWindow(seconds)


def figures(tally: Tally) -> tuple[int, int, int]:
    return tally.calls, tally.failures, tally.slow


SECONDS = st.sampled_from([10.0, 1.0, 0.7, 60.0, 1e-3]) | st.floats(1e-3, 1e4)
SHAPES = st.none() | st.integers(1, 12) | SECONDS
TIMES = st.integers(1, 5) | st.sampled_from([11, 12, 13, 40])


@dataclass(frozen=True)
class Step:
    """Calls that end alike, after some time; `tenths` are those of a time window."""

    tenths: float
    times: int
    failed: bool
    slow: bool


STEPS = st.lists(
    st.builds(
        Step,
        tenths=st.sampled_from([0, 0, 0, 0.25, 1, 3, 9, 10, 11, 1e6]) | st.floats(0, 12),
        times=TIMES,
        failed=st.booleans(),
        slow=st.booleans(),
    ),
    max_size=30,
)


def take_steps(shape: int | float | None, steps: list[Step], *tallies: Tally) -> Everything:
    """Let all calls be counted, and look at the figures after each step."""
    everything = Everything(shape)
    width = shape / 10 if isinstance(shape, float) else 1.0
    for step in steps:
        at = everything.now + step.tenths * width
        for tally in tallies:
            tally.add(at, step.times, step.failed, step.slow)
        everything.add(at, step.times, step.failed, step.slow)
        for tally in tallies:
            assert figures(tally) == everything.figures()
    return everything


class TestAgainstAList:
    """Every figure is that of the list of all calls."""

    @always_the_same
    @given(SHAPES, STEPS)
    def test_counting(self, shape: int | float | None, steps: list[Step]) -> None:
        """After each call, and after any time, also if that is beyond the whole window."""
        tally = tally_of(shape)
        everything = take_steps(shape, steps, tally)
        for passed in (0.0, 0.3, 4.1, 1e7):
            everything.now += passed
            tally.advance(everything.now)
            assert figures(tally) == everything.figures()

    @always_the_same
    @given(SHAPES, STEPS, STEPS)
    def test_forgetting_everything(
        self, shape: int | float | None, before: list[Step], after: list[Step]
    ) -> None:
        """Afterwards it counts like a new one."""
        tally = tally_of(shape)
        everything = take_steps(shape, before, tally)
        tally.clear()
        everything.calls.clear()
        assert figures(tally) == (0, 0, 0)
        width = shape / 10 if isinstance(shape, float) else 1.0
        for step in after:
            at = everything.now + step.tenths * width
            tally.add(at, step.times, step.failed, step.slow)
            everything.add(at, step.times, step.failed, step.slow)
            assert figures(tally) == everything.figures()

    @always_the_same
    @given(
        st.integers(1, 12) | SECONDS,
        st.lists(st.tuples(st.sampled_from([0, 0, 0.5, 1, 4, 9]), st.integers(-3, 9))),
    )
    def test_slow_calls_that_fail_later(
        self, shape: int | float, steps: list[tuple[float, int]]
    ) -> None:
        """A slow call counts as failed, too, if it is still there; else nothing changes."""
        tally, everything = tally_of(shape), Everything(shape)
        width = shape / 10 if isinstance(shape, float) else 1.0
        running: list[tuple[int, Call]] = []
        for tenths, pick in steps:
            at = everything.now + tenths * width
            if pick < 0:  # a call becomes slow
                tally.add(at, 1, failed=False, slow=True)
                everything.add(at, 1, failed=False, slow=True)
                running.append((tally.last(), everything.calls[-1]))
            elif pick < len(running):
                name, call = running.pop(pick)
                everything.now = at
                tally.advance(at)
                held = any(one is call for one in everything.held())
                call.failed = held
                assert not isinstance(tally, InARow)
                assert tally.holds(name) is held
                assert tally.amend(name) is held
            else:
                tally.add(at, pick, failed=pick % 2 == 0, slow=False)
                everything.add(at, pick, failed=pick % 2 == 0, slow=False)
            assert figures(tally) == everything.figures()

    def test_failures_in_a_row_know_no_slow_calls(self) -> None:
        """There is nothing that could be changed later."""
        tally = InARow()
        tally.add(0.0, 2, failed=True, slow=True)
        assert tally.amend(tally.last()) is False
        assert figures(tally) == (0, 2, 0)

    @always_the_same
    @given(SHAPES, STEPS, TIMES)
    def test_what_the_worst_would_come_to(
        self, shape: int | float | None, steps: list[Step], times: int
    ) -> None:
        """As if so many slow failures were counted now; nothing changes by asking."""
        tally = tally_of(shape)
        everything = take_steps(shape, steps, tally)
        after = tally.after(times, 0)
        assert figures(tally) == everything.figures()
        tally.add(everything.now, times, failed=True, slow=True)
        assert after == figures(tally)

    @always_the_same
    @given(st.integers(8, 12) | SECONDS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 4))
    def test_what_the_worst_would_come_to_if_slow_calls_failed(
        self, shape: int | float, others: int, slow: int, new: int
    ) -> None:
        """Those that have been counted make no further call."""
        tally = tally_of(shape)
        tally.add(0.0, others, failed=True, slow=False)
        names = []
        for _ in range(slow):
            tally.add(0.0, 1, failed=False, slow=True)
            names.append(tally.last())
        after = tally.after(new + slow, slow)
        for name in names:
            assert tally.amend(name)
        tally.add(0.0, new, failed=True, slow=True)
        assert after == figures(tally)

    @always_the_same
    @given(SHAPES, STEPS, STEPS)
    def test_copies(self, shape: int | float | None, before: list[Step], after: list[Step]) -> None:
        """What one is told the other does not know, in either direction."""
        original = tally_of(shape)
        everything = take_steps(shape, before, original)
        copy, third = original.copy(), original.copy()
        known = everything.figures()
        for step in after:
            at = everything.now + step.tenths
            copy.add(at, step.times, step.failed, step.slow)
        assert figures(original) == figures(third) == known
        told = figures(copy)
        for step in after:
            at = everything.now + step.tenths
            original.add(at, step.times, step.failed, step.slow)
            assert figures(third) == known
        assert figures(original) == told
        original.clear()
        assert figures(copy) == told
        assert figures(third) == known


class TestTime:
    """When what is in a time window leaves it."""

    @always_the_same
    @given(SECONDS, STEPS)
    def test_all_stays_up_to_its_expiry(self, seconds: float, steps: list[Step]) -> None:
        """And the oldest has gone a moment later."""
        window = TimeWindow(seconds)
        everything = take_steps(seconds, steps, window)
        calls, expires = window.calls, window.expires
        if not calls:
            assert expires == math.inf
            return
        assert expires >= everything.now
        window.advance(expires)
        assert window.calls == calls
        window.advance(math.nextafter(expires, math.inf))
        assert window.calls < calls

    @pytest.mark.parametrize("tally", [InARow(), CallWindow(3)])
    def test_time_alone_changes_nothing_else(self, tally: Tally) -> None:
        """What is not of seconds stays as long as there are no more calls."""
        tally.add(1.0, 2, failed=True, slow=False)
        tally.advance(1e12)
        assert (tally.failures, tally.expires) == (2, math.inf)

    def test_a_report_that_comes_late_counts_in_the_present(self) -> None:
        """Time does not go back for it."""
        window = TimeWindow(10.0)
        window.advance(100.0)
        window.add(50.0, 1, failed=True, slow=False)
        assert window.failures == 1
        window.advance(109.5)
        assert window.failures == 1

    @always_the_same
    @given(st.integers(0, 10**9), st.floats(1e-4, 1e8))
    @example(6, 22.322208789112764)  # 7 times that, divided by it, is less than 7
    @example(66546792, 527.6294615994567)
    @example(2, 0.1)
    def test_the_last_time_of_a_step(self, bucket: int, width: float) -> None:
        """No later float is in it, however the borders are rounded."""
        last = last_time(bucket, width)
        assert bucket_of(last, width) <= bucket < bucket_of(math.nextafter(last, math.inf), width)

    @pytest.mark.parametrize(
        ("at", "bucket"), [(0.0, 0), (0.99, 0), (1.0, 1), (9.5, 9), (-0.5, -1)]
    )
    def test_steps_begin_at_multiples(self, at: float, bucket: int) -> None:
        """The beginning of a step is in it, and its end is not."""
        assert bucket_of(at, 1.0) == bucket


class TestSize:
    """However many calls there have been, no more memory is taken."""

    def test_the_last_calls(self) -> None:
        """A byte for each of them, and not twice as many at any time."""
        window = CallWindow(1000)
        for number in range(20_000):
            window.add(0.0, 1, failed=number % 3 == 0, slow=number % 2 == 0)
            assert sys.getsizeof(window.entries) < 2500
        window.add(0.0, 10**15, failed=True, slow=True)
        assert sys.getsizeof(window.entries) < 2500
        assert figures(window) == (1000, 1000, 1000)

    def test_the_last_seconds(self) -> None:
        """Three numbers for each of ten steps."""
        window = TimeWindow(1.0)
        for number in range(20_000):
            window.add(number / 7, 10**6, failed=True, slow=True)
        rings = window.calls_in, window.failures_in, window.slow_in
        assert [len(ring) for ring in rings] == [BUCKETS] * 3


class TestTakingBack:
    """A call that was counted while it ran, and counts no more."""

    @always_the_same
    @given(
        SHAPES,
        st.lists(
            st.tuples(st.sampled_from([0, 0, 0.5, 1, 4, 9]), st.booleans(), st.integers(-3, 9)),
            max_size=30,
        ),
        TIMES,
    )
    def test_what_is_left(
        self, shape: int | float | None, steps: list[tuple[float, bool, int]], more: int
    ) -> None:
        """All but those; what they have pushed out stays out. Of a row, only while it lasts."""
        tally, everything = tally_of(shape), Everything(shape)
        width = shape / 10 if isinstance(shape, float) else 1.0
        running: list[tuple[int, Call]] = []
        for tenths, as_failed, pick in steps:
            at = everything.now + tenths * width
            failed = as_failed or shape is None
            if pick < 0:  # a call becomes slow
                tally.add(at, 1, failed, slow=not failed)
                everything.add(at, 1, failed, slow=not failed)
                running.append((tally.last(), everything.calls[-1]))
            elif pick < len(running):
                name, call = running.pop(pick)
                tally.take_back(name, call.failed)
                call.taken_back = True
            elif pick:
                tally.add(at, pick, as_failed, slow=False)
                everything.add(at, pick, as_failed, slow=False)
                if shape is None and not as_failed:
                    running.clear()
            assert figures(tally) == everything.figures()
        taken_over, later = tally_of(shape), tally.copy()
        take_over(taken_over, tally, everything.now)
        assert figures(taken_over) == figures(tally)
        later.add(everything.now, more, failed=True, slow=True)
        assert tally.after(more, 0) == figures(later)

    @pytest.mark.parametrize("failed", [False, True])
    @pytest.mark.parametrize("tally", [CallWindow(2), TimeWindow(10.0)])
    def test_one_that_has_left_the_window(
        self, tally: CallWindow | TimeWindow, failed: bool
    ) -> None:
        """Whoever has its place since then keeps it."""
        tally = tally.copy()
        tally.add(0.0, 1, failed, slow=not failed)
        name = tally.last()
        tally.add(10.0, 2, failed, slow=not failed)
        before = figures(tally)
        assert not tally.holds(name)
        tally.take_back(name, failed)
        assert figures(tally) == before == (2, 2 * failed, 2 * (not failed))


def copied(old: Tally, new: Tally, latest: float) -> tuple[int, int, int]:
    take_over(new, old, latest)
    return figures(new)


def having(shape: int | float | None, text: str) -> tuple[Tally, float]:
    """A tally of such calls, and the time: S, F, s (slow), f (slow and failed), or a pause."""
    tally, now = tally_of(shape), 100.0
    for letter in text:
        now += letter == " "
        if letter != " ":
            tally.add(now, 1, failed=letter in "Ff", slow=letter in "sf")
    return tally, now


class TestTakingOver:
    """Another kind of window remembers what the old one does, as far as it can hold it."""

    @always_the_same
    @given(SHAPES, STEPS)
    def test_one_of_the_same_shape_remembers_all(
        self, shape: int | float | None, steps: list[Step]
    ) -> None:
        """The same figures, and as long as the old one."""
        old, new = tally_of(shape), tally_of(shape)
        everything = take_steps(shape, steps, old)
        take_over(new, old, everything.now)
        for _ in range(12):
            assert figures(new) == figures(old)
            assert new.expires == old.expires
            everything.now += shape / 10 if isinstance(shape, float) else 1.0
            old.advance(everything.now)
            new.advance(everything.now)

    @pytest.mark.parametrize(
        ("text", "size", "expected"),
        [
            ("", 5, (0, 0, 0)),
            ("FFF", 5, (3, 3, 0)),
            ("SSFFF", 2, (2, 2, 0)),
        ],
    )
    def test_in_a_row_to_calls(self, text: str, size: int, expected: tuple[int, int, int]) -> None:
        """So many failures, and no success."""
        old, now = having(None, text)
        assert copied(old, CallWindow(size), now) == expected

    def test_in_a_row_to_seconds(self) -> None:
        """So many failures at the latest time, whenever they were."""
        old, now = having(None, "SF FF")
        new = TimeWindow(10.0)
        assert copied(old, new, now + 50) == (3, 3, 0)
        new.advance(now + 59)
        assert new.failures == 3
        new.advance(now + 60)
        assert new.failures == 0

    @pytest.mark.parametrize(
        ("text", "expected"), [("", 0), ("FFS", 0), ("SFsFf", 2), ("FFF", 3), ("Ff", 2)]
    )
    def test_calls_to_in_a_row(self, text: str, expected: int) -> None:
        """The failures at the end; a slow success is a success."""
        old, now = having(5, text)
        assert copied(old, InARow(), now) == (0, expected, 0)

    @pytest.mark.parametrize(
        ("size", "expected"), [(7, (6, 3, 3)), (6, (6, 3, 3)), (3, (3, 1, 3)), (1, (1, 0, 1))]
    )
    def test_calls_to_calls(self, size: int, expected: tuple[int, int, int]) -> None:
        """The last ones, in their order."""
        old, now = having(6, "FFSfss")
        assert copied(old, CallWindow(size), now) == expected

    def test_calls_to_seconds(self) -> None:
        """All of them, at the latest time."""
        old, now = having(5, "SFs f")
        new = TimeWindow(10.0)
        assert copied(old, new, now + 50) == (4, 2, 2)
        new.advance(now + 60)
        assert figures(new) == (0, 0, 0)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("", 0), ("FS", 1), ("FF SSFF", 2), ("SF F F", 3), ("Fs", 1), ("sfF", 2), ("F S", 0)],
    )
    def test_seconds_to_in_a_row(self, text: str, expected: int) -> None:
        """The failures since the last success; within one step, as if they had come last."""
        old, now = having(10.0, text)
        assert copied(old, InARow(), now) == (0, expected, 0)

    @pytest.mark.parametrize(
        ("size", "expected"), [(9, (6, 3, 2)), (4, (4, 3, 1)), (3, (3, 3, 0)), (1, (1, 1, 0))]
    )
    def test_seconds_to_calls(self, size: int, expected: tuple[int, int, int]) -> None:
        """The last ones; within one step, the failures as if they had come last."""
        old, now = having(10.0, "Ss fFSF")
        assert copied(old, CallWindow(size), now) == expected

    @always_the_same
    @given(st.floats(1.06, 100), STEPS)
    def test_seconds_to_more_seconds(self, times: float, steps: list[Step]) -> None:
        """All of them; and those that have left the old one are not found again."""
        old = TimeWindow(10.0)
        everything = take_steps(10.0, steps, old)
        late = everything.now + 4.2
        everything.now = late
        new = TimeWindow(10.0 * times)
        assert copied(old, new, late) == everything.figures()
        new.advance(late + 10.0 * times + 10.0)
        assert figures(new) == (0, 0, 0)

    def test_seconds_to_fewer_seconds(self) -> None:
        """Those that are not too old for it, to a step of the old one."""
        old, now = having(10.0, "F F F F F F F F F F")
        assert copied(old, TimeWindow(5.0), now) == (6, 6, 0)
        assert copied(old, TimeWindow(0.5), now) == (1, 1, 0)

    def test_the_time_does_not_run_ahead(self) -> None:
        """What has just been counted is not counted in the time to come."""
        old, new = TimeWindow(1000.0), TimeWindow(1.0)
        old.add(5.0, 1, failed=True, slow=False)
        take_over(new, old, 5.0)
        assert new.failures == 1
        new.advance(6.0)
        assert new.failures == 0

    @always_the_same
    @given(SHAPES, SHAPES, STEPS)
    def test_any_to_any(
        self, shape: int | float | None, other: int | float | None, steps: list[Step]
    ) -> None:
        """No more than there was, and the old one still knows it."""
        old, new = tally_of(shape), tally_of(other)
        everything = take_steps(shape, steps, old)
        take_over(new, old, everything.now)
        assert new.failures <= old.failures
        assert figures(old) == everything.figures()
        if other is not None:
            assert new.slow <= old.slow


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 100, 1023, 1024, 1025, UNLIMITED - 1])
def test_the_fewest(number: int) -> None:
    """The first number that is enough, however little is known of it; in about as many steps as
    the number has digits, or in two if all is known.
    """
    tried: list[int] = []

    def lacking(times: int) -> int:
        tried.append(times)
        return times < number

    assert fewest(lacking) == number
    assert len(tried) < 6 + 2 * number.bit_length()
    assert fewest(lambda times: number - times) == number


@pytest.mark.parametrize("more", [1, UNLIMITED])
def test_the_fewest_of_none(more: int) -> None:
    """As good as unlimited."""
    assert fewest(lambda _: more) == UNLIMITED
