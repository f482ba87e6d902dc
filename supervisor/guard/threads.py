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
from typing import Final, TypeVar

from anyio import NoEventLoopError, RunFinishedError, from_thread
from anyio.lowlevel import EventLoopToken

from supervisor.arguments import is_async, shown, unwrapped
from supervisor.circuit import (
    Circuit,
    Ticket,
    admit_at_once,
    ask,
    settle,
    settle_error,
    settle_result,
)
from supervisor.loop import Tasks, from_worker_thread, has_closed, post, runs_event_loop
from supervisor.policy import Outcome, Policy

R = TypeVar("R")

PATIENCE: Final = 0.1
"""Seconds after which a waiting thread looks whether its event loop has been closed."""

Admission = Future[tuple[Circuit, Ticket, Policy]]


def call(circuit: Circuit, join: Callable[[], Circuit], func: Callable[[], R]) -> R:
    """Run `func()` in this worker thread, guarded by the circuit that `join` returns.

    `join` is called on the event loop that started this thread, or else on that of `circuit`.
    """
    if is_async(func):
        raise _not_plain(func)
    token = _find_loop(circuit)
    circuit, ticket, policy = _admit(token, join)
    report = partial(_post_outcome, token, settle, circuit, ticket)
    # The policy's functions are asked here, not on the event loop: they are the user's code.
    try:
        with suppress(NoEventLoopError):  # what has no host task cannot be cancelled
            from_thread.check_cancelled()
        result = func()
    except BaseException as error:
        settle_error(policy, error, report)
        raise
    if isawaitable(result):
        report(Outcome.IGNORED)
        if iscoroutine(result):
            result.close()  # or it would warn that nobody has awaited it
        raise _not_plain(func)
    settle_result(policy, result, report)
    return result


def _not_plain(func: object) -> TypeError:
    return TypeError(
        f"call_from_thread needs a plain function, got {shown(unwrapped(func))}, which is"
        " to be awaited; guard it on the event loop, by `await breaker.call(...)`"
    )


def _find_loop(circuit: Circuit) -> EventLoopToken:
    """Return the event loop that started this worker thread, or else the one of `circuit`.

    Raises:
        RuntimeError: this is an event loop's own thread, or there is no such loop.
    """
    if runs_event_loop():
        raise RuntimeError(
            "call_from_thread would block the event loop that it waits for; use"
            " `await anyio.to_thread.run_sync(breaker.call_from_thread, func)`"
        )
    try:
        return from_worker_thread()
    except NoEventLoopError:
        token = circuit.loop.token
    if token is None or not circuit.loop.is_running():
        raise RuntimeError(
            f"circuit {circuit.name!r} is on no running event loop that this thread could ask;"
            " start the thread by anyio.to_thread.run_sync, or use the circuit on its event"
            " loop first"
        )
    return token


def _admit(token: EventLoopToken, join: Callable[[], Circuit]) -> tuple[Circuit, Ticket, Policy]:
    """Wait until the circuit that `join` returns on the event loop admits one call.

    Raises:
        anyio.RunFinishedError: the event loop has ended.
        CircuitBreakerOpenError: the call is not admitted.
        Exception: any other error of `CircuitBreaker.call`.
    """
    admission: Admission = Future()
    post(token, _start, join, admission)
    try:
        while not wait([admission], PATIENCE).done:
            if has_closed(token):
                raise RunFinishedError
        return admission.result()
    except BaseException:  # Ctrl-C in the main thread: what is, or will be, granted goes back
        if not admission.cancel():
            admission.add_done_callback(partial(_give_back, token))
        raise


def _give_back(token: EventLoopToken, admission: Admission) -> None:
    if admission.exception() is None:
        circuit, ticket, _ = admission.result()
        _post_outcome(token, settle, circuit, ticket, Outcome.CANCELLED)


def _post_outcome(token: EventLoopToken, settle: Callable[..., None], /, *args: object) -> None:
    with suppress(RunFinishedError):  # nobody is left who counts
        post(token, settle, *args)


def _start(join: Callable[[], Circuit], admission: Admission) -> None:
    try:
        circuit = join()
        if circuit.headroom > 0 or not circuit.running:
            ticket = admit_at_once(circuit)
            assert ticket is not None
            _grant(admission, circuit, ticket)
        else:  # by a task, since the actor may be needed
            asking = Tasks[None](circuit.loop, copy_context(), lambda _: None)
            asking.start("admission of a thread", None, _ask(join, admission))
    except Exception as error:
        _refuse(admission, error)


async def _ask(join: Callable[[], Circuit], admission: Admission) -> None:
    try:
        circuit = join()  # the one before may have been retired before this task had a turn
        ticket = admit_at_once(circuit) or await ask(circuit)
    except Exception as error:
        _refuse(admission, error)
    except BaseException:  # nobody knows this task: all tasks of the event loop are cancelled
        _refuse(admission, RunFinishedError())
        raise
    else:
        _grant(admission, circuit, ticket)


def _grant(admission: Admission, circuit: Circuit, ticket: Ticket) -> None:
    if admission.set_running_or_notify_cancel():
        admission.set_result((circuit, ticket, circuit.policy_of(ticket)))
    else:
        settle(circuit, ticket, Outcome.CANCELLED)


def _refuse(admission: Admission, error: Exception) -> None:
    if admission.set_running_or_notify_cancel():
        admission.set_exception(error)
