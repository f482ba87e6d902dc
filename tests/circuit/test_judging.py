"""What an ended call counts as: every rule, for errors, groups of them, and results."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Generator
from typing import Any

import anyio
import pytest
from anyio import to_thread

from supervisor import CircuitBreaker, CircuitBreakerOpenError
from supervisor.arguments import unwrapped
from supervisor.circuit.judging import Judgement, judge_error, judge_result
from supervisor.errors import CallTimeoutError
from supervisor.policy.outcomes import PLAIN_FAILURE, Failure, Outcome
from supervisor.policy.policy import Policy
from tests.support.clients import Circular, nested, shared
from tests.support.worlds import (
    Down,
    Guarded,
    collect_garbage,
    every_way,
    every_way_and_thread,
    settle_down,
    succeed,
)

SUCCEEDED, IGNORED, CANCELLED = Outcome.SUCCEEDED, Outcome.IGNORED, Outcome.CANCELLED

RATE_LIMIT = Failure("rate limit", weight=2, threshold=5, recovery_timeout=7, retry_after=9)

NO_EXCEPTIONS = [KeyboardInterrupt(), SystemExit(), GeneratorExit(), BaseException()]

FUNCTIONS = ["classify", "failure_on", "ignore", "recovery_from"]
"""Fields that are functions of an error."""


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", errors)


class Listening:
    """A function of the policy's: it notes what it is asked about, and says the same of all."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.asked: list[object] = []

    def __call__(self, about: object) -> Any:
        self.asked.append(about)
        return self.answer


class Registry:
    """A predicate that is falsy, as a container without members is."""

    def __len__(self) -> int:
        return 0

    def __call__(self, error: BaseException) -> bool:
        return isinstance(error, KeyError)


