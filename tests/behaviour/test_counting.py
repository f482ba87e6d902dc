"""What a call counts as, by every part of a policy that says so, and by every way into a guard."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from supervisor import CircuitBreaker, CircuitBreakerOpenError, CircuitState
from supervisor.policy.outcomes import Failure, Outcome
from tests.support.worlds import (
    Down,
    Guarded,
    by_block,
    by_call,
    by_decorator,
    by_permit,
    by_thread,
    every_way,
    every_way_and_thread,
    fail,
    fail_times,
    half_open,
    succeed,
)

pytestmark = pytest.mark.anyio

OUTCOMES = ("succeeded", "failed", "ignored", "cancelled")

with_result = pytest.mark.parametrize("guarded", [by_call, by_decorator, by_thread])
without_result = pytest.mark.parametrize("guarded", [by_block, by_permit])


class NotFound(LookupError):
    """What a dependency raises that is well."""


class Interrupt(BaseException):
    """Neither an `Exception` nor a cancellation."""


def counted(breaker: CircuitBreaker) -> dict[str, int]:
    """What the circuit's calls have counted as; all of them have ended."""
    now = breaker.statistics()
    assert now.in_flight == 0
    return {outcome: n for outcome in OUTCOMES if (n := getattr(now, outcome))}


def raising(error: BaseException) -> Callable[[], Awaitable[str]]:
    async def function() -> str:
        raise error

    return function


async def raised_by(
    guarded: Guarded, breaker: CircuitBreaker, error: BaseException
) -> BaseException:
    """Make a call that raises `error`, and return what comes out."""
    try:
        await guarded(breaker, raising(error))
    except BaseException as caught:
        return caught
    raise AssertionError("nothing came out")


class TestErrors:
    """`failure_on` and `ignore`."""

    @every_way_and_thread
    async def test_an_error_that_is_meant_is_a_failure(self, guarded: Guarded) -> None:
        """It comes through unchanged, and opens the circuit."""
        breaker = CircuitBreaker("x", 1, failure_on=(ConnectionError, TimeoutError))
        error = Down("down")
        assert await raised_by(guarded, breaker, error) is error
        assert (breaker.state, counted(breaker)) == ("open", {"failed": 1})

    @every_way_and_thread
    async def test_an_error_that_is_not_meant_is_a_success(self, guarded: Guarded) -> None:
        """The dependency has answered: failures in a row are over."""
        breaker = CircuitBreaker("x", 2, failure_on=ConnectionError)
        await fail_times(breaker, 1)
        error = NotFound()
        assert await raised_by(guarded, breaker, error) is error
        assert breaker.failure_count == 0
        assert counted(breaker) == {"failed": 1, "succeeded": 1}

    @every_way_and_thread
    async def test_an_ignored_error_counts_as_nothing(self, guarded: Guarded) -> None:
        """Failures in a row go on after it; it goes before `failure_on`."""
        breaker = CircuitBreaker("x", 2, failure_on=Exception, ignore=LookupError)
        await fail_times(breaker, 1)
        await raised_by(guarded, breaker, NotFound())
        assert breaker.failure_count == 1
        assert counted(breaker) == {"failed": 1, "ignored": 1}
        await fail_times(breaker, 1)
        assert breaker.state is CircuitState.OPEN

    @every_way_and_thread
    async def test_functions_are_asked_about_the_very_error(self, guarded: Guarded) -> None:
        """Each says which errors it means."""
        asked: list[BaseException] = []

        def is_ignored(error: BaseException) -> bool:
            asked.append(error)
            return str(error) == "404"

        def is_failure(error: BaseException) -> bool:
            asked.append(error)
            return str(error).startswith("5")

        breaker = CircuitBreaker("x", 9, failure_on=is_failure, ignore=is_ignored)
        errors = [Down("404"), Down("429"), Down("503")]
        for error in errors:
            await raised_by(guarded, breaker, error)
        assert asked == [errors[0], errors[1], errors[1], errors[2], errors[2]]
        assert counted(breaker) == {"ignored": 1, "succeeded": 1, "failed": 1}

    @every_way_and_thread
    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (ExceptionGroup("", [NotFound(), ExceptionGroup("", [Down()])]), "failed"),
            (ExceptionGroup("", [NotFound(), ValueError()]), "succeeded"),
            (ExceptionGroup("", [NotFound(), NotFound()]), "ignored"),
            (BaseExceptionGroup("", [NotFound(), Interrupt()]), "cancelled"),
            (BaseExceptionGroup("", [Down(), Interrupt()]), "failed"),
        ],
    )
    async def test_a_group_is_what_the_worst_of_its_errors_is(
        self, guarded: Guarded, error: BaseException, outcome: str
    ) -> None:
        """As a task group in the guarded function raises it."""
        breaker = CircuitBreaker("x", failure_on=Down, ignore=NotFound)
        assert await raised_by(guarded, breaker, error) is error
        assert counted(breaker) == {outcome: 1}

    @every_way_and_thread
    async def test_an_interrupt_that_is_meant_is_a_failure(self, guarded: Guarded) -> None:
        """Other errors that are no `Exception` count as cancelled."""
        breaker = CircuitBreaker("x", failure_on=(Interrupt, Exception))
        for error in (Interrupt(), KeyboardInterrupt()):
            assert await raised_by(guarded, breaker, error) is error
        assert counted(breaker) == {"failed": 1, "cancelled": 1}

    @every_way
    async def test_a_probe(self, guarded: Guarded) -> None:
        """It goes on by an ignored error, and closes the circuit by one that is no failure."""
        async with half_open(failure_on=Down, ignore=NotFound) as breaker:
            await raised_by(guarded, breaker, NotFound())
            assert breaker.state is CircuitState.HALF_OPEN
            await raised_by(guarded, breaker, ValueError())
            assert breaker.state is CircuitState.CLOSED


