"""When a closed circuit opens: limits, kinds, overdue calls, and what it can still take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import count as count_up
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given, settings

from supervisor.machine.messages import Overdue, Settle
from supervisor.machine.ratios import is_share
from supervisor.machine.rows import RowTrip, reconfigured, trip_by
from supervisor.machine.slack import UNLIMITED
from supervisor.machine.time_windows import TimeWindow
from supervisor.machine.tripping import Trip
from supervisor.machine.windows import CallWindow, InARow, Tally
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import Policy

SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED


SLOW = {"window_calls": 4, "minimum_calls": 2, "slow_call_duration": 1, "slow_call_rate": 0.5}
"""A policy that looks at slow calls."""


def trip(**policy: Any) -> Trip:
    return trip_by(Policy(**policy))


def count(circuit: Trip, text: str, at: float = 0.0) -> bool:
    """Count S, F, s (slow) or f (slow and failed), and return whether the last one opens it."""
    opens = False
    for letter in text:
        outcome = FAILED if letter in "Ff" else SUCCEEDED
        opens = circuit.count(Settle(0, 0, outcome, at, slow=letter in "sf"), at)
    return opens


def fail(circuit: Trip, of_kind: Failure, at: float = 0.0, times: int = 1) -> bool:
    return circuit.count(Settle(0, 0, FAILED, at, times=times, of_kind=of_kind), at)


def overdue(circuit: Trip, call: int, at: float = 0.0, failed: bool = False) -> bool:
    return circuit.count_overdue(Overdue(0, call, at, 1.0, failed))


def end(circuit: Trip, call: int, outcome: Outcome, at: float = 0.0) -> bool:
    return circuit.count(Settle(0, 0, outcome, at, call=call), at)


class TestLimits:
    """What opens it; each line is one history."""

    @pytest.mark.parametrize(
        ("policy", "text", "opens"),
        [
            pytest.param({}, "FFF", True, id="in a row"),
            pytest.param({}, "FFSFF", False, id="not in a row"),
            pytest.param({"window_calls": 5}, "FSFSF", True, id="among the last calls"),
            pytest.param({"window_calls": 4}, "FSFSF", False, id="not among the last calls"),
            pytest.param({"window_seconds": 10}, "FSFSSSSSSF", True, id="in the last seconds"),
            pytest.param({"window_calls": 3}, "SFFS", False, id="a success opens nothing"),
        ],
    )
    def test_of_numbers(self, policy: dict[str, Any], text: str, opens: bool) -> None:
        """`failure_threshold` failures in a row, or within the window."""
        assert count(trip(failure_threshold=3, **policy), text) is opens

    @pytest.mark.parametrize(
        ("text", "opens"),
        [
            pytest.param("FFFFF", False, id="too few calls"),
            pytest.param("FFFSSS", True, id="a success fills it up"),
            pytest.param("SSFSSF", False, id="a third of the calls"),
            pytest.param("SSSFFF", True, id="half of the calls"),
            pytest.param("SSSFFFSSS", False, id="a third again"),
        ],
    )
    @pytest.mark.parametrize("window", [{"window_calls": 9}, {"window_seconds": 10}])
    def test_of_failure_rates(self, window: dict[str, Any], text: str, opens: bool) -> None:
        """From `minimum_calls` on, a share of failures; their number does not count."""
        circuit = trip(failure_threshold=1, failure_rate=0.5, minimum_calls=6, **window)
        assert count(circuit, text) is opens

    @pytest.mark.parametrize(
        ("text", "opens"),
        [
            pytest.param("sss", False, id="too few calls"),
            pytest.param("SSss", True, id="half of the calls"),
            pytest.param("SSsf", True, id="slow and failed"),
            pytest.param("ssSS", True, id="a success fills it up"),
            pytest.param("SFSs", False, id="one slow call and one failure"),
        ],
    )
    def test_of_slow_call_rates(self, text: str, opens: bool) -> None:
        """From `minimum_calls` on, a share of slow calls, however they ended."""
        rates = {"slow_call_duration": 1, "slow_call_rate": 0.5, "minimum_calls": 4}
        assert count(trip(window_calls=5, failure_threshold=5, **rates), text) is opens

    def test_of_numbers_beside_a_slow_call_rate(self) -> None:
        """A failure opens it by the number of failures all the same."""
        rates = {"slow_call_duration": 1, "slow_call_rate": 1, "minimum_calls": 9}
        assert count(trip(window_calls=9, failure_threshold=2, **rates), "SFSF")

    def test_successes_are_not_kept_where_nobody_asks(self) -> None:
        """In a window of seconds without a rate."""
        circuit = trip(window_seconds=10)
        count(circuit, "SSFSS")
        assert (circuit.tally.calls, circuit.tally.failures) == (1, 1)
        assert not circuit.counts_successes

    def test_what_is_remembered_follows_the_policy(self) -> None:
        """In a row by default."""
        assert isinstance(trip().tally, InARow)
        assert isinstance(trip(window_calls=5).tally, CallWindow)
        assert isinstance(trip(window_seconds=5).tally, TimeWindow)


class TestWeights:
    """A failure may count for none, or for several."""

    @pytest.mark.parametrize(
        ("policy", "weight", "opens"),
        [
            ({"failure_threshold": 3}, 3, True),
            ({"failure_threshold": 3}, 2, False),
            ({"window_calls": 5}, 3, True),
            ({"window_seconds": 5}, 2, False),
            ({"window_calls": 5, "failure_rate": 1, "minimum_calls": 5}, 5, True),
            ({"window_calls": 5, "failure_rate": 1, "minimum_calls": 5}, 4, False),
        ],
    )
    def test_of_several(self, policy: dict[str, Any], weight: int, opens: bool) -> None:
        """As if so many calls had failed."""
        circuit = trip(**policy)
        assert fail(circuit, Failure(weight=weight)) is opens
        assert circuit.tally.failures == weight

    def test_times_several(self) -> None:
        """Each of the calls counts so."""
        circuit = trip(failure_threshold=6)
        assert fail(circuit, Failure(weight=3), times=2)
        assert circuit.tally.failures == 6

    @pytest.mark.parametrize("policy", [{}, {"window_calls": 5}, {"window_seconds": 5}])
    def test_of_none(self, policy: dict[str, Any]) -> None:
        """It is no success, either, and no call."""
        circuit = trip(**policy)
        count(circuit, "FF")
        calls = circuit.tally.calls
        assert fail(circuit, Failure(weight=0)) is False
        assert (circuit.tally.calls, circuit.tally.failures) == (calls, 2)

    def test_of_none_is_no_reason_to_look(self) -> None:
        """What has been reached without an outcome waits for one that counts."""
        circuit = trip(failure_threshold=5)
        count(circuit, "FFFF")
        circuit = reconfigured(circuit, Policy(failure_threshold=2), 0.0)
        assert fail(circuit, Failure(weight=0)) is False
        assert fail(circuit, PLAIN_FAILURE) is True


class TestKinds:
    """A kind of failure may have limits of its own."""

    # Of no weight, so that it is not their number in all that opens the circuit.
    KIND = Failure("rate limit", weight=0, threshold=2)
    OTHER = Failure("other", weight=0, threshold=2)
    PLAIN = Failure(weight=0)

    @pytest.mark.parametrize(
        ("policy", "history", "opens"),
        [
            pytest.param({}, "KK", True, id="in a row"),
            pytest.param({}, "KFK", True, id="other failures are no success"),
            pytest.param({}, "KSK", False, id="a success between them"),
            pytest.param({"window_calls": 3}, "KSK", True, id="among the last calls"),
            pytest.param({"window_calls": 3}, "KSSK", False, id="too long ago"),
            pytest.param({"window_calls": 3}, "KFFK", False, id="failures make it long ago, too"),
            pytest.param({"window_seconds": 9}, "KSSSK", True, id="in the last seconds"),
            pytest.param({"window_seconds": 9}, "KSFSK", True, id="with others"),
            pytest.param({}, "KO", False, id="another kind"),
            pytest.param({}, "KOK", True, id="another kind between them"),
        ],
    )
    def test_a_threshold(self, policy: dict[str, Any], history: str, opens: bool) -> None:
        """Counted by number, as all failures are: in a row, or in a window of the same size."""
        kinds = {"K": self.KIND, "O": self.OTHER, "F": self.PLAIN}
        circuit, opened = trip(**policy), False
        for letter in history:
            opened = count(circuit, "S") if letter == "S" else fail(circuit, kinds[letter])
        assert opened is opens

    def test_by_number(self) -> None:
        """Whatever they weigh, and also several at once."""
        heavy = Failure("rate limit", weight=5, threshold=2)
        circuit = trip(failure_threshold=99)
        assert fail(circuit, heavy) is False
        assert fail(circuit, heavy) is True
        assert fail(trip(), self.KIND, times=2) is True

    def test_in_time(self) -> None:
        """The window of seconds of a kind moves with time."""
        circuit = trip(window_seconds=10, failure_threshold=99)
        assert fail(circuit, self.KIND, at=0.0) is False
        assert fail(circuit, self.KIND, at=10.0) is False
        assert fail(circuit, self.KIND, at=19.0) is True

    def test_nothing_is_kept_of_a_kind_that_is_over(self) -> None:
        """However many kinds there have been."""
        circuit = trip(failure_threshold=10**6)
        for number in range(100):
            fail(circuit, Failure(f"kind {number}", threshold=2))
        assert circuit.kinds is not None
        assert len(circuit.kinds.tallies) == 100
        count(circuit, "S")
        assert circuit.kinds is None

    @pytest.mark.parametrize("weight", [0, 1])
    def test_what_the_dependency_asks_for(self, weight: int) -> None:
        """A failure with `retry_after` opens it at once."""
        assert fail(trip(failure_threshold=9), Failure(weight=weight, retry_after=1)) is True
        assert trip().count(Settle(0, 0, SUCCEEDED, of_kind=Failure(retry_after=1)), 0.0) is False


class TestOverdue:
    """A call counts as slow while it still runs."""

    def test_it_may_open_the_circuit(self) -> None:
        """As any slow call."""
        circuit = trip(**SLOW)
        assert overdue(circuit, 1) is False
        assert overdue(circuit, 2) is True

    def test_it_counts_as_a_failure_where_there_is_no_rate(self) -> None:
        """One failure, and nothing more when it ends."""
        circuit = trip(failure_threshold=2, slow_call_duration=1)
        assert overdue(circuit, 1, failed=True) is False
        assert end(circuit, 1, FAILED) is False
        assert circuit.tally.failures == 1
        assert overdue(circuit, 2, failed=True) is True

    @pytest.mark.parametrize("window", [{}, {"window_calls": None, "window_seconds": 10}])
    def test_it_may_fail_later(self, window: dict[str, Any]) -> None:
        """The one call is slow and failed; that it succeeds or fails again is nothing new."""
        circuit = trip(**{**SLOW, "slow_call_rate": 1, "failure_rate": 0.5, **window})
        count(circuit, "SS")
        for call in (1, 2):
            assert overdue(circuit, call) is False
        assert end(circuit, 1, SUCCEEDED) is False
        assert (circuit.tally.failures, circuit.tally.slow) == (0, 2)
        assert end(circuit, 1, FAILED) is False
        assert circuit.tally.failures == 0
        assert end(circuit, 2, FAILED) is False
        assert (circuit.tally.calls, circuit.tally.failures, circuit.tally.slow) == (4, 1, 2)

    def test_its_failure_may_open_the_circuit(self) -> None:
        """The share of failures is looked at when one has been changed."""
        circuit = trip(**{**SLOW, "slow_call_rate": 1, "failure_rate": 0.5})
        count(circuit, "S")
        overdue(circuit, 1)
        assert end(circuit, 1, FAILED) is True

    def test_its_failure_may_come_too_late(self) -> None:
        """When it has left the window, nothing is counted or looked at."""
        circuit = trip(**{**SLOW, "slow_call_rate": 1, "failure_rate": 0.5})
        overdue(circuit, 1)
        count(circuit, "SSSS")
        assert end(circuit, 1, FAILED) is False
        assert circuit.tally.failures == 0

    def test_it_may_end_without_an_outcome(self) -> None:
        """It is taken back, and remembered no longer."""
        circuit = trip(**SLOW)
        overdue(circuit, 1)
        circuit.take_back(1)
        assert not circuit.overdue
        assert (circuit.tally.calls, circuit.tally.slow) == (0, 0)
        assert end(circuit, 1, FAILED) is False
        assert circuit.tally.failures == 0

    def test_one_that_was_never_told(self) -> None:
        """Counts for nothing in the tally."""
        circuit = trip(**SLOW)
        circuit.take_back(7)
        assert end(circuit, 7, FAILED) is False
        assert circuit.tally.calls == 0


class TestSummary:
    """Why it has opened, where no failure can tell."""

    @pytest.mark.parametrize(
        ("policy", "text", "summary"),
        [
            ({}, "FFF", None),
            ({"window_seconds": 10}, "FSFSF", None),
            ({"window_calls": 5}, "FSFSF", "3 of 5 calls failed"),
            ({"window_seconds": 10, "failure_rate": 0.5}, "SSF", "1 of 3 calls failed"),
            (
                {"window_calls": 10, "slow_call_duration": 1, "slow_call_rate": 0.5},
                "SssF",
                "2 of 4 calls were slow",
            ),
            (
                {"window_calls": 10, "slow_call_duration": 1, "slow_call_rate": 0.6},
                "SssF",
                "1 of 4 calls failed",
            ),
        ],
    )
    def test_its_text(self, policy: dict[str, Any], text: str, summary: str | None) -> None:
        """How many of the calls that are known; nothing where successes are not known."""
        circuit = trip(**policy)
        assert circuit.summary() is None
        count(circuit, text)
        assert circuit.summary() == summary


class TestReconfigured:
    """Another policy finds what was remembered."""

    def test_the_same_window_is_kept_as_it_is(self) -> None:
        """So calls that are overdue can still fail."""
        old = trip(**SLOW)
        count(old, "SF")
        overdue(old, 1)
        new = reconfigured(old, Policy(**{**SLOW, "slow_call_rate": 0.9}), 0.0)
        assert end(new, 1, FAILED) is False
        assert (new.tally.calls, new.tally.failures) == (3, 2)
        assert old.tally.failures == 1

    def test_another_window_takes_over_all_kinds(self) -> None:
        """As far as it can hold them; calls that are overdue are not known any more."""
        kind = Failure("rate limit", threshold=3)
        old = trip(**{**SLOW, "window_calls": 9, "failure_threshold": 9})
        for _ in range(2):
            fail(old, kind)
        overdue(old, 1)
        new = reconfigured(old, Policy(window_seconds=10, failure_threshold=9), 5.0)
        assert new.tally.failures == 2
        assert end(new, 1, FAILED, at=5.0) is False
        assert new.tally.failures == 2
        assert fail(new, kind, at=5.0) is True

    def test_a_copy_is_independent(self) -> None:
        """Of its tally, its kinds and its overdue calls."""
        kind = Failure("rate limit", threshold=2)
        original = trip(**SLOW)
        count(original, "SS")
        fail(original, kind)
        overdue(original, 1)
        copy = original.copy()
        original.forget()
        assert (original.kinds, original.overdue) == (None, None)
        assert end(copy, 1, FAILED) is False
        assert copy.tally.failures == 2
        assert fail(copy, kind) is True
        assert original.tally.calls == 0


# What it can still take

Do = Callable[[Trip], bool]
always_the_same = settings(derandomize=True, deadline=None, database=None, max_examples=300)
RATES = st.sampled_from([0.5, 0.3, 2 / 3, 1.0, 0.1])
MOST = 4
"""Adverse outcomes that are tried out."""


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    calls = draw(st.none() | st.integers(1, 6))
    seconds = draw(st.none() | st.just(10.0)) if calls is None else None
    threshold = draw(st.integers(1, 4))
    if calls is None and seconds is None:
        return Policy(threshold)
    failure_rate = draw(st.none() | RATES)
    slow_call_rate = draw(st.none() | RATES)
    return Policy(
        threshold if calls is None else min(threshold, calls),
        window_calls=calls,
        window_seconds=seconds,
        minimum_calls=draw(st.integers(1, 6 if calls is None else calls)),
        failure_rate=failure_rate,
        slow_call_duration=None if slow_call_rate is None else 1.0,
        slow_call_rate=slow_call_rate,
        failures_in_a_row=draw(st.none() | st.integers(1, 6)),
    )


def after_history(policy: Policy, history: list[str]) -> tuple[Trip, float]:
    """A circuit that is still closed after all of that but what would have opened it."""
    circuit, now = trip_by(policy), 0.0
    for number, step in enumerate(history, start=1):
        twin = circuit.copy()
        match step:
            case "pause":
                now += 3.0
                circuit.tally.advance(now)
                continue
            case "taken back":
                circuit.take_back(min(circuit.overdue or {0: None}))
                continue
            case "overdue":
                if policy.slow_call_rate is None:
                    continue
                opens = overdue(twin, number, now)
            case _:
                if step in "sf" and policy.slow_call_rate is None:
                    continue
                opens = count(twin, step, now)
        if not opens:
            circuit = twin
    return circuit, now


def possibilities(circuit: Trip, at: float) -> Iterator[tuple[bool, Do]]:
    """What may happen next, and whether it is adverse."""
    letters = "SFsf" if circuit.policy.slow_call_rate is not None else "SF"
    for letter in letters:
        yield letter != "S", lambda trip, letter=letter: count(trip, letter, at)  # type: ignore[misc]
    for call in circuit.overdue or {}:
        yield True, lambda trip, call=call: end(trip, call, FAILED, at)  # type: ignore[misc]
        yield False, lambda trip, call=call: end(trip, call, SUCCEEDED, at)  # type: ignore[misc]


def fewest_that_open(circuit: Trip, at: float, any_outcome: bool, most: int) -> int | None:
    """The fewest adverse outcomes that can open it, of all sequences with up to `most`."""
    known: dict[object, int] = {}
    best: int | None = None

    def go_on(circuit: Trip, adverse: int, others: int) -> None:
        nonlocal best
        for is_adverse, do in possibilities(circuit, at):
            cost = adverse + (is_adverse or any_outcome)
            if cost > most or (best is not None and cost >= best):
                continue
            twin = circuit.copy()
            if do(twin):
                best = cost
                continue
            free = 0 if cost > adverse else others + 1
            if free <= MOST and known.get(key := (state(twin), free), most + 1) > cost:
                known[key] = cost
                go_on(twin, cost, free)

    go_on(circuit, 0, 0)
    return best


def state(circuit: Trip) -> object:
    tally = circuit.tally
    held = bytes(tally.entries) if isinstance(tally, CallWindow) else None
    figures = tally.calls, tally.failures, tally.slow
    row = circuit.row if isinstance(circuit, RowTrip) else 0
    return held, figures, frozenset(circuit.overdue or {}), row


def of_any_size(chance: random.Random) -> Trip:
    """A closed circuit with up to 200 calls in its window, which looks at a number, at shares, or
    at both.
    """
    size = chance.randint(1, 200)
    window: dict[str, Any] = chance.choice([{"window_calls": size}, {"window_seconds": 10}])
    looks: dict[str, Any] = {"failure_threshold": chance.randint(1, size)}
    if chance.random() < 0.7:
        looks["failure_rate"] = chance.choice([0.01, 0.29, 0.5, 0.9, 0.99])
    if chance.random() < 0.5:
        looks["slow_call_rate"] = chance.choice([0.05, 0.5, 0.8])
        looks["slow_call_duration"] = 1.0
    circuit = trip(minimum_calls=chance.randint(1, size), **looks, **window)
    letters = chance.choices(
        "SFsf", [chance.random() for _ in range(4)], k=chance.randint(0, 2 * size)
    )
    if chance.random() < 0.5:
        letters.sort(key="fFsS".index)
    for letter in letters:
        twin = circuit.copy()
        if not count(twin, letter):
            circuit = twin
    return circuit


def would_open(circuit: Trip, times: int) -> bool:
    """Whether so many of the worst calls would open it, told by the rule itself."""
    policy, (calls, failures, slow) = circuit.policy, circuit.tally.after(times, 0)
    enough = calls >= policy.minimum_calls
    if (
        policy.slow_call_rate is not None
        and enough
        and is_share(slow, calls, policy.slow_call_rate)
    ):
        return True
    if policy.failure_rate is None:
        return failures >= policy.failure_threshold
    return enough and is_share(failures, calls, policy.failure_rate)


HISTORIES = st.lists(
    st.sampled_from(["S", "S", "S", "F", "F", "s", "f", "overdue", "taken back", "pause"]),
    max_size=14,
)


class TestSlack:
    """How many adverse outcomes it can take, whatever comes between them."""

    @always_the_same
    @given(policies(), HISTORIES)
    def test_it_is_exact(self, policy: Policy, history: list[str]) -> None:
        """No sequence with fewer opens the circuit, and some sequence with so many does."""
        circuit, now = after_history(policy, history)
        slack = circuit.slack()
        assume(slack <= MOST)
        found = fewest_that_open(circuit, now, circuit.any_outcome, MOST)
        if circuit.overdue and isinstance(circuit.tally, CallWindow):
            # That other calls may push out those that are overdue is left aside: on the safe side.
            assert found is None or slack <= found
        else:
            assert found == slack
        assert slack >= 1

    @pytest.mark.parametrize(
        ("policy", "text", "slack"),
        [
            ({"failure_threshold": 5}, "", 5),
            ({"failure_threshold": 5}, "FF", 3),
            ({"failure_threshold": 5}, "FFS", 5),
            ({"window_calls": 10, "failure_threshold": 5}, "FFS", 3),
            ({"window_calls": 4, "failure_threshold": 3}, "FFSS", 3),
            ({"window_seconds": 10, "failure_threshold": 5}, "FFS", 3),
            ({"window_calls": 100, "failure_rate": 0.5}, "", 10),
            ({"window_calls": 100, "failure_rate": 0.5}, "SSSSSSSSSSSSFF", 10),
            ({"window_calls": 10**6, "failure_rate": 0.5, "minimum_calls": 10**6}, "", 10**6),
        ],
    )
    def test_by_hand(self, policy: dict[str, Any], text: str, slack: int) -> None:
        """Some that can be worked out in the head."""
        circuit = trip(**policy)
        count(circuit, text)
        assert circuit.slack() == slack

    @pytest.mark.parametrize("seed", range(300))
    def test_it_is_found_as_if_each_number_were_tried(self, seed: int) -> None:
        """In windows of any size, with whatever they remember at their beginning."""
        circuit = of_any_size(random.Random(seed))
        tried = (times for times in count_up(1) if would_open(circuit, times))
        assert circuit.slack() == next(tried)

    def test_there_may_be_no_limit_to_it(self) -> None:
        """A threshold that no number of calls will ever reach."""
        assert trip(window_seconds=10, failure_threshold=2**60).slack() == UNLIMITED

    def test_the_lower_limit_of_another_policy(self) -> None:
        """One more failure opens it, however many there have been."""
        for window in ({}, {"window_calls": 9}, {"window_seconds": 9}):
            circuit = trip(failure_threshold=5, **window)
            count(circuit, "FFFF")
            circuit = reconfigured(circuit, Policy(2, **window), 0.0)
            assert circuit.slack() == 1
            assert not circuit.any_outcome

    def test_calls_that_are_overdue_and_too_old(self) -> None:
        """They can fail, but that will not count."""
        rates = {"slow_call_duration": 1, "slow_call_rate": 1, "failure_rate": 0.5}
        circuit = trip(window_seconds=10, minimum_calls=5, **rates)
        count(circuit, "SSSS")
        overdue(circuit, 1)
        assert circuit.slack() == 4  # three more failures, and that of this call
        count(circuit, "SSSSS", 20.0)
        assert circuit.slack() == 5


class TestAnyOutcome:
    """Whether a success, too, could open it."""

    def test_while_there_are_too_few_calls(self) -> None:
        """The success that makes them enough."""
        circuit = trip(window_calls=5, failure_rate=0.5, minimum_calls=3)
        count(circuit, "FF")
        assert circuit.any_outcome
        assert count(circuit, "S") is True

    def test_not_where_no_share_is_looked_at(self) -> None:
        """Numbers of failures are reached by failures."""
        for window in ({}, {"window_calls": 9}, {"window_seconds": 9}):
            assert not trip(**window).any_outcome

    def test_when_older_successes_have_left_the_window(self) -> None:
        """The share of failures has been reached by time alone, and any outcome shows it."""
        circuit = trip(window_seconds=10, failure_rate=0.6, minimum_calls=5)
        count(circuit, "SSSSS", 0.5)
        assert count(circuit, "FFFFF", 9.0) is False
        assert not circuit.any_outcome
        circuit.tally.advance(10.5)
        assert (circuit.any_outcome, circuit.slack()) == (True, 1)
        assert count(circuit, "S", 10.5) is True

    def test_when_another_policy_has_come(self) -> None:
        """By which the share has been reached."""
        window = {"window_calls": 9, "minimum_calls": 2}
        circuit = trip(failure_rate=1, **window)
        count(circuit, "SFF")
        circuit = reconfigured(circuit, Policy(failure_rate=0.5, **window), 0.0)
        assert (circuit.any_outcome, circuit.slack()) == (True, 1)
        assert count(circuit, "S") is True


class TestExpiry:
    """Up to when the slack is right."""

    def test_a_share_in_time(self) -> None:
        """Until the oldest calls leave the window."""
        circuit = trip(window_seconds=10, failure_rate=0.5)
        assert circuit.expires == math.inf
        count(circuit, "S", 3.5)
        count(circuit, "S", 7.5)
        assert circuit.expires == math.nextafter(13.0, 0.0)

    def test_numbers_and_calls_do_not_expire(self) -> None:
        """A failure that leaves the window only makes the slack greater."""
        for policy in ({}, {"window_seconds": 10}, {"window_calls": 10, "failure_rate": 0.5}):
            circuit = trip(**policy)
            count(circuit, "FF")
            assert circuit.expires == math.inf


@pytest.mark.parametrize(
    "fields",
    [{}, {"window_calls": 7}, {"window_seconds": 10}],
    ids=["in a row", "last calls", "last seconds"],
)
@pytest.mark.parametrize("seed", range(30))
def test_kinds_are_counted_as_if_each_were_alone(fields: dict[str, Any], seed: int) -> None:
    """A kind opens when the circuit would in which failures of that kind alone failed, whatever
    copies are made and written meanwhile.
    """
    luck = random.Random(seed)
    kinds = {name: Failure(name, weight=0, threshold=luck.randint(2, 4)) for name in "abc"}
    circuit, at = trip(**fields, failure_threshold=7), 0.0
    alone = {name: trip(**fields, failure_threshold=kind.threshold) for name, kind in kinds.items()}
    for _ in range(60):
        at += luck.choice((0.0, 0.3, 3.0, 9.0, 12.0))
        name = luck.choice("abcS-")
        kind = kinds.get(name, Failure(weight=0))
        opened = count(circuit, "S", at) if name == "S" else fail(circuit, kind, at=at)
        for each, other in alone.items():
            other.tally.advance(at)
            if each == name:
                assert fail(other, PLAIN_FAILURE, at=at) is opened
            elif name == "S" or "window_calls" in fields:
                count(other, "S", at)
        copy, circuit = circuit, circuit.copy()
        fail(copy, kinds["a"], at=at)  # concerns nobody else
        told = {} if circuit.kinds is None else circuit.kinds.told()
        left = {each for each, other in alone.items() if other.tally.failures}
        assert {each for each, tally in told.items() if _at(tally, at).failures} == left


def _at(tally: Tally, at: float) -> Tally:
    tally = tally.copy()
    tally.advance(at)
    return tally
