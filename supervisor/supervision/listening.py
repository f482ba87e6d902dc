"""Who listens to the circuits of a supervisor: streams, functions, and health checks."""

from __future__ import annotations

from abc import ABC

from supervisor.arguments import check_name, is_async, shown
from supervisor.circuit import Circuit, catch_up
from supervisor.events import EventStream
from supervisor.guard import CircuitBreaker
from supervisor.instrumentation import Notices, OnChange
from supervisor.loop import EventLoop
from supervisor.policy import check_takes
from supervisor.supervision.health_checks import Check, HealthCheck
from supervisor.supervision.onlookers import Onlookers
from supervisor.supervision.publishing import Publisher
from supervisor.supervision.tracing import Tracing


class Listening(ABC):
    """The circuits of one supervisor, for whoever listens."""

    _circuits: dict[str, Circuit]
    _breakers: dict[str, CircuitBreaker]
    _publisher: Publisher
    _onlookers: Onlookers
    _tracing: Tracing
    _loop: EventLoop | None
    _closed: bool

    def events(self, buffer: int = 1024, circuit: str | None = None) -> EventStream:
        """Return a stream of everything that happens to circuits from now on.

        Args:
            buffer: events, 1 or more, that may wait for a listener before it misses some.
            circuit: the name of the one whose events it is told, which need not be there yet;
                None: those of all, and of the fleet.

        Raises:
            RuntimeError: this is not the supervisor's event loop.
            TypeError, ValueError: `buffer` is of the wrong type or out of range, or `circuit` is no
                name.
        """
        stream = EventStream(buffer, circuit)
        if not self._closed and self._loop is not None and not self._loop.runs_here():
            raise RuntimeError("events must be asked for on the supervisor's event loop")
        self._catch_up_all(circuit)
        self._publisher.add(stream)
        return stream

    def calls(self, buffer: int = 1024, circuit: str | None = None) -> EventStream:
        """Return a stream of each call that is refused or ends from now on: `CallRefused` and
        `CallEnded`, which are numbered by themselves. Of calls that run already, it may miss some.

        Calls of circuits that are listened to so cost some fifteen microseconds more.

        Args:
            buffer: events, 1 or more, that may wait for a listener before it misses some.
            circuit: the name of the one whose calls it is told, which need not be there yet; None:
                those of all.

        Raises:
            RuntimeError, TypeError, ValueError: see `events`.
        """
        stream = EventStream(buffer, circuit)
        if self._closed:
            stream.close()
            return stream
        if self._loop is not None and not self._loop.runs_here():
            raise RuntimeError("calls must be asked for on the supervisor's event loop")
        self._tracing.events.add(stream)
        for each in self._those(circuit):
            self._tracing.begin(each)
        return stream

    def on_change(self, func: OnChange, circuit: str | None = None) -> Notices:
        """Let a function be told of each change of state from now on, in a task of its own.

        Args:
            func: takes a `StateChanged`. A plain one runs on the event loop, which it must not hold
                up; an async one may take its time. What it raises is logged.
            circuit: the name of the one whose changes it is told; None: of all circuits.

        Returns:
            What ends that earlier than the supervisor: its `end()`.

        Raises:
            RuntimeError: this is not the supervisor's event loop, or it has ended.
            TypeError, ValueError: `func` is no such function, or `circuit` no name.
        """
        return self._listen(Notices(func, circuit))

    def probe_with(self, check: Check, circuit: str) -> Notices:
        """Let a health check be the probe when a circuit becomes half-open, so that no caller's
        call has to be; one that comes first may be, all the same.

        It is asked again until there is a verdict. Whatever it raises is a failure, and so is no
        answer within `probe_timeout`, by which it is cancelled. It runs in a task of its own.

        Args:
            check: an async function without arguments. Its result says nothing, not even False.
            circuit: the name of the circuit, which need not be there yet.

        Returns:
            What ends that earlier than the supervisor: its `end()`.

        Raises:
            RuntimeError: this is not the supervisor's event loop, or it has ended.
            TypeError, ValueError: `check` is no such function, or `circuit` no name.
        """
        if not is_async(check):
            raise TypeError(
                f"probe_with needs an async function (`async def`), got {shown(check)}; in one, a"
                " plain function runs by `await anyio.to_thread.run_sync(...)`"
            )
        check_takes("probe_with", check)
        probing = HealthCheck(self._breakers, check)
        return self._listen(Notices(probing, check_name(circuit), last=0.0))

    def _listen(self, notices: Notices) -> Notices:
        if self._closed:
            raise RuntimeError("the supervisor has ended, so there will be no changes")
        if self._loop is not None and not self._loop.runs_here():
            raise RuntimeError("notices must be asked for on the supervisor's event loop")
        self._catch_up_all(notices.changes.circuit)
        self._onlookers.add(notices)
        return notices

    def _those(self, name: str | None) -> list[Circuit]:
        """Return the circuit of that name, if there is one; None: all of them."""
        if name is None:
            return list(self._circuits.values())
        return [*filter(None, [self._circuits.get(name)])]

    def _catch_up_all(self, name: str | None) -> None:
        """Tell all that has been reported so far: who listens from now on must not hear of it."""
        for circuit in self._those(name):
            if circuit.running and (circuit.messages() or circuit.machine.transitions):
                self._catch_up(circuit)

    def _catch_up(self, circuit: Circuit) -> None:
        circuit.check_thread()
        catch_up(circuit, self._publisher.publish_change)
