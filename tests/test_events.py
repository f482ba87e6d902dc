"""The event stream: what it delivers, in which order, and what a slow listener gets."""

from __future__ import annotations

import weakref
from dataclasses import FrozenInstanceError
from typing import Any

import anyio
import pytest

from supervisor import (
    CallsRefused,
    CircuitBreaker,
    CircuitGivenUp,
    CircuitRestarted,
    CircuitStarted,
    CircuitState,
    CircuitStopped,
    Event,
    EventsMissed,
    EventStream,
    StateChanged,
    Supervisor,
)
from tests.support.worlds import (
    collect_garbage,
    crash,
    fail_times,
    is_refused,
    settle_down,
    succeed,
)

pytestmark = pytest.mark.anyio


async def collect(stream: EventStream) -> list[Event | EventsMissed]:
    """All that the stream delivers until it ends."""
    return [event async for event in stream]


async def test_a_circuits_whole_life() -> None:
    """Start, transitions, restart, giving up and stop come in order, numbered without a gap."""
    async with Supervisor(max_restarts=1, on_give_up="refuse") as supervisor:
        async with supervisor.events() as stream:
            started = anyio.current_time()
            breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=10)
            await fail_times(breaker, 1)
            await anyio.sleep(10)
            await breaker.call(succeed)
            for _ in range(2):
                crash(supervisor, "x")
                await settle_down()
            supervisor.stop("x")
            events = [await anext(stream) for _ in range(7)]
    kinds = [type(event) for event in events]
    assert kinds == [
        CircuitStarted,
        StateChanged,
        StateChanged,
        StateChanged,
        CircuitRestarted,
        CircuitGivenUp,
        CircuitStopped,
    ]
    assert [event.sequence for event in events] == list(range(1, 8))
    changes = [event for event in events if isinstance(event, StateChanged)]
    states = [(change.from_state.value, change.to_state.value) for change in changes]
    assert states == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert [change.at - started for change in changes] == pytest.approx([0, 10, 10])
    assert [change.period for change in changes] == [1, 2, 3]
    assert [change.failure_count for change in changes] == [1, 1, 0]
    assert [change.retry_after for change in changes] == [10.0, 0.0, 0.0]
    assert changes[0].last_failure == "Down: down"
    restarted, given_up = events[4], events[5]
    assert isinstance(restarted, CircuitRestarted)
    assert isinstance(given_up, CircuitGivenUp)
    assert "AssertionError" in restarted.error
    assert (given_up.verdict, given_up.circuit) == ("refuse", "x")


async def test_the_time_alone_makes_events() -> None:
    """A circuit becomes half-open at its time, without any call."""
    async with Supervisor() as supervisor, supervisor.events() as stream:
        breaker = supervisor.circuit("x", failure_threshold=1, recovery_timeout=100)
        await fail_times(breaker, 1)
        opened_at = anyio.current_time()
        seen = [await anext(stream) for _ in range(3)]
        assert isinstance(seen[2], StateChanged)
        assert seen[2].to_state is CircuitState.HALF_OPEN
        assert seen[2].at == pytest.approx(opened_at + 100)
        assert anyio.current_time() == pytest.approx(opened_at + 100)


async def test_what_was_reported_before_a_stop_is_told_before_it() -> None:
    """A circuit's last transitions come before its end, though its actor had no turn left."""
    async with Supervisor() as supervisor:
        async with supervisor.events() as stream:
            breaker = supervisor.circuit("x", failure_threshold=1)
            await breaker.call(succeed)
            await fail_times(breaker, 1)
            supervisor.stop("x")
            kinds = [type(await anext(stream)) for _ in range(3)]
    assert kinds == [CircuitStarted, StateChanged, CircuitStopped]