class Promise:
    """To be awaited, but no coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


# --- The plain policy, failure_on and ignore


@pytest.mark.parametrize("error", [Down("down"), Exception(), CircuitBreakerOpenError("other")])
def test_by_default_every_exception_is_a_failure(error: Exception) -> None:
    """Also the refusal of another circuit."""
    assert judge_error(Policy(), error) is PLAIN_FAILURE


@pytest.mark.parametrize("error", NO_EXCEPTIONS, ids=repr)
@pytest.mark.parametrize("failure_on_cancel", [False, True])
def test_what_is_no_exception_counts_as_cancelled(
    error: BaseException, failure_on_cancel: bool
) -> None:
    """By default, and also where cancellations are failures: it is none."""
    assert judge_error(Policy(failure_on_cancel=failure_on_cancel), error) is CANCELLED


@pytest.mark.parametrize(
    ("failure_on", "error", "judgement"),
    [
        (OSError, Down(), PLAIN_FAILURE),
        (OSError, KeyError(), SUCCEEDED),
        ((KeyError, OSError), Down(), PLAIN_FAILURE),
        ([KeyError, OSError], Down(), PLAIN_FAILURE),
        (KeyError, GeneratorExit(), CANCELLED),
        ((OSError, GeneratorExit), GeneratorExit(), PLAIN_FAILURE),
        ((OSError, GeneratorExit), KeyboardInterrupt(), CANCELLED),
        (BaseException, KeyboardInterrupt(), PLAIN_FAILURE),
        (lambda error: "500" in str(error), Down("500"), PLAIN_FAILURE),
        (lambda error: "500" in str(error), Down("404"), SUCCEEDED),
        (lambda error: [error], Down(), PLAIN_FAILURE),
        (lambda _: None, Down(), SUCCEEDED),
        (lambda _: True, KeyboardInterrupt(), CANCELLED),
        ((KeyError, lambda error: "500" in str(error)), Down("500"), PLAIN_FAILURE),
        ((KeyError, lambda error: "500" in str(error)), KeyError(), PLAIN_FAILURE),
        ((KeyError, lambda error: "500" in str(error)), Down("404"), SUCCEEDED),
        ([lambda _: True, KeyboardInterrupt], KeyboardInterrupt(), PLAIN_FAILURE),
        ([lambda _: True, KeyboardInterrupt], SystemExit(), CANCELLED),
        ((Exception, lambda _: False), StopAsyncIteration(), SUCCEEDED),
        ((Exception, lambda _: True), StopAsyncIteration(), PLAIN_FAILURE),
    ],
)
def test_failure_on(failure_on: Any, error: BaseException, judgement: Judgement) -> None:
    """Types and truthy answers make failures; an `Exception` that is not meant is a success."""
    assert judge_error(Policy(failure_on=failure_on), error) is judgement


@pytest.mark.parametrize(
    ("ignore", "error", "judgement"),
    [
        (OSError, Down(), IGNORED),
        (OSError, KeyError(), PLAIN_FAILURE),
        ((OSError, KeyError), KeyError(), IGNORED),
        (KeyboardInterrupt, KeyboardInterrupt(), IGNORED),
        (BaseException, SystemExit(), IGNORED),
        (CallTimeoutError, CallTimeoutError(), IGNORED),
        (lambda error: error.args, Down("text"), IGNORED),
        (lambda error: error.args, Down(), PLAIN_FAILURE),
        (Registry(), KeyError(), IGNORED),
        (Registry(), OSError(), PLAIN_FAILURE),
        (lambda _: True, KeyboardInterrupt(), CANCELLED),
        ((KeyError, lambda error: error.args), Down("text"), IGNORED),
        ([lambda error: error.args, KeyError], KeyError(), IGNORED),
        ([lambda error: error.args, KeyError], Down(), PLAIN_FAILURE),
    ],
)
def test_ignore(ignore: Any, error: BaseException, judgement: Judgement) -> None:
    """What is ignored counts as nothing; what is not goes on to `failure_on`."""
    assert judge_error(Policy(ignore=ignore), error) is judgement


def test_ignore_goes_before_failure_on() -> None:
    """An error that both mean counts as nothing, and `failure_on` is not asked."""
    failure_on = Listening(answer=True)
    policy = Policy(failure_on=failure_on, ignore=ConnectionError)
    assert judge_error(policy, Down()) is IGNORED
    assert failure_on.asked == []
    assert judge_error(policy, OSError()) is PLAIN_FAILURE


@pytest.mark.parametrize("failure_on", [KeyError, lambda _: False])
def test_a_timeout_of_its_own_is_always_a_failure(failure_on: Any) -> None:
    """A breaker's own timeout counts whatever `failure_on` says; another one does not."""
    policy = Policy(failure_on=failure_on)
    assert judge_error(policy, CallTimeoutError()) is PLAIN_FAILURE
    assert judge_error(policy, group(CallTimeoutError(), KeyError())) is PLAIN_FAILURE
    assert judge_error(policy, TimeoutError()) is SUCCEEDED


# --- classify


@pytest.mark.parametrize("judgement", [RATE_LIMIT, PLAIN_FAILURE, SUCCEEDED, IGNORED, CANCELLED])
@pytest.mark.parametrize("error", [Down(), CallTimeoutError(), group(Down())], ids=repr)
def test_classify_is_believed(judgement: Judgement, error: BaseException) -> None:
    """What it returns is taken as it is, and the other fields are not asked."""
    other = Listening(answer=True)
    policy = Policy(classify=lambda _: judgement, ignore=other, failure_on=other)
    assert judge_error(policy, error) is judgement
    assert judge_result(policy, "result") is judgement
    assert other.asked == []


def test_failed_is_a_plain_failure() -> None:
    """The outcome FAILED says no more than that; callers are given a `Failure`."""
    policy = Policy(classify=lambda _: Outcome.FAILED, failure_on=KeyError)
    assert judge_error(policy, Down()) is PLAIN_FAILURE
    assert judge_result(policy, "result") is PLAIN_FAILURE


def test_classify_may_leave_it_to_the_rest() -> None:
    """After None the other fields decide."""
    policy = Policy(classify=lambda _: None, failure_on=OSError, ignore=Down)
    assert judge_error(policy, Down()) is IGNORED
    assert judge_error(policy, OSError()) is PLAIN_FAILURE
    assert judge_error(policy, KeyError()) is SUCCEEDED
    assert judge_result(policy, "result") is SUCCEEDED


