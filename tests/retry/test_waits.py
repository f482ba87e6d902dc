"""Waits that a server asks for, and the deadline of a loop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest

import supervisor
from supervisor import (
    CallTimeoutError,
    CircuitBreakerOpenError,
    Failure,
    execute_with_retry,
    get_circuit_breaker,
    retry_storage_operation,
)
from tests.support.clients import stand_in
from tests.support.retries import (
    DECORATORS,
    EACH_MODE,
    EACH_TYPE,
    OPEN,
    Dependency,
    counted,
    forever,
    in_mode,
    open_circuit,
    storage,
)

pytestmark = pytest.mark.anyio


class Busy(ConnectionError):
    """What a client raises that keeps the headers of the answer."""

    def __init__(self, **headers: str) -> None:
        super().__init__("busy")
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


# What the server asks for


@EACH_MODE
async def test_the_server_may_ask_for_a_longer_wait(mode: str) -> None:
    """But it does not shorten our own."""
    dependency = Dependency(Busy(Retry_After="3"), Busy(Retry_After="1"), "done")
    assert await in_mode(mode, min_wait=2, max_wait=8)(dependency.fetch)() == "done"
    assert dependency.waits == pytest.approx([3, 4])


@EACH_MODE
@pytest.mark.parametrize("when", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"], ids=["0", "past"])
async def test_the_server_may_invite_another_try_at_once(mode: str, when: str) -> None:
    """It is made, after a wait of our own: such a server has been asked too much already."""
    busy = stand_in("httpx", "HTTPStatusError", status_code=429, headers={"Retry-After": when})
    dependency = Dependency(busy, busy, "done")
    assert await in_mode(mode, min_wait=2, max_wait=8)(dependency.fetch)() == "done"
    assert dependency.waits == pytest.approx([2, 4])


async def test_execute_honours_the_server() -> None:
    """As the decorators do."""
    dependency = Dependency(Busy(Retry_After="7"), "done")
    assert await execute_with_retry(dependency.fetch) == "done"
    assert dependency.waits == pytest.approx([7])


async def test_a_date_is_waited_for() -> None:
    """HTTP allows either."""
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=6), usegmt=True)
    dependency = Dependency(Busy(Retry_After=then), "done")
    assert await storage()(dependency.fetch)() == "done"
    assert 4 < dependency.waits[0] <= 6


@EACH_MODE
async def test_a_wait_longer_than_the_longest_ends_the_loop(mode: str) -> None:
    """The error comes out at once, and a note says why."""
    error = Busy(Retry_After="9")
    dependency = Dependency(error)
    with pytest.raises(Busy) as caught:
        await in_mode(mode, min_wait=1, max_wait=8)(dependency.fetch)()
    assert caught.value is error
    assert dependency.attempts == 1
    assert notes(error) == [
        "not tried again, since the server asks to wait 9 s, and max_wait is 8 s"
    ]


async def test_the_longest_wait_may_be_asked_for() -> None:
    """Only what is longer ends the loop."""
    dependency = Dependency(Busy(Retry_After="8"), "done")
    assert await storage()(dependency.fetch)() == "done"
    assert dependency.waits == pytest.approx([8])


async def test_the_last_error_has_no_note() -> None:
    """It is the number of attempts that has ended the loop."""
    error = Busy(Retry_After="9")
    with pytest.raises(Busy):
        await storage(1, deadline=5)(Dependency(error).fetch)()
    assert notes(error) == []


@pytest.mark.usefixtures("enabled")
async def test_a_patient_loop_waits_while_its_circuit_is_open() -> None:
    """Also if that is longer than the longest wait: for that it is patient."""
    dependency = Dependency(Busy(Retry_After="60"), "done")
    retry = storage(
        guard="attempt",
        wait_for_recovery=True,
        classify=lambda it: Failure(retry_after=60) if isinstance(it, Busy) else None,
    )
    assert await retry(dependency.fetch)() == "done"
    assert dependency.waits == pytest.approx([60], abs=0.1)


# deadline


@EACH_MODE
async def test_no_wait_is_begun_that_ends_after_the_deadline(mode: str) -> None:
    """The last error comes out at once, and a note says why."""
    errors = [ConnectionError(), ConnectionError(), ConnectionError()]
    dependency = Dependency(*errors)
    started = anyio.current_time()
    with pytest.raises(ConnectionError) as caught:
        await in_mode(mode, max_attempts=9, min_wait=1, max_wait=8, deadline=6)(dependency.fetch)()
    assert caught.value is errors[2]
    assert anyio.current_time() - started == pytest.approx(3)
    assert dependency.waits == pytest.approx([1, 2])
    expected = "not tried again, since the deadline of 6 s would be over"
    assert notes(caught.value) == ([] if mode == "attempt" else [expected])


@EACH_MODE
async def test_an_attempt_is_cancelled_at_the_deadline(mode: str) -> None:
    """It has failed, also for its circuit."""
    attempts = 0

    @in_mode(mode, min_wait=1, max_wait=8, deadline=5)
    async def fetch() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError
        await forever()

    started = anyio.current_time()
    with pytest.raises(
        CallTimeoutError, match=r"^the attempt was cancelled at the deadline of 5 s for all"
    ):
        await fetch()
    assert anyio.current_time() - started == pytest.approx(5)
    assert attempts == 2
    failed = 1 if mode == "loop" else 2
    assert mode == "disabled" or counted("storage:fetch") == {"started": failed, "failed": failed}


@EACH_MODE
@pytest.mark.parametrize(
    ("deadline", "why"),
    [
        (None, "the deadline round this call would be over"),
        (60, "the deadline round this call would be over"),
        (5.5, "the deadline of 5.5 s would be over"),
    ],
)
async def test_no_wait_is_begun_that_ends_after_a_deadline_round_the_call(
    mode: str, deadline: float | None, why: str
) -> None:
    """As with one of its own, and whichever of the two comes first."""
    errors = [ConnectionError(), ConnectionError(), ConnectionError()]
    fetch = in_mode(mode, max_attempts=9, min_wait=1, max_wait=8, deadline=deadline)(
        Dependency(*errors).fetch
    )
    started = anyio.current_time()
    with supervisor.deadline(6), pytest.raises(ConnectionError) as caught:
        await fetch()
    assert anyio.current_time() - started == pytest.approx(3)
    assert notes(caught.value) == ([] if mode == "attempt" else [f"not tried again, since {why}"])


@EACH_MODE
async def test_an_error_that_many_calls_raise_is_noted_once(mode: str) -> None:
    down = ConnectionError()
    fetch = in_mode(mode, max_attempts=9, min_wait=1, max_wait=8, deadline=1)(
        Dependency(down, down, down).fetch
    )
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await fetch()
    assert len(notes(down)) == 1


async def test_a_deadline_that_is_long_enough() -> None:
    """Lets a call alone; so does one whose scope has been cancelled, which the next wait tells."""
    with supervisor.deadline(3.1):
        down = ConnectionError()
        fetch = storage()(Dependency(down, down, "done").fetch)
        assert await fetch() == "done"
    dependency = Dependency(ConnectionError())
    with supervisor.deadline(0.5) as scope:
        scope.cancel()
        await storage()(dependency.fetch)()
    assert scope.cancelled_caught


@pytest.mark.usefixtures("enabled")
async def test_a_recovery_after_a_deadline_round_the_call_is_not_waited_for() -> None:
    """The refusal comes out at once."""
    await open_circuit("storage:fetch")
    dependency = Dependency("done")
    started = anyio.current_time()
    with supervisor.deadline(20), pytest.raises(CircuitBreakerOpenError):
        await storage(guard="attempt", wait_for_recovery=True)(dependency.fetch)()
    assert (anyio.current_time(), dependency.attempts) == (started, 0)


@EACH_TYPE
async def test_a_call_within_its_deadline_is_let_alone(operation_type: str) -> None:
    """Each call has a deadline of its own."""
    dependency = Dependency("done")
    fetch = DECORATORS[operation_type](deadline=5)(dependency.fetch)
    for _ in range(3):
        assert await fetch() == "done"
        await anyio.sleep(4)
    assert await execute_with_retry(dependency.fetch, deadline=5) == "done"


@pytest.mark.usefixtures("enabled")
async def test_a_recovery_after_the_deadline_is_not_waited_for() -> None:
    """The refusal comes out at once."""
    await open_circuit("storage:fetch")
    dependency = Dependency("done")
    retry = storage(guard="attempt", wait_for_recovery=True, deadline=20)
    started = anyio.current_time()
    with pytest.raises(CircuitBreakerOpenError):
        await retry(dependency.fetch)()
    assert anyio.current_time() == started
    assert dependency.attempts == 0


@pytest.mark.usefixtures("enabled")
async def test_a_recovery_before_the_deadline_is_waited_for() -> None:
    """And the probe has the rest of the time."""
    await open_circuit("storage:fetch")
    retry = storage(guard="attempt", wait_for_recovery=True, deadline=40)

    @retry
    async def fetch() -> None:
        await forever()

    started = anyio.current_time()
    with pytest.raises(CallTimeoutError):
        await fetch()
    assert anyio.current_time() - started == pytest.approx(40)
    assert (await get_circuit_breaker("storage:fetch")).state is OPEN


async def test_a_sleeper_that_wakes_after_the_deadline_begins_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop may have stood still: the last error comes out."""
    sleep = anyio.sleep

    async def oversleep(seconds: float) -> None:
        await sleep(seconds + 10)

    error = ConnectionError()
    dependency = Dependency(error, "done")
    fetch = storage(deadline=5)(dependency.fetch)
    monkeypatch.setattr(anyio, "sleep", oversleep)
    with pytest.raises(ConnectionError) as caught:
        await fetch()
    assert caught.value is error
    assert dependency.attempts == 1
    assert notes(error) == ["not tried again, since the deadline of 5 s would be over"]


@pytest.mark.parametrize(
    ("deadline", "error"),
    [(0, ValueError), (-1, ValueError), (float("inf"), ValueError), ("5", TypeError)],
)
@EACH_TYPE
async def test_deadlines_are_checked_when_decorating(
    operation_type: str, deadline: Any, error: type[Exception]
) -> None:
    """A deadline is a number of seconds above 0."""
    retry: Callable[..., Any] = DECORATORS[operation_type]
    with pytest.raises(error, match=r"^deadline must be"):
        retry(deadline=deadline)
    with pytest.raises(error, match=r"^deadline must be"):
        await execute_with_retry(Dependency("done").fetch, deadline=deadline)


async def test_a_cancelled_call_with_a_deadline_is_cancelled() -> None:
    """Its deadline is not over."""
    fetch = retry_storage_operation(deadline=5)(forever)
    with anyio.move_on_after(1) as scope:
        await fetch()
    assert scope.cancelled_caught
