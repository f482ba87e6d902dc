"""Each call as an event, for whoever asks for that; what it costs nobody else."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Generator
from typing import Any

import anyio
import pytest

from supervisor import (
    CallEnded,
    CallRefused,
    CircuitBreaker,
    CircuitBreakerOpenError,
    EventsMissed,
    EventStream,
    Failure,
    Outcome,
    Supervisor,
    TraceRecorder,
    create_retry_decorator,
)
from tests.support.instructions import instructions_of
from tests.support.worlds import (
    Down,
    Guarded,
    collect_garbage,
    every_way_and_thread,
    fail,
    fail_times,
    half_open,
    is_refused,
    settle_down,
    succeed,
    take,
)

pytestmark = pytest.mark.anyio


async def told(stream: EventStream) -> list[Any]:
    """Close the stream, and return what it has delivered."""
    stream.close()
    return [event async for event in stream]


def words(events: list[Any]) -> list[str]:
    return [
        event.outcome.value if isinstance(event, CallEnded) else event.reason for event in events
    ]


@every_way_and_thread
async def test_every_way_into_a_guard(guarded: Guarded) -> None:
    """One call is one event, however it is made."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=2)
        calls = supervisor.calls()
        await guarded(breaker, succeed)
        for _ in range(2):
            with pytest.raises(Down):
                await guarded(breaker, fail)
        with pytest.raises(CircuitBreakerOpenError):
            await guarded(breaker, succeed)
        events = await told(calls)
    assert words(events) == ["succeeded", "failed", "failed", "open"]
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert {event.circuit for event in events} == {"x"}


async def test_what_is_told_of_a_call() -> None:
    """When it ended, for how long it ran and had waited, and what kind of failure it was."""

    def judge(ended_with: object) -> Failure | None:
        return Failure("down", weight=2) if isinstance(ended_with, Down) else None

    async with half_open("x", recovery_timeout=5.0, classify=judge) as breaker:
        from supervisor import current_supervisor

        calls = current_supervisor().calls(circuit="x")
        await settle_down()
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.call, take, 2.0)
            await anyio.sleep(0.5)
            tasks.start_soon(breaker.waiting(9).call, take, 1.0)
            with pytest.raises(CircuitBreakerOpenError):
                await breaker.retry(succeed)
        with pytest.raises(Down):
            await breaker.retry(fail)
        events = await told(calls)
    refused, probe, waited, failed = events
    assert refused == CallRefused(
        sequence=1, at=refused.at, circuit="x", reason="half_open", retry=True
    )
    assert refused.at - began == pytest.approx(0.5, abs=0.01)
    assert (probe.outcome, probe.probe, probe.retry) == (Outcome.SUCCEEDED, True, False)
    assert (probe.duration, probe.at - began) == pytest.approx((2, 2), abs=0.01)
    assert (waited.waited, waited.duration) == pytest.approx((1.5, 1.0), abs=0.01)
    assert (waited.probe, waited.kind) == (False, None)
    assert (failed.outcome, failed.kind) == (Outcome.FAILED, Failure("down", weight=2))
    assert failed.retry


async def test_streams_retries_and_cancelled_calls(enabled: None) -> None:
    """Each attempt by itself; a stream as one call, as long as it lasts."""

    async def items() -> AsyncIterator[int]:
        for number in range(3):
            await anyio.sleep(0.5)
            yield number

    async with Supervisor() as supervisor:
        calls = supervisor.calls()
        breaker = supervisor.circuit("x", failure_threshold=9)
        async with breaker.stream(items) as stream:
            assert [item async for item in stream] == [0, 1, 2]
        attempts = 0

        @create_retry_decorator(
            "api", guard="attempt", breaker=breaker, max_attempts=3, min_wait=0.1
        )
        async def flaky() -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise Down

        await flaky()
        with anyio.move_on_after(1):
            await breaker.call(anyio.sleep_forever)
        events = await told(calls)
    assert words(events) == ["succeeded", "failed", "failed", "succeeded", "cancelled"]
    assert events[0].duration == pytest.approx(1.5, abs=0.01)
    assert [event.retry for event in events] == [False, False, True, True, False]