@pytest.mark.parametrize("answer", [True, False, 0, "failed", Failure, Outcome, ValueError()])
def test_classify_must_return_what_is_asked_for(answer: object) -> None:
    """The error names it, what it may return, and what it has returned."""
    policy = Policy(classify=Listening(answer))
    with pytest.raises(TypeError) as caught:
        judge_error(policy, Down())
    text = f"classify must return a Failure, an Outcome or None, got {answer!r}"
    assert str(caught.value) == text
    with pytest.raises(TypeError, match=r"^classify must return"):
        judge_result(policy, "result")


@pytest.mark.parametrize("error", [*NO_EXCEPTIONS, group(SystemExit())], ids=repr)
def test_classify_is_asked_about_exceptions_only(error: BaseException) -> None:
    """It is not asked about what is no `Exception`, nor about a group that holds none."""
    classify = Listening(answer=IGNORED)
    assert judge_error(Policy(classify=classify), error) is CANCELLED
    assert classify.asked == []


# --- Groups


def test_classify_is_asked_about_a_group_and_then_its_errors() -> None:
    """From the outside to the inside, in order, and not about what is no `Exception`."""
    first, second, interrupt = Down("first"), Down("second"), KeyboardInterrupt()
    quiet = group(SystemExit())
    inner = group(second, interrupt)
    outer = group(first, quiet, inner)
    classify = Listening()
    assert judge_error(Policy(classify=classify), outer) is PLAIN_FAILURE
    assert classify.asked == [outer, first, inner, second]


@pytest.mark.parametrize("classify", [None, lambda _: None], ids=["plain", "classify"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyError(), PLAIN_FAILURE), (Down(), IGNORED), (KeyboardInterrupt(), CANCELLED)],
    ids=["failure", "ignored", "interrupt"],
)
def test_groups_may_be_in_each_other_as_deep_as_they_like(
    classify: Any, error: BaseException, expected: Judgement
) -> None:
    """Nothing calls itself for each of them."""
    assert judge_error(Policy(ignore=Down, classify=classify), nested(error)) is expected


@pytest.mark.anyio
@every_way
@pytest.mark.parametrize("fields", [{}, {"ignore": KeyError}, {"timeout": 9}], ids=str)
async def test_groups_in_each_other_are_counted(guarded: Guarded, fields: dict[str, Any]) -> None:
    """In every way, and they come through unchanged."""
    breaker, error = CircuitBreaker("x", **fields), nested(Down())

    async def fail() -> str:
        raise error

    with pytest.raises(ExceptionGroup) as caught:
        await guarded(breaker, fail)
    assert caught.value is error
    assert breaker.statistics().failed == 1


ODD_GROUPS = [
    pytest.param(shared, Down(), id="shared"),
    pytest.param(lambda error: Circular("", [KeyError(), error]), Down(), id="circular"),
    pytest.param(lambda error: Circular("", [error]), KeyError(), id="holds nothing else"),
]


@pytest.mark.parametrize(("grouped", "error"), ODD_GROUPS)
@pytest.mark.parametrize("classify", [None, lambda _: None], ids=["", "classify"])
def test_what_is_in_several_groups_is_judged_once(
    grouped: Callable[[BaseException], BaseException], error: BaseException, classify: Any
) -> None:
    """Else it would take for ever, as with a group that says that it is in itself."""
    assert judge_error(Policy(failure_on=KeyError, classify=classify), grouped(error)) is SUCCEEDED
    assert judge_error(Policy(classify=classify), grouped(error)) is PLAIN_FAILURE


