"""What an ended call counts as, by the part of a policy that says what counts.

Run by whoever made the call, never by an actor: it is user code that is asked here. What that
code raises comes through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import isawaitable, iscoroutine
from typing import Any, Final, cast

from supervisor.arguments import check_seconds, shown, unwrapped
from supervisor.errors import LONGEST_FAILURE, CallTimeoutError, describe
from supervisor.loop import is_cancellation
from supervisor.policy import (
    PLAIN_FAILURE,
    Classifier,
    Errors,
    Failure,
    Judgement,
    Outcome,
    Policy,
)

Report = Callable[[Judgement, "str | None"], None]
"""Takes what a call counts as, and the failure as text."""


def settle_error(
    policy: Policy, error: BaseException, settle: Report, surely: bool = False
) -> Judgement:
    """Settle a call that has raised `error`, and return what it counts as.

    If it failed `surely`, the policy decides only on the kind of failure. The call is settled, too,
    if the user's code that is asked raises, or an interrupt comes meanwhile; that comes through.
    """
    failed = surely or isinstance(error, Exception)
    judgement: Judgement = PLAIN_FAILURE if failed else Outcome.CANCELLED
    failure = type(error).__name__
    try:
        judged = judge_error(policy, error)
        judgement = judgement if surely and not isinstance(judged, Failure) else judged
        failure = describe(error)
    finally:
        settle(judgement, failure if isinstance(judgement, Failure) else None)
    return judgement


def settle_result(policy: Policy, result: object, settle: Report) -> Judgement:
    """Settle a call that has returned `result`, and return what it counts as.

    See `settle_error`.
    """
    judgement: Judgement = Outcome.SUCCEEDED
    failure: str | None = None
    try:
        judgement = judge_result(policy, result)
        if isinstance(judgement, Failure):
            failure = f"returned {shown(result)}"[:LONGEST_FAILURE]
    finally:
        settle(judgement, failure)
    return judgement


def judge_error(policy: Policy, error: BaseException) -> Judgement:
    """Return what a call counts as that has raised `error`.

    `classify` is asked first, and `ignore` goes before what is left. An `Exception` that
    `failure_on` does not mean is a success, since the dependency has answered (resilience4j:
    ignoreExceptions, recordExceptions); but a `CallTimeoutError` is always a failure.

    Errors that are no `Exception` count as cancelled: a cancellation unless `failure_on_cancel`
    is set, others unless `failure_on` names their type. Types in `ignore` may name either; but
    functions are not asked about them, except for the `recovery_from` of a failure.

    An exception group is what the worst of its errors is, however deep it is nested (PEP 654:
    a group stands for all that it holds): a failure, then cancelled, succeeded, ignored. Of
    several failures it is the one that asks for the longest `retry_after`, or else the first.
    `classify` is asked about the group as a whole before its errors, if any is an `Exception`.

    Raises:
        TypeError, ValueError: `classify` or `recovery_from` has returned what it must not, or a
            function of the policy's is an async one.
    """
    if (
        policy.failure_on is Exception
        and policy.ignore == ()
        and policy.classify is policy.recovery_from is None
        and isinstance(error, Exception)  # if it is a group, it holds nothing else
    ):
        return PLAIN_FAILURE
    judgement, decisive = _judge(policy, error)
    if (
        policy.recovery_from is not None
        and isinstance(judgement, Failure)
        and judgement.recovery_timeout is None
    ):
        seconds = _ask("recovery_from", policy.recovery_from, decisive)
        if seconds is not None:
            seconds = check_seconds("what recovery_from returns", seconds)
            return replace(judgement, recovery_timeout=seconds)
    return judgement


def judge_result(policy: Policy, result: object) -> Judgement:
    """Return what a call counts as that has returned `result`.

    A result can be a failure like an error, and the same `classify` is asked about both (Polly:
    ShouldHandle, which is given either).

    Raises:
        TypeError: `classify` has returned what it must not, or a function of the policy's is an
            async one.
    """
    if policy.classify is not None:
        judgement = _classify(policy.classify, result)
        if judgement is not None:
            return judgement
    if policy.failure_on_result is not None and _ask(
        "failure_on_result", policy.failure_on_result, result
    ):
        return PLAIN_FAILURE
    return Outcome.SUCCEEDED


def _judge(policy: Policy, error: BaseException) -> tuple[Judgement, BaseException]:
    """Return the judgement, and the error that it is about: the same, or one of a group's."""
    if policy.classify is not None and _has_exception(error):
        judgement = _classify(policy.classify, error)
        if judgement is not None:
            return judgement, error
    held = _held_by(error)
    if held:
        return max((_judge(policy, each) for each in held), key=_gravity)
    return _judge_alone(policy, error), error


def _judge_alone(policy: Policy, error: BaseException) -> Judgement:
    if _is_meant("ignore", policy.ignore, error):
        return Outcome.IGNORED
    if isinstance(error, CallTimeoutError):
        return PLAIN_FAILURE
    if is_cancellation(error):
        return PLAIN_FAILURE if policy.failure_on_cancel else Outcome.CANCELLED
    if _is_meant("failure_on", policy.failure_on, error):
        return PLAIN_FAILURE
    return Outcome.SUCCEEDED if isinstance(error, Exception) else Outcome.CANCELLED


_GRAVITY: Final = {Outcome.IGNORED: -3.0, Outcome.SUCCEEDED: -2.0, Outcome.CANCELLED: -1.0}


def _gravity(judged: tuple[Judgement, BaseException]) -> float:
    """How bad it is: a failure by the seconds that it asks for, all else below zero."""
    judgement, _ = judged
    if isinstance(judgement, Failure):
        return judgement.retry_after or 0.0
    return _GRAVITY[judgement]


def _held_by(error: BaseException) -> tuple[BaseException, ...]:
    """The errors of a group; none if it is no group."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def _has_exception(error: BaseException) -> bool:
    return isinstance(error, Exception) or any(map(_has_exception, _held_by(error)))


def _is_meant(field: str, errors: Errors, error: BaseException) -> bool:
    if isinstance(errors, type | tuple):
        return isinstance(error, errors)
    return isinstance(error, Exception) and bool(_ask(field, errors, error))


def _classify(classify: Classifier, ended_with: object) -> Judgement | None:
    judgement = _ask("classify", classify, ended_with)
    if judgement is Outcome.FAILED:
        return PLAIN_FAILURE
    if judgement is None or isinstance(judgement, Failure | Outcome):
        return judgement
    raise TypeError(f"classify must return a Failure, an Outcome or None, got {shown(judgement)}")


def _ask(field: str, func: Callable[[Any], object], about: object) -> object:
    """Return what a function of the policy's says, unless that would have to be awaited."""
    answer = func(about)
    if isawaitable(answer):
        if iscoroutine(answer):
            answer.close()  # or it would warn that nobody has awaited it
        raise TypeError(
            f"{field} must be a plain function, got {shown(unwrapped(func))}, which is to be"
            " awaited"
        )
    return answer