class TestResults:
    """`failure_on_result`, and `classify` of a result."""

    @with_result
    async def test_a_result_can_be_a_failure(self, guarded: Guarded) -> None:
        """The caller gets it all the same; a refusal shows it as the last failure."""
        breaker = CircuitBreaker("x", 2, failure_on_result=lambda result: result == "fine")
        for _ in range(2):
            assert await guarded(breaker, succeed) == "fine"
        assert counted(breaker) == {"failed": 2}
        with pytest.raises(CircuitBreakerOpenError, match=r"last failure: returned a failure"):
            await guarded(breaker, succeed)

    @with_result
    async def test_others_are_successes(self, guarded: Guarded) -> None:
        """So they end a row of failures."""
        breaker = CircuitBreaker("x", 2, failure_on_result=lambda result: result != "fine")
        await fail_times(breaker, 1)
        await guarded(breaker, succeed)
        assert (breaker.failure_count, counted(breaker)) == (0, {"failed": 1, "succeeded": 1})

    @with_result
    @pytest.mark.parametrize(
        ("judgement", "outcome"),
        [
            (Failure("limit"), "failed"),
            (Outcome.FAILED, "failed"),
            (Outcome.IGNORED, "ignored"),
            (Outcome.CANCELLED, "cancelled"),
            (Outcome.SUCCEEDED, "succeeded"),
            (None, "succeeded"),
        ],
    )
    async def test_a_classifier_is_asked_about_results_too(
        self, guarded: Guarded, judgement: object, outcome: str
    ) -> None:
        """What it says of one counts like what it says of an error."""
        breaker = CircuitBreaker("x", classify=lambda _: judgement)
        assert await guarded(breaker, succeed) == "fine"
        assert counted(breaker) == {outcome: 1}

    @with_result
    async def test_a_probe(self, guarded: Guarded) -> None:
        """Such a result opens the circuit again."""
        bad = ["fine"]
        async with half_open(failure_on_result=lambda result: result in bad) as breaker:
            await guarded(breaker, succeed)
            assert breaker.state is CircuitState.OPEN
            await anyio.sleep(30)
            bad.clear()
            await guarded(breaker, succeed)
            assert breaker.state is CircuitState.CLOSED

    @without_result
    async def test_a_block_has_no_result(self, guarded: Guarded) -> None:
        """Nobody is asked about it; its errors are judged."""
        asked: list[object] = []
        breaker = CircuitBreaker("x", classify=asked.append, failure_on_result=asked.append)
        await guarded(breaker, succeed)
        assert asked == []
        error = Down("down")
        await raised_by(guarded, breaker, error)
        assert asked == [error]
        (await breaker.acquire()).succeed()
        assert asked == [error]