class Nameless(type):
    """Its types do not tell what they are called."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__name__":
            raise LookupError(name)
        return super().__getattribute__(name)


class Unnamed(Exception, metaclass=Nameless):
    """An error of such a type."""


@pytest.mark.anyio
@every_way_and_thread
async def test_an_error_whose_type_does_not_tell_its_name(guarded: Guarded) -> None:
    """Its text cannot be made, and the call has failed all the same."""
    breaker = CircuitBreaker("x", classify=lambda _: None)
    await breaker.call(succeed)

    async def fail() -> str:
        raise Unnamed

    with pytest.raises(LookupError):
        await guarded(breaker, fail)
    await settle_down()
    figures = breaker.statistics()
    assert (figures.failed, figures.cancelled, figures.in_flight) == (1, 0, 0)


def test_classify_may_decide_about_a_group_within() -> None:
    """Its errors are then not looked at, but those beside it are."""
    inner = group(Down(), Down())
    outer = group(inner, KeyError())
    policy = Policy(
        classify=lambda error: IGNORED if error is inner else None, failure_on=ConnectionError
    )
    assert judge_error(policy, outer) is SUCCEEDED
    assert judge_error(policy, group(outer, Down())) is PLAIN_FAILURE


def test_the_worst_of_a_group_counts() -> None:
    """A failure, then cancelled, succeeded, ignored: whatever the order and the nesting."""
    policy = Policy(failure_on=OSError, ignore=LookupError)
    worst_first: list[tuple[type[BaseException], Judgement]] = [
        (Down, PLAIN_FAILURE),
        (KeyboardInterrupt, CANCELLED),
        (ValueError, SUCCEEDED),
        (KeyError, IGNORED),
    ]
    for count in range(1, 5):
        for chosen in itertools.combinations(worst_first, count):
            _, worst = chosen[0]
            for order in itertools.permutations(error for error, _ in chosen):
                flat = group(*(error() for error in order))
                left = right = order[0]()
                for error in order[1:]:
                    left, right = group(left, error()), group(error(), group(right))
                assert judge_error(policy, flat) is worst
                assert judge_error(policy, group(left)) is worst
                assert judge_error(policy, group(right)) is worst


def test_a_plain_policy_looks_into_groups() -> None:
    """A group is a failure if it holds one, and no failure since it is a group."""
    assert judge_error(Policy(), ExceptionGroup("", [Down()])) is PLAIN_FAILURE
    assert judge_error(Policy(), group(KeyboardInterrupt(), Down())) is PLAIN_FAILURE
    assert judge_error(Policy(), group(group(KeyboardInterrupt()))) is CANCELLED


class OwnGroup(ExceptionGroup[Exception]):
    """A client's own."""


class TestGroupsThemselves:
    """What names groups means them as a whole; what means any error, or many, does not."""

    @pytest.mark.parametrize("named", [OwnGroup, ExceptionGroup, BaseExceptionGroup])
    @pytest.mark.parametrize("several", [False, True])
    def test_a_type_of_groups(self, named: type[BaseException], several: bool) -> None:
        """Is looked at before the errors; `ignore` first."""
        means: Any = (KeyError, named) if several else named
        error = OwnGroup("", [Down()])
        assert judge_error(Policy(ignore=means), error) is IGNORED
        assert judge_error(Policy(failure_on=means), error) is PLAIN_FAILURE
        assert judge_error(Policy(failure_on=means, ignore=means), group(error)) is IGNORED
        assert judge_error(Policy(failure_on=means, ignore=Down), error) is PLAIN_FAILURE

    def test_another_type_of_groups(self) -> None:
        """Leaves it to the errors."""
        assert judge_error(Policy(ignore=OwnGroup), group(Down())) is PLAIN_FAILURE
        assert judge_error(Policy(failure_on=OwnGroup), group(Down())) is SUCCEEDED

    def test_a_type_that_means_all(self) -> None:
        """Is about errors, not about what holds them."""
        assert judge_error(Policy(ignore=Exception), group(KeyboardInterrupt())) is CANCELLED
        assert judge_error(Policy(), OwnGroup("", [StopAsyncIteration()])) is SUCCEEDED

    def test_a_function_about_a_group_of_its_own_type(self) -> None:
        """Is asked about that, and then about its errors."""
        error = Down()
        own = OwnGroup("", [error])
        for field in ("ignore", "failure_on"):
            listening = Listening()
            judge_error(Policy(**{field: listening}), own)
            assert listening.asked == [own, error]
        assert judge_error(Policy(ignore=lambda e: isinstance(e, OwnGroup)), own) is IGNORED

    def test_a_function_and_a_type_of_groups(self) -> None:
        """Each is about what it is about by itself: any of the two is enough."""
        listening, error = Listening(), Down()
        means: Any = (listening, ExceptionGroup)
        assert judge_error(Policy(ignore=means), group(error)) is IGNORED
        assert listening.asked == []
        assert judge_error(Policy(ignore=(listening, KeyError)), group(error)) is PLAIN_FAILURE
        assert listening.asked == [error]

    def test_a_function_about_any_other_group(self) -> None:
        """Is asked about its errors only: a task group's says nothing."""
        listening, error = Listening(), Down()
        judge_error(Policy(ignore=listening), group(error))
        assert listening.asked == [error]


