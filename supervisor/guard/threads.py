"""Calls from worker threads: what such a thread asks of an event loop, and how it waits for it.

A circuit is touched by its event loop's thread only. A worker thread waits for one thing, its
admission; an outcome is posted, in order, so that no thread hangs on a loop that ends.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, Final, TypeVar

from anyio import NoEventLoopError, RunFinishedError, from_thread

from supervisor.arguments import form_of, instead_of, shown, unwrapped
from supervisor.circuit import (
    Circuit,
    OuterCall,
    Part,
    Ticket,
    admit,
    admit_at_once,
    admit_without_actor,
    go_inside,
    innermost,
    is_among,
    remember_error,
    settle,
    settle_counted,
    settle_error,
    settle_result,
    spend_retry,
)
from supervisor.guard.entered import loops_entered
from supervisor.guard.given import judging
from supervisor.loop import (
    Native,
    Tasks,
    from_worker_thread,
    has_closed,
    post,
    running_loop,
)
from supervisor.policy import Failure, Outcome, Policy
from supervisor.settings import SettingsError, app_settings

R = TypeVar("R")

PATIENCE: Final = 0.1
"""Seconds after which a waiting thread looks whether its event loop has been closed."""

Admission = Future[tuple[Circuit, Ticket, Policy]]


def call(
    circuit: Circuit, join: Callable[[], Circuit], func: Callable[[], R], retry: bool = False
) -> R:
    """Run `func()` in this worker thread, guarded by the circuit that `join` returns.

    `join` is called on the event loop that started this thread, or else on that of `circuit`.
    """
    if form_of(func) != "plain":  # nothing of it would run in here
        raise _not_plain(func, instead_of(func))
    loop = _find_loop(circuit)
    circuit, ticket, policy = _admit(loop, join, retry)
    policy = judging(policy, func)
    known = OuterCall(circuit)
    report = partial(_post_outcome, loop, settle, circuit, ticket)
    # The policy's functions are asked here, not on the event loop: they are the user's code.
    try:
        with suppress(NoEventLoopError):  # what has no host task cannot be cancelled
            from_thread.check_cancelled()
        with known:
            result = func()
    except BaseException as error:
        if is_among(known.counted, error):  # by what it has asked of the event loop
            report = partial(_post_outcome, loop, settle_counted, circuit, ticket)
        failed = isinstance(settle_error(policy, error, report), Failure)
        if failed and not isinstance(ticket, Part):
            remember_error(circuit, circuit.started, error)
        raise
    if isawaitable(result):
        report(Outcome.IGNORED)
        if iscoroutine(result):
            result.close()  # or it would warn that nobody has awaited it
        raise _not_plain(func, ", whose result is to be awaited: `await breaker.call(...)`")
    settle_result(policy, result, report)
    return result


def made(func: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> partial[R]:
    """Return a call of the plain function `func`, to be guarded."""
    if not callable(func):
        raise _not_plain(func, "")
    return partial(func, *args, **kwargs)


def spend_retry_of(circuit: Circuit, join: Callable[[], Circuit]) -> None:
    """Take one more attempt of a call that is under way from the budget of retries.

    Raises:
        CircuitBreakerOpenError: it is spent.
        Exception: any other error of `CircuitBreaker.spend_retry`.
    """
    _answer_of(_find_loop(circuit), partial(_start_spending, join))


def ask_event_loop(circuit: Circuit, func: Callable[[], R]) -> R:
    """Return what the plain function `func` returns on the event loop that `call` would ask."""
    run: Callable[[Future[R]], None] = partial(_run_for, func)
    return _answer_of(_find_loop(circuit), run)


def _not_plain(func: object, why: str) -> TypeError:
    return TypeError(f"call_from_thread needs a plain function, got {shown(unwrapped(func))}{why}")


def _find_loop(circuit: Circuit) -> Native:
    """Return the event loop that started this worker thread, or else the one of `circuit`.

    Raises:
        RuntimeError: this is an event loop's own thread, or there is no such loop.
    """
    if running_loop() is not None:
        raise RuntimeError(
            "call_from_thread would block the event loop that it waits for; use"
            " `await anyio.to_thread.run_sync(breaker.call_from_thread, func)`"
        )
    with suppress(SettingsError):  # who needs them is told
        app_settings.read_of_running_circuits()  # or the event loop would wait for it
    with suppress(NoEventLoopError):
        return from_worker_thread()
    if circuit.loop.is_running() and circuit.loop.native is not None:
        return circuit.loop.native
    loops = loops_entered()
    if len(loops) != 1 or loops[0].native is None:
        supervised = "several event loops have supervisors" if loops else "none has a supervisor"
        raise RuntimeError(
            f"circuit {circuit.name!r} is on no running event loop that this thread could ask, and"
            f" {supervised}; start the thread by anyio.to_thread.run_sync, or use the circuit on"
            " its event loop first"
        )
    return loops[0].native


def _admit(
    loop: Native, join: Callable[[], Circuit], retry: bool
) -> tuple[Circuit, Ticket, Policy]:
    """Wait until the circuit that `join` returns on the event loop admits one call.

    Raises:
        anyio.RunFinishedError: the event loop has ended.
        CircuitBreakerOpenError: the call is not admitted.
        Exception: any other error of `CircuitBreaker.call`.
    """
    admission: Admission = Future()
    post(loop, _start, join, admission, _host_call(), retry)
    try:
        return _wait_for(admission, loop)
    except BaseException:  # Ctrl-C in the main thread: what is, or will be, granted goes back
        if not admission.cancel():
            admission.add_done_callback(partial(_give_back, loop))
        raise
    finally:
        del admission  # or a refusal would be kept by the frame that it keeps


def _wait_for(answer: Future[R], loop: Native) -> R:
    try:
        while not wait([answer], PATIENCE).done:
            if has_closed(loop):
                raise RunFinishedError
        return answer.result()
    finally:
        del answer  # or an error would be kept by the frame that it keeps


def _answer_of(loop: Native, start: Callable[[Future[R]], None]) -> R:
    """Let the event loop call `start`, and wait for the answer to which that leads."""
    answer: Future[R] = Future()
    post(loop, start, answer)
    try:
        return _wait_for(answer, loop)
    finally:
        del answer  # or an error would be kept by the frame that it keeps


def _run_for(func: Callable[[], R], answer: Future[R]) -> None:
    try:
        answer.set_result(func())
    except Exception as error:
        answer.set_exception(error)
    finally:
        del answer  # it holds the error, which keeps this frame


def _start_spending(join: Callable[[], Circuit], answer: Future[None]) -> None:
    try:
        spending = Tasks[None](join().loop, copy_context(), lambda _: None)
        spending.start("retry of a thread", None, _spend(join, answer))
    except Exception as error:
        answer.set_exception(error)
    finally:
        del answer


async def _spend(join: Callable[[], Circuit], answer: Future[None]) -> None:
    try:
        await spend_retry(join())
        answer.set_result(None)
    except Exception as error:
        answer.set_exception(error)
    except BaseException:  # see `_ask`
        answer.set_exception(RunFinishedError())
        raise
    finally:
        del answer


def _give_back(loop: Native, admission: Admission) -> None:
    if admission.exception() is None:
        circuit, ticket, _ = admission.result()
        _post_outcome(loop, settle, circuit, ticket, Outcome.CANCELLED)


def _post_outcome(loop: Native, settle: Callable[..., None], /, *args: object) -> None:
    with suppress(RunFinishedError):  # nobody is left who counts
        post(loop, settle, *args)


def _host_call() -> OuterCall | None:
    """Return the call that this thread is a part of: one that waits for it, not one from which it
    has inherited a context.
    """
    try:
        from_worker_thread()
    except NoEventLoopError:
        return None
    return innermost()


def _start(
    join: Callable[[], Circuit], admission: Admission, inside: OuterCall | None, retry: bool
) -> None:
    try:
        circuit = join()
        if not circuit.running:
            _grant(admission, circuit, admit_without_actor(circuit))
        elif circuit.headroom > 0 and not retry:
            ticket = admit_at_once(circuit)
            assert ticket is not None
            _grant(admission, circuit, ticket)
        else:  # by a task, since the actor may be needed
            asking = Tasks[None](circuit.loop, copy_context(), lambda _: None)
            asking.start("admission of a thread", None, _ask(join, admission, inside, retry))
    except Exception as error:
        _refuse(admission, error)
    finally:
        del admission  # it holds the error, which keeps this frame


async def _ask(
    join: Callable[[], Circuit], admission: Admission, inside: OuterCall | None, retry: bool
) -> None:
    go_inside(inside)
    try:
        circuit = join()  # the one before may have been retired before this task had a turn
        ticket = await admit(circuit, retry, None, "closed")
    except Exception as error:
        _refuse(admission, error)
    except BaseException:  # nobody knows this task: all tasks of the event loop are cancelled
        _refuse(admission, RunFinishedError())
        raise
    else:
        _grant(admission, circuit, ticket)
    finally:
        del admission


def _grant(admission: Admission, circuit: Circuit, ticket: Ticket) -> None:
    if admission.set_running_or_notify_cancel():
        admission.set_result((circuit, ticket, circuit.grant_of(ticket).policy))
    else:
        settle(circuit, ticket, Outcome.CANCELLED)


def _refuse(admission: Admission, error: Exception) -> None:
    if admission.set_running_or_notify_cancel():
        admission.set_exception(error)
