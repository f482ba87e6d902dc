"""Streams that are opened again as long as no item has come: one outcome each, closed once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from supervisor import (
    CallTimeoutError,
    CircuitBreaker,
    CircuitBreakerOpenError,
    IncompleteStreamError,
    retry_storage_operation,
)
from supervisor.testing import jump
from tests.support.retries import EACH_MODE, OPEN, counted, down, in_mode, open_circuit, statistics
from tests.support.worlds import collect_garbage, settle_down

pytestmark = pytest.mark.anyio


class Model:
    """Answers by streams: what each gives is told; an error is raised, and the last is for ever."""

    def __init__(self, *answers: list[object]) -> None:
        self.answers = list(answers)
        self.times: list[float] = []
        self.closed = 0

    async def fetch(self, *_: object) -> AsyncIterator[object]:
        """Give the items of the next answer."""
        self.times.append(anyio.current_time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            for item in answer:
                await anyio.lowlevel.checkpoint()
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, float):
                    await anyio.sleep(item)
                else:
                    yield item
        finally:
            self.closed += 1

    @property
    def attempts(self) -> int:
        """How many streams were opened."""
        return len(self.times)

    @property
    def waits(self) -> list[float]:
        """The seconds between one attempt and the next."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


async def read(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


@EACH_MODE
async def test_it_is_opened_again(mode: str) -> None:
    """After waits as those of calls, until a first item comes."""
    first, second = down(2)
    model = Model([first], [second], ["a", "b"])
    assert await read(in_mode(mode, min_wait=1, max_wait=8)(model.fetch)()) == ["a", "b"]
    assert (model.waits, model.closed) == (pytest.approx([1, 2]), 3)
    if mode == "loop":
        assert counted("storage:fetch") == {"started": 1, "succeeded": 1}
    elif mode != "disabled":
        assert counted("storage:fetch") == {"started": 3, "failed": 2, "succeeded": 1}


@EACH_MODE
async def test_not_after_its_first_item(mode: str) -> None:
    """Nobody would know what the reader has had. It is one failure."""
    error = ConnectionError()
    model = Model(["a", error])
    stream = in_mode(mode)(model.fetch)()
    assert await anext(stream) == "a"
    with pytest.raises(ConnectionError) as caught:
        await anext(stream)
    assert caught.value is error
    assert (model.attempts, model.closed) == (1, 1)
    assert mode == "disabled" or counted("storage:fetch") == {"started": 1, "failed": 1}


@EACH_MODE
async def test_the_last_error_comes_out(mode: str) -> None:
    """When there are no more attempts, or at once if it is not worth one."""
    errors = down(2)
    model = Model([errors[0]], [errors[1]])
    with pytest.raises(ConnectionError) as caught:
        await read(in_mode(mode, max_attempts=2)(model.fetch)())
    assert (caught.value, model.closed) == (errors[1], 2)
    model = Model([ValueError()])
    with pytest.raises(ValueError):  # noqa: PT011
        await read(in_mode(mode)(model.fetch)())
    assert model.attempts == 1


@EACH_MODE
async def test_a_stream_without_items(mode: str) -> None:
    """Has ended well: that is an answer."""
    model = Model([])
    assert await read(in_mode(mode, deadline=5)(model.fetch)()) == []
    assert (model.attempts, model.closed) == (1, 1)
    assert mode == "disabled" or counted("storage:fetch") == {"started": 1, "succeeded": 1}


@pytest.mark.usefixtures("enabled")
async def test_a_loop_ends_when_its_circuit_opens() -> None:
    """With the error that has opened it; the next stream is refused, and not opened."""
    model = Model([ConnectionError()])
    fetch = retry_storage_operation(9, guard="attempt")(model.fetch)
    with pytest.raises(ConnectionError):
        await read(fetch())
    assert (model.attempts, statistics("storage:fetch").state) == (3, OPEN)
    with pytest.raises(CircuitBreakerOpenError):
        await read(fetch())
    assert model.attempts == 3


async def test_a_loop_may_wait_for_the_recovery() -> None:
    """And is the probe then."""
    model = Model(["a"])
    fetch = in_mode("patient")(model.fetch)
    await open_circuit("storage:fetch")
    assert await read(fetch()) == ["a"]
    assert anyio.current_time() == pytest.approx(30, abs=0.01)
    assert statistics("storage:fetch").state == "closed"


@pytest.mark.parametrize("guard", ["loop", "attempt"])
async def test_attempts_are_taken_from_the_budget(guard: Any) -> None:
    """When it is spent, the error of the last attempt comes out, with a note."""
    breaker = CircuitBreaker("x", 100, retry_budget=0.1, retry_budget_minimum=1)
    model = Model([ConnectionError()])
    with pytest.raises(ConnectionError) as caught:
        await read(retry_storage_operation(guard=guard, breaker=breaker)(model.fetch)())
    [note] = caught.value.__notes__
    assert note.startswith("not tried again, since circuit 'x' has seen too many retries")
    assert model.attempts == 2
    figures = breaker.statistics()
    assert (figures.failed, figures.in_flight) == (1 if guard == "loop" else 2, 0)


# Leaving, and being cancelled


@EACH_MODE
@pytest.mark.parametrize("deadline", [None, 9])
async def test_a_reader_that_leaves(mode: str, deadline: float | None) -> None:
    """Closes the stream at once, which has succeeded: an item has come."""
    model = Model([ConnectionError()], ["a", "b"])
    async with aclosing(in_mode(mode, deadline=deadline)(model.fetch)()) as items:
        assert await anext(items) == "a"
        assert model.closed == 1
    assert model.closed == 2
    if mode != "disabled":
        assert (statistics("storage:fetch").succeeded, statistics("storage:fetch").in_flight) == (
            1,
            0,
        )


@EACH_MODE
@pytest.mark.parametrize(
    "answer", [[60.0], [ConnectionError()], ["a", 60.0]], ids=["opening", "waiting", "reading"]
)
async def test_a_reader_that_is_cancelled(mode: str, answer: list[object]) -> None:
    """While it waits for the first item, for another attempt, or for a later item."""
    model = Model(answer)
    with anyio.move_on_after(0.2):
        await read(in_mode(mode, min_wait=5, max_wait=5)(model.fetch)())
    assert anyio.current_time() == pytest.approx(0.2)
    assert (model.attempts, model.closed) == (1, 1)
    if mode == "disabled":
        return
    failed = mode != "loop" and isinstance(answer[0], ConnectionError)
    outcome = "failed" if failed else "cancelled"
    assert counted("storage:fetch") == {"started": 1, outcome: 1}


@EACH_MODE
async def test_a_reader_that_fails(mode: str) -> None:
    """Has left: its error is no error of the stream, and nothing is tried again."""
    model = Model(["a", "b"])
    with pytest.raises(ConnectionError):
        async with aclosing(in_mode(mode)(model.fetch)()) as items:
            async for _ in items:
                raise ConnectionError
    assert (model.attempts, model.closed) == (1, 1)
    assert mode == "disabled" or counted("storage:fetch") == {"started": 1, "succeeded": 1}


@EACH_MODE
async def test_nothing_is_begun_for_a_stream_that_nobody_reads(mode: str) -> None:
    """It does nothing before, as any async generator."""
    model = Model(["a"])
    stream = in_mode(mode)(model.fetch)()
    await settle_down()
    assert model.attempts == 0
    await stream.aclose()


# The deadline


@EACH_MODE
async def test_the_first_item_has_to_come_by_the_deadline(mode: str) -> None:
    """An attempt that runs then is cancelled, and has failed, also for its circuit."""
    model = Model([60.0])
    with pytest.raises(CallTimeoutError, match="deadline of 5 s"):
        await read(in_mode(mode, deadline=5)(model.fetch)())
    assert anyio.current_time() == pytest.approx(5)
    assert model.closed == 1
    assert mode == "disabled" or counted("storage:fetch") == {"started": 1, "failed": 1}


@EACH_MODE
async def test_later_items_have_more_time(mode: str) -> None:
    """Once there is one, nothing is begun again, and nothing cancelled."""
    model = Model([ConnectionError()], ["a", 60.0, "b"])
    fetch = in_mode(mode, min_wait=1, max_wait=1, deadline=5)(model.fetch)
    assert await read(fetch()) == ["a", "b"]
    assert model.closed == 2


@EACH_MODE
async def test_nothing_is_begun_that_cannot_end_in_time(mode: str) -> None:
    """Neither a wait, nor an attempt."""
    model = Model([ConnectionError()])
    with pytest.raises(ConnectionError) as caught:
        await read(in_mode(mode, min_wait=9, max_wait=9, deadline=5)(model.fetch)())
    assert caught.value.__notes__ == ["not tried again, since the deadline of 5 s would be over"]
    assert (model.attempts, anyio.current_time()) == (1, pytest.approx(0))


async def test_a_stalled_event_loop() -> None:
    """Whoever has been woken after the deadline begins nothing."""
    model = Model([ConnectionError()])
    async with anyio.create_task_group() as tasks:

        async def reader() -> None:
            with pytest.raises(ConnectionError):
                await read(
                    retry_storage_operation(min_wait=1, max_wait=1, deadline=5)(model.fetch)()
                )

        tasks.start_soon(reader)
        await anyio.sleep(0.5)
        jump(60)
    assert model.attempts == 1


# What can be decorated


class Client:
    """Methods keep their object."""

    @retry_storage_operation(guard="attempt")
    async def words(self, text: str, *, most: int = 9) -> AsyncIterator[str]:
        """Give words."""
        for word in text.split()[:most]:
            yield word


async def test_it_stays_an_async_generator_function() -> None:
    """With its name, its words and its signature, so that it may be guarded once more."""
    words = Client.words
    assert inspect.isasyncgenfunction(words)
    assert (words.__name__, words.__doc__) == ("words", "Give words.")
    assert "text: 'str', *, most: 'int' = 9" in str(inspect.signature(words))
    assert await read(Client().words("a b c", most=2)) == ["a", "b"]
    breaker = CircuitBreaker("x")
    assert await read(breaker.streaming(words)(Client(), "a b")) == ["a", "b"]
    assert breaker.statistics().succeeded == 1


async def test_an_object_that_is_called_like_an_async_generator_function() -> None:
    """Is as good as one."""

    class Countdown:
        tries = 0

        async def __call__(self, start: int) -> AsyncIterator[int]:
            self.tries += 1
            if self.tries == 1:
                raise ConnectionError
            for number in range(start, 0, -1):
                yield number

    assert await read(retry_storage_operation()(Countdown())(3)) == [3, 2, 1]


async def test_a_guarded_stream_is_tried_again() -> None:
    """With the options that it has: one that has ended before it was complete may be worth it."""
    model = Model([], ["a", "end"])
    breaker = CircuitBreaker("x")
    stream = breaker.streaming(complete=lambda item: item == "end")(model.fetch)
    retry = retry_storage_operation(retry_on=IncompleteStreamError)
    assert await read(retry(stream)()) == ["a", "end"]
    figures = breaker.statistics()
    assert (figures.failed, figures.succeeded) == (1, 1)


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio says so
@EACH_MODE
async def test_what_is_left_to_the_garbage_collector(mode: str) -> None:
    """Is closed by the event loop, and counted."""
    model = Model(["a", "b"])
    async for _ in in_mode(mode)(model.fetch)():
        break
    collect_garbage()
    await settle_down()
    assert model.closed == 1
    assert mode == "disabled" or counted("storage:fetch") == {"started": 1, "succeeded": 1}