@pytest.mark.parametrize(
    ("failures", "counts"),
    [
        ([Failure("a"), Failure("b")], 0),
        ([Failure("a", retry_after=1), Failure("b", retry_after=2)], 1),
        ([Failure("a", retry_after=2), Failure("b", retry_after=2)], 0),
        ([Failure("a", weight=9), Failure("b", retry_after=0.1)], 1),
        ([Failure("a", recovery_timeout=99), Failure("b", retry_after=0.1)], 1),
        ([SUCCEEDED, Failure("a"), CANCELLED, Failure("b")], 1),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_the_failure_that_asks_for_more_counts(
    failures: list[Judgement], counts: int, nested: bool
) -> None:
    """The one with the longest `retry_after`, or else the first."""
    errors = [KeyError(number) for number in range(len(failures))]
    whole = group(errors[0], group(*errors[1:])) if nested else group(*errors)

    def classify(error: BaseException) -> Judgement | None:
        return failures[error.args[0]] if isinstance(error, KeyError) else None

    assert judge_error(Policy(classify=classify), whole) is failures[counts]


# --- Cancellation


async def cancelled() -> BaseException:
    """Be cancelled, and return the error that did it."""
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            caught.append(error)
            raise
    return caught[0]


def check_cancellation(error: BaseException) -> None:
    """Check all rules about a cancellation."""
    classify = Listening(answer=IGNORED)
    asked_never = Listening(answer=True)
    assert judge_error(Policy(), error) is CANCELLED
    assert judge_error(Policy(classify=classify), error) is CANCELLED
    assert judge_error(Policy(failure_on=BaseException), error) is CANCELLED
    assert judge_error(Policy(failure_on=asked_never, ignore=asked_never), error) is CANCELLED
    assert judge_error(Policy(failure_on_cancel=True), error) is PLAIN_FAILURE
    assert judge_error(Policy(failure_on_cancel=True, failure_on=OSError), error) is PLAIN_FAILURE
    assert judge_error(Policy(failure_on_cancel=True, ignore=type(error)), error) is IGNORED
    assert judge_error(Policy(), group(error)) is CANCELLED
    assert judge_error(Policy(), group(error, Down())) is PLAIN_FAILURE
    assert judge_error(Policy(failure_on=OSError), group(KeyError(), error)) is CANCELLED
    assert judge_error(Policy(failure_on_cancel=True), group(error)) is PLAIN_FAILURE
    assert classify.asked == asked_never.asked == []


@pytest.mark.anyio
async def test_a_cancellation() -> None:
    """It is a failure only by `failure_on_cancel`; functions are not asked about it."""
    check_cancellation(await cancelled())


@pytest.mark.anyio
async def test_a_cancellation_of_a_worker_thread() -> None:
    """In the thread, where no event loop runs, it counts the same."""
    await to_thread.run_sync(check_cancellation, await cancelled())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancellation_after_its_event_loop(backend: str) -> None:
    """It counts the same where no event loop runs any more."""
    check_cancellation(anyio.run(cancelled, backend=backend))


@pytest.mark.parametrize("failure_on_cancel", [False, True])
def test_trio_is_not_imported_for_others(
    monkeypatch: pytest.MonkeyPatch, failure_on_cancel: bool
) -> None:
    """Where trio has not been imported, nothing can be its cancellation."""
    monkeypatch.delitem(sys.modules, "trio")
    policy = Policy(failure_on_cancel=failure_on_cancel)
    assert judge_error(policy, KeyboardInterrupt()) is CANCELLED
    judgement = judge_error(policy, asyncio.CancelledError())
    assert judgement is (PLAIN_FAILURE if failure_on_cancel else CANCELLED)
    assert "trio" not in sys.modules


def test_a_cancelled_error_that_is_an_exception_is_no_cancellation() -> None:
    """It has come through every `except Exception` on its way: it counts like one."""

    class Both(asyncio.CancelledError, OSError):
        pass

    assert judge_error(Policy(), Both()) is PLAIN_FAILURE
    assert judge_error(Policy(failure_on=OSError), Both()) is PLAIN_FAILURE
    assert judge_error(Policy(failure_on=KeyError), Both()) is SUCCEEDED


# --- recovery_from


def test_recovery_from_gives_the_failure_its_time() -> None:
    """The rest of the failure stays as it was."""
    error = Down("17")
    policy = Policy(recovery_from=lambda error: int(str(error)))
    assert judge_error(policy, error) == Failure(recovery_timeout=17.0)
    policy = Policy(
        classify=lambda _: Failure("busy", weight=3, threshold=4, retry_after=5),
        recovery_from=lambda _: 8,
    )
    assert judge_error(policy, error) == Failure("busy", 3, 4, 8.0, 5.0)


@pytest.mark.parametrize("seconds", [None, 3])
def test_recovery_from_is_asked_about_failures_of_every_sort(seconds: float | None) -> None:
    """With the error itself; None leaves the policy's own time."""
    failure = Failure(recovery_timeout=seconds)
    for error in (Down(), CallTimeoutError(), GeneratorExit(), asyncio.CancelledError()):
        recovery_from = Listening(seconds)
        policy = Policy(
            failure_on=(Down, GeneratorExit), failure_on_cancel=True, recovery_from=recovery_from
        )
        assert judge_error(policy, error) == failure
        assert recovery_from.asked == [error]


def test_recovery_from_is_asked_about_the_error_that_counted() -> None:
    """Of a group, the one whose failure is taken; the whole, if that was classified."""
    first, second = Down("first"), Down("second")
    whole = group(first, group(second))
    recovery_from = Listening(6)
    assert judge_error(Policy(recovery_from=recovery_from), whole) == Failure(recovery_timeout=6)

    def classify(error: BaseException) -> Judgement | None:
        return Failure(retry_after=1) if error is second else None

    judge_error(Policy(classify=classify, recovery_from=recovery_from), whole)
    judge_error(Policy(classify=lambda _: PLAIN_FAILURE, recovery_from=recovery_from), whole)
    assert recovery_from.asked == [first, second, whole]


def test_recovery_from_is_not_asked_in_vain() -> None:
    """Not about what is no failure, nor about one that has its time, nor about results."""
    recovery_from = Listening(6)
    policy = Policy(
        classify=lambda error: RATE_LIMIT if isinstance(error, Down) else None,
        ignore=KeyError,
        failure_on=OSError,
        failure_on_result=bool,
        recovery_from=recovery_from,
    )
    assert judge_error(policy, Down()) is RATE_LIMIT
    assert judge_error(policy, KeyError()) is IGNORED
    assert judge_error(policy, ValueError()) is SUCCEEDED
    assert judge_error(policy, KeyboardInterrupt()) is CANCELLED
    assert judge_result(policy, "result") is PLAIN_FAILURE
    assert recovery_from.asked == []


NO_HINTS = [
    0,
    -1.5,
    float("inf"),
    float("nan"),
    -float("inf"),
    True,
    "5",
    "soon",
    10**400,
    [],
    None,
]


@pytest.mark.parametrize("answer", NO_HINTS, ids=itertools.count())
def test_what_is_no_number_above_0_is_no_hint(answer: Any) -> None:
    """The call's own error is not replaced, and the policy's time counts."""
    assert judge_error(Policy(recovery_from=Listening(answer)), Down()) is PLAIN_FAILURE
    assert Failure("busy", retry_after=answer, recovery_timeout=answer) == Failure("busy")


def test_hints_are_bounded() -> None:
    """Each of them by `max_retry_after`, and no other time."""
    policy = Policy(recovery_from=Listening(500), max_retry_after=60, recovery_timeout=90)
    assert judge_error(policy, Down()) == Failure(recovery_timeout=60)
    long, short = Failure("a", retry_after=500, recovery_timeout=70), Failure("b", retry_after=5)
    for failure, bounded in (
        (long, Failure("a", retry_after=60, recovery_timeout=60)),
        (short, short),
        (Failure("c"), Failure("c")),
    ):
        policy = Policy(classify=Listening(failure), max_retry_after=60)
        assert judge_error(policy, Down()) == judge_result(policy, "result") == bounded
    policy = Policy(classify=Listening(IGNORED), max_retry_after=60)
    assert judge_error(policy, Down()) is judge_result(policy, "result") is IGNORED


# --- Results


def test_a_result_is_a_success() -> None:
    """Whatever it is, also an error: it was returned."""
    for result in (None, False, Down(), Outcome.FAILED, PLAIN_FAILURE):
        assert judge_result(Policy(), result) is SUCCEEDED


def test_failure_on_result() -> None:
    """A truthy answer makes the result a failure."""
    policy = Policy(failure_on_result=lambda status: status // 500)
    assert judge_result(policy, 503) is PLAIN_FAILURE
    assert judge_result(policy, 404) is SUCCEEDED


def test_classify_goes_before_failure_on_result() -> None:
    """Only what it leaves is asked further."""
    classify = Listening()
    failure_on_result = Listening(answer=True)
    policy = Policy(classify=classify, failure_on_result=failure_on_result)
    assert judge_result(policy, 1) is PLAIN_FAILURE
    classify.answer = SUCCEEDED
    assert judge_result(policy, 2) is SUCCEEDED
    assert (classify.asked, failure_on_result.asked) == ([1, 2], [1])


# --- Hostile functions


async def _async(about: object) -> None: ...


def _later(about: object) -> Any:
    return _async(about)


@pytest.mark.parametrize(
    "func",
    [
        pytest.param(_later, id="coroutine"),
        pytest.param(functools.partial(_later), id="partial of it"),
        pytest.param(Listening(Promise()), id="other awaitable"),
    ],
)
@pytest.mark.parametrize("field", [*FUNCTIONS, "failure_on_result"])
def test_what_would_have_to_be_awaited_is_refused(field: str, func: Callable[..., Any]) -> None:
    """Also if that shows only when it is asked: the error names the field, and no coroutine is left
    to warn about.
    """
    policy = Policy(**{field: func})  # type: ignore[arg-type]
    with pytest.raises(TypeError) as caught:
        if field in FUNCTIONS:
            judge_error(policy, Down())
        judge_result(policy, "result")
    text = f"{field} must be a plain function, got {unwrapped(func)!r}, which is to be awaited"
    assert str(caught.value) == text
    del caught
    collect_garbage()


class Undecided:
    """An answer that is neither true nor false."""

    def __bool__(self) -> bool:
        raise Down("undecided")


def _raise(about: object) -> Any:
    raise Down("hostile")


@pytest.mark.parametrize("field", [*FUNCTIONS[:-1], "failure_on_result"])
def test_what_a_function_raises_comes_through(field: str) -> None:
    """Unchanged: it is for the caller of the judging to deal with."""
    policy = Policy(**{field: _raise})  # type: ignore[arg-type]
    with pytest.raises(Down, match=r"^hostile$"):
        if field in FUNCTIONS:
            judge_error(policy, group(KeyError()))
        judge_result(policy, "result")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, None),
        (0, None),
        (-5.0, None),
        (-math.inf, None),
        ("30", "returned str, not a finite int or float"),
        (math.nan, "returned float, not a finite int or float"),
        (math.inf, "returned float, not a finite int or float"),
        (True, "returned bool, not a finite int or float"),
        (KeyError("Retry-After"), "raised KeyError"),
    ],
    ids=repr,
)
def test_a_hint_that_makes_no_sense(answer: object, said: str | None) -> None:
    """It is none, and is told once, at the function; the failure is one as any other."""

    def recovery_from(_: BaseException) -> Any:
        if isinstance(answer, KeyError):
            raise answer
        return answer

    policy = Policy(recovery_from=recovery_from)
    line = recovery_from.__code__.co_firstlineno
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            assert judge_error(policy, Down()) is PLAIN_FAILURE
    told = [(str(each.message), each.filename, each.lineno) for each in caught]
    name = recovery_from.__qualname__
    text = f"recovery_from={name} has {said}, which is no hint"
    assert told == ([] if said is None else [(text, __file__, line)])


