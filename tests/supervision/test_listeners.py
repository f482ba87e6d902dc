"""Who listens to one circuit of thousands costs the others nothing, and leaves nothing behind."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from supervisor import EventStream, StateChanged, Supervisor
from supervisor.supervision.listeners import Listeners
from tests.support.instructions import instructions_of
from tests.support.worlds import settle_down, succeed

pytestmark = pytest.mark.anyio

MANY = 1_000

Listen = Callable[[Supervisor, str], object]


def to_events(supervisor: Supervisor, circuit: str) -> object:
    return supervisor.events(8, circuit)


def to_changes(supervisor: Supervisor, circuit: str) -> object:
    async def hear(change: StateChanged) -> None:
        """Do nothing."""

    return supervisor.on_change(hear, circuit)


def to_calls(supervisor: Supervisor, circuit: str) -> object:
    return supervisor.calls(8, circuit)


def by_health_checks(supervisor: Supervisor, circuit: str) -> object:
    return supervisor.probe_with(succeed, circuit)


every_listener = pytest.mark.parametrize(
    "listen", [to_events, to_changes, to_calls, by_health_checks]
)


async def least(work: Callable[[], Awaitable[None]]) -> int:
    """Return the instructions of what does not wait, when nothing else has to be done."""
    found: list[int] = []
    for _ in range(5):
        found.append(instructions_of(work()))
        await settle_down()
    return min(found)


@every_listener
async def test_events_find_their_own_listeners(listen: Listen) -> None:
    """A change, a call, and one more listener take as long as without those to other circuits."""
    async with Supervisor() as supervisor:
        breaker = supervisor.circuit("x")
        kept = [listen(supervisor, "x")]

        async def use() -> None:
            breaker.force_open()
            breaker.release()
            kept.append(listen(supervisor, "x"))  # by whom the changes are told at once
            kept.pop()
            await breaker.call(succeed)

        await settle_down()
        before = await least(use)
        for number in range(MANY):
            supervisor.circuit(str(number))
            kept.append(listen(supervisor, str(number)))
        await settle_down()
        assert await least(use) < before * 1.5
        kept.clear()


@pytest.mark.parametrize("listen", [to_events, to_calls])
@pytest.mark.parametrize("end", ["dropped", "closed"])
async def test_those_that_have_ended_leave_nothing(listen: Listen, end: str) -> None:
    """Whatever circuits they listened to, which need not have been there."""
    async with Supervisor() as supervisor:

        def come_and_go(first: int) -> None:
            for number in range(first, first + MANY):
                stream = listen(supervisor, str(number))
                if end == "closed":
                    assert isinstance(stream, EventStream)
                    stream.close()

        come_and_go(0)
        gc.collect()
        tracemalloc.start()
        try:
            come_and_go(MANY)
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 20_000
        finally:
            tracemalloc.stop()


def test_one_that_comes_while_others_are_forgotten() -> None:
    """It is found: the garbage collector may have it added in the middle of that."""
    listeners, added = Listeners(), EventStream(1, "y")

    class Looked(EventStream):
        looks = 0

        @property
        def closed(self) -> bool:  # type: ignore[override]
            Looked.looks += 1
            if Looked.looks == 1:
                listeners.add(added)
            return False

        @closed.setter
        def closed(self, closed: bool) -> None:
            """Stay open."""

    streams = [Looked(1, "x") for _ in range(100)]
    for stream in streams:
        listeners.add(stream)
    assert Looked.looks > 0
    assert listeners.of("y") == [added]
    assert listeners.of("x") == streams