class TestCancellation:
    """`failure_on_cancel`."""

    @every_way
    @pytest.mark.parametrize(
        ("failure_on_cancel", "outcome", "state"),
        [(False, "cancelled", "closed"), (True, "failed", "open")],
    )
    async def test_a_cancelled_call(
        self, guarded: Guarded, failure_on_cancel: bool, outcome: str, state: str
    ) -> None:
        """It counts as nothing, or else as a failure; it stays a cancellation."""
        breaker = CircuitBreaker("x", 1, failure_on_cancel=failure_on_cancel)
        with anyio.move_on_after(1) as scope:
            await guarded(breaker, anyio.sleep_forever)
        assert scope.cancelled_caught
        assert (breaker.state, counted(breaker)) == (state, {outcome: 1})

    @pytest.mark.parametrize("failure_on_cancel", [False, True])
    async def test_a_cancelled_function_in_a_thread(self, failure_on_cancel: bool) -> None:
        """It looks at its host, and ends with its cancellation: that of either library."""
        breaker = CircuitBreaker("x", failure_on_cancel=failure_on_cancel)

        for error in (asyncio.CancelledError(), trio.Cancelled._create()):
            assert await raised_by(by_thread, breaker, error) is error
        assert counted(breaker) == {"failed" if failure_on_cancel else "cancelled": 2}

    async def test_who_only_asks_has_not_failed(self) -> None:
        """A call that is cancelled before it was admitted has not reached the dependency."""
        async with half_open(failure_on_cancel=True) as breaker:
            permit = await breaker.acquire()  # no block: calls in it would be parts of it
            for asking in (breaker.acquire(wait=9), breaker.waiting(9).call(succeed)):
                with anyio.move_on_after(1):
                    await asking
            permit.succeed()
            assert counted(breaker) == {"failed": 1, "cancelled": 2, "succeeded": 1}
            assert breaker.state is CircuitState.CLOSED