class Halted:
    """Waits for ever, on whatever event loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def test_a_call_that_nobody_ends() -> None:
    """The garbage collector settles it, and it is told like any other."""
    async with Supervisor() as supervisor:
        calls = supervisor.calls()
        breaker = supervisor.circuit("x")
        await breaker.call(succeed)
        call = breaker.call(Halted)
        call.send(None)
        del call
        collect_garbage()
        assert words(await told(calls)) == ["succeeded", "cancelled"]


async def test_the_collector_in_the_middle_of_a_read() -> None:
    """What it has put is not lost, nor is the number of what was missed."""

    class Late(list[Any]):
        """Has one more event put when it is taken out."""

        def __iter__(self) -> Any:
            stream.put(event)
            return super().__iter__()

    stream = EventStream(buffer=5)
    event = CallRefused(sequence=1, at=0.0, circuit="x", reason="open", retry=False)
    stream._waiting = Late([event])
    assert await anext(stream) is event
    assert len(await told(stream)) == 1


async def test_one_circuit_only() -> None:
    """By its name, before there is one, and when another one of that name follows."""
    async with Supervisor() as supervisor:
        calls = supervisor.calls(circuit="x")
        for name in ("x", "y", "x"):
            await supervisor.circuit(name).call(succeed)
            supervisor.stop(name)
        assert len(await told(calls)) == 2


async def test_who_falls_behind_misses_some() -> None:
    """It is told how many; nobody waits for it, and other events are not pushed out."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        changes, calls, others = supervisor.events(2), supervisor.calls(2), supervisor.calls()
        for _ in range(5):
            await breaker.call(succeed)
        await fail_times(breaker, 3)
        assert await is_refused(breaker)
        assert (await told(calls))[2:] == [EventsMissed(count=7, sequence=9)]
        assert len(await told(others)) == 9
        assert [type(each).__name__ for each in await told(changes)] == ["StateChanged"]


async def test_with_a_recorder_as_well() -> None:
    """Both are told, and neither of them ends when the other one does."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        with TraceRecorder("calls.csv") as recorder:
            supervisor.trace(recorder)
            await breaker.call(succeed)
            calls = supervisor.calls()
            await breaker.call(succeed)
            calls.close()
            for _ in range(2):
                await breaker.call(succeed)
            supervisor.trace(None)
            again = supervisor.calls()
            await breaker.call(succeed)
        assert recorder.written == 4
        assert (len(await told(calls)), len(await told(again))) == (1, 1)


async def test_with_a_recorder_that_hears_of_refusals_as_well() -> None:
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        with TraceRecorder("calls.csv") as recorder:
            supervisor.trace(recorder)
            calls = supervisor.calls()
            await breaker.call(succeed)
            breaker.force_open()
            assert await is_refused(breaker)
        assert words(await told(calls)) == ["succeeded", "forced_open"]
        assert recorder.written == 2


class TestTheEnd:
    """When nobody listens any more."""

    @pytest.mark.parametrize("way", ["closed", "left", "forgotten"])
    async def test_a_circuit_takes_the_shortest_path_again(self, way: str) -> None:
        """From its next call on."""
        async with Supervisor() as supervisor:
            breaker = supervisor.circuit("x")
            calls = supervisor.calls()
            circuit = supervisor.find("x")
            assert circuit is not None
            await settle_down()
            await breaker.call(succeed)
            assert circuit.headroom == 0
            if way == "closed":
                calls.close()
            elif way == "left":
                async with calls:
                    pass
            else:
                del calls
                gc.collect()
            await breaker.call(succeed)
            await settle_down()
            assert circuit.headroom == 3
            await breaker.call(succeed)
            assert circuit.unsent_successes == 1
            assert breaker.statistics().succeeded == 3

    async def test_the_stream_ends_with_the_supervisor(self) -> None:
        """And one that is asked for afterwards at once."""
        async with Supervisor() as supervisor:
            calls = supervisor.calls()
            await supervisor.circuit("x").call(succeed)
        assert words([each async for each in calls]) == ["succeeded"]
        assert [each async for each in supervisor.calls()] == []

    async def test_before_the_block(self) -> None:
        """It may be asked for then."""
        supervisor = Supervisor()
        calls = supervisor.calls()
        async with supervisor:
            await supervisor.circuit("x").call(succeed)
        assert words([each async for each in calls]) == ["succeeded"]

    async def test_elsewhere(self) -> None:
        """In another thread, it is refused; and so are bad arguments."""
        async with Supervisor() as supervisor:
            with pytest.raises(RuntimeError, match="calls must be asked for on the supervisor's"):
                await anyio.to_thread.run_sync(supervisor.calls)
            with pytest.raises(ValueError, match="buffer must be at least 1, got 0"):
                supervisor.calls(0)


def fewest_of(breaker: CircuitBreaker) -> int:
    """How many a success takes that has nothing else to do, such as a look after slow calls."""
    return min(instructions_of(breaker.call(succeed)) for _ in range(9))


@pytest.mark.parametrize("window", [{}, {"window_calls": 100}, {"slow_call_duration": 1.0}])
async def test_a_success_without_listeners_pays_nothing(window: dict[str, Any]) -> None:
    """Not one instruction, while another circuit's calls are listened to."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", **window)
        other = supervisor.circuit("y", **window)
        await settle_down()
        for _ in range(3):
            await breaker.call(succeed)
            await other.call(succeed)
        alone = fewest_of(breaker)
        calls = supervisor.calls(circuit="y")
        assert fewest_of(breaker) == alone > 20
        await settle_down()
        await other.call(succeed)
        assert instructions_of(other.call(succeed)) > 2 * alone
        assert len(await told(calls)) == 2