async def test_a_reset_is_a_change_only_where_it_changes_the_state() -> None:
    """Resetting a closed circuit is no event, resetting an open one is."""
    async with Supervisor() as supervisor:
        stream = supervisor.events()
        breaker = supervisor.circuit("x", failure_threshold=2)
        breaker.reset()
        await fail_times(breaker, 2)
        breaker.reset()
    events = await collect(stream)
    assert [type(event) for event in events] == [
        CircuitStarted,
        StateChanged,
        StateChanged,
        CircuitStopped,
    ]


@pytest.mark.parametrize("by_hand", ["reset", "force_open", "release", "half_open"])
async def test_what_is_done_by_hand_says_so(by_hand: str) -> None:
    """And what the circuit does by itself does not."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x", failure_threshold=1)
        if by_hand == "release":
            breaker.disable()
        await fail_times(breaker, 1)
        stream = supervisor.events()
        getattr(breaker, by_hand)()
        if breaker.state == "half_open":
            await breaker.call(succeed)
        else:
            breaker.reset() if breaker.state == "forced_open" else await fail_times(breaker, 1)
    changes = [each for each in await collect(stream) if isinstance(each, StateChanged)]
    assert [change.manual for change in changes] == [True, False][: len(changes)]
    assert len(changes) == (1 if by_hand == "force_open" else 2)


async def test_the_events_of_one_circuit() -> None:
    """From its start to its end, and of no other; nothing is missed for others' sake."""
    async with Supervisor() as supervisor:
        stream = supervisor.events(buffer=3, circuit="x")
        for name in ("a", "x", "b"):
            breaker = supervisor.circuit(name, failure_threshold=1)
            await fail_times(breaker, 1)
        await settle_down()
    events = await collect(stream)
    assert [type(event) for event in events] == [CircuitStarted, StateChanged, CircuitStopped]
    assert {event.circuit for event in events if isinstance(event, Event)} == {"x"}


@pytest.mark.parametrize("circuit", ["", "x" * 256, 7])
async def test_a_circuit_that_cannot_be(circuit: Any) -> None:
    """Nothing would ever be told of it."""
    async with Supervisor() as supervisor:
        with pytest.raises((TypeError, ValueError), match="name"):
            supervisor.events(circuit=circuit)


async def test_refusals_are_told_together() -> None:
    """By one event a minute at most for each circuit, and the rest when the supervisor ends."""
    async with Supervisor() as supervisor:
        stream = supervisor.events()
        breaker, other = (supervisor.circuit(name) for name in "xy")
        for each in (breaker, other):
            each.force_open()
        for each, times in ((breaker, 3), (other, 2), (breaker, 4)):
            for _ in range(times):
                assert await is_refused(each)
            await anyio.sleep(20)
        await anyio.sleep(40)
        for _ in range(5):
            assert await is_refused(breaker)
        await anyio.sleep(10)
    told = [event for event in await collect(stream) if isinstance(event, CallsRefused)]
    assert [(event.circuit, event.count) for event in told] == [("x", 7), ("y", 2), ("x", 5)]
    times = [(round(event.at, 1), round(event.seconds, 1)) for event in told]
    assert times == [(60.0, 60.0), (60.0, 60.0), (110.0, 10.0)]


async def test_it_ends_with_the_supervisor() -> None:
    """A listener's loop ends by itself when the block is left, after the last event."""
    seen: list[Event | EventsMissed] = []
    listening = anyio.Event()

    async def listen(supervisor: Supervisor) -> None:
        async with supervisor.events() as stream:
            listening.set()
            seen.extend([event async for event in stream])

    async with anyio.create_task_group() as tasks:
        async with Supervisor() as supervisor:
            tasks.start_soon(listen, supervisor)
            await listening.wait()
            supervisor.circuit("x")
    assert [type(event) for event in seen] == [CircuitStarted, CircuitStopped]
    assert await collect(supervisor.events()) == []


async def test_every_listener_gets_every_event() -> None:
    """Listeners do not take events from each other; a closed stream gets no more."""
    async with Supervisor() as supervisor:
        first, second = supervisor.events(), supervisor.events()
        supervisor.circuit("a")
        async with first:
            pass
        supervisor.circuit("b")
    assert [getattr(event, "circuit", "") for event in await collect(first)] == ["a"]
    assert len(await collect(second)) == 4