class TestKinds:
    """`classify`, which tells failures apart."""

    @every_way_and_thread
    async def test_weights(self, guarded: Guarded) -> None:
        """A failure counts for as many as it weighs; for the figures it is one."""
        weights = {"light": 0, "heavy": 3}
        breaker = CircuitBreaker(
            "x", 5, classify=lambda error: Failure(str(error), weights[str(error)])
        )
        for _ in range(4):
            await raised_by(guarded, breaker, Down("light"))
        assert breaker.failure_count == 0
        await raised_by(guarded, breaker, Down("heavy"))
        assert (breaker.state, breaker.failure_count) == ("closed", 3)
        await raised_by(guarded, breaker, Down("heavy"))
        assert (breaker.state, breaker.failure_count) == ("open", 6)
        assert counted(breaker) == {"failed": 6}

    @every_way_and_thread
    async def test_a_threshold_of_its_own(self, guarded: Guarded) -> None:
        """So many of one kind in a row open the circuit; a success ends the row."""

        def classify(error: object) -> Failure | None:
            return Failure("login", threshold=2) if str(error) == "401" else None

        breaker = CircuitBreaker("x", 9, classify=classify)
        await raised_by(guarded, breaker, Down("401"))
        await raised_by(guarded, breaker, Down("500"))
        await guarded(breaker, succeed)
        await raised_by(guarded, breaker, Down("401"))
        assert breaker.state is CircuitState.CLOSED
        await raised_by(guarded, breaker, Down("401"))
        assert (breaker.state, breaker.failure_count) == ("open", 2)

    async def test_a_threshold_of_its_own_under_load(self) -> None:
        """It is exact however the calls lie among others that are under way."""

        def classify(error: object) -> Failure | None:
            return Failure("login", threshold=3) if isinstance(error, NotFound) else None

        breaker = CircuitBreaker("x", 100, window_calls=100, classify=classify)
        permits = [await breaker.acquire() for _ in range(9)]
        for number, permit in enumerate(permits):
            assert breaker.state is CircuitState.CLOSED
            permit.fail(NotFound() if number % 3 == 2 else Down())
        assert breaker.state is CircuitState.OPEN

    @every_way_and_thread
    async def test_a_recovery_timeout_of_its_own(self, guarded: Guarded) -> None:
        """It counts if it is this failure that opens the circuit."""
        seconds = {"slow": 100.0, "fast": 5.0}
        breaker = CircuitBreaker(
            "x", 2, classify=lambda e: Failure(recovery_timeout=seconds[str(e)])
        )
        await raised_by(guarded, breaker, Down("slow"))
        await raised_by(guarded, breaker, Down("fast"))
        assert (breaker.state, breaker.retry_after) == ("open", 5.0)

    @every_way_and_thread
    @pytest.mark.parametrize(("retry_after", "seconds"), [(120, 120.0), (7, 30.0)])
    async def test_retry_after(self, guarded: Guarded, retry_after: int, seconds: float) -> None:
        """The circuit opens at once for so long; a longer time by the policy is not shortened."""
        breaker = CircuitBreaker("x", 9, classify=lambda _: Failure(retry_after=retry_after))
        await raised_by(guarded, breaker, Down("429"))
        assert (breaker.state, breaker.retry_after) == ("open", seconds)
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            await guarded(breaker, succeed)
        assert (refusal.value.retry_after, refusal.value.last_failure) == (seconds, "Down")

    async def test_retry_after_a_probe(self) -> None:
        """A probe is told to wait like any other call."""
        policy: dict[str, Any] = {
            "recovery_timeout": 10,
            "classify": lambda error: Failure(retry_after=60) if str(error) == "429" else None,
        }
        async with half_open(**policy) as breaker:
            await raised_by(by_call, breaker, Down("429"))
            assert (breaker.state, breaker.retry_after) == ("open", 60.0)

    @every_way_and_thread
    async def test_none_leaves_it_to_the_other_fields(self, guarded: Guarded) -> None:
        """As if there were no classifier."""
        breaker = CircuitBreaker("x", classify=lambda _: None, failure_on=Down, ignore=NotFound)
        for error in (Down(), NotFound(), ValueError()):
            await raised_by(guarded, breaker, error)
        assert counted(breaker) == {"failed": 1, "ignored": 1, "succeeded": 1}

    @every_way_and_thread
    @pytest.mark.parametrize("outcome", Outcome)
    async def test_an_outcome_goes_before_the_other_fields(
        self, guarded: Guarded, outcome: Outcome
    ) -> None:
        """Whatever they say of the error."""
        breaker = CircuitBreaker("x", classify=lambda _: outcome, ignore=Exception)
        await raised_by(guarded, breaker, Down())
        assert counted(breaker) == {outcome.value: 1}

    @every_way_and_thread
    async def test_recovery_from(self, guarded: Guarded) -> None:
        """It is asked about the error; None stands for the policy's own time."""
        asked: list[BaseException] = []

        def seconds(error: BaseException) -> float | None:
            asked.append(error)
            return 5 if str(error) == "restarting" else None

        breaker = CircuitBreaker("x", 1, 60, recovery_from=seconds)
        errors = [Down("restarting"), Down("gone")]
        for error, expected in zip(errors, (5.0, 60.0), strict=True):
            await raised_by(guarded, breaker, error)
            assert breaker.retry_after == expected
            breaker.reset()
        assert asked == errors