def test_a_hint_never_replaces_the_error_of_the_call() -> None:
    """Also where warnings are errors, and whatever gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judge_error(Policy(recovery_from=_raise), Down()) is PLAIN_FAILURE
        listening = Listening("soon")
        assert judge_error(Policy(recovery_from=listening), Down()) is PLAIN_FAILURE


@pytest.mark.parametrize("field", ["failure_on", "ignore", "failure_on_result"])
def test_what_an_answer_raises_comes_through(field: str) -> None:
    """Answers are taken by their truth, and asking for that is user code, too."""
    policy = Policy(**{field: Listening(Undecided())})  # type: ignore[arg-type]
    with pytest.raises(Down, match=r"^undecided$"):
        if field in FUNCTIONS:
            judge_error(policy, KeyError())
        judge_result(policy, "result")


class TestEndOfAStream:
    """`StopAsyncIteration`, as `breaker.call(stream.__anext__)` raises it."""

    @pytest.mark.parametrize(
        ("fields", "judgement"),
        [
            ({}, SUCCEEDED),
            ({"failure_on": (OSError, Exception)}, SUCCEEDED),
            ({"failure_on": BaseException}, SUCCEEDED),
            ({"failure_on": StopAsyncIteration}, PLAIN_FAILURE),
            ({"failure_on": (OSError, StopAsyncIteration)}, PLAIN_FAILURE),
            ({"failure_on": lambda _: True}, PLAIN_FAILURE),
            ({"classify": lambda _: Outcome.FAILED}, PLAIN_FAILURE),
            ({"ignore": Exception}, IGNORED),
        ],
    )
    def test_it_is_an_answer_unless_it_is_named(
        self, fields: dict[str, Any], judgement: Judgement
    ) -> None:
        """No wider type means it, and whoever names it is heard; in a group it is the same."""
        assert judge_error(Policy(**fields), StopAsyncIteration()) == judgement
        assert judge_error(Policy(**fields), group(StopAsyncIteration())) == judgement

    def test_it_does_not_hide_a_failure(self) -> None:
        """A group is what the worst of its errors is."""
        assert judge_error(Policy(), group(StopAsyncIteration(), Down())) == PLAIN_FAILURE

    @pytest.mark.anyio
    @every_way
    @pytest.mark.parametrize(
        "fields",
        [{}, {"window_calls": 10, "failure_rate": 0.5}, {"window_seconds": 60}, {"timeout": 9}],
        ids=str,
    )
    async def test_streams_without_elements_open_no_circuit(
        self, guarded: Guarded, fields: dict[str, Any]
    ) -> None:
        """In every way and by every policy each of them counts as a success."""
        breaker = CircuitBreaker("stream", **fields)
        await breaker.call(succeed)

        async def end() -> str:
            raise StopAsyncIteration

        for _ in range(10):
            with pytest.raises(StopAsyncIteration):
                await guarded(breaker, end)
        figures = breaker.statistics()
        assert (figures.state, figures.succeeded, figures.failed) == ("closed", 11, 0)

    @pytest.mark.anyio
    async def test_whoever_settles_by_hand_is_believed(self) -> None:
        """`permit.fail` of it is a failure."""
        breaker = CircuitBreaker("stream")
        for _ in range(3):
            (await breaker.acquire()).fail(StopAsyncIteration())
        assert breaker.state == "open"