async def test_a_slow_listener_learns_what_it_missed() -> None:
    """It holds nobody up; in the place of the events that did not fit it gets their number."""
    async with Supervisor() as supervisor:
        stream = supervisor.events(buffer=3)
        for number in range(10):
            supervisor.circuit(f"c{number}")
        assert await CircuitBreaker("c0").call(succeed) == "fine"
        first = [await anext(stream) for _ in range(4)]
        supervisor.circuit("late")
        last = await anext(stream)
    assert [type(event) for event in first] == [CircuitStarted] * 3 + [EventsMissed]
    assert first[3] == EventsMissed(count=7, sequence=10)
    assert (last.sequence, type(last)) == (11, CircuitStarted)


async def test_a_listener_that_is_cancelled_misses_nothing() -> None:
    """An event that comes later is still there after a wait that was cancelled."""
    async with Supervisor() as supervisor, supervisor.events() as stream:
        with anyio.move_on_after(1) as scope:
            await anext(stream)
        assert scope.cancelled_caught
        supervisor.circuit("x")
        assert isinstance(await anext(stream), CircuitStarted)


async def test_an_event_that_comes_as_a_listener_falls_asleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The garbage collector may end a call, and have it told, right after nothing was found."""
    async with Supervisor() as supervisor:
        stream, event = supervisor.events(), CircuitStarted(sequence=1, at=0.0, circuit="x")

        def make() -> anyio.Event:
            monkeypatch.undo()
            stream.put(event)
            return anyio.Event()

        monkeypatch.setattr(anyio, "Event", make)
        with anyio.fail_after(1):
            assert await anext(stream) is event


async def test_a_listener_that_raises_harms_nobody() -> None:
    """Its error is its own; calls and other listeners go on."""
    async with Supervisor() as supervisor:
        other = supervisor.events()
        with pytest.raises(ZeroDivisionError):
            async with supervisor.events() as stream:
                supervisor.circuit("x")
                async for event in stream:
                    _ = event.sequence / 0
        assert await supervisor["x"].call(succeed) == "fine"
    assert len(await collect(other)) == 2


@pytest.mark.parametrize("buffer", [0, -1, True, 1.5])
async def test_bad_buffers(buffer: int) -> None:
    """A buffer is a whole number of at least 1."""
    async with Supervisor() as supervisor:
        with pytest.raises((TypeError, ValueError), match="buffer must be"):
            supervisor.events(buffer)


def test_events_are_frozen() -> None:
    """A record of what has happened cannot be changed."""
    event = CircuitStarted(sequence=1, at=0.0, circuit="x")
    with pytest.raises(FrozenInstanceError):
        event.circuit = "y"  # type: ignore[misc]


async def test_a_stream_may_change_hands() -> None:
    """Who takes over from a listener that was just cancelled gets the next event."""
    async with Supervisor() as supervisor, supervisor.events() as stream:
        seen: list[Event | EventsMissed] = []

        async def listen() -> None:
            seen.append(await anext(stream))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await settle_down()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            tasks.start_soon(listen)
            await settle_down()
            supervisor.circuit("a")
            supervisor.circuit("b")
    assert [type(event) for event in seen] == [CircuitStarted, CircuitStarted]


async def test_a_stream_that_was_dropped_is_forgotten() -> None:
    """A supervisor does not keep streams that nobody reads any more."""
    async with Supervisor() as supervisor:
        streams = [weakref.ref(supervisor.events()) for _ in range(3)]
        collect_garbage()
        assert [stream() for stream in streams] == [None] * 3


async def test_a_stream_is_asked_for_on_the_event_loop() -> None:
    """From another thread it would be added while an event is delivered to all of them."""
    async with Supervisor() as supervisor:
        with pytest.raises(RuntimeError, match="on the supervisor's event loop"):
            await anyio.to_thread.run_sync(supervisor.events)