class TestTimeOpen:
    """How long the circuit stays open, if nobody else says so."""

    async def test_it_grows_with_each_failed_recovery(self) -> None:
        """Up to its maximum; once the circuit has closed, it begins anew."""
        breaker = CircuitBreaker("x", 1, 10, recovery_factor=3, max_recovery_timeout=50)
        for round_ in range(2):
            seconds = [await seconds_open(breaker) for _ in range(4)]
            assert seconds == [10.0, 30.0, 50.0, 50.0], round_
            await breaker.call(succeed)
            assert breaker.state is CircuitState.CLOSED

    async def test_what_a_failure_asks_for_grows_too(self) -> None:
        """But a server's own request is respected, however long."""
        answers = [Failure(recovery_timeout=20), Failure(retry_after=500)]
        breaker = CircuitBreaker(
            "x",
            1,
            10,
            recovery_factor=2,
            max_recovery_timeout=50,
            classify=lambda _: answers[min(1, breaker.statistics().times_opened // 3)],
        )
        assert [await seconds_open(breaker) for _ in range(4)] == [20.0, 40.0, 50.0, 500.0]

    async def test_jitter(self) -> None:
        """Many circuits that have opened at once do not probe at once."""
        seconds: list[float] = []
        for number in range(100):
            breaker = CircuitBreaker(f"{number}", 1, 10, recovery_jitter=0.3)
            with pytest.raises(Down):
                await breaker.call(fail)
            seconds.append(breaker.retry_after)
        assert len(set(seconds)) == 100
        assert 7 <= min(seconds) < 8
        assert 12 < max(seconds) <= 13


async def seconds_open(breaker: CircuitBreaker) -> float:
    """Let a call open the circuit, and return for how long; wait for that time."""
    with pytest.raises(Down):
        await breaker.call(fail)
    seconds = breaker.retry_after
    await anyio.sleep(seconds)
    assert breaker.state is CircuitState.HALF_OPEN
    return seconds


class TestPermitsByHand:
    """`permit.fail(error)`: a failure, whatever the policy says of such an error."""

    @pytest.mark.parametrize(
        "policy",
        [
            {"ignore": Down},
            {"failure_on": ValueError},
            {"classify": lambda _: Outcome.SUCCEEDED},
            {"classify": lambda _: Outcome.IGNORED, "timeout": 5},
        ],
    )
    async def test_it_is_a_failure(self, policy: dict[str, Any]) -> None:
        """Also where the same error out of a block would be none."""
        breaker = CircuitBreaker("x", 1, **policy)
        (await breaker.acquire()).fail(Down("down"))
        now = breaker.statistics()
        assert (now.state, now.failed, now.last_failure) == ("open", 1, "Down: down")

    async def test_its_kind_is_the_policys(self) -> None:
        """A classifier and `recovery_from` are asked about the error."""
        breaker = CircuitBreaker(
            "x", 4, classify=lambda _: Failure("a", weight=3), recovery_from=lambda _: 99
        )
        for _ in range(2):
            (await breaker.acquire()).fail(Down())
        assert (breaker.failure_count, breaker.retry_after) == (6, 99.0)

    async def test_without_an_error_it_is_a_plain_failure(self) -> None:
        """Nobody is asked."""
        breaker = CircuitBreaker("x", 9, classify=pytest.fail, recovery_from=pytest.fail)
        (await breaker.acquire()).fail()
        assert (breaker.failure_count, counted(breaker)) == (1, {"failed": 1})

    async def test_succeed_and_ignore_ask_nobody(self) -> None:
        """What is said by hand is final."""
        breaker = CircuitBreaker("x", classify=pytest.fail, failure_on_result=pytest.fail)
        (await breaker.acquire()).succeed()
        (await breaker.acquire()).ignore()
        assert counted(breaker) == {"succeeded": 1, "ignored": 1}


class TestFunctionsOfThePolicy:
    """They are the user's code: they may do anything, and lose no report by it."""

    @every_way_and_thread
    @pytest.mark.parametrize("field", ["failure_on", "ignore", "classify"])
    async def test_one_that_raises_about_an_error(self, guarded: Guarded, field: str) -> None:
        """Its error comes through, with the call's as context; the call has failed."""

        def raise_error(error: BaseException) -> bool:
            raise ZeroDivisionError

        breaker = CircuitBreaker("x", 1, **{field: raise_error})
        error = Down("down")
        caught = await raised_by(guarded, breaker, error)
        assert isinstance(caught, ZeroDivisionError)
        assert caught.__context__ is error
        assert (breaker.state, counted(breaker)) == ("open", {"failed": 1})

    @with_result
    @pytest.mark.parametrize("field", ["failure_on_result", "classify"])
    async def test_one_that_raises_about_a_result(self, guarded: Guarded, field: str) -> None:
        """Its error comes through; the call has succeeded."""

        def raise_error(result: object) -> bool:
            raise ZeroDivisionError

        breaker = CircuitBreaker("x", 1, **{field: raise_error})
        with pytest.raises(ZeroDivisionError):
            await guarded(breaker, succeed)
        assert (breaker.state, counted(breaker)) == ("closed", {"succeeded": 1})

    @every_way_and_thread
    async def test_an_interrupt_while_one_is_asked(self, guarded: Guarded) -> None:
        """Ctrl-C at that moment: the probe's place is free again, and the failure counted."""

        def interrupted(error: BaseException) -> None:
            raise KeyboardInterrupt

        breaker = CircuitBreaker("x", 9, classify=interrupted)
        assert isinstance(await raised_by(guarded, breaker, Down()), KeyboardInterrupt)
        assert counted(breaker) == {"failed": 1}

    @every_way_and_thread
    @pytest.mark.parametrize(
        ("field", "answer", "error", "message"),
        [
            ("classify", "failed", TypeError, "classify must return a Failure, .* got 'failed'"),
            ("classify", 5, TypeError, "classify must return a Failure, .* got 5"),
        ],
    )
    async def test_one_that_returns_what_it_must_not(
        self, guarded: Guarded, field: str, answer: Any, error: type[Exception], message: str
    ) -> None:
        """The error names the field; the call has failed."""
        breaker = CircuitBreaker("x", 9, **{field: lambda _: answer})
        with pytest.raises(error, match=message):
            await guarded(breaker, fail)
        assert counted(breaker) == {"failed": 1}

    @every_way_and_thread
    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "soon"], ids=str)
    async def test_nonsense_is_no_hint(self, guarded: Guarded, seconds: Any) -> None:
        """The call's own error comes out, and the circuit is open for its usual time."""
        breaker = CircuitBreaker("x", 1, 20.0, recovery_from=lambda _: seconds)
        assert isinstance(await raised_by(guarded, breaker, Down()), Down)
        assert (breaker.state, breaker.retry_after) == ("open", pytest.approx(20, abs=0.1))
        breaker = CircuitBreaker("y", 1, 20.0, classify=lambda _: Failure(retry_after=seconds))
        assert isinstance(await raised_by(guarded, breaker, Down()), Down)
        assert (breaker.state, breaker.retry_after) == ("open", pytest.approx(20, abs=0.1))

    @every_way_and_thread
    @pytest.mark.parametrize("field", ["failure_on", "ignore", "classify", "recovery_from"])
    async def test_one_that_turns_out_to_be_async(self, guarded: Guarded, field: str) -> None:
        """It is named, and what it returned is not left un-awaited."""

        async def judge(error: object) -> bool:
            return True

        def seems_plain(error: object) -> object:
            return judge(error)

        breaker = CircuitBreaker("x", 9, **{field: seems_plain})
        with pytest.raises(TypeError, match=f"^{field} must be a plain function"):
            await guarded(breaker, fail)
        assert counted(breaker) == {"failed": 1}

    async def test_one_that_uses_the_breaker(self) -> None:
        """It may read, reset and make a permit's decision."""
        states: list[str] = []

        def classify(error: object) -> None:
            states.append(breaker.state)
            breaker.reset()

        breaker = CircuitBreaker("x", 1, classify=classify)
        await raised_by(by_call, breaker, Down())
        assert (states, breaker.state, breaker.statistics().stale) == (["closed"], "closed", 1)

    @every_way_and_thread
    async def test_it_runs_where_the_call_was_made(self, guarded: Guarded) -> None:
        """In the caller's task or thread, never in the actor."""
        where: list[object] = []

        def here() -> object:
            if threading.current_thread() is main:
                return anyio.get_current_task().id
            return "in a thread"

        def classify(error: object) -> None:
            where.append(here())

        async def function() -> str:
            where.append(here())
            raise Down

        main = threading.current_thread()
        breaker = CircuitBreaker("x", classify=classify)
        with pytest.raises(Down):
            await guarded(breaker, function)
        assert len(where) == 2
        assert len(set(where)) == 1


@every_way
async def test_every_outcome_of_many_calls_at_once(guarded: Guarded) -> None:
    """However many calls of whatever outcome overlap, each is counted once, as what it is."""
    draw = random.Random(3)
    errors: dict[str, BaseException | None] = {
        "failed": Down(),
        "ignored": NotFound(),
        "succeeded": None,
        "cancelled": Interrupt(),
    }
    expected: Counter[str] = Counter()
    breaker = CircuitBreaker("x", 10**6, failure_on=Down, ignore=NotFound, classify=lambda _: None)

    async def ending(ticks: int, error: BaseException | None) -> str:
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        if error is not None:
            raise error
        return "fine"

    async def worker() -> None:
        for _ in range(50):
            outcome = draw.choice(OUTCOMES)
            expected[outcome] += 1
            with suppress(Down, NotFound, Interrupt):
                await guarded(breaker, partial(ending, draw.randrange(4), errors[outcome]))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(worker)
    assert counted(breaker) == expected
