"""Supervisors on event loops in two threads, which share a circuit through a server."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from supervisor import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerSettings,
    CircuitState,
    EventStream,
    FleetJoined,
    FleetLost,
    RedisSharing,
    Supervisor,
    app_settings,
    current_supervisor,
)
from supervisor.machine import leasing
from tests.sharing.real.servers import Server
from tests.sharing.real.servers import wait_until as until
from tests.sharing.real.test_faults import Fault, every_lasting_fault

pytestmark = pytest.mark.filterwarnings(  # what coredis leaves unclosed is its own
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

Backend = tuple[str, dict[str, Any]]
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

TIMEOUT = 2.0
"""Seconds: a busy machine answers in time, and a frozen server is noticed."""


class Site:
    """A supervisor on an event loop in a thread of its own, with a circuit "x".

    Attributes:
        told: whether the store was reached or lost, each time that it was told.
    """

    def __init__(
        self, portal: BlockingPortal, supervisor: Supervisor, events: EventStream, **policy: Any
    ) -> None:
        self.told: list[type[object]] = []
        self._portal = portal
        self._supervisor = supervisor
        self._breaker = portal.call(lambda: supervisor.circuit("x", **policy))
        portal.start_task_soon(self._listen, events)

    async def _listen(self, events: EventStream) -> None:
        async for event in events:
            if isinstance(event, FleetJoined | FleetLost):
                self.told.append(type(event))

    @property
    def state(self) -> CircuitState:
        """That of the circuit."""
        return self._portal.call(lambda: self._breaker.state)

    @property
    def linked(self) -> bool:
        """Whether the store is reached."""
        fleet = self._supervisor.fleet
        assert fleet is not None
        return fleet.linked

    def start(self, function: Callable[[], Awaitable[None]]) -> Future[None]:
        """Start a call."""
        return self._portal.start_task_soon(self._breaker.call, function)

    def fail(self) -> None:
        """Let a call fail."""
        with pytest.raises(ConnectionError):
            self.start(_fail).result(60)


async def _fail() -> None:
    raise ConnectionError("down")


@contextmanager
def site(backend: Backend, server: Server, space: str, **policy: Any) -> Iterator[Site]:
    """One that has joined the others of its space."""
    with start_blocking_portal(*backend) as portal:
        sharing = RedisSharing(server.url, space=space, timeout=TIMEOUT)
        supervisor = Supervisor(sharing=sharing)
        events = portal.call(supervisor.events)
        with portal.wrap_async_context_manager(supervisor):
            site = Site(portal, supervisor, events, failure_threshold=1, **policy)
            until(lambda: site.told == [FleetJoined])
            yield site


class Probed:
    """A server that is called from several threads, and answers all at once."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.answers = threading.Event()

    async def call(self) -> None:
        self.calls.append(threading.get_ident())
        await anyio.to_thread.run_sync(self.answers.wait, 60)


def test_an_outage_and_its_end(
    anyio_backend: Backend, server: Server, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One opens the circuit of both; one probe of both closes it for both."""
    monkeypatch.setattr(leasing, "ANSWER_WITHIN", 60.0)  # however busy the machine is
    monkeypatch.setattr(leasing, "PATIENCE", 60.01)
    with (
        site(anyio_backend, server, space, recovery_timeout=1.0) as one,
        site(anyio_backend, server, space, recovery_timeout=1.0) as another,
    ):
        one.fail()
        assert one.state is OPEN
        until(lambda: another.state is not CLOSED)
        until(lambda: one.state is another.state is HALF_OPEN)
        probed = Probed()
        calls = [each.start(probed.call) for each in (one, another) for _ in range(3)]
        until(lambda: sum(call.done() for call in calls) == len(calls) - 1)
        assert len(probed.calls) == 1
        probed.answers.set()
        until(lambda: one.state is another.state is CLOSED)
        until(lambda: all(call.done() for call in calls))
        refused = [call.exception() for call in calls if call.exception() is not None]
        assert [type(error) for error in refused] == [CircuitBreakerOpenError] * 5
        assert one.told == another.told == [FleetJoined]


@every_lasting_fault
def test_each_is_by_itself_while_the_server_fails(
    fault: Fault, anyio_backend: Backend, own_server: Server, space: str
) -> None:
    """It is told once; and what has opened meanwhile is open for both when it is mended."""
    with (
        site(anyio_backend, own_server, space, recovery_timeout=600.0) as one,
        site(anyio_backend, own_server, space, recovery_timeout=600.0) as another,
    ):
        fault.happens(own_server)
        until(lambda: not (one.linked or another.linked))
        one.fail()
        assert (one.state, another.state) == (OPEN, CLOSED)
        assert fault.is_mended is not None
        fault.is_mended(own_server)
        until(lambda: another.state is OPEN)
        until(lambda: one.told == another.told == [FleetJoined, FleetLost, FleetJoined])


def test_what_was_open_stays_open_when_the_server_comes_back_empty(
    anyio_backend: Backend, own_server: Server, space: str
) -> None:
    """The first of both that is back tells it again, and a newcomer hears of it."""
    with site(anyio_backend, own_server, space, recovery_timeout=600.0) as one:
        one.fail()
        own_server.kill()
        until(lambda: not one.linked)
        assert one.state is OPEN
        own_server.start()
        until(lambda: one.linked)
        with site(anyio_backend, own_server, space, recovery_timeout=600.0) as newcomer:
            until(lambda: newcomer.state is OPEN)


def test_supervisors_that_nobody_has_entered(
    anyio_backend: Backend, server: Server, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share by the settings, and are no burden to loops that end."""
    settings = CircuitBreakerSettings(sharing_url=server.url, sharing_space=space)
    monkeypatch.setattr(app_settings, "circuit_breaker", settings)

    def state_of(breaker: CircuitBreaker) -> str:
        return breaker.state

    def linked() -> bool:
        fleet = current_supervisor().fleet
        return fleet is not None and fleet.linked

    with start_blocking_portal(*anyio_backend) as one, start_blocking_portal(*anyio_backend) as two:
        here, there = (CircuitBreaker("x", failure_threshold=1) for _ in range(2))
        one.call(here.call, anyio.lowlevel.checkpoint)
        two.call(there.call, anyio.lowlevel.checkpoint)
        until(lambda: one.call(linked) and two.call(linked))
        with pytest.raises(ConnectionError):
            one.call(here.call, _fail)
        until(lambda: two.call(state_of, there) == OPEN)
