"""What an ended call counts as, by the part of a policy that says what counts.

Run by whoever made the call, never by an actor: it is user code that is asked here. What that
code raises comes through.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from supervisor.arguments import shown
from supervisor.errors import (
    CallTimeoutError,
    IncompleteStreamError,
    SupervisorWarning,
    describe,
    describe_result,
)
from supervisor.loop import is_cancellation
from supervisor.policy import (
    PLAIN_FAILURE,
    Classifier,
    Errors,
    Failure,
    Judgement,
    Outcome,
    Policy,
    ask,
    held_by,
    hinted,
    inside_out,
    is_group_meant,
    is_meant,
    parts_of,
    plain_answer,
    unseen,
)

Report = Callable[[Judgement, "str | None"], None]
"""Takes what a call counts as, and the failure as text."""


DOUBTFUL_ERRORS: Final[tuple[type[BaseException], ...]] = (StopAsyncIteration, ExceptionGroup)
"""Errors that may be no failure by the default policy: the end of a stream, alone or in a group."""


def settle_error(
    policy: Policy, error: BaseException, settle: Report, surely: bool = False
) -> Judgement:
    """Settle a call that has raised `error`, and return what it counts as.

    If it failed `surely`, the policy decides only on the kind of failure. The call is settled, too,
    if the user's code that is asked raises, or an interrupt comes meanwhile; that comes through.
    """
    failed = surely or isinstance(error, Exception)
    judgement: Judgement = PLAIN_FAILURE if failed else Outcome.CANCELLED
    failure: str | None = None
    try:
        failure = type(error).__name__  # which a metaclass may say
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
            failure = describe_result(result)
    finally:
        settle(judgement, failure)
    return judgement


def judge_error(policy: Policy, error: BaseException) -> Judgement:
    """Return what a call counts as that has raised `error`.

    `classify` is asked first, and `ignore` goes before what is left. An `Exception` that
    `failure_on` does not mean is a success, since the dependency has answered (resilience4j:
    ignoreExceptions, recordExceptions); but a `CallTimeoutError` or an `IncompleteStreamError` is
    always a failure. The end of a stream, a `StopAsyncIteration`, is an answer as well, unless
    `failure_on` names that type or is a function that means it.

    Errors that are no `Exception` count as cancelled: a cancellation unless `failure_on_cancel`
    is set, others unless `failure_on` names their type. Types in `ignore` may name either; but
    functions are not asked about them, except for the `recovery_from` of a failure.

    An exception group that `ignore` or `failure_on` names by a type of groups is what that says.
    Functions are asked about it as well if it is of a type of its own. Any other is what the worst
    of its errors is, however deep it is nested (PEP 654: a group stands for all that it holds): a
    failure, then cancelled, succeeded, ignored. Of several failures it is the one that asks for the
    longest `retry_after`, or else the first. `classify` is asked about the group as a whole before
    its errors, if any is an `Exception`.

    Raises:
        TypeError: `classify` has returned what it must not, or a function of the policy's is an
            async one. What `recovery_from` returns is no hint if it is no number above 0, nor
            if it raises an `Exception`.
    """
    if (
        policy.failure_on is Exception
        and policy.ignore == ()
        and policy.classify is policy.recovery_from is None
        and isinstance(error, Exception)
        and not _is_doubtful(error)
    ):
        return PLAIN_FAILURE
    judgement, decisive = _judge(policy, error)
    if (
        policy.recovery_from is not None
        and isinstance(judgement, Failure)
        and judgement.recovery_timeout is None
    ):
        seconds = _hint_of(policy.recovery_from, decisive)
        if seconds is not None:
            judgement = replace(judgement, recovery_timeout=seconds)
    return _bounded(policy, judgement)


def _hint_of(
    recovery_from: Callable[[BaseException], object], error: BaseException
) -> float | None:
    """Return the time that a server asks for. If the function cannot make sense of what it says,
    that must not take the place of the call's own error: it is warned of, once for a function.
    """
    try:
        answer = recovery_from(error)
    except Exception as wrong:
        _warn_of_hint(recovery_from, f"has raised {type(wrong).__name__}")
        return None
    answer = plain_answer("recovery_from", recovery_from, answer)
    seconds = hinted(answer)
    if seconds is None and answer is not None and not _is_past(answer):
        _warn_of_hint(
            recovery_from, f"has returned {type(answer).__name__}, not a finite int or float"
        )
    return seconds


def _is_past(answer: object) -> bool:
    """Whether it is a time that is over, as a date in the past: that is legal."""
    return isinstance(answer, int | float) and not isinstance(answer, bool) and answer <= 0


def _warn_of_hint(recovery_from: object, what: str) -> None:
    name = getattr(recovery_from, "__qualname__", type(recovery_from).__qualname__)
    code = getattr(recovery_from, "__code__", _warn_of_hint.__code__)
    text = f"recovery_from={name} {what}, which is no hint"
    with suppress(SupervisorWarning):  # also where warnings are errors
        file, line = code.co_filename, code.co_firstlineno
        warnings.warn_explicit(text, SupervisorWarning, file, line, registry=_warned)


_warned: Final[dict[str | tuple[str, type[Warning], int], int]] = {}
"""What `warnings` knows to have been said: each text once for each function."""


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
            return _bounded(policy, judgement)
    if policy.failure_on_result is not None and ask(
        "failure_on_result", policy.failure_on_result, result
    ):
        return PLAIN_FAILURE
    return Outcome.SUCCEEDED


def _bounded(policy: Policy, judgement: Judgement) -> Judgement:
    """Return the judgement with hints that ask for no more than the policy allows."""
    longest = policy.max_retry_after
    if longest is None or not isinstance(judgement, Failure):
        return judgement
    seconds, after = judgement.recovery_timeout, judgement.retry_after
    if seconds is None and after is None:
        return judgement
    return replace(
        judgement,
        recovery_timeout=None if seconds is None else min(seconds, longest),
        retry_after=None if after is None else min(after, longest),
    )


def _is_doubtful(error: object) -> bool:
    return isinstance(error, DOUBTFUL_ERRORS)


def _judge(policy: Policy, error: BaseException) -> tuple[Judgement, BaseException]:
    """Return the judgement, and the error that it is about: the same, or one of a group's."""
    judgements = [*_judgements(policy, error)]  # none of a group that holds but itself
    return max(judgements or [(_judge_alone(policy, error), error)], key=_gravity)


def _judgements(policy: Policy, error: BaseException) -> Iterator[tuple[Judgement, BaseException]]:
    """Judge an error; of a group each one, or the group as a whole if `classify` knows it."""
    classify = policy.classify
    asked = _with_exceptions(error) if classify is not None else set[int]()
    seen, left = {id(error)}, [error]
    while left:
        each, judgement = left.pop(), None
        if classify is not None and id(each) in asked:
            judgement = _classify(classify, each)
        held = held_by(each)
        if judgement is None and held:
            judgement = _judge_as_group(policy, each)
        if judgement is None and held:
            left += reversed(unseen(held, seen))
        else:
            yield judgement or _judge_alone(policy, each), each


def _judge_as_group(policy: Policy, group: BaseException) -> Judgement | None:
    """Judge a group by its own type; None: it is what its errors are."""
    if is_group_meant("ignore", policy.ignore, group):
        return Outcome.IGNORED
    return PLAIN_FAILURE if is_group_meant("failure_on", policy.failure_on, group) else None


def _judge_alone(policy: Policy, error: BaseException) -> Judgement:
    if is_meant("ignore", policy.ignore, error):
        return Outcome.IGNORED
    if isinstance(error, CallTimeoutError | IncompleteStreamError):
        return PLAIN_FAILURE
    if is_cancellation(error):
        return PLAIN_FAILURE if policy.failure_on_cancel else Outcome.CANCELLED
    if is_meant("failure_on", _at_an_end(policy.failure_on, error), error):
        return PLAIN_FAILURE
    return Outcome.SUCCEEDED if isinstance(error, Exception) else Outcome.CANCELLED


_GRAVITY: Final = {Outcome.IGNORED: -3.0, Outcome.SUCCEEDED: -2.0, Outcome.CANCELLED: -1.0}


def _gravity(judged: tuple[Judgement, BaseException]) -> float:
    """How bad it is: a failure by the seconds that it asks for, all else below zero."""
    judgement, _ = judged
    if isinstance(judgement, Failure):
        return judgement.retry_after or 0.0
    return _GRAVITY[judgement]


def _with_exceptions(error: BaseException) -> set[int]:
    """Return by their ids which errors are an `Exception`, or hold one: itself, those within it."""
    found: set[int] = set()
    for each in inside_out(error):
        if isinstance(each, Exception) or any(id(one) in found for one in held_by(each)):
            found.add(id(each))
    return found


def _at_an_end(errors: Errors, error: BaseException) -> Errors:
    """Return what `failure_on` means: of the end of a stream, no types but those of ends."""
    if not isinstance(error, StopAsyncIteration):
        return errors
    return tuple(
        each
        for each in parts_of(errors)
        if not isinstance(each, type) or issubclass(each, StopAsyncIteration)
    )


def _classify(classify: Classifier, ended_with: object) -> Judgement | None:
    judgement = ask("classify", classify, ended_with)
    if judgement is Outcome.FAILED:
        return PLAIN_FAILURE
    if judgement is None or isinstance(judgement, Failure | Outcome):
        return judgement
    raise TypeError(f"classify must return a Failure, an Outcome or None, got {shown(judgement)}")
